//! Locks that somebody waits for.

use super::super::{BOUND, Check, Effect, Operation, Scene, region};
use super::{BEFORE, BY_DEATH, CHANGED, Counter, PLAIN, counter, two_locks, usable};
use crate::eventually;
use shmem_core::{LockError, Root};
use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

/// All of them.
pub const ALL: &[Operation] = &[
    Operation { name: "unlock-for-waiter", child: unlock, arrange: arrange_unlock, ..LOCKS },
    Operation { name: "wait", child: wait, arrange: arrange_wait, ..LOCKS },
];

const LOCKS: Operation = Operation { build: Some(two_locks), ..PLAIN };

fn unlock(scene: &Scene) {
    let segment = scene.open();
    let counter = counter(&segment);
    let mut guard = counter.lock().expect("it is free");
    *guard = CHANGED;
    region(|| drop(guard))
}

/// The one who sleeps gets the lock, or is told of the death.
fn arrange_unlock(scene: &Scene) -> Check {
    let counter = scene.counter();
    let waiter = waiter(counter.clone());
    Box::new(move |_| {
        let effect = match waiter.join().expect("it does not panic") {
            Ok(value) => {
                assert_eq!(value, CHANGED);
                Effect::Whole
            }
            Err(error) => {
                assert_eq!(error, BY_DEATH, "what the waiter is told");
                Effect::Nothing
            }
        };
        assert_eq!(usable(&counter), (CHANGED, effect == Effect::Nothing));
        effect
    })
}

/// A thread that sleeps until it gets the lock, and reads the value.
fn waiter(counter: Root<Counter>) -> JoinHandle<Result<u64, LockError>> {
    let (tell, told) = channel();
    let waiter = std::thread::spawn(move || {
        // SAFETY: no preconditions.
        let _ = tell.send(unsafe { libc::gettid() });
        counter.lock_timeout(BOUND).map(|guard| *guard)
    });
    let thread = told.recv().expect("it does not panic");
    eventually("the waiter sleeps", || is_asleep(thread));
    waiter
}

/// Whether a thread of this process sleeps in a system call.
fn is_asleep(thread: libc::pid_t) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/self/task/{thread}/stat")).unwrap_or_default();
    // After the name, which is in parentheses.
    stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with('S'))
}

/// Gives up after a while.
fn wait(scene: &Scene) {
    let segment = scene.open();
    let counter = counter(&segment);
    region(|| counter.lock_timeout(Duration::from_millis(1)).map(std::mem::forget))
}

/// A waiter that dies leaves nothing.
fn arrange_wait(scene: &Scene) -> Check {
    let counter = scene.counter();
    let (holder, let_go) = holder(counter.clone());
    Box::new(move |_| {
        assert_eq!(counter.try_lock().map(|_| ()), Err(LockError::WouldBlock));
        let waiter = waiter(counter.clone());
        let_go.send(()).expect("it holds the lock");
        holder.join().expect("it does not panic");
        assert_eq!(waiter.join().expect("it does not panic"), Ok(BEFORE));
        assert_eq!(usable(&counter), (BEFORE, false));
        Effect::Unseen
    })
}

/// A thread that holds the lock until it is told to let go.
fn holder(counter: Root<Counter>) -> (JoinHandle<()>, Sender<()>) {
    let (tell, told) = channel();
    let (let_go, wait) = channel();
    let holder = std::thread::spawn(move || {
        let guard = counter.lock().expect("it is free");
        let _ = tell.send(());
        let _ = wait.recv();
        drop(guard);
    });
    told.recv().expect("it does not panic");
    (holder, let_go)
}
