//! Two of the programs, by processes: what the workers of a test do. Blocks are passed on in words of the segment's.
//!
//! This file needs `unsafe`: it takes blocks that another process has left.

use super::{Block, Exchange, scale, some_block};
use crate::Random;
use shmem_core::{Root, Segment};
use std::sync::atomic::{AtomicU64, Ordering};

/// Lines of Larson's, each worked on by one process at a time.
pub const LINES: usize = 3;
/// Blocks of a line.
const LINE: usize = 300;
/// Places of the exchange; behind them, how many processes still allocate.
const PLACES: usize = 64;

const LINES_NAME: &str = "lines";
const EXCHANGE_NAME: &str = "exchange";

type Words = Root<[AtomicU64]>;

fn find(segment: &Segment, name: &str) -> Words {
    segment.find_slice::<AtomicU64>(name).expect("a sound directory").expect("the test has made it")
}

fn make(segment: &Segment, name: &str, words: usize) -> Words {
    segment.construct_slice::<AtomicU64, _>(name, words, |_| AtomicU64::new(0)).expect("room for words")
}

/// Makes what the processes of Larson's program share.
pub fn prepare_lines(segment: &Segment) {
    drop(make(segment, LINES_NAME, LINES * LINE));
}

/// One process of a line: replaces blocks that the one before it has left, and leaves its own.
pub fn work_on_line(segment: &Segment, line: usize, seed: u64) {
    let words = find(segment, LINES_NAME);
    let places = &words[line * LINE..][..LINE];
    let mut random = Random::new(seed);
    for i in 0..4 * LINE as u64 * (1 + scale() / 10) {
        let fresh = some_block(segment, &mut random, line as u64);
        // At first every place is filled once.
        let i = if i < LINE as u64 { i } else { random.below(LINE as u64) };
        replace(segment, &places[i as usize], fresh.leave());
    }
}

fn replace(segment: &Segment, place: &AtomicU64, word: u64) {
    // SYNC exchange: AcqRel, with the other processes of the line.
    let before = place.swap(word, Ordering::AcqRel);
    // SAFETY: it was left there, and is taken out once.
    if let Some(block) = unsafe { Block::take(before) } {
        block.free(segment);
    }
}

/// Frees what is left in all lines, and the lines.
pub fn clear_lines(segment: &Segment) {
    let words = find(segment, LINES_NAME);
    assert!(words.iter().all(|word| word.load(Ordering::Acquire) != 0), "every place was used");
    words.iter().for_each(|place| replace(segment, place, 0));
    drop(words);
    assert!(segment.destroy::<AtomicU64>(LINES_NAME).expect("it is of this type"));
}

/// Makes what producers and consumers share.
pub fn prepare_exchange(segment: &Segment, producers: u64) {
    let words = make(segment, EXCHANGE_NAME, PLACES + 1);
    words[PLACES].store(producers, Ordering::SeqCst);
}

/// Allocates, and leaves every block to a consumer.
pub fn produce(segment: &Segment, owner: u64, seed: u64) {
    let words = find(segment, EXCHANGE_NAME);
    let exchange = Exchange::new(&words[..PLACES]);
    let mut random = Random::new(seed);
    for _ in 0..produced(1) {
        let block = some_block(segment, &mut random, owner);
        exchange.put(random.word() % PLACES as u64, block.leave());
    }
    // SYNC exchange: Release, pairs with the load in `consume`.
    words[PLACES].fetch_sub(1, Ordering::Release);
}

/// Frees what the producers leave, until all of them have ended; how many blocks.
pub fn consume(segment: &Segment, seed: u64) -> u64 {
    let words = find(segment, EXCHANGE_NAME);
    let exchange = Exchange::new(&words[..PLACES]);
    let (mut random, mut freed) = (Random::new(seed), 0);
    loop {
        let last = words[PLACES].load(Ordering::Acquire) == 0;
        while let Some(word) = exchange.take(random.word() % PLACES as u64) {
            // SAFETY: left by a producer, and taken out once.
            unsafe { Block::take(word) }.expect("a block").free(segment);
            freed += 1;
        }
        if last {
            return freed;
        }
        std::thread::yield_now();
    }
}

/// How many blocks the producers left in all.
pub fn produced(producers: u64) -> u64 {
    producers * 12_000 * scale()
}

/// Removes what producers and consumers shared.
pub fn clear_exchange(segment: &Segment) {
    assert!(segment.destroy::<AtomicU64>(EXCHANGE_NAME).expect("it is of this type"));
}
