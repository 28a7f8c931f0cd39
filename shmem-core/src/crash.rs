//! Crash points: named places at which a test has its own process killed.
//!
//! `crash_point!("area.step")` is nothing, unless the crate is built with `--cfg shmem_crash`. Then the process dies of
//! SIGKILL there if it was armed for that point: at once, as at the hands of the system, with whatever it holds. (In unit
//! tests a thread can be armed, for whatever the test wants to happen.) The points change no stored byte. They stand where a death leaves something to be made good (`CRASH` comments), and are
//! all listed in `POINTS`.

/// A place to die at: see the [module](crate::crash).
macro_rules! crash_point {
    ($name:literal) => {{
        #[cfg(any(test, shmem_crash))]
        $crate::crash::reached(const { $crate::crash::index_of($name) });
    }};
}
pub(crate) use crash_point;

/// Every crash point. A test compares the list with the sources.
#[cfg(any(test, shmem_crash))]
pub const POINTS: &[&str] = &[
    // Processes and threads come and go.
    "attach.attached",
    "attach.identified",
    "detach.emptied",
    "detach.given-up",
    "slot.taken",
    "slot.given-back",
    "cell.claimed",
    "cell.named",
    "cell.linked",
    // Any lock.
    "raw.noted",
    "raw.taken",
    "raw.released",
    "raw.struck-out",
    // Whole pages of the heap.
    "intent.noted",
    "intent.done",
    "span.claimed",
    "span.body",
    "span.unclaimed",
    "span.unbody",
    "span.free",
    "span.dropped",
    "resize.claimed",
    "resize.longer",
    "resize.cut",
    "resize.shorter",
    "resize.free",
    "join.claimed",
    "join.body",
    "join.marked",
    "join.joined",
    "join.unmarked",
    "join.parted",
    "punch.claimed",
    "punch.punched",
    "punch.done",
    "recommit.claimed",
    "recommit.committed",
    "recommit.done",
    // Recovering, before the steps of upper layers.
    "dead.settled",
    "dead.struck-out",
    "dead.released",
    "dead.forgotten",
    "dead.cell",
    "dead.buried",
    "dead.undone",
    "dead.given-up",
    // The directory's lock, and what taking it over makes good.
    "lock.taken",
    "repair.begun",
    "repair.migrated",
    "repair.rebuilt",
    "repair.counted",
    // Reserving an entry.
    "reserve.index",
    "reserve.schema",
    "reserve.entry",
    "reserve.name",
    "reserve.written",
    "reserve.reserved",
    "reserve.pinned",
    "reserve.inserted",
    "chunk.allocated",
    "chunk.stored",
    "entry.taken",
    "name.allocated",
    "name.written",
    "schema.written",
    "schema.linked",
    // The index.
    "grow.allocated",
    "grow.filled",
    "grow.stored",
    "insert.stored",
    "remove.moving",
    "remove.shifted",
    "remove.cleared",
    "remove.moved",
    "rebuild.moving",
    "rebuild.emptied",
    "rebuild.filled",
    // A thread's free blocks.
    "magazine.popped",
    "magazine.pushing",
    "magazine.filling",
    "magazine.flushing",
    "magazine.committed",
    "magazine.adopted",
    // Raw blocks, and what is free.
    "marks.allocated",
    "marks.cleared",
    "zero.page",
    "zero.block",
    "zero.rest",
    // Constructing.
    "construct.reserved",
    "construct.allocated",
    "construct.named",
    "construct.built",
    "construct.live",
    "rollback.locked",
    "rollback.removed",
    "rollback.freed",
    "rollback.released",
    // Pins.
    "pin.counted",
    "pin.uncounted",
    "pin.set",
    "pin.cleared",
    // Destroying.
    "unlink.unlinked",
    "unlink.removed",
    "unlink.unlocked",
    "unlink.anonymous",
    "orphan.counted",
    "orphan.left",
    "orphan.swept",
    "reap.freeing",
    "reap.dropped",
    "reap.unnamed",
    "reap.freed",
    "release.unnamed",
    "release.nameless",
    "release.hinted",
    "release.free",
    // Migrating.
    "migrate.unpinned",
    "migrate.marked",
    "migrate.reserved",
    "migrate.allocated",
    "migrate.built",
    "migrate.moving",
    "migrate.committed",
    "migrate.unlinked",
    "migrate.removed",
    "migrate.settled",
    "finish.unlinked",
    "finish.reaped",
    "finish.done",
    "takeback.locked",
    "takeback.live",
    // Recovering.
    "recover.unpinned",
    "recover.reservation",
    "recover.conversion",
    "recover.release",
    "recover.anonymous",
    "recover.done",
    // Recovering leaks.
    "leaks.alone",
    "leaks.marked",
    "leaks.done",
    "sweep.blocks",
    "sweep.claim",
    "sweep.body",
    "sweep.punching",
    "sweep.swept",
    // Creating a segment.
    "draft.unnamed",
    "draft.temporary",
    "draft.locked",
    "draft.mode",
    "create.committed",
    "create.mapped",
    "create.header",
    "create.formatted",
    "create.ready",
    "publish.linked",
    "publish.renamed",
    "publish.second-name",
    "publish.unlocked",
    "stale.found",
    "stale.removed",
];

/// The number of a point; evaluated when the crate is compiled, and an error then if it is not listed.
#[cfg(any(test, shmem_crash))]
pub(crate) const fn index_of(name: &str) -> usize {
    let mut i = 0;
    while i < POINTS.len() {
        if same(POINTS[i].as_bytes(), name.as_bytes()) {
            return i;
        }
        i += 1;
    }
    panic!("a crash point that `POINTS` does not list")
}

#[cfg(any(test, shmem_crash))]
const fn same(a: &[u8], b: &[u8]) -> bool {
    let mut i = 0;
    while i < a.len() && i < b.len() && a[i] == b[i] {
        i += 1;
    }
    i == a.len() && i == b.len()
}

/// A thread has come to a point.
#[cfg(any(test, shmem_crash))]
#[inline]
pub(crate) fn reached(index: usize) {
    #[cfg(test)]
    staged::reached(index);
    #[cfg(shmem_crash)]
    armed::reached(index);
}

#[cfg(test)]
pub(crate) use staged::{arm_thread, arm_thread_anywhere, disarm_thread};

/// One thread's own armed point.
#[cfg(test)]
mod staged {
    use super::POINTS;
    use std::cell::Cell;

    type Armed = (usize, u64, Box<dyn FnOnce()>);

    thread_local! {
        static ARMED: Cell<Option<Armed>> = const { Cell::new(None) };
    }

    /// Has this thread do something when it comes to the point `name` for the `nth` time from now.
    pub(crate) fn arm_thread(name: &str, nth: u64, act: impl FnOnce() + 'static) {
        let index = POINTS.iter().position(|point| *point == name).expect("a crash point");
        ARMED.set(Some((index, nth.max(1), Box::new(act))));
    }

    /// Any point.
    const ANYWHERE: usize = usize::MAX;

    /// Has this thread do something when it comes to the `nth` point from now, whichever that is.
    pub(crate) fn arm_thread_anywhere(nth: u64, act: impl FnOnce() + 'static) {
        ARMED.set(Some((ANYWHERE, nth.max(1), Box::new(act))));
    }

    /// Forgets what this thread was armed for; whether it was.
    pub(crate) fn disarm_thread() -> bool {
        ARMED.take().is_some()
    }

    pub(super) fn reached(index: usize) {
        // Not while the thread is exiting.
        let Some((at, left, act)) = ARMED.try_with(Cell::take).ok().flatten() else { return };
        match (at == index || at == ANYWHERE, left) {
            (true, 1) => act(),
            (here, left) => ARMED.set(Some((at, left - u64::from(here), act))),
        }
    }
}
#[cfg(shmem_crash)]
pub use armed::{arm, lack_unnamed_files};

#[cfg(shmem_crash)]
mod armed {
    use super::POINTS;
    use crate::sys::process;
    use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

    /// The armed point's number + 1, 0 while there is none.
    static ARMED: AtomicUsize = AtomicUsize::new(0);
    /// How often it is still to be passed.
    static LEFT: AtomicU64 = AtomicU64::new(0);

    /// Has this process killed when it comes to the point `name` for the `nth` time from now (1: the next time).
    /// Whether there is such a point.
    pub fn arm(name: &str, nth: u64) -> bool {
        let Some(index) = POINTS.iter().position(|point| *point == name) else { return false };
        ARMED.store(0, Ordering::SeqCst);
        LEFT.store(nth.max(1), Ordering::SeqCst);
        ARMED.store(index + 1, Ordering::SeqCst);
        true
    }

    /// Lets this thread's file systems know neither unnamed files nor, if `old`, renaming without replacing: creation
    /// then goes the way it goes there.
    pub fn lack_unnamed_files(old: bool) {
        use crate::sys::file::lacking;
        lacking::UNNAMED_FILES.set(true);
        lacking::RENAME_NOREPLACE.set(old);
    }

    #[inline]
    pub(super) fn reached(index: usize) {
        if ARMED.load(Ordering::Relaxed) == index + 1 && LEFT.fetch_sub(1, Ordering::Relaxed) == 1 {
            process::die();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::POINTS;
    use std::collections::BTreeSet;
    use std::path::Path;

    fn collect(dir: &Path, found: &mut Vec<String>) {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                collect(&path, found);
            } else if path.extension().is_some_and(|e| e == "rs") && !path.ends_with("crash.rs") {
                let text = std::fs::read_to_string(&path).unwrap();
                let calls = text.split("crash_point!(\"").skip(1);
                found.extend(calls.map(|rest| rest.split('"').next().unwrap().to_owned()));
            }
        }
    }

    #[test]
    fn the_list_names_exactly_the_points_in_the_sources() {
        let mut found = Vec::new();
        collect(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut found);
        let listed: BTreeSet<&str> = POINTS.iter().copied().collect();
        let used: BTreeSet<&str> = found.iter().map(String::as_str).collect();
        assert_eq!(listed.len(), POINTS.len(), "a point is listed twice");
        assert_eq!(listed.difference(&used).collect::<Vec<_>>(), [&""; 0], "listed, and nowhere");
        assert_eq!(used.difference(&listed).collect::<Vec<_>>(), [&""; 0], "not listed");
        assert_eq!(used.len(), found.len(), "a name is given to two places");
    }
}
