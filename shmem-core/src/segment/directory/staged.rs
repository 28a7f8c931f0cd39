//! What a test lets happen between the steps of the directory's protocols.

/// A step that was just made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// A look-up met the live entry it wants, and is about to pin it.
    Met,
    /// A look-up has pinned an entry, and is about to look whether that is still what it met.
    Pinned,
    /// The old entry was found unpinned, and is about to be marked.
    Unpinned,
    Marked,
    Reserved,
    Built,
    Committed,
    Unlinked,
    Removed,
    Settled,
    /// A reservation that is rolled back is in the index no more.
    TakenOut,
    /// Its object's block is freed.
    Emptied,
    /// Its entry is free.
    Released,
}

#[cfg(not(test))]
#[inline(always)]
pub(super) fn step(_: Step) {}

#[cfg(test)]
type Action = (Step, Box<dyn FnOnce()>);

#[cfg(test)]
thread_local! {
    static NEXT: std::cell::Cell<Option<Action>> = const { std::cell::Cell::new(None) };
}

#[cfg(test)]
pub(super) fn step(step: Step) {
    match NEXT.take() {
        Some((at, action)) if at == step => action(),
        other => NEXT.set(other),
    }
}

/// Lets this thread do something when it next comes behind `step`.
#[cfg(test)]
pub(crate) fn at(step: Step, action: impl FnOnce() + 'static) {
    NEXT.set(Some((step, Box::new(action))));
}
