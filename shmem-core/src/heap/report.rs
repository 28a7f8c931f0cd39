//! Frees that name no live block: counted in the segment, told to a hook of the process, never obeyed.

use arc_swap::ArcSwapOption;
use std::sync::Arc;

/// A block was to be freed that is not live: freed twice, freed with another layout, or never allocated.
///
/// No safe function can cause one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct BadFree {
    /// What was to be freed, as an offset into its segment; beyond the segment if it lies in none.
    pub offset: u64,
    /// The size it was to be freed with.
    pub size_bytes: u64,
    /// Why it was not.
    pub why: &'static str,
}

/// Learns of bad frees.
pub type BadFreeHook = fn(&BadFree);

static HOOK: ArcSwapOption<BadFreeHook> = ArcSwapOption::const_empty();

/// Installs what is called, on the thread that frees, after a block that is not live was not freed; gives the hook
/// that stood before. Without one a bad free is only counted. The hook must not panic: the free may be part of an
/// unwinding that is already under way. Nor may it fork: the child would go on with its parent's free.
pub fn set_bad_free_hook(hook: Option<BadFreeHook>) -> Option<BadFreeHook> {
    HOOK.swap(hook.map(Arc::new)).map(|before| *before)
}

#[cold]
pub(super) fn report(bad: &BadFree) {
    if let Some(hook) = HOOK.load_full() {
        hook(bad);
    }
}
