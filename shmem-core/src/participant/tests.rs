//! Participants of a table in memory of their own, whose witnesses the tests invent.

use super::cell::{Waited, Watch};
use super::process::{ATTACHED, Participants, SegmentFile};
use super::recovery::{LockKind, Recovered};
use super::slot::{NOTES, Owner, SlotHandle};
use super::thread;
use crate::mapping::superblock::FixedHeader;
use crate::mapping::{HeldByte, LockedByte};
use crate::primitive::{AtomicBool, AtomicU32, Ordering};
use std::collections::BTreeSet;
use std::io;
use std::ptr::NonNull;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Bytes that are held by others, and where the rest of the file stands.
struct Bytes(Arc<Mutex<BTreeSet<u32>>>, usize);

/// As one of the bytes: the file's descriptor is closed.
const CLOSED: u32 = u32::MAX;

impl SegmentFile for Bytes {
    fn hold(&self, index: u32) -> io::Result<Option<HeldByte>> {
        Ok((!self.0.lock().unwrap().contains(&index)).then(HeldByte::nothing))
    }
    fn lock_for_child(&self, _: u32) -> io::Result<Option<LockedByte>> {
        Err(io::ErrorKind::Unsupported.into())
    }
    fn is_held(&self, index: u32) -> io::Result<bool> {
        Ok(self.0.lock().unwrap().contains(&index))
    }
    fn len(&self) -> io::Result<u64> {
        if self.0.lock().unwrap().contains(&CLOSED) {
            return Err(io::ErrorKind::Other.into());
        }
        Ok(1 << 20)
    }
    fn word(&self, offset: u64) -> io::Result<u32> {
        let at = std::ptr::with_exposed_provenance::<AtomicU32>(self.1 + offset as usize);
        // SAFETY: inside the memory that `table` has leaked; aligned, as is asked for.
        Ok(unsafe { &*at }.load(Ordering::Relaxed))
    }
    fn map(&self, _: u64, _: usize) -> io::Result<NonNull<u8>> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

/// Stands in for a lock: who holds it.
fn is_held(word: u32, owner: Owner) -> bool {
    word == owner.0
}

unsafe fn release(at: *const u8, owner: Owner) {
    // SAFETY: a word of the test's.
    let word = unsafe { &*at.cast::<AtomicU32>() };
    let _ = word.compare_exchange(owner.0, RELEASED, Ordering::Relaxed, Ordering::Relaxed);
}

const RELEASED: u32 = 1 << 30;

static KINDS: [LockKind; 1] = [LockKind { is_held, release }];

/// Participants, words behind their tables to serve as locks, and the bytes that others hold.
struct Table {
    participants: Arc<Participants>,
    locks: &'static [AtomicU32],
    bytes: Arc<Mutex<BTreeSet<u32>>>,
}

fn table() -> Table {
    let header = FixedHeader::new(1 << 16, [1; 16], 0);
    /// The memory outlives the test; leak checkers see it kept.
    static KEPT: Mutex<Vec<usize>> = Mutex::new(Vec::new());
    let bytes = header.metadata_bytes() as usize;
    // Somewhat more than is mapped of a segment.
    let words = vec![0_u64; header.end as usize / 8 + 64].leak();
    KEPT.lock().unwrap().push(words.as_mut_ptr().expose_provenance());
    let base = NonNull::from(&mut *words).cast::<u8>();
    // SAFETY: inside the memory.
    let base = unsafe { base.add(base.align_offset(64)) };
    let held = Bytes(Arc::default(), base.as_ptr().expose_provenance());
    let others = held.0.clone();
    // SAFETY: zeroed memory of that size, aligned, which is leaked.
    let participants = unsafe { Participants::new(base, header, Box::new(held)) };
    // SAFETY: behind the tables, inside the memory.
    let locks = unsafe { std::slice::from_raw_parts(base.add(bytes).cast::<AtomicU32>().as_ptr(), 1024) };
    Table { participants: Arc::new(participants), locks, bytes: others }
}

/// As [`table`], each record a dead process's.
fn among_the_dead() -> Table {
    let table = table();
    for index in 0..table.participants.process_count() {
        table.participants.record(index).state.store(ATTACHED, Ordering::Relaxed);
    }
    table
}

impl Table {
    /// Takes slot `index` for a thread of process `record`.
    fn slot(&self, index: u32, record: u32) -> SlotHandle {
        let slot = self.participants.slot(index).unwrap();
        assert!(slot.take(index, record));
        SlotHandle(NonNull::from(slot))
    }

    fn lock(&self, slot: SlotHandle, lock: usize) {
        let intent = slot.intend(&raw const self.locks[lock], 0);
        self.locks[lock].store(slot.owner().0, Ordering::Relaxed);
        slot.taken(intent);
    }

    /// Has the thread note and take a lock that stands behind all that is mapped of the segment, and in its file.
    fn lock_beyond(&self, slot: SlotHandle) -> &'static AtomicU32 {
        let end = self.participants.reserved_bytes();
        assert!(end + 8 <= self.participants.file().len().unwrap());
        // SAFETY: inside the memory that `table` has leaked; zeroes, which nothing else uses.
        let lock: &'static AtomicU32 = unsafe { &*self.participants.at(end).cast() };
        let intent = slot.intend(lock, 0);
        lock.store(slot.owner().0, Ordering::Relaxed);
        slot.taken(intent);
        lock
    }

    fn unlock(&self, slot: SlotHandle, lock: usize) {
        self.locks[lock].store(0, Ordering::Relaxed);
        slot.let_go(&raw const self.locks[lock], 0);
    }

    fn word(&self, lock: usize) -> u32 {
        self.locks[lock].load(Ordering::Relaxed)
    }

    /// A dead process with record 1.
    fn dead(&self) {
        self.participants.record(1).state.store(ATTACHED, Ordering::Relaxed);
    }
}

#[test]
fn a_dead_process_s_record_is_nobody_s_until_it_is_clean() {
    let table = among_the_dead();
    let participants = &*table.participants;
    let (begun, clean) = (&AtomicBool::new(false), &AtomicBool::new(false));
    let flags = [begun, clean].map(|flag| std::ptr::from_ref(flag).expose_provenance());
    let step = move |_| {
        // SAFETY: the flags outlive the threads that run this.
        let [begun, clean] = flags.map(|at| unsafe { &*std::ptr::with_exposed_provenance::<AtomicBool>(at) });
        begun.store(true, Ordering::SeqCst);
        std::thread::sleep(Duration::from_millis(50));
        clean.store(true, Ordering::SeqCst);
        true
    };
    participants.set_steps(&[], vec![Box::new(step)]);
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
    let Table { participants, .. } = among_the_dead();
    participants.set_steps(&[], vec![Box::new(|_| false)]);
    assert!(participants.process().is_err());
    assert!(participants.attached_now().is_none());
    assert!(participants.is_dead(0));
}

#[test]
fn a_thread_keeps_no_slot_under_a_record_that_its_process_does_not_get() {
    let Table { participants, .. } = among_the_dead();
    let (again, tries) = (Arc::downgrade(&participants), AtomicU32::new(0));
    let step = move |_| {
        let participants = again.upgrade().unwrap();
        if tries.fetch_add(1, Ordering::SeqCst) == 0 {
            // As a step that locks has its thread do.
            let (index, slot) = thread::take_slot(&participants).unwrap();
            thread::keep(&participants, index, slot);
        }
        false
    };
    participants.set_steps(&KINDS, vec![Box::new(step)]);
    assert!(participants.process().is_err());
    // Whoever recovers the dead process would free it, and with it all that this thread locks from now on.
    let kept: Vec<_> =
        participants.slots().filter_map(|(index, slot)| Some((index, slot.process()?))).collect();
    assert_eq!(kept, []);
}

#[test]
fn steps_may_come_back() {
    let Table { participants, .. } = among_the_dead();
    let again = Arc::downgrade(&participants);
    let step = move |dead| {
        let participants = again.upgrade().unwrap();
        let own = participants.process().unwrap();
        assert_eq!(participants.recover_if_dead(own), Recovered::No);
        participants.recover_all();
        assert!(participants.is_attached(dead));
        true
    };
    participants.set_steps(&[], vec![Box::new(step)]);
    let own = participants.process().unwrap();
    assert_eq!(participants.recover_if_dead(own + 1), Recovered::Yes);
    assert!(!participants.is_attached(own + 1));
}

#[test]
fn the_living_and_what_another_recovers_are_left_alone() {
    let table = among_the_dead();
    table.participants.set_steps(&KINDS, Vec::new());
    let slot = table.slot(3, 5);
    table.lock(slot, 0);
    table.bytes.lock().unwrap().insert(5);
    assert_eq!(table.participants.recover_if_dead(5), Recovered::No);
    table.bytes.lock().unwrap().clear();
    table.bytes.lock().unwrap().insert(super::process::RECOVERER + 5);
    assert_eq!(table.participants.recover_if_dead(5), Recovered::Underway);
    assert_eq!(table.word(0), slot.owner().0);
    table.bytes.lock().unwrap().clear();
    assert_eq!(table.participants.recover_if_dead(5), Recovered::Yes);
    assert_eq!(table.word(0), RELEASED);
}

#[test]
fn what_a_dead_thread_holds_is_released_and_nothing_else() {
    let table = table();
    table.participants.set_steps(&KINDS, Vec::new());
    table.dead();
    let (dead, living) = (table.slot(0, 1), table.slot(1, 2));
    for lock in 0..5 {
        table.lock(dead, lock);
    }
    // Out of order; then one that was intended only, and is another's.
    table.unlock(dead, 1);
    table.unlock(dead, 4);
    table.lock(living, 7);
    let _ = dead.intend(&raw const table.locks[7], 0);
    // It has unlocked this one, and died before it could strike it out; the memory is something else by now.
    table.locks[3].store(dead.owner().0 ^ 1, Ordering::Relaxed);
    let threads = table.participants.threads();
    let offset = |lock| table.participants.offset_of(&raw const table.locks[lock]);
    let held: BTreeSet<u64> = threads[0].holds.iter().copied().collect();
    assert_eq!(held, BTreeSet::from([offset(0), offset(2)]));
    let before: Vec<u32> = (0..8).map(|lock| table.word(lock)).collect();
    assert_eq!(table.participants.recover_if_dead(1), Recovered::Yes);
    for (lock, before) in before.into_iter().enumerate() {
        let expected = if [0, 2].contains(&lock) { RELEASED } else { before };
        assert_eq!(table.word(lock), expected, "lock {lock}");
    }
    let threads = table.participants.threads();
    assert!(threads.iter().all(|thread| thread.process == 2), "{threads:?}");
}

#[test]
fn a_note_that_leads_out_of_the_mapping_is_not_followed_however_long_the_file_is() {
    let table = table();
    table.participants.set_steps(&KINDS, Vec::new());
    table.dead();
    let dead = table.slot(0, 1);
    table.lock(dead, 0);
    // Damaged: it leads to where the mapping has ended, and the file, which somebody has made longer, has not. What
    // stands there says what would have it released.
    let beyond = table.lock_beyond(dead);
    assert_eq!(table.participants.recover_if_dead(1), Recovered::Yes);
    assert_eq!(table.word(0), RELEASED);
    assert_eq!(beyond.load(Ordering::Relaxed), dead.owner().0);
}

#[test]
fn a_recoverer_that_dies_is_followed_by_another() {
    // After each of the stores of steps 1 to 3: those that a whole recovery makes, cut off.
    let table = table();
    table.participants.set_steps(&KINDS, Vec::new());
    table.dead();
    let dead = table.slot(0, 1);
    for lock in 0..3 {
        table.lock(dead, lock);
    }
    let slot = table.participants.slot(0).unwrap();
    // Released, and still noted; noted no more, and another's by now.
    table.locks[0].store(RELEASED, Ordering::Relaxed);
    slot.notes().nth(1).unwrap().strike_out();
    table.locks[1].store(0, Ordering::Relaxed);
    assert_eq!(table.participants.recover_if_dead(1), Recovered::Yes);
    assert_eq!([0, 1, 2].map(|lock| table.word(lock)), [RELEASED, 0, RELEASED]);
    assert!(!table.participants.is_attached(1));
}

#[test]
fn a_thread_that_held_more_than_it_could_note_has_its_slot_retired() {
    let table = table();
    table.participants.set_steps(&KINDS, Vec::new());
    table.dead();
    let dead = table.slot(0, 1);
    for lock in 0..NOTES + 3 {
        table.lock(dead, lock);
    }
    // Noted ones are released, the last ones are known to be nobody's.
    let owner = dead.owner();
    table.unlock(dead, NOTES + 2);
    assert!(!table.participants.is_retired(owner));
    assert_eq!(table.participants.recover_if_dead(1), Recovered::Yes);
    for lock in 0..NOTES + 2 {
        let expected = if lock < NOTES { RELEASED } else { owner.0 };
        assert_eq!(table.word(lock), expected, "lock {lock}");
    }
    assert!(table.participants.is_retired(owner));
    assert!(!table.participants.slot(0).unwrap().take(0, 2), "retired");
    // Until the last of them was taken over.
    table.participants.taken_from_retired(owner);
    assert!(!table.participants.slot(0).unwrap().take(0, 2));
    table.participants.taken_from_retired(owner);
    assert!(!table.participants.is_retired(owner));
    assert!(table.participants.slot(0).unwrap().take(0, 2));
    // Nothing was left behind by those that were let go in time.
    let other = table.slot(1, 1);
    for lock in 0..NOTES + 3 {
        table.lock(other, 100 + lock);
    }
    for lock in [NOTES, 3, 0, NOTES + 2, NOTES + 1].into_iter().chain(1..3).chain(4..NOTES) {
        table.unlock(other, 100 + lock);
    }
    assert!(!other.slot().holds());
}

#[test]
fn generations_come_round_and_hurt_nobody() {
    let table = table();
    table.participants.set_steps(&KINDS, Vec::new());
    let slot = table.participants.slot(0).unwrap();
    let mut owners = BTreeSet::new();
    // The life in which a process died holding a lock, and the one with the same owner word, 65,536 lives later.
    for generation in [5_u32, 5 + (1 << 16)] {
        slot.set_generation(generation);
        table.dead();
        let thread = table.slot(0, 1);
        owners.insert(thread.owner().0);
        assert_ne!(table.word(0), thread.owner().0, "nothing that an earlier life signed is left");
        table.lock(thread, 0);
        assert_eq!(table.participants.recover_if_dead(1), Recovered::Yes);
        assert_eq!(table.word(0), RELEASED);
    }
    assert_eq!(owners.len(), 1, "the owner words are the same");
    // As many lives of a thread that lets go in time.
    for _ in 0..=1 << 16 {
        let thread = table.slot(0, 1);
        table.lock(thread, 0);
        table.unlock(thread, 0);
        thread.slot().give_back();
    }
    assert!((0..1024).all(|lock| table.word(lock) == 0 || table.word(lock) == RELEASED));
    // The 32-bit generation wraps, too.
    slot.set_generation(u32::MAX);
    table.slot(0, 1).slot().give_back();
    assert_eq!(table.slot(0, 1).owner().0, 1);
}

#[test]
fn who_comes_after_a_thread_s_end_is_told_of_it() {
    let table = table();
    table.dead();
    table.bytes.lock().unwrap().insert(1);
    let slot = table.slot(0, 1);
    let (slot, owner) = (slot.slot(), slot.owner());
    slot.cell.store(1, Ordering::Relaxed);
    table.participants.cells().mark(0, slot.life(0));
    let mut watch = Watch::default();
    let waited = table.participants.wait_for(&table.locks[0], 0, owner, None, &mut watch);
    assert!(waited == Waited::Look && watch.is_hinted());
}

#[test]
fn a_slot_whose_thread_is_gone_is_given_back_with_its_last_lock() {
    let table = table();
    let is_free = |index: u32| {
        let slot = table.participants.slot(index).unwrap();
        let free = slot.take(index, 2);
        if free {
            slot.give_back();
        }
        free
    };
    // Its guards are dropped by thread-local destructors that run after the one that would have given it back.
    let orphan = table.slot(0, 1);
    for lock in 0..NOTES + 2 {
        table.lock(orphan, lock);
    }
    orphan.slot().orphan();
    for lock in (0..NOTES + 2).rev() {
        assert!(!is_free(0));
        table.unlock(orphan, lock);
    }
    assert!(is_free(0));
    // One that takes its slot only then.
    let late = table.slot(1, 1);
    late.slot().detach();
    table.lock(late, 0);
    table.lock(late, 1);
    table.unlock(late, 0);
    assert!(!is_free(1));
    table.unlock(late, 1);
    assert!(is_free(1));
    let late = table.slot(2, 1);
    late.slot().detach();
    let intent = late.intend(&raw const table.locks[0], 0);
    late.not_taken(intent);
    assert!(!is_free(2), "it may try again");
    late.part();
    assert!(is_free(2));
}

#[test]
fn who_cannot_follow_notes_leaves_them_to_others() {
    let table = table();
    table.participants.set_steps(&KINDS, vec![]);
    table.dead();
    let slot = table.slot(3, 1);
    table.lock(slot, 5);
    let held = table.word(5);
    // After it has asked who is dead.
    table.bytes.lock().unwrap().insert(CLOSED);
    assert_eq!(table.participants.recover_if_dead(1), Recovered::Refused);
    assert_eq!((table.word(5), table.participants.slot(3).unwrap().process()), (held, Some(1)));
    table.bytes.lock().unwrap().remove(&CLOSED);
    assert_eq!(table.participants.recover_if_dead(1), Recovered::Yes);
    assert_eq!((table.word(5), table.participants.slot(3).unwrap().process()), (RELEASED, None));
}
