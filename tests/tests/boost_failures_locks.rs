//! How Boost.Interprocess fails its users when processes die, and what happens here instead: locks, names, initialisers,
//! clocks, process ids. A test is called after what Boost does.

use shmem_core::__testing::{Witness, ignore};
use shmem_core::{LockError, RemoveOnDrop, Root, Segment, ShmMutex, ShmVec, init};
use shmem_tests::*;
use std::convert::Infallible;
use std::time::{Duration, Instant};

roles! {
    holder, waiter, directory_user, root_creator, segment_creator, destroyer, timed, timed_by_the_clock_of_day,
    reuser
}

type Counter = ShmMutex<u64>;

const BY_DEATH: LockError = LockError::Poisoned { by_death: true };
const SHORT: Duration = Duration::from_millis(50);

fn open(name: &str) -> (Segment, Root<Counter>) {
    let segment = Segment::shared(name).size(1 << 20).open_or_create().unwrap();
    let counter = segment.find_or_construct::<Counter>("counter", ShmMutex::new(0)).unwrap();
    (segment, counter)
}

fn in_role() -> (Segment, Root<Counter>) {
    open(&argument::<String>(0))
}

// ---- mutexes of the dead ----------------------------------------------------------------------------------

fn holder() {
    let (_segment, counter) = in_role();
    let _guard = counter.lock().unwrap();
    report("holding");
    hear();
}

fn waiter() {
    let (_segment, counter) = in_role();
    report("waiting");
    let patience = Duration::from_millis(argument(1));
    let outcome = match argument::<String>(2).as_str() {
        "timed" => counter.lock_timeout(patience).map(|_| ()),
        "until" => counter.lock_until(Instant::now() + patience).map(|_| ()),
        "poisoned" => counter.lock_poisoned().map(|guard| assert!(guard.is_poisoned())).map_err(|_| BY_DEATH),
        _ => counter.lock().map(|_| ()),
    };
    report(format_args!("{outcome:?}"));
}

/// Boost: an `interprocess_mutex` and a `named_mutex` whose owner was killed are locked for good; a waiter with a time-out
/// waits it out, each time, and `try_lock` says "locked" for ever.
#[test]
fn a_mutex_whose_owner_was_killed_is_never_released() {
    let _watchdog = Watchdog::test("mutexes of the dead");
    let name = TempName::new("never-released");
    let (segment, counter) = open(&name);
    let mut holder = Worker::spawn("holder", &[&name]);
    holder.expect("holding");
    let hour = 3_600_000;
    let ways = ["lock", "timed", "until"];
    let mut waiters: Vec<_> = ways.iter().map(|way| Worker::spawn("waiter", &[&name, &hour, way])).collect();
    let mut in_time = Worker::spawn("waiter", &[&name, &20, &"timed"]);
    waiters.iter_mut().chain([&mut in_time]).for_each(|waiter| waiter.expect("waiting"));
    // While the owner lives a time-out is just that.
    in_time.expect("Err(TimedOut)");
    let waiting =
        || segment.participants().iter().flat_map(|p| &p.threads).filter(|t| t.waits_for.is_some()).count();
    eventually("all of them wait", || waiting() == ways.len());
    holder.signal(libc::SIGKILL);
    for waiter in &mut waiters {
        waiter.expect("Err(Poisoned { by_death: true })");
    }
    assert_eq!(counter.try_lock().unwrap_err(), BY_DEATH);
    counter.lock_poisoned().unwrap().clear_poison();
    *counter.try_lock().unwrap() += 1;

    // `try_lock` alone, with nobody waiting: it finds the death out by itself.
    let mut holder = Worker::spawn("holder", &[&name]);
    holder.expect("holding");
    assert_eq!(counter.try_lock().unwrap_err(), LockError::WouldBlock);
    holder.signal(libc::SIGKILL);
    let mut outcome = Ok(());
    eventually("try_lock finds the death out", || {
        outcome = counter.try_lock().map(drop);
        outcome != Err(LockError::WouldBlock)
    });
    assert_eq!(outcome, Err(BY_DEATH));
    counter.lock_poisoned().unwrap().clear_poison();
    drop(holder);
    segment.recover();
    sound(&segment);
}

/// Boost: with robust locks compiled in, `EOWNERDEAD` is ignored, and the next owner goes on as if the data were whole.
#[test]
fn the_next_owner_is_not_told_of_the_death() {
    let _watchdog = Watchdog::test("the next owner");
    let name = TempName::new("not-told");
    let (segment, counter) = open(&name);
    let mut worker = Worker::spawn("holder", &[&name]);
    worker.expect("holding");
    worker.kill();
    let told = |counter: &Counter| {
        assert_eq!(counter.lock().unwrap_err(), BY_DEATH);
        assert_eq!(counter.try_lock().unwrap_err(), BY_DEATH);
        assert_eq!(counter.lock_timeout(SHORT).unwrap_err(), BY_DEATH);
        assert_eq!(counter.lock_until(Instant::now() + SHORT).unwrap_err(), BY_DEATH);
        assert!(counter.is_poisoned());
    };
    told(&counter);
    // Nothing but `clear_poison` ends that: not recovery, not having had it, not another process's having had it, not
    // another death, not a new mapping.
    segment.recover();
    told(&counter);
    *counter.lock_poisoned().unwrap() += 1;
    told(&counter);
    let mut other = Worker::spawn("waiter", &[&name, &0, &"poisoned"]);
    other.expect("waiting");
    other.expect("Ok(())");
    other.finish();
    told(&counter);
    let again = name.segment().open().unwrap();
    told(&again.find::<Counter>("counter").unwrap().unwrap());
    let mut guard = counter.lock_poisoned().unwrap();
    guard.clear_poison();
    drop(guard);
    assert_eq!(*counter.lock().unwrap(), 1);
    sound(&segment);
}

// ---- the directory of the dead ----------------------------------------------------------------------------

/// Does everything that locks the directory.
fn directory_user() {
    let (segment, _counter) = in_role();
    report("running");
    for i in 0u64.. {
        let name = format!("{} {}", argument::<String>(1), i % 3);
        let slow = ShmMutex::<ShmVec<_>>::new(vec![i; (i % 50) as usize]);
        drop(segment.find_or_construct::<ShmMutex<ShmVec<u64>>>(&name, slow).unwrap());
        segment.objects().unwrap();
        segment.destroy::<ShmMutex<ShmVec<u64>>>(&name).unwrap();
    }
}

/// Boost: a process killed in `atomic_func`, `construct` or `destroy` keeps the segment's one mutex, and every `find`,
/// `construct` and `destroy` after it waits or throws for ever.
#[test]
fn a_kill_inside_construct_or_destroy_locks_everybody_out() {
    let _watchdog = Watchdog::test("kills inside of the directory");
    let name = TempName::new("locked-out");
    let (segment, counter) = open(&name);
    let mut random = Random::new(Random::fresh_seed("kills inside of the directory"));
    let mut holders = 0;
    for _ in 0..if long() { 1000 } else { 40 } {
        let mut workers: Vec<_> = (0..2).map(|i| Worker::spawn("directory_user", &[&name, &i])).collect();
        workers.iter_mut().for_each(|worker| worker.expect("running"));
        std::thread::sleep(Duration::from_micros(random.below(4000)));
        workers.iter().for_each(|worker| worker.signal(libc::SIGKILL));
        let locks =
            segment.participants().into_iter().flat_map(|p| p.threads).flat_map(|thread| thread.holds);
        holders += locks.filter(|lock| lock.to_string() == "the directory").count();
        // At once, and whatever they were at.
        assert_eq!(*segment.find_or_construct::<u64>("mine", 5).unwrap(), 5);
        assert!(segment.find::<u64>("mine").unwrap().is_some());
        assert!(segment.destroy::<u64>("mine").unwrap());
        for i in 0..6 {
            segment.destroy::<ShmMutex<ShmVec<u64>>>(&format!("{} {}", i / 3, i % 3)).unwrap();
        }
        *counter.lock().unwrap() += 1;
        drop(workers);
        segment.recover();
        sound(&segment);
    }
    assert_eq!(segment.object_count(), 1);
    println!("killed with the directory locked: {holders} times");
}

// ---- initialisers of the dead -----------------------------------------------------------------------------

fn root_creator() {
    let (segment, _counter) = in_role();
    report("running");
    let slow = init::from_fn(|| {
        std::thread::sleep(Duration::from_micros(argument(1)));
        Ok::<u64, Infallible>(7)
    });
    segment.find_or_construct::<u64>("root", slow).unwrap();
    ends::sleep_for_ever();
}

fn segment_creator() {
    report("running");
    let _segment = Segment::shared(&argument::<String>(0)).size(1 << 20).open_or_create().unwrap();
    ends::sleep_for_ever();
}

/// Boost: if the creator is killed before it has said "initialised", everybody who opens waits, up to 300 s, and then
/// throws; nobody becomes the creator in its place.
#[test]
fn openers_wait_for_a_dead_creator() {
    let _watchdog = Watchdog::test("dead creators");
    let mut random = Random::new(Random::fresh_seed("dead creators"));
    let (mut taken_over, rounds) = (0, if long() { 400 } else { 30 });
    for round in 0..rounds {
        // Of a segment.
        let name = TempName::new("dead-creator");
        let mut worker = Worker::spawn("segment_creator", &[&name]);
        worker.expect("running");
        std::thread::sleep(Duration::from_micros(random.below(600)));
        worker.signal(libc::SIGKILL);
        let (segment, _counter) = open(&name);
        drop(worker);
        // Of a root in it, by others who want the same one meanwhile.
        let slow_us = 200 * (round % 10);
        let mut worker = Worker::spawn("root_creator", &[&name, &slow_us]);
        worker.expect("running");
        let root = std::thread::scope(|scope| {
            let wanting = scope.spawn(|| {
                std::thread::sleep(Duration::from_micros(500));
                *segment.find_or_construct::<u64>("root", 8).unwrap()
            });
            std::thread::sleep(Duration::from_micros(random.below(2000)));
            worker.signal(libc::SIGKILL);
            wanting.join().unwrap()
        });
        assert!(root == 7 || root == 8, "{root}");
        taken_over += u32::from(root == 8);
        assert_eq!(*segment.find::<u64>("root").unwrap().unwrap(), root);
        drop(worker);
        segment.recover();
        sound(&segment);
    }
    println!("roots of dead creators: {taken_over} of {rounds} taken over, the others were whole");
}

// ---- names that stay --------------------------------------------------------------------------------------

/// Boost: what a program that crashed leaves in `/dev/shm` makes its next start fail (`create_only`), or hang on a mutex
/// inside (`open_or_create`); programs therefore remove the name first, under whoever uses it.
#[test]
fn names_of_programs_that_crashed_stop_their_next_start() {
    let _watchdog = Watchdog::test("names that stay");
    let name = TempName::new("stale");
    for start in 0..5u64 {
        // The program: opens what is there or not, takes over what its last life left, and crashes again.
        let mut worker = Worker::spawn("holder", &[&name]);
        let held = worker.reports_within(PATIENCE);
        assert_eq!(held.as_deref(), Some("holding"), "start {start}");
        worker.kill();
        let (segment, counter) = open(&name);
        assert!(!segment.created());
        assert_eq!(counter.lock().unwrap_err(), BY_DEATH);
        let mut guard = counter.lock_poisoned().unwrap();
        assert_eq!(*guard, start, "the data is still there");
        *guard += 1;
        guard.clear_poison();
    }
    // `create` says that it is there; `remove` works whoever has it open, and the new one is another.
    assert!(name.segment().size(1 << 20).create().is_err());
    let (old, old_counter) = open(&name);
    let mut worker = Worker::spawn("holder", &[&name]);
    worker.expect("holding");
    assert!(Segment::remove(&name).unwrap());
    assert!(!Segment::remove(&name).unwrap());
    let (new, new_counter) = open(&name);
    assert!(new.created() && new.id() != old.id());
    assert_eq!(*new_counter.lock().unwrap(), 0);
    assert_eq!(old_counter.try_lock().unwrap_err(), LockError::WouldBlock, "it goes on as it was");
    worker.kill();
    assert_eq!(old_counter.lock().unwrap_err(), BY_DEATH);
    // Whoever wants the name gone with itself says so.
    drop(RemoveOnDrop::shared(&name).unwrap());
    assert_eq!(leftovers(&name), [""; 0]);
    sound(&old);
    sound(&new);
}

// ---- destroyed twice --------------------------------------------------------------------------------------

fn destroyer() {
    let (segment, _counter) = in_role();
    report("ready");
    while let Some(name) = hear() {
        report(segment.destroy::<ShmVec<u64>>(&name).unwrap());
    }
}

/// Boost: two that destroy one object by pointer free its memory twice; the heap's tree is then cut.
#[test]
fn an_object_is_destroyed_twice() {
    let _watchdog = Watchdog::test("destroyed twice");
    let name = TempName::new("twice");
    let (segment, _counter) = open(&name);
    let mut workers: Vec<_> = (0..3).map(|_| Worker::spawn("destroyer", &[&name])).collect();
    workers.iter_mut().for_each(|worker| worker.expect("ready"));
    let free = segment.free_memory();
    for round in 0..100 {
        let list = segment.construct::<ShmVec<u64>>("list", vec![round; 500]).unwrap();
        workers.iter_mut().for_each(|worker| worker.tell("list"));
        let destroyed =
            workers.iter_mut().filter_map(|worker| worker.hear().parse().ok()).filter(|done: &bool| *done);
        assert_eq!(destroyed.count(), 1, "round {round}");
        assert!(!segment.destroy::<ShmVec<u64>>("list").unwrap());
        // Whoever still has it has it whole.
        assert!(list.len() == 500 && list.iter().all(|n| *n == round));
        drop(list);
        sound(&segment);
    }
    assert!(segment.free_memory() + (64 << 10) >= free, "what was destroyed is free again");
    workers.into_iter().for_each(Worker::finish);
}

// ---- clocks -----------------------------------------------------------------------------------------------

/// Waits with time-outs, in every way, where the kernel kills whoever sleeps by the time of day.
fn timed() {
    let (_segment, counter) = in_role();
    ends::forbid_sleeping_by_the_time_of_day();
    for wait in [1, 30, 120].map(Duration::from_millis) {
        let start = Instant::now();
        assert_eq!(counter.lock_timeout(wait).unwrap_err(), LockError::TimedOut);
        assert!(start.elapsed() >= wait);
        assert_eq!(counter.lock_until(Instant::now() + wait).unwrap_err(), LockError::TimedOut);
    }
    report("timed out");
    assert_eq!(counter.lock().unwrap_err(), BY_DEATH);
    report("taken over");
}

/// The control: is killed.
fn timed_by_the_clock_of_day() {
    ends::forbid_sleeping_by_the_time_of_day();
    ends::sleep_by_the_time_of_day();
    report("nobody forbids it");
}

/// Boost: time-outs are points of the time of day (`microsec_clock::universal_time`): a clock that is set makes them
/// longer or shorter. Here no system call that sleeps is given that clock. (Setting the machine's clock would disturb
/// others, and namespaces have no time of day of their own; so a filter of system calls looks at each one.)
#[test]
fn a_step_of_the_clock_changes_time_outs() {
    let _watchdog = Watchdog::test("time-outs");
    let name = TempName::new("clock");
    let (segment, _counter) = open(&name);
    let mut holder = Worker::spawn("holder", &[&name]);
    holder.expect("holding");
    let mut worker = Worker::spawn("timed", &[&name]);
    worker.expect("timed out");
    holder.kill();
    worker.expect("taken over");
    worker.finish();
    let control = Worker::spawn("timed_by_the_clock_of_day", &[]).end();
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&control), Some(libc::SIGSYS));
    segment.recover();
    sound(&segment);
}

// ---- ids that come again ----------------------------------------------------------------------------------

/// In a PID namespace of its own, where it has the ids come again as it likes.
fn reuser() {
    ends::mount_own_proc().unwrap();
    let name: String = argument(0);
    if argument::<String>(1) == "Byte" {
        ignore(Witness::Byte);
    }
    let (segment, counter) = open(&name);
    let mut reused = 0;
    for _ in 0..20 {
        let mut holder = Worker::spawn("holder", &[&name]);
        holder.expect("holding");
        let pid = holder.pid();
        holder.kill();
        // Another one gets its id, in another tick of the clock by which starts are told apart.
        std::thread::sleep(Duration::from_millis(30));
        std::fs::write("/proc/sys/kernel/ns_last_pid", (pid - 1).to_string()).unwrap();
        let mut other = Worker::spawn("destroyer", &[&name]);
        other.expect("ready");
        if other.pid() != pid {
            counter.lock_poisoned().unwrap().clear_poison();
            continue;
        }
        reused += 1;
        // It is attached as well, with a record of its own. The dead one's lock is handed over all the same,
        assert_eq!(counter.lock().unwrap_err(), BY_DEATH);
        counter.lock_poisoned().unwrap().clear_poison();
        // and the living one's pins and record are its own.
        segment.recover();
        let alive = segment.participants().into_iter().filter(|p| p.pid == pid).count();
        assert_eq!(alive, 1, "{:?}", segment.participants());
        segment.construct::<ShmVec<u64>>("list", [1, 2, 3]).unwrap();
        other.tell("list");
        other.expect("true");
        other.finish();
    }
    assert!(reused > 0, "no id came again");
    report(format_args!("{reused} ids came again"));
}

/// Boost: what is kept by process id (its intermodule singletons, the owner in a recursive mutex) is the next process's
/// that gets the id.
#[test]
fn a_process_id_that_comes_again_inherits() {
    if !is_root() {
        println!("skipped: a PID namespace, where ids can be chosen, needs the superuser");
        return;
    }
    let _watchdog = Watchdog::test("ids that come again");
    for missing in ["none", "Byte"] {
        let name = TempName::new("reused");
        let (segment, counter) = open(&name);
        let mut worker = Worker::spawn_in_pid_namespace("reuser", &[&name, &missing]);
        println!("without {missing}: {}", worker.hear());
        worker.finish();
        segment.recover();
        assert_eq!(segment.attached_pids(), [std::process::id()]);
        drop(counter.lock().unwrap());
        sound(&segment);
    }
}
