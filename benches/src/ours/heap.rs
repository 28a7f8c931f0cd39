//! Raw blocks of a segment.
//!
//! This file needs `unsafe`: it allocates and frees by hand.

use super::{arena_bytes, touched};
use crate::Result;
use crate::blocks::{
    Blocks, DIFFERENT, Live, RING_WORDS, Ring, STEP, drain, fragmentation, pair, pass, replacing, stack,
};
use crate::measure::{Setup, Workload, check, own_name, try_timed};
use crate::parties::{in_child, one_party, two_processes, two_threads};
use crate::worker::OURS;
use shmem_core::access::Access;
use shmem_core::{RemoveOnDrop, Root, Segment};
use std::alloc::Layout;
use std::cell::{Cell, RefCell};
use std::ptr::NonNull;
use std::sync::atomic::AtomicU64;

// SAFETY: 1: as `Access` says. 2: names are offsets into the segment, which is the same for every mapping.
unsafe impl Blocks for Access<'_> {
    #[inline]
    fn allocate(&self, layout: Layout) -> Option<NonNull<u8>> {
        Some(Access::allocate(self, layout).ok()?.cast())
    }
    #[inline]
    unsafe fn free(&self, block: NonNull<u8>, layout: Layout) {
        // SAFETY: by the caller; no workload stores a pointer to a block that it has freed.
        unsafe { self.deallocate(block, layout) }
    }
    #[inline]
    fn name(&self, block: NonNull<u8>) -> u64 {
        block.addr().get().wrapping_sub(self.context().base().addr()) as u64
    }
    #[inline]
    fn named(&self, name: u64) -> Option<NonNull<u8>> {
        NonNull::new(self.context().base().wrapping_add(name as usize))
    }
}

/// The size of the segments that two parties use.
const SMALL_ARENA: u64 = 32 << 20;

const RING: &str = "ring";

type Words = Root<[AtomicU64]>;

fn ring(segment: &Segment) -> Result<Words> {
    Ok(segment.find_or_construct_slice(RING, RING_WORDS, |_| AtomicU64::new(0))?)
}

/// The segment called `name` as one of two parties has it, with the pages in this mapping: the first makes it, the second
/// opens it, as an unrelated program would.
fn joined(name: &str, who: usize) -> Result<Segment> {
    let segment = if who == 0 {
        Segment::shared(name).size(SMALL_ARENA).commit_all(true).create()?
    } else {
        Segment::shared(name).open()?
    };
    warm(&segment.access());
    Ok(segment)
}

/// Writes to every page that is free, in blocks that are all freed again.
fn warm(heap: &Access<'_>) {
    let layout = Layout::new::<[u64; 8 << 10]>();
    let blocks: Vec<_> = std::iter::from_fn(|| Blocks::allocate(heap, layout)).collect();
    for block in blocks {
        for at in (0..layout.size()).step_by(4096) {
            // SAFETY: the block was just allocated with this layout.
            unsafe { block.add(at).write_volatile(1) };
        }
        // SAFETY: once each.
        unsafe { heap.free(block, layout) };
    }
}

/// Nothing was freed that was not live, and the heap's tables are sound.
fn check_heap(segment: &Segment) -> Result<()> {
    check(segment.memory().bad_frees == 0, "a free was refused")?;
    check(segment.check().is_empty(), "the segment is damaged")
}

/// One of two processes that replace blocks of their own.
struct Replacing {
    segment: Segment,
    live: RefCell<Live>,
}

impl Replacing {
    fn new(name: &str, who: usize, setup: &Setup) -> Result<Self> {
        let segment = joined(name, who)?;
        let mut live = Live::new(&segment.access(), setup.scaled(1000), DIFFERENT)?;
        live.replace(&segment.access(), setup.scaled(100_000))?;
        Ok(Replacing { segment, live: RefCell::new(live) })
    }

    fn step(&self) -> Result<u64> {
        self.live.borrow_mut().replace(&self.segment.access(), STEP)?;
        Ok(STEP)
    }
}

impl Drop for Replacing {
    /// The blocks of a process that ends are nobody's.
    fn drop(&mut self) {
        // What is damaged was reported by the last step.
        let _ = self.live.get_mut().clear(&self.segment.access());
    }
}

/// One of two processes that hand blocks over.
struct Passing {
    segment: Segment,
    ring: Words,
    who: usize,
    next: Cell<u64>,
}

impl Passing {
    fn new(name: &str, who: usize) -> Result<Self> {
        let segment = joined(name, who)?;
        let ring = ring(&segment)?;
        Ok(Passing { segment, ring, who, next: Cell::new(0) })
    }

    fn step(&self) -> Result<u64> {
        pass(&self.segment.access(), &Ring::new(&self.ring)?, self.who, &self.next)
    }
}

/// Sets a case up; a subject other than this library's own names a case to compare it with.
pub fn workload(subject: &str, case: &str, setup: &Setup) -> Result<Option<Workload>> {
    let (setup, run_time) = (setup.clone(), setup.run_time());
    let case = match subject {
        OURS => case,
        "live-1-k" => "live 1 k",
        "alone" => "one process",
        _ => return Ok(None),
    };
    if let Some((n, sizes, ops)) = replacing(case, &setup) {
        let segment = touched(arena_bytes(&setup))?;
        let mut live = Live::new(&segment.access(), n, sizes)?;
        return Ok(Some(Box::new(move || {
            let heap = segment.access();
            let sample = try_timed(ops, || live.replace(&heap, ops))?;
            check_heap(&segment)?;
            Ok(sample)
        })));
    }
    let run: Workload = match case {
        // Memory is committed on demand, and what is never touched does not count.
        "fragmentation" => Box::new(move || {
            in_child(|| {
                let segment = Segment::anonymous().size(arena_bytes(&setup)).create()?;
                fragmentation(&segment.access(), &setup)
            })
        }),
        "pair 64 B" | "list node" => {
            let segment = touched(SMALL_ARENA)?;
            let pairs = case == "pair 64 B";
            Box::new(move || {
                let heap = segment.access();
                let sample =
                    if pairs { pair(&heap, setup.scaled(3_000_000))? } else { stack(&heap, &setup)? };
                check_heap(&segment)?;
                Ok(sample)
            })
        }
        "cross-free threads" => {
            let segment = touched(SMALL_ARENA)?;
            Box::new(move || {
                let words: Vec<_> = (0..RING_WORDS).map(|_| AtomicU64::new(0)).collect();
                let ring = Ring::new(&words)?;
                let party = |who: usize| Ok((who, Cell::new(0), segment.access()));
                let sample = two_threads(run_time, party, |(who, next, heap)| pass(heap, &ring, *who, next))?;
                drain(&segment.access(), &ring)?;
                check_heap(&segment)?;
                Ok(sample)
            })
        }
        "cross-free processes" => Box::new(move || {
            let name = own_name("ours-heap");
            let _remove = RemoveOnDrop::shared(&name)?;
            let sample = two_processes(run_time, |who| Passing::new(&name, who), Passing::step)?;
            let segment = Segment::shared(&name).open()?;
            drain(&segment.access(), &Ring::new(&ring(&segment)?)?)?;
            check_heap(&segment)?;
            Ok(sample)
        }),
        "two processes" => Box::new(move || {
            let name = own_name("ours-heap");
            let _remove = RemoveOnDrop::shared(&name)?;
            let sample = two_processes(run_time, |who| Replacing::new(&name, who, &setup), Replacing::step)?;
            check_heap(&Segment::shared(&name).open()?)?;
            Ok(sample.of_each())
        }),
        "one process" => Box::new(move || {
            let name = own_name("ours-heap-alone");
            let _remove = RemoveOnDrop::shared(&name)?;
            let sample = one_party(run_time, || Replacing::new(&name, 0, &setup), Replacing::step)?;
            check_heap(&Segment::shared(&name).open()?)?;
            Ok(sample)
        }),
        _ => return Ok(None),
    };
    Ok(Some(run))
}
