//! Workloads on raw blocks, the same for every allocator. The C++ peers have the same in `peers/heap.cpp`.
//!
//! This file needs `unsafe`: it reads and writes blocks.

mod ring;
mod stack;

pub use ring::{RING_WORDS, Ring, drain, pass};
pub use stack::stack;

use crate::Result;
use crate::measure::{Rng, Sample, Setup, check, try_timed};
use std::alloc::Layout;
use std::hint::black_box;
use std::ops::RangeInclusive;
use std::ptr::NonNull;

/// An allocator.
///
/// # Safety
/// 1. A block handed out is valid for reads and writes of its layout, and overlaps no other live block, until it is
///    freed.
/// 2. `named(name(block))` is that block, by whatever party.
pub unsafe trait Blocks {
    /// A block; `None` if there is no memory.
    fn allocate(&self, layout: Layout) -> Option<NonNull<u8>>;

    /// Gives a block back.
    ///
    /// # Safety
    /// 1. It was handed out for `layout`, to whatever party, and not freed since.
    unsafe fn free(&self, block: NonNull<u8>, layout: Layout);

    /// A number by which another party finds the block; not 0.
    fn name(&self, block: NonNull<u8>) -> u64;

    /// The block of that name.
    fn named(&self, name: u64) -> Option<NonNull<u8>>;
}

/// How blocks are aligned.
const ALIGN: usize = 8;
/// The size of blocks that are all equal.
pub const EQUAL: RangeInclusive<u64> = 64..=64;
/// The sizes of blocks that differ.
pub const DIFFERENT: RangeInclusive<u64> = 16..=1024;
/// How many blocks one of two parties replaces between two looks at whether it is to stop.
pub const STEP: u64 = 64;

#[inline]
fn layout(bytes: usize) -> Layout {
    Layout::from_size_align(bytes, ALIGN).expect("a workload's blocks are small")
}

#[inline]
fn allocate(heap: &impl Blocks, layout: Layout) -> Result<NonNull<u8>> {
    heap.allocate(layout).ok_or_else(|| "out of memory".into())
}

/// Writes the first and the last byte.
///
/// # Safety
/// 1. `block` is valid for writes of `bytes` bytes, of which there is at least one.
#[inline]
unsafe fn write_ends(block: NonNull<u8>, bytes: usize, tag: u8) {
    // SAFETY: 1. Volatile, so that no write is left out because the block is freed next.
    unsafe {
        block.write_volatile(tag);
        block.add(bytes - 1).write_volatile(tag);
    }
}

/// Whether both bytes are as written.
///
/// # Safety
/// 1. As 1 of [`write_ends`], for reads of what that has written.
#[inline]
unsafe fn ends_are(block: NonNull<u8>, bytes: usize, tag: u8) -> bool {
    // SAFETY: 1.
    unsafe { (block.read_volatile() == tag) & (block.add(bytes - 1).read_volatile() == tag) }
}

/// Allocates, writes, reads and frees one block of 64 bytes, `ops` times.
pub fn pair(heap: &impl Blocks, ops: u64) -> Result<Sample> {
    let bytes = *EQUAL.start() as usize;
    let mut wrong = 0u64;
    let sample = try_timed(ops, || -> Result<()> {
        for i in 0..ops {
            let block = black_box(allocate(heap, layout(bytes))?);
            // SAFETY: the block is this function's, and as long as asked; it is freed once.
            unsafe {
                write_ends(block, bytes, i as u8);
                wrong += u64::from(!ends_are(block, bytes, i as u8));
                heap.free(block, layout(bytes));
            }
        }
        Ok(())
    })?;
    check(wrong == 0, "a block was not as written")?;
    Ok(sample)
}

/// Live blocks, of which random ones are replaced. The bytes at the ends of the `i`th are `i`.
pub struct Live {
    blocks: Vec<(NonNull<u8>, u32)>,
    sizes: RangeInclusive<u64>,
    rng: Rng,
}

impl Live {
    /// `n` blocks.
    pub fn new(heap: &impl Blocks, n: u64, sizes: RangeInclusive<u64>) -> Result<Self> {
        let mut live = Live::reserve(n, sizes);
        live.fill(heap)?;
        Ok(live)
    }

    /// A place for `n` blocks, which is in memory.
    fn reserve(n: u64, sizes: RangeInclusive<u64>) -> Self {
        Live { blocks: vec![(NonNull::dangling(), 0); n as usize], sizes, rng: Rng(1) }
    }

    fn fill(&mut self, heap: &impl Blocks) -> Result<()> {
        (0..self.blocks.len()).try_for_each(|i| self.put(heap, i))
    }

    /// Makes the `i`th block, which is none now.
    #[inline]
    fn put(&mut self, heap: &impl Blocks, i: usize) -> Result<()> {
        let bytes = self.sizes.start() + self.rng.below(self.sizes.end() - self.sizes.start() + 1);
        let block = allocate(heap, layout(bytes as usize))?;
        // SAFETY: the block is this value's, and as long as asked.
        unsafe { write_ends(block, bytes as usize, i as u8) };
        self.blocks[i] = (block, bytes as u32);
        Ok(())
    }

    /// Frees the `i`th block; gives whether it was as written.
    #[inline]
    fn take(&mut self, heap: &impl Blocks, i: usize) -> bool {
        let (block, bytes) = self.blocks[i];
        if bytes == 0 {
            return true;
        }
        self.blocks[i].1 = 0;
        // SAFETY: `put` made the block and wrote to it; a size of 0 says that it was freed.
        unsafe {
            let whole = ends_are(block, bytes as usize, i as u8);
            heap.free(block, layout(bytes as usize));
            whole
        }
    }

    /// Replaces random blocks by new ones, `ops` times.
    pub fn replace(&mut self, heap: &impl Blocks, ops: u64) -> Result<()> {
        let mut wrong = 0u64;
        for _ in 0..ops {
            let i = self.rng.below(self.blocks.len() as u64) as usize;
            wrong += u64::from(!self.take(heap, i));
            self.put(heap, i)?;
        }
        check(wrong == 0, "a block was not as written")
    }

    /// Frees all of them.
    pub fn clear(&mut self, heap: &impl Blocks) -> Result<()> {
        let mut wrong = 0u64;
        for i in 0..self.blocks.len() {
            wrong += u64::from(!self.take(heap, i));
        }
        check(wrong == 0, "a block was not as written")
    }

    /// The bytes asked for and not freed.
    fn bytes(&self) -> u64 {
        self.blocks.iter().map(|(_, bytes)| u64::from(*bytes)).sum()
    }
}

/// Splits `live 10 M` and `random 16-1024 B` into how many blocks live, their sizes, and how many are replaced in a run.
pub fn replacing(case: &str, setup: &Setup) -> Option<(u64, RangeInclusive<u64>, u64)> {
    let ops = setup.scaled(1_000_000);
    Some(match case {
        "random 16-1024 B" => (setup.scaled(10_000), DIFFERENT, ops),
        "live 1 k" => (setup.scaled(1000), EQUAL, ops),
        "live 100 k" => (setup.scaled(100_000), EQUAL, ops),
        "live 10 M" => (setup.scaled(10_000_000), EQUAL, ops),
        _ => return None,
    })
}

/// How much of the memory that this process has got for blocks is asked for, after many replacements. The process must be
/// a new one or a fork of one that has freed little.
pub fn fragmentation(heap: &impl Blocks, setup: &Setup) -> Result<Sample> {
    let mut live = Live::reserve(setup.scaled(100_000), DIFFERENT);
    let before = resident_bytes()?;
    live.fill(heap)?;
    live.replace(heap, setup.scaled(2_000_000))?;
    let grown = resident_bytes()?.saturating_sub(before);
    let part = live.bytes();
    check(part <= grown, "there is more in the blocks than memory")?;
    live.clear(heap)?;
    Ok(Sample { ns: part, ops: grown })
}

/// The memory that this process has in its page tables, exactly (`statm` is behind by what CPUs have not added up yet).
fn resident_bytes() -> Result<u64> {
    let rollup = std::fs::read_to_string("/proc/self/smaps_rollup")?;
    let kib = rollup.lines().find_map(|line| line.strip_prefix("Rss:")?.trim().strip_suffix(" kB"));
    Ok(kib.ok_or("no Rss in smaps_rollup")?.trim().parse::<u64>()? << 10)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;

    /// The system's allocator, which knows what is live.
    #[derive(Default)]
    pub(super) struct Checked {
        live: RefCell<Vec<(NonNull<u8>, Layout)>>,
    }

    impl Checked {
        pub(super) fn live(&self) -> usize {
            self.live.borrow().len()
        }
    }

    // SAFETY: 1: as std's `alloc`, whose blocks are passed on. 2: names are exposed addresses.
    unsafe impl Blocks for Checked {
        fn allocate(&self, layout: Layout) -> Option<NonNull<u8>> {
            // SAFETY: no workload asks for nothing.
            let block = NonNull::new(unsafe { std::alloc::alloc(layout) })?;
            self.live.borrow_mut().push((block, layout));
            Some(block)
        }
        unsafe fn free(&self, block: NonNull<u8>, layout: Layout) {
            let mut live = self.live.borrow_mut();
            let at = live.iter().position(|known| *known == (block, layout)).expect("it is live");
            live.swap_remove(at);
            // SAFETY: it was in the list of the live ones.
            unsafe { std::alloc::dealloc(block.as_ptr(), layout) };
        }
        fn name(&self, block: NonNull<u8>) -> u64 {
            block.as_ptr().expose_provenance() as u64
        }
        fn named(&self, name: u64) -> Option<NonNull<u8>> {
            NonNull::new(std::ptr::with_exposed_provenance_mut(name as usize))
        }
    }

    #[test]
    fn pairs_leave_nothing() {
        let heap = Checked::default();
        assert_eq!(pair(&heap, 100).unwrap().ops, 100);
        assert_eq!(heap.live(), 0);
    }

    #[test]
    fn replacing_keeps_the_number_and_notices_what_others_wrote() {
        let heap = Checked::default();
        let mut live = Live::new(&heap, 50, DIFFERENT).unwrap();
        live.replace(&heap, 1000).unwrap();
        assert_eq!(heap.live(), 50);
        assert_eq!(live.bytes(), heap.live.borrow().iter().map(|(_, l)| l.size() as u64).sum::<u64>());
        let (block, bytes) = live.blocks[7];
        // SAFETY: the block is live and has so many bytes.
        unsafe { block.add(bytes as usize - 1).write(8) };
        assert!(live.clear(&heap).is_err());
        assert_eq!(heap.live(), 0);
    }
}
