//! The lock word: mutual exclusion, sleeping and waking, the order of what is protected, take-over from the dead.

use loom::thread;
use shmem_models::{EVERY, Fault, Taken, Thread, World, check, check_each_death};

/// Two threads of two processes, each of which locks twice.
fn two_threads(world: &World) {
    let one = world.process().thread(0);
    let other = world.process().thread(1);
    let task = thread::spawn(move || {
        one.pass(0);
        one.pass(0);
    });
    other.pass(0);
    other.pass(0);
    task.join().unwrap();
    assert!(!world.is_held(0) && !world.is_poisoned(0));
}

/// Three threads: while one sleeps, others do too.
fn three_threads(world: &World) {
    let threads = [1, 2].map(|index| world.process().thread(index));
    let own = world.process().thread(0);
    own.lock(0);
    let tasks = threads.map(|other| thread::spawn(move || other.pass(0)));
    own.change(0);
    own.unlock(0);
    for task in tasks {
        assert_eq!(task.join().unwrap(), Taken::Clean);
    }
    assert!(!world.is_held(0));
}

/// A thread locks with a slot that it has just taken, while another one waits and looks whose the lock is.
fn a_new_thread(world: &World) {
    let (process, own) = (world.process(), world.process().thread(1));
    let task = thread::spawn(move || process.thread(0).pass(0));
    own.pass(0);
    task.join().unwrap();
    assert!(!world.is_held(0));
}

/// A thread is killed while it locks or unlocks; two others want the lock.
fn a_dying_owner(world: &World, stores: u32) -> bool {
    let process = world.process();
    let dying = process.thread(0);
    let others = [1, 2].map(|index| world.process().thread(index));
    let [one, other] = others;
    let task = thread::spawn(move || {
        process.live_for(stores, &[&dying], || {
            // Not as one who waits: see `a_dying_waiter`.
            if dying.try_lock(0).is_some() {
                dying.change(0);
                dying.unlock(0);
            }
        })
    });
    let waiter = thread::spawn(move || one.pass(0));
    let found = [other.pass(0), waiter.join().unwrap()];
    assert!(!found.contains(&Taken::ByPanic));
    assert_ne!(found, [Taken::ByDeath; 2], "told of it once, if it is cleared");
    let died = task.join().unwrap();
    other.process().recover_all();
    assert!(!world.is_held(0));
    died
}

/// A thread that waits is killed, perhaps when it has been woken and has not woken the next one yet. So nobody sleeps for
/// ever.
fn a_dying_waiter(world: &World, stores: u32) -> bool {
    world.let_timers_fire();
    let process = world.process();
    let dying = process.thread(0);
    let [one, other] = [1, 2].map(|index| world.process().thread(index));
    one.lock(0);
    let task = thread::spawn(move || {
        process.live_for(stores, &[&dying], || {
            dying.pass(0);
        })
    });
    let waiter = thread::spawn(move || other.pass(0));
    one.change(0);
    one.unlock(0);
    waiter.join().unwrap();
    let died = task.join().unwrap();
    one.process().recover_all();
    assert!(!world.is_held(0));
    died
}

/// An owner that was told of a panic is killed; who comes next is told of a death.
fn told_of_a_death(world: &World) {
    let process = world.process();
    let dying = process.thread(0);
    let [one, other] = [1, 2].map(|index| world.process().thread(index));
    dying.lock(0);
    dying.unlock_panicking(0);
    assert_eq!(dying.lock(0), Taken::ByPanic);
    dying.change(0);
    process.kill(&[&dying]);
    let lock = |thread: &Thread| {
        let taken = thread.lock(0);
        thread.change(0);
        // Clean: the other one is told of nothing.
        thread.unlock(0);
        taken
    };
    let waiter = thread::spawn(move || lock(&one));
    let found = [lock(&other), waiter.join().unwrap()];
    assert!(found == [Taken::ByDeath, Taken::Clean] || found == [Taken::Clean, Taken::ByDeath], "{found:?}");
}

#[test]
fn excludes() {
    check(None, 4, two_threads);
}

#[test]
fn wakes() {
    check(None, 3, three_threads);
}

#[test]
fn a_slot_just_taken_is_not_a_dead_one() {
    check(None, EVERY, a_new_thread);
}

#[test]
fn stays_with_a_living_owner_that_looks_like_nobody() {
    // As if the owner were found in an older state of its slot.
    let fault = Fault::relaxed("sync/raw.rs", "let now = self.word.load(Ordering::Acquire)");
    check(Some(fault), EVERY, a_new_thread);
}

#[test]
fn is_taken_over() {
    check_each_death(None, 2, a_dying_owner);
}

#[test]
fn outlives_those_who_wait() {
    check_each_death(None, 1, a_dying_waiter);
}

#[test]
fn says_by_what_it_was_poisoned() {
    check(None, 2, told_of_a_death);
}

#[test]
#[should_panic(expected = "Causality violation")]
fn without_release_in_unlock() {
    check(Some(Fault::relaxed("sync/raw.rs", "self.word.swap(free")), 3, two_threads);
}

#[test]
#[should_panic(expected = "Causality violation")]
fn without_acquire_in_lock() {
    check(Some(Fault::relaxed("sync/raw.rs", "compare_exchange(free, taken")), 3, two_threads);
}

#[test]
#[should_panic(expected = "deadlock")]
fn without_a_wake_up() {
    check(Some(Fault::skipped("sync/raw.rs", "futex::wake(&self.word, 1)")), 3, three_threads);
}

#[test]
#[should_panic(expected = "ByPanic")]
fn without_order_in_a_take_over() {
    check(Some(Fault::relaxed("sync/raw.rs", "compare_exchange(now, freed")), 2, told_of_a_death);
}

#[test]
#[should_panic(expected = "ByPanic")]
fn without_the_cause_of_a_take_over() {
    check(Some(Fault::skipped("sync/raw.rs", "self.cause.store(BY_DEATH")), 2, told_of_a_death);
}

#[test]
#[should_panic(expected = "deadlock")]
fn without_the_note_of_a_lock() {
    check_each_death(
        Some(Fault::skipped("participant/slot.rs", "slot.notes.get(free)?.store(")),
        2,
        a_dying_owner,
    );
}

#[test]
#[should_panic(expected = "Concurrent write accesses")]
fn without_an_owner_word() {
    check(Some(Fault::skipped("participant/slot.rs", "self.owner.store(")), 3, a_new_thread);
}
