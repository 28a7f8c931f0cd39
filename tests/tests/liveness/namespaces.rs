//! PID namespaces, where process ids lie: two processes inside of one, with the outer `/proc` before them or their own, and
//! ids that are used again.

use super::Counter;
use super::victim::create;
use shmem_core::{LockError, Root, Segment};
use shmem_tests::*;
use std::time::Duration;

/// What the first process of a namespace finds out about the second one, which has the mutex.
fn judge_a_holder(segment: &Segment, counter: &Root<Counter>, name: &str) {
    let hold = || {
        let mut holder = Worker::spawn("victim", &[&name, &"Kill", &"Hold", &"none"]);
        holder.expect("ready");
        holder
    };
    let mut seen = Vec::new();
    for _ in 0..40 {
        let mut holder = hold();
        seen.push(holder.pid());
        assert_eq!(segment.recover(), 0, "process {} is alive: {:?}", holder.pid(), segment.participants());
        assert_eq!(counter.try_lock().unwrap_err(), LockError::WouldBlock);
        holder.kill();
        assert_eq!(counter.lock().unwrap_err(), LockError::Poisoned { by_death: true });
        counter.lock_poisoned().unwrap().clear_poison();
    }
    let holder = hold();
    let patience = Duration::from_millis(200);
    assert_eq!(counter.lock_timeout(patience).unwrap_err(), LockError::TimedOut);
    drop(holder);
    assert_eq!(counter.lock().unwrap_err(), LockError::Poisoned { by_death: true });
    counter.lock_poisoned().unwrap().clear_poison();
    report(format_args!("ids {}–{}", seen[0], seen[seen.len() - 1]));
}

/// With the outer `/proc`, where its ids are other processes': the kernel's own threads among them, which have no memory.
pub(crate) fn inner_judge() {
    let name: String = argument(0);
    let (segment, counter) = super::open(&name);
    judge_a_holder(&segment, &counter, &name);
}

/// With a `/proc` of the namespace's own.
pub(crate) fn own_proc_judge() {
    ends::mount_own_proc().unwrap();
    inner_judge();
}

fn in_a_namespace(role: &str) {
    if !is_root() {
        println!("skipped: a new PID namespace needs the superuser");
        return;
    }
    let _watchdog = Watchdog::test(role.to_owned());
    let name = TempName::new("namespace");
    let (segment, counter) = create(&name);
    let mut judge = Worker::spawn_in_pid_namespace(role, &[&name]);
    println!("{role}: {}", judge.hear());
    judge.finish();
    segment.recover();
    assert_eq!(segment.attached_pids(), [std::process::id()]);
    drop(counter.lock().unwrap());
    sound(&segment);
}

#[test]
fn inside_of_a_namespace_with_the_outer_proc() {
    in_a_namespace("inner_judge");
}

#[test]
fn inside_of_a_namespace_with_its_own_proc() {
    in_a_namespace("own_proc_judge");
}
