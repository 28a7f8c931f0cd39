//! The object directory: names, types and lives of the objects of a segment.
//!
//! Looking a name up takes no lock; changing the directory takes one, which whoever comes next takes away from a dead
//! holder and then [repairs](Directory::repair) what it left. No lock is held while an object is built: its name is
//! *reserved*, the value built, then published, so an initialiser may construct other objects, and a constructor
//! that fails, panics or dies leaves no trace.
//!
//! `destroy` is what `unlink` is to files: the name goes at once, the object when nobody holds it any more.
//!
//! This file needs `unsafe`: it reaches the directory in mapped memory.

mod entry;
mod find;
mod index;
mod locate;
mod migrate;
mod pins;
mod schema_store;
mod staged;
mod wait;

pub(crate) use entry::MAX_NAME;
pub use entry::ObjectKind;
use entry::{Entry, INLINE_NAME, Label, Life, Phase, State};
pub(crate) use pins::Hold;
use pins::{LocalPins, Pin};
pub(crate) use staged::Step;
use staged::step;
use wait::Making;

use crate::access::{Access, Context, MAX_ALIGN};
use crate::crash::crash_point;
use crate::error::{Corrupt, Error, NameError, Result};
use crate::layout::init::{Init, Partial};
use crate::layout::{
    BytesHasher, Fingerprint, ShmSafe, TypeInfo, any_lock_held, describe_stored, first_difference,
    from_halves,
};
use crate::mapping::registry;
use crate::mapping::superblock::{DIRECTORY_AT, FixedHeader};
use crate::participant::{MAX_PROCESSES, Participants, SlotHandle, current_owner};
use crate::primitive::{AtomicU8, AtomicU32, AtomicU64, Ordering};
use crate::sync::{Acquired, Patience, RawLock};
use arc_swap::ArcSwap;
use std::alloc::Layout;
use std::any::TypeId;
use std::collections::HashSet;
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicPtr, fence};
use std::sync::{Arc, Mutex, MutexGuard};

/// How often a reader that cannot lock looks into an index that is being changed, before it looks at every entry.
const MISSES: u32 = 64;
/// How often it then does that, if the index is being changed all the time.
const MISSES_AT_MOST: u32 = 64 * MISSES;

/// Entries in the first chunk; each further one has twice as many.
const FIRST_CHUNK: usize = 16;
/// Chunks: room for 2²⁷ objects.
pub(super) const CHUNKS: usize = 23;

/// The directory's mutable header in the first page.
#[repr(C)]
struct Header {
    lock: RawLock,
    /// The index: see `index::Table`.
    index: AtomicU64,
    /// Odd while index slots move.
    sequence: AtomicU64,
    /// The newest type record.
    schema: AtomicU64,
    /// Entries that were ever used.
    high: AtomicU32,
    /// Names in the index.
    indexed: AtomicU32,
    /// Entries in use; a hint.
    used: AtomicU32,
    /// An entry that may be free; a hint.
    free: AtomicU32,
    /// How many orphaned objects there are, a hint, in bits 0–31; above, how many there ever were.
    orphans: AtomicU64,
    /// Where the chunks of entries stand.
    chunks: [AtomicU64; CHUNKS],
}

const _: () = assert!(DIRECTORY_AT as usize + size_of::<Header>() <= 4096);

/// Drops `count` elements at an address; `false` if it must not, because a lock inside is held.
type DropGlue = unsafe fn(*mut u8, usize) -> bool;

unsafe fn drop_elements<T: ShmSafe>(first: *mut u8, count: usize) -> bool {
    let first = first.cast::<T>();
    // SAFETY: `count` valid elements that are nobody's any more, by the caller.
    unsafe {
        if any_lock_held(first, count) {
            return false;
        }
        ptr::slice_from_raw_parts_mut(first, count).drop_in_place();
    }
    true
}

/// The chunk of an entry and its place there.
fn place(number: u32) -> (usize, usize) {
    let n = number as usize / FIRST_CHUNK + 1;
    let chunk = n.ilog2() as usize;
    (chunk, number as usize - FIRST_CHUNK * ((1 << chunk) - 1))
}

fn number(chunk: usize, i: usize) -> u32 {
    (FIRST_CHUNK * ((1 << chunk) - 1) + i) as u32
}

const fn chunk_len(chunk: usize) -> usize {
    FIRST_CHUNK << chunk
}

/// What an object is looked up by.
#[derive(Clone, Copy)]
pub(crate) struct Key<'n> {
    kind: ObjectKind,
    name: &'n str,
}

impl<'n> Key<'n> {
    /// A named object.
    #[inline(always)]
    pub(crate) fn named(name: &'n str) -> Result<Self> {
        if matches!(name.len(), 1..=MAX_NAME) {
            return Ok(Key { kind: ObjectKind::Named, name });
        }
        Err(Self::invalid(name.len()))
    }

    #[cold]
    fn invalid(len: usize) -> Error {
        NameError::InvalidName { len, max: MAX_NAME }.into()
    }

    /// The unique object of a type, whose name (without layout) stands in for a name.
    pub(crate) fn unique(type_name: &'n str) -> Result<Self> {
        Ok(Key { kind: ObjectKind::Unique, ..Key::named(type_name)? })
    }

    /// An object without a name.
    pub(crate) fn anonymous() -> Self {
        Key { kind: ObjectKind::Anonymous, name: "" }
    }

    fn owned_name(&self) -> String {
        self.name.to_owned()
    }
}

/// One value or a slice of `n`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    One,
    Slice(Option<u64>),
}

impl std::fmt::Display for Shape {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Shape::One => f.write_str("one value"),
            Shape::Slice(None) => f.write_str("a slice"),
            Shape::Slice(Some(n)) => write!(f, "a slice of {n}"),
        }
    }
}

/// A pinned object.
pub(crate) struct Pinned {
    pub(crate) hold: Hold,
    pub(crate) at: NonNull<u8>,
    pub(crate) count: usize,
}

/// What is known of one object: see [`Segment::objects`](crate::Segment::objects).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ObjectInfo {
    /// Its name; for a unique object its type's, for an anonymous one empty.
    pub name: String,
    /// How it is found.
    pub kind: ObjectKind,
    /// The type of its elements.
    pub type_name: String,
    /// The same, exactly.
    pub fingerprint: Fingerprint,
    /// How many elements; 1 unless it is a slice.
    pub count: u64,
    /// Whether it was constructed as a slice.
    pub is_slice: bool,
    /// Its size in bytes, without what it points to.
    pub size_bytes: u64,
    /// How many processes hold it.
    pub holders: u32,
}

/// One mapping's directory.
pub(crate) struct Directory {
    context: Arc<Context>,
    participants: Arc<Participants>,
    pins: LocalPins,
    /// Types whose records are known to be stored.
    known_types: ArcSwap<HashSet<TypeId>>,
    /// Serialises changes of `known_types`.
    storing: Mutex<()>,
    /// How many migrations this mapping is at.
    migrations: AtomicU32,
    /// What names are hashed with, by kind.
    hashers: [BytesHasher; 3],
    /// Where the chunks of entries stand here; null until they were found to lie in live blocks.
    chunks: [AtomicPtr<Entry>; CHUNKS],
    /// The index word whose table was found to lie in a live block.
    checked_index: AtomicU64,
}

impl Directory {
    /// The directory of the segment mapped by `context`; zeroed bytes are an empty one.
    pub(crate) fn new(
        context: Arc<Context>,
        participants: Arc<Participants>,
        header: &FixedHeader,
    ) -> Result<Self, Corrupt> {
        debug_assert!(header.processes as usize <= MAX_PROCESSES);
        let kinds = [ObjectKind::Named, ObjectKind::Unique, ObjectKind::Anonymous];
        let hashers = kinds.map(|kind| BytesHasher::new(context.hash_seed() ^ kind.code()));
        let directory = Directory {
            context,
            participants,
            pins: LocalPins::default(),
            known_types: ArcSwap::default(),
            storing: Mutex::default(),
            migrations: AtomicU32::new(0),
            hashers,
            chunks: Default::default(),
            checked_index: AtomicU64::new(0),
        };
        directory.validate()?;
        Ok(directory)
    }

    /// The hash of kind and name.
    #[inline(always)]
    fn hash(&self, key: &Key<'_>) -> u64 {
        self.hashers[key.kind as usize].hash(key.name.as_bytes())
    }

    #[inline(always)]
    fn header(&self) -> &Header {
        // SAFETY: the first page is mapped and has room for it; all its fields are atomics.
        unsafe { &*self.at(DIRECTORY_AT).cast() }
    }

    #[inline(always)]
    fn at(&self, offset: u64) -> *mut u8 {
        self.context.base().wrapping_add(offset as usize)
    }

    fn offset_of<T>(&self, at: NonNull<T>) -> u64 {
        self.context.offset_of(at.as_ptr().cast()).expect("a block of this segment")
    }

    fn reserved_bytes(&self) -> u64 {
        self.context.reserved_bytes() as u64
    }

    /// Bookkeeping is never undone by a transaction, so this access carries no undo log.
    fn access(&self) -> Access<'_> {
        Access::without_log(&self.context)
    }

    fn is_live(&self, offset: u64) -> bool {
        self.context.allocator().block_at(offset).is_some()
    }

    fn high(&self) -> u32 {
        self.header().high.load(Ordering::Acquire).min(number(CHUNKS, 0))
    }

    /// The entry with this number; `None` if there is none or its chunk is damaged.
    fn entry(&self, number: u32) -> Option<&Entry> {
        let (chunk, i) = place(number);
        self.entry_in(chunk, i)
    }

    /// Entry `i` of a chunk; `None` if there is none or the chunk is damaged.
    #[inline(always)]
    fn entry_in(&self, chunk: usize, i: usize) -> Option<&Entry> {
        // SYNC chunk: Acquire, pairs with the Release in `check_chunk`.
        let first = match self.chunks.get(chunk)?.load(Ordering::Acquire) {
            first if !first.is_null() => first,
            _ => self.check_chunk(chunk)?,
        };
        // SAFETY: inside a live block of the chunk's size, which is never freed; all its fields are atomics.
        (i < chunk_len(chunk)).then(|| unsafe { &*first.add(i) })
    }

    /// The number of an entry, which is one of this directory's.
    fn number_of(&self, entry: &Entry) -> u32 {
        self.number_at(ptr::from_ref(entry).addr()).expect("an entry of this directory")
    }

    /// The entry at this address, if it is one of this directory's.
    fn entry_at(&self, at: usize) -> Option<&Entry> {
        self.entry(self.number_at(at)?)
    }

    fn number_at(&self, at: usize) -> Option<u32> {
        let of_chunk = |(chunk, first): (usize, &AtomicPtr<Entry>)| {
            let first = first.load(Ordering::Acquire);
            let i = at.wrapping_sub(first.addr()) / size_of::<Entry>();
            (!first.is_null() && i < chunk_len(chunk)).then(|| number(chunk, i))
        };
        self.chunks.iter().enumerate().find_map(of_chunk)
    }

    #[cold]
    fn check_chunk(&self, chunk: usize) -> Option<*mut Entry> {
        // SYNC chunk: Acquire, pairs with the Release that published the chunk.
        let at = self.header().chunks.get(chunk)?.load(Ordering::Acquire);
        let block = self.context.allocator().block_at(at)?;
        let bytes = (chunk_len(chunk) * size_of::<Entry>()) as u64;
        let fits = at != 0 && block.offset == at && at.is_multiple_of(64) && block.size_bytes >= bytes;
        let first = fits.then(|| self.at(at).cast::<Entry>())?;
        self.chunks[chunk].store(first, Ordering::Release);
        Some(first)
    }

    /// Whether what the header names can be followed.
    fn validate(&self) -> Result<(), Corrupt> {
        let corrupt = |what| Err(Corrupt { at: DIRECTORY_AT, what });
        let header = self.header();
        let index = header.index.load(Ordering::Acquire);
        if index != 0 && self.checked_index.load(Ordering::Relaxed) != index {
            let Some(table) = self.table() else {
                return corrupt("the directory's index lies outside the segment");
            };
            let block = self.context.allocator().block_at(table.at);
            if !block.is_some_and(|b| b.offset == table.at && b.size_bytes >= table.bytes()) {
                return corrupt("the directory's index is in no block");
            }
            self.checked_index.store(index, Ordering::Relaxed);
        }
        let high = header.high.load(Ordering::Acquire);
        let chunks = if high == 0 { 0 } else { place(high - 1).0 + 1 };
        if chunks > CHUNKS || (0..chunks).any(|chunk| self.entry(number(chunk, 0)).is_none()) {
            return corrupt("the directory's entries are in no block");
        }
        let schema = header.schema.load(Ordering::Acquire);
        if schema != 0 && !self.is_live(schema) {
            return corrupt("the type records are in no block");
        }
        Ok(())
    }

    /// The current index table, found to be in a live block.
    fn checked_table(&self) -> Result<Option<index::Table>> {
        let index = self.header().index.load(Ordering::Acquire);
        if index == 0 {
            return Ok(None);
        }
        if index != self.checked_index.load(Ordering::Relaxed) {
            self.validate()?;
        }
        Ok(self.table())
    }

    // ---- names ---------------------------------------------------------------------------------------

    fn name_bytes(&self, entry: &Entry) -> Option<&[u8]> {
        let len = entry.label().name_len();
        let at = match len {
            0..=INLINE_NAME => (&raw const entry.name).cast::<u8>(),
            _ => self.name_block(entry.name_at(), len)?,
        };
        // SAFETY: inside the entry or a live block; written before the entry was published, and not again while it
        // is pinned or the directory lock is held, as every caller does one of.
        Some(unsafe { std::slice::from_raw_parts(at, len) })
    }

    fn name_block(&self, at: u64, len: usize) -> Option<*const u8> {
        let block = self.context.allocator().block_at(at)?;
        let fits = block.offset == at && len <= MAX_NAME && block.size_bytes >= len as u64;
        fits.then(|| self.at(at).cast_const())
    }

    /// Whether the entry has this name. It may become another's meanwhile, if it is neither pinned nor locked: then the
    /// answer is to be thrown away.
    fn is_named(&self, entry: &Entry, key: &Key<'_>) -> bool {
        let name = key.name.as_bytes();
        if !entry.label().names(key.kind, name.len()) {
            return false;
        }
        if name.len() <= INLINE_NAME {
            return entry.has_inline_name(name);
        }
        let Some(at) = self.name_block(entry.name_at(), name.len()) else {
            return false;
        };
        name.iter().enumerate().all(|(i, wanted)| {
            // SAFETY: inside a block of this segment.
            unsafe { AtomicU8::from_ptr(at.cast_mut().add(i)) }.load(Ordering::Relaxed) == *wanted
        })
    }

    /// The live object called `key`, pinned; without a lock. An object that `check` objects to is not pinned: if it is
    /// destroyed just then, nobody has to wait for a thread that cannot drop it.
    fn find_pinned<T: ShmSafe>(
        &self,
        key: &Key<'_>,
        check: impl Fn(&Entry) -> Result<()>,
    ) -> Result<Option<Hold>> {
        let hash = self.hash(key);
        for _ in 0..64 {
            // SYNC sequence: Acquire, so that no slot is read before it.
            let sequence = self.header().sequence.load(Ordering::Acquire);
            if sequence & 1 != 0 {
                break;
            }
            let Some(table) = self.checked_table()? else { return Ok(None) };
            // Live no more by the time it was pinned: it is gone, or is being converted (and may be live again by now).
            let mut changed = false;
            let mut converting = false;
            let found = self.probe(table, hash, |entry| {
                if entry.hash.load(Ordering::Relaxed) != hash {
                    return None;
                }
                let state = entry.state();
                if !state.is(Phase::Live) {
                    // Perhaps another name's, of the same hash: the lock will tell.
                    converting |= state.is(Phase::Converting);
                    return None;
                }
                let objection = if self.is_named(entry, key) { check(entry).err() } else { return None };
                step(Step::Met);
                let wanted = || {
                    // SYNC life: Acquire, pairs with the fence in `reserve`.
                    fence(Ordering::Acquire);
                    entry.state() == state
                };
                if let Some(objection) = objection {
                    changed |= !wanted();
                    return (!changed).then_some(Err(objection));
                }
                match self.pin(entry, || wanted() && self.is_named(entry, key), || self.glue_of::<T>(entry)) {
                    Pin::Held(hold) => Some(Ok(hold)),
                    Pin::Gone => {
                        changed = true;
                        None
                    }
                    Pin::NoRecord => Some(Err(self.no_record())),
                }
            });
            if let Some(found) = found {
                return found.map(Some);
            }
            if converting {
                break;
            }
            // SYNC sequence: the fence keeps the slots' loads before this one.
            std::sync::atomic::fence(Ordering::Acquire);
            if self.header().sequence.load(Ordering::Relaxed) == sequence && !changed {
                return Ok(None);
            }
        }
        loop {
            let lock = self.lock()?;
            match self.lookup_locked(&lock, key, hash)? {
                Some((entry, state)) if state.is(Phase::Live) => {
                    check(entry)?;
                    match self.pin(entry, || entry.state() == state, || self.glue_of::<T>(entry)) {
                        Pin::Held(hold) => return Ok(Some(hold)),
                        Pin::Gone => return Ok(None),
                        Pin::NoRecord => return Err(self.no_record()),
                    }
                }
                Some((entry, state)) if state.is(Phase::Converting) => {
                    self.wait_for(lock, entry, state, key)?;
                }
                _ => return Ok(None),
            }
        }
    }

    /// The entry that has the name. Beside one that is there, the reservation of what is to supersede it does not count.
    fn lookup_locked(&self, _: &Locked<'_>, key: &Key<'_>, hash: u64) -> Result<Option<(&Entry, State)>> {
        let Some(table) = self.checked_table()? else { return Ok(None) };
        let mut reserved = None;
        let there = self.probe(table, hash, |entry| {
            let state = entry.state();
            if !state.is_indexed() || !self.is_named(entry, key) {
                return None;
            }
            if state.is(Phase::Reserved) {
                reserved.get_or_insert((entry, state));
                return None;
            }
            Some((entry, state))
        });
        Ok(there.or(reserved))
    }

    // ---- the lock ------------------------------------------------------------------------------------

    fn lock(&self) -> Result<Locked<'_>> {
        self.lock_within(Patience::Forever)
    }

    fn lock_within(&self, patience: Patience) -> Result<Locked<'_>> {
        let slot = current_owner(self.header())?;
        let raw = &self.header().lock;
        let clean =
            raw.lock_fast(&slot) || raw.lock_slow(&slot, patience, &self.participants)? == Acquired::Clean;
        let locked = Locked { lock: raw, slot, panicking: std::thread::panicking() };
        crash_point!("lock.taken");
        if !clean {
            self.repair();
            raw.clear_poison();
        }
        Ok(locked)
    }

    /// Makes good what a dead holder of the lock left. The entries are the truth; everything else follows.
    fn repair(&self) {
        crash_point!("repair.begun");
        self.finish_migrations();
        crash_point!("repair.migrated");
        self.rebuild();
        crash_point!("repair.rebuilt");
        self.count_used();
        crash_point!("repair.counted");
    }

    /// Makes `used` right; gives it. Under the directory lock.
    fn count_used(&self) -> u32 {
        let entries = (0..self.high()).filter_map(|n| self.entry(n));
        let used = entries.filter(|e| !e.state().is(Phase::Free)).count() as u32;
        self.header().used.store(used, Ordering::Relaxed);
        used
    }

    /// Undoes what a dead process left in the directory: its pins, its reservations, its half-done conversions and
    /// frees. Whether all of it could be undone: for reservations and conversions this thread needs a slot.
    pub(crate) fn recover(&self, dead: u32) -> bool {
        let mut done = true;
        for number in 0..self.high() {
            let Some(entry) = self.entry(number) else { continue };
            self.unpin_dead(entry, dead);
            crash_point!("recover.unpinned");
            let state = entry.state();
            let of_dead = state.agent() == Some(dead);
            match state.phase() {
                Some(Phase::Reserved) if of_dead => {
                    crash_point!("recover.reservation");
                    done &= self.roll_back(entry);
                }
                Some(Phase::Converting) if of_dead => {
                    crash_point!("recover.conversion");
                    done &= self.take_mark_back(entry, dead);
                }
                // Its drop ran half-way: the object is leaked, never dropped twice.
                Some(Phase::Freeing) if of_dead => {
                    crash_point!("recover.release");
                    self.release(entry);
                }
                Some(Phase::Live)
                    if entry.label().is_anonymous()
                        && !entry.is_pinned()
                        && entry.advance(state, state.to(Phase::Unlinked)) =>
                {
                    crash_point!("recover.anonymous");
                    self.reap_if_free(entry, None);
                }
                Some(Phase::Unlinked) => self.reap_if_free(entry, None),
                // Perhaps it died before it had counted it.
                Some(Phase::Orphan) if !self.has_orphans() => {
                    self.header().orphans.fetch_add(1, Ordering::SeqCst);
                }
                _ => {}
            }
        }
        crash_point!("recover.done");
        done
    }

    /// Takes back a reservation. The object's block, if there is one yet, is freed; what a half-built value owned
    /// was dropped by its initialiser, or is leaked if that died. `false` if the directory cannot be locked.
    fn roll_back(&self, entry: &Entry) -> bool {
        let Ok(_lock) = self.lock() else { return false };
        crash_point!("rollback.locked");
        if entry.state().is(Phase::Reserved) {
            // All under the lock: an index made anew meanwhile would have the name again.
            self.remove(entry.hash.load(Ordering::Relaxed), self.number_of(entry));
            step(Step::TakenOut);
            crash_point!("rollback.removed");
            // CRASH roll-back: whoever goes on begins again; a death inside this leaks the block.
            self.free_object_block(entry);
            step(Step::Emptied);
            crash_point!("rollback.freed");
            self.release(entry);
            step(Step::Released);
            crash_point!("rollback.released");
        }
        true
    }

    /// Makes an entry free and wakes whoever waits for it.
    fn release(&self, entry: &Entry) {
        let name_at = entry.name_at();
        // CRASH release: a death between these leaks the name's block.
        if name_at != 0 {
            entry.name[0].store(0, Ordering::Relaxed);
            crash_point!("release.unnamed");
            let len = entry.label().name_len().clamp(1, MAX_NAME);
            let block = NonNull::new(self.at(name_at)).expect("not null: an offset into the mapping");
            // SAFETY: allocated for this name with this length; nobody reads an entry that is neither pinned nor named.
            unsafe { self.access().deallocate(block, Layout::from_size_align_unchecked(len, 1)) };
        }
        crash_point!("release.nameless");
        self.header().free.store(self.number_of(entry), Ordering::Relaxed);
        crash_point!("release.hinted");
        // CRASH release: until this store the entry is its agent's, and recovery comes here again; a death behind it
        // leaves `used` too high, and so an entry unused until the entries are counted again (`take_entry`).
        entry.settle(entry.state().to(Phase::Free));
        crash_point!("release.free");
        let used = &self.header().used;
        let _ = used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| used.checked_sub(1));
    }

    fn element_layout(&self, entry: &Entry) -> Option<(Layout, u64)> {
        let count = entry.count.load(Ordering::Relaxed);
        let size = entry.element_size.load(Ordering::Relaxed).checked_mul(count)?;
        let align = entry.label().align();
        let layout = Layout::from_size_align(usize::try_from(size).ok()?, align).ok()?;
        (align <= MAX_ALIGN).then_some((layout, count))
    }

    fn free_object_block(&self, entry: &Entry) {
        let at = entry.object.swap(0, Ordering::Relaxed);
        if at == 0 || at >= self.reserved_bytes() {
            return;
        }
        crash_point!("reap.unnamed");
        if let (Some((layout, _)), Some(block)) = (self.element_layout(entry), NonNull::new(self.at(at))) {
            // SAFETY: the object's block, with its layout; the entry, which was taken by one thread alone, named it.
            unsafe { self.access().deallocate(block, layout) };
        }
    }

    /// Drops an object's elements and frees its block. The caller alone took the entry to `Freeing`.
    fn drop_object(&self, entry: &Entry, glue: DropGlue) {
        let at = self.object_at(entry);
        let count = entry.count.load(Ordering::Relaxed) as usize;
        // SAFETY: a valid object that nobody can reach any more, of the glue's type: whoever passed the glue held a
        // pin of that type, or compared fingerprints.
        if unsafe { glue(at.as_ptr(), count) } {
            crash_point!("reap.dropped");
            self.free_object_block(entry);
            crash_point!("reap.freed");
        }
    }

    #[inline(always)]
    fn object_at(&self, entry: &Entry) -> NonNull<u8> {
        let at = match entry.object.load(Ordering::Relaxed) {
            0 => ptr::without_provenance_mut(entry.label().align()),
            at => self.at(at),
        };
        NonNull::new(at).expect("an alignment or an address in the mapping")
    }

    /// Whether there may be orphans.
    #[inline(always)]
    fn has_orphans(&self) -> bool {
        self.header().orphans.load(Ordering::Relaxed) as u32 != 0
    }

    /// Goes from `state`, unlinked, to orphaned.
    fn orphan(&self, entry: &Entry, state: State) {
        let orphans = &self.header().orphans;
        // CRASH orphan: counted before, so a death here leaves a hint that is too high, until somebody finds no orphan; and
        // again, in the upper half, afterwards, so that who looked before does not take the hint back.
        orphans.fetch_add(1, Ordering::SeqCst);
        crash_point!("orphan.counted");
        if entry.advance(state, state.to(Phase::Orphan)) {
            crash_point!("orphan.left");
            orphans.fetch_add(1 << 32, Ordering::SeqCst);
        } else {
            self.one_orphan_less();
        }
    }

    fn one_orphan_less(&self) {
        let less = |orphans: u64| (orphans as u32 != 0).then(|| orphans - 1);
        let _ = self.header().orphans.fetch_update(Ordering::SeqCst, Ordering::Relaxed, less);
    }

    /// Frees the orphans of type `T`, if there are any.
    fn sweep_orphans<T: ShmSafe>(&self) {
        let hint = self.header().orphans.load(Ordering::SeqCst);
        if hint as u32 == 0 || self.participants.process().is_err() {
            return;
        }
        let wanted = Fingerprint::halves_of::<T>();
        let mut met = false;
        for number in 0..self.high() {
            let Some(entry) = self.entry(number) else { continue };
            let state = entry.state();
            if !state.is(Phase::Orphan) {
                continue;
            }
            met = true;
            // Counted after, and by one alone.
            if entry.fingerprint() == wanted
                && self.is_in_block::<T>(entry)
                && self.reap(entry, state, drop_elements::<T>)
            {
                crash_point!("orphan.swept");
                self.one_orphan_less();
            }
        }
        if !met {
            // Not one, and none was added since: a death left the hint.
            let (none, relaxed) = (hint >> 32 << 32, Ordering::Relaxed);
            let _ = self.header().orphans.compare_exchange(hint, none, Ordering::SeqCst, relaxed);
        }
    }

    // ---- finding -------------------------------------------------------------------------------------

    /// The object called `key`, pinned, if it is there.
    #[inline(always)]
    pub(crate) fn find<T: ShmSafe>(&self, key: &Key<'_>, shape: Shape) -> Result<Option<Pinned>> {
        if shape == Shape::One {
            if let Some((hold, at)) = self.find_hot::<T, false>(key.name, key.kind) {
                return Ok(Some(Pinned { hold, at, count: 1 }));
            }
        } else if let Some((hold, at)) = self.find_hot::<T, true>(key.name, key.kind) {
            // Pinned, so the entry stays.
            let count = hold.entry(self).count.load(Ordering::Relaxed);
            if matches!(shape, Shape::Slice(Some(n)) if n != count) {
                self.unpin_of(hold, registry::fork_generation() as u32, drop_elements::<T>);
            } else {
                return Ok(Some(Pinned { hold, at, count: count as usize }));
            }
        }
        self.find_slow::<T>(key, shape)
    }

    #[cold]
    fn find_slow<T: ShmSafe>(&self, key: &Key<'_>, shape: Shape) -> Result<Option<Pinned>> {
        if self.has_orphans() {
            self.sweep_orphans::<T>();
        }
        match self.find_pinned::<T>(key, |entry| self.check_type::<T>(entry, key, shape))? {
            Some(hold) => self.typed::<T>(hold, key, shape).map(Some),
            None => Ok(None),
        }
    }

    /// Checks the type of a pinned object; lets go of it if it is another.
    fn typed<T: ShmSafe>(&self, hold: Hold, key: &Key<'_>, shape: Shape) -> Result<Pinned> {
        let entry = hold.entry(self);
        match self.check_type::<T>(entry, key, shape) {
            Ok(()) => Ok(Pinned {
                hold,
                at: self.object_at(entry),
                count: entry.count.load(Ordering::Relaxed) as usize,
            }),
            Err(e) => {
                self.unpin(hold);
                Err(e)
            }
        }
    }

    #[inline]
    fn check_type<T: ShmSafe>(&self, entry: &Entry, key: &Key<'_>, shape: Shape) -> Result<()> {
        let stored = entry.fingerprint();
        if stored != Fingerprint::halves_of::<T>() {
            return Err(self.type_mismatch(from_halves(stored), T::type_info(), key));
        }
        let count = entry.count.load(Ordering::Relaxed);
        let slice = entry.label().is_slice();
        let fits = match shape {
            Shape::One => !slice,
            Shape::Slice(None) => true,
            Shape::Slice(Some(n)) => n == count,
        };
        if !fits {
            let stored = if slice { Shape::Slice(Some(count)) } else { Shape::One };
            return Err(NameError::CountMismatch {
                name: key.owned_name(),
                stored: stored.to_string(),
                expected: shape.to_string(),
            }
            .into());
        }
        if self.is_in_place::<T>(entry) {
            return Ok(());
        }
        let at = entry.object.load(Ordering::Relaxed);
        Err(Corrupt { at, what: "an object that is not where its entry says" }.into())
    }

    /// Whether the object's place, as far as its entry says, can hold it. Entries may be damaged.
    #[inline(always)]
    fn is_in_place<T: ShmSafe>(&self, entry: &Entry) -> bool {
        let at = entry.object.load(Ordering::Relaxed);
        let count = entry.count.load(Ordering::Relaxed);
        let inside = match (size_of::<T>() as u64).checked_mul(count) {
            Some(0) => true,
            Some(n) => {
                at != 0
                    && at.is_multiple_of(align_of::<T>() as u64)
                    && at.checked_add(n).is_some_and(|end| end <= self.reserved_bytes())
            }
            None => false,
        };
        inside
            && (count == 1 || entry.label().is_slice())
            && entry.element_size.load(Ordering::Relaxed) == size_of::<T>() as u64
            && entry.label().align() == align_of::<T>()
    }

    /// Whether the object stands in a live block of its size: what is asked before it is dropped by somebody who never
    /// held it.
    fn is_in_block<T: ShmSafe>(&self, entry: &Entry) -> bool {
        let at = entry.object.load(Ordering::Relaxed);
        let bytes = (size_of::<T>() as u64).saturating_mul(entry.count.load(Ordering::Relaxed));
        let block = || self.context.allocator().block_at(at);
        let held = || block().is_some_and(|b| b.offset == at && b.size_bytes >= bytes);
        self.is_in_place::<T>(entry) && (bytes == 0 || held())
    }

    #[cold]
    fn type_mismatch(&self, stored: Fingerprint, expected: &'static TypeInfo, key: &Key<'_>) -> Error {
        let (stored_name, difference) = first_difference(stored, expected, &|f| self.stored_record(f));
        if let Some(versions) = difference.versions {
            return NameError::VersionMismatch {
                name: key.owned_name(),
                stored: stored_name,
                path: difference.path,
                type_name: versions.type_name,
                stored_version: versions.stored,
                expected_version: versions.expected,
            }
            .into();
        }
        NameError::TypeMismatch {
            name: key.owned_name(),
            stored: stored_name,
            expected: expected.to_string(),
            path: difference.path,
            stored_part: difference.stored,
            expected_part: difference.expected,
        }
        .into()
    }

    /// A copy of the object called `key`, taken without pinning it: for mappings that cannot be written.
    pub(crate) fn copy<T: ShmSafe + Copy>(&self, key: &Key<'_>) -> Result<Option<T>> {
        let hash = self.hash(key);
        let mut misses = 0;
        loop {
            let sequence = self.header().sequence.load(Ordering::Acquire);
            // What is being converted has the name until another entry is live under it.
            let mut converting = None;
            let look = |entry| {
                let entry: &Entry = entry;
                let state = entry.state();
                if !state.is_there() || !self.is_named(entry, key) {
                    return None;
                }
                if state.is(Phase::Converting) {
                    converting = Some((entry, state));
                    return None;
                }
                Some((entry, state))
            };
            let found = match self.checked_table()? {
                // A dead process may have left the index half moved, and this one cannot mend it. The entries are whole.
                _ if misses >= MISSES => (0..self.high()).filter_map(|n| self.entry(n)).find_map(look),
                Some(table) => self.probe(table, hash, look),
                None => None,
            };
            match found.or(converting).map(|(entry, state)| self.copy_entry::<T>(entry, state, key)) {
                // It went while it was being copied; perhaps another has the name by now.
                Some(Ok(None)) => {}
                Some(copied) => return copied,
                None => {
                    std::sync::atomic::fence(Ordering::Acquire);
                    let now = self.header().sequence.load(Ordering::Relaxed);
                    // Odd all the time: whoever moves slots died, or stands still; and the entries were all looked at.
                    let undisturbed = now == sequence && (now & 1 == 0 || misses >= MISSES);
                    if undisturbed || misses >= MISSES_AT_MOST {
                        return Ok(None);
                    }
                    misses += 1;
                    std::thread::yield_now();
                }
            }
        }
    }

    fn copy_entry<T: ShmSafe + Copy>(&self, entry: &Entry, state: State, key: &Key<'_>) -> Result<Option<T>> {
        let checked = self.check_type::<T>(entry, key, Shape::One);
        if entry.state() != state {
            return Ok(None);
        }
        checked?;
        let at = entry.object.load(Ordering::Relaxed);
        let block = self.context.allocator().block_at(at);
        if size_of::<T>() > 0 && block.is_none_or(|b| at + size_of::<T>() as u64 > b.offset + b.size_bytes) {
            return if entry.state() != state {
                Ok(None)
            } else {
                Err(Corrupt { at, what: "an object in no block" }.into())
            };
        }
        let mut copy = std::mem::MaybeUninit::<T>::uninit();
        for i in 0..size_of::<T>() {
            // SAFETY: inside a block of this segment; bytes that change meanwhile are thrown away below.
            let byte = unsafe { AtomicU8::from_ptr(self.at(at + i as u64)) }.load(Ordering::Relaxed);
            // SAFETY: inside `copy`.
            unsafe { copy.as_mut_ptr().cast::<u8>().add(i).write(byte) };
        }
        // SYNC copy: the fence keeps the bytes' loads before that of the state, which is raised before they change.
        std::sync::atomic::fence(Ordering::Acquire);
        // SAFETY: the object was live before and after: these are the bytes of a valid `T`, which is plain.
        Ok((entry.state() == state).then(|| unsafe { copy.assume_init() }))
    }

    // ---- constructing --------------------------------------------------------------------------------

    /// The object called `key`: found, or built by `init` (called once, with room for how many elements).
    /// `exclusive`: finding it is an error. Gives whether it was built.
    pub(crate) fn construct<T: ShmSafe>(
        &self,
        key: &Key<'_>,
        shape: Shape,
        exclusive: bool,
        build: impl FnOnce(*mut T, Access<'_>) -> Result<()>,
    ) -> Result<(Pinned, bool)> {
        const { assert!(align_of::<T>() <= MAX_ALIGN, "the alignment of a stored type is at most 4096") };
        if self.has_orphans() {
            self.sweep_orphans::<T>();
        }
        let anonymous = key.kind == ObjectKind::Anonymous;
        let hash = self.hash(key);
        let (hold, entry) = loop {
            let check = |entry: &Entry| match exclusive {
                true => Err(NameError::AlreadyExists { name: key.owned_name() }.into()),
                false => self.check_type::<T>(entry, key, shape),
            };
            if !anonymous && let Some(hold) = self.find_pinned::<T>(key, check)? {
                return Ok((self.typed::<T>(hold, key, shape)?, false));
            }
            let lock = self.lock()?;
            let found = if anonymous { None } else { self.lookup_locked(&lock, key, hash)? };
            match found {
                None => break self.reserve::<T>(lock, key, hash, shape, None)?,
                Some((_, state)) if state.is(Phase::Live) => {}
                Some((entry, state)) => self.wait_for(lock, entry, state, key)?,
            }
        };
        let reservation = Reservation::new(self, hold, entry);
        crash_point!("construct.reserved");
        let count = entry.count.load(Ordering::Relaxed) as usize;
        let (first, _) = self.access().allocate_array::<T>(count)?;
        crash_point!("construct.allocated");
        if size_of::<T>() * count != 0 {
            entry.object.store(self.offset_of(first), Ordering::Relaxed);
        }
        crash_point!("construct.named");
        build(first.as_ptr(), Access::new(&self.context))?;
        crash_point!("construct.built");
        assert!(reservation.is_ours(), "shmem: an initialiser that forked returned in the child");
        // CRASH publish: until this store there is no object; a death leaves a reservation to be rolled back, and
        // what the value owns leaked.
        entry.settle(entry.state().to(Phase::Live));
        crash_point!("construct.live");
        reservation.finish();
        Ok((Pinned { hold, at: first.cast(), count }, true))
    }

    /// Takes an entry for `key` and enters the name, also where that is the name of what it is to supersede.
    fn reserve<T: ShmSafe>(
        &self,
        lock: Locked<'_>,
        key: &Key<'_>,
        hash: u64,
        shape: Shape,
        supersedes: Option<Life>,
    ) -> Result<(Hold, &Entry)> {
        let process = self.participants.process()?;
        let anonymous = key.kind == ObjectKind::Anonymous;
        if !anonymous {
            self.reserve_index()?;
        }
        crash_point!("reserve.index");
        self.store_schema::<T>()?;
        crash_point!("reserve.schema");
        let number = self.take_entry()?;
        crash_point!("reserve.entry");
        let entry = self.entry(number).ok_or(Corrupt { at: DIRECTORY_AT, what: "an entry in no block" })?;
        let (slice, count) = match shape {
            Shape::One => (false, 1),
            Shape::Slice(n) => (true, n.unwrap_or(0)),
        };
        // SYNC life: Release, pairs with the Acquire of whoever reads an entry that it does not pin: if it has read what is
        // written below, it finds the state of the life that ended before.
        fence(Ordering::Release);
        self.write_name(entry, key.name)?;
        crash_point!("reserve.name");
        let relaxed = Ordering::Relaxed;
        entry.label.store(Label::new(key.kind, slice, key.name.len(), align_of::<T>()).0, relaxed);
        entry.hash.store(hash, relaxed);
        entry.object.store(0, relaxed);
        entry.count.store(count, relaxed);
        entry.element_size.store(size_of::<T>() as u64, relaxed);
        for (word, half) in entry.fingerprint.iter().zip(Fingerprint::halves_of::<T>()) {
            word.store(half, relaxed);
        }
        entry.constructor.store(lock.slot.owner().0, relaxed);
        entry.supersedes.store(supersedes.map_or(0, |life| life.0), relaxed);
        entry.waits_for.store(0, relaxed);
        crash_point!("reserve.written");
        // CRASH reserve: until this store the entry is free; after it, recovery of this process frees it again, and
        // the next holder of the lock makes the index anew.
        entry.settle(entry.state().by(Phase::Reserved, process));
        crash_point!("reserve.reserved");
        let hold = self.pin_reserved(entry, process);
        crash_point!("reserve.pinned");
        self.header().used.fetch_add(1, relaxed);
        if !anonymous {
            self.insert(hash, number);
            crash_point!("reserve.inserted");
        }
        drop(lock);
        Ok((hold, entry))
    }

    /// A free entry. Under the directory lock.
    fn take_entry(&self) -> Result<u32> {
        let header = self.header();
        let high = self.high();
        let free =
            |number: u32| self.entry(number).is_some_and(|e| e.state().is(Phase::Free) && !e.is_pinned());
        let (chunk, i) = place(high);
        // Before there is a new chunk they are counted: deaths may have left the hint too high, and so entries unused.
        let used = if i == 0 { self.count_used() } else { header.used.load(Ordering::Relaxed) };
        if used < high {
            let hint = header.free.load(Ordering::Relaxed).min(high - 1);
            if let Some(number) = (hint..high).chain(0..hint).find(|number| free(*number)) {
                header.free.store(number + 1, Ordering::Relaxed);
                return Ok(number);
            }
            // Too low: or every `construct` would look at all of them.
            header.used.store(high, Ordering::Relaxed);
        }
        let at = header
            .chunks
            .get(chunk)
            .ok_or(crate::error::AllocError::OutOfMemory { wanted_bytes: 0, largest_free_bytes: 0 })?;
        if at.load(Ordering::Relaxed) == 0 {
            let bytes = chunk_len(chunk) * size_of::<Entry>();
            let layout =
                Layout::from_size_align(bytes, align_of::<Entry>()).expect("a power of two of entries");
            let block = self.access().allocate(layout)?.cast::<u8>();
            // SAFETY: a fresh block of that size.
            unsafe { block.as_ptr().write_bytes(0, bytes) };
            crash_point!("chunk.allocated");
            // CRASH chunk: a death before this store leaks the block.
            // SYNC chunk: Release, pairs with the Acquire in `entry`.
            at.store(self.offset_of(block), Ordering::Release);
            crash_point!("chunk.stored");
        }
        header.high.store(high + 1, Ordering::Release);
        crash_point!("entry.taken");
        Ok(high)
    }

    fn write_name(&self, entry: &Entry, name: &str) -> Result<()> {
        if name.len() > INLINE_NAME {
            let layout = Layout::from_size_align(name.len(), 1).expect("a name is short");
            let block = self.access().allocate(layout)?.cast::<u8>();
            crash_point!("name.allocated");
            // SAFETY: a fresh block for the name.
            unsafe { block.as_ptr().copy_from_nonoverlapping(name.as_ptr(), name.len()) };
            // CRASH name: a death from here to `reserve` leaks the block.
            entry.name[0].store(self.offset_of(block), Ordering::Relaxed);
        } else {
            entry.set_inline_name(name.as_bytes());
        }
        crash_point!("name.written");
        Ok(())
    }

    // ---- destroying ----------------------------------------------------------------------------------

    /// Unlinks the object called `key`; whether it was there. It goes when nobody holds it any more.
    pub(crate) fn destroy<T: ShmSafe>(&self, key: &Key<'_>) -> Result<bool> {
        self.destroy_if::<T>(key, |_| true)
    }

    /// As [`destroy`](Self::destroy), if the number of the object that has the name now is the one `wanted`. (While the
    /// caller pins an object, its number is no other's.)
    pub(crate) fn destroy_if<T: ShmSafe>(&self, key: &Key<'_>, wanted: impl Fn(u32) -> bool) -> Result<bool> {
        let hash = self.hash(key);
        let (entry, life) = loop {
            let lock = self.lock()?;
            let Some((entry, state)) = self.lookup_locked(&lock, key, hash)? else {
                return Ok(false);
            };
            if state.is(Phase::Reserved) || !wanted(self.number_of(entry)) {
                // Under construction: not there yet.
                return Ok(false);
            }
            if state.is(Phase::Converting) {
                self.wait_for(lock, entry, state, key)?;
                continue;
            }
            self.check_type::<T>(entry, key, Shape::Slice(None))?;
            // CRASH unlink: from this store the name is gone for every look-up; a death before the index is mended
            // leaves the lock to be taken over, and the index to be rebuilt.
            if entry.advance(state, state.to(Phase::Unlinked)) {
                crash_point!("unlink.unlinked");
                self.remove(hash, self.number_of(entry));
                crash_point!("unlink.removed");
                drop(lock);
                crash_point!("unlink.unlocked");
                break (entry, state);
            }
        };
        self.reap_if_free(entry, Some((drop_elements::<T>, life)));
        if entry.is_pinned() && entry.state().same_life(life) {
            // The dead do not keep it.
            for holder in entry.holders() {
                self.participants.recover_if_dead(holder);
            }
        }
        Ok(true)
    }

    /// Unlinks the anonymous object that the caller has pinned.
    pub(crate) fn unlink_anonymous(&self, hold: Hold) {
        let entry = hold.entry(self);
        let state = entry.state();
        if state.is(Phase::Live) {
            entry.advance(state, state.to(Phase::Unlinked));
            crash_point!("unlink.anonymous");
        }
    }

    /// The number of a pinned object: no other's, while it is pinned.
    pub(crate) fn number_held(&self, hold: Hold) -> u32 {
        self.number_of(hold.entry(self))
    }

    // ---- looking in ----------------------------------------------------------------------------------

    /// Every object that can be found or is held, in no order.
    pub(crate) fn objects(&self) -> Result<Vec<ObjectInfo>> {
        let _lock = self.lock()?;
        let lookup = |f| self.stored_record(f);
        let mut objects = Vec::new();
        for number in 0..self.high() {
            let Some(entry) = self.entry(number) else { continue };
            let label = entry.label();
            if !entry.state().is_there() {
                continue;
            }
            let (Some(kind), Some(name)) = (label.kind(), self.name_bytes(entry)) else {
                return Err(Corrupt { at: self.entry_offset(entry), what: "a directory entry" }.into());
            };
            let fingerprint = from_halves(entry.fingerprint());
            let count = entry.count.load(Ordering::Relaxed);
            objects.push(ObjectInfo {
                name: String::from_utf8_lossy(name).into_owned(),
                kind,
                type_name: describe_stored(fingerprint, &lookup),
                fingerprint,
                count,
                is_slice: label.is_slice(),
                size_bytes: entry.element_size.load(Ordering::Relaxed).saturating_mul(count),
                holders: entry.holders().len() as u32,
            });
        }
        Ok(objects)
    }

    /// How many objects are live.
    pub(crate) fn count(&self) -> usize {
        (0..self.high()).filter_map(|n| self.entry(n)).filter(|e| e.state().is_there()).count()
    }

    #[cold]
    fn damaged(&self, entry: &Entry, what: &'static str) -> Error {
        Corrupt { at: self.entry_offset(entry), what }.into()
    }

    fn entry_offset(&self, entry: &Entry) -> u64 {
        self.context.offset_of(ptr::from_ref(entry).cast()).unwrap_or(0)
    }

    /// Everything that is wrong with the directory. Others may be using it meanwhile.
    pub(crate) fn check(&self) -> Vec<Corrupt> {
        let mut found: Vec<Corrupt> = self.validate().err().into_iter().collect();
        found.extend(self.check_records());
        let _lock = match self.lock() {
            Ok(lock) => lock,
            Err(_) => {
                found.push(Corrupt {
                    at: DIRECTORY_AT,
                    what: "the directory cannot be locked by this thread",
                });
                return found;
            }
        };
        found.extend(self.check_index());
        for number in 0..self.high() {
            let Some(entry) = self.entry(number) else { continue };
            let at = self.entry_offset(entry);
            let state = entry.state();
            let Some(phase) = state.phase() else {
                found.push(Corrupt { at, what: "an entry's state is none" });
                continue;
            };
            if phase == Phase::Free {
                continue;
            }
            let before = found.len();
            let mut wrong = |what| found.push(Corrupt { at, what });
            if entry.label().kind().is_none() {
                wrong("an object's kind is none");
            }
            // The lock keeps the names of what can be found; those of others go without it, with their objects.
            let name = || self.name_bytes(entry).and_then(|name| std::str::from_utf8(name).ok());
            match state.is_indexed().then(name) {
                None => {}
                Some(None) => wrong("an object's name is nowhere or not UTF-8"),
                Some(Some(name)) => {
                    let kind = entry.label().kind();
                    let hash = kind.map(|kind| self.hash(&Key { kind, name }));
                    if hash.is_some_and(|hash| hash != entry.hash.load(Ordering::Relaxed)) {
                        wrong("an object's hash is not its name's");
                    }
                }
            }
            if phase == Phase::Converting && state.agent().is_none() {
                wrong("an object is being converted by nobody");
            }
            // An agent ends what it does before it goes; a dead one's record stays until that was undone.
            let nobodys = match phase {
                Phase::Reserved => self.is_nobodys(entry, state),
                Phase::Freeing => state.agent().is_none_or(|agent| !self.participants.is_attached(agent)),
                _ => false,
            };
            if nobodys {
                wrong("an object is being constructed or freed by nobody");
            }
            if phase == Phase::Live && entry.supersedes.load(Ordering::Relaxed) != 0 {
                wrong("a live object has yet to supersede another");
            }
            // It went meanwhile: what was read may be another's.
            let went = || entry.state() != state;
            if !matches!(phase, Phase::Live | Phase::Unlinked | Phase::Orphan | Phase::Converting) {
                if went() {
                    found.truncate(before);
                }
                continue;
            }
            let object = entry.object.load(Ordering::Relaxed);
            match self.element_layout(entry) {
                None => wrong("an object's layout is impossible"),
                Some((layout, _)) if layout.size() > 0 => {
                    let block = self.context.allocator().block_at(object);
                    if !block.is_some_and(|b| b.offset == object && b.size_bytes >= layout.size() as u64) {
                        wrong("an object is in no block of its size");
                    }
                }
                Some(_) => {}
            }
            if self.stored_record(from_halves(entry.fingerprint())).is_none() {
                wrong("an object's type has no record");
            }
            let named = !entry.label().is_anonymous();
            let hash = entry.hash.load(Ordering::Relaxed);
            let indexed = self.table().and_then(|t| self.probe(t, hash, |e| ptr::eq(e, entry).then_some(())));
            if state.is_there() && named && indexed.is_none() {
                wrong("a live object is not in the index");
            }
            if went() {
                found.truncate(before);
            }
        }
        found
    }

    /// The blocks that the directory itself uses: chunks, index tables, names, type records.
    #[cfg(test)]
    pub(crate) fn own_blocks(&self) -> Vec<crate::access::BlockInfo> {
        let mut at: Vec<u64> = self.tables().into_iter().map(|(at, _)| at).collect();
        at.extend(
            self.header().chunks.iter().map(|chunk| chunk.load(Ordering::Relaxed)).filter(|at| *at != 0),
        );
        at.extend(self.record_blocks());
        at.extend(
            (0..self.high())
                .filter_map(|n| self.entry(n))
                .filter(|e| !e.state().is(Phase::Free))
                .map(Entry::name_at)
                .filter(|at| *at != 0),
        );
        at.into_iter().filter_map(|at| self.context.allocator().block_at(at)).collect()
    }

    // ---- fork ----------------------------------------------------------------------------------------

    /// After a fork, in either process.
    pub(crate) fn thaw(&self) {
        self.pins.thaw();
    }

    /// Keeps every other thread out of what this process alone locks, across a fork.
    pub(crate) fn hold(&self) -> MutexGuard<'_, ()> {
        self.storing.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// In the child of a fork; whether it got pins of its own.
    pub(crate) fn settle_child(&self, pinned: bool) {
        self.pins.settle(pinned);
    }
}

/// The directory lock, held.
struct Locked<'d> {
    lock: &'d RawLock,
    slot: SlotHandle,
    /// Whether the thread was panicking already when it locked.
    panicking: bool,
}

impl Drop for Locked<'_> {
    fn drop(&mut self) {
        // A panic under the lock leaves repairs to do, like a death.
        let poisoned = !self.panicking && std::thread::panicking();
        if poisoned {
            self.lock.blame_panic();
        }
        self.lock.unlock(&self.slot, poisoned);
    }
}

/// An entry under construction: given back if that fails or panics.
struct Reservation<'d> {
    directory: &'d Directory,
    hold: Hold,
    entry: &'d Entry,
    fork_generation: u64,
    making: Making,
}

impl<'d> Reservation<'d> {
    /// Of an entry that this thread has just reserved.
    fn new(directory: &'d Directory, hold: Hold, entry: &'d Entry) -> Self {
        let fork_generation = registry::fork_generation();
        Reservation { directory, hold, entry, fork_generation, making: Making::begin(entry) }
    }

    /// Whether this process made it. Else it is the child of a fork inside the initialiser, and it is its parent's.
    fn is_ours(&self) -> bool {
        self.fork_generation == registry::fork_generation()
    }

    /// The object is there.
    fn finish(self) {
        let this = std::mem::ManuallyDrop::new(self);
        this.making.end();
        this.entry.is_made(this.making.constructor());
    }
}

impl Drop for Reservation<'_> {
    fn drop(&mut self) {
        self.making.end();
        if !self.is_ours() {
            return;
        }
        self.directory.unpin(self.hold);
        // The thread had a slot when it reserved. CRASH: were it not so, the death of the process would roll it back.
        let _ = self.directory.roll_back(self.entry);
    }
}

/// Builds `n` elements in place; drops what was built if one fails.
///
/// # Safety
/// 1. There is room for `n` elements at `first`.
pub(crate) unsafe fn build_slice<T: ShmSafe, I: Init<T>>(
    first: *mut T,
    n: usize,
    mut each: impl FnMut(usize) -> I,
    access: Access<'_>,
) -> Result<()> {
    let mut partial = Partial::new(first);
    for i in 0..n {
        // SAFETY: 1.
        unsafe { partial.push(each(i), access)? };
    }
    partial.finish();
    Ok(())
}

#[cfg(test)]
pub(crate) fn directory_header_layout() -> crate::format_test::StoredLayout {
    crate::format_test::stored_layout!(Header {
        lock,
        index,
        sequence,
        schema,
        high,
        indexed,
        used,
        free,
        orphans,
        chunks
    })
}

#[cfg(test)]
pub(crate) use {entry::entry_layout, schema_store::schema_head_layout, staged::at};

#[cfg(test)]
pub(super) mod test_support {
    use super::*;

    /// Leaves the index as a process does that dies while it moves slots.
    pub(crate) fn die_moving(directory: &Directory) {
        directory.header().sequence.fetch_or(1, Ordering::SeqCst);
    }

    /// Damages an entry: it is being converted, by the process with the record `agent` or by nobody.
    pub(crate) fn converted_by(directory: &Directory, number: u32, agent: Option<u32>) {
        let entry = directory.entry(number).unwrap();
        let live = entry.state();
        entry.settle(agent.map_or(live.to(Phase::Converting), |agent| live.by(Phase::Converting, agent)));
    }

    /// Damages an entry: its object is being freed by the process with the record `agent`.
    pub(crate) fn freed_by(directory: &Directory, number: u32, agent: u32) {
        let entry = directory.entry(number).unwrap();
        entry.settle(entry.state().by(Phase::Freeing, agent));
    }

    /// Damages an entry: it is being constructed by the process with the record `agent`.
    pub(crate) fn constructed_by(directory: &Directory, number: u32, agent: u32) {
        let entry = directory.entry(number).unwrap();
        entry.settle(entry.state().by(Phase::Reserved, agent));
    }

    /// Repairs what [`constructed_by`] damaged.
    pub(crate) fn made_live(directory: &Directory, number: u32) {
        let entry = directory.entry(number).unwrap();
        entry.settle(entry.state().to(Phase::Live));
    }

    fn named<'d>(directory: &'d Directory, name: &str) -> Option<&'d Entry> {
        let entries = (0..directory.high()).filter_map(|n| directory.entry(n));
        let key = Key::named(name).unwrap();
        entries.filter(|e| !e.state().is(Phase::Free)).find(|e| directory.is_named(e, &key))
    }

    /// Whether the object of this name is under construction.
    pub(crate) fn is_reserved(directory: &Directory, name: &str) -> bool {
        named(directory, name).is_some_and(|entry| entry.state().is(Phase::Reserved))
    }

    /// Whether somebody sleeps until it is made.
    pub(crate) fn has_sleepers(directory: &Directory, name: &str) -> bool {
        named(directory, name).is_some_and(|entry| entry.state() == entry.state().with_sleepers())
    }

    /// Whether its constructor waits for another's.
    pub(crate) fn waits(directory: &Directory, name: &str) -> bool {
        named(directory, name).is_some_and(|entry| entry.waits_for.load(Ordering::SeqCst) != 0)
    }

    /// The record of this mapping's process.
    pub(crate) fn record(directory: &Directory) -> u32 {
        directory.participants.attached_now().unwrap()
    }

    /// Sets the hints: entries in use, an entry that may be free, orphans.
    pub(crate) fn hint(directory: &Directory, used: u32, free: u32, orphans: u32) {
        let header = directory.header();
        header.used.store(used, Ordering::SeqCst);
        header.free.store(free, Ordering::SeqCst);
        header.orphans.store(orphans.into(), Ordering::SeqCst);
    }

    /// How many orphans there are, and whether the hint says that there may be some.
    pub(crate) fn orphans(directory: &Directory) -> (usize, bool) {
        let entries = (0..directory.high()).filter_map(|n| directory.entry(n));
        (entries.filter(|e| e.state().is(Phase::Orphan)).count(), directory.has_orphans())
    }

    /// Entries that were ever used.
    pub(crate) fn high(directory: &Directory) -> u32 {
        directory.high()
    }

    /// Lets the next life of a free entry be the last before generations come round.
    pub(crate) fn age(directory: &Directory, number: u32) {
        let entry = directory.entry(number).unwrap();
        assert!(entry.state().is(Phase::Free));
        entry.settle(State(u64::MAX).as_free());
    }

    /// Whether this mapping's process counts its pins of the entry in a lane.
    pub(crate) fn is_in_lane(directory: &Directory, number: u32) -> bool {
        let entry = directory.entry(number).unwrap();
        let lane = entry::Lane(entry.lane(record(directory)).load(Ordering::SeqCst));
        lane.process() == Some(record(directory)) && lane.pins() != 0
    }

    /// Whether readers are sent to the lock.
    pub(crate) fn is_moving(directory: &Directory) -> bool {
        directory.header().sequence.load(Ordering::SeqCst) & 1 != 0
    }

    /// A thread between letting go of an object and looking whether it was the last to hold it.
    pub(crate) struct LateReap<'d> {
        directory: &'d Directory,
        number: u32,
        life: State,
        glue: DropGlue,
    }

    pub(crate) fn late_reap(directory: &Directory, number: u32) -> LateReap<'_> {
        let life = directory.entry(number).unwrap().state();
        LateReap { directory, number, life, glue: |_, _| panic!("the glue of another type") }
    }

    impl LateReap<'_> {
        pub(crate) fn number(&self) -> u32 {
            self.number
        }

        /// Looks while the entry's next object is unlinked, and its own reaper has not come yet.
        pub(crate) fn on_unlinked(self) {
            let entry = self.directory.entry(self.number).unwrap();
            let live = entry.state();
            let words = || entry.lanes.iter().chain(&entry.pins);
            let pins: Vec<u64> = words().map(|word| word.swap(0, Ordering::SeqCst)).collect();
            assert!(entry.advance(live, live.to(Phase::Unlinked)));
            self.directory.reap_if_free(entry, Some((self.glue, self.life)));
            entry.settle(live);
            for (word, pins) in words().zip(pins) {
                word.store(pins, Ordering::SeqCst);
            }
        }
    }
}
