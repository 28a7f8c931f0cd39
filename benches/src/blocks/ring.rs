//! Blocks handed from one party, which allocates them, to another, which frees them.
//!
//! This file needs `unsafe`: it reads and writes blocks.

use super::{Blocks, EQUAL, allocate, layout};
use crate::Result;
use crate::measure::check;
use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering::*};

/// How many blocks are handed over at a time.
const BATCH: usize = 64;
/// How many the ring holds.
const PLACES: usize = 4096;
/// Words between what one party writes and what the other does: two cache lines, which come in pairs.
const APART: usize = 16;
/// The words of a ring.
pub const RING_WORDS: usize = 2 * APART + PLACES;

/// A ring of names for one who puts and one who takes, in zeroed words: how many were taken, how many were put, and the
/// places.
pub struct Ring<'a> {
    taken: &'a AtomicU64,
    put: &'a AtomicU64,
    places: &'a [AtomicU64],
}

impl<'a> Ring<'a> {
    /// The ring in [`RING_WORDS`] words.
    pub fn new(words: &'a [AtomicU64]) -> Result<Self> {
        check(words.len() == RING_WORDS, "a ring of another size")?;
        Ok(Ring { taken: &words[0], put: &words[APART], places: &words[2 * APART..] })
    }

    /// The places of the batch that begins with the `n`th name ever put.
    fn batch(&self, n: u64) -> &[AtomicU64] {
        let start = n as usize % PLACES;
        &self.places[start..start + BATCH]
    }
}

/// One step of a party: who is 0 allocates a batch and hands it over, who is 1 takes one and frees it; `next` is how many
/// blocks it has seen, and each block holds which one it is. Gives how many were freed; nothing is done where the ring
/// is full or empty.
pub fn pass(heap: &impl Blocks, ring: &Ring<'_>, who: usize, next: &Cell<u64>) -> Result<u64> {
    if who == 0 { put(heap, ring, next).map(|()| 0) } else { take(heap, ring, next) }
}

/// Frees what nobody took.
pub fn drain(heap: &impl Blocks, ring: &Ring<'_>) -> Result<()> {
    let next = Cell::new(ring.taken.load(Acquire));
    while take(heap, ring, &next)? > 0 {}
    check(next.get() == ring.put.load(Relaxed), "a block is left in the ring")
}

const BYTES: usize = *EQUAL.start() as usize;
/// The last word of a block.
const LAST: usize = BYTES / size_of::<u64>() - 1;

fn put(heap: &impl Blocks, ring: &Ring<'_>, next: &Cell<u64>) -> Result<()> {
    let n = next.get();
    // SYNC places: pairs with the Release of `take`: the places are empty and the blocks of another time.
    if n - ring.taken.load(Acquire) > (PLACES - BATCH) as u64 {
        std::hint::spin_loop();
        return Ok(());
    }
    for (i, place) in (n..).zip(ring.batch(n)) {
        let block = allocate(heap, layout(BYTES))?.cast::<u64>();
        // SAFETY: the block has 64 bytes and is this party's until it is put; it is aligned for words.
        unsafe {
            block.write(i);
            block.add(LAST).write(!i);
        }
        place.store(heap.name(block.cast()), Relaxed);
    }
    next.set(n + BATCH as u64);
    // SYNC blocks: pairs with the Acquire of `take`: names and contents come first.
    ring.put.store(next.get(), Release);
    Ok(())
}

fn take(heap: &impl Blocks, ring: &Ring<'_>, next: &Cell<u64>) -> Result<u64> {
    let n = next.get();
    // SYNC blocks: see `put`.
    if ring.put.load(Acquire) == n {
        std::hint::spin_loop();
        return Ok(0);
    }
    let mut wrong = false;
    for (i, place) in (n..).zip(ring.batch(n)) {
        let block = heap.named(place.load(Relaxed)).ok_or("an empty place in the ring")?;
        let words = block.cast::<u64>();
        // SAFETY: the other party has put the block here once, written, for this one to free.
        unsafe {
            wrong |= words.read() != i || words.add(LAST).read() != !i;
            heap.free(block, layout(BYTES));
        }
    }
    check(!wrong, "a block was not as written")?;
    next.set(n + BATCH as u64);
    // SYNC places: see `put`.
    ring.taken.store(next.get(), Release);
    Ok(BATCH as u64)
}

#[cfg(test)]
mod tests {
    use super::super::tests::Checked;
    use super::*;

    fn words() -> Vec<AtomicU64> {
        (0..RING_WORDS).map(|_| AtomicU64::new(0)).collect()
    }

    #[test]
    fn what_is_put_is_taken_once() {
        let (heap, words) = (Checked::default(), words());
        let ring = Ring::new(&words).unwrap();
        let (put, taken) = (Cell::new(0), Cell::new(0));
        assert_eq!(pass(&heap, &ring, 1, &taken).unwrap(), 0);
        for _ in 0..3 * PLACES / BATCH {
            pass(&heap, &ring, 0, &put).unwrap();
        }
        assert_eq!((heap.live(), put.get()), (PLACES, PLACES as u64));
        assert_eq!(pass(&heap, &ring, 1, &taken).unwrap(), BATCH as u64);
        pass(&heap, &ring, 0, &put).unwrap();
        assert_eq!((heap.live(), taken.get()), (PLACES, BATCH as u64));
        drain(&heap, &ring).unwrap();
        assert_eq!(heap.live(), 0);
    }

    #[test]
    fn a_block_that_somebody_wrote_to_is_noticed() {
        let (heap, words) = (Checked::default(), words());
        let ring = Ring::new(&words).unwrap();
        pass(&heap, &ring, 0, &Cell::new(0)).unwrap();
        let block = heap.named(ring.places[BATCH - 1].load(Relaxed)).unwrap();
        // SAFETY: the block is live and has 64 bytes.
        unsafe { block.add(BYTES - 1).write(0) };
        assert!(drain(&heap, &ring).is_err());
    }
}
