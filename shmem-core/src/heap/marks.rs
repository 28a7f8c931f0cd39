//! What leak recovery keeps: [`Marks`] in private memory, marks of raw blocks in the segment, blocks in caches.

use super::Heap;
use super::page::PageState;
use super::raw::Raw;
use crate::access::BlockInfo;
use std::sync::atomic::Ordering;

/// A block must be at least this long to be raw: shorter ones leave no room for the bit.
const RAW_BYTES: u32 = 32;

/// Which blocks are reached: a bit for each 16 bytes of the heap, in memory of this process (0.8 % of what is committed, and
/// of that only what is marked). No two blocks begin in the same 16 bytes.
#[derive(Debug)]
pub(crate) struct Marks {
    data_at: u64,
    bits: Vec<u64>,
    /// How many blocks are marked.
    pub(crate) blocks: u64,
    /// Their usable bytes.
    pub(crate) bytes: u64,
}

impl Marks {
    fn place(&self, offset: u64) -> Option<(usize, u64)> {
        let granule = offset.checked_sub(self.data_at)? >> 4;
        let word = usize::try_from(granule / 64).ok()?;
        (word < self.bits.len()).then_some((word, 1 << (granule % 64)))
    }

    /// Marks a live block; whether it was not marked before.
    pub(crate) fn mark(&mut self, block: BlockInfo) -> bool {
        // A block behind what was committed when the marks were made is not swept either.
        let Some((word, bit)) = self.place(block.offset) else { return true };
        let fresh = self.bits[word] & bit == 0;
        if fresh {
            self.bits[word] |= bit;
            self.blocks += 1;
            self.bytes += block.size_bytes;
        }
        fresh
    }

    /// Whether the block that begins at `offset` is marked.
    pub(crate) fn is_marked(&self, offset: u64) -> bool {
        self.place(offset).is_none_or(|(word, bit)| self.bits[word] & bit != 0)
    }
}

impl Heap {
    /// Marks for what is committed now, none set.
    pub(crate) fn marks(&self) -> Marks {
        let bytes = self.raw.committed() * self.raw.page_bytes();
        // Zeroed by the system: what is not touched costs nothing.
        let bits = vec![0; bytes.div_ceil(16 * 64) as usize];
        Marks { data_at: self.raw.header.data_at, bits, blocks: 0, bytes: 0 }
    }

    /// Marks every block that no object owns and that is no leak all the same: raw ones, and those in caches.
    pub(crate) fn mark_unowned(&self, marks: &mut Marks) {
        self.for_each_cached_block(&mut |block| {
            marks.mark(block);
        });
        self.for_each_live_block(&mut |block| {
            if self.is_raw_block(block.offset) {
                marks.mark(block);
            }
        });
    }

    /// Calls `f` with every block that is free but has its bit set, because a thread's slot keeps it for the next
    /// allocation. There are no such caches yet.
    pub(crate) fn for_each_cached_block(&self, f: &mut dyn FnMut(BlockInfo)) {
        let _ = f;
    }

    /// Whether the live block that begins at `offset` is raw.
    fn is_raw_block(&self, offset: u64) -> bool {
        let Ok((page, at)) = self.raw.page_of(offset) else { return false };
        let word = self.raw.word(page);
        match word.state() {
            Some(PageState::Head) => self.raw.is_raw(page, 0),
            Some(PageState::Small | PageState::Retiring) => self
                .raw
                .classes
                .get(word.payload() as usize)
                .is_some_and(|class| self.raw.is_raw(page, class.block_of(at))),
            _ => false,
        }
    }
}

impl Raw {
    /// Whether block `block` of the page, or the span that the page is the head of (block 0), was allocated raw: bit `block`
    /// of the upper half of the page's bitmap, which blocks of 32 bytes and more leave unused. Leak recovery keeps such
    /// blocks.
    pub(super) fn is_raw(&self, page: u64, block: u32) -> bool {
        let word = self.word(page);
        let room = match word.state() {
            Some(PageState::Head) => 1,
            Some(PageState::Small | PageState::Retiring) => {
                let class = self.classes.get(word.payload() as usize);
                class.filter(|class| class.size >= RAW_BYTES).map_or(0, |class| class.blocks)
            }
            _ => 0,
        };
        let bit = self.bitmap_words() as u32 * 32 + block;
        block < room && self.bits(page, bit / 64).load(Ordering::Acquire) >> (bit % 64) & 1 != 0
    }
}
