//! What other modules' tests look at, or damage.

use super::Heap;
use crate::error::Corrupt;
use crate::primitive::Ordering;

impl Heap {
    /// The offsets in all caches.
    pub(crate) fn cached(&self) -> Vec<u64> {
        self.raw.cached().map(|(offset, _)| offset).collect()
    }

    /// What is wrong, if nobody else is at work.
    pub(crate) fn check_alone(&self) -> Vec<Corrupt> {
        self.raw.check(true)
    }

    /// Overwrites the words of every magazine in all caches: the first is 0, the second the count, then come offsets.
    pub(crate) fn damage_magazines(&self, mut word: impl FnMut(usize) -> u64) {
        for cache in (0..self.raw.header.slots).filter_map(|slot| self.raw.cache(slot)) {
            for (_, class) in self.raw.classes.cached() {
                for (i, at) in cache.magazine(class).words().iter().enumerate() {
                    at.store(word(i), Ordering::SeqCst);
                }
            }
        }
    }
}
