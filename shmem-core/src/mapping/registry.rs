//! Which segment stands at an address of this process: a table of every mapping, behind a one-entry cache of each
//! thread.
//!
//! Readers take no lock. The cache is valid for one *epoch*, a number that changes before anything is unmapped
//! and reads 0 in the child of a fork, because it stands in a page the kernel wipes there. So one comparison
//! covers unmapping, re-mapping and forking.
//!
//! This file needs `unsafe`: it hands out contexts by address.

use crate::access::{self, Access, Context};
use crate::primitive::{AtomicU64, Ordering};
use crate::sys;
use arc_swap::ArcSwap;
use std::cell::Cell;
use std::sync::atomic::AtomicPtr;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, Once};

/// One mapping.
#[derive(Clone)]
struct Entry {
    base: usize,
    end: usize,
    context: Arc<Context>,
}

/// Every mapping of this process, by address.
static TABLE: LazyLock<ArcSwap<Vec<Entry>>> = LazyLock::new(ArcSwap::default);

/// Serialises changes of [`TABLE`].
static WRITER: Mutex<()> = Mutex::new(());

/// The epoch before the first mapping is made: no cache entry has it.
static NO_EPOCH: AtomicU64 = AtomicU64::new(0);

/// Where the epoch stands: [`NO_EPOCH`] at first, then a word of a page that fork wipes.
static EPOCH: AtomicPtr<AtomicU64> = AtomicPtr::new((&raw const NO_EPOCH).cast_mut());

/// The last epoch given out, in memory that fork copies.
static LAST_EPOCH: AtomicU64 = AtomicU64::new(1);

/// The process's place in its line of forks, in memory that fork copies; see [`fork_generation`].
static FORK_GENERATION: AtomicU64 = AtomicU64::new(1);

/// What a thread knows of the mapping it used last.
#[derive(Clone, Copy)]
pub(crate) struct Cached {
    base: usize,
    len: usize,
    epoch: u64,
    context: *const Context,
    /// The thread's owner word in that mapping (`participant` fills it in), 0 if it has none yet.
    pub(crate) owner: u32,
    /// The thread's slot in that mapping, if `owner` is not 0.
    pub(crate) slot: *const u8,
}

const EMPTY: Cached =
    Cached { base: 0, len: 0, epoch: 0, context: std::ptr::null(), owner: 0, slot: std::ptr::null() };

thread_local! {
    static CACHE: Cell<Cached> = const { Cell::new(EMPTY) };
}

impl Cached {
    #[inline]
    fn holds(&self, at: usize) -> bool {
        // SYNC epoch: Relaxed is enough: an address in a live mapping was obtained after that mapping was
        // registered, and a stale entry for another mapping at that address carries an older epoch, whose end
        // was stored before that mapping could be unmapped and its address reused.
        at.wrapping_sub(self.base) < self.len && self.epoch == current_epoch()
    }

    /// The mapping.
    ///
    /// # Safety
    /// 1. The mapping the entry was looked up for lives for `'a`.
    #[inline]
    pub(crate) unsafe fn context<'a>(&self) -> &'a Context {
        // SAFETY: the registry holds the context while the mapping lives, which is 1.
        unsafe { &*self.context }
    }
}

#[inline]
fn current_epoch() -> u64 {
    // SAFETY: the pointer leads to a static or to a page that is never unmapped.
    unsafe { &*EPOCH.load(Ordering::Relaxed) }.load(Ordering::Relaxed)
}

/// The mapping that contains `at`, as this thread's cache knows it; `None` if `at` is in no segment.
#[inline]
pub(crate) fn lookup(at: *const u8) -> Option<Cached> {
    let cached = CACHE.get();
    if cached.holds(at.addr()) { Some(cached) } else { lookup_slow(at.addr()) }
}

#[cold]
fn lookup_slow(at: usize) -> Option<Cached> {
    let epoch = live_epoch();
    // SYNC epoch: Acquire, pairs with the store in `bump_epoch`: under a new epoch no entry is taken from an old table.
    std::sync::atomic::fence(Ordering::Acquire);
    let table = TABLE.load();
    let below = table.partition_point(|entry| entry.base <= at);
    let entry = table[..below].last().filter(|entry| at < entry.end)?;
    let cached = Cached {
        base: entry.base,
        len: entry.end - entry.base,
        epoch,
        context: Arc::as_ptr(&entry.context),
        ..EMPTY
    };
    CACHE.set(cached);
    Some(cached)
}

/// Stores this thread's owner word and slot in the mapping it used last, if that still contains `at`.
pub(crate) fn remember_owner(at: *const u8, owner: u32, slot: *const u8) {
    let mut cached = CACHE.get();
    if cached.holds(at.addr()) {
        cached.owner = owner;
        cached.slot = slot;
        CACHE.set(cached);
    }
}

/// Forgets what this thread's cache holds.
pub(crate) fn forget_cached() {
    let _ = CACHE.try_with(|cache| {
        cache.set(EMPTY);
    });
}

/// Access to the segment that contains `at`, or whose value stands there for now, outside it; detached access if
/// there is none.
///
/// # Safety
/// 1. If `at` lies in a mapped segment, that mapping lives for `'a`; if it is a stand-in, `'a` ends before that.
#[inline]
pub(crate) unsafe fn access_of<'a, T>(at: *const T) -> Access<'a> {
    match lookup(at.cast()) {
        // SAFETY: 1.
        Some(cached) => Access::new(unsafe { cached.context() }),
        // SAFETY: 1.
        None => unsafe { access::stand_in_of(at.cast()) }.unwrap_or(Access::detached()),
    }
}

/// The epoch, made valid again if a fork has wiped it.
fn live_epoch() -> u64 {
    let epoch = current_epoch();
    if epoch != 0 {
        return epoch;
    }
    static START: Once = Once::new();
    START.call_once(|| {
        if let Ok(page) = sys::wiped_on_fork_page() {
            // SYNC epoch: Release, so that whoever sees the new place sees its zeroed word.
            EPOCH.store(page.cast().as_ptr(), Ordering::Release);
        }
    });
    // SAFETY: as in `current_epoch`.
    let word = unsafe { &*EPOCH.load(Ordering::Acquire) };
    let fresh = LAST_EPOCH.fetch_add(1, Ordering::Relaxed) + 1;
    match word.compare_exchange(0, fresh, Ordering::Relaxed, Ordering::Relaxed) {
        Ok(_) => {
            FORK_GENERATION.fetch_add(1, Ordering::Relaxed);
            fresh
        }
        Err(other) => other,
    }
}

/// A number that differs between a process and the children it forks: what a handle or guard was made under, to
/// be compared when it is used or dropped.
#[inline]
pub(crate) fn fork_generation() -> u64 {
    if current_epoch() == 0 {
        live_epoch();
    }
    FORK_GENERATION.load(Ordering::Relaxed)
}

/// In the child of a fork, before anything else and before it has a second thread: a new fork generation, also where
/// the kernel cannot wipe the epoch.
pub(crate) fn begin_child() {
    // SAFETY: as in `current_epoch`.
    unsafe { &*EPOCH.load(Ordering::Acquire) }.store(0, Ordering::Relaxed);
    live_epoch();
}

/// Ends the current epoch: every thread's cache is void.
fn bump_epoch() {
    let fresh = LAST_EPOCH.fetch_add(1, Ordering::Relaxed) + 1;
    // SAFETY: as in `current_epoch`.
    unsafe { &*EPOCH.load(Ordering::Acquire) }.store(fresh, Ordering::SeqCst);
}

/// Keeps a mapping in the table; dropping it takes the mapping out and voids every cache. Drop it before
/// unmapping.
#[derive(Debug)]
pub(crate) struct Registration {
    base: usize,
}

/// Enters a mapping; `None` if its range overlaps one that is there.
pub(crate) fn register(context: &Arc<Context>) -> Option<Registration> {
    live_epoch();
    let _writer = WRITER.lock().unwrap_or_else(|e| e.into_inner());
    let base = context.base().addr();
    let end = base + context.reserved_bytes();
    let mut table = Vec::clone(&TABLE.load());
    let at = table.partition_point(|entry| entry.base < base);
    let overlaps = at > 0 && table[at - 1].end > base || at < table.len() && table[at].base < end;
    if overlaps {
        return None;
    }
    table.insert(at, Entry { base, end, context: context.clone() });
    TABLE.store(Arc::new(table));
    Some(Registration { base })
}

impl Drop for Registration {
    fn drop(&mut self) {
        let _writer = WRITER.lock().unwrap_or_else(|e| e.into_inner());
        let mut table = Vec::clone(&TABLE.load());
        if let Ok(at) = table.binary_search_by_key(&self.base, |entry| entry.base) {
            table.remove(at);
        }
        TABLE.store(Arc::new(table));
        // Last: a cache filled from the old table meanwhile is void, too.
        bump_epoch();
    }
}

/// Keeps every other thread from changing the table, across a fork.
pub(crate) fn hold() -> MutexGuard<'static, ()> {
    WRITER.lock().unwrap_or_else(|e| e.into_inner())
}
