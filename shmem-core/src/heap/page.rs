//! What the heap stores: its header, the page descriptors, and the word that says what a page is.
//!
//! Mapped bytes are always std's atomics.

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
    _reserved: AtomicU64,
}

const _: () = {
    assert!(size_of::<Descriptor>() == crate::mapping::superblock::DESCRIPTOR_BYTES as usize);
    assert!(offset_of!(Descriptor, word) == 0);
    assert!(offset_of!(Descriptor, listed) == 8);
    assert!(offset_of!(Descriptor, frees) == 12);
    assert!(offset_of!(Descriptor, partial) == 16);
    assert!(offset_of!(Descriptor, groups) == 32);
    assert!(offset_of!(Descriptor, kept) == 48);
};

/// On no list: full, or with too few free blocks to be worth it.
pub(super) const UNLISTED: u32 = 0;
/// On its class's list.
pub(super) const LISTED: u32 = 1;
/// Taken off its list by some thread, which allocates from it.
pub(super) const ADOPTED: u32 = 2;

/// What a page is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum PageState {
    /// Nobody's.
    Free = 0,
    /// A page of a run that is being put together or taken apart; the payload is a [`Claimant`](super::intent::Claimant).
    Claiming = 1,
    /// Holds blocks of the class in the payload.
    Small = 2,
    /// As `Small`, but somebody is looking whether it is empty; nothing is allocated from it.
    Retiring = 3,
    /// The first page of a span; the payload is the span's length in pages.
    Head = 4,
    /// A further page of a span; the payload is the distance to its head.
    Body = 5,
    /// The first page of a run whose memory goes back to the system, or is asked for again; payload as of `Claiming`.
    Punching = 6,
    /// Nobody's, and not to be touched: without memory behind it, or, if the payload is 1, perhaps with.
    Punched = 7,
}

/// The first word of a descriptor: state (4 bits), payload (28 bits), generation (32 bits).
///
/// Every change of the word is a compare-and-swap to [`next`](Word::next), which counts the generation up: a
/// word that is found unchanged was never anything else in between (until the generation wraps, after 2^32
/// changes of one page while one operation is under way).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Word(pub(super) u64);

/// The largest payload, and so the longest span.
pub(super) const MAX_PAYLOAD: u64 = (1 << 28) - 1;

impl Word {
    /// What the page is; `None` if the bytes are damaged.
    #[inline]
    pub(super) fn state(self) -> Option<PageState> {
        Some(match self.0 & 0xF {
            0 => PageState::Free,
            1 => PageState::Claiming,
            2 => PageState::Small,
            3 => PageState::Retiring,
            4 => PageState::Head,
            5 => PageState::Body,
            6 => PageState::Punching,
            7 => PageState::Punched,
            _ => return None,
        })
    }

    /// The class, length, distance or claimant.
    #[inline]
    pub(super) fn payload(self) -> u64 {
        (self.0 >> 4) & MAX_PAYLOAD
    }

    /// Whether the page is in this state with this payload.
    #[inline]
    pub(super) fn is(self, state: PageState, payload: u64) -> bool {
        self.0 as u32 == (payload << 4) as u32 | state as u32
    }

    /// The word that follows this one.
    #[inline]
    pub(super) fn next(self, state: PageState, payload: u64) -> Word {
        debug_assert!(payload <= MAX_PAYLOAD);
        let generation = ((self.0 >> 32) as u32).wrapping_add(1);
        Word(u64::from(generation) << 32 | payload << 4 | state as u64)
    }
}

#[cfg(test)]
pub(crate) fn header_layout() -> crate::format_test::StoredLayout {
    crate::format_test::stored_layout!(HeapHeader { layout, _zero, committed, bad_frees, caches })
}

#[cfg(test)]
pub(crate) fn descriptor_layout() -> crate::format_test::StoredLayout {
    crate::format_test::stored_layout!(Descriptor { word, listed, frees, partial, groups, kept, _reserved })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words() {
        let free = Word(0);
        assert_eq!((free.state(), free.payload()), (Some(PageState::Free), 0));
        let head = free.next(PageState::Head, MAX_PAYLOAD);
        assert!(head.is(PageState::Head, MAX_PAYLOAD) && !head.is(PageState::Head, 1));
        assert_eq!((head.state(), head.payload()), (Some(PageState::Head), MAX_PAYLOAD));
        assert_ne!(head.next(PageState::Free, 0), free);
        assert_eq!(Word(9).state(), None);
        assert_eq!(Word(u64::MAX << 32).next(PageState::Free, 0), free);
    }
}
