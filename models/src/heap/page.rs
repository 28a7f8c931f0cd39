//! Stands in for the structures that the heap stores.

pub(super) use super::word::{PageState, Word};
use crate::primitive::{AtomicU32, AtomicU64};

#[derive(Default)]
#[repr(C)]
pub(super) struct HeapHeader {
    pub(super) committed: AtomicU64,
    pub(super) bad_frees: AtomicU64,
    pub(super) caches: [AtomicU64; 1],
}

#[derive(Default)]
#[repr(C, align(64))]
pub(super) struct Descriptor {
    pub(super) word: AtomicU64,
    pub(super) listed: AtomicU32,
    pub(super) frees: AtomicU32,
    pub(super) partial: [AtomicU64; 1],
    pub(super) groups: [AtomicU64; 1],
}

pub(super) const UNLISTED: u32 = 0;
pub(super) const LISTED: u32 = 1;
pub(super) const ADOPTED: u32 = 2;
