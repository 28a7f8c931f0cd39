//! [`Block`]: memory that says whose it is.
//!
//! This file needs `unsafe`: it reads, writes and frees raw memory.

use super::PAGE;
use crate::Random;
use shmem_core::Segment;
use std::alloc::Layout;
use std::fmt;
use std::ptr::NonNull;

/// The largest block of the programs; more would not go into a block's word.
const MOST: usize = (1 << SIZE_BITS) - 1;

/// What a block's word is made of, lowest bits first: its offset divided by 8, its size, the logarithm of its alignment,
/// whether it is raw, its owner, and a random part.
const OFFSET_BITS: u32 = 28;
const SIZE_BITS: u32 = 19;
const ALIGN_BITS: u32 = 4;
const OWNER_BITS: u32 = 5;

const SIZE_AT: u32 = OFFSET_BITS;
const ALIGN_AT: u32 = SIZE_AT + SIZE_BITS;
const RAW_AT: u32 = ALIGN_AT + ALIGN_BITS;
const OWNER_AT: u32 = RAW_AT + 1;
const RANDOM_AT: u32 = OWNER_AT + OWNER_BITS;

/// A live block of a segment, all of it filled with its word.
///
/// The word is all there is to know of the block, so it may be left to another thread or, in shared memory, to another
/// process. Whoever has it has the block: there is one value for each block, and it is freed once.
///
/// # Invariants
/// 1. The word describes a live block of the segment that its methods are called with, by the layout that it is freed
///    with, allocated as bytes if it says raw; nobody else uses the block.
#[must_use = "who drops it leaks the block"]
#[derive(PartialEq, Eq)]
pub struct Block(u64);

impl Block {
    /// A new block. `owner` is below 32.
    pub fn new(segment: &Segment, random: &mut Random, owner: u64, layout: Layout) -> Self {
        let raw = random.below(2) == 0;
        let fresh = match raw {
            true => segment.allocate(layout),
            false => segment.access().allocate(layout),
        };
        let fresh = fresh.unwrap_or_else(|e| panic!("{layout:?}: {e}\n{}", segment.memory()));
        // SAFETY: fresh and ours, as the segment gave it.
        unsafe { Self::filled(segment, random, owner, layout.align(), raw, fresh) }
    }

    /// `n` new blocks, allocated by one call.
    pub fn many(segment: &Segment, random: &mut Random, owner: u64, layout: Layout, n: usize) -> Vec<Self> {
        let fresh = segment.allocate_many(layout, n).unwrap_or_else(|e| panic!("{n} of {layout:?}: {e}"));
        // SAFETY: fresh and ours, as the segment gave them.
        let filled = |block| unsafe { Self::filled(segment, random, owner, layout.align(), true, block) };
        fresh.into_iter().map(filled).collect()
    }

    /// # Safety
    /// 1. `fresh` was allocated in this segment with this alignment, as bytes if it is `raw`, and nobody uses it.
    unsafe fn filled(
        segment: &Segment,
        random: &mut Random,
        owner: u64,
        align: usize,
        raw: bool,
        fresh: NonNull<[u8]>,
    ) -> Self {
        assert!(fresh.len() <= MOST && owner < 1 << OWNER_BITS);
        let at = fresh.cast::<u8>();
        assert!(at.addr().get().is_multiple_of(align), "{at:?} is not aligned to {align}");
        let offset = (at.addr().get() - segment.access().context().base().addr()) as u64;
        assert!(offset.is_multiple_of(8) && offset >> 3 < 1 << OFFSET_BITS);
        let word = offset >> 3
            | (fresh.len() as u64) << SIZE_AT
            | u64::from(align.ilog2()) << ALIGN_AT
            | u64::from(raw) << RAW_AT
            | owner << OWNER_AT
            | random.word() << RANDOM_AT;
        // The invariant: by 1; a size up to the usable one is one to free it with.
        let block = Block(word);
        block.fill(segment);
        block
    }

    /// The word of the block, by which it is left to somebody: never 0.
    pub fn leave(self) -> u64 {
        self.0
    }

    /// The block that somebody left; `None` of 0.
    ///
    /// # Safety
    /// 1. The word came from [`leave`](Self::leave) in a process that has the same segment, and nobody else takes it.
    pub unsafe fn take(word: u64) -> Option<Self> {
        // The invariant: 1.
        (word != 0).then_some(Block(word))
    }

    fn part(&self, at: u32, bits: u32) -> usize {
        (self.0 >> at & ((1 << bits) - 1)) as usize
    }

    fn is_raw(&self) -> bool {
        self.part(RAW_AT, 1) == 1
    }

    /// How it is freed.
    pub fn layout(&self) -> Layout {
        let align = 1 << self.part(ALIGN_AT, ALIGN_BITS);
        Layout::from_size_align(self.part(SIZE_AT, SIZE_BITS), align).expect("a layout")
    }

    fn at(&self, segment: &Segment) -> NonNull<u8> {
        let offset = self.part(0, OFFSET_BITS) << 3;
        NonNull::new(segment.access().context().base().wrapping_add(offset)).expect("no block stands at 0")
    }

    fn bytes(&self, segment: &Segment) -> NonNull<[u8]> {
        NonNull::slice_from_raw_parts(self.at(segment), self.layout().size())
    }

    fn fill(&self, segment: &Segment) {
        // SAFETY: the invariant; what a segment maps has a value.
        let bytes = unsafe { self.bytes(segment).as_mut() };
        let word = self.0.to_ne_bytes();
        bytes[..8].copy_from_slice(&word);
        let mut done = 8;
        while done < bytes.len() {
            let more = done.min(bytes.len() - done);
            bytes.copy_within(..more, done);
            done += more;
        }
    }

    /// Checks that every byte is as it was filled.
    #[track_caller]
    pub fn check(&self, segment: &Segment) {
        // SAFETY: as in `fill`.
        let bytes = unsafe { self.bytes(segment).as_ref() };
        if bytes[..8] == self.0.to_ne_bytes() && bytes[8..] == bytes[..bytes.len() - 8] {
            return;
        }
        let word = self.0.to_ne_bytes();
        let wrong = (0..bytes.len()).find(|i| bytes[*i] != word[i % 8]).expect("one of them differs");
        let end = bytes.len().min(wrong / 8 * 8 + 8);
        panic!("{self:?} was written to at byte {wrong}: {:x?}", &bytes[wrong / 8 * 8..end]);
    }

    /// Writes all of it anew, with another random part.
    pub fn rewrite(&mut self, segment: &Segment, random: &mut Random) {
        self.check(segment);
        self.0 = self.0 & ((1 << RANDOM_AT) - 1) | random.word() << RANDOM_AT;
        self.fill(segment);
    }

    /// Tries to make it longer where it stands.
    pub fn expand(&mut self, segment: &Segment) {
        let layout = self.layout();
        let least = layout.size() + 1;
        let preferred = (layout.size() * 2).min(MOST - PAGE);
        if !self.is_raw() || preferred < least {
            return;
        }
        // SAFETY: the invariant.
        if let Ok(longer) = unsafe { segment.try_expand(self.at(segment), layout, least, preferred) } {
            assert!(longer.len() >= least && longer.len() <= MOST && longer.cast() == self.at(segment));
            self.check(segment);
            let others = !(((1 << SIZE_BITS) - 1) << SIZE_AT);
            self.0 = self.0 & others | (longer.len() as u64) << SIZE_AT;
            self.fill(segment);
        }
    }

    /// Checks it and gives it back.
    #[track_caller]
    pub fn free(self, segment: &Segment) {
        self.check(segment);
        let (at, layout) = (self.at(segment), self.layout());
        // SAFETY: the invariant; the value ends here.
        unsafe {
            match self.is_raw() {
                true => segment.deallocate(at, layout),
                false => segment.access().deallocate(at, layout),
            }
        }
    }
}

impl fmt::Debug for Block {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (layout, offset) = (self.layout(), self.part(0, OFFSET_BITS) << 3);
        let (raw, owner) = (self.is_raw(), self.part(OWNER_AT, OWNER_BITS));
        let (size, align) = (layout.size(), layout.align());
        write!(f, "the block of {size} bytes, aligned to {align}, at {offset} (raw: {raw}, by {owner})")
    }
}
