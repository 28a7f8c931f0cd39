//! Thread slots, what a thread notes there, and the owner words made of them.
//!
//! This file needs `unsafe`: it keeps pointers to slots in mapped memory.

use super::process::Participants;
use crate::crash::crash_point;
use crate::mapping::registry;
use crate::mapping::superblock::{SLOT_INTENT_AT, SLOT_SIZE};
use crate::primitive::{AtomicI64, AtomicU32, AtomicU64, Ordering, compiler_fence};
use std::ptr::NonNull;
use std::sync::Arc;

/// How many locks a slot can note. A thread may hold more.
pub(super) const NOTES: usize = 11;

/// The first note of a slot whose thread does not keep it any more, because its thread-local destructors have run: it is
/// given back by whatever lets go of the last lock. It is no lock's, and all that the thread does takes the slow way.
const DETACHED: i64 = KIND;

/// A thread's place in the segment. Only the thread itself writes it, but for recovery and for freeing.
#[derive(Default)]
#[repr(C, align(64))]
pub(super) struct Slot {
    /// Generation, process and state; see the [table](super).
    pub(super) word: AtomicU64,
    /// The owner word of the thread that has the slot.
    owner: AtomicU32,
    /// The thread's id in its own PID namespace; for people.
    pub(super) thread: AtomicU32,
    /// How many locks the thread holds that it could not note.
    unnoted: AtomicU32,
    /// The thread's liveness cell + 1; 0 if it has none.
    pub(super) cell: AtomicU32,
    /// What the thread is doing to whole pages of the heap, in the heap's words; 0 if nothing.
    pub(super) intent: AtomicU64,
    /// What the thread waits for, as a note; 0 if it does not.
    pub(super) waits_for: AtomicI64,
    /// The locks that the thread holds or is about to take, in no order: the distance from the slot, and in the lower two
    /// bits the kind of lock. There is none where the distance is 0.
    notes: [AtomicI64; NOTES],
}

const _: () = {
    assert!(size_of::<Slot>() == SLOT_SIZE as usize);
    assert!(std::mem::offset_of!(Slot, intent) == SLOT_INTENT_AT as usize);
};

const PROCESS_SHIFT: u32 = 32;
const ORPHANED: u64 = 1 << 48;
/// In the place of a process: nobody gets the slot any more.
const RETIRED: u64 = 0xFFFF << PROCESS_SHIFT;

/// The bits of a note that hold the kind of lock.
const KIND: i64 = 3;

fn taken_by(generation: u32, process: u32) -> u64 {
    u64::from(generation) | u64::from(process + 1) << PROCESS_SHIFT
}

fn generation(word: u64) -> u32 {
    word as u32
}

fn process(word: u64) -> Option<u32> {
    match (word >> PROCESS_SHIFT) as u16 {
        0 | u16::MAX => None,
        process => Some(u32::from(process) - 1),
    }
}

/// One life of a slot: what a cell is claimed with. Never 0; unlike an [`Owner`] it does not come round.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Life(pub(super) u64);

/// A place where a slot notes a lock.
#[derive(Clone, Copy)]
pub(super) struct Note<'s> {
    slot: &'s Slot,
    note: &'s AtomicI64,
}

impl Note<'_> {
    /// Where the lock stands, and its kind.
    pub(super) fn lock(self) -> Option<(*const u8, usize)> {
        self.slot.resolve(self.note.load(Ordering::Relaxed))
    }

    /// Notes nothing any more.
    pub(super) fn strike_out(self) {
        self.note.store(0, Ordering::Release);
    }
}

impl Slot {
    pub(super) fn process(&self) -> Option<u32> {
        process(self.word.load(Ordering::Acquire))
    }

    pub(super) fn is_orphaned(&self) -> bool {
        self.word.load(Ordering::Relaxed) & ORPHANED != 0
    }

    /// The owner word of whoever has the slot, which is the one with this index.
    pub(super) fn owner(&self, index: u32) -> Owner {
        Owner::new(index, self.generation())
    }

    /// Which life of the slot it is; the next one has another number.
    pub(super) fn generation(&self) -> u32 {
        generation(self.word.load(Ordering::Relaxed))
    }

    /// This life of the slot, which is the one with this index.
    pub(super) fn life(&self, index: u32) -> Life {
        Life(u64::from(self.generation()) << 16 | u64::from(index + 1))
    }

    fn note(&self, lock: *const u8, kind: usize) -> i64 {
        (lock.addr() as i64).wrapping_sub(std::ptr::from_ref(self).addr() as i64) | kind as i64
    }

    /// What a note leads to.
    pub(super) fn resolve(&self, note: i64) -> Option<(*const u8, usize)> {
        let at = std::ptr::from_ref(self).cast::<u8>().wrapping_offset((note & !KIND) as isize);
        (note & !KIND != 0).then_some((at, (note & KIND) as usize))
    }

    pub(super) fn notes(&self) -> impl Iterator<Item = Note<'_>> {
        self.notes.iter().map(|note| Note { slot: self, note })
    }

    /// Whether its thread is in the middle of something in the heap.
    pub(super) fn has_intent(&self) -> bool {
        self.intent.load(Ordering::Acquire) != 0
    }

    /// How many locks its thread holds that it could not note.
    pub(super) fn unnoted(&self) -> u32 {
        self.unnoted.load(Ordering::Relaxed)
    }

    /// Whether its thread holds a lock, or is about to take one.
    pub(super) fn holds(&self) -> bool {
        self.unnoted() != 0 || self.notes().any(|note| note.lock().is_some())
    }

    /// From now on the slot is given back when its thread holds nothing any more.
    pub(super) fn detach(&self) {
        let first = self.notes[0].load(Ordering::Relaxed);
        if first & !KIND != 0 {
            // CRASH detach: a death between leaves the lock noted twice, or noted and counted.
            match self.free_note() {
                Some(free) => self.notes[free].store(first, Ordering::Relaxed),
                None => self.count_unnoted(),
            }
            compiler_fence(Ordering::SeqCst);
        }
        self.notes[0].store(DETACHED, Ordering::Relaxed);
    }

    fn is_detached(&self) -> bool {
        self.notes[0].load(Ordering::Relaxed) == DETACHED
    }

    /// Gives a detached slot back if its thread holds nothing.
    fn give_back_if_detached(&self) {
        if self.is_detached() && !self.holds() {
            registry::forget_cached();
            self.give_back();
        }
    }

    /// The first note that is free.
    #[inline(never)]
    fn free_note(&self) -> Option<usize> {
        self.notes.iter().position(|note| note.load(Ordering::Relaxed) == 0)
    }

    fn count_unnoted(&self) {
        self.unnoted.store(self.unnoted().wrapping_add(1), Ordering::Relaxed);
    }

    /// A lock was taken over from the dead thread whose slot was retired. When it was the last, the slot is free again.
    pub(super) fn taken_from_retired(&self) {
        // SYNC slot: AcqRel: who takes the last one finds all others taken over. CRASH retired: a death behind this may leave
        // the slot retired for good.
        let before = self.unnoted.fetch_update(Ordering::AcqRel, Ordering::Relaxed, |n| n.checked_sub(1));
        if before == Ok(1) {
            self.give_back();
        }
    }

    /// Whether it belongs to a thread of `owner` that holds a lock.
    pub(super) fn is_held_by(&self, owner: u32) -> bool {
        self.process() == Some(owner) && self.holds()
    }

    /// Takes the slot, which has this index, for a thread of `process`, if it is free.
    pub(super) fn take(&self, index: u32, process_record: u32) -> bool {
        let free = self.word.load(Ordering::Relaxed);
        let taken = taken_by(generation(free), process_record);
        // SYNC slot: Acquire, pairs with the Release that freed it: it is empty. CRASH take: recovery of this process
        // frees it again.
        if free >> PROCESS_SHIFT != 0
            || self.word.compare_exchange(free, taken, Ordering::AcqRel, Ordering::Relaxed).is_err()
        {
            return false;
        }
        crash_point!("slot.taken");
        self.owner.store(self.owner(index).0, Ordering::Relaxed);
        true
    }

    /// Frees the slot of a thread that holds nothing.
    pub(super) fn give_back(&self) {
        self.empty();
        let now = self.word.load(Ordering::Relaxed);
        // SYNC slot: Release, so that the next owner finds it empty.
        self.word.store(u64::from(generation(now).wrapping_add(1)), Ordering::Release);
        crash_point!("slot.given-back");
    }

    /// Frees a dead thread's slot, all of whose noted locks are released; retires it if there were others.
    pub(super) fn bury(&self) {
        if self.unnoted() == 0 {
            self.give_back();
            return;
        }
        let now = self.word.load(Ordering::Relaxed);
        // CRASH retire: one store; `unnoted` stays, so whoever comes before it decides the same.
        self.word.store(u64::from(generation(now)) | RETIRED, Ordering::Release);
    }

    fn empty(&self) {
        for word in [&self.unnoted, &self.cell, &self.thread] {
            word.store(0, Ordering::Relaxed);
        }
        self.waits_for.store(0, Ordering::Relaxed);
        self.intent.store(0, Ordering::Relaxed);
        self.notes.iter().for_each(|note| note.store(0, Ordering::Relaxed));
    }

    /// Marks the slot of a thread that has exited and left locks held.
    pub(super) fn orphan(&self) {
        self.word.fetch_or(ORPHANED, Ordering::Release);
        // A guard may yet be dropped, by a thread-local destructor that runs later.
        self.detach();
    }
}

/// The word by which a thread signs the locks it holds: `generation << 14 | slot + 1`, never 0, below 2³⁰.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Owner(pub(crate) u32);

impl Owner {
    /// The bits of a lock word that hold an owner.
    pub(crate) const MASK: u32 = (1 << 30) - 1;

    fn new(slot: u32, generation: u32) -> Self {
        Owner((generation & 0xFFFF) << 14 | (slot + 1))
    }

    fn slot(self) -> Option<u32> {
        (self.0 & 0x3FFF).checked_sub(1)
    }

    fn generation(self) -> u16 {
        (self.0 >> 14) as u16
    }
}

/// Whose an owner word is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Whose {
    /// A thread's of the process with this record, dead or alive.
    Process(u32),
    /// Nobody's: the thread died holding more locks than it could note, and its process was recovered.
    Retired,
    /// That of an earlier life of the slot, or of no slot at all: the lock has changed hands since it was read, or is
    /// damaged.
    Gone,
}

impl Participants {
    /// Whose an owner word found in a lock is, and the slot.
    pub(super) fn whose(&self, owner: Owner) -> (Whose, Option<(u32, &Slot)>) {
        let Some((index, slot)) = owner.slot().and_then(|index| Some((index, self.slot(index)?))) else {
            return (Whose::Gone, None);
        };
        let word = slot.word.load(Ordering::Acquire);
        let whose = match process(word) {
            _ if generation(word) as u16 != owner.generation() => Whose::Gone,
            Some(record) => Whose::Process(record),
            None if word & RETIRED == RETIRED => Whose::Retired,
            None => Whose::Gone,
        };
        (whose, Some((index, slot)))
    }
}

/// A lock that its thread is about to take: where it is noted, or [`NOTES`].
#[must_use = "the lock is taken, or it is not"]
pub(crate) struct Intent(usize);

/// A thread's slot in one mapping, as a guard keeps it. It is the thread's own: not `Send`.
///
/// # Invariants
/// 1. The slot is mapped while the lock is for which the handle was made, and is the thread's until it exits.
#[derive(Clone, Copy)]
pub(crate) struct SlotHandle(pub(super) NonNull<Slot>);

impl SlotHandle {
    #[inline]
    pub(super) fn slot(&self) -> &Slot {
        // SAFETY: 1; its fields are atomics.
        unsafe { self.0.as_ref() }
    }

    /// The thread's owner word.
    #[inline]
    pub(crate) fn owner(&self) -> Owner {
        Owner(self.slot().owner.load(Ordering::Relaxed))
    }

    /// Notes that the thread is about to take a lock of this kind, if there is room. [`taken`](Self::taken) or
    /// [`not_taken`](Self::not_taken) follows.
    // Nearly always it is the first note, at an address that depends on nothing the last unlock has stored.
    #[inline(always)]
    pub(crate) fn try_intend<T>(&self, lock: *const T, kind: usize) -> Option<Intent> {
        let slot = self.slot();
        let free = if slot.notes[0].load(Ordering::Relaxed) == 0 { 0 } else { slot.free_note()? };
        // CRASH note: until the lock is taken, recovery finds a note of a lock that the thread does not hold.
        slot.notes.get(free)?.store(slot.note(lock.cast(), kind), Ordering::Relaxed);
        // A dead thread's memory holds the first so many of its stores: the compiler must keep their order.
        compiler_fence(Ordering::SeqCst);
        crash_point!("raw.noted");
        Some(Intent(free))
    }

    /// As [`try_intend`](Self::try_intend); without room the lock is only counted.
    pub(crate) fn intend<T>(&self, lock: *const T, kind: usize) -> Intent {
        self.try_intend(lock, kind).unwrap_or_else(|| {
            self.slot().count_unnoted();
            compiler_fence(Ordering::SeqCst);
            Intent(NOTES)
        })
    }

    /// The lock that was intended is taken.
    #[inline(always)]
    pub(crate) fn taken(&self, _: Intent) {
        compiler_fence(Ordering::SeqCst);
        crash_point!("raw.taken");
    }

    /// The lock that was intended is not taken. The thread may try again: it keeps its slot until [`part`](Self::part).
    #[inline]
    pub(crate) fn not_taken(&self, Intent(at): Intent) {
        compiler_fence(Ordering::SeqCst);
        let slot = self.slot();
        match slot.notes.get(at) {
            Some(note) => note.store(0, Ordering::Relaxed),
            None => slot.unnoted.store(slot.unnoted().wrapping_sub(1), Ordering::Relaxed),
        }
    }

    /// Gives back a slot that its thread does not keep, if it holds nothing: a lock was not acquired.
    pub(crate) fn part(&self) {
        self.slot().give_back_if_detached();
    }

    /// The lock is released.
    #[inline(always)]
    pub(crate) fn let_go<T>(&self, lock: *const T, kind: usize) {
        compiler_fence(Ordering::SeqCst);
        crash_point!("raw.released");
        let slot = self.slot();
        let wanted = slot.note(lock.cast(), kind);
        match slot.notes[0].load(Ordering::Relaxed) == wanted {
            true => slot.notes[0].store(0, Ordering::Relaxed),
            false => slot.let_go_of_other(wanted),
        }
        crash_point!("raw.struck-out");
    }

    /// Notes what the thread waits for.
    pub(crate) fn wait_for<T>(&self, lock: *const T, kind: usize) {
        self.slot().waits_for.store(self.slot().note(lock.cast(), kind), Ordering::Relaxed);
    }

    /// Notes that it waits no more.
    pub(crate) fn stop_waiting(&self) {
        self.slot().waits_for.store(0, Ordering::Relaxed);
    }
}

impl Slot {
    /// Strikes out a lock that is not the first note's, or was never noted.
    #[inline(never)]
    fn let_go_of_other(&self, wanted: i64) {
        match self.notes.iter().find(|note| note.load(Ordering::Relaxed) == wanted) {
            Some(note) => note.store(0, Ordering::Relaxed),
            None => self.unnoted.store(self.unnoted().saturating_sub(1), Ordering::Relaxed),
        }
        self.give_back_if_detached();
    }
}

/// A thread's slot and two flags in one pointer, so that a guard is passed in registers. The thread's own: not
/// `Send`.
#[derive(Clone, Copy)]
pub(crate) struct TaggedSlot(NonNull<u8>);

impl TaggedSlot {
    const TAGS: usize = 3;

    #[inline(always)]
    pub(crate) fn new(slot: SlotHandle, tag: usize) -> Self {
        debug_assert!(tag <= Self::TAGS);
        TaggedSlot(slot.0.cast::<u8>().map_addr(|at| at | tag))
    }

    /// The slot.
    #[inline(always)]
    pub(crate) fn slot(self) -> SlotHandle {
        // SAFETY: a slot's address is a multiple of 64, and not 0.
        let at = unsafe { NonNull::new_unchecked(self.0.as_ptr().map_addr(|at| at & !Self::TAGS)) };
        SlotHandle(at.cast())
    }

    /// The flags.
    #[inline(always)]
    pub(crate) fn tag(self) -> usize {
        self.0.addr().get() & Self::TAGS
    }

    /// Whether the slot is of this process; it is its parent's in the child of a fork. `at` is what was locked.
    #[inline(always)]
    pub(crate) fn is_ours<T>(self, at: *const T) -> bool {
        // The cache never serves what was taken before a fork.
        registry::slot_at(at.cast()) == self.slot().0.as_ptr().cast() || self.is_ours_slow(at.cast())
    }

    #[cold]
    fn is_ours_slow(self, at: *const u8) -> bool {
        let Some(context) = registry::context_at(at) else { return false };
        // SAFETY: the caller holds a reference to what stands at `at`, so the mapping and its context live.
        let participants = unsafe { &*context }.upper::<Arc<Participants>>();
        let owner = self.slot().slot().process();
        owner.is_some() && participants.is_some_and(|p| p.attached_now() == owner)
    }
}

#[cfg(test)]
pub(crate) fn slot_layout() -> crate::format_test::StoredLayout {
    crate::format_test::stored_layout!(Slot { word, owner, thread, unnoted, cell, intent, waits_for, notes })
}

#[cfg(test)]
pub(super) mod test_support {
    use super::*;

    impl Slot {
        /// Lets the slot begin its life with this generation.
        pub(crate) fn set_generation(&self, generation: u32) {
            self.word.store(generation.into(), Ordering::Relaxed);
        }
    }
}
