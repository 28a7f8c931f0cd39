//! What the heap stores: its header and the page descriptors.
//!
//! Mapped bytes are always std's atomics.

pub(super) use super::word::{MAX_PAYLOAD, PageState, Word};
use std::mem::offset_of;
use std::sync::atomic::{AtomicU32, AtomicU64};

/// The value of [`HeapHeader::layout`]: names the class tables and the protocol.
pub(super) const LAYOUT: u32 = 1;

/// The heap's header in the segment's first page.
#[repr(C)]
pub(super) struct HeapHeader {
    /// [`LAYOUT`] once the heap is formatted.
    pub(super) layout: AtomicU32,
    _zero: u32,
    /// How many heap pages, from the first, got memory behind them, and their descriptors and bitmaps too.
    /// Only ever raised: pages whose memory was given back are `Punched`.
    pub(super) committed: AtomicU64,
    /// How many frees were refused because the block was not live.
    pub(super) bad_frees: AtomicU64,
    /// The slots whose caches have memory behind them, a bit for each.
    pub(super) caches: [AtomicU64; 4],
}

const _: () = {
    assert!(size_of::<HeapHeader>() == 56 && align_of::<HeapHeader>() == 8);
    assert!(offset_of!(HeapHeader, layout) == 0);
    assert!(offset_of!(HeapHeader, committed) == 8);
    assert!(offset_of!(HeapHeader, bad_frees) == 16);
    assert!(offset_of!(HeapHeader, caches) == 24);
};

/// What the heap knows of one page. Zeroed memory is the descriptor of a free page.
///
/// Descriptors stand in groups of 64, one memory page a group. `partial` and `groups` describe not this page but
/// its whole group and, in the first group of each 64, that group of groups: the descriptor with number `i` in its
/// group holds the words of lists `i` and `i + 64`; see `hints`.
#[repr(C, align(64))]
pub(super) struct Descriptor {
    /// A [`Word`]: the only field that decides anything.
    pub(super) word: AtomicU64,
    /// Hint: [`UNLISTED`], [`LISTED`] or [`ADOPTED`].
    pub(super) listed: AtomicU32,
    /// Hint: about how many blocks were freed while the page was [`UNLISTED`].
    pub(super) frees: AtomicU32,
    /// Hint: the pages of this group that are on a list.
    pub(super) partial: [AtomicU64; 2],
    /// Hint: the groups of this group of groups that have a page on a list.
    pub(super) groups: [AtomicU64; 2],
    /// 1 if the page always has memory behind it: bytes of it may be read by who has not made sure that they are live.
    pub(super) kept: AtomicU64,
    /// 1 if blocks of the page may have been handed out for requests of smaller classes: sticky.
    pub(super) lends: AtomicU32,
    /// 1 if the page is the first one of a raw span. Nobody but who has the span, or the page in hand, writes it.
    pub(super) raw_span: AtomicU32,
}

const _: () = {
    assert!(size_of::<Descriptor>() == crate::mapping::superblock::DESCRIPTOR_BYTES as usize);
    assert!(offset_of!(Descriptor, word) == 0);
    assert!(offset_of!(Descriptor, listed) == 8);
    assert!(offset_of!(Descriptor, frees) == 12);
    assert!(offset_of!(Descriptor, partial) == 16);
    assert!(offset_of!(Descriptor, groups) == 32);
    assert!(offset_of!(Descriptor, kept) == 48);
    assert!(offset_of!(Descriptor, lends) == 56);
    assert!(offset_of!(Descriptor, raw_span) == 60);
};

/// On no list: full, or with too few free blocks to be worth it.
pub(super) const UNLISTED: u32 = 0;
/// On its class's list.
pub(super) const LISTED: u32 = 1;
/// Taken off its list by some thread, which allocates from it.
pub(super) const ADOPTED: u32 = 2;

#[cfg(test)]
pub(crate) fn header_layout() -> crate::format_test::StoredLayout {
    crate::format_test::stored_layout!(HeapHeader { layout, _zero, committed, bad_frees, caches })
}

#[cfg(test)]
pub(crate) fn descriptor_layout() -> crate::format_test::StoredLayout {
    crate::format_test::stored_layout!(Descriptor {
        word,
        listed,
        frees,
        partial,
        groups,
        kept,
        lends,
        raw_span
    })
}
