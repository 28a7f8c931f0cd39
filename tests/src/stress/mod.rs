//! Stress for the heap: the programs that allocators are measured and broken with, written anew for memory in segments.
//!
//! | program | after | what it does |
//! |---|---|---|
//! | [`threads::larson`] | Larson and Krishnan, 1998 | threads replace blocks at random, then leave all of them to a successor |
//! | [`threads::thrash`] | "cache-thrash", Berger et al., Hoard, 2000 | each thread allocates, writes and frees one small block, over and over |
//! | [`threads::scratch`] | "cache-scratch", the same | likewise, but the first block of each is a neighbour of the others' |
//! | [`threads::producers`] | "xmalloc-test", Lever and Boreham, 2000 | some threads allocate, others free |
//! | [`threads::producers_of_large`] | the same | with blocks of which a page holds few |
//! | [`threads::batches`] | "sh6bench", MicroQuill | batches of mixed sizes, freed first to last, last to first, or in no order |
//! | [`processes`] | the first and the fourth | the same, where threads are processes |
//!
//! Those measure; these look. Every [`Block`] is full of a pattern that says whose it is, from its first to its last usable
//! byte, and is compared with it when it is freed: a block that two have, or that somebody else wrote to, is found. At the
//! end nothing may be left, and the heap must be sound.

mod block;
mod exchange;
pub mod processes;
pub mod threads;

pub use block::Block;
pub use exchange::Exchange;

use crate::Random;
use shmem_core::Segment;
use std::alloc::Layout;

/// The size of a heap page of the segments that have caches.
const PAGE: usize = 64 << 10;

/// How much the programs do: once in the test run, and so many times as much in the long form.
pub fn scale() -> u64 {
    match std::env::var("SHMEM_STRESS").ok().and_then(|times| times.parse().ok()) {
        Some(times) => times,
        None if crate::long() => 50,
        None => 1,
    }
}

/// What the programs ask for: 16 bytes to 8 KiB, small ones as often as large ones, and now and then more than a page; few
/// with an alignment.
fn some_block(segment: &Segment, random: &mut Random, owner: u64) -> Block {
    let size = match random.below(400) {
        0 => PAGE + 1 + random.below(200 << 10) as usize,
        _ => 15 + random.size((8 << 10) - 15) as usize,
    };
    let align = if random.below(20) == 0 { 1 << random.below(13) } else { 8 };
    let layout = Layout::from_size_align(size, align).expect("a layout");
    Block::new(segment, random, owner, layout)
}

/// As [`some_block`], but of sizes of which a page holds 2 to 8: so pages become empty, and are for another size, all the
/// time.
fn large_block(segment: &Segment, random: &mut Random, owner: u64) -> Block {
    let size = PAGE as u64 / 8 + random.below(PAGE as u64 / 8 * 3);
    let layout = Layout::from_size_align(size as usize, 8).expect("a layout");
    Block::new(segment, random, owner, layout)
}

/// Checks that nothing is allocated any more, that no free was refused, and that the segment is sound.
#[track_caller]
pub fn settled(segment: &Segment) {
    let memory = segment.memory();
    assert_eq!((memory.raw_blocks, memory.bad_frees), (0, 0), "{memory}");
    assert!(segment.all_memory_deallocated(), "something is left:\n{memory}");
    crate::sound(segment);
}

/// Checks that this thread, which has just allocated small blocks, has some at hand: or the programs would not be about
/// caches.
#[track_caller]
pub fn uses_a_cache(segment: &Segment) {
    let memory = segment.memory();
    assert!(memory.cached_bytes > 0, "nobody has anything at hand:\n{memory}");
}
