//! Process records: attaching, liveness, recovery.
//!
//! This file needs `unsafe`: it reaches records in mapped memory.

use super::MAX_PROCESSES;
use super::slot::Slot;
use crate::error::Error;
use crate::mapping::registry;
use crate::mapping::superblock::{FixedHeader, PARTICIPANT_SIZE, PROCESSES_AT};
use crate::primitive::{AtomicU32, AtomicU64, Ordering};
use std::io;
use std::ptr::NonNull;
use std::sync::{Mutex, MutexGuard, OnceLock};

/// Locks on bytes of the segment's file that belong to one open file description and end with it.
pub(crate) trait ByteLocks: Send + Sync {
    /// Takes byte `index` if it is free.
    fn try_lock(&self, index: u32) -> io::Result<bool>;
    /// Lets go of byte `index`.
    fn unlock(&self, index: u32) -> io::Result<()>;
    /// Whether another open file description holds byte `index`.
    fn is_locked(&self, index: u32) -> io::Result<bool>;
}

const FREE: u32 = 0;
const ATTACHED: u32 = 1;

/// A process's record in the segment.
#[repr(C, align(64))]
struct Record {
    /// [`FREE`] or [`ATTACHED`].
    state: AtomicU32,
    /// Raised each time the record is given up.
    generation: AtomicU32,
    /// The process's id in its own PID namespace; for people, not evidence.
    pid: AtomicU32,
    _zero: u32,
    _reserved: [u64; 6],
}

const _: () = assert!(size_of::<Record>() == PARTICIPANT_SIZE as usize);

/// What an upper layer does for the process with a record. Idempotent; runs no user code.
pub(crate) type Step = Box<dyn Fn(u32) + Send + Sync>;

/// What the upper layers do for a process.
pub(crate) struct Steps {
    /// Undoes what a dead process held.
    pub(crate) recover: Vec<Step>,
    /// Completes the attaching of this process.
    pub(crate) attach: Vec<Step>,
}

/// This process's part in one mapping of a segment.
pub(crate) struct Participants {
    base: NonNull<u8>,
    header: FixedHeader,
    locks: Box<dyn ByteLocks>,
    /// Record + 1, and the fork generation it was taken under (0 while there is none).
    attached: AtomicU64,
    changing: Mutex<()>,
    steps: OnceLock<Steps>,
}

// SAFETY: the mapped records it points to are atomics.
unsafe impl Send for Participants {}
// SAFETY: likewise.
unsafe impl Sync for Participants {}

impl Participants {
    /// For the segment mapped at `base`.
    ///
    /// # Safety
    /// 1. The participant tables that `header` describes are mapped writable at `base` while this lives.
    pub(crate) unsafe fn new(base: NonNull<u8>, header: FixedHeader, locks: Box<dyn ByteLocks>) -> Self {
        Participants {
            base,
            header,
            locks,
            attached: AtomicU64::new(0),
            changing: Mutex::new(()),
            steps: OnceLock::new(),
        }
    }

    /// Registers the upper layers' steps, once.
    pub(crate) fn set_steps(&self, steps: Steps) {
        let _ = self.steps.set(steps);
    }

    fn record(&self, index: u32) -> &Record {
        assert!(index < self.header.processes);
        // SAFETY: in bounds of the table, which `new` was promised.
        unsafe {
            &*self.base.add((PROCESSES_AT + u64::from(index) * PARTICIPANT_SIZE) as usize).cast().as_ptr()
        }
    }

    /// The slot with this index, if there is one.
    pub(super) fn slot(&self, index: u32) -> Option<&Slot> {
        if index >= self.header.slots {
            return None;
        }
        let at = self.header.slots_at + u64::from(index) * PARTICIPANT_SIZE;
        // SAFETY: in bounds of the table, which `new` was promised.
        Some(unsafe { &*self.base.add(at as usize).cast().as_ptr() })
    }

    /// How many slots there are.
    pub(super) fn slots(&self) -> u32 {
        self.header.slots
    }

    fn changing(&self) -> MutexGuard<'_, ()> {
        self.changing.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// This process's record, taken now if it has none.
    ///
    /// Costs one load once attached; the first time, a few system calls.
    ///
    /// # Errors
    /// [`Error::TooManyProcesses`] if every record belongs to a live process.
    #[inline]
    pub(crate) fn process(&self) -> Result<u32, Error> {
        match self.attached_now() {
            Some(record) => Ok(record),
            None => self.attach(),
        }
    }

    /// This process's record, if it has one.
    #[inline]
    pub(crate) fn attached_now(&self) -> Option<u32> {
        let word = self.attached.load(Ordering::Acquire);
        (word != 0 && word >> 16 == registry::fork_generation()).then(|| word as u16 as u32 - 1)
    }

    #[cold]
    fn attach(&self) -> Result<u32, Error> {
        let _changing = self.changing();
        if let Some(record) = self.attached_now() {
            return Ok(record);
        }
        let (record, dead) = self.take_record(&*self.locks)?;
        // Its own before the recovery of the one who had it: recovery takes locks, and so needs a record.
        self.adopt(record);
        if dead {
            self.clean(record);
        }
        for step in self.steps.get().iter().flat_map(|steps| &steps.attach) {
            step(record);
        }
        Ok(record)
    }

    /// Makes `record`, whose byte lock this process holds, the process's own.
    fn adopt(&self, record: u32) {
        self.record(record).pid.store(std::process::id(), Ordering::Relaxed);
        self.attached.store(registry::fork_generation() << 16 | u64::from(record + 1), Ordering::Release);
    }

    /// Takes a free record or a dead process's, and its byte lock through `locks`; whether it is a dead one's, which
    /// is still to be cleaned.
    fn take_record(&self, locks: &dyn ByteLocks) -> Result<(u32, bool), Error> {
        // Free ones first: a record that says ATTACHED is most likely alive, and asking the kernel costs.
        for wanted in [FREE, ATTACHED] {
            for index in 0..self.header.processes {
                let record = self.record(index);
                if record.state.load(Ordering::Relaxed) != wanted || !locks.try_lock(index).unwrap_or(false) {
                    continue;
                }
                // The lock is ours, so the record is nobody's: free, or of a process that is dead.
                // CRASH attach: a death after this leaves an attached record without its lock, which is what a
                // dead process looks like; recovery undoes what is left of the one before, too.
                let dead = record.state.swap(ATTACHED, Ordering::AcqRel) == ATTACHED;
                return Ok((index, dead));
            }
        }
        Err(Error::TooManyProcesses { limit: self.header.processes })
    }

    /// Whether the process with this record is dead: it says it is attached, and the kernel has dropped its lock.
    /// One system call.
    pub(crate) fn is_dead(&self, index: u32) -> bool {
        index < self.header.processes
            && self.attached_now() != Some(index)
            && self.record(index).state.load(Ordering::Acquire) == ATTACHED
            && matches!(self.locks.is_locked(index), Ok(false))
    }

    /// Whether the record is in use, by the living or by the dead.
    pub(super) fn is_attached(&self, index: u32) -> bool {
        index < self.header.processes && self.record(index).state.load(Ordering::Acquire) == ATTACHED
    }

    /// Recovers the process with this record if it is dead; whether it was (and now is not any more).
    pub(crate) fn recover_if_dead(&self, index: u32) -> bool {
        // Recovery takes locks, and so needs a record.
        if !self.is_dead(index) || self.process().is_err() {
            return false;
        }
        // A lock is its description's, so two threads of this process would both get it.
        let _changing = self.changing();
        if self.attached_now() == Some(index) || !self.locks.try_lock(index).unwrap_or(false) {
            return false;
        }
        let dead = self.record(index).state.load(Ordering::Acquire) == ATTACHED;
        if dead {
            self.clean(index);
            self.give_up(index);
        }
        let _ = self.locks.unlock(index);
        dead
    }

    /// Recovers every dead process; how many there were.
    pub(crate) fn recover_all(&self) -> usize {
        (0..self.header.processes).filter(|index| self.recover_if_dead(*index)).count()
    }

    /// Undoes what the dead process with record `index`, whose byte lock the caller holds, has left.
    ///
    /// CRASH recover: every step is idempotent and the record stays attached until all are done, so if this process
    /// dies too, the kernel drops the lock and the next one begins again.
    fn clean(&self, index: u32) {
        // The slots first: from then on whatever the dead signed is known to be nobody's, also to the steps.
        for slot in 0..self.header.slots {
            if let Some(slot) = self.slot(slot) {
                slot.free_if_of(index);
            }
        }
        for step in self.steps.get().iter().flat_map(|steps| &steps.recover) {
            step(index);
        }
    }

    /// Frees a record, whose byte lock the caller holds.
    fn give_up(&self, index: u32) {
        let record = self.record(index);
        record.generation.fetch_add(1, Ordering::Relaxed);
        record.pid.store(0, Ordering::Relaxed);
        record.state.store(FREE, Ordering::Release);
    }

    /// Keeps every other thread from attaching or recovering, across a fork.
    pub(crate) fn hold(&self) -> MutexGuard<'_, ()> {
        self.changing()
    }

    /// Prepares for a fork: takes a record for the child, its lock through `locks` (the child's own description).
    pub(crate) fn prepare_child(&self, locks: &dyn ByteLocks) -> Option<u32> {
        self.attached_now()?;
        let (record, dead) = self.take_record(locks).ok()?;
        if dead {
            self.clean(record);
        }
        Some(record)
    }

    /// In the child of a fork: `record` was taken for it by `prepare_child`.
    pub(crate) fn become_child(&self, record: Option<u32>) {
        match record {
            Some(record) => self.adopt(record),
            None => self.attached.store(0, Ordering::Release),
        }
    }

    /// The pids of the attached processes by record, as they know themselves.
    pub(crate) fn attached_pids(&self) -> Vec<(u32, u32)> {
        (0..self.header.processes)
            .filter(|index| self.is_attached(*index))
            .map(|index| (index, self.record(index).pid.load(Ordering::Relaxed)))
            .collect()
    }

    /// Gives this process's record back, when the mapping goes away: nothing of it can be in use any more.
    ///
    /// Pins and reservations are: their handles keep the mapping. Locks may not be (their guards were leaked); then
    /// the record is left as a dead process's is, for others to recover.
    fn detach(&self) {
        let Some(index) = self.attached_now() else { return };
        let leaked =
            (0..self.header.slots).filter_map(|slot| self.slot(slot)).any(|slot| slot.is_held_by(index));
        if !leaked {
            for slot in 0..self.header.slots {
                if let Some(slot) = self.slot(slot) {
                    slot.free_if_of(index);
                }
            }
            self.give_up(index);
        }
        // Else the record stays attached without its lock, which is what a dead process looks like.
        let _ = self.locks.unlock(index);
        self.attached.store(0, Ordering::Release);
    }
}

impl Drop for Participants {
    fn drop(&mut self) {
        self.detach();
    }
}

impl std::fmt::Debug for Participants {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Participants").field("record", &self.attached_now()).finish_non_exhaustive()
    }
}

const _: () = assert!(MAX_PROCESSES <= u16::MAX as usize);
