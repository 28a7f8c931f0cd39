//! The object directory: names, types and lives of the objects of a segment.
//!
//! Looking a name up takes no lock; changing the directory takes one, which whoever comes next takes away from a dead
//! holder and then [repairs](Directory::repair) what it left. No lock is held while an object is built: its name is
//! *reserved*, the value built, then published, so an initialiser may construct other objects, and a constructor
//! that fails, panics or dies leaves no trace.
//!
//! `destroy` is what `unlink` is to files: the name goes at once, the object when nobody holds it any more.
//!
//! | file | what |
//! |---|---|
//! | `entry`, `index`, `schema_store` | what is stored: objects, the index of their names, descriptions of their types |
//! | `find`, `lookup` | finding: the short way, and all others |
//! | `construct`, `destroy`, `migrate` | changing, under the lock |
//! | `wait` | waiting for what another constructs or converts |
//! | `pins` | what keeps objects alive |
//! | `recover` | the lock; making good what the dead left |
//! | `inspect`, `locate` | looking in |
//!
//! This file needs `unsafe`: it reaches the directory in mapped memory.

mod construct;
mod destroy;
mod entry;
mod find;
mod index;
mod inspect;
mod locate;
mod lookup;
mod migrate;
mod pins;
mod recover;
mod schema_store;
mod staged;
mod wait;

use construct::Reservation;
pub(crate) use construct::build_slice;
pub(crate) use entry::MAX_NAME;
pub use entry::ObjectKind;
use entry::{Entry, Life, Phase, State};
pub(crate) use inspect::Stock;
pub(crate) use pins::Hold;
use pins::LocalPins;
use recover::Locked;

use crate::access::{Access, Context};
use crate::error::{Corrupt, Error, NameError, Result};
use crate::layout::{BytesHasher, Fingerprint, ShmSafe, any_lock_held};
use crate::mapping::superblock::{DIRECTORY_AT, FixedHeader};
use crate::participant::{MAX_PROCESSES, Participants};
use crate::primitive::{AtomicU32, AtomicU64, Ordering};
use crate::sync::RawLock;
use arc_swap::ArcSwap;
use std::any::TypeId;
use std::collections::HashSet;
use std::ptr::{self, NonNull};
use std::sync::atomic::AtomicPtr;
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

    /// As [`access`](Self::access), for who looks through the segment.
    pub(crate) fn own_access(&self) -> Access<'_> {
        self.access()
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
pub(crate) use {
    entry::entry_layout,
    schema_store::schema_head_layout,
    staged::{Step, at},
};

#[cfg(test)]
pub(super) mod test_support;
