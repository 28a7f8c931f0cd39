//! Liveness cells: nobody sleeps through the mark that the kernel leaves when a thread ends.

use loom::thread;
use shmem_models::{EVERY, Fault, Taken, Thread, World, check};

/// Locks what the dead held, and leaves it clean.
fn take_over(thread: &Thread) -> Taken {
    thread.pass(0)
}

/// A process is killed while `N` others begin to wait for its lock: the kernel wakes one of them.
fn waiters<const N: usize>(world: &World) {
    let process = world.process();
    let dying = process.thread(0);
    dying.lock(0);
    let threads: [Thread; N] = std::array::from_fn(|index| world.process().thread(index + 1));
    let tasks = threads.map(|other| thread::spawn(move || take_over(&other)));
    dying.change(0);
    process.kill(&[&dying]);
    let found = tasks.map(|task| task.join().unwrap());
    assert_eq!(found.iter().filter(|taken| **taken == Taken::ByDeath).count(), 1, "{found:?}");
    assert!(!world.is_held(0) && world.is_free(0));
}

/// A thread exits and another one takes slot and cell, while somebody waits for that one: its death is noticed all the
/// same.
fn a_cell_is_handed_on(world: &World) {
    let (first, second) = (world.process(), world.process());
    let waiter = world.process().thread(2);
    let thread = first.thread(0);
    let task = thread::spawn(move || {
        thread.exit();
        let dying = second.thread(0);
        dying.lock(0);
        dying.change(0);
        second.kill(&[&dying]);
    });
    take_over(&waiter);
    task.join().unwrap();
    waiter.process().recover_all();
    assert!(!world.is_held(0) && world.is_free(0));
}

/// A thread takes a slot, and its process is killed while somebody waits for the lock that it has just taken.
fn a_new_thread_dies(world: &World) {
    let process = world.process();
    let waiter = world.process().thread(1);
    let task = thread::spawn(move || {
        let dying = process.thread(0);
        dying.lock(0);
        dying.change(0);
        process.kill(&[&dying]);
    });
    take_over(&waiter);
    task.join().unwrap();
    waiter.process().recover_all();
    assert!(!world.is_held(0) && world.is_free(0));
}

#[test]
fn begins_with_the_first_lock() {
    check(None, EVERY, a_new_thread_dies);
}

#[test]
fn wakes_a_waiter() {
    check(None, EVERY, waiters::<1>);
}

#[test]
fn wakes_all_waiters() {
    check(None, 2, waiters::<2>);
}

#[test]
fn is_the_next_one_s() {
    check(None, EVERY, a_cell_is_handed_on);
}

#[test]
#[should_panic(expected = "deadlock")]
fn without_the_kernel_s_wake_up() {
    check(Some(Fault::MarksQuietly), 3, waiters::<1>);
}

#[test]
#[should_panic(expected = "deadlock")]
fn without_acquire_of_the_owner() {
    // Then it looks like nobody, and no cell is slept on.
    let fault = Fault::relaxed("sync/raw.rs", "let now = self.word.load(Ordering::Acquire)");
    check(Some(fault), 3, a_new_thread_dies);
}

#[test]
#[should_panic(expected = "deadlock")]
fn without_the_thread_in_the_cell() {
    check(Some(Fault::skipped("participant/cell.rs", "store(process::thread_id()")), 3, waiters::<1>);
}
