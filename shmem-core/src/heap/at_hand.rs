//! The fast path: allocating from, and freeing into, the magazines of a thread that has a cache, in a segment of 64 KiB
//! pages, for requests up to 1 KiB that are aligned to 8. All else takes the way of `small` and `span`, which checks the
//! same and says what is wrong.
//!
//! Every instruction counts here: a pair takes about a hundred of them. So what a size needs stands in one line of a
//! table, and nothing is called.
//!
//! This file needs `unsafe`: it says whose the cache is that the registry knows.

use super::Heap;
use super::cache::Cache;
use super::classes::{Classes, FINE};
use super::magazine::{Magazine, Pushed};
use super::page::PageState;
use super::poison;
use crate::mapping::registry;
use crate::primitive::Ordering;
use std::alloc::Layout;
use std::ptr::NonNull;

/// What the fast path needs to know of the class that serves a size.
#[derive(Clone, Copy)]
#[repr(C, align(32))]
struct Quick {
    /// How many blocks a magazine has room for; 0 if there is none.
    kept: u32,
    magazine_at: u32,
    size: u32,
    blocks: u32,
    /// The lower half of the word of a page of this class.
    page: u32,
    /// The inverse of the size's odd part modulo 2^32, and the power of two that is the rest: see [`Quick::block_at`].
    inverse: u32,
    twos: u32,
}

/// For 64 KiB pages.
const PAGE_SHIFT: u32 = 16;

/// For each size divided by 8, rounded up.
static QUICK: [Quick; FINE / 8 + 1] = {
    let classes = Classes::new(PAGE_SHIFT);
    let none = Quick { kept: 0, magazine_at: 0, size: 0, blocks: 0, page: 0, inverse: 0, twos: 0 };
    let mut table = [none; FINE / 8 + 1];
    // A size of 0 has no block.
    let mut i = 1;
    while i < table.len() {
        let number = classes.fine[i];
        let class = classes.table[number as usize];
        let twos = class.size.trailing_zeros();
        table[i] = Quick {
            kept: class.kept,
            magazine_at: class.magazine_at,
            size: class.size,
            blocks: class.blocks,
            page: (number as u32) << 4 | PageState::Small as u32,
            inverse: inverse(class.size >> twos),
            twos,
        };
        i += 1;
    }
    table
};

/// The inverse of an odd number modulo 2^32, by Newton's iteration.
const fn inverse(odd: u32) -> u32 {
    let mut x = odd;
    let mut bits = 3;
    while bits < 32 {
        x = x.wrapping_mul(2u32.wrapping_sub(odd.wrapping_mul(x)));
        bits *= 2;
    }
    x
}

impl Quick {
    #[inline(always)]
    fn of(layout: Layout) -> Option<&'static Quick> {
        // The largest sizes wrap to those that have no block.
        if layout.align() > 8 { None } else { QUICK.get(layout.size().wrapping_add(7) / 8) }
    }

    /// The block that begins at byte `at` of a page; a number that is not below `blocks` if none does.
    ///
    /// A product with the odd part's inverse, rotated, is the quotient if the division is exact, and otherwise more than
    /// any quotient (Granlund and Montgomery, 1994; Lemire et al., "Faster remainder by direct computation", 2019).
    #[inline(always)]
    fn block_at(&self, at: u32) -> u32 {
        at.wrapping_mul(self.inverse).rotate_right(self.twos)
    }
}

impl Heap {
    /// This thread's magazine of the class, if it has a cache.
    #[inline(always)]
    fn quick_magazine(&self, quick: &Quick) -> Option<Magazine<'_>> {
        let at = registry::blocks_of(self.quick_base, self.epoch)?;
        // SAFETY: 1: by `adopt_cache`, for this mapping, which is there. 1: from the table of its page size.
        Some(unsafe { Cache::of_thread(at).magazine_at(quick.magazine_at, quick.kept) })
    }

    /// A block that this thread has at hand.
    #[inline(always)]
    pub(super) fn take_at_hand(&self, layout: Layout) -> Option<NonNull<[u8]>> {
        let quick = Quick::of(layout)?;
        let offset = self.quick_magazine(quick)?.pop()?;
        Some(self.hand_out(offset, quick.size, layout))
    }

    /// Puts a block at hand, if that is all there is to do: it is a live block of the layout's class and none of those
    /// freed last, and there is room.
    #[inline(always)]
    pub(super) fn keep_at_hand(&self, offset: u64, layout: Layout) -> bool {
        let Some(quick) = Quick::of(layout) else { return false };
        let Some(magazine) = self.quick_magazine(quick) else { return false };
        let data = offset.wrapping_sub(self.raw.header.data_at);
        let (page, block) = (data >> PAGE_SHIFT, quick.block_at(u32::from(data as u16)));
        let kept = self.raw.is_known_committed(page)
            && self.raw.word(page).0 as u32 == quick.page
            && block < quick.blocks
            && self.raw.bits_of_64k(page, block / 64).load(Ordering::Relaxed) >> (block % 64) & 1 != 0
            && magazine.push(offset, self.raw.most_kept) == Pushed::Done;
        if kept {
            poison::poison(self.raw.header.segment_id, offset, quick.size.into());
        }
        kept
    }

    /// The address by which a thread's cache is found in the fast path; none has that of another page size.
    pub(super) fn quick_base(base: usize, page_shift: u32) -> usize {
        if page_shift == PAGE_SHIFT { base } else { usize::MAX }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_found_from_their_bytes() {
        let classes = Classes::for_page(PAGE_SHIFT).unwrap();
        for (i, quick) in QUICK.iter().enumerate().skip(1) {
            let number = classes.of(i * 8, 8).unwrap();
            let class = classes.get(number).unwrap();
            assert_eq!((quick.size, quick.blocks, quick.kept), (class.size, class.blocks, class.kept));
            assert_eq!(quick.page, (number as u32) << 4 | PageState::Small as u32);
            for at in 0..1 << PAGE_SHIFT {
                let expected = (at % class.size == 0).then_some(at / class.size);
                let found = Some(quick.block_at(at)).filter(|block| *block < quick.blocks);
                assert_eq!(found, expected.filter(|block| *block < class.blocks), "{i} {at}");
            }
        }
    }
}
