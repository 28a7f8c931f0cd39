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
use std::ptr::NonNull;
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

/// What changes with forks and unmappings; both words read 0 in the child of a fork.
struct Now {
    /// The epoch.
    epoch: AtomicU64,
    /// See [`fork_generation`].
    generation: AtomicU64,
}

/// Before the first mapping is made: no cache entry has this epoch.
static NEVER: Now = Now { epoch: AtomicU64::new(0), generation: AtomicU64::new(0) };

/// [`NEVER`] at first, then the start of a page that fork wipes.
static NOW: AtomicPtr<Now> = AtomicPtr::new((&raw const NEVER).cast_mut());

/// The last epoch given out, in memory that fork copies.
static LAST_EPOCH: AtomicU64 = AtomicU64::new(1);

/// The last fork generation, in memory that fork copies.
static LAST_GENERATION: AtomicU64 = AtomicU64::new(0);

/// What a thread knows of the mapping it used last. Single cells, so that a look-up loads only what it needs.
struct Cache {
    base: Cell<usize>,
    len: Cell<usize>,
    epoch: Cell<u64>,
    context: Cell<*const Context>,
    /// The thread's slot in that mapping (`participant` fills it in), null if it has none yet.
    slot: Cell<*const u8>,
    /// The base of that mapping if the thread has a cache of free blocks there, else 0.
    blocks_of: Cell<usize>,
    /// That cache (`heap` fills it in).
    blocks: Cell<NonNull<u8>>,
    /// How often the thread has asked [`is_due`] there; a higher number than asked for, once it was told to come later.
    asked: Cell<u32>,
}

thread_local! {
    static CACHE: Cache = const {
        Cache {
            base: Cell::new(0),
            len: Cell::new(0),
            epoch: Cell::new(0),
            context: Cell::new(std::ptr::null()),
            slot: Cell::new(std::ptr::null()),
            blocks_of: Cell::new(0),
            blocks: Cell::new(NonNull::dangling()),
            asked: Cell::new(0),
        }
    };
}

impl Cache {
    #[inline]
    fn holds(&self, at: usize) -> bool {
        // SYNC epoch: Relaxed is enough: an address in a live mapping was obtained after that mapping was
        // registered, and a stale entry for another mapping at that address carries an older epoch, whose end
        // was stored before that mapping could be unmapped and its address reused.
        at.wrapping_sub(self.base.get()) < self.len.get() && self.epoch.get() == current_epoch()
    }
}

#[inline]
fn now() -> &'static Now {
    // SAFETY: the pointer leads to a static or to a page that is never unmapped. (Relaxed: the page is zeroed by the
    // kernel, so there is nothing to see behind the pointer.)
    unsafe { &*NOW.load(Ordering::Relaxed) }
}

#[inline]
fn current_epoch() -> u64 {
    now().epoch.load(Ordering::Relaxed)
}

/// The context of the mapping that contains `at`; `None` if `at` is in no segment. The registry holds it while the
/// mapping lives.
#[inline]
pub(crate) fn context_at(at: *const u8) -> Option<*const Context> {
    CACHE
        .with(|cache| if cache.holds(at.addr()) { Some(cache.context.get()) } else { fill(cache, at.addr()) })
}

/// This thread's slot in the mapping that contains `at`; null if the cache knows none.
#[inline(always)]
pub(crate) fn slot_at(at: *const u8) -> *const u8 {
    CACHE.with(|cache| if cache.holds(at.addr()) { cache.slot.get() } else { std::ptr::null() })
}

#[cold]
fn fill(cache: &Cache, at: usize) -> Option<*const Context> {
    let epoch = live_epoch();
    // SYNC epoch: Acquire, pairs with the store in `bump_epoch`: under a new epoch no entry is taken from an old table.
    std::sync::atomic::fence(Ordering::Acquire);
    let table = TABLE.load();
    let below = table.partition_point(|entry| entry.base <= at);
    let entry = table[..below].last().filter(|entry| at < entry.end)?;
    let context = Arc::as_ptr(&entry.context);
    cache.slot.set(std::ptr::null());
    cache.blocks_of.set(0);
    cache.asked.set(0);
    cache.base.set(entry.base);
    cache.len.set(entry.end - entry.base);
    cache.epoch.set(epoch);
    cache.context.set(context);
    Some(context)
}

/// Stores this thread's slot in the mapping it used last, if that still contains `at`.
pub(crate) fn remember_slot(at: *const u8, slot: *const u8) {
    CACHE.with(|cache| {
        if cache.holds(at.addr()) {
            cache.slot.set(slot);
        }
    });
}

/// What says whether a thread's cache is valid; to be asked with [`blocks_of`].
#[derive(Clone, Copy)]
pub(crate) struct Epoch(&'static Now);

/// The epoch in which a mapping that is there now can be used.
pub(crate) fn epoch() -> Epoch {
    live_epoch();
    Epoch(now())
}

/// This thread's cache of free blocks in the mapping at `base`, if the cache knows one. `epoch` was made since that was
/// mapped.
#[inline(always)]
pub(crate) fn blocks_of(base: usize, epoch: Epoch) -> Option<NonNull<u8>> {
    CACHE.with(|cache| {
        // SYNC epoch: as in `holds`.
        let knows =
            cache.blocks_of.get() == base && cache.epoch.get() == epoch.0.epoch.load(Ordering::Relaxed);
        knows.then(|| cache.blocks.get())
    })
}

/// Stores this thread's cache of free blocks in the mapping it used last, if that is the one at `base`.
pub(crate) fn remember_blocks(base: usize, blocks: NonNull<u8>) {
    CACHE.with(|cache| {
        if cache.holds(base) && cache.base.get() == base {
            cache.blocks.set(blocks);
            cache.blocks_of.set(base);
        }
    });
}

/// Counts how often this thread asks in the mapping at `base`, one after the other; whether that is more than `often`.
pub(crate) fn is_due(base: usize, often: u32) -> bool {
    let count = |cache: &Cache| {
        let asked = cache.asked.get().wrapping_add(1);
        cache.asked.set(asked);
        asked > often && asked < u32::MAX / 2
    };
    CACHE.with(|cache| (cache.holds(base) || fill(cache, base).is_some()) && count(cache))
}

/// From now on [`is_due`] says no so many times.
pub(crate) fn put_off(times: u32) {
    CACHE.with(|cache| cache.asked.set(0u32.wrapping_sub(times)));
}

/// Forgets what this thread's cache holds.
pub(crate) fn forget_cached() {
    CACHE.with(|cache| {
        cache.slot.set(std::ptr::null());
        cache.blocks_of.set(0);
        cache.len.set(0);
    });
}

/// Access to the segment that contains `at`, or whose value stands there for now, outside it; detached access if
/// there is none.
///
/// # Safety
/// 1. If `at` lies in a mapped segment, that mapping lives for `'a`; if it is a stand-in, `'a` ends before that.
#[inline]
pub(crate) unsafe fn access_of<'a, T>(at: *const T) -> Access<'a> {
    match context_at(at.cast()) {
        // SAFETY: the registry holds the context while the mapping lives, which is 1.
        Some(context) => Access::new(unsafe { &*context }),
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
            NOW.store(page.cast().as_ptr(), Ordering::Release);
        }
    });
    live_generation();
    let fresh = LAST_EPOCH.fetch_add(1, Ordering::Relaxed) + 1;
    match now().epoch.compare_exchange(0, fresh, Ordering::Relaxed, Ordering::Relaxed) {
        Ok(_) => fresh,
        Err(other) => other,
    }
}

#[cold]
fn live_generation() -> u64 {
    let fresh = LAST_GENERATION.fetch_add(1, Ordering::Relaxed) + 1;
    match now().generation.compare_exchange(0, fresh, Ordering::Relaxed, Ordering::Relaxed) {
        Ok(_) => fresh,
        Err(other) => other,
    }
}

/// A number that differs between a process and the children it forks: what a handle or guard was made under, to
/// be compared when it is used or dropped.
#[inline]
pub(crate) fn fork_generation() -> u64 {
    match now().generation.load(Ordering::Relaxed) {
        0 => {
            live_epoch();
            live_generation()
        }
        generation => generation,
    }
}

/// In the child of a fork, before anything else and before it has a second thread: a new fork generation, also where
/// the kernel cannot wipe the epoch.
pub(crate) fn begin_child() {
    now().generation.store(0, Ordering::Relaxed);
    now().epoch.store(0, Ordering::Relaxed);
    live_epoch();
}

/// Ends the current epoch: every thread's cache is void.
fn bump_epoch() {
    let fresh = LAST_EPOCH.fetch_add(1, Ordering::Relaxed) + 1;
    now().epoch.store(fresh, Ordering::SeqCst);
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
