//! Process records: attaching and detaching, also across a fork.
//!
//! This file needs `unsafe`: it reaches records in mapped memory.

use super::cell::{Cells, CellsMapping};
use super::recovery::{LockKind, Parting, Settle, Step};
use super::slot::Slot;
use super::{MAX_PROCESSES, evidence, thread};
use crate::crash::crash_point;
use crate::error::{Error, OpenError};
use crate::mapping::superblock::{FixedHeader, PROCESS_SIZE, PROCESSES_AT, SLOT_SIZE};
use crate::mapping::{HeldByte, LockedByte, registry};
use crate::primitive::{self, ArcSwapOption, AtomicBool, AtomicU32, AtomicU64, Mutex, MutexGuard, Ordering};
use std::io;
use std::ptr::NonNull;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// The segment's file, as this layer needs it. Index `i` below [`MAX_PROCESSES`] is the byte of process record `i`;
/// [`RECOVERER`]` + i` that of whoever recovers its dead process; [`GATE`] that of whoever is alone in the segment.
pub(crate) trait SegmentFile: Send + Sync {
    /// Holds byte `index` if nobody does.
    fn hold(&self, index: u32) -> io::Result<Option<HeldByte>>;
    /// Locks byte `index` for a child that is about to be forked, if nobody holds it.
    fn lock_for_child(&self, index: u32) -> io::Result<Option<LockedByte>>;
    /// Whether anybody holds byte `index`.
    fn is_held(&self, index: u32) -> io::Result<bool>;
    /// The length of the file.
    fn len(&self) -> io::Result<u64>;
    /// What stands in the 4 bytes at `offset`, read without touching the memory behind them: 0 if there is none.
    fn word(&self, offset: u64) -> io::Result<u32>;
    /// Maps a part of the file once more, writable, for this process alone.
    fn map(&self, offset: u64, len: usize) -> io::Result<NonNull<u8>>;
}

/// Where the bytes of recoverers begin.
pub(super) const RECOVERER: u32 = MAX_PROCESSES as u32;
/// The byte that keeps processes out: see `exclusive`.
pub(super) const GATE: u32 = 2 * MAX_PROCESSES as u32;

pub(super) const FREE: u32 = 0;
pub(super) const ATTACHED: u32 = 1;

/// A process's record in the segment.
#[derive(Default)]
#[repr(C, align(32))]
pub(super) struct Record {
    /// [`FREE`] or [`ATTACHED`].
    pub(super) state: AtomicU32,
    /// Raised each time the record is given up or taken over.
    pub(super) generation: AtomicU32,
    /// The process's id in its own PID namespace.
    pub(super) pid: AtomicU32,
    /// 1 if the byte is [exact](HeldByte::is_exact): then no other witness is asked.
    pub(super) exact: AtomicU32,
    /// The numbers of its PID namespace (below) and its time namespace; 0 while `/proc` is not to be asked about it.
    pub(super) namespaces: AtomicU64,
    /// When it was started, in clock ticks of that.
    pub(super) started: AtomicU64,
}

const _: () = assert!(size_of::<Record>() == PROCESS_SIZE as usize);

/// How often a process that finds only records of the dead, each being recovered by somebody, looks again.
const LOOKS: u32 = 200;
/// Time between two looks.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// `record` as the word below holds it: record + 1, and the fork generation it was taken under.
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
    file: Box<dyn SegmentFile>,
    /// The record that every thread of this process may use (0 while there is none); see [`taken`].
    attached: AtomicU64,
    /// The fork generation in which this process opened the segment, or was forked with handlers.
    home: AtomicU64,
    /// The first fork generation whose handles this process has pins for.
    handles_since: AtomicU64,
    /// A parent took the record for this process, with pins that no handle here may name.
    inherited: AtomicBool,
    /// What keeps this process alive for others, while it has a record. Whoever changes that holds it.
    life: Mutex<Option<HeldByte>>,
    /// No lock: a fork would copy it locked.
    cells: ArcSwapOption<CellsMapping>,
    /// The byte that keeps others out, while this process is alone.
    gate: ArcSwapOption<HeldByte>,
    lock_kinds: OnceLock<&'static [LockKind]>,
    steps: OnceLock<Vec<Step>>,
    settle: OnceLock<Settle>,
    parting: OnceLock<Parting>,
}

// SAFETY: the mapped records it points to are atomics.
unsafe impl Send for Participants {}
// SAFETY: likewise.
unsafe impl Sync for Participants {}

/// See [`Participants::changing`].
pub(crate) type Changing<'p> = MutexGuard<'p, Option<HeldByte>>;

impl Participants {
    /// For the segment mapped at `base`.
    ///
    /// # Safety
    /// 1. The participant tables that `header` describes are mapped writable at `base` while this lives.
    pub(crate) unsafe fn new(base: NonNull<u8>, header: FixedHeader, file: Box<dyn SegmentFile>) -> Self {
        Participants {
            base,
            header,
            file,
            attached: AtomicU64::new(0),
            home: AtomicU64::new(registry::fork_generation()),
            handles_since: AtomicU64::new(registry::fork_generation()),
            inherited: AtomicBool::new(false),
            life: Mutex::new(None),
            cells: ArcSwapOption::empty(),
            gate: ArcSwapOption::empty(),
            lock_kinds: OnceLock::new(),
            steps: OnceLock::new(),
            settle: OnceLock::new(),
            parting: OnceLock::new(),
        }
    }

    /// Registers, once, what the upper layers do about the dead: `lock_kinds` release what a dead thread's slot notes, by
    /// the kind noted there; `steps` undo the rest.
    pub(crate) fn set_steps(&self, lock_kinds: &'static [LockKind], steps: Vec<Step>) {
        let _ = self.lock_kinds.set(lock_kinds);
        let _ = self.steps.set(steps);
    }

    /// Registers, once, what the heap does about the intent in a dead thread's slot.
    pub(crate) fn set_settle(&self, settle: Settle) {
        let _ = self.settle.set(settle);
    }

    pub(super) fn settle(&self, slot: u32) {
        if let Some(settle) = self.settle.get() {
            settle(slot);
        }
    }

    /// Registers, once, what an upper layer does with a slot, by its index, that its thread is about to give back, or that
    /// recovery is about to free: idempotent, and without user code. It may not be called: what is left undone is for the
    /// slot's next owner.
    pub(crate) fn set_parting(&self, parting: Parting) {
        let _ = self.parting.set(parting);
    }

    /// This process is about to give back one of its slots, or to free a dead thread's.
    pub(super) fn prepare_to_part(&self, slot: u32) {
        if let Some(parting) = self.parting.get() {
            parting(slot);
        }
    }

    /// Whether a thread that could do without a slot may take one: others may not be able to.
    pub(crate) fn has_slots_to_spare(&self) -> bool {
        let free = self.slots().filter(|(_, slot)| slot.process().is_none()).count();
        self.is_home() && free >= self.header.slots as usize / 4
    }

    /// Runs `body` while this process has the slot with this index, if nobody has it; whether it did.
    pub(crate) fn with_free_slot(&self, index: u32, body: impl FnOnce()) -> bool {
        let (Some(own), Some(slot)) = (self.attached_now(), self.slot(index)) else { return false };
        let taken = slot.take(index, own);
        if taken {
            body();
            slot.give_back();
        }
        taken
    }

    pub(super) fn lock_kinds(&self) -> &'static [LockKind] {
        self.lock_kinds.get().copied().unwrap_or(&[])
    }

    pub(super) fn steps(&self) -> &[Step] {
        self.steps.get().map_or(&[], Vec::as_slice)
    }

    pub(super) fn file(&self) -> &dyn SegmentFile {
        &*self.file
    }

    pub(super) fn process_count(&self) -> u32 {
        self.header.processes
    }

    /// How much of the file is mapped, however long it may be by now.
    pub(super) fn reserved_bytes(&self) -> u64 {
        self.header.end
    }

    pub(super) fn record(&self, index: u32) -> &Record {
        assert!(index < self.header.processes);
        // SAFETY: in bounds of the table, which `new` was promised.
        unsafe { &*self.base.add((PROCESSES_AT + u64::from(index) * PROCESS_SIZE) as usize).cast().as_ptr() }
    }

    /// The slot with this index, if there is one.
    pub(super) fn slot(&self, index: u32) -> Option<&Slot> {
        if index >= self.header.slots {
            return None;
        }
        let at = self.header.slots_at + u64::from(index) * SLOT_SIZE;
        // SAFETY: in bounds of the table, which `new` was promised.
        Some(unsafe { &*self.base.add(at as usize).cast().as_ptr() })
    }

    /// All slots, with their indices.
    pub(super) fn slots(&self) -> impl Iterator<Item = (u32, &Slot)> {
        (0..self.header.slots).filter_map(|index| Some((index, self.slot(index)?)))
    }

    /// The cells, as they stand in the segment's own mapping.
    pub(super) fn cells(&self) -> Cells<'_> {
        // SAFETY: in bounds of the table, which `new` was promised.
        unsafe { Cells::new(self.base.add(self.header.cells_at as usize), self.header.slots) }
    }

    /// The mapping whose cells threads of this process link.
    pub(super) fn cells_mapping(&self) -> Option<Arc<CellsMapping>> {
        loop {
            let now = self.cells.load_full();
            if let Some(cells) = now.clone().filter(|cells| cells.is_ours()) {
                return Some(cells);
            }
            let cells = Some(Arc::new(CellsMapping::new(&*self.file, &self.header).ok()?));
            // Of two threads that come here at once, one's is kept.
            self.cells.compare_and_swap(&now, cells);
        }
    }

    /// Where something of the segment stands, as a distance from its start.
    pub(super) fn offset_of<T>(&self, at: *const T) -> u64 {
        at.addr().wrapping_sub(self.base.addr().get()) as u64
    }

    /// The address that stands `offset` bytes behind the segment's start.
    pub(super) fn at(&self, offset: u64) -> *mut u8 {
        self.base.as_ptr().wrapping_add(offset as usize)
    }

    /// Keeps every other thread from attaching and detaching, also across a fork.
    pub(crate) fn changing(&self) -> Changing<'_> {
        self.life.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// This process's record, taken now if it has none.
    ///
    /// Costs one load once attached; the first time, a few system calls, and a wait while somebody is alone in the segment.
    ///
    /// # Errors
    /// [`Error::TooManyProcesses`] if every record belongs to a live process; [`OpenError::Io`] if the system refuses what
    /// that needs.
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

    /// Whether this process opened the segment, or was forked with handlers.
    fn is_home(&self) -> bool {
        self.home.load(Ordering::Relaxed) == registry::fork_generation()
    }

    /// # Panics
    /// In a process made by a raw `fork` or `clone` system call: what it inherited is its parent's.
    #[cold]
    fn attach(&self) -> Result<u32, Error> {
        if let Some(own) = self.cleaning_as() {
            return Ok(own);
        }
        assert!(
            self.is_home(),
            "shmem: a process made by a raw `fork` or `clone` must open the segment itself"
        );
        let mut life = self.changing();
        if let Some(record) = self.attached_now() {
            return Ok(record);
        }
        let (record, byte) = self.take_record(|index| self.file.hold(index), None)?;
        self.record(record).identify(byte.is_exact(), evidence::own_identity());
        crash_point!("attach.identified");
        *life = Some(byte);
        self.attached.store(taken(record), Ordering::Release);
        Ok(record)
    }

    /// Takes a record, and its byte by `hold`: a free one, or a dead process's that is recovered first (under record
    /// `own`, or under the very one). Waits while somebody is alone in the segment; for a child (`own`) it fails instead.
    fn take_record<B>(
        &self,
        hold: impl Fn(u32) -> io::Result<Option<B>>,
        own: Option<u32>,
    ) -> Result<(u32, B), Error> {
        let mut refused = None;
        let mut looks = 0;
        'look: while looks < LOOKS {
            looks += 1;
            let mut busy = false;
            // Free ones first: a record that says ATTACHED is most likely alive, and asking the kernel costs. Then those that
            // have come free meanwhile, or one that is being recovered would be missed.
            for wanted in [FREE, ATTACHED, FREE] {
                for index in 0..self.header.processes {
                    let record = self.record(index);
                    if record.state.load(Ordering::Relaxed) != wanted {
                        continue;
                    }
                    let byte = match hold(index) {
                        Ok(Some(byte)) => byte,
                        Ok(None) => continue,
                        Err(e) => {
                            refused = Some(e);
                            continue;
                        }
                    };
                    // Before anything is changed. (A child's parent is attached, and alone itself if anybody is.)
                    if self.is_kept_out(index) {
                        drop(byte);
                        if own.is_some() {
                            break 'look;
                        }
                        self.wait_at_the_gate();
                        looks -= 1;
                        continue 'look;
                    }
                    // CRASH attach: a death while the byte is held and the record attached looks like that of the
                    // process before, whose recovery begins again.
                    if record
                        .state
                        .compare_exchange(FREE, ATTACHED, Ordering::AcqRel, Ordering::Relaxed)
                        .is_ok()
                    {
                        crash_point!("attach.attached");
                        return Ok((index, byte));
                    }
                    match self.take_over(index, own.unwrap_or(index)) {
                        Some(true) => return Ok((index, byte)),
                        // What it has locked meanwhile it has let go.
                        Some(false) if own.is_none() => thread::part_from(self),
                        Some(false) => {}
                        None => busy = true,
                    }
                }
            }
            if !busy {
                break;
            }
            primitive::thread::sleep(LOOK_AGAIN);
        }
        match refused {
            Some(source) => {
                let path = "/proc/thread-self/fd".into();
                Err(OpenError::Io { action: "open again, to be locked, what stands in", path, source }.into())
            }
            None => Err(Error::TooManyProcesses { limit: self.header.processes }),
        }
    }

    /// Frees a record, whose recoverer's byte the caller holds, or which is this process's own.
    pub(super) fn give_up(&self, index: u32) {
        let record = self.record(index);
        record.generation.fetch_add(1, Ordering::Relaxed);
        record.forget();
        record.state.store(FREE, Ordering::Release);
    }

    /// Prepares for a fork: takes a record for the child.
    pub(crate) fn prepare_child(&self) -> Option<(u32, LockedByte)> {
        let own = self.attached_now()?;
        let _changing = self.changing();
        self.take_record(|index| self.file.lock_for_child(index), Some(own)).ok()
    }

    /// In the child of a fork: what `prepare_child` took for it is its own. `life` is what `changing` gave.
    pub(crate) fn become_child(
        &self,
        child: Option<&(u32, LockedByte)>,
        life: &mut Option<HeldByte>,
    ) -> bool {
        let child = child.and_then(|(record, byte)| Some((*record, byte.adopt().ok()?)));
        let generation = registry::fork_generation();
        self.home.store(generation, Ordering::Relaxed);
        self.inherited.store(child.is_some(), Ordering::Relaxed);
        let word = match child {
            Some((record, byte)) => {
                self.record(record).identify(byte.is_exact(), evidence::own_identity());
                *life = Some(byte);
                taken(record)
            }
            None => {
                self.handles_since.store(generation, Ordering::Relaxed);
                *life = None;
                0
            }
        };
        self.attached.store(word, Ordering::Release);
        word != 0
    }

    /// Whether a handle made under this fork generation is backed by a pin of this process.
    pub(crate) fn backs(&self, fork_generation: u64) -> bool {
        fork_generation >= self.handles_since.load(Ordering::Relaxed) && self.attached_now().is_some()
    }

    /// Whether the record is in use, by the living or by the dead.
    pub(crate) fn is_attached(&self, index: u32) -> bool {
        index < self.header.processes && self.record(index).state.load(Ordering::Acquire) == ATTACHED
    }

    /// Keeps others out from now on.
    pub(super) fn close_gate(&self, gate: HeldByte) {
        self.gate.swap(Some(Arc::new(gate)));
    }

    /// Lets others in again.
    pub(super) fn open_gate(&self) {
        self.gate.swap(None);
    }

    /// Lets go of what keeps this process alive for others, and of what keeps them out.
    #[cfg(test)]
    pub(crate) fn abandon(&self) {
        self.open_gate();
        drop(self.changing().take());
    }

    /// Gives this process's record back, when the mapping goes away: nothing of it can be in use any more.
    ///
    /// Pins and reservations are given back by now: their handles keep the mapping. Locks may not be (their guards were
    /// leaked), and neither may pins inherited from the parent of a fork (their handles were other threads'); then the
    /// record is left as a dead process's is, for others to recover.
    fn detach(&self) {
        let Some(index) = self.attached_now() else { return };
        let life = self.changing().take();
        // First: from now on neither the kernel nor a thread that ends looks at a cell of this process's. (Should the system
        // refuse, the kernel's marks free them in time.)
        let retired = self.cells.swap(None).is_some_and(|cells| cells.retire());
        let leaked = self.slots().any(|(_, slot)| slot.is_held_by(index));
        if !leaked && !self.inherited.load(Ordering::Relaxed) {
            for (number, slot) in self.slots().filter(|(_, slot)| slot.process() == Some(index)) {
                if retired {
                    self.cells().free_if_of(slot.life(number));
                }
                self.prepare_to_part(number);
                slot.give_back();
            }
            crash_point!("detach.emptied");
            self.give_up(index);
            crash_point!("detach.given-up");
        } else {
            // A dead process's: without its byte, and `/proc` must not speak for it.
            self.record(index).forget();
        }
        self.attached.store(0, Ordering::Release);
        drop(life);
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

const _: () = assert!(MAX_PROCESSES < u16::MAX as usize);

#[cfg(test)]
pub(crate) fn record_layout() -> crate::format_test::StoredLayout {
    crate::format_test::stored_layout!(Record { state, generation, pid, exact, namespaces, started })
}
