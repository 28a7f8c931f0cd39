//! A segment of the models: its tables on the heap, processes that map it, threads of theirs.
//!
//! This file needs `unsafe`: it makes pointers to the tables, as a mapping would.

use super::cell::{Cell, LinkedCell};
use super::process::{ATTACHED, GATE, Participants, Record, SegmentFile};
use super::recovery::Recovered;
use super::slot::{NOTES, Owner, Slot, SlotHandle};
use super::thread::KeptSlot;
use crate::chance::{self, Fault, with_fault};
use crate::kernel::{self, Kernel};
use crate::mapping::superblock::FixedHeader;
use crate::mapping::{HeldByte, LockedByte};
use crate::primitive::{Ordering, unwatch};
use crate::sync::{Acquired, LOCK_KINDS, Patience, RawLock};
use crate::sys::process::become_thread;
use loom::cell::UnsafeCell;
use std::io;
use std::mem::offset_of;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicBool, AtomicU32};
use std::sync::{Arc, Mutex};

/// How many slots there are, and records, unless a model asks for all.
pub const SLOTS: usize = 3;
/// How many records there may be.
pub const RECORDS: usize = 5;
/// How many locks there are.
pub const LOCKS: usize = 3;

/// Preemptions without a bound: every order.
pub const EVERY: usize = usize::MAX;

/// What a segment's file holds.
#[repr(C, align(64))]
struct Memory {
    records: [Record; RECORDS],
    slots: [Slot; SLOTS],
    cells: [Cell; SLOTS],
    locks: [RawLock; LOCKS],
    /// What each lock protects. loom objects to accesses that are not ordered.
    data: [UnsafeCell<u32>; LOCKS],
}

// SAFETY: the data is accessed through loom, which checks that this is done by one at a time.
unsafe impl Send for Memory {}
// SAFETY: likewise.
unsafe impl Sync for Memory {}

/// The file, as one process has it open.
struct File {
    memory: Arc<Memory>,
    process: u32,
}

impl SegmentFile for File {
    fn hold(&self, index: u32) -> io::Result<Option<HeldByte>> {
        let kernel = kernel::enter();
        Ok(kernel.filter(|kernel| kernel.hold(index, self.process)).map(|_| HeldByte(index)))
    }
    fn lock_for_child(&self, _: u32) -> io::Result<Option<LockedByte>> {
        Err(io::ErrorKind::Unsupported.into())
    }
    fn is_held(&self, index: u32) -> io::Result<bool> {
        // Nobody is ever alone.
        Ok(index != GATE && Kernel::current().is_held(index))
    }
    fn len(&self) -> io::Result<u64> {
        Ok(size_of::<Memory>() as u64)
    }
    fn word(&self, offset: u64) -> io::Result<u32> {
        // SAFETY: the offset of a lock in the memory, which begins with its word.
        let word = unsafe {
            &*std::ptr::from_ref(&*self.memory)
                .cast::<u8>()
                .add(offset as usize)
                .cast::<crate::primitive::AtomicU32>()
        };
        Ok(word.load(Ordering::Relaxed))
    }
    fn map(&self, offset: u64, _: usize) -> io::Result<NonNull<u8>> {
        // SAFETY: an offset in the memory.
        Ok(unsafe { NonNull::from(&*self.memory).cast::<u8>().add(offset as usize) })
    }
}

/// One run of a model.
pub struct World {
    memory: Arc<Memory>,
    kernel: Arc<Kernel>,
    processes: AtomicU32,
    records: AtomicU32,
    kept: Arc<Mutex<Kept>>,
}

/// What is dropped when a run is over, and no sooner: a process that is killed drops nothing.
#[derive(Default)]
struct Kept {
    cells: Vec<LinkedCell>,
    processes: Vec<Arc<Participants>>,
}

/// Runs `model` in every order, but for those with more than `preemptions` switches away from a thread that could have
/// gone on ([`EVERY`]: without exception); with a fault in the library, if one is given.
///
/// # Panics
/// Where the model does; at a deadlock, and at accesses to what a lock protects that nothing orders.
pub fn check(fault: Option<Fault>, preemptions: usize, model: impl Fn(&World) + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    // `LOOM_MAX_PREEMPTIONS` takes precedence.
    let bound = Some(preemptions).filter(|bound| *bound != EVERY);
    builder.preemption_bound = builder.preemption_bound.or(bound);
    builder.max_branches = 20_000;
    let runs = Arc::new(AtomicU32::new(0));
    let counted = runs.clone();
    with_fault(fault, || {
        builder.check(move || {
            counted.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            let world = World::start();
            model(&world);
            chance::stop();
            unwatch();
        });
    });
    println!("{} orders", runs.load(std::sync::atomic::Ordering::Relaxed));
}

/// As [`check`], for a model in which somebody is killed after so many stores (see [`Process::live_for`]): with 0, 1, 2 and
/// so on, until nobody is any more. The model says whether somebody was.
///
/// # Panics
/// As [`check`].
pub fn check_each_death(
    fault: Option<Fault>,
    preemptions: usize,
    model: impl Fn(&World, u32) -> bool + Send + Sync + Copy + 'static,
) {
    for stores in 0.. {
        let died = Arc::new(AtomicBool::new(false));
        let seen = died.clone();
        check(fault, preemptions, move |world| {
            if model(world, stores) {
                seen.store(true, std::sync::atomic::Ordering::Relaxed);
            }
        });
        if !died.load(std::sync::atomic::Ordering::Relaxed) {
            assert!(stores > 1, "a model in which somebody dies");
            return;
        }
    }
}

impl World {
    fn start() -> World {
        let memory = Arc::new(Memory {
            records: Default::default(),
            slots: Default::default(),
            cells: Default::default(),
            locks: std::array::from_fn(|_| RawLock::new()),
            data: std::array::from_fn(|_| UnsafeCell::new(0)),
        });
        let (processes, records) = (AtomicU32::new(0), AtomicU32::new(SLOTS as u32));
        World { memory, kernel: Kernel::start(), processes, records, kept: Arc::default() }
    }

    /// Processes with all records there may be, in order.
    pub fn all_processes(&self) -> [Process; RECORDS] {
        self.records.store(RECORDS as u32, std::sync::atomic::Ordering::Relaxed);
        std::array::from_fn(|_| self.process())
    }

    /// Lets no sleep last: whoever would sleep polls. (Else a sleep ends with a wake-up only, though all the library's
    /// have an end, so that a lost wake-up is found.)
    pub fn let_timers_fire(&self) {
        self.kernel.let_timers_fire();
    }

    /// A process that has opened the segment.
    pub fn open(&self) -> Process {
        let number = self.processes.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let header = FixedHeader {
            processes: self.records.load(std::sync::atomic::Ordering::Relaxed),
            slots: SLOTS as u32,
            slots_at: offset_of!(Memory, slots) as u64,
            cells_at: offset_of!(Memory, cells) as u64,
            end: size_of::<Memory>() as u64,
            ..FixedHeader::default()
        };
        let file = Box::new(File { memory: self.memory.clone(), process: number });
        let base = NonNull::from(&*self.memory).cast();
        // SAFETY: the tables stand there, and the world keeps them for longer.
        let participants = Arc::new(unsafe { Participants::new(base, header, file) });
        participants.set_steps(&LOCK_KINDS, Vec::new());
        self.kept.lock().unwrap().processes.push(participants.clone());
        let (memory, kernel, kept) = (self.memory.clone(), self.kernel.clone(), self.kept.clone());
        Process { participants, memory, kernel, kept, number }
    }

    /// As [`open`](Self::open), attached.
    pub fn process(&self) -> Process {
        let process = self.open();
        process.attach();
        process
    }

    /// Whether anybody holds the lock.
    pub fn is_held(&self, lock: usize) -> bool {
        self.memory.locks[lock].is_held()
    }

    /// Whether the lock is poisoned.
    pub fn is_poisoned(&self, lock: usize) -> bool {
        self.memory.locks[lock].poison().is_some()
    }

    /// Whether slot `index` is free and empty.
    pub fn is_free(&self, index: usize) -> bool {
        let slot = &self.memory.slots[index];
        slot.word.load(Ordering::Acquire) >> 32 == 0 && is_empty(slot)
    }

    /// Whether slot `index` is retired.
    pub fn is_retired(&self, index: usize) -> bool {
        let slot = &self.memory.slots[index];
        slot.process().is_none() && slot.word.load(Ordering::Acquire) >> 32 != 0
    }

    /// Whether the record is in use.
    pub fn is_attached(&self, record: usize) -> bool {
        self.memory.records[record].state.load(Ordering::Acquire) == ATTACHED
    }
}

fn is_empty(slot: &Slot) -> bool {
    !slot.holds() && slot.cell.load(Ordering::Relaxed) == 0 && slot.notes().all(|note| note.lock().is_none())
}

/// A process.
#[derive(Clone)]
pub struct Process {
    participants: Arc<Participants>,
    memory: Arc<Memory>,
    kernel: Arc<Kernel>,
    kept: Arc<Mutex<Kept>>,
    number: u32,
}

impl Process {
    /// Its part in the mapping.
    pub(crate) fn participants(&self) -> Arc<Participants> {
        self.participants.clone()
    }

    /// What is done with a slot that is about to be free, by its index.
    pub(crate) fn set_parting(&self, parting: impl Fn(u32) + Send + Sync + 'static) {
        let memory = self.memory.clone();
        self.participants.set_parting(Box::new(move |index| {
            if Fault::PartsFull.is_on() {
                return;
            }
            if Fault::PartsEarly.is_on() {
                memory.slots[index as usize].give_back();
            }
            parting(index);
        }));
    }

    /// Takes a record; which.
    pub fn attach(&self) -> u32 {
        self.participants.process().expect("a record is free")
    }

    /// Takes slot `index`, if it is free, for a thread of this process, which gets a liveness cell.
    pub fn try_thread(&self, index: usize) -> Option<Thread> {
        let slot = &self.memory.slots[index];
        let (number, record) = (index as u32, self.attach());
        if !slot.take(number, record) {
            return None;
        }
        assert!(is_empty(slot), "whoever had the slot left something in it");
        let id = self.thread_id(index);
        become_thread(id);
        // As `participant::thread` does it.
        let cells = self.participants.cells_mapping().expect("cells are mapped");
        let cell = LinkedCell::link(cells, number, slot.life(number)).expect("a cell is free");
        slot.cell.store(cell.number(), Ordering::Release);
        let slot = SlotHandle(NonNull::from(slot));
        Some(Thread { process: self.clone(), slot, cell: Some(cell), index, id })
    }

    /// As [`try_thread`](Self::try_thread).
    ///
    /// # Panics
    /// If the slot is taken.
    pub fn thread(&self, index: usize) -> Thread {
        self.try_thread(index).expect("the slot is free")
    }

    /// As [`try_thread`](Self::try_thread), for a thread whose slot is given back when it holds nothing: one that is
    /// exiting. It has no cell.
    pub fn try_detached(&self, index: usize) -> Option<Thread> {
        let slot = &self.memory.slots[index];
        if !slot.take(index as u32, self.attach()) {
            return None;
        }
        assert!(is_empty(slot), "whoever had the slot left something in it");
        let id = self.thread_id(index);
        become_thread(id);
        slot.detach();
        Some(Thread { process: self.clone(), slot: SlotHandle(NonNull::from(slot)), cell: None, index, id })
    }

    /// Kills this process, with its threads.
    pub fn kill(&self, threads: &[&Thread]) {
        threads.iter().for_each(|thread| self.kernel.end_thread(thread.id));
        self.kernel.end_process(self.number);
    }

    /// Runs `work`, in which this process is killed before its next store but `stores`, with `threads`; whether it was.
    pub fn live_for(&self, stores: u32, threads: &[&Thread], work: impl FnOnce()) -> bool {
        let dies = !chance::live_for(stores, work);
        if dies {
            self.kill(threads);
        }
        dies
    }

    /// As [`live_for`](Self::live_for), for a thread that first takes slot `index`, if it can, and gives it back in the end.
    pub fn killed_as_thread(&self, index: usize, stores: u32, work: impl FnOnce(&Thread)) -> bool {
        let dies = !chance::live_for(stores, || {
            if let Some(thread) = self.try_thread(index) {
                work(&thread);
                thread.exit();
            }
        });
        if dies {
            self.kernel.end_thread(self.thread_id(index));
            self.kernel.end_process(self.number);
        }
        dies
    }

    fn thread_id(&self, index: usize) -> u32 {
        self.number * 16 + index as u32 + 1
    }

    /// Recovers the dead process with this record; whether it did.
    pub fn recover(&self, record: u32) -> bool {
        self.participants.recover_if_dead(record) == Recovered::Yes
    }

    /// Recovers every dead process.
    pub fn recover_all(&self) {
        self.participants.recover_all();
    }
}

/// How a lock was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    /// Clean.
    Clean,
    /// Poisoned by a panic.
    ByPanic,
    /// Poisoned by a death.
    ByDeath,
}

/// A thread that has a slot. It stays the dead thread's or the living one's until [`exit`](Self::exit).
pub struct Thread {
    process: Process,
    slot: SlotHandle,
    cell: Option<LinkedCell>,
    index: usize,
    id: u32,
}

// SAFETY: a model hands it to the thread that it is.
unsafe impl Send for Thread {}
// SAFETY: of another thread only its id is used, to kill it.
unsafe impl Sync for Thread {}

impl Thread {
    /// Its process.
    pub fn process(&self) -> &Process {
        &self.process
    }

    fn lock_word(&self, lock: usize) -> &RawLock {
        &self.process.memory.locks[lock]
    }

    /// Locks, waiting as long as it takes.
    pub fn lock(&self, lock: usize) -> Taken {
        self.lock_with(lock, Patience::Forever).expect("waits as long as it takes")
    }

    /// Locks if nobody living holds it.
    pub fn try_lock(&self, lock: usize) -> Option<Taken> {
        self.lock_with(lock, Patience::Try)
    }

    fn lock_with(&self, lock: usize, patience: Patience) -> Option<Taken> {
        let word = self.lock_word(lock);
        if word.lock_fast(&self.slot) {
            return Some(Taken::Clean);
        }
        Some(match word.lock_slow(&self.slot, patience, &self.process.participants).ok()? {
            Acquired::Clean => Taken::Clean,
            Acquired::Poisoned { by_death: false } => Taken::ByPanic,
            Acquired::Poisoned { by_death: true } => Taken::ByDeath,
        })
    }

    /// Changes what the lock protects.
    pub fn change(&self, lock: usize) {
        // SAFETY: the lock is held; loom checks it.
        self.process.memory.data[lock].with_mut(|data| unsafe { *data += 1 });
    }

    /// Unlocks; it is free of poison from now on.
    pub fn unlock(&self, lock: usize) {
        self.lock_word(lock).unlock(&self.slot, false);
    }

    /// Clears the poison that this thread was told of.
    pub fn clear_poison(&self, lock: usize) {
        self.lock_word(lock).clear_poison();
    }

    /// Unlocks, poisoned by a panic.
    pub fn unlock_panicking(&self, lock: usize) {
        self.lock_word(lock).blame_panic();
        self.lock_word(lock).unlock(&self.slot, true);
    }

    /// Locks, changes what is protected, unlocks.
    pub fn pass(&self, lock: usize) -> Taken {
        let taken = self.lock(lock);
        self.change(lock);
        if taken != Taken::Clean {
            self.clear_poison(lock);
        }
        self.unlock(lock);
        taken
    }

    /// Notes the lock as one that is about to be taken, and gets no further.
    pub fn intend(&self, lock: usize) {
        let _ = self.slot.intend(self.lock_word(lock), 0);
    }

    /// Notes the last lock, without taking it, as often as there is room.
    pub fn note_many(&self) {
        for _ in 0..NOTES {
            self.slot.taken(self.slot.intend(self.lock_word(LOCKS - 1), 0));
        }
    }

    /// Whether the lock's word names this thread.
    pub fn holds(&self, lock: usize) -> bool {
        // SAFETY: a lock of the world's, which begins with its word.
        let word =
            unsafe { &*std::ptr::from_ref(self.lock_word(lock)).cast::<crate::primitive::AtomicU32>() };
        (LOCK_KINDS[0].is_held)(word.load(Ordering::Relaxed), self.owner())
    }

    /// Its slot, as the heap knows it.
    pub(crate) fn kept_slot(&self) -> KeptSlot {
        KeptSlot { index: self.index as u32, generation: self.slot.slot().generation() }
    }

    /// Whether the thread has its slot.
    pub fn has_slot(&self) -> bool {
        let slot = self.slot.slot();
        slot.process() == Some(self.process.attach()) && slot.owner(self.index as u32) == self.owner()
    }

    fn owner(&self) -> Owner {
        self.slot.owner()
    }

    /// The word by which it signs the locks that it holds.
    pub fn signature(&self) -> u32 {
        self.owner().0
    }

    /// Gives slot and cell back, whatever it holds.
    pub fn exit(self) {
        self.process.participants.prepare_to_part(self.index as u32);
        self.exit_unprepared();
    }

    /// As [`exit`](Self::exit), of which upper layers are not told.
    pub fn exit_unprepared(mut self) {
        self.slot.slot().give_back();
        drop(self.cell.take());
    }
}

impl Drop for Thread {
    fn drop(&mut self) {
        // Not exited: it is dead, or lives on until the run is over.
        if let Some(cell) = self.cell.take() {
            self.process.kept.lock().unwrap().cells.push(cell);
        }
    }
}
