//! Recovery of the dead: by who dies while at it, by two at once, beside the living who use the same locks and records.

use loom::thread;
use shmem_models::{EVERY, Fault, Process, SLOTS, Taken, Thread, World, check, check_each_death};

/// A process that was killed while it held lock 0 and was about to take lock 1; its record and its slot are the first ones.
fn dead(world: &World) -> Process {
    let process = world.process();
    let thread = process.thread(0);
    thread.lock(0);
    thread.change(0);
    thread.intend(1);
    process.kill(&[&thread]);
    process
}

/// Nothing of the dead is left, nothing of the living is gone.
fn is_over(world: &World) {
    assert!(!world.is_held(0) && !world.is_held(1));
    assert!(!world.is_poisoned(1), "the dead did not hold it");
    assert!(world.is_free(0) && !world.is_attached(0));
}

/// A recoverer is killed; a living thread uses both locks, and waits for the one that the dead one held.
fn a_dying_recoverer(world: &World, stores: u32) -> bool {
    dead(world);
    let recoverer = world.process();
    let living = world.process().thread(2);
    let task = thread::spawn(move || {
        recoverer.live_for(stores, &[], || {
            recoverer.recover(0);
        })
    });
    assert_eq!(living.pass(1), Taken::Clean);
    assert_eq!(living.pass(0), Taken::ByDeath);
    assert!(living.lock(0) == Taken::Clean && living.lock(1) == Taken::Clean);
    let died = task.join().unwrap();
    living.process().recover_all();
    assert!(living.holds(0) && living.holds(1), "released from a living owner");
    living.unlock(0);
    living.unlock(1);
    is_over(world);
    died
}

/// A recoverer is killed, another one begins again; then the first one's own death is dealt with.
fn one_after_the_other(world: &World, stores: u32) -> bool {
    dead(world);
    let (first, second) = (world.process(), world.process());
    let died = first.live_for(stores, &[], || {
        first.recover(0);
    });
    second.recover_all();
    is_over(world);
    assert!(world.is_poisoned(0));
    died
}

/// Two processes recover the same dead one; whoever is done uses what it held.
fn two_recoverers(world: &World) {
    dead(world);
    let threads = [1, 2].map(|index| world.process().thread(index));
    let work = |thread: Thread| {
        thread.process().recover(0);
        if let Some(taken) = thread.try_lock(0) {
            thread.change(0);
            thread.unlock(0);
            return Some(taken);
        }
        None
    };
    let [one, other] = threads;
    let task = thread::spawn(move || work(one));
    let found = [work(other), task.join().unwrap()];
    assert_eq!(found.iter().filter(|taken| **taken == Some(Taken::ByDeath)).count(), 1, "{found:?}");
    is_over(world);
}

/// Two threads of one process recover the same dead one.
fn two_threads_recover(world: &World) {
    dead(world);
    let process = world.process();
    let other = process.clone();
    let task = thread::spawn(move || other.recover(0));
    let done = [process.recover(0), task.join().unwrap()];
    assert!(done.contains(&true));
    is_over(world);
}

/// The record of the dead is handed on to a process that comes, which takes the slot and another lock, while `N` others
/// recover: they undo nothing of the new one's.
fn a_record_is_handed_on<const N: usize>(world: &World) {
    dead(world);
    let others: [Process; N] = std::array::from_fn(|_| world.process());
    (N + 1..SLOTS).for_each(|_| drop(world.process()));
    let new = world.open();
    let tasks = others.map(|process| thread::spawn(move || process.recover(0)));
    assert_eq!(new.attach(), 0, "the others are the living's");
    let thread = new.thread(0);
    thread.lock(1);
    for task in tasks {
        task.join().unwrap();
    }
    assert!(thread.holds(1) && world.is_attached(0) && !world.is_held(0));
    thread.unlock(1);
}

/// A process that comes takes the record of the dead, recovers it for that, and is killed meanwhile; a living thread waits for
/// the lock.
fn a_dying_newcomer(world: &World, stores: u32) -> bool {
    dead(world);
    let living = world.process().thread(2);
    world.process();
    let new = world.open();
    let task = thread::spawn(move || {
        new.live_for(stores, &[], || {
            new.attach();
        })
    });
    assert_eq!(living.pass(0), Taken::ByDeath);
    let died = task.join().unwrap();
    living.process().recover_all();
    assert!(!world.is_held(0) && world.is_free(0));
    assert_eq!(world.is_attached(0), !died);
    died
}

/// A process that was killed while a thread of it, in the first slot, held `locks`, none of which it could note.
fn dead_with_unnoted(world: &World, locks: &[usize]) -> Process {
    let process = world.process();
    let thread = process.thread(0);
    thread.note_many();
    for lock in locks {
        thread.lock(*lock);
        thread.change(*lock);
    }
    process.kill(&[&thread]);
    process
}

/// A thread that is killed held more locks than it could note, lock 0 last: its slot is retired, and who waits for the
/// lock finds that it is nobody's.
fn more_than_noted(world: &World, stores: u32) -> bool {
    // Its cell may be freed when the waiter is about to look at it: then it looks later.
    world.let_timers_fire();
    dead_with_unnoted(world, &[0, 1]);
    let recoverer = world.process();
    let living = world.process().thread(2);
    let task = thread::spawn(move || {
        recoverer.live_for(stores, &[], || {
            recoverer.recover(0);
        })
    });
    assert_eq!(living.pass(0), Taken::ByDeath);
    let died = task.join().unwrap();
    living.process().recover_all();
    assert!(living.process().try_thread(0).is_none() && world.is_retired(0), "it held another one");
    assert!(!world.is_attached(0) && !world.is_held(0));
    died
}

/// Two locks that a dead thread could not note are taken over by two others: whoever takes the last one frees the slot,
/// which somebody takes.
fn the_last_take_over(world: &World) {
    dead_with_unnoted(world, &[0, 1]);
    let threads = [1, 2].map(|index| world.process().thread(index));
    threads[0].process().recover_all();
    assert!(world.is_retired(0));
    let [one, other] = threads;
    let task = thread::spawn(move || one.pass(0));
    assert_eq!(other.pass(1), Taken::ByDeath);
    let next = other.process().try_thread(0);
    assert_eq!(task.join().unwrap(), Taken::ByDeath);
    match next {
        Some(next) => {
            assert_eq!((next.pass(0), next.pass(1)), (Taken::Clean, Taken::Clean));
            next.exit();
        }
        None => assert!(world.is_free(0), "nobody is left to free it"),
    }
}

/// Whoever takes over a lock that a dead thread could not note is killed at that; somebody else wants the lock. It is
/// released, and the slot is free or, if the death came between the two, stays retired.
fn a_dying_heir(world: &World, stores: u32) -> bool {
    dead_with_unnoted(world, &[0]);
    let process = world.process();
    let heir = process.thread(1);
    let other = world.process().thread(2);
    other.process().recover_all();
    let task = thread::spawn(move || {
        process.live_for(stores, &[&heir], || {
            heir.pass(0);
        })
    });
    other.pass(0);
    let died = task.join().unwrap();
    other.process().recover_all();
    assert!(!world.is_held(0) && world.is_attached(1) != died);
    assert!(world.is_free(0) || died && world.is_retired(0), "taken over");
    died
}

/// Lock 1 is left with a word of the first slot's first life. In the next one the slot is retired, and freed again:
/// nobody takes lock 1 from its thread, neither as from a dead nor as from a retired one.
fn an_earlier_life(world: &World) {
    let first = world.process().thread(0);
    first.lock(1);
    first.exit();
    dead_with_unnoted(world, &[0]);
    let living = world.process().thread(2);
    let again = world.process().thread(1);
    let task = thread::spawn(move || again.try_lock(1));
    assert_eq!(living.try_lock(1), None, "acted on");
    assert_eq!(living.pass(0), Taken::ByDeath);
    assert_eq!(living.try_lock(1), None, "acted on");
    assert_eq!(task.join().unwrap(), None, "acted on");
    assert!(world.is_free(0) && world.is_held(1));
}

#[test]
fn goes_on_after_a_recoverer_s_death() {
    check_each_death(None, 2, a_dying_recoverer);
}

#[test]
fn begins_again() {
    check_each_death(None, EVERY, one_after_the_other);
}

#[test]
fn is_done_once_by_two_processes() {
    check(None, 3, two_recoverers);
}

#[test]
fn is_done_once_by_two_threads() {
    check(None, EVERY, two_threads_recover);
}

#[test]
fn hands_a_record_on() {
    check(None, 3, a_record_is_handed_on::<2>);
}

#[test]
fn is_part_of_attaching() {
    check_each_death(None, 2, a_dying_newcomer);
}

#[test]
fn retires() {
    check_each_death(None, 1, more_than_noted);
}

#[test]
fn frees_a_retired_slot() {
    check(None, EVERY, the_last_take_over);
    check_each_death(None, 2, a_dying_heir);
}

#[test]
fn knows_a_word_of_an_earlier_life() {
    check(None, 3, an_earlier_life);
}

#[test]
#[should_panic(expected = "thread.holds(1)")]
fn with_two_at_once() {
    check(Some(Fault::RecoverersShare), 2, a_record_is_handed_on::<1>);
}

#[test]
#[should_panic(expected = "is_held")]
fn without_the_release_of_a_lock() {
    check_each_death(
        Some(Fault::skipped("sync/raw.rs", "compare_exchange(now, freed")),
        2,
        one_after_the_other,
    );
}

#[test]
#[should_panic(expected = "is_attached")]
fn without_the_end_of_a_record() {
    let fault = Fault::skipped("participant/process.rs", "record.state.store(FREE");
    check_each_death(Some(fault), 2, one_after_the_other);
}

#[test]
#[should_panic(expected = "exceeded")]
fn without_retiring() {
    let fault = Fault::skipped("participant/slot.rs", "self.word.store(u64::from(generation(now)) | RETIRED");
    check_each_death(Some(fault), 1, more_than_noted);
}

#[test]
#[should_panic(expected = "nobody is left")]
fn without_counting_take_overs() {
    check(Some(Fault::skipped("participant/slot.rs", "self.unnoted.fetch_update(")), 3, the_last_take_over);
}

#[test]
#[should_panic(expected = "acted on")]
fn without_a_new_generation() {
    let fault =
        Fault::less("participant/slot.rs", "self.word.store(u64::from(generation(now).wrapping_add(1))");
    check(Some(fault), 3, an_earlier_life);
}

#[test]
#[should_panic(expected = "Concurrent write accesses")]
fn without_looking_from_whom_it_is_taken() {
    check_each_death(Some(Fault::blind("sync/raw.rs", "compare_exchange(now, freed")), 2, a_dying_heir);
}
