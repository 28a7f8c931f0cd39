//! Process records: attaching, liveness, recovery.
//!
//! This file needs `unsafe`: it reaches records in mapped memory.

use super::MAX_PROCESSES;
use super::slot::Slot;
use crate::error::Error;
use crate::mapping::registry;
use crate::mapping::superblock::{FixedHeader, PARTICIPANT_SIZE, PROCESSES_AT};
use crate::primitive::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::cell::Cell;
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

/// A recovery step of an upper layer: undoes what the process with this record held; whether it could do all of it
/// (else the record stays a dead process's). Idempotent; runs no user code.
pub(crate) type Step = Box<dyn Fn(u32) -> bool + Send + Sync>;

/// What this thread is cleaning up, if it is: the steps take locks, and so come back to this layer.
#[derive(Clone, Copy)]
struct Cleaning {
    at: *const Participants,
    /// The record this process works under meanwhile; [`attached_now`](Participants::attached_now) may not name it yet.
    own: u32,
    /// The dead process's record, whose byte lock is held.
    target: u32,
}

thread_local! {
    static CLEANING: Cell<Option<Cleaning>> = const { Cell::new(None) };
}

/// `record` as the words below hold it: record + 1, and the fork generation it was taken under.
fn taken(record: u32) -> u64 {
    registry::fork_generation() << 16 | u64::from(record + 1)
}

fn record_in(word: u64) -> Option<u32> {
    (word != 0 && word >> 16 == registry::fork_generation()).then(|| word as u16 as u32 - 1)
}

/// This process's part in one mapping of a segment.
pub(crate) struct Participants {
    base: NonNull<u8>,
    header: FixedHeader,
    locks: Box<dyn ByteLocks>,
    /// The record that every thread of this process may use (0 while there is none); see [`taken`].
    attached: AtomicU64,
    /// The record whose byte this process holds for itself: `attached`, or what is about to be, while what its last
    /// owner left is still being undone.
    held: AtomicU64,
    /// The fork generation in which `locks` is this process's own.
    home: AtomicU64,
    /// The first fork generation whose handles this process has pins for.
    handles_since: AtomicU64,
    /// A parent took the record for this process, with pins that no handle here may name.
    inherited: AtomicBool,
    changing: Mutex<()>,
    steps: OnceLock<Vec<Step>>,
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
            held: AtomicU64::new(0),
            home: AtomicU64::new(registry::fork_generation()),
            handles_since: AtomicU64::new(registry::fork_generation()),
            inherited: AtomicBool::new(false),
            changing: Mutex::new(()),
            steps: OnceLock::new(),
        }
    }

    /// Registers the upper layers' recovery steps, once.
    pub(crate) fn set_steps(&self, steps: Vec<Step>) {
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
        record_in(self.attached.load(Ordering::Acquire))
    }

    /// What this thread is cleaning up in this mapping.
    fn cleaning(&self) -> Option<Cleaning> {
        CLEANING.try_with(Cell::get).ok().flatten().filter(|c| std::ptr::eq(c.at, self))
    }

    /// Whether `locks` is this process's own, rather than the parent's of a fork that ran no handlers.
    fn is_home(&self) -> bool {
        self.home.load(Ordering::Relaxed) == registry::fork_generation()
    }

    /// # Panics
    /// In a process made by a raw `fork` or `clone` system call, which shares its parent's byte locks.
    #[cold]
    fn attach(&self) -> Result<u32, Error> {
        if let Some(cleaning) = self.cleaning() {
            return Ok(cleaning.own);
        }
        assert!(
            self.is_home(),
            "shmem: a process made by a raw `fork` or `clone` must open the segment itself"
        );
        let _changing = self.changing();
        if let Some(record) = self.attached_now() {
            return Ok(record);
        }
        let (record, dead) = self.take_record(&*self.locks)?;
        self.record(record).pid.store(std::process::id(), Ordering::Relaxed);
        self.held.store(taken(record), Ordering::Release);
        // Other threads get the record only when it is clean, or what they do under it would be undone, too.
        if dead && !self.clean(record, record) {
            let _ = self.locks.unlock(record);
            self.held.store(0, Ordering::Release);
            return Err(Error::TooManyProcesses { limit: self.header.processes });
        }
        self.attached.store(taken(record), Ordering::Release);
        Ok(record)
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
            // A lock of its own does not stand in a process's way, so it cannot ask about itself; nor may a child that
            // shares its parent's locks ask about the parent.
            && self.is_home()
            && record_in(self.held.load(Ordering::Acquire)) != Some(index)
            && self.record(index).state.load(Ordering::Acquire) == ATTACHED
            && matches!(self.locks.is_locked(index), Ok(false))
    }

    /// Whether the record is in use, by the living or by the dead.
    pub(super) fn is_attached(&self, index: u32) -> bool {
        index < self.header.processes && self.record(index).state.load(Ordering::Acquire) == ATTACHED
    }

    /// Recovers the process with this record if it is dead; whether it was (and now is not any more).
    pub(crate) fn recover_if_dead(&self, index: u32) -> bool {
        if !self.is_dead(index) {
            return false;
        }
        if let Some(cleaning) = self.cleaning() {
            // A step found no slot for this thread: the slots of the dead will do, without the rest of their recovery.
            return index != cleaning.target && self.free_slots_of_dead(index);
        }
        // Recovery takes locks, and so needs a record.
        let Ok(own) = self.process() else { return false };
        // A lock is its description's, so two threads of this process would both get it.
        let _changing = self.changing();
        if own == index || !self.locks.try_lock(index).unwrap_or(false) {
            return false;
        }
        let dead = self.record(index).state.load(Ordering::Acquire) == ATTACHED;
        let clean = dead && self.clean(index, own);
        if clean {
            self.give_up(index);
        }
        let _ = self.locks.unlock(index);
        clean
    }

    /// Frees the slots of the process with this record if it is dead; whether there were any. This thread is in `clean`,
    /// and so keeps every other one of this process from taking its byte.
    fn free_slots_of_dead(&self, index: u32) -> bool {
        if !self.locks.try_lock(index).unwrap_or(false) {
            return false;
        }
        let dead = self.record(index).state.load(Ordering::Acquire) == ATTACHED;
        let freed = dead && self.free_slots(index);
        let _ = self.locks.unlock(index);
        freed
    }

    fn free_slots(&self, index: u32) -> bool {
        let slots = (0..self.header.slots).filter_map(|slot| self.slot(slot));
        slots.filter(|slot| slot.free_if_of(index)).count() != 0
    }

    /// Recovers every dead process; how many there were.
    pub(crate) fn recover_all(&self) -> usize {
        (0..self.header.processes).filter(|index| self.recover_if_dead(*index)).count()
    }

    /// Undoes what the dead process with record `index`, whose byte lock the caller holds, has left, while this process
    /// works under record `own`; whether all of it could be undone.
    ///
    /// CRASH recover: every step is idempotent and the record stays attached until all are done, so if this process
    /// dies too, the kernel drops the lock and the next one begins again.
    fn clean(&self, index: u32, own: u32) -> bool {
        struct Restore(Option<Cleaning>);
        impl Drop for Restore {
            fn drop(&mut self) {
                let _ = CLEANING.try_with(|cleaning| cleaning.set(self.0));
            }
        }
        // The slots first: from then on whatever the dead signed is known to be nobody's, also to the steps.
        self.free_slots(index);
        let cleaning = Some(Cleaning { at: self, own, target: index });
        let _restore = Restore(CLEANING.try_with(|now| now.replace(cleaning)).ok().flatten());
        self.steps.get().into_iter().flatten().all(|step| step(index))
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
        let own = self.attached_now()?;
        let _changing = self.changing();
        let (record, dead) = self.take_record(locks).ok()?;
        if dead && !self.clean(record, own) {
            let _ = locks.unlock(record);
            return None;
        }
        Some(record)
    }

    /// In the child of a fork: `record` was taken for it by `prepare_child`.
    pub(crate) fn become_child(&self, record: Option<u32>) {
        let word = record.map_or(0, taken);
        if let Some(record) = record {
            self.record(record).pid.store(std::process::id(), Ordering::Relaxed);
        }
        let generation = registry::fork_generation();
        self.home.store(generation, Ordering::Relaxed);
        self.inherited.store(record.is_some(), Ordering::Relaxed);
        if record.is_none() {
            self.handles_since.store(generation, Ordering::Relaxed);
        }
        self.held.store(word, Ordering::Release);
        self.attached.store(word, Ordering::Release);
    }

    /// Whether a handle made under this fork generation is backed by a pin of this process.
    pub(crate) fn backs(&self, fork_generation: u64) -> bool {
        fork_generation >= self.handles_since.load(Ordering::Relaxed) && self.attached_now().is_some()
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
    /// Pins and reservations are given back by now: their handles keep the mapping. Locks may not be (their guards were
    /// leaked), and neither may pins inherited from the parent of a fork (their handles were other threads'); then the
    /// record is left as a dead process's is, for others to recover.
    fn detach(&self) {
        let Some(index) = self.attached_now() else { return };
        let leaked =
            (0..self.header.slots).filter_map(|slot| self.slot(slot)).any(|slot| slot.is_held_by(index));
        if !leaked && !self.inherited.load(Ordering::Relaxed) {
            self.free_slots(index);
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

#[cfg(test)]
pub(crate) fn record_layout() -> crate::format_test::StoredLayout {
    crate::format_test::stored_layout!(Record { state, generation, pid, _zero, _reserved })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::time::Duration;

    /// Nobody else holds anything.
    struct Alone;

    impl ByteLocks for Alone {
        fn try_lock(&self, _: u32) -> io::Result<bool> {
            Ok(true)
        }
        fn unlock(&self, _: u32) -> io::Result<()> {
            Ok(())
        }
        fn is_locked(&self, _: u32) -> io::Result<bool> {
            Ok(false)
        }
    }

    /// Participants in memory of their own, each record a dead process's.
    fn among_the_dead() -> Participants {
        let header = FixedHeader::new(1 << 16, [1; 16], 0);
        /// The memory outlives the test; leak checkers see it kept.
        static KEPT: Mutex<Vec<usize>> = Mutex::new(Vec::new());
        let words = vec![0_u64; header.metadata_bytes() as usize / 8 + 8].leak();
        KEPT.lock().unwrap().push(words.as_mut_ptr().expose_provenance());
        let base = NonNull::from(&mut *words).cast::<u8>();
        // SAFETY: inside the memory.
        let base = unsafe { base.add(base.align_offset(64)) };
        // SAFETY: zeroed memory of that size, aligned, which is leaked.
        let participants = unsafe { Participants::new(base, header, Box::new(Alone)) };
        for index in 0..header.processes {
            participants.record(index).state.store(ATTACHED, Ordering::Relaxed);
        }
        participants
    }

    #[test]
    fn a_dead_process_s_record_is_nobody_s_until_it_is_clean() {
        let participants = among_the_dead();
        let (begun, clean) = (&AtomicBool::new(false), &AtomicBool::new(false));
        let flags = [begun, clean].map(|flag| std::ptr::from_ref(flag).addr());
        participants.set_steps(vec![Box::new(move |_| {
            // SAFETY: the flags outlive the threads that run this.
            let [begun, clean] =
                flags.map(|at| unsafe { &*std::ptr::with_exposed_provenance::<AtomicBool>(at) });
            begun.store(true, Ordering::SeqCst);
            std::thread::sleep(Duration::from_millis(50));
            clean.store(true, Ordering::SeqCst);
            true
        })]);
        let _ = [begun, clean].map(|flag| std::ptr::from_ref(flag).expose_provenance());
        std::thread::scope(|scope| {
            scope.spawn(|| participants.process().unwrap());
            scope.spawn(|| {
                while !begun.load(Ordering::SeqCst) {
                    std::thread::yield_now();
                }
                participants.process().unwrap();
                assert!(clean.load(Ordering::SeqCst), "what this thread does now would be undone");
            });
        });
    }

    #[test]
    fn a_record_that_cannot_be_cleaned_stays_a_dead_process_s() {
        let participants = among_the_dead();
        participants.set_steps(vec![Box::new(|_| false)]);
        assert!(participants.process().is_err());
        assert!(participants.attached_now().is_none());
        assert!(participants.is_dead(0));
    }

    #[test]
    fn steps_may_come_back() {
        let participants = Arc::new(among_the_dead());
        let again = Arc::downgrade(&participants);
        participants.set_steps(vec![Box::new(move |dead| {
            let participants = again.upgrade().unwrap();
            let own = participants.process().unwrap();
            assert!(!participants.recover_if_dead(own));
            participants.recover_all();
            assert!(participants.is_attached(dead));
            true
        })]);
        let own = participants.process().unwrap();
        assert!(participants.recover_if_dead(own + 1));
        assert!(!participants.is_attached(own + 1));
    }
}
