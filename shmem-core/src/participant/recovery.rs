//! Recovery: what the dead left behind is undone, by whoever is in need of it.
//!
//! | step | what | may be done twice |
//! |---|---|---|
//! | 0 | the recoverer's byte is taken, and the evidence looked at again under it | |
//! | 0b | what the dead threads were doing to pages of the heap, by the intents in their slots, is undone or completed | yes |
//! | 1 | what the dead threads' slots note, but they do not hold, is struck out | yes |
//! | 2 | the locks that are left are released, poisoned, and struck out | yes: by compare-and-swap from the dead owner's word |
//! | 3 | the slots are freed, the threads' liveness cells too | yes |
//! | 4 | the steps of the upper layers | yes, that is their contract |
//! | 5 | the record is freed | |
//!
//! A recoverer that dies leaves its byte free and the record attached: the next one begins at 0.
//!
//! **Why 0b comes first.** A block that a dead thread was growing or freeing is behind a lock it held, or behind what
//! its process has pinned: until these are released, nobody else touches the block.
//!
//! **Why 1 comes before 2.** A thread notes a lock before it takes it and strikes it out after it has released it, so a
//! note may be of a lock that it did not hold when it died. As long as nothing of the dead process has been released,
//! the memory of that lock is a lock's: the process had a reference to it, kept alive by its pins or by outer locks,
//! all of which still stand. After 1 only locks remain that a dead thread does hold, and those nobody moves or frees:
//! who wants to, and finds a dead holder, has recovery done first.
//!
//! **Why 1 reads through the file.** A recoverer that dies between releasing a lock and striking it out leaves a note of what may
//! not be a lock any more by the time its successor comes, nor even memory: the page may have been given back to the
//! system. A load would bring it back, or be a SIGBUS where none is left.
//!
//! (One thing is left to chance: a recoverer that dies between releasing a lock and striking it out, and whose successor
//! comes when the lock's memory is something else's, takes that for the lock if exactly there stands exactly the dead owner's
//! word, one of 2³⁰.)
//!
//! This file needs `unsafe`: it hands addresses found in slots to the upper layers.

use super::process::{ATTACHED, FREE, Participants, RECOVERER};
use super::slot::{Note, Owner};
use crate::crash::crash_point;
use crate::primitive::{Ordering, thread_local};
use std::cell::Cell;

/// A recovery step of an upper layer: undoes what the process with this record held; whether it could do all of it
/// (else the record stays a dead process's). Idempotent; runs no user code.
pub(crate) type Step = Box<dyn Fn(u32) -> bool + Send + Sync>;

/// The heap's part: settles the intent in the slot with this index, whose thread is dead. Idempotent; waits for nobody. One
/// thread of one process at a time settles a slot.
pub(crate) type Settle = Box<dyn Fn(u32) + Send + Sync>;

/// What an upper layer does with a slot, by its index, that this process has and is about to give back.
pub(crate) type Parting = Box<dyn Fn(u32) + Send + Sync>;

/// How recovery deals with one kind of lock.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LockKind {
    /// Whether `owner` holds the lock whose first 4 bytes are this word.
    pub(crate) is_held: fn(u32, Owner) -> bool,
    /// Releases the lock at the address, poisoned, if `owner` holds it still.
    ///
    /// # Safety
    /// 1. The address is mapped and aligned to 4, and that of such a lock, which nobody has moved or freed while `owner` held
    ///    it.
    pub(crate) release: unsafe fn(*const u8, Owner),
}

/// What came of an attempt to recover.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Recovered {
    /// Nothing to do: it is alive, or was recovered before.
    No,
    /// What it held is released. (All is undone, unless a step could not do its part.)
    Yes,
    /// Somebody else is at it.
    Underway,
    /// The system does not let this process find out, or recover: see [`LockError::Refused`](crate::LockError::Refused).
    Refused,
}

/// What this thread is cleaning up, if it is: the steps take locks, and so come back to this layer.
#[derive(Clone, Copy)]
struct Cleaning {
    at: *const Participants,
    /// The record this process works under meanwhile; [`attached_now`](Participants::attached_now) may not name it yet.
    own: u32,
}

thread_local! {
    static CLEANING: Cell<Option<Cleaning>> = const { Cell::new(None) };
}

impl Participants {
    /// The record under which this thread is cleaning up, if it is, in this mapping.
    pub(super) fn cleaning_as(&self) -> Option<u32> {
        let cleaning = CLEANING.try_with(Cell::get).ok().flatten()?;
        std::ptr::eq(cleaning.at, self).then_some(cleaning.own)
    }

    /// Recovers the process with this record if it is dead.
    pub(crate) fn recover_if_dead(&self, index: u32) -> Recovered {
        self.recover(index, false)
    }

    /// Releases the locks of the process with this record if it is dead, and leaves the rest of its recovery to somebody
    /// who has the time for it.
    pub(crate) fn release_if_dead(&self, index: u32) -> Recovered {
        self.recover(index, true)
    }

    fn recover(&self, index: u32, locks_only: bool) -> Recovered {
        match self.find_out(index) {
            Ok(true) => {}
            Ok(false) => return Recovered::No,
            Err(_) => return Recovered::Refused,
        }
        // A step found the locks or the slots of another dead process in its way: the rest of that one can wait.
        let locks_only = locks_only || self.cleaning_as().is_some();
        // Before the recoverer's byte: the record that is taken may be this one.
        let own = if locks_only { None } else { self.process().ok() };
        let _byte = match self.file().hold(RECOVERER + index) {
            Ok(Some(byte)) => byte,
            Ok(None) => return Recovered::Underway,
            Err(_) => return Recovered::Refused,
        };
        if !self.is_dead(index) {
            return Recovered::No;
        }
        if !self.release(index) {
            return Recovered::Refused;
        }
        if own.is_some_and(|own| self.run_steps(index, own)) {
            crash_point!("dead.undone");
            self.give_up(index);
            crash_point!("dead.given-up");
        }
        Recovered::Yes
    }

    /// Makes the record of a dead process, whose own byte this process holds, one of this process's; whether all could be
    /// undone. `None` if somebody else is recovering it.
    pub(super) fn take_over(&self, index: u32, own: u32) -> Option<bool> {
        let _byte = self.file().hold(RECOVERER + index).ok().flatten()?;
        let record = self.record(index);
        // Before anything: `/proc` spoke for the dead process.
        record.forget();
        record.generation.fetch_add(1, Ordering::AcqRel);
        if record.state.compare_exchange(FREE, ATTACHED, Ordering::AcqRel, Ordering::Relaxed).is_ok() {
            return Some(true);
        }
        Some(self.release(index) && self.run_steps(index, own))
    }

    /// Releases the locks of every dead process, and frees its slots. Waits for nobody.
    pub(crate) fn release_dead(&self) {
        for index in 0..self.process_count() {
            let _ = self.release_if_dead(index);
        }
    }

    /// Recovers every dead process; how many there were. Waits for nobody.
    pub(crate) fn recover_all(&self) -> usize {
        (0..self.process_count()).filter(|index| self.recover_if_dead(*index) == Recovered::Yes).count()
    }

    /// Steps 4: the upper layers'.
    fn run_steps(&self, index: u32, own: u32) -> bool {
        struct Restore(Option<Cleaning>);
        impl Drop for Restore {
            fn drop(&mut self) {
                let _ = CLEANING.try_with(|cleaning| cleaning.set(self.0));
            }
        }
        let cleaning = Some(Cleaning { at: self, own });
        let _restore = Restore(CLEANING.try_with(|now| now.replace(cleaning)).ok().flatten());
        // CRASH recover: every step is idempotent and the record stays attached until all are done.
        self.steps().iter().all(|step| step(index))
    }

    /// Has what dead threads were doing to pages of the heap undone or completed; `false` if somebody else is at it. Waits for
    /// nobody; takes no lock.
    pub(crate) fn settle_dead(&self) -> bool {
        let (mut asked, mut settled) = (None, true);
        for (_, slot) in self.slots().filter(|(_, slot)| slot.has_intent()) {
            let process = slot.process();
            if let Some(record) = process.filter(|_| process != asked) {
                settled &= self.release_if_dead(record) != Recovered::Underway;
                asked = process;
            }
        }
        settled
    }

    /// Steps 0b to 3: settles what the dead process with this record was doing in the heap, releases its locks, and frees its
    /// slots.
    ///
    /// `false` if notes cannot be followed, because somebody has closed the file's descriptor: nothing was done.
    fn release(&self, dead: u32) -> bool {
        let Ok(file_len) = self.file().len() else { return false };
        let slots = || self.slots().filter(|(_, slot)| slot.process() == Some(dead));
        for (index, _) in slots().filter(|(_, slot)| slot.has_intent()) {
            // CRASH settle: the intent stays until the slot is free, and what is settled is settled.
            self.settle(index);
            crash_point!("dead.settled");
        }
        for (index, slot) in slots() {
            for note in slot.notes() {
                let held = self.noted(note, file_len).is_some_and(|(at, kind)| {
                    // If it cannot be read, the next pass finds out.
                    self.word(at).is_none_or(|word| (kind.is_held)(word, slot.owner(index)))
                });
                if !held && note.lock().is_some() {
                    note.strike_out();
                    crash_point!("dead.struck-out");
                }
            }
        }
        for (index, slot) in slots() {
            for note in slot.notes() {
                if let Some((at, kind)) = self.noted(note, file_len) {
                    // CRASH release: a death leaves the lock released and still noted; nobody holds it by that owner word
                    // any more, so the next recoverer strikes it out.
                    // SAFETY: held by the dead owner, and who would move or free it waits for this recovery.
                    unsafe { (kind.release)(at, slot.owner(index)) };
                    crash_point!("dead.released");
                    note.strike_out();
                    crash_point!("dead.forgotten");
                }
            }
        }
        for (index, slot) in slots() {
            // CRASH free slot: a death after the cell is free leaves the slot taken, without one.
            self.cells().free_if_of(slot.life(index));
            crash_point!("dead.cell");
            // Before it may be retired: then nobody would come to it any more.
            self.prepare_to_part(index);
            slot.bury();
            crash_point!("dead.buried");
        }
        true
    }

    /// The word at `at`, which came from [`noted`](Self::noted), whatever stands there and whether there is memory or not.
    pub(super) fn word(&self, at: *const u8) -> Option<u32> {
        self.file().word(self.offset_of(at)).ok()
    }

    /// The lock that a note leads to, if it is one that can be looked at.
    pub(super) fn noted(&self, note: Note<'_>, file_len: u64) -> Option<(*const u8, LockKind)> {
        let (at, kind) = note.lock()?;
        let kind = self.lock_kinds().get(kind)?;
        let offset = self.offset_of(at);
        let end = file_len.min(self.reserved_bytes());
        let inside = offset.checked_add(8).is_some_and(|behind| behind <= end) && offset.is_multiple_of(4);
        inside.then(|| (self.at(offset).cast_const(), *kind))
    }
}
