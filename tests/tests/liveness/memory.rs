//! Who has a process's memory without being a thread of it, and who has its descriptors without its memory: what a process
//! that was made by `clone` shares, and the children of forks where mappings do not keep a lock (overlayfs).
//!
//! Not tried here, because it takes a disk that can be made slow: of a killed process that had asked for a direct read
//! into the segment, `/proc` shows no memory while the kernel still writes. After `io_submit` the byte is not free before
//! the last of it is written; a read by `io_uring` is waited for by nobody.

use super::Counter;
use super::victim::create;
use shmem_core::{LockError, Segment, ShmMutex};
use shmem_tests::*;
use std::io::Write;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// How long somebody who is to wait is watched.
const WATCHED: Duration = Duration::from_millis(300);
const BY_DEATH: LockError = LockError::Poisoned { by_death: true };

/// Has the lock, and a process beside it that shares its memory.
pub(crate) fn sharer() {
    let (_segment, counter) = super::open(&argument::<String>(0));
    let _guard = counter.lock().unwrap();
    report(ends::share_memory());
    ends::sleep_for_ever();
}

#[test]
fn who_shares_its_memory_keeps_a_process_alive() {
    let _watchdog = Watchdog::test("shared memory");
    let name = TempName::new("sharer");
    let (segment, counter) = create(&name);
    let mut worker = Worker::spawn("sharer", &[&name]);
    let sibling = ends::Orphan(worker.hear().parse().expect("a process id"));
    // Reaped: nothing is left of it in `/proc`.
    worker.kill();
    assert_eq!(counter.lock_timeout(WATCHED).unwrap_err(), LockError::TimedOut, "it may write still");
    assert_eq!(segment.recover(), 0);
    drop(sibling);
    assert_eq!(counter.lock().unwrap_err(), BY_DEATH);
    counter.lock_poisoned().unwrap().clear_poison();
    segment.recover();
    assert_eq!(segment.attached_pids(), [std::process::id()]);
    sound(&segment);
}

/// Has children of forks hold a lock in a segment on an overlayfs of its own.
pub(crate) fn on_overlayfs() {
    let mounted = match ends::mount_overlay(Path::new(&argument::<String>(0))) {
        Ok(mounted) => mounted,
        Err(e) => return report(format_args!("skipped: no overlayfs can be mounted: {e}")),
    };
    let segment = Segment::file(mounted.join("segment")).size(1 << 20).create().unwrap();
    let counter = segment.construct::<Counter>("counter", ShmMutex::new(0)).unwrap();
    let go_on = segment.construct::<AtomicBool>("go on", AtomicBool::new(false)).unwrap();
    *counter.lock().unwrap() += 1;
    let hold = |out: &mut std::fs::File| {
        let mut guard = counter.lock().unwrap();
        writeln!(out, "holding").unwrap();
        eventually("the parent has looked", || go_on.load(Ordering::Relaxed));
        *guard += 1;
        drop(guard);
        writeln!(out, "done").unwrap();
        ends::sleep_for_ever();
    };
    // SAFETY: this process has one thread that matters: the others never touch a segment.
    let mut child = unsafe { fork(hold) }.unwrap();
    assert_eq!(child.report(), "holding");
    assert_eq!(counter.try_lock().unwrap_err(), LockError::WouldBlock);
    assert_eq!(counter.lock_timeout(WATCHED).unwrap_err(), LockError::TimedOut);
    assert_eq!(segment.recover(), 0, "{:?}", segment.participants());
    go_on.store(true, Ordering::Relaxed);
    assert_eq!(child.report(), "done");
    assert_eq!(*counter.lock().unwrap(), 2);
    // It is told from the dead.
    go_on.store(false, Ordering::Relaxed);
    child.kill();
    // SAFETY: as above.
    let mut child = unsafe { fork(hold) }.unwrap();
    assert_eq!(child.report(), "holding");
    child.kill();
    assert_eq!(counter.lock().unwrap_err(), BY_DEATH);
    counter.lock_poisoned().unwrap().clear_poison();
    segment.recover();
    assert_eq!(segment.attached_pids(), [std::process::id()]);
    sound(&segment);
    report("done");
}

fn overlayfs(spawn: impl FnOnce(&str, &[&dyn std::fmt::Display]) -> Worker) {
    if !is_root() {
        println!("skipped: to mount needs the superuser");
        return;
    }
    let _watchdog = Watchdog::test("overlayfs");
    let dir = TempDir::new("overlay");
    let mut worker = spawn("on_overlayfs", &[&dir.path().display()]);
    let outcome = worker.hear();
    worker.finish();
    // The mounts were the worker's alone.
    assert!(std::fs::read_dir(dir.path()).unwrap().next().is_none());
    match outcome.starts_with("skipped") {
        true => println!("{outcome}"),
        false => assert_eq!(outcome, "done"),
    }
}

#[test]
fn the_child_of_a_fork_lives_on_overlayfs() {
    overlayfs(Worker::spawn);
}

/// Where only the byte tells: the outer `/proc` has other processes by these ids, the kernel's own threads among them.
#[test]
fn the_child_of_a_fork_lives_on_overlayfs_in_a_namespace() {
    overlayfs(Worker::spawn_in_pid_namespace);
}
