//! Leak recovery with real processes: whatever they were killed at, the segment is to the last byte what it would be
//! without them, and nothing that lives is swept.

use shmem_core::{AuditError, Error, LockError, Root, Segment, ShmMutex, ShmString, ShmVec, init};
use shmem_tests::placed::{Place, Placed};
use shmem_tests::*;
use std::alloc::Layout;
use std::time::{Duration, Instant};

roles! { churner, half_builder, holder, runner, guest, stranger }

type List = ShmMutex<ShmVec<ShmString>>;

fn in_role() -> Segment {
    Segment::shared(&argument::<String>(0)).open().unwrap()
}

fn text(i: usize) -> String {
    format!("text number {i}, which is too long to stand inline, and {}", "longer ".repeat(i % 30))
}

fn texts(n: usize) -> Vec<String> {
    (0..n).map(text).collect()
}

fn audit(error: Error) -> AuditError {
    match error {
        Error::Audit(error) => *error,
        other => panic!("{other}"),
    }
}

/// What stays: constructed by whoever creates the segment, before anybody else comes.
fn stock(segment: &Segment) {
    segment.construct::<ShmVec<ShmString>>("kept", texts(500)).unwrap();
    segment.construct::<ShmVec<u64>>("numbers", (0..50_000).collect::<Vec<_>>()).unwrap();
    segment.construct::<List>("list", ShmMutex::new(texts(100))).unwrap();
    // Types and names that the others will use.
    churn(segment, 0, 3);
}

#[track_caller]
fn is_stocked(segment: &Segment) {
    let kept = segment.find::<ShmVec<ShmString>>("kept").unwrap().unwrap();
    assert!(kept.len() == 500 && kept.iter().enumerate().all(|(i, stored)| **stored == *text(i)));
    let numbers = segment.find::<ShmVec<u64>>("numbers").unwrap().unwrap();
    assert!(numbers.iter().copied().eq(0..50_000));
    sound(segment);
}

fn scratch(worker: usize) -> String {
    format!("scratch of worker {worker}, a name that does not stand in its entry")
}

/// Constructs, changes and destroys objects of this worker's, and changes one that all share.
fn churn(segment: &Segment, worker: usize, turns: usize) {
    let name = scratch(worker);
    for turn in 0..turns {
        let scratch = segment.find_or_construct::<List>(&name, ShmMutex::new(texts(turn % 50))).unwrap();
        let shared = segment.find::<List>("list").unwrap().unwrap();
        for list in [&scratch, &shared] {
            let mut guard = match list.lock() {
                Err(LockError::Poisoned { .. }) => {
                    let mut guard = list.lock_poisoned().unwrap();
                    guard.clear_poison();
                    guard
                }
                other => other.unwrap(),
            };
            let mut view = guard.view();
            for i in 0..turn % 40 {
                view.push(text(i)).unwrap();
            }
            if view.len() > 60 {
                view.truncate(turn % 20);
            }
        }
        let large = vec![7; 20_000 * (1 + turn % 3)];
        drop(segment.construct_anonymous::<ShmVec<u64>>(large).unwrap());
        drop(scratch);
        segment.destroy::<List>(&name).unwrap();
    }
}

fn churner() {
    let segment = in_role();
    report("works");
    churn(&segment, argument(1), usize::MAX);
}

/// Gives the list that all share the same contents as in the beginning, in the same memory.
fn settle(segment: &Segment) {
    let list = segment.find::<List>("list").unwrap().unwrap();
    let mut guard = match list.lock() {
        Ok(guard) => guard,
        Err(_) => {
            let mut guard = list.lock_poisoned().unwrap();
            guard.clear_poison();
            guard
        }
    };
    guard.set(texts(100)).unwrap();
}

/// What a segment with the same contents takes to which nobody was unkind.
fn unharmed() -> u64 {
    let segment = Segment::anonymous().size(16 << 20).create().unwrap();
    stock(&segment);
    settle(&segment);
    segment.used()
}

#[test]
fn killed_processes_leave_nothing_in_the_end() {
    let _watchdog = Watchdog::test("killed processes");
    let wanted = unharmed();
    let mut random = Random::new(Random::fresh_seed("leaks"));
    let mut swept = 0;
    for _ in 0..if long() { 60 } else { 6 } {
        let name = TempName::new("leaks");
        let mut segment = name.segment().size(16 << 20).create().unwrap();
        stock(&segment);
        for _ in 0..5 {
            let mut workers: Vec<Worker> = (0..3).map(|i| Worker::spawn("churner", &[&name, &i])).collect();
            workers.iter_mut().for_each(|worker| worker.expect("works"));
            std::thread::sleep(Duration::from_micros(random.below(30_000)));
            // All at once, as far as that goes.
            workers.iter_mut().for_each(Worker::kill);
            let report = segment.recover_leaks().unwrap();
            // Unless one of them has recovered another.
            assert!((1..=3).contains(&report.processes_recovered));
            assert_eq!(segment.used(), report.live_bytes);
            swept += report.swept_bytes();
            assert!(segment.verify().unwrap().is_sound());
        }
        for i in 0..3 {
            segment.destroy::<List>(&scratch(i)).unwrap();
        }
        // What waits for somebody who knows its type.
        drop(segment.construct_anonymous::<ShmVec<u64>>([1u64; 0]).unwrap());
        settle(&segment);
        segment.recover_leaks().unwrap();
        assert_eq!(segment.used(), wanted);
        is_stocked(&segment);
    }
    assert!(swept > 0, "no kill has left anything");
}

/// Is killed in the middle of building a value.
fn half_builder() {
    let segment = in_role();
    let fill = init::with(|_| {
        report("building");
        hear();
        Err::<_, Error>(Error::OtherSegment)
    });
    let parts = (init::from_iter((0..100).map(text)), fill);
    let outcome = segment.construct::<shmem_core::ShmTuple2<ShmVec<ShmString>, ShmVec<u64>>>("half", parts);
    drop(outcome.unwrap_err());
}

#[test]
fn what_was_half_built_comes_back() {
    let _watchdog = Watchdog::test("half built");
    let name = TempName::new("half");
    let mut segment = name.segment().size(16 << 20).create().unwrap();
    let mut worker = Worker::spawn("half_builder", &[&name]);
    worker.expect("building");
    assert!(matches!(audit(segment.recover_leaks().unwrap_err()), AuditError::InUse { .. }));
    worker.kill();
    let before = segment.used();
    let report = segment.recover_leaks().unwrap();
    assert_eq!((report.processes_recovered, report.objects), (1, 0));
    assert!(report.swept_blocks() > 100, "{report}");
    assert!(segment.used() < before - 10_000);
    assert_eq!(segment.object_count(), 0);
    sound(&segment);
}

fn holder() {
    let segment = in_role();
    let kept = segment.find::<ShmVec<ShmString>>("kept").unwrap().unwrap();
    let gone = segment.construct::<ShmVec<ShmString>>("gone", texts(30)).unwrap();
    segment.destroy::<ShmVec<ShmString>>("gone").unwrap();
    report("holds");
    hear();
    assert!(gone.iter().enumerate().all(|(i, stored)| **stored == *text(i)));
    assert_eq!(kept.len(), 500);
}

#[test]
fn it_is_refused_while_others_live_also_if_they_are_stopped() {
    let _watchdog = Watchdog::test("refused");
    let name = TempName::new("refused");
    let mut segment = name.segment().size(16 << 20).create().unwrap();
    stock(&segment);
    segment.access().allocate(Layout::new::<[u64; 100]>()).unwrap();
    let mut worker = Worker::spawn("holder", &[&name]);
    worker.expect("holds");
    let used = segment.used();
    let refused = |segment: &mut Segment| {
        let in_use = AuditError::InUse { processes: vec![worker.pid()] };
        assert_eq!(audit(segment.recover_leaks().unwrap_err()), in_use);
        assert_eq!(audit(segment.verify().unwrap_err()), in_use);
        assert_eq!(segment.used(), used);
    };
    refused(&mut segment);
    worker.signal(libc::SIGSTOP);
    eventually("it is stopped", || ends::is_stopped(worker.pid()));
    refused(&mut segment);
    worker.signal(libc::SIGCONT);
    worker.finish();
    let report = segment.recover_leaks().unwrap();
    assert_eq!((report.swept_blocks(), report.processes_recovered), (1, 0), "{report}");
    is_stocked(&segment);
}

/// Recovers leaks, over and over, and leaves some.
fn runner() {
    let mut segment = in_role();
    report("runs");
    loop {
        match segment.recover_leaks() {
            Ok(_) => {}
            Err(Error::Audit(e)) if matches!(*e, AuditError::InUse { .. } | AuditError::Underway) => {}
            Err(e) => panic!("{e}"),
        }
        for size in [20, 100, 1000, 100_000, 300_000] {
            let block = Layout::from_size_align(size, 8).unwrap();
            match segment.access().allocate(block) {
                Ok(_) => {}
                Err(e) => assert!(e.is_out_of_memory()),
            }
        }
    }
}

/// Comes, changes things, looks whether they stay, and goes.
fn guest() {
    let (name, i): (String, usize) = (argument(0), argument(1));
    report("comes and goes");
    let end = Instant::now() + Duration::from_millis(argument(2));
    let mut visits = 0;
    while Instant::now() < end || visits == 0 {
        let segment = Segment::shared(&name).open().unwrap();
        let own: Root<List> = loop {
            match segment.find_or_construct::<List>(&scratch(i), ShmMutex::new(texts(20))) {
                // The runner leaks as much as there is.
                Err(e) if e.is_out_of_memory() => std::thread::yield_now(),
                other => break other.unwrap(),
            }
        };
        let mut guard = own.lock().unwrap();
        let mut view = guard.view();
        assert!(view.iter().enumerate().all(|(i, stored)| **stored == *text(i)), "something was swept");
        let len = view.len();
        match view.push(text(len)) {
            Ok(()) if len > 40 => view.truncate(5),
            Ok(()) => {}
            Err(e) => assert!(e.is_out_of_memory()),
        }
        drop(guard);
        visits += 1;
    }
    report(visits);
}

/// Runners and guests at once: either a guest is kept out, or the runner is refused; and a runner that is killed keeps
/// nobody out.
#[test]
fn nothing_that_lives_is_swept_whoever_comes_meanwhile() {
    let _watchdog = Watchdog::test("runners and guests");
    let name = TempName::new("guests");
    let mut segment = name.segment().size(16 << 20).create().unwrap();
    stock(&segment);
    drop(segment);
    let millis = if long() { 20_000 } else { 1500 };
    let mut random = Random::new(Random::fresh_seed("leaks"));
    let mut guests: Vec<Worker> = (0..2).map(|i| Worker::spawn("guest", &[&name, &i, &millis])).collect();
    guests.iter_mut().for_each(|guest| guest.expect("comes and goes"));
    let end = Instant::now() + Duration::from_millis(millis);
    let mut killed = 0;
    while Instant::now() < end {
        let mut runners = [Worker::spawn("runner", &[&name]), Worker::spawn("runner", &[&name])];
        runners.iter_mut().for_each(|runner| runner.expect("runs"));
        std::thread::sleep(Duration::from_micros(random.below(60_000)));
        runners.iter_mut().for_each(Worker::kill);
        killed += 2;
    }
    for mut guest in guests {
        let visits: u64 = guest.hear().parse().unwrap();
        assert!(visits > 0);
        guest.finish();
    }
    assert!(killed > 0);
    segment = name.segment().open().unwrap();
    segment.recover_leaks().unwrap();
    assert!(segment.verify().unwrap().is_sound());
    is_stocked(&segment);
}

#[test]
fn a_runner_that_is_stopped_keeps_others_out_and_one_that_is_killed_does_not() {
    let _watchdog = Watchdog::test("stopped runner");
    let name = TempName::new("stopped");
    stock(&name.segment().size(16 << 20).create().unwrap());
    for _ in 0..if long() { 50 } else { 5 } {
        let mut runner = Worker::spawn("runner", &[&name]);
        runner.expect("runs");
        runner.signal(libc::SIGSTOP);
        eventually("it is stopped", || ends::is_stopped(runner.pid()));
        let segment = name.segment().open().unwrap();
        let comes = std::thread::spawn(move || {
            drop(segment.find::<ShmVec<u64>>("numbers").unwrap().unwrap());
            segment
        });
        std::thread::sleep(Duration::from_millis(20));
        // It is in by now, unless the runner was stopped while it was alone.
        runner.kill();
        let mut segment = comes.join().unwrap();
        segment.recover_leaks().unwrap();
        is_stocked(&segment);
    }
}

/// Stores a type that the test does not know.
fn stranger() {
    let segment = in_role();
    segment.construct::<Placed>("placed", Place::Number(7)).unwrap();
    segment.construct::<ShmVec<Placed>>("all", [Place::Number(8), Place::Number(9)]).unwrap();
    segment.construct::<ShmVec<Placed>>("none", [Place::Number(1); 0]).unwrap();
}

#[test]
fn types_that_nothing_stored_describes_are_named_and_nothing_is_swept() {
    let _watchdog = Watchdog::test("unknown types");
    let name = TempName::new("unknown");
    let mut segment = name.segment().size(16 << 20).create().unwrap();
    stock(&segment);
    Worker::spawn("stranger", &[&name]).finish();
    segment.access().allocate(Layout::new::<[u64; 100]>()).unwrap();
    let used = segment.used();
    let mut unknown = match audit(segment.recover_leaks().unwrap_err()) {
        AuditError::UnknownTypes { objects } => objects,
        other => panic!("{other}"),
    };
    unknown.sort();
    assert_eq!(unknown, ["`all` (ShmVec<Placed>)", "`placed` (Placed)"]);
    assert_eq!(segment.used(), used);
    let mut report = segment.verify().unwrap();
    report.unknown.sort();
    assert_eq!((report.objects, &report.unknown, report.is_sound()), (4, &unknown, true));
    assert!(report.to_string().contains("\n  `placed` (Placed): not walked, its type is not known here"));
    // Whoever looks for one knows it from then on, also inside others.
    assert!(segment.find::<Placed>("placed").unwrap().is_some());
    assert_eq!(segment.recover_leaks().unwrap().swept_blocks(), 1);
    let report = segment.verify().unwrap();
    assert_eq!((report.objects, report.unknown.len()), (6, 0));
    assert_eq!(segment.find::<ShmVec<Placed>>("all").unwrap().unwrap().len(), 2);
    is_stocked(&segment);
}

#[test]
fn a_damaged_file_yields_findings_and_no_sweep() {
    let _watchdog = Watchdog::test("damaged file");
    let name = TempName::new("damaged");
    let mut segment = name.segment().size(16 << 20).create().unwrap();
    stock(&segment);
    let at = segment.find::<ShmVec<u64>>("numbers").unwrap().unwrap().offset();
    segment.access().allocate(Layout::new::<[u64; 100]>()).unwrap();
    let used = segment.used();
    let file = std::fs::OpenOptions::new().write(true).open(name.path()).unwrap();
    let write = |word: u64, value: u64| {
        std::os::unix::fs::FileExt::write_at(&file, &value.to_le_bytes(), at + 8 * word).unwrap();
    };
    write(1, 60_000);
    let report = segment.verify().unwrap();
    let [finding] = &report.findings[..] else { panic!("{report}") };
    assert_eq!(finding.object.as_deref(), Some("`numbers` (ShmVec<u64>)"));
    assert_eq!(finding.corrupt.at, at);
    let refused = audit(segment.recover_leaks().unwrap_err());
    assert_eq!(refused, AuditError::Damaged { findings: report.findings.clone() });
    assert_eq!(refused.to_string(), format!("the segment is damaged: {finding}"));
    assert_eq!(segment.used(), used);
    write(1, 50_000);
    assert_eq!(segment.recover_leaks().unwrap().swept_blocks(), 1);
    is_stocked(&segment);
}
