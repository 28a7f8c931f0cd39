//! Locks between processes: exclusion, death of holders and waiters, what only looks like death, and fork.

use shmem_core::{Error, LockError, Root, Segment, ShmMutex, ShmVec};
use shmem_tests::*;
use std::io::Write;
use std::time::{Duration, Instant};

roles! { adder, holder, leaker, waiter, half_way, forker, dying_forker }

type Counter = ShmMutex<u64>;
type List = ShmMutex<ShmVec<u64>>;

fn open(name: &str) -> (Segment, Root<Counter>) {
    let segment = Segment::shared(name).size(1 << 20).open_or_create().unwrap();
    let counter = segment.find_or_construct::<Counter>("counter", ShmMutex::new(0)).unwrap();
    (segment, counter)
}

fn in_role() -> (Segment, Root<Counter>) {
    open(&argument::<String>(0))
}

const SHORT: Duration = Duration::from_millis(50);
const BY_DEATH: LockError = LockError::Poisoned { by_death: true };

/// Waits for whatever may come of a lock whose holder was killed.
#[track_caller]
fn learns_of_the_death(counter: &Counter) {
    let start = Instant::now();
    assert_eq!(counter.lock_timeout(PATIENCE).unwrap_err(), BY_DEATH);
    assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
    assert_eq!(counter.lock().unwrap_err(), BY_DEATH, "until somebody repairs it");
    assert_eq!(counter.try_lock().unwrap_err(), BY_DEATH);
    let mut guard = counter.lock_poisoned().unwrap();
    assert!(guard.is_poisoned());
    *guard += 100;
    guard.clear_poison();
    drop(guard);
    assert!(*counter.lock().unwrap() >= 100);
}

fn adder() {
    let (_segment, counter) = in_role();
    for _ in 0..argument::<u64>(1) {
        *counter.lock().unwrap() += 1;
    }
}

#[test]
fn a_counter_is_exact() {
    let _watchdog = Watchdog::test("counter");
    let name = TempName::new("counter");
    let (segment, counter) = open(&name);
    let each = if long() { 1_000_000 } else { 20_000 };
    let workers: Vec<_> = (0..6).map(|_| Worker::spawn("adder", &[&name, &each])).collect();
    workers.into_iter().for_each(Worker::finish);
    assert_eq!(*counter.lock().unwrap(), 6 * each);
    sound(&segment);
}

fn holder() {
    let (_segment, counter) = in_role();
    let guard = counter.lock().unwrap();
    report("holding");
    while hear().is_some_and(|line| line != "let go") {}
    drop(guard);
    report("let go");
    hear();
}

#[test]
fn a_killed_holder_leaves_poison() {
    let _watchdog = Watchdog::test("killed holder");
    let name = TempName::new("holder");
    let (segment, counter) = open(&name);
    for round in 0..5 {
        let mut worker = Worker::spawn("holder", &[&name]);
        worker.expect("holding");
        assert_eq!(counter.try_lock().unwrap_err(), LockError::WouldBlock);
        if round % 2 == 0 {
            worker.kill();
            learns_of_the_death(&counter);
            continue;
        }
        // Killed while somebody waits.
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| counter.lock_timeout(PATIENCE).map(|_| ()));
            std::thread::sleep(SHORT);
            worker.kill();
            assert_eq!(waiting.join().unwrap(), Err(BY_DEATH));
        });
        learns_of_the_death(&counter);
    }
    segment.recover();
    sound(&segment);
}

#[test]
fn a_killed_holder_of_a_value_that_owns_memory() {
    let _watchdog = Watchdog::test("killed holder of a list");
    let name = TempName::new("list");
    let segment = name.segment().size(1 << 20).create().unwrap();
    let list = segment.construct::<List>("list", ShmMutex::new(ShmVec::new())).unwrap();
    let mut random = Random::new(Random::fresh_seed("list"));
    for _ in 0..10 {
        let mut worker = Worker::spawn("half_way", &[&name]);
        worker.expect("working");
        std::thread::sleep(Duration::from_micros(random.below(20_000)));
        worker.kill();
        match list.lock_timeout(PATIENCE) {
            Ok(_) => continue, // Killed between two turns.
            Err(e) => assert_eq!(e, BY_DEATH),
        }
        let mut guard = list.lock_poisoned().expect("whatever it was doing, the value is memory-safe");
        assert!(
            guard.iter().enumerate().all(|(i, n)| *n == i as u64),
            "as before or as after: {:?}",
            &**guard
        );
        guard.view().clear();
        guard.clear_poison();
    }
    segment.recover();
    sound(&segment);
}

fn half_way() {
    let segment = Segment::shared(&argument::<String>(0)).open().unwrap();
    let list = segment.find::<List>("list").unwrap().unwrap();
    report("working");
    loop {
        let mut guard = list.lock().unwrap();
        let mut view = guard.view();
        (0..100).for_each(|i| view.push(i).unwrap());
        view.truncate(50);
        view.shrink_to_fit().unwrap();
        view.clear();
    }
}

#[test]
fn a_stopped_holder_is_alive() {
    let _watchdog = Watchdog::test("stopped holder");
    let name = TempName::new("stopped");
    let (segment, counter) = open(&name);
    let mut worker = Worker::spawn("holder", &[&name]);
    worker.expect("holding");
    worker.signal(libc::SIGSTOP);
    let start = Instant::now();
    let patience = Duration::from_millis(700);
    assert_eq!(counter.lock_timeout(patience).unwrap_err(), LockError::TimedOut);
    assert!(start.elapsed() >= patience);
    assert_eq!(segment.recover(), 0);
    assert_eq!(counter.try_lock().unwrap_err(), LockError::WouldBlock);
    worker.signal(libc::SIGCONT);
    worker.tell("let go");
    worker.expect("let go");
    *counter.lock().unwrap() += 1;
    worker.finish();
    sound(&segment);
}

fn waiter() {
    let (_segment, counter) = in_role();
    report("waiting");
    *counter.lock().unwrap() += 1;
    report("done");
}

#[test]
fn killed_waiters_cost_nothing() {
    let _watchdog = Watchdog::test("killed waiters");
    let name = TempName::new("waiters");
    let (segment, counter) = open(&name);
    let guard = counter.lock().unwrap();
    let mut workers: Vec<_> = (0..6).map(|_| Worker::spawn("waiter", &[&name])).collect();
    workers.iter_mut().for_each(|worker| worker.expect("waiting"));
    std::thread::sleep(SHORT);
    workers[..3].iter_mut().for_each(Worker::kill);
    drop(guard);
    for worker in &mut workers[3..] {
        worker.expect("done");
    }
    assert_eq!(*counter.lock().unwrap(), 3);
    workers.drain(3..).for_each(Worker::finish);
    // And with others killed in the moment the lock is given away.
    for _ in 0..20 {
        let guard = counter.lock().unwrap();
        let mut victim = Worker::spawn("waiter", &[&name]);
        victim.expect("waiting");
        std::thread::scope(|scope| {
            let survivor = scope.spawn(|| match counter.lock_timeout(PATIENCE) {
                Ok(mut guard) => *guard += 1,
                Err(e) => {
                    assert_eq!(e, BY_DEATH, "the victim may have had it");
                    counter.lock_poisoned().unwrap().clear_poison();
                }
            });
            std::thread::sleep(Duration::from_millis(3));
            drop(guard);
            victim.kill();
            survivor.join().unwrap();
        });
    }
    segment.recover();
    sound(&segment);
}

#[test]
fn a_panic_poisons() {
    let name = TempName::new("panic");
    let (segment, counter) = open(&name);
    let panicked = std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            let _guard = counter.lock().unwrap();
            panic!("with the lock held");
        });
        thread.join()
    });
    assert!(panicked.is_err());
    let by_panic = LockError::Poisoned { by_death: false };
    assert_eq!(counter.lock().unwrap_err(), by_panic);
    assert_eq!(counter.lock_timeout(SHORT).unwrap_err(), by_panic);
    // Another process is told the same.
    let other = name.segment().open().unwrap();
    let elsewhere = other.find::<Counter>("counter").unwrap().unwrap();
    assert_eq!(elsewhere.lock().unwrap_err(), by_panic);
    drop(counter.lock_poisoned().unwrap());
    assert_eq!(counter.lock().unwrap_err(), by_panic, "it was not repaired");
    let held = counter.try_lock_poisoned().unwrap();
    std::thread::scope(|scope| {
        let refused = scope.spawn(|| {
            let tried = elsewhere.try_lock_poisoned().map(drop).map_err(Error::from);
            let timed = elsewhere.lock_poisoned_timeout(SHORT).map(drop).map_err(Error::from);
            (tried.unwrap_err(), timed.unwrap_err())
        });
        let (tried, timed) = refused.join().unwrap();
        assert!(matches!(tried, Error::Lock(LockError::WouldBlock)), "{tried}");
        assert!(matches!(timed, Error::Lock(LockError::TimedOut)), "{timed}");
    });
    drop(held);
    drop(counter.lock_poisoned_timeout(SHORT).unwrap());
    elsewhere.lock_poisoned().unwrap().clear_poison();
    *counter.lock().unwrap() += 1;
    sound(&segment);
}

fn leaker() {
    let (_segment, counter) = in_role();
    std::thread::scope(|scope| {
        scope.spawn(|| std::mem::forget(counter.lock().unwrap())).join().unwrap();
    });
    report("leaked");
    assert_eq!(counter.lock_timeout(SHORT).unwrap_err(), LockError::TimedOut);
    report("still held");
    hear();
}

#[test]
fn a_leaked_guard_outlives_its_thread_but_not_its_process() {
    let _watchdog = Watchdog::test("leaked guard");
    let name = TempName::new("leaker");
    let (segment, counter) = open(&name);
    let mut worker = Worker::spawn("leaker", &[&name]);
    worker.expect("leaked");
    worker.expect("still held");
    assert_eq!(counter.lock_timeout(10 * SHORT).unwrap_err(), LockError::TimedOut);
    assert_eq!(segment.recover(), 0);
    worker.kill();
    learns_of_the_death(&counter);
    sound(&segment);
}

#[test]
fn time_outs() {
    let name = TempName::new("time-outs");
    let (_segment, counter) = open(&name);
    // Free locks are taken whatever the deadline.
    drop(counter.lock_timeout(Duration::ZERO).unwrap());
    drop(counter.lock_until(Instant::now() - Duration::from_secs(1)).unwrap());
    drop(counter.lock_timeout(Duration::MAX).unwrap());
    let guard = counter.lock().unwrap();
    assert_eq!(counter.lock_timeout(Duration::ZERO).unwrap_err(), LockError::Deadlock);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            assert_eq!(counter.try_lock().unwrap_err(), LockError::WouldBlock);
            assert_eq!(counter.lock_timeout(Duration::ZERO).unwrap_err(), LockError::TimedOut);
            for wait in [1, 20, 200].map(Duration::from_millis) {
                let start = Instant::now();
                assert_eq!(counter.lock_timeout(wait).unwrap_err(), LockError::TimedOut);
                assert!(start.elapsed() >= wait);
                assert_eq!(counter.lock_until(Instant::now() + wait).unwrap_err(), LockError::TimedOut);
            }
        });
    });
    drop(guard);
    // One that comes free in time is taken.
    std::thread::scope(|scope| {
        let guard = counter.lock().unwrap();
        let waiting = scope.spawn(|| counter.lock_timeout(PATIENCE).is_ok());
        std::thread::sleep(SHORT);
        drop(guard);
        assert!(waiting.join().unwrap());
    });
}

/// Forks while it holds a lock, and has the child try everything it could do wrong.
fn forker() {
    let (segment, counter) = in_role();
    let list = segment.construct::<List>("list", ShmMutex::<ShmVec<_>>::new([1, 2, 3])).unwrap();
    let words = segment.construct_slice::<u64, _>("words", 1000, |i| i as u64).unwrap();
    let free = segment.construct::<Counter>("free", ShmMutex::new(5)).unwrap();
    let guard = counter.lock().unwrap();
    let mut inherited = Some((guard, list.clone(), words.clone(), segment.clone()));
    let child = |out: &mut std::fs::File| {
        let (guard, list, words, segment) = inherited.take().unwrap();
        drop(guard);
        assert_eq!(counter.try_lock().unwrap_err(), LockError::WouldBlock, "it is the parent's");
        drop((list, segment));
        writeln!(out, "dropped").unwrap();
        // What it inherited it can read, whatever the parent does with it.
        let parent_is_done = || free.try_lock().is_ok_and(|n| *n == 6);
        eventually("the parent destroyed the object", parent_is_done);
        assert!(words.iter().enumerate().all(|(i, word)| *word == i as u64));
        let mut segment = words.segment();
        assert!(segment.find_slice::<u64>("words").unwrap().is_none());
        drop(words);
        writeln!(out, "read").unwrap();
        // By itself it is a process like any other: it finds, locks, allocates.
        segment = Segment::from_fd(&segment).unwrap();
        let own = segment.construct::<List>("of the child", ShmMutex::new(ShmVec::new())).unwrap();
        (0..1000).for_each(|i| own.lock().unwrap().view().push(i).unwrap());
        assert_eq!(own.lock().unwrap().len(), 1000);
        let inherited = list_of(&counter);
        inherited.lock().unwrap().view().push(4).unwrap();
        assert_eq!(counter.lock_timeout(SHORT).unwrap_err(), LockError::TimedOut);
        writeln!(out, "worked").unwrap();
    };
    // SAFETY: this process has one thread that matters: the others never touch a segment.
    let mut child = unsafe { fork(child) }.unwrap();
    assert_eq!(child.report(), "dropped");
    let (mut guard, ..) = inherited.take().expect("only the child's was taken");
    *guard += 1;
    assert!(segment.destroy::<u64>("words").unwrap());
    drop(words);
    // Used again at once if it were free.
    let over = segment.construct_slice::<u64, _>("over it", 1000, |_| u64::MAX).unwrap();
    *free.lock().unwrap() = 6;
    assert_eq!(child.report(), "read");
    assert_eq!(child.report(), "worked");
    assert_eq!(over[999], u64::MAX);
    drop(guard);
    assert_eq!(*counter.lock().unwrap(), 1);
    assert_eq!(**list.lock().unwrap(), [1, 2, 3, 4]);
    let of_child = segment.find::<List>("of the child").unwrap().unwrap();
    assert_eq!(of_child.lock().unwrap().len(), 1000);
    child.kill();
    segment.recover();
    sound(&segment);
    report("fine");
}

fn list_of(counter: &Root<Counter>) -> Root<List> {
    counter.segment().find::<List>("list").unwrap().unwrap()
}

#[test]
fn a_forked_child_is_a_process_of_its_own() {
    let _watchdog = Watchdog::test("fork");
    let name = TempName::new("fork");
    let (segment, counter) = open(&name);
    let mut worker = Worker::spawn("forker", &[&name]);
    worker.expect("fine");
    worker.finish();
    assert_eq!(*counter.lock().unwrap(), 1);
    segment.recover();
    assert_eq!(segment.attached_pids(), [std::process::id()]);
    for name in ["list", "of the child"] {
        assert!(segment.destroy::<List>(name).unwrap());
    }
    sound(&segment);
}

fn dying_forker() {
    let (_segment, counter) = in_role();
    let _guard = counter.lock().unwrap();
    let child = |out: &mut std::fs::File| {
        cut_lifelines();
        writeln!(out, "{}", std::process::id()).unwrap();
        loop {
            std::thread::sleep(SHORT);
        }
    };
    // SAFETY: as in `forker`.
    let mut child = unsafe { fork(child) }.unwrap();
    report(child.report());
    hear();
}

/// Ends a process that is nobody's child any more.
struct Orphan(u32);

impl Drop for Orphan {
    fn drop(&mut self) {
        signal(self.0, libc::SIGKILL);
    }
}

#[test]
fn a_child_that_lives_on_does_not_keep_its_parent_alive() {
    let _watchdog = Watchdog::test("dying forker");
    let name = TempName::new("dying");
    let (segment, counter) = open(&name);
    let mut worker = Worker::spawn("dying_forker", &[&name]);
    let orphan = Orphan(worker.hear().parse().unwrap());
    assert_eq!(counter.lock_timeout(SHORT).unwrap_err(), LockError::TimedOut);
    worker.kill();
    learns_of_the_death(&counter);
    drop(orphan);
    eventually("the orphan is gone", || {
        segment.recover();
        segment.attached_pids() == [std::process::id()]
    });
    sound(&segment);
}
