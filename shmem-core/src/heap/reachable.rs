//! What leak recovery keeps: [`Reached`], in private memory.

use super::Heap;
use crate::access::BlockInfo;

/// Which blocks something leads to: a bit for each 16 bytes of the heap, in memory of this process (0.8 % of what is
/// committed, and of that only what is set). No two blocks begin in the same 16 bytes.
#[derive(Debug)]
pub(crate) struct Reached {
    data_at: u64,
    bits: Vec<u64>,
    /// How many blocks.
    pub(crate) blocks: u64,
    /// Their usable bytes.
    pub(crate) bytes: u64,
}

impl Reached {
    fn place(&self, offset: u64) -> Option<(usize, u64)> {
        let granule = offset.checked_sub(self.data_at)? >> 4;
        let word = usize::try_from(granule / 64).ok()?;
        (word < self.bits.len()).then_some((word, 1 << (granule % 64)))
    }

    /// Notes a live block; whether it was not reached before.
    pub(crate) fn insert(&mut self, block: BlockInfo) -> bool {
        // A block behind what was committed when this was made is not swept either.
        let Some((word, bit)) = self.place(block.offset) else { return true };
        let fresh = self.bits[word] & bit == 0;
        if fresh {
            self.bits[word] |= bit;
            self.blocks += 1;
            self.bytes += block.size_bytes;
        }
        fresh
    }

    /// Whether the block that begins at `offset` was reached.
    pub(crate) fn contains(&self, offset: u64) -> bool {
        self.place(offset).is_none_or(|(word, bit)| self.bits[word] & bit != 0)
    }
}

impl Heap {
    /// Room for what is committed now; nothing is reached.
    pub(crate) fn none_reached(&self) -> Reached {
        let bytes = self.raw.committed() * self.raw.page_bytes();
        // Zeroed by the system: what is not touched costs nothing.
        let bits = vec![0; bytes.div_ceil(16 * 64) as usize];
        Reached { data_at: self.raw.header.data_at, bits, blocks: 0, bytes: 0 }
    }

    /// Calls `f` with every raw block: it is the program's, which accounts for it itself.
    pub(crate) fn for_each_raw_block(&self, f: &mut dyn FnMut(BlockInfo)) {
        if let Some(participants) = self.participants() {
            participants.settle_dead();
        }
        self.for_each_live_block(&mut |block| {
            if self.is_raw(block.offset) {
                f(block);
            }
        });
    }

    /// Calls `f` with every block that is in a magazine: taken, as the bitmaps have it, and free for one thread.
    pub(crate) fn for_each_cached_block(&self, f: &mut dyn FnMut(BlockInfo)) {
        for (offset, class) in self.raw.cached() {
            if let Some(class) = self.raw.classes.get(class) {
                f(BlockInfo { offset, size_bytes: class.size.into() });
            }
        }
    }
}
