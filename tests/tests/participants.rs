//! Who takes part: what `Segment::participants` tells of real processes, and what happens when slots or records run out.

use shmem_core::{Error, LockError, Participant, ParticipantState, Root, Segment, ShmMutex, ShmVec};
use shmem_tests::*;
use std::cell::Cell;
use std::io::Write;
use std::sync::{Barrier, OnceLock};

roles! { holder, waiter, orphaner, hoarder, hoarder_of_one, dying_hoarders, crowd }

type Counter = ShmMutex<u64>;

const BY_DEATH: LockError = LockError::Poisoned { by_death: true };
/// How many locks a thread notes by place.
const NOTED: usize = 11;
/// Threads, and processes, of a segment that may grow to 4 MiB, and of a smaller one.
const LARGE: (usize, usize) = (256, 256);
const SMALL: (usize, usize) = (56, 48);

fn counter(segment: &Segment, name: &str) -> Root<Counter> {
    segment.find_or_construct::<Counter>(name, ShmMutex::new(0)).unwrap()
}

fn in_role() -> Segment {
    Segment::shared(&argument::<String>(0)).open().unwrap()
}

/// What is told of a process.
fn of(segment: &Segment, pid: u32) -> Participant {
    let all = segment.participants();
    let found = all.iter().find(|p| p.pid == pid);
    found.unwrap_or_else(|| panic!("process {pid} is not among {all:?}")).clone()
}

fn holder() {
    let segment = in_role();
    let (first, second) = (counter(&segment, "first"), counter(&segment, "second"));
    let _guards = (first.lock().unwrap(), second.lock().unwrap());
    report(ends::thread_id());
    hear();
}

fn waiter() {
    let segment = in_role();
    let (third, second) = (counter(&segment, "third"), counter(&segment, "second"));
    let _third = third.lock().unwrap();
    report(ends::thread_id());
    assert_eq!(second.lock().unwrap_err(), BY_DEATH);
    report("told");
    hear();
}

#[test]
fn who_holds_and_waits_for_what() {
    let _watchdog = Watchdog::test("who holds what");
    let name = TempName::new("holds");
    let segment = name.segment().size(1 << 20).create().unwrap();
    let first = counter(&segment, "first");
    let mut holder = Worker::spawn("holder", &[&name]);
    let holding: u32 = holder.hear().parse().unwrap();
    let mut waiter = Worker::spawn("waiter", &[&name]);
    let waiting: u32 = waiter.hear().parse().unwrap();
    eventually("it waits", || of(&segment, waiter.pid()).threads.iter().any(|t| t.waits_for.is_some()));

    let h = of(&segment, holder.pid());
    assert!(h.state == ParticipantState::Alive && !h.is_self);
    let [thread] = &h.threads[..] else { panic!("{h:?}") };
    assert_eq!((thread.thread_id, thread.is_orphaned, thread.holds_more), (holding, false, 0));
    let names: Vec<_> = thread.holds.iter().map(|lock| lock.object.as_deref()).collect();
    assert_eq!(names, [Some("first"), Some("second")]);
    assert!(thread.waits_for.is_none());
    let w = of(&segment, waiter.pid());
    let [thread] = &w.threads[..] else { panic!("{w:?}") };
    assert_eq!(thread.holds.iter().map(|lock| lock.object.as_deref()).collect::<Vec<_>>(), [Some("third")]);
    let wanted = thread.waits_for.as_ref().unwrap();
    assert_eq!(*wanted, h.threads[0].holds[1], "what one has is what the other one wants");

    // The text, word for word.
    let at = |lock: &shmem_core::ParticipantLock| format!("{:#x}", lock.offset);
    let [a, b] = &h.threads[0].holds[..] else { panic!() };
    assert_eq!(
        h.to_string(),
        format!(
            "process {} (record {}): alive\n  thread {holding} holds first ({}), second ({})",
            h.pid,
            h.record,
            at(a),
            at(b)
        )
    );
    let c = &w.threads[0].holds[0];
    assert_eq!(
        w.to_string(),
        format!(
            "process {} (record {}): alive\n  thread {waiting} holds third ({}); waits for second ({})",
            w.pid,
            w.record,
            at(c),
            at(b)
        )
    );
    let own = of(&segment, std::process::id());
    let head = format!("process {} (record {}): alive, this one", own.pid, own.record);
    assert!(own.is_self && own.to_string().lines().next() == Some(&head), "{own}");

    // Dead, and not recovered: the waiter was not woken, since it is stopped.
    waiter.signal(libc::SIGSTOP);
    eventually("the waiter is stopped", || ends::is_stopped(waiter.pid()));
    holder.kill();
    let dead = of(&segment, holder.pid());
    assert_eq!(dead.state, ParticipantState::Dead);
    assert_eq!(dead.threads, h.threads, "it still has what it had");
    assert!(dead.to_string().starts_with(&format!("process {} (record {}): dead\n", h.pid, h.record)));
    assert_eq!(of(&segment, waiter.pid()).state, ParticipantState::Alive, "a stopped process is alive");
    waiter.signal(libc::SIGCONT);
    waiter.expect("told");
    assert!(segment.participants().iter().all(|p| p.pid != h.pid), "it is recovered");
    assert!(of(&segment, waiter.pid()).threads.iter().all(|t| t.waits_for.is_none()));
    assert_eq!(first.lock().unwrap_err(), BY_DEATH);
    waiter.finish();
    assert_eq!(segment.attached_pids(), [std::process::id()]);
    sound(&segment);
}

/// A thread of it exits with a lock held.
fn orphaner() {
    let segment = in_role();
    let (first, second) = (counter(&segment, "first"), counter(&segment, "second"));
    let thread = std::thread::scope(|scope| {
        let leaving = scope.spawn(|| {
            std::mem::forget(first.lock().unwrap());
            ends::thread_id()
        });
        leaving.join().unwrap()
    });
    let _second = second.lock().unwrap();
    report(thread);
    hear();
}

#[test]
fn a_thread_that_left_a_lock_held() {
    let _watchdog = Watchdog::test("orphaned");
    let name = TempName::new("orphaned");
    let segment = name.segment().size(1 << 20).create().unwrap();
    let first = counter(&segment, "first");
    let mut worker = Worker::spawn("orphaner", &[&name]);
    let left: u32 = worker.hear().parse().unwrap();
    let process = of(&segment, worker.pid());
    let [other, orphaned] = &process.threads[..] else { panic!("{process:?}") };
    assert!(orphaned.is_orphaned && orphaned.thread_id == left);
    assert_eq!(orphaned.holds[0].object.as_deref(), Some("first"));
    assert!(!other.is_orphaned);
    assert_eq!(other.holds[0].object.as_deref(), Some("second"));
    let text = process.to_string();
    assert!(text.contains(&format!("\n  thread {left} (has exited) holds first (0x")), "{text}");
    assert_eq!(process.state, ParticipantState::Alive);
    assert_eq!(first.try_lock().unwrap_err(), LockError::WouldBlock);
    worker.kill();
    assert_eq!(of(&segment, worker.pid()).state, ParticipantState::Dead);
    assert_eq!(first.lock().unwrap_err(), BY_DEATH);
    assert_eq!(segment.attached_pids(), [std::process::id()]);
    sound(&segment);
}

/// Holds more locks than a thread can note.
fn hoarder() {
    let segment = in_role();
    let all = segment.find_slice::<Counter>("all").unwrap().unwrap();
    let _guards: Vec<_> = all.iter().map(|counter| counter.lock().unwrap()).collect();
    report("holding");
    hear();
}

fn hoarder_of_one() {
    let segment = in_role();
    let counter = counter(&segment, "counter");
    let _guard = counter.lock().unwrap();
    report("holding");
    hear();
}

#[test]
fn a_thread_that_holds_many_locks() {
    let _watchdog = Watchdog::test("many locks");
    let name = TempName::new("hoarder");
    let segment = name.segment().size(1 << 20).create().unwrap();
    let all = segment.construct_slice::<Counter, _>("all", NOTED + 9, |_| ShmMutex::new(0)).unwrap();
    for round in 0..5 {
        let mut worker = Worker::spawn("hoarder", &[&name]);
        worker.expect("holding");
        let process = of(&segment, worker.pid());
        let thread = &process.threads[0];
        assert_eq!((thread.holds.len(), thread.holds_more), (NOTED, 9));
        assert!(thread.holds.iter().all(|lock| lock.object.as_deref() == Some("all")));
        assert!(process.to_string().ends_with(", 9 more"), "{process}");
        for counter in all.iter() {
            assert_eq!(counter.try_lock().unwrap_err(), LockError::WouldBlock);
        }
        worker.kill();
        if round % 2 == 0 {
            assert_eq!(segment.recover(), 1);
        }
        for (i, counter) in all.iter().enumerate().rev() {
            assert_eq!(counter.lock().unwrap_err(), BY_DEATH, "lock {i}");
            counter.lock_poisoned().unwrap().clear_poison();
            *counter.lock().unwrap() += 1;
        }
        segment.recover();
        assert_eq!(segment.attached_pids(), [std::process::id()]);
    }
    sound(&segment);
}

/// Forks children that die holding more locks than they can note, far more of them than there are slots; takes over what
/// each has left, which gives its slot back.
fn dying_hoarders() {
    let segment = in_role();
    let all = segment.find_slice::<Counter>("all").unwrap().unwrap();
    for n in 0..200 {
        let child = |out: &mut std::fs::File| {
            for (i, counter) in all.iter().enumerate() {
                match counter.lock() {
                    Ok(guard) => std::mem::forget(guard),
                    Err(e) => return writeln!(out, "lock {i} in child {n}: {e}").unwrap(),
                }
            }
            writeln!(out, "holding").unwrap();
            ends::exit_at_once();
        };
        // SAFETY: this process has one thread that matters: the others never touch a segment.
        let mut child = unsafe { fork(child) }.unwrap();
        assert_eq!(child.report(), "holding");
        child.kill();
        for (i, counter) in all.iter().enumerate() {
            assert_eq!(counter.lock().unwrap_err(), BY_DEATH, "lock {i} of child {n}");
            counter.lock_poisoned().unwrap().clear_poison();
        }
    }
    report("done");
}

#[test]
fn a_slot_is_given_back_with_the_last_lock_that_its_dead_thread_could_not_note() {
    let _watchdog = Watchdog::test("dying hoarders");
    let name = TempName::new("hoarders");
    let segment = name.segment().size(1 << 20).create().unwrap();
    let all = segment.construct_slice::<Counter, _>("all", NOTED + 2, |_| ShmMutex::new(0)).unwrap();
    let mut worker = Worker::spawn("dying_hoarders", &[&name]);
    worker.expect("done");
    worker.finish();
    assert!(all.iter().all(|counter| *counter.lock().unwrap() == 0));
    segment.recover();
    assert_eq!(segment.attached_pids(), [std::process::id()]);
    sound(&segment);
}

/// The lock that [`Late`] takes, or has taken.
static LATE: OnceLock<Root<Counter>> = OnceLock::new();

/// What a thread does when its thread-local variables are destroyed: after the library's own, for those are destroyed in the
/// reverse order in which they were first used.
#[derive(Clone, Copy)]
enum AtExit {
    Nothing,
    /// It locks then.
    Locks,
    /// It unlocks then what it locked before.
    Unlocks,
    /// It unlocks so, and locks once more.
    UnlocksAndLocks,
}

struct Late(Cell<AtExit>, Cell<Option<shmem_core::MutexGuard<'static, u64>>>);

impl Drop for Late {
    fn drop(&mut self) {
        drop(self.1.take());
        if let AtExit::Locks | AtExit::UnlocksAndLocks = self.0.get() {
            // If it cannot, the count says so: a panic in here would end all tests.
            let _ = LATE.get().unwrap().lock().map(|mut guard| *guard += 1);
        }
    }
}

thread_local! {
    static AT_EXIT: Late = const { Late(Cell::new(AtExit::Nothing), Cell::new(None)) };
}

#[test]
fn threads_that_lock_and_unlock_while_they_exit_keep_no_slot() {
    let _watchdog = Watchdog::test("late destructors");
    let segment = Segment::anonymous().size(1 << 20).create().unwrap();
    let late = LATE.get_or_init(|| counter(&segment, "counter"));
    let mut locked = 0;
    for at_exit in [AtExit::Locks, AtExit::Unlocks, AtExit::UnlocksAndLocks] {
        for i in 0..2 * SMALL.0 {
            let thread = std::thread::spawn(move || {
                AT_EXIT.with(|late| late.0.set(at_exit));
                let mut guard = late.lock().map_err(|e| format!("thread {i}: {e}"))?;
                *guard += 1;
                if !matches!(at_exit, AtExit::Locks) {
                    AT_EXIT.with(|late| late.1.set(Some(guard)));
                }
                Ok::<(), String>(())
            });
            thread.join().unwrap().unwrap();
        }
        let each = if matches!(at_exit, AtExit::Unlocks) { 1 } else { 2 };
        locked += each * 2 * SMALL.0 as u64;
        assert_eq!(*late.lock().unwrap(), locked, "all did what they were to do at their exit");
    }
    let own = of(&segment, std::process::id());
    assert!(own.threads.len() <= 1, "{own}");
    sound(&segment);
}

#[test]
fn slots_run_out() {
    let _watchdog = Watchdog::test("slots");
    for (bytes, (slots, _)) in [(8 << 20, LARGE), (1 << 20, SMALL)] {
        let segment = Segment::anonymous().size(bytes).create().unwrap();
        let all = segment.construct_slice::<Counter, _>("all", slots + 1, |_| ShmMutex::new(0)).unwrap();
        let spare = segment.construct_anonymous::<ShmVec<u64>>(vec![1; 1000]).unwrap();
        // The directory's lock took one of this thread's; that thread is one of them.
        let (taken, checked) = (Barrier::new(slots), Barrier::new(slots));
        let free = segment.free_memory();
        std::thread::scope(|scope| {
            for i in 1..slots {
                let (all, taken, checked) = (&all, &taken, &checked);
                scope.spawn(move || {
                    let mut guard = all[i].lock().unwrap();
                    taken.wait();
                    checked.wait();
                    *guard += 1;
                });
            }
            taken.wait();
            let (segment, all) = (&segment, &all);
            let one_too_many = move || {
                assert_eq!(all[slots].lock().unwrap_err(), LockError::NoSlot);
                assert_eq!(all[slots].try_lock().unwrap_err(), LockError::NoSlot);
                assert_eq!(all[slots].lock_timeout(PATIENCE).unwrap_err(), LockError::NoSlot);
                assert!(all[slots].lock_poisoned().is_err());
                assert!(!all[slots].is_poisoned());
                // What needs no lock works: to find, to read, to let go, to free.
                let found = segment.find_slice::<Counter>("all").unwrap().unwrap();
                assert_eq!(found.len(), slots + 1);
                drop(found);
                drop(spare);
                // What needs one says so, and changes nothing.
                let refused = |e: Error| assert!(matches!(e, Error::Lock(LockError::NoSlot)), "{e}");
                refused(segment.construct::<u64>("new", 1).unwrap_err());
                refused(segment.destroy::<Counter>("all").unwrap_err());
                refused(segment.objects().unwrap_err());
                assert_eq!(segment.recover(), 0);
            };
            scope.spawn(one_too_many).join().unwrap();
            checked.wait();
        });
        // Those threads have gone, and given their slots back.
        let again = || *all[slots].lock().unwrap() += 1;
        std::thread::scope(|scope| scope.spawn(again).join().unwrap());
        assert!((1..=slots).all(|i| *all[i].lock().unwrap() == 1));
        segment.recover();
        assert!(segment.free_memory() >= free, "{} of {free}", segment.free_memory());
        sound(&segment);
    }
}

/// Forks until there is no record for another one. Each child reports what it can do.
fn crowd() {
    let segment = in_role();
    let counter = counter(&segment, "counter");
    let n: usize = argument(1);
    let mut children = Vec::new();
    for _ in 0..n {
        let child = |out: &mut std::fs::File| {
            let outcome = counter.lock().map(|mut guard| *guard += 1);
            writeln!(out, "{outcome:?}").unwrap();
            ends::sleep_for_ever();
        };
        // SAFETY: this process has one thread that matters: the others never touch a segment.
        let mut child = unsafe { fork(child) }.unwrap();
        assert_eq!(child.report(), "Ok(())");
        children.push(child);
    }
    report("crowded");
    // One of them ends.
    hear();
    children.pop().unwrap().kill();
    report("one less");
    hear();
    drop(children);
}

#[test]
fn records_run_out() {
    let _watchdog = Watchdog::test("records");
    for (bytes, (_, processes)) in [(1 << 20, SMALL), (8 << 20, LARGE)] {
        let name = TempName::new("records");
        let segment = name.segment().size(bytes).create().unwrap();
        let own = counter(&segment, "counter");
        // This process, that one and its children.
        let mut crowd = Worker::spawn("crowd", &[&name, &(processes - 2)]);
        crowd.expect("crowded");
        assert_eq!(segment.attached_pids().len(), processes);
        assert_eq!(*own.lock().unwrap(), processes as u64 - 2, "who has a record goes on");
        let late = name.segment().open().unwrap();
        let limit = processes as u32;
        let refused =
            |e: Error| assert!(matches!(e, Error::TooManyProcesses { limit: l } if l == limit), "{e}");
        refused(late.find::<Counter>("counter").unwrap_err());
        match late.construct::<u64>("new", 1).unwrap_err() {
            Error::Lock(LockError::NoProcess) => {}
            e => refused(e),
        }
        assert_eq!(late.recover(), 0);
        crowd.tell("less");
        crowd.expect("one less");
        *late.find::<Counter>("counter").unwrap().unwrap().lock().unwrap() += 1;
        refused(name.segment().open().unwrap().find::<Counter>("counter").unwrap_err());
        drop(late);
        crowd.kill();
        eventually("the crowd is gone", || {
            segment.recover();
            segment.attached_pids() == [std::process::id()]
        });
        sound(&segment);
    }
}

/// A slot's generation, of which owner words have 16 bits, comes round; the threads are real ones.
#[test]
fn more_threads_than_owner_words() {
    let _watchdog = Watchdog::test("generations");
    let name = TempName::new("generations");
    let segment = name.segment().size(1 << 20).create().unwrap();
    let counter = counter(&segment, "counter");
    let start = std::time::Instant::now();
    let threads: u64 = if long() { (1 << 16) + 100 } else { 2_000 };
    let one_after_another = |n: u64| {
        for _ in 0..n {
            std::thread::scope(|scope| scope.spawn(|| *counter.lock().unwrap() += 1).join().unwrap());
        }
    };
    // A process dies with the lock amid them, and one after the owner words have come round to where it died.
    for part in [threads / 2, threads - threads / 2] {
        one_after_another(part);
        let mut worker = Worker::spawn("hoarder_of_one", &[&name]);
        worker.expect("holding");
        worker.kill();
        assert_eq!(counter.lock().unwrap_err(), BY_DEATH);
        counter.lock_poisoned().unwrap().clear_poison();
    }
    println!("{threads} threads in {:.1} s", start.elapsed().as_secs_f64());
    assert_eq!(*counter.lock().unwrap(), threads);
    segment.recover();
    let own = of(&segment, std::process::id());
    assert!(own.threads.iter().all(|thread| thread.holds.is_empty()), "{own}");
    sound(&segment);
}
