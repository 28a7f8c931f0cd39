//! The operations of the library that are killed at every instruction, and what their checks share.

pub mod containers;
pub mod handles;
pub mod heap;
pub mod locks;
pub mod memory;
pub mod names;
pub mod recovery;
pub mod segments;
pub mod waiting;

use super::{BOUND, Operation, SMALL, Scene};
use shmem_core::{LockError, Root, Segment, ShmMutex, ShmSafe, ShmString};

/// Every operation.
pub fn all() -> Vec<Operation> {
    [
        locks::ALL,
        waiting::ALL,
        names::ALL,
        handles::ALL,
        segments::ALL,
        recovery::ALL,
        containers::ALL,
        memory::ALL,
        heap::ALL,
        heap::LONG_ONES,
    ]
    .concat()
}

/// What an operation has before, unless it says otherwise.
const PLAIN: Operation = Operation {
    name: "",
    bytes: SMALL,
    build: Some(|_| ()),
    victim: None,
    child: |_| (),
    arrange: |_| Box::new(|_| super::Effect::Unseen),
};

/// What is locked.
type Counter = ShmMutex<u64>;

/// What the counter holds before.
const BEFORE: u64 = 7;
/// What it holds once the operation has changed it.
const CHANGED: u64 = 8;

const BY_DEATH: LockError = LockError::Poisoned { by_death: true };

/// A counter, and a lock to take before, so that the thread has its slot.
fn two_locks(segment: &Segment) {
    for name in ["counter", "other"] {
        segment.construct::<Counter>(name, ShmMutex::new(BEFORE)).expect("a counter");
    }
}

/// In the child: the counter, and a slot for this thread.
#[track_caller]
fn counter(segment: &Segment) -> Root<Counter> {
    let other = segment.find::<Counter>("other").expect("it works").expect("it was constructed");
    drop(other.lock().expect("it is free"));
    found(segment, "counter")
}

#[track_caller]
fn found<T: ShmSafe + Sync>(segment: &Segment, name: &str) -> Root<T> {
    segment.find::<T>(name).expect("it works").expect("it was constructed")
}

/// Checks that a lock can be had in time, by whom it is told that it is poisoned if it is; gives the value, and whether
/// it was. It is not any more.
#[track_caller]
fn usable(counter: &Counter) -> (u64, bool) {
    let poisoned = match counter.lock_timeout(BOUND) {
        Ok(guard) => return (*guard, false),
        Err(error) => error,
    };
    assert_eq!(poisoned, BY_DEATH);
    assert_eq!(counter.try_lock().map(|_| ()), Err(BY_DEATH), "until somebody repairs it");
    let mut guard = counter.lock_poisoned().expect("any bytes are a value");
    let value = *guard;
    guard.clear_poison();
    drop(guard);
    drop(counter.lock_timeout(BOUND).expect("it was repaired"));
    (value, true)
}

/// What is constructed.
#[derive(Debug, ShmSafe)]
#[repr(C)]
struct Pair {
    number: u64,
    text: ShmString,
}

const TEXT: &str = "a text that is too long to stand inline in its string";

fn pair() -> impl shmem_core::Init<Pair> {
    PairInit { number: BEFORE, text: TEXT }
}

#[track_caller]
fn is_whole(pair: &Pair) {
    assert_eq!((pair.number, &*pair.text), (BEFORE, TEXT));
}

/// Checks that the object can be destroyed and constructed again.
#[track_caller]
fn begins_anew(segment: &Segment, name: &str) {
    let there = segment.destroy::<Pair>(name).expect("it works");
    let again = segment.construct::<Pair>(name, pair()).expect("the name is free");
    is_whole(&again);
    drop(again);
    assert!(segment.destroy::<Pair>(name).expect("it works"), "{there}");
}

/// In the child of a stepped thread: waits to be killed.
fn wait_for_the_end() -> ! {
    loop {
        std::thread::park();
    }
}

impl Scene {
    /// The counter, in the tester.
    #[track_caller]
    fn counter(&self) -> Root<Counter> {
        found(self.segment(), "counter")
    }
}
