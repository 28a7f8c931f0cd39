//! Pins: what keeps an unlinked object alive.
//!
//! In the segment an entry has one bit for each process; in the process, a count for each entry. So a pin is
//! attributable (the bits of a dead process are cleared), and only a process's first and last pin of an object touch
//! shared memory.
//!
//! Pinning and unlinking meet like Dekker's algorithm: the one sets the bit and then reads the phase, the other sets
//! the phase and then reads the bits, all sequentially consistent; at least one of them sees the other.
//!
//! | local count | meaning |
//! |---|---|
//! | 0 | this process does not pin the object; its bit is clear |
//! | n | n handles; the bit is set, so the entry cannot become another's |
//! | `BUSY` | a thread is setting or clearing the bit |

use super::entry::{Entry, Phase, State};
use super::{CHUNKS, Directory, DropGlue, place};
use crate::error::Error;
use crate::primitive::{AtomicBool, AtomicU64, Ordering, thread};
use std::sync::OnceLock;

const BUSY: u64 = 1 << 63;

/// What came of an attempt to pin.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Pin {
    /// The entry is pinned.
    Held,
    /// It is not, or no longer, the one that was wanted.
    Gone,
    /// This process can get no record in the segment.
    NoRecord,
}

/// The counts of one process, in chunks as the entries are.
#[derive(Default)]
pub(super) struct LocalPins {
    chunks: [OnceLock<Box<[AtomicU64]>>; CHUNKS],
    /// A fork is under way: nobody takes a first pin, or the child would have a handle without it.
    frozen: AtomicBool,
}

impl LocalPins {
    fn count(&self, number: u32) -> &AtomicU64 {
        let (chunk, i) = place(number);
        let len = super::chunk_len(chunk);
        &self.chunks[chunk].get_or_init(|| (0..len).map(|_| AtomicU64::new(0)).collect())[i]
    }

    /// Goes from no pin to `BUSY`, if there is none and no fork under way.
    fn begin_first(&self, count: &AtomicU64) -> bool {
        // SYNC fork: SeqCst: either this thread sees `frozen`, or the forking thread sees `BUSY` and waits.
        if count.compare_exchange(0, BUSY, Ordering::SeqCst, Ordering::Relaxed).is_err() {
            return false;
        }
        if self.frozen.load(Ordering::SeqCst) {
            count.store(0, Ordering::Release);
            thread::yield_now();
            return false;
        }
        true
    }

    /// Before a fork: lets nobody take a first pin until `thaw`; gives the entries that are pinned.
    pub(super) fn freeze(&self) -> Vec<u32> {
        self.frozen.store(true, Ordering::SeqCst);
        let mut pinned = Vec::new();
        for (chunk, counts) in self.chunks.iter().enumerate() {
            for (i, count) in counts.get().into_iter().flatten().enumerate() {
                let mut now = count.load(Ordering::SeqCst);
                while now & BUSY != 0 {
                    thread::yield_now();
                    now = count.load(Ordering::SeqCst);
                }
                if now != 0 {
                    pinned.push(super::number(chunk, i));
                }
            }
        }
        pinned
    }

    /// After a fork, in either process.
    pub(super) fn thaw(&self) {
        self.frozen.store(false, Ordering::Release);
    }

    /// In the child of a fork, whose other threads are gone: nobody is busy; and nothing is pinned, if it got no pins.
    pub(super) fn settle(&self, pinned: bool) {
        for count in self.chunks.iter().filter_map(|c| c.get()).flatten() {
            if !pinned || count.load(Ordering::Relaxed) & BUSY != 0 {
                count.store(0, Ordering::Relaxed);
            }
        }
    }
}

impl Directory {
    /// Pins `entry` if `wanted` still holds of it once it cannot become another's any more.
    #[inline]
    pub(super) fn pin(&self, number: u32, entry: &Entry, wanted: impl Fn() -> bool) -> Pin {
        let count = self.pins.count(number);
        loop {
            let now = count.load(Ordering::Relaxed);
            if now != 0 && now & BUSY == 0 {
                // SYNC pin: Acquire, pairs with the Release store of 1 below: the entry is stable.
                if count.compare_exchange_weak(now, now + 1, Ordering::Acquire, Ordering::Relaxed).is_err() {
                    continue;
                }
                if wanted() {
                    return Pin::Held;
                }
                self.unpin(number, None);
                return Pin::Gone;
            }
            if now & BUSY != 0 {
                thread::yield_now();
                continue;
            }
            let Ok(process) = self.participants.process() else { return Pin::NoRecord };
            if !self.pins.begin_first(count) {
                continue;
            }
            let (word, bit) = entry.pin_bit(process);
            // SYNC pin/unlink: SeqCst, see the module.
            word.fetch_or(bit, Ordering::SeqCst);
            if wanted() {
                count.store(1, Ordering::Release);
                return Pin::Held;
            }
            word.fetch_and(!bit, Ordering::SeqCst);
            count.store(0, Ordering::Release);
            self.reap_if_free(number, entry, None);
            return Pin::Gone;
        }
    }

    /// The records of the processes that pin `entry`.
    pub(super) fn holders(&self, entry: &Entry) -> Vec<u32> {
        let all = (0..entry.pins.len() as u32 * 64).map(|process| (process, entry.pin_bit(process)));
        all.filter(|(_, (word, bit))| word.load(Ordering::SeqCst) & bit != 0)
            .map(|(process, _)| process)
            .collect()
    }

    /// What [`Pin::NoRecord`] is for the caller.
    #[cold]
    pub(super) fn no_record(&self) -> Error {
        self.participants.process().err().unwrap_or(Error::TooManyProcesses { limit: 0 })
    }

    /// Sets the first pin of an entry that this process has reserved.
    pub(super) fn pin_reserved(&self, number: u32, entry: &Entry, process: u32) {
        let count = self.pins.count(number);
        // Another thread may be finding out that the entry is not the one it looked for.
        while !self.pins.begin_first(count) {
            thread::yield_now();
        }
        let (word, bit) = entry.pin_bit(process);
        word.fetch_or(bit, Ordering::SeqCst);
        count.store(1, Ordering::Release);
    }

    /// One more pin, by a handle that holds one.
    pub(super) fn pin_again(&self, number: u32) {
        self.pins.count(number).fetch_add(1, Ordering::Relaxed);
    }

    /// Lets go of a pin. If it was the last of an unlinked object, frees it; `glue` drops its elements.
    pub(super) fn unpin(&self, number: u32, glue: Option<DropGlue>) {
        let count = self.pins.count(number);
        loop {
            let now = count.load(Ordering::Relaxed);
            if now & BUSY != 0 {
                thread::yield_now();
                continue;
            }
            if now == 0 {
                debug_assert!(false, "a pin is let go once");
                return;
            }
            let next = if now == 1 { BUSY } else { now - 1 };
            // SYNC pin: AcqRel, so that what this handle read is read before the object goes.
            if count.compare_exchange_weak(now, next, Ordering::AcqRel, Ordering::Relaxed).is_err() {
                continue;
            }
            if next != BUSY {
                return;
            }
            let entry = self.entry(number);
            // While it is pinned: as soon as it is not, it may become another's, of another type.
            let life = entry.map(Entry::state);
            if let (Some(entry), Some(process)) = (entry, self.participants.attached_now()) {
                let (word, bit) = entry.pin_bit(process);
                // SYNC pin/unlink: SeqCst, see the module.
                word.fetch_and(!bit, Ordering::SeqCst);
            }
            count.store(0, Ordering::Release);
            if let (Some(entry), Some(life)) = (entry, life) {
                self.reap_if_free(number, entry, glue.map(|glue| (glue, life)));
            }
            return;
        }
    }

    /// Frees an unlinked object that nobody pins, or leaves it as an orphan where its type is not at hand: `glue` is
    /// its type's if the entry is still in the same life as in the state beside it.
    pub(super) fn reap_if_free(&self, number: u32, entry: &Entry, glue: Option<(DropGlue, State)>) {
        let state = entry.state();
        if !state.is(Phase::Unlinked) || entry.is_pinned() {
            return;
        }
        match glue {
            Some((glue, life)) if state.same_life(life) => {
                self.reap(number, entry, state, glue);
            }
            _ => {
                // Counted before: a death between leaves a hint that is too high, and costs somebody a look.
                self.header().orphans.fetch_add(1, Ordering::Relaxed);
                if !entry.advance(state, state.to(Phase::Orphan)) {
                    self.header().orphans.fetch_sub(1, Ordering::Relaxed);
                }
            }
        }
    }

    /// Drops and frees the object of an entry in `state`, if nobody else does; whether it did.
    pub(super) fn reap(&self, number: u32, entry: &Entry, state: State, glue: DropGlue) -> bool {
        let Some(process) = self.participants.attached_now() else { return false };
        // CRASH reap: whoever finds `Freeing` with a dead agent leaks the object and frees the entry: a half-run drop
        // is never run again.
        if !entry.advance(state, state.by(Phase::Freeing, process)) {
            return false;
        }
        /// Frees the entry also if a user's drop panics; the object is then leaked.
        struct Release<'d>(&'d Directory, u32, &'d Entry);
        impl Drop for Release<'_> {
            fn drop(&mut self) {
                self.0.release(self.1, self.2);
            }
        }
        let release = Release(self, number, entry);
        self.drop_object(entry, glue);
        drop(release);
        true
    }
}
