//! [`Exchange`]: words handed on from thread to thread, or from process to process.

use std::sync::atomic::{AtomicU64, Ordering};

/// Places that each hold a word or nothing, in memory of the program's or of a segment's. Nobody waits for a lock, and
/// everything that orders two threads stands here, in plain atomics: so a tool that looks for data races sees it.
#[derive(Debug, Clone, Copy)]
pub struct Exchange<'p> {
    places: &'p [AtomicU64],
}

impl<'p> Exchange<'p> {
    /// The exchange in these places, all zero at first.
    pub fn new(places: &'p [AtomicU64]) -> Self {
        Exchange { places }
    }

    /// Puts a word that is not 0 into a free place; waits until there is one. `from` says where to look first.
    pub fn put(&self, from: u64, word: u64) {
        loop {
            for i in 0..self.places.len() {
                let place = &self.places[(from as usize + i) % self.places.len()];
                // SYNC exchange: Release, pairs with `take`: what stands behind the word is whole.
                if place.load(Ordering::Relaxed) == 0
                    && place.compare_exchange(0, word, Ordering::Release, Ordering::Relaxed).is_ok()
                {
                    return;
                }
            }
            std::thread::yield_now();
        }
    }

    /// Takes a word, if there is one.
    pub fn take(&self, from: u64) -> Option<u64> {
        (0..self.places.len()).find_map(|i| {
            let place = &self.places[(from as usize + i) % self.places.len()];
            if place.load(Ordering::Relaxed) == 0 {
                return None;
            }
            // SYNC exchange: Acquire, pairs with `put`.
            Some(place.swap(0, Ordering::Acquire)).filter(|word| *word != 0)
        })
    }
}
