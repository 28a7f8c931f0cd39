//! Locking and unlocking, with nobody else about.

use super::super::{Effect, Operation, Scene, begin, region};
use super::{BEFORE, BY_DEATH, CHANGED, Counter, PLAIN, counter, found, two_locks, usable, wait_for_the_end};
use std::mem::forget;

/// All of them.
pub const ALL: &[Operation] = &[
    Operation { name: "lock", child: lock, arrange: arrange_lock, ..LOCKS },
    Operation { name: "lock-first", child: lock_first, arrange: arrange_lock, ..LOCKS },
    Operation {
        name: "lock-of-dead",
        victim: Some(die_with_lock),
        child: lock_of_dead,
        arrange: arrange_dead,
        ..LOCKS
    },
    Operation {
        name: "repair",
        victim: Some(die_with_lock),
        child: repair,
        arrange: arrange_repair,
        ..LOCKS
    },
    Operation { name: "unlock", child: unlock, arrange: arrange_unlock, ..LOCKS },
    Operation { name: "thread-exit", child: thread_exit, arrange: arrange_thread_exit, ..LOCKS },
    Operation { name: "thread-exit-holding", child: exit_holding, arrange: arrange_exit_holding, ..LOCKS },
];

const LOCKS: Operation = Operation { build: Some(two_locks), ..PLAIN };

/// A process that dies with the lock held.
pub(super) fn die_with_lock(scene: &Scene) {
    forget(counter(&scene.open()).lock().expect("it is free"));
}

fn lock(scene: &Scene) {
    let segment = scene.open();
    let counter = counter(&segment);
    region(|| forget(counter.lock()))
}

/// The thread's first lock in the segment: it takes a slot.
fn lock_first(scene: &Scene) {
    let segment = scene.open();
    let counter = found::<Counter>(&segment, "counter");
    region(|| forget(counter.lock()))
}

fn arrange_lock(scene: &Scene) -> super::super::Check {
    let counter = scene.counter();
    Box::new(move |_| {
        let (value, locked) = usable(&counter);
        assert_eq!(value, BEFORE);
        if locked { Effect::Whole } else { Effect::Nothing }
    })
}

fn lock_of_dead(scene: &Scene) {
    let segment = scene.open();
    let counter = counter(&segment);
    region(|| forget(counter.lock()))
}

/// Whoever was told that a lock is poisoned has not repaired it.
fn arrange_dead(scene: &Scene) -> super::super::Check {
    let counter = scene.counter();
    Box::new(move |_| {
        assert_eq!(usable(&counter), (BEFORE, true));
        Effect::Unseen
    })
}

fn repair(scene: &Scene) {
    let segment = scene.open();
    let counter = counter(&segment);
    assert_eq!(counter.lock().map(forget), Err(BY_DEATH));
    region(|| {
        let Ok(mut guard) = counter.lock_poisoned() else { return };
        *guard = CHANGED;
        guard.clear_poison();
    })
}

fn arrange_repair(scene: &Scene) -> super::super::Check {
    let counter = scene.counter();
    Box::new(move |_| match usable(&counter) {
        (value, true) => {
            assert!([BEFORE, CHANGED].contains(&value));
            Effect::Nothing
        }
        (value, false) => {
            assert_eq!(value, CHANGED);
            Effect::Whole
        }
    })
}

fn unlock(scene: &Scene) {
    let segment = scene.open();
    let counter = counter(&segment);
    let mut guard = counter.lock().expect("it is free");
    *guard = CHANGED;
    region(|| drop(guard))
}

fn arrange_unlock(scene: &Scene) -> super::super::Check {
    let counter = scene.counter();
    Box::new(move |_| {
        let (value, held) = usable(&counter);
        assert_eq!(value, CHANGED);
        if held { Effect::Nothing } else { Effect::Whole }
    })
}

/// A thread that has a slot ends.
fn thread_exit(scene: &Scene) {
    let segment = scene.open();
    std::thread::spawn(move || {
        drop(counter(&segment));
        begin();
    });
    wait_for_the_end()
}

fn arrange_thread_exit(scene: &Scene) -> super::super::Check {
    let counter = scene.counter();
    Box::new(move |_| {
        assert_eq!(usable(&counter), (BEFORE, false));
        Effect::Unseen
    })
}

/// A thread ends that has leaked a guard: until the process is dead, it holds the lock.
fn exit_holding(scene: &Scene) {
    let segment = scene.open();
    std::thread::spawn(move || {
        forget(counter(&segment).lock());
        begin();
    });
    wait_for_the_end()
}

fn arrange_exit_holding(scene: &Scene) -> super::super::Check {
    let counter = scene.counter();
    Box::new(move |_| {
        assert_eq!(usable(&counter), (BEFORE, true));
        Effect::Unseen
    })
}
