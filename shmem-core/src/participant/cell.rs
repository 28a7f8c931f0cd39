//! Liveness cells: words that the kernel marks when a thread ends, and the waits that they cut short.
//!
//! A thread has the kernel look at its cell when it ends (see `sys::robust`). Waiters sleep on the word they want *and* on
//! the cell of the thread that has it; the kernel wakes one of them when the thread ends, and that one the others. What
//! they then do is look for evidence, often at first: a marked cell proves nothing about the siblings of the thread.
//!
//! | word | owner | meaning |
//! |---|---|---|
//! | without a mark | 0 | free |
//! | 0 | a slot's life | being claimed |
//! | the thread's id | a slot's life | linked by that thread, which has (or had) that slot |
//! | marked, without an id | any | the thread has ended: free for whoever claims it |
//!
//! A linked cell is its thread's business until it has unlinked it or has ended, whatever becomes of its slot. (The segment
//! may be closed by another thread while this one is asleep.) So a cell is claimed apart from the slot, and the cells are
//! mapped once more, for as long as any thread has one linked: something else at its address might hold the thread's
//! id, and be marked. When the segment is closed, blank memory takes their place: threads that sleep do not keep the
//! file, and whatever becomes of it is nothing to them.
//!
//! A thread can have one cell linked. In a further segment it has none, and its waiters look now and then.
//!
//! This file needs `unsafe`: it reaches cells in mapped memory.

use super::process::{Participants, SegmentFile};
use super::recovery::Recovered;
use super::slot::{Life, Owner, Whose};
use super::switches::{self, Witness};
use crate::crash::crash_point;
use crate::mapping::registry;
use crate::mapping::superblock::{CELL_SIZE, FixedHeader, OS_PAGE};
use crate::primitive::{AtomicU32, AtomicU64, Ordering};
use crate::sys::clock::Deadline;
use crate::sys::futex::{self, Woken};
use crate::sys::robust::{self, OWNER_DIED, THREAD, WAITERS};
use crate::sys::{memory, process};
use std::io;
use std::marker::PhantomData;
use std::ptr::NonNull;
use std::sync::Arc;

/// How long a waiter sleeps before it looks for evidence unasked, the first time and at most.
const FIRST_LOOK_NS: u64 = 10_000_000;
const LAST_LOOK_NS: u64 = 80_000_000;

/// Once something hints at a death, the time between two looks is this part of the time since then, within bounds, for
/// as long as that may reasonably take.
const HINTED_PART: u64 = 8;
const HINTED_LEAST_NS: u64 = 100_000;
const HINTED_MOST_NS: u64 = 5_000_000;
const HINTED_FOR_NS: u64 = 60_000_000_000;

/// After this time a word that names no thread is damaged.
const GONE_AFTER_NS: u64 = 1_000_000_000;

/// A liveness cell.
#[derive(Default)]
#[repr(C, align(64))]
pub(super) struct Cell {
    entry: robust::Entry,
    /// The [`Life`] of the slot it was claimed with.
    owner: AtomicU64,
    _reserved: [u64; 6],
}

const _: () = assert!(size_of::<Cell>() == CELL_SIZE as usize);

impl Cell {
    fn word(&self) -> &AtomicU32 {
        &self.entry.word
    }

    /// Claims it for a slot's life, if it is free.
    ///
    /// Lives do not come twice, so an owner that is the same before and after was it all the time; and a cell without an
    /// owner has no mark. So a mark that is found is of the owner's own thread, and one alone takes it away.
    fn claim(&self, life: Life) -> bool {
        // SYNC cell: Acquire, so that the word is read later.
        let owner = self.owner.load(Ordering::Acquire);
        if owner != 0 {
            let word = self.word().load(Ordering::Acquire);
            if word & OWNER_DIED == 0
                || self.word().compare_exchange(word, 0, Ordering::AcqRel, Ordering::Relaxed).is_err()
            {
                return false;
            }
        }
        // SYNC cell: AcqRel; whoever claims it finds the word as whoever had it left it. CRASH claim: recovery of the slot frees
        // it; before this store, that of the slot it had before.
        if self.owner.compare_exchange(owner, life.0, Ordering::AcqRel, Ordering::Relaxed).is_err() {
            return false;
        }
        crash_point!("cell.claimed");
        self.word().store(0, Ordering::Release);
        true
    }

    /// Frees it if it was claimed for this life, whose thread is gone.
    fn free_if_of(&self, life: Life) {
        let word = self.word().load(Ordering::Acquire);
        if self.owner.load(Ordering::Acquire) == life.0 {
            // The mark first. Somebody may have claimed it meanwhile; then neither exchange does anything.
            let _ = self.word().compare_exchange(word, 0, Ordering::AcqRel, Ordering::Relaxed);
            let _ = self.owner.compare_exchange(life.0, 0, Ordering::AcqRel, Ordering::Relaxed);
        }
    }

    fn free(&self) {
        self.word().store(0, Ordering::Release);
        self.owner.store(0, Ordering::Release);
    }
}

/// The table of cells.
#[derive(Clone, Copy)]
pub(super) struct Cells<'p> {
    first: NonNull<Cell>,
    count: u32,
    _table: PhantomData<&'p Cell>,
}

impl<'p> Cells<'p> {
    /// # Safety
    /// 1. `count` cells are mapped at `first` for `'p`.
    pub(super) unsafe fn new(first: NonNull<u8>, count: u32) -> Self {
        Cells { first: first.cast(), count, _table: PhantomData }
    }

    fn get(self, index: u32) -> Option<&'p Cell> {
        // SAFETY: in bounds of the table that `new` was promised; its fields are atomics.
        (index < self.count).then(|| unsafe { self.first.add(index as usize).as_ref() })
    }

    /// Frees the cell of a dead thread, by the life of its slot.
    pub(super) fn free_if_of(self, life: Life) {
        (0..self.count).filter_map(|index| self.get(index)).for_each(|cell| cell.free_if_of(life));
    }
}

/// The cells, mapped for what this process's threads have linked.
pub(super) struct CellsMapping {
    base: NonNull<u8>,
    bytes: usize,
    first: NonNull<u8>,
    count: u32,
    fork_generation: u64,
}

// SAFETY: the mapped cells are atomics.
unsafe impl Send for CellsMapping {}
// SAFETY: likewise.
unsafe impl Sync for CellsMapping {}

impl CellsMapping {
    pub(super) fn new(file: &dyn SegmentFile, header: &FixedHeader) -> io::Result<Self> {
        let end = header.cells_at + u64::from(header.slots) * CELL_SIZE;
        let (start, skip) = (header.cells_at & !(OS_PAGE - 1), header.cells_at & (OS_PAGE - 1));
        let bytes = (end - start) as usize;
        let base = file.map(start, bytes)?;
        // SAFETY: inside the mapping.
        let first = unsafe { base.add(skip as usize) };
        let (count, fork_generation) = (header.slots, registry::fork_generation());
        Ok(CellsMapping { base, bytes, first, count, fork_generation })
    }

    /// Whether it is mapped in this process: a child of a fork does not inherit it.
    pub(super) fn is_ours(&self) -> bool {
        self.fork_generation == registry::fork_generation()
    }

    fn cells(&self) -> Cells<'_> {
        // SAFETY: mapped by `new` while `self` lives; the callers are in the process that made it.
        unsafe { Cells::new(self.first, self.count) }
    }

    /// Lets go of the file, when the segment is closed, whatever threads have cells linked; the addresses stay taken, so that
    /// the kernel finds nothing there when these threads end. Whether it did: then the cells in the file are nobody's.
    pub(super) fn retire(&self) -> bool {
        // SAFETY: mapped by `new`. Nobody uses the segment any more; a thread that drops its cell meanwhile writes into
        // whichever memory is there, and refers to it for no longer than that.
        self.is_ours() && unsafe { memory::blank(self.base, self.bytes) }.is_ok()
    }

    /// The address of a cell's entry, also where it is not mapped.
    fn entry(&self, index: u32) -> NonNull<robust::Entry> {
        let at = self.first.as_ptr().cast::<Cell>().wrapping_add(index as usize);
        NonNull::new(at.cast()).expect("an address in a mapping is not null")
    }
}

impl Drop for CellsMapping {
    fn drop(&mut self) {
        if self.is_ours() {
            // SAFETY: mapped by `new`; whoever has a cell linked holds the mapping.
            unsafe { memory::unmap(self.base, self.bytes) };
        }
    }
}

/// A cell linked by the thread that made it, which is the one to drop it.
pub(super) struct LinkedCell {
    cells: Arc<CellsMapping>,
    index: u32,
}

impl LinkedCell {
    /// Claims a cell for this thread and the life of its slot, and links it. `None` without a free cell, or where the
    /// thread has another one linked: waiters then look now and then.
    pub(super) fn link(cells: Arc<CellsMapping>, first: u32, life: Life) -> Option<Self> {
        if switches::is_ignored(Witness::Cell) {
            return None;
        }
        let all = (first..cells.count).chain(0..first);
        let index = all.into_iter().find(|index| cells.cells().get(*index).is_some_and(|c| c.claim(life)))?;
        let cell = cells.cells().get(index)?;
        // CRASH link cell: a death leaves the word without a mark; recovery of the slot frees the cell.
        cell.word().store(process::thread_id(), Ordering::Release);
        crash_point!("cell.named");
        // SAFETY: 1: mapped until this is dropped, in this thread, or the thread has ended.
        if !unsafe { robust::link(NonNull::from(&cell.entry)) } {
            cell.free();
            return None;
        }
        crash_point!("cell.linked");
        Some(LinkedCell { cells, index })
    }

    /// What the slot notes of it.
    pub(super) fn number(&self) -> u32 {
        self.index + 1
    }
}

impl Drop for LinkedCell {
    fn drop(&mut self) {
        robust::unlink(self.cells.entry(self.index));
        // In the child of a fork it is the parent's, and not even mapped.
        if self.cells.is_ours()
            && let Some(cell) = self.cells.cells().get(self.index)
        {
            cell.free();
        }
    }
}

/// How a wait ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Waited {
    /// Look at the word again: it may have changed, or who was waited for is recovered.
    Look,
    /// The deadline has passed.
    TimedOut,
    /// This process cannot find out whether the owner is alive, or cannot recover it, or there is none.
    Refused,
}

/// No thread signs with an owner word any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Gone;

/// What one waiter knows so far of the thread it waits for.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    owner: Option<u32>,
    /// When something first hinted at its death.
    hinted_at_ns: Option<u64>,
    /// When it was first found to be no thread's.
    gone_at_ns: Option<u64>,
    look_after_ns: u64,
}

impl Watch {
    /// When to look for evidence next. Begins anew with another owner.
    fn look_at(&mut self, owner: Owner, hinted: bool, now_ns: u64) -> u64 {
        if self.owner != Some(owner.0) {
            *self = Watch { owner: Some(owner.0), look_after_ns: FIRST_LOOK_NS, ..Watch::default() };
        }
        if hinted {
            let since = now_ns.saturating_sub(*self.hinted_at_ns.get_or_insert(now_ns));
            if since < HINTED_FOR_NS {
                return now_ns + (since / HINTED_PART).clamp(HINTED_LEAST_NS, HINTED_MOST_NS);
            }
        }
        let after = self.look_after_ns;
        self.look_after_ns = (after * 2).min(LAST_LOOK_NS);
        now_ns + after
    }
}

impl Participants {
    /// The cell of the thread that has signed with `owner`, if it has one.
    fn cell_of(&self, owner: Owner) -> Option<&AtomicU32> {
        let (Whose::Process(_), Some((index, slot))) = self.whose(owner) else { return None };
        let cell = self.cells().get(slot.cell.load(Ordering::Acquire).checked_sub(1)?)?;
        (cell.owner.load(Ordering::Acquire) == slot.life(index).0).then_some(cell.word())
    }

    /// Sleeps while `word` holds `value`, which says that the thread `owner` has what the caller wants; until a wake-up on
    /// the word, or the deadline. If that thread's process dies meanwhile, recovers it.
    pub(crate) fn wait_for(
        &self,
        word: &AtomicU32,
        value: u32,
        owner: Owner,
        deadline: Option<Deadline>,
        watch: &mut Watch,
    ) -> Waited {
        let cell = self.cell_of(owner).filter(|_| !switches::is_ignored(Witness::Cell));
        // Set before the cell is slept on, so that the kernel wakes. Without a thread it is not linked yet, or not any
        // more; or marked: the kernel takes the thread out.
        let mark = cell.map(|cell| cell.fetch_or(WAITERS, Ordering::SeqCst) | WAITERS);
        let mark = mark.filter(|mark| mark & (THREAD | OWNER_DIED) != 0);
        let hinted = mark.is_some_and(|mark| mark & OWNER_DIED != 0);
        let hinted = hinted || watch.owner == Some(owner.0) && watch.hinted_at_ns.is_some();
        let look_at = watch.look_at(owner, hinted, futex::now_ns());
        let until = deadline.map_or(look_at, |deadline| deadline.ns().min(look_at));
        let woken = match (cell, mark) {
            (Some(cell), Some(mark)) if !hinted => {
                let woken = futex::wait_either((word, value), (cell, mark), until);
                // The kernel wakes one.
                if cell.load(Ordering::Acquire) & OWNER_DIED != 0 {
                    futex::wake(cell, u32::MAX);
                    watch.hinted_at_ns.get_or_insert_with(futex::now_ns);
                }
                woken
            }
            _ => futex::wait(word, value, Some(until)),
        };
        if woken == Woken::Look {
            return Waited::Look;
        }
        if word.load(Ordering::Relaxed) == value {
            // Whoever has a deadline has no time for the steps of upper layers.
            match self.recover_owner(owner, deadline.is_some()) {
                Ok(Recovered::No) => {}
                Ok(Recovered::Yes) => return Waited::Look,
                Ok(Recovered::Underway) => {
                    watch.hinted_at_ns.get_or_insert_with(futex::now_ns);
                }
                Ok(Recovered::Refused) if deadline.is_none() => return Waited::Refused,
                Ok(Recovered::Refused) => {}
                // The word was read before the lock changed hands, and has since come to say the same again; or it is damaged.
                Err(Gone) => {
                    let now = futex::now_ns();
                    if now.saturating_sub(*watch.gone_at_ns.get_or_insert(now)) > GONE_AFTER_NS {
                        return Waited::Refused;
                    }
                }
            }
        }
        match deadline {
            Some(deadline) if deadline.has_passed() => Waited::TimedOut,
            _ => Waited::Look,
        }
    }

    /// Recovers the process of the thread that has signed with `owner`, if it is dead; or releases its locks only.
    ///
    /// # Errors
    /// [`Gone`] if no thread signs so now.
    pub(crate) fn recover_owner(&self, owner: Owner, locks_only: bool) -> Result<Recovered, Gone> {
        match self.whose(owner).0 {
            Whose::Process(record) if locks_only => Ok(self.release_if_dead(record)),
            Whose::Process(record) => Ok(self.recover_if_dead(record)),
            Whose::Retired => Ok(Recovered::No),
            Whose::Gone => Err(Gone),
        }
    }

    /// Whether `owner` is a thread's whose process was recovered without releasing all it held.
    pub(crate) fn is_retired(&self, owner: Owner) -> bool {
        self.whose(owner).0 == Whose::Retired
    }

    /// Notes that a lock of such an owner's was released from it.
    pub(crate) fn taken_from_retired(&self, owner: Owner) {
        if let (Whose::Retired, Some((_, slot))) = self.whose(owner) {
            slot.taken_from_retired();
        }
    }
}

#[cfg(test)]
pub(crate) fn cell_layout() -> crate::format_test::StoredLayout {
    crate::format_test::stored_layout!(Cell { entry, owner, _reserved })
}

#[cfg(test)]
pub(super) mod test_support {
    use super::*;

    impl Cells<'_> {
        /// Leaves a cell as the kernel does that of a thread which has ended.
        pub(crate) fn mark(self, index: u32, life: Life) {
            let cell = self.get(index).unwrap();
            cell.owner.store(life.0, Ordering::Relaxed);
            cell.word().store(OWNER_DIED, Ordering::Relaxed);
        }
    }

    impl Watch {
        /// Whether something hinted at a death.
        pub(crate) fn is_hinted(&self) -> bool {
            self.hinted_at_ns.is_some()
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use std::sync::Barrier;

    #[test]
    fn a_cell_that_was_claimed_meanwhile_is_not_freed() {
        // SAFETY: zeroes are a cell.
        let cell: &Cell = Box::leak(Box::new(unsafe { std::mem::zeroed() }));
        // SAFETY: one cell, for as long as the program runs.
        let table = || unsafe { Cells::new(NonNull::from(cell).cast(), 1) };
        let (dead, living) = (Life(7 << 16 | 1), Life(9 << 16 | 1));
        let (begin, end) = (Barrier::new(2), Barrier::new(2));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for _ in 0..5000 {
                    begin.wait();
                    table().free_if_of(dead);
                    end.wait();
                }
            });
            for round in 0..5000 {
                cell.word().store(OWNER_DIED, Ordering::SeqCst);
                cell.owner.store(dead.0, Ordering::SeqCst);
                begin.wait();
                for _ in 0..round % 64 {
                    std::hint::spin_loop();
                }
                while !cell.claim(living) {}
                cell.word().store(77, Ordering::SeqCst);
                end.wait();
                let found = (cell.owner.load(Ordering::SeqCst), cell.word().load(Ordering::SeqCst));
                assert_eq!(found, (living.0, 77), "it is linked into a living thread's list by now");
            }
        });
        // SAFETY: leaked above; nobody refers to it any more.
        drop(unsafe { Box::from_raw(std::ptr::from_ref(cell).cast_mut()) });
    }

    #[test]
    fn of_those_who_claim_one_cell_one_gets_it() {
        // SAFETY: zeroes are a cell.
        let cell: &'static Cell = Box::leak(Box::new(unsafe { std::mem::zeroed() }));
        let [dead, first, second] = [1, 2, 3].map(|slot| Life(7 << 16 | slot));
        for owner in [dead.0, 0] {
            let mark = if owner == 0 { 0 } else { OWNER_DIED | WAITERS };
            cell.word().store(mark, Ordering::SeqCst);
            cell.owner.store(owner, Ordering::SeqCst);
            let (sender, tried) = std::sync::mpsc::channel();
            std::thread::spawn(move || {
                // The other one comes when this has the cell, and has not yet made it its own for all to see.
                let try_it = move || sender.send(cell.claim(second)).unwrap();
                crate::crash::arm_thread("cell.claimed", 1, try_it);
                assert!(cell.claim(first));
            })
            .join()
            .unwrap();
            assert!(!tried.recv().unwrap());
            assert_eq!(cell.owner.load(Ordering::SeqCst), first.0);
        }
        // SAFETY: leaked above; nobody refers to it any more.
        drop(unsafe { Box::from_raw(std::ptr::from_ref(cell).cast_mut()) });
    }
}
