//! Pins: what keeps an unlinked object alive.
//!
//! A process counts its pins of an object in a *lane* of the entry: a word with the process's record and the count. So a
//! pin is attributable (the lanes of a dead process are cleared), and pinning and letting go are one atomic operation each.
//! An entry has [`LANES`](super::entry::LANES) of them; a process may use one, and only while no other counts in it.
//! Where it cannot, it pins *by bit*: one bit of the entry for each process, and in the process a count for each entry.
//! The lane of a process that has let go keeps its record, with a count of zero, until another takes it.
//!
//! Pinning and unlinking meet like Dekker's algorithm: the one counts (or sets the bit) and then reads the phase, the
//! other sets the phase and then reads lanes and bits, all sequentially consistent; at least one of them sees the other.
//! A handle says how it is pinned, and a clone is pinned as what it is cloned from. So of an unlinked object a lane that
//! was found empty stays so but for pins that find the phase and are taken back at once; and once all lanes are, the
//! same holds of a bit that was found clear. This is why the lanes are read first, and why reading them one by one will do.
//!
//! | local count | meaning |
//! |---|---|
//! | 0 | this process does not pin the object by bit; its bit is clear |
//! | n | n handles; the bit is set, so the entry cannot become another's |
//! | `BUSY` | a thread is setting or clearing the bit |
//!
//! # Forks
//! While one is under way nobody takes a pin: `mine` is 0, and whoever pins looks at it again afterwards. The child gets
//! its own bit for each object that its parent pins, and in its local counts the parent's lanes. Handles that are older
//! than the process are pinned by bit, whatever they say.
//!
//! This file needs `unsafe`: a handle keeps the address of its entry.

use super::entry::{Entry, Lane, Phase, State};
use super::{CHUNKS, Directory, DropGlue, drop_elements, place};
use crate::crash::crash_point;
use crate::error::Error;
use crate::layout::{Fingerprint, ShmSafe};
use crate::mapping::registry;
use crate::primitive::{AtomicBool, AtomicU64, Mutex, Ordering, fence, thread};
use std::ptr::NonNull;
use std::sync::OnceLock;

const BUSY: u64 = 1 << 63;

/// So many pins of one object by one process are a leak that is about to overflow.
const MANY: u64 = 1 << 46;

/// One pin, as its handle keeps it: the entry's address here, and in its lowest bit how it is pinned.
///
/// # Invariants
/// 1. The entry stands in a mapping that whoever keeps the pin keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Hold(NonNull<u8>);

// SAFETY: an address of atomics, which any thread may use.
unsafe impl Send for Hold {}
// SAFETY: likewise.
unsafe impl Sync for Hold {}

impl Hold {
    #[inline(always)]
    pub(super) fn in_lane(entry: &Entry) -> Self {
        Hold(NonNull::from(entry).cast())
    }

    fn by_bit(entry: &Entry) -> Self {
        Hold(NonNull::from(entry).cast::<u8>().map_addr(|at| at | 1))
    }

    #[inline(always)]
    fn is_by_bit(self) -> bool {
        self.0.addr().get() & 1 != 0
    }

    #[inline(always)]
    pub(super) fn entry(self, _: &Directory) -> &Entry {
        // SAFETY: 1; not null, for entries are aligned to more than the bit.
        unsafe { &*self.0.as_ptr().map_addr(|at| at & !1).cast::<Entry>() }
    }
}

/// What came of an attempt to pin.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Pin {
    /// The entry is pinned.
    Held(Hold),
    /// It is not, or no longer, the one that was wanted.
    Gone,
    /// This process can get no record in the segment.
    NoRecord,
}

/// This process's record and the fork generation it has it in: `generation << 16 | record + 1`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Mine(u64);

impl Mine {
    #[inline(always)]
    pub(super) fn process(self) -> u32 {
        u32::from(self.0 as u16).wrapping_sub(1)
    }

    #[inline(always)]
    fn generation(self) -> u64 {
        self.0 >> 16
    }
}

/// What one process knows of its pins.
#[derive(Default)]
pub(super) struct LocalPins {
    /// [`Mine`]; 0 until it is known, and while a fork is under way. Written with `Directory::hold`, which a fork holds.
    mine: AtomicU64,
    /// The counts of pins by bit, in chunks as the entries are.
    chunks: [OnceLock<Box<[AtomicU64]>>; CHUNKS],
    /// A fork is under way: nobody takes a first pin, or the child would have a handle without it.
    frozen: AtomicBool,
    /// The entries that a forking process pins in lanes, and how often.
    lanes: Mutex<Vec<(u32, u64)>>,
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

    /// Before a fork: lets nobody take a pin until `thaw`; gives the entries that are pinned by bit.
    pub(super) fn freeze(&self) -> Vec<u32> {
        self.frozen.store(true, Ordering::SeqCst);
        // SYNC fork: SeqCst: who still finds the word has counted in its lane before, and that is seen.
        self.mine.store(0, Ordering::SeqCst);
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

    /// Remembers, for the child, what is pinned in lanes.
    pub(super) fn keep_lanes(&self, lanes: Vec<(u32, u64)>) {
        // So that the child need not allocate.
        for (number, _) in &lanes {
            self.count(*number);
        }
        *self.lanes.lock().unwrap_or_else(|e| e.into_inner()) = lanes;
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
        // Nobody else had it: the forking thread alone changes it.
        let lanes = std::mem::take(&mut *self.lanes.lock().unwrap_or_else(|e| e.into_inner()));
        if pinned {
            for (number, pins) in lanes {
                self.count(number).fetch_add(pins, Ordering::Relaxed);
            }
        }
    }
}

/// Counts one pin more, if the lane is this process's or nobody's.
#[inline(always)]
pub(super) fn enter(lane: &AtomicU64, process: u32) -> bool {
    let mut now = Lane(lane.load(Ordering::Relaxed));
    loop {
        let next = if now.process() == Some(process) && now.pins() < MANY {
            Lane(now.0 + 1)
        } else if now.pins() == 0 {
            Lane::new(process, 1)
        } else {
            return false;
        };
        // SYNC pin/unlink: SeqCst, see the module.
        match lane.compare_exchange_weak(now.0, next.0, Ordering::SeqCst, Ordering::Relaxed) {
            Ok(_) => {
                crash_point!("pin.counted");
                return true;
            }
            Err(other) => now = Lane(other),
        }
    }
}

impl Directory {
    /// This process's record, if it is known and no fork is under way.
    #[inline(always)]
    pub(super) fn mine(&self) -> Option<Mine> {
        let mine = Mine(self.pins.mine.load(Ordering::Acquire));
        (mine.generation() == registry::fork_generation()).then_some(mine)
    }

    /// Whether no fork has begun since `mine` was found; asked after counting a pin.
    #[inline(always)]
    pub(super) fn is_still(&self, mine: Mine) -> bool {
        self.pins.mine.load(Ordering::SeqCst) == mine.0
    }

    /// As [`mine`](Self::mine); waits for a fork to be over. `None` while the record is being taken.
    fn learn_mine(&self) -> Option<Mine> {
        loop {
            if let Some(mine) = self.mine() {
                return Some(mine);
            }
            let record = self.participants.attached_now()?;
            // A process keeps its record until its mapping or the process is gone, or it is a fork's child.
            let storing = self.hold();
            if !self.pins.frozen.load(Ordering::SeqCst) {
                let mine = Mine(registry::fork_generation() << 16 | u64::from(record + 1));
                self.pins.mine.store(mine.0, Ordering::Release);
                return Some(mine);
            }
            drop(storing);
            thread::yield_now();
        }
    }

    /// Counts a pin in this process's lane of `entry`, if it can have one. To be taken back by
    /// [`leave`](Self::leave).
    fn pin_in_lane(&self, entry: &Entry) -> Option<Mine> {
        loop {
            let mine = self.learn_mine()?;
            if !enter(entry.lane(mine.process()), mine.process()) {
                return None;
            }
            if self.is_still(mine) {
                return Some(mine);
            }
            self.leave(entry, mine.process(), None);
        }
    }

    /// Takes a pin out of this process's lane. If it was the last of an unlinked object, frees it, with `glue` if the
    /// object is still in that life.
    #[inline(always)]
    pub(super) fn leave(&self, entry: &Entry, process: u32, glue: Option<(DropGlue, State)>) {
        // SYNC pin/unlink: SeqCst, see the module; what the handle read is read before the object goes.
        let before = Lane(entry.lane(process).fetch_sub(1, Ordering::SeqCst));
        crash_point!("pin.uncounted");
        debug_assert!(before.process() == Some(process) && before.pins() != 0, "a pin is let go once");
        if before.pins() == 1 && entry.state().is(Phase::Unlinked) {
            self.reap_if_free(entry, glue);
        }
    }

    /// How to drop what stands in `entry` now, if that is a `T`: for a look-up that has pinned too late. The object may be
    /// waiting for just that pin to be dropped.
    #[cold]
    pub(super) fn glue_of<T: ShmSafe>(&self, entry: &Entry) -> Option<(DropGlue, State)> {
        let life = entry.state();
        let of_type = entry.fingerprint() == Fingerprint::halves_of::<T>() && self.is_in_place::<T>(entry);
        // SYNC life: Acquire, pairs with the fence in `reserve`: the type was this life's, if it has not ended.
        fence(Ordering::Acquire);
        (of_type && entry.state().same_life(life)).then_some((drop_elements::<T>, life))
    }

    /// Pins `entry` if `wanted` still holds of it once it cannot become another's any more; `glue`, if it does not, says
    /// how to drop what is there.
    pub(super) fn pin(
        &self,
        entry: &Entry,
        wanted: impl Fn() -> bool,
        glue: impl Fn() -> Option<(DropGlue, State)>,
    ) -> Pin {
        let Ok(process) = self.participants.process() else { return Pin::NoRecord };
        let hold = match self.pin_in_lane(entry) {
            Some(_) => Hold::in_lane(entry),
            None => self.pin_by_bit(entry, process),
        };
        if wanted() {
            return Pin::Held(hold);
        }
        self.unpin_slow(hold, registry::fork_generation() as u32, glue());
        Pin::Gone
    }

    /// Pins `entry` by this process's bit.
    fn pin_by_bit(&self, entry: &Entry, process: u32) -> Hold {
        let number = self.number_of(entry);
        let count = self.pins.count(number);
        loop {
            let now = count.load(Ordering::Relaxed);
            if now & BUSY != 0 {
                thread::yield_now();
            } else if now != 0 {
                // SYNC pin: Acquire, pairs with the Release store of 1 below: the entry is stable. SeqCst, as in `enter`.
                if count.compare_exchange_weak(now, now + 1, Ordering::SeqCst, Ordering::Relaxed).is_ok() {
                    return Hold::by_bit(entry);
                }
            } else if self.pins.begin_first(count) {
                let (word, bit) = entry.pin_bit(process);
                // SYNC pin/unlink: SeqCst, see the module.
                word.fetch_or(bit, Ordering::SeqCst);
                crash_point!("pin.set");
                count.store(1, Ordering::Release);
                return Hold::by_bit(entry);
            }
        }
    }

    /// What [`Pin::NoRecord`] is for the caller.
    #[cold]
    pub(super) fn no_record(&self) -> Error {
        self.participants.process().err().unwrap_or(Error::TooManyProcesses { limit: 0 })
    }

    /// Sets the first pin of an entry that this process has reserved.
    pub(super) fn pin_reserved(&self, entry: &Entry, process: u32) -> Hold {
        match self.pin_in_lane(entry) {
            Some(_) => Hold::in_lane(entry),
            None => self.pin_by_bit(entry, process),
        }
    }

    /// One more pin, by a handle that holds one and was made under this fork generation.
    pub(crate) fn pin_again(&self, hold: Hold, fork_generation: u32) {
        let entry = hold.entry(self);
        let overflow = if hold.is_by_bit() || fork_generation != registry::fork_generation() as u32 {
            self.pins.count(self.number_of(entry)).fetch_add(1, Ordering::Relaxed) >= MANY
        } else {
            self.pin_in_lane(entry).is_none()
        };
        if overflow {
            // As for `Arc`: handles without end were forgotten.
            std::process::abort();
        }
    }

    /// Lets go of a pin of this process, on an object whose type is not at hand.
    pub(super) fn unpin(&self, hold: Hold) {
        self.unpin_slow(hold, registry::fork_generation() as u32, None);
    }

    /// Lets go of the pin of a handle that was made under this fork generation, if it is this process's. If it was the
    /// last of an unlinked object, frees it; `glue` drops its elements.
    #[inline(always)]
    pub(super) fn unpin_of(&self, hold: Hold, fork_generation: u32, glue: DropGlue) {
        let entry = hold.entry(self);
        // While it is pinned: as soon as it is not, it may become another's, of another type.
        let glue = Some((glue, entry.state()));
        if let Some(mine) = self.mine()
            && mine.generation() as u32 == fork_generation
            && !hold.is_by_bit()
        {
            self.leave(entry, mine.process(), glue);
        } else {
            self.unpin_slow(hold, fork_generation, glue);
        }
    }

    #[cold]
    fn unpin_slow(&self, hold: Hold, fork_generation: u32, glue: Option<(DropGlue, State)>) {
        if !self.participants.backs(fork_generation.into()) {
            return;
        }
        let entry = hold.entry(self);
        if !hold.is_by_bit() && fork_generation == registry::fork_generation() as u32 {
            // Perhaps a fork is under way.
            if let Some(process) = self.participants.attached_now() {
                self.leave(entry, process, glue);
            }
            return;
        }
        let number = self.number_of(entry);
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
            if let Some(process) = self.participants.attached_now() {
                let (word, bit) = entry.pin_bit(process);
                // SYNC pin/unlink: SeqCst, see the module.
                word.fetch_and(!bit, Ordering::SeqCst);
                crash_point!("pin.cleared");
            }
            count.store(0, Ordering::Release);
            self.reap_if_free(entry, glue);
            return;
        }
    }

    /// Clears the pins of a dead process.
    pub(super) fn unpin_dead(&self, entry: &Entry, dead: u32) {
        let lane = entry.lane(dead);
        let now = lane.load(Ordering::SeqCst);
        if Lane(now).process() == Some(dead) {
            // If it fails, the dead counted nothing in it, and another has taken it.
            let _ = lane.compare_exchange(now, 0, Ordering::SeqCst, Ordering::Relaxed);
        }
        let (word, bit) = entry.pin_bit(dead);
        word.fetch_and(!bit, Ordering::SeqCst);
    }

    /// Before a fork: lets no thread take a pin until `thaw`, and gives `child`, the record the child will have, a pin
    /// on whatever this process pins.
    pub(crate) fn freeze(&self, child: Option<u32>) {
        let by_bit = self.pins.freeze();
        let (Some(child), Some(own)) = (child, self.participants.attached_now()) else { return };
        let give = |entry: &Entry| {
            let (word, bit) = entry.pin_bit(child);
            word.fetch_or(bit, Ordering::SeqCst);
        };
        by_bit.into_iter().filter_map(|number| self.entry(number)).for_each(give);
        let mut lanes = Vec::new();
        for number in 0..self.high() {
            let Some(entry) = self.entry(number) else { continue };
            let lane = Lane(entry.lane(own).load(Ordering::SeqCst));
            if lane.process() == Some(own) && lane.pins() != 0 {
                give(entry);
                lanes.push((number, lane.pins()));
            }
        }
        self.pins.keep_lanes(lanes);
    }

    /// Frees an unlinked object that nobody pins, or leaves it as an orphan where its type is not at hand: `glue` is
    /// its type's if the entry is still in the same life as in the state beside it.
    pub(super) fn reap_if_free(&self, entry: &Entry, glue: Option<(DropGlue, State)>) {
        let state = entry.state();
        if !state.is(Phase::Unlinked) || entry.is_pinned() {
            return;
        }
        match glue {
            // Without a record (in a child that could get none) it could not be told whose drop a death has cut short.
            Some((glue, life)) if state.same_life(life) && self.participants.attached_now().is_some() => {
                self.reap(entry, state, glue);
            }
            _ => self.orphan(entry, state),
        }
    }

    /// Drops and frees the object of an entry in `state`, if nobody else does; whether it did.
    pub(super) fn reap(&self, entry: &Entry, state: State, glue: DropGlue) -> bool {
        let Some(process) = self.participants.attached_now() else { return false };
        // CRASH reap: whoever finds `Freeing` with a dead agent leaks the object and frees the entry: a half-run drop
        // is never run again.
        if !entry.advance(state, state.by(Phase::Freeing, process)) {
            return false;
        }
        crash_point!("reap.freeing");
        /// Frees the entry also if a user's drop panics; the object is then leaked.
        struct Release<'d>(&'d Directory, &'d Entry);
        impl Drop for Release<'_> {
            fn drop(&mut self) {
                self.0.release(self.1);
            }
        }
        let release = Release(self, entry);
        self.drop_object(entry, glue);
        drop(release);
        true
    }
}
