//! Slots: taken by one at a time, empty when they are, and what an owner word of an earlier life says.

use loom::thread;
use shmem_models::{EVERY, Fault, World, check, check_each_death};

/// Two threads of two processes have the same slot, one after the other, or one of them not at all.
fn two_compete(world: &World) {
    let processes = [world.process(), world.process()];
    // What one leaves, noted or not, would be found by the other: `try_thread` looks.
    let tasks = processes.map(|process| {
        thread::spawn(move || {
            process.try_thread(0).map(|thread| {
                thread.pass(0);
                let signature = thread.signature();
                thread.exit();
                signature
            })
        })
    });
    let [one, other] = tasks.map(|task| task.join().unwrap());
    assert!(one.is_some() || other.is_some(), "the slot was free");
    assert!(one != other, "both had the same life of the slot");
    assert!(world.is_free(0) && !world.is_held(0));
}

/// A slot is handed over while a third thread waits for the lock that both its owners take: the one that has it by an
/// owner word of an earlier life cannot be found, the one that has it now is not taken for nobody.
fn a_life_ends_under_a_waiter(world: &World) {
    let processes = [world.process(), world.process()];
    let waiter = world.process().thread(2);
    let first = processes[0].thread(0);
    let [_, second] = processes;
    let task = thread::spawn(move || {
        first.pass(0);
        first.exit();
        let second = second.thread(0);
        second.pass(0);
        second.exit();
    });
    waiter.pass(0);
    task.join().unwrap();
    assert!(world.is_free(0) && !world.is_held(0));
}

/// A process is killed while a thread of it takes a slot, uses it and gives it back; others want the slot. In the end it
/// is free, and nothing is in it.
fn a_dying_thread(world: &World, stores: u32) -> bool {
    let (process, other) = (world.process(), world.process());
    let task = thread::spawn(move || {
        process.killed_as_thread(0, stores, |thread| {
            thread.pass(0);
        })
    });
    if let Some(thread) = other.try_thread(0) {
        if thread.try_lock(0).is_some() {
            thread.change(0);
            thread.unlock(0);
        }
        thread.exit();
    }
    let died = task.join().unwrap();
    other.recover_all();
    let next = other.thread(0);
    next.exit();
    assert!(world.is_free(0) && !world.is_held(0));
    died
}

/// A thread that is exiting locks, beside another one: it has its slot until it has unlocked, and then no more.
fn an_exiting_thread(world: &World) {
    let (process, own) = (world.process(), world.process().thread(1));
    let task = thread::spawn(move || {
        let exiting = process.try_detached(0).expect("the slot is free");
        exiting.lock(0);
        assert!(exiting.has_slot(), "its lock is nobody's");
        exiting.change(0);
        exiting.unlock(0);
    });
    own.pass(0);
    task.join().unwrap();
    assert!(world.is_free(0) && !world.is_held(0));
}

/// As `an_exiting_thread`, killed at it.
fn a_dying_exiting_thread(world: &World, stores: u32) -> bool {
    // Without a cell its death is noticed when somebody looks.
    world.let_timers_fire();
    let (process, own) = (world.process(), world.process().thread(1));
    let task = thread::spawn(move || {
        process.live_for(stores, &[], || {
            let exiting = process.try_detached(0).expect("the slot is free");
            exiting.pass(0);
        })
    });
    own.pass(0);
    let died = task.join().unwrap();
    own.process().recover_all();
    own.pass(0);
    assert!(world.is_free(0) && !world.is_held(0));
    died
}

#[test]
fn is_kept_until_the_last_lock_is_released() {
    check(None, EVERY, an_exiting_thread);
    check_each_death(None, 2, a_dying_exiting_thread);
}

#[test]
fn has_one_owner() {
    check(None, EVERY, two_compete);
}

#[test]
fn names_the_living() {
    check(None, 3, a_life_ends_under_a_waiter);
}

#[test]
fn survives_its_owner() {
    check_each_death(None, 2, a_dying_thread);
}

#[test]
#[should_panic(expected = "the same life")]
fn without_release() {
    let fault =
        Fault::relaxed("participant/slot.rs", "self.word.store(u64::from(generation(now).wrapping_add(1))");
    check(Some(fault), 3, two_compete);
}

#[test]
#[should_panic(expected = "the same life")]
fn without_acquire() {
    let fault = Fault::relaxed("participant/slot.rs", "self.word.compare_exchange(free, taken");
    check(Some(fault), 3, two_compete);
}

#[test]
#[should_panic(expected = "left something")]
fn without_emptying() {
    let fault = Fault::skipped("participant/slot.rs", "            word.store(0, Ordering::Relaxed);");
    check_each_death(Some(fault), 2, a_dying_thread);
}

#[test]
#[should_panic(expected = "is_free")]
fn without_the_end_of_a_life() {
    let fault =
        Fault::skipped("participant/slot.rs", "self.word.store(u64::from(generation(now).wrapping_add(1))");
    check(Some(fault), 3, two_compete);
}

#[test]
#[should_panic(expected = "is_free")]
fn without_noting_that_its_thread_exits() {
    check(Some(Fault::skipped("participant/slot.rs", "self.notes[0].store(DETACHED")), 3, an_exiting_thread);
}

#[test]
#[should_panic(expected = "exceeded")]
fn without_noting_what_an_exiting_thread_holds() {
    let fault = Fault::skipped("participant/slot.rs", "slot.notes.get(free)?.store(");
    check_each_death(Some(fault), 2, a_dying_exiting_thread);
}
