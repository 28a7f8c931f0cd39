//! The way a look-up takes when all is well: no lock, no allocation, nothing returned that must be copied about.
//!
//! Whatever is out of the ordinary (a name that is not there, another type, a damaged entry) is left to the slow
//! path, which begins anew and says what is wrong.

use super::entry::{Phase, SLICE};
use super::index::Table;
use super::pins::Pin;
use super::{Directory, Key, Shape};
use crate::layout::{Fingerprint, ShmSafe};
use crate::primitive::Ordering;
use std::ptr::NonNull;

impl Directory {
    /// The object called `key`, pinned and of the right type and shape: its number and place, in two registers.
    #[inline(never)]
    pub(super) fn find_hot<T: ShmSafe>(&self, key: Key<'_>, shape: Shape) -> Option<(u32, NonNull<u8>)> {
        let header = self.header();
        // SYNC sequence: Acquire, so that no slot is read before it. A hit needs no second look: the entry proves it.
        let settled = header.sequence.load(Ordering::Acquire) & 1 == 0;
        let index = header.index.load(Ordering::Acquire);
        let checked = index == self.checked_index.load(Ordering::Relaxed);
        if !settled || !checked || header.orphans.load(Ordering::Relaxed) != 0 {
            return None;
        }
        let table = Table::decode(index)?;
        let fingerprint = Fingerprint::halves_of::<T>();
        let hash = key.hash(self.context.hash_seed());
        self.probe(table, hash, |number| {
            let entry = self.entry(number)?;
            let of_type = || {
                let stored = [0, 1].map(|i| entry.fingerprint[i].load(Ordering::Relaxed));
                let slice = entry.kind.load(Ordering::Relaxed) & SLICE != 0;
                let count = entry.count.load(Ordering::Relaxed);
                let fits = match shape {
                    Shape::One => !slice,
                    Shape::Slice(None) => true,
                    Shape::Slice(Some(n)) => n == count,
                };
                fits && stored == fingerprint
            };
            let wanted = || entry.state().is(Phase::Live) && self.is_named(entry, &key, hash);
            if entry.hash.load(Ordering::Relaxed) != hash || self.pin(number, entry, wanted) != Pin::Held {
                return None;
            }
            if !of_type() || !self.is_in_place::<T>(entry) {
                self.unpin(number, None);
                return None;
            }
            Some((number, self.object_at(entry)))
        })
    }
}
