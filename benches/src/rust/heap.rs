//! The limits of a heap: allocators inside one process, called by their own functions.
//!
//! This file needs `unsafe`: it calls C.

use crate::Result;
use crate::blocks::{
    Blocks, DIFFERENT, Live, RING_WORDS, Ring, STEP, drain, fragmentation, pair, pass, replacing, stack,
};
use crate::measure::{Setup, Workload, try_timed};
use crate::parties::{in_child, two_processes, two_threads};
use std::alloc::Layout;
use std::cell::{Cell, RefCell};
use std::ptr::{self, NonNull};
use std::sync::atomic::AtomicU64;

/// An allocator of C.
trait Private: Copy + Sync + 'static {
    fn malloc(bytes: usize) -> *mut u8;
    /// # Safety
    /// 1. `malloc` gave the block, and it was not freed since.
    unsafe fn free(block: *mut u8);
}

/// The C library's.
#[derive(Clone, Copy)]
struct Glibc;

impl Private for Glibc {
    #[inline]
    fn malloc(bytes: usize) -> *mut u8 {
        // SAFETY: any size may be asked for.
        unsafe { libc::malloc(bytes).cast() }
    }
    #[inline]
    unsafe fn free(block: *mut u8) {
        // SAFETY: 1.
        unsafe { libc::free(block.cast()) }
    }
}

/// mimalloc. It serves nothing but these calls.
#[derive(Clone, Copy)]
struct Mimalloc;

impl Private for Mimalloc {
    #[inline]
    fn malloc(bytes: usize) -> *mut u8 {
        // SAFETY: any size may be asked for.
        unsafe { libmimalloc_sys::mi_malloc(bytes).cast() }
    }
    #[inline]
    unsafe fn free(block: *mut u8) {
        // SAFETY: 1.
        unsafe { libmimalloc_sys::mi_free(block.cast()) }
    }
}

// SAFETY: 1: both are C allocators, whose blocks are aligned to 8 bytes at least, which is all that workloads ask for.
// 2: names are exposed addresses of this process.
unsafe impl<A: Private> Blocks for A {
    #[inline]
    fn allocate(&self, layout: Layout) -> Option<NonNull<u8>> {
        debug_assert!(layout.align() <= 8);
        NonNull::new(A::malloc(layout.size()))
    }
    #[inline]
    unsafe fn free(&self, block: NonNull<u8>, _: Layout) {
        // SAFETY: by the caller.
        unsafe { A::free(block.as_ptr()) }
    }
    #[inline]
    fn name(&self, block: NonNull<u8>) -> u64 {
        block.as_ptr().expose_provenance() as u64
    }
    #[inline]
    fn named(&self, name: u64) -> Option<NonNull<u8>> {
        NonNull::new(ptr::with_exposed_provenance_mut(name as usize))
    }
}

/// No allocator, but what none can do without: the block freed last is the next one. What is left of a workload is its
/// own work and the caches it misses.
struct FreeList {
    /// The block freed last, which begins with the address of the one freed before it.
    top: Cell<*mut Chunk>,
    _chunks: Box<[Chunk]>,
}

/// A block and its alignment.
type Chunk = [u64; 8];

impl FreeList {
    /// One with `n` blocks.
    fn new(n: u64) -> Self {
        let mut chunks = vec![[0; 8]; n as usize].into_boxed_slice();
        let first = chunks.as_mut_ptr();
        let list = FreeList { top: Cell::new(ptr::null_mut()), _chunks: chunks };
        for i in (0..n as usize).rev() {
            let block = first.wrapping_add(i).cast();
            // SAFETY: a block of the box, which nobody has yet.
            unsafe { list.free(NonNull::new_unchecked(block), Layout::new::<Chunk>()) };
        }
        list
    }
}

// SAFETY: 1: every block is in the list once or somebody's, and as long as any that is handed out. 2: as for `Private`.
unsafe impl Blocks for FreeList {
    #[inline]
    fn allocate(&self, layout: Layout) -> Option<NonNull<u8>> {
        debug_assert!(layout.size() <= size_of::<Chunk>() && layout.align() <= align_of::<Chunk>());
        let block = NonNull::new(self.top.get())?;
        // SAFETY: `free` has written an address to what is in the list.
        self.top.set(unsafe { block.cast().read() });
        Some(block.cast())
    }
    #[inline]
    unsafe fn free(&self, block: NonNull<u8>, _: Layout) {
        // SAFETY: by the caller the block is one of the box and nobody's now.
        unsafe { block.cast().write(self.top.get()) };
        self.top.set(block.cast().as_ptr());
    }
    fn name(&self, block: NonNull<u8>) -> u64 {
        block.as_ptr().expose_provenance() as u64
    }
    fn named(&self, name: u64) -> Option<NonNull<u8>> {
        NonNull::new(ptr::with_exposed_provenance_mut(name as usize))
    }
}

/// Live blocks that are freed with this.
struct Owned<A: Private> {
    heap: A,
    live: Live,
}

impl<A: Private> Drop for Owned<A> {
    fn drop(&mut self) {
        // What is damaged was reported by the last run, or nobody has read it.
        let _ = self.live.clear(&self.heap);
    }
}

fn make<A: Private>(heap: A, case: &str, setup: &Setup) -> Result<Option<Workload>> {
    let (setup, run_time) = (setup.clone(), setup.run_time());
    if let Some((n, sizes, ops)) = replacing(case, &setup) {
        let mut it = Owned { heap, live: Live::new(&heap, n, sizes)? };
        return Ok(Some(Box::new(move || try_timed(ops, || it.live.replace(&heap, ops)))));
    }
    Ok(Some(match case {
        "fragmentation" => Box::new(move || in_child(|| fragmentation(&heap, &setup))),
        "pair 64 B" => Box::new(move || pair(&heap, setup.scaled(3_000_000))),
        "cross-free threads" | "cross-free processes" => Box::new(move || {
            let words: Vec<_> = (0..RING_WORDS).map(|_| AtomicU64::new(0)).collect();
            let ring = Ring::new(&words)?;
            let party = |who: usize| Ok((who, Cell::new(0)));
            let sample = two_threads(run_time, party, |(who, next)| pass(&heap, &ring, *who, next))?;
            drain(&heap, &ring)?;
            Ok(sample)
        }),
        "two processes" => Box::new(move || {
            let party = |_| {
                let mut live = Live::new(&heap, setup.scaled(1000), DIFFERENT)?;
                live.replace(&heap, setup.scaled(100_000))?;
                Ok(RefCell::new(Owned { heap, live }))
            };
            let step = |it: &RefCell<Owned<A>>| {
                it.borrow_mut().live.replace(&heap, STEP)?;
                Ok(STEP)
            };
            Ok(two_processes(run_time, party, step)?.of_each())
        }),
        "list node" => Box::new(move || stack(&heap, &setup)),
        _ => return Ok(None),
    }))
}

/// Sets a case up.
pub fn workload(subject: &str, case: &str, setup: &Setup) -> Result<Option<Workload>> {
    match subject {
        "glibc" => make(Glibc, case, setup),
        "mimalloc" => make(Mimalloc, case, setup),
        "bare" if case.starts_with("live") => {
            let Some((n, sizes, ops)) = replacing(case, setup) else { return Ok(None) };
            let heap = FreeList::new(n);
            let mut live = Live::new(&heap, n, sizes)?;
            Ok(Some(Box::new(move || try_timed(ops, || live.replace(&heap, ops)))))
        }
        _ => Ok(None),
    }
}
