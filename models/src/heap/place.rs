//! The heap's part of a segment's file, made of loom's atomics.
//!
//! This file needs `unsafe`: it says that the tables stand where the heap looks for them.

use super::classes::{Classes, KEPT, MAGAZINE_HEADER_WORDS};
use super::page::{Descriptor, HeapHeader, PageState, Word};
use super::raw::{FREE_LIST, Raw, bits_of};
use crate::mapping::superblock::{FixedHeader, State};
use crate::participant::table::SLOTS;
use crate::primitive::{AtomicU64, Ordering, watch};
use loom::cell::UnsafeCell;
use std::mem::offset_of;
use std::ptr::NonNull;
use std::sync::Arc;

/// How many pages there are.
pub(super) const PAGES: usize = 2;

pub(crate) const HEAP_AT: u64 = offset_of!(Place, head) as u64;
pub(crate) const STATE_AT: u64 = offset_of!(Place, state) as u64;
pub(crate) const DESCRIPTOR_BYTES: u64 = size_of::<Descriptor>() as u64;
pub(crate) const CACHE_BYTES: u64 = size_of::<CachePlace>() as u64;

/// Two words are used of a page's bitmap.
pub(crate) const BITMAP_BYTES: u64 = 16;

#[derive(Default)]
#[repr(C, align(512))]
struct Bits([AtomicU64; BITMAP_BYTES as usize / 8]);

#[derive(Default)]
#[repr(C, align(64))]
struct CachePlace {
    life: AtomicU64,
    zero: [u64; 7],
    magazine: [AtomicU64; MAGAZINE_HEADER_WORDS + KEPT as usize],
}

/// See the [module](self).
#[repr(C, align(4096))]
pub(crate) struct Place {
    head: HeapHeader,
    state: State,
    descriptors: [Descriptor; PAGES],
    bitmaps: [Bits; PAGES],
    caches: [CachePlace; SLOTS],
    /// Who stores anything in a cache writes here, too, and loom objects if two do so at once.
    at_work: [UnsafeCell<()>; SLOTS],
}

// SAFETY: the cells hold nothing.
unsafe impl Send for Place {}
// SAFETY: likewise.
unsafe impl Sync for Place {}

/// Where the pages begin. Nothing is there.
const DATA_AT: u64 = 1 << 20;
const _: () = assert!(size_of::<Place>() as u64 <= DATA_AT && FREE_LIST < PAGES);

impl Place {
    /// A heap whose first page is one of the class in which only these blocks are free; the second page is free.
    pub(super) fn with_free(free: &[u32]) -> Arc<Place> {
        let place = Arc::new(Place {
            head: HeapHeader::default(),
            state: State::default(),
            descriptors: Default::default(),
            bitmaps: Default::default(),
            caches: Default::default(),
            at_work: std::array::from_fn(|_| UnsafeCell::new(())),
        });
        let watched = place.clone();
        watch(move |at| watched.note_write(at));
        place.head.committed.store(PAGES as u64, Ordering::Release);
        let raw = place.raw();
        let class = raw.classes.get(0).expect("the one class");
        for i in 0..class.words {
            let free =
                free.iter().filter(|block| **block / 64 == i).fold(0, |bits, block| bits | 1 << (block % 64));
            raw.bits(0, i).store(class.mask(i) & !free, Ordering::SeqCst);
        }
        raw.change(0, Word(0), PageState::Small, 0).expect("nobody else is there");
        raw.list(0, 0, 1);
        place
    }

    /// Takes the second page away again.
    pub(super) fn uncommit_second(&self) {
        self.head.committed.store(1, Ordering::Release);
    }

    fn note_write(&self, at: usize) {
        let from = self.caches.as_ptr().addr();
        if let Some(cell) = at.checked_sub(from).and_then(|at| self.at_work.get(at / CACHE_BYTES as usize)) {
            cell.with_mut(|_| ());
        }
    }

    /// The heap's tables, as any process sees them.
    pub(super) fn raw(self: &Arc<Self>) -> Raw {
        let header = FixedHeader {
            slots: SLOTS as u32,
            heap_page_shift: 16,
            max_capacity: (PAGES as u64) << 16,
            descriptors_at: offset_of!(Place, descriptors) as u64,
            bitmaps_at: offset_of!(Place, bitmaps) as u64,
            caches_at: offset_of!(Place, caches) as u64,
            data_at: DATA_AT,
            ..FixedHeader::default()
        };
        let base = NonNull::from(&**self).as_ptr().expose_provenance();
        // SAFETY: 1: the tables stand there, and every heap keeps the place; what lies behind is never accessed. 2: as the
        // library's, but that its tables are smaller.
        unsafe { Raw::new(base, &header) }.expect("a page size that is known")
    }

    /// The blocks of a page that are not free.
    pub(super) fn taken(raw: &Raw, page: u64) -> Vec<u32> {
        let class = Classes::for_page(16).and_then(|classes| classes.get(0)).expect("the one class");
        let of_word =
            |i| bits_of(raw.bits(page, i).load(Ordering::SeqCst)).map(move |bit| i * 64 + bit as u32);
        (0..class.words).flat_map(of_word).collect()
    }
}
