//! The programs, by threads of one process: see the [table](super).
//!
//! This file needs `unsafe`: it takes blocks that another thread has left.

use super::{Block, Exchange, large_block, scale, some_block, uses_a_cache};
use crate::Random;
use shmem_core::Segment;
use std::alloc::Layout;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{Scope, ScopedJoinHandle};

/// Threads at once.
const THREADS: u64 = 4;

/// Runs `body` in so many threads, each with a number and random choices of its own.
fn in_threads(n: u64, seed: u64, body: impl Fn(u64, &mut Random) + Sync) {
    std::thread::scope(|scope| {
        let body = &body;
        let start = |number| scope.spawn(move || body(number, &mut Random::new(seed ^ (number + 1) << 48)));
        let threads: Vec<_> = (0..n).map(start).collect();
        threads.into_iter().for_each(|thread| thread.join().expect("the thread says why it failed"));
    });
}

/// Blocks that a thread of Larson's has.
const LINE: usize = 300;

/// Larson's program, the simulation of a server: each thread replaces blocks at random for a while, then starts a successor,
/// leaves all of them to it, and ends.
pub fn larson(segment: &Segment, seed: u64) {
    std::thread::scope(|scope| {
        let begin = |owner| {
            let mut random = Random::new(seed ^ owner << 48);
            let line = (0..LINE).map(|_| some_block(segment, &mut random, owner)).collect();
            scope.spawn(move || generation(scope, segment, random, owner, line, 15 * scale()))
        };
        let lines: Vec<_> = (0..THREADS).map(begin).collect();
        for line in lines {
            let mut last = line;
            while let Some(next) = last.join().expect("the thread says why it failed").0 {
                last = next;
            }
        }
    });
}

/// The successor of a thread. Each is joined: the scope's own end does not wait until a thread has given back what it has
/// at hand.
struct Successor<'s>(Option<ScopedJoinHandle<'s, Successor<'s>>>);

fn generation<'s>(
    scope: &'s Scope<'s, '_>,
    segment: &'s Segment,
    mut random: Random,
    owner: u64,
    mut line: Vec<Block>,
    left: u64,
) -> Successor<'s> {
    for _ in 0..4 * LINE {
        let fresh = some_block(segment, &mut random, owner);
        let i = random.below(LINE as u64) as usize;
        std::mem::replace(&mut line[i], fresh).free(segment);
        if random.below(16) == 0 {
            line[random.below(LINE as u64) as usize].expand(segment);
        }
    }
    uses_a_cache(segment);
    if left > 0 {
        let next = move || generation(scope, segment, random, owner, line, left - 1);
        return Successor(Some(scope.spawn(next)));
    }
    line.into_iter().for_each(|block| block.free(segment));
    Successor(None)
}

/// A block that fits into a cache line with others.
fn small() -> Layout {
    Layout::from_size_align(16, 8).expect("a layout")
}

/// Allocates, writes and frees one small block at a time.
fn thrash_alone(segment: &Segment, owner: u64, random: &mut Random) {
    for _ in 0..3000 * scale() {
        let mut block = Block::new(segment, random, owner, small());
        (0..20).for_each(|_| block.rewrite(segment, random));
        block.free(segment);
    }
    uses_a_cache(segment);
}

/// Each thread allocates, writes and frees one small block, over and over: whoever gives blocks of one cache line to two
/// threads is slow, and whoever gives one block to two is found.
pub fn thrash(segment: &Segment, seed: u64) {
    in_threads(THREADS, seed, |owner, random| thrash_alone(segment, owner, random));
}

/// As [`thrash`], but each thread first gets one of several neighbouring blocks from a thread that goes on, and frees it: so
/// that its own cache might be filled with what shares a line with the others'.
pub fn scratch(segment: &Segment, seed: u64) {
    let mut random = Random::new(seed);
    for round in 0..4 {
        let places: [AtomicU64; THREADS as usize] = Default::default();
        let exchange = Exchange::new(&places);
        for i in 0..THREADS {
            let block = Block::new(segment, &mut random, THREADS, small());
            exchange.put(i, block.leave());
        }
        in_threads(THREADS, seed ^ round, |owner, random| {
            let word = exchange.take(owner).expect("one for each");
            // SAFETY: left above, and taken out once.
            let mut block = unsafe { Block::take(word) }.expect("a block");
            (0..20).for_each(|_| block.rewrite(segment, random));
            block.free(segment);
            thrash_alone(segment, owner, random);
        });
    }
}

/// Some threads allocate and leave each block to others, who free it.
pub fn producers(segment: &Segment, seed: u64) {
    producers_of(segment, seed, some_block);
}

/// As [`producers`], with blocks of which a page holds few.
pub fn producers_of_large(segment: &Segment, seed: u64) {
    producers_of(segment, seed, large_block);
}

fn producers_of(segment: &Segment, seed: u64, block: fn(&Segment, &mut Random, u64) -> Block) {
    const PLACES: usize = 64;
    let places: [AtomicU64; PLACES] = std::array::from_fn(|_| AtomicU64::new(0));
    let exchange = Exchange::new(&places);
    let producing = AtomicU64::new(THREADS / 2);
    in_threads(THREADS, seed, |owner, random| {
        if owner % 2 == 0 {
            for _ in 0..15_000 * scale() {
                let block = block(segment, random, owner);
                exchange.put(random.word() % PLACES as u64, block.leave());
            }
            // SYNC exchange: Release, pairs with the load below: what was put in is found after this.
            producing.fetch_sub(1, Ordering::Release);
            return;
        }
        loop {
            let last = producing.load(Ordering::Acquire) == 0;
            while let Some(word) = exchange.take(random.word() % PLACES as u64) {
                // SAFETY: left above, and taken out once.
                unsafe { Block::take(word) }.expect("a block").free(segment);
            }
            if last {
                return;
            }
            std::thread::yield_now();
        }
    });
}

/// In which order a batch is freed.
#[derive(Debug, Clone, Copy)]
enum Order {
    FirstToLast,
    LastToFirst,
    Random,
}

/// Each thread allocates batches of mixed sizes, one by one or many by one call, keeps a few of the blocks for long, and frees the
/// others in one of three orders.
pub fn batches(segment: &Segment, seed: u64) {
    in_threads(THREADS, seed, |owner, random| {
        let mut kept: Vec<Block> = Vec::new();
        for _ in 0..80 * scale() {
            let n = 1 + random.below(400) as usize;
            let mut batch = match random.below(3) {
                0 => {
                    let layout = Layout::from_size_align(15 + random.size(1000) as usize, 8);
                    Block::many(segment, random, owner, layout.expect("a layout"), n)
                }
                _ => (0..n).map(|_| some_block(segment, random, owner)).collect(),
            };
            batch.iter_mut().filter(|_| random.below(8) == 0).for_each(|block| block.expand(segment));
            for _ in 0..random.below(5) {
                kept.extend(batch.pop());
            }
            if kept.len() > 40 {
                let i = random.below(kept.len() as u64) as usize;
                batch.extend(kept.drain(i..));
            }
            match *random.pick(&[Order::FirstToLast, Order::LastToFirst, Order::Random]) {
                Order::FirstToLast => {}
                Order::LastToFirst => batch.reverse(),
                Order::Random => {
                    for i in (1..batch.len()).rev() {
                        batch.swap(i, random.below(i as u64 + 1) as usize);
                    }
                }
            }
            batch.into_iter().for_each(|block| block.free(segment));
        }
        uses_a_cache(segment);
        kept.into_iter().for_each(|block| block.free(segment));
    });
}
