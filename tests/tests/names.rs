//! Names between processes: constructing, finding and destroying them, and what the dead held.

use shmem_core::{Error, NameError, Root, Segment, ShmMutex, ShmString, ShmVec};
use shmem_tests::*;

roles! { churner, reader, owner, stranger, slow_builder }

type Notes = ShmMutex<ShmVec<ShmString>>;

fn in_role() -> Segment {
    Segment::shared(&argument::<String>(0)).open().unwrap()
}

fn churner() {
    let segment = in_role();
    let (mut constructed, mut destroyed) = (0, 0);
    for i in 0..argument::<u64>(1) {
        match segment.construct::<u64>("contested", i) {
            Ok(_) => constructed += 1,
            Err(Error::Name(e)) if matches!(*e, NameError::AlreadyExists { .. }) => {}
            Err(e) => panic!("{e}"),
        }
        destroyed += u64::from(segment.destroy::<u64>("contested").unwrap());
    }
    report(format!("{constructed} {destroyed}"));
}

#[test]
fn two_processes_construct_and_destroy_one_name_ten_thousand_times() {
    let _watchdog = Watchdog::test("one name");
    let name = TempName::new("one-name");
    let segment = name.segment().size(256 << 10).create().unwrap();
    segment.construct::<u64>("contested", 0).unwrap();
    segment.destroy::<u64>("contested").unwrap();
    let used = segment.used();
    let mut workers: Vec<_> = (0..2).map(|_| Worker::spawn("churner", &[&name, &10_000])).collect();
    let (mut constructed, mut destroyed) = (0, 0);
    for worker in &mut workers {
        let line = worker.hear();
        let counts: Vec<u64> = line.split(' ').map(|n| n.parse().unwrap()).collect();
        constructed += counts[0];
        destroyed += counts[1];
    }
    workers.into_iter().for_each(Worker::finish);
    assert_eq!(constructed - destroyed, segment.object_count() as u64);
    assert!(constructed >= 10_000, "{constructed}");
    segment.destroy::<u64>("contested").unwrap();
    assert_eq!((segment.object_count(), segment.used()), (0, used));
    sound(&segment);
}

fn notes(segment: &Segment, name: &str) -> Root<Notes> {
    let long = "a text that is too long to stand inline ".repeat(20);
    let notes = segment.construct::<Notes>(name, ShmMutex::new(ShmVec::new())).unwrap();
    let mut guard = notes.lock().unwrap();
    (0..100).for_each(|_| guard.view().push(long.as_str()).unwrap());
    drop(guard);
    notes
}

/// A segment in which the types of this suite are known, and how much of it that takes.
fn prepared(name: &TempName) -> (Segment, u64) {
    let segment = name.segment().size(1 << 20).create().unwrap();
    drop(notes(&segment, "warm"));
    assert!(segment.destroy::<Notes>("warm").unwrap());
    let used = segment.used();
    (segment, used)
}

fn reader() {
    let segment = in_role();
    let notes = segment.find::<Notes>("notes").unwrap().unwrap();
    report("held");
    while let Some(line) = hear() {
        match &*line {
            "read" => {
                let guard = notes.lock().unwrap();
                assert!(guard.len() == 100 && guard.iter().all(|note| note.starts_with("a text")));
                drop(guard);
                assert!(segment.find::<Notes>("notes").unwrap().is_none());
                report("read");
            }
            _ => break,
        }
    }
    drop(notes);
    report("dropped");
}

#[test]
fn what_is_destroyed_elsewhere_lives_while_it_is_held() {
    let _watchdog = Watchdog::test("held");
    let name = TempName::new("held");
    let (segment, used) = prepared(&name);
    drop(notes(&segment, "notes"));
    let mut worker = Worker::spawn("reader", &[&name]);
    worker.expect("held");
    assert!(segment.destroy::<Notes>("notes").unwrap());
    assert_eq!(segment.object_count(), 0);
    assert!(segment.used() > used + 50_000);
    worker.tell("read");
    worker.expect("read");
    worker.tell("drop");
    worker.expect("dropped");
    assert_eq!(segment.used(), used, "the last holder freed it");
    worker.finish();
    sound(&segment);
}

#[test]
fn what_a_killed_process_held_is_freed() {
    let _watchdog = Watchdog::test("killed holder");
    let name = TempName::new("killed-holder");
    let (segment, used) = prepared(&name);
    for _ in 0..3 {
        drop(notes(&segment, "notes"));
        let mut worker = Worker::spawn("reader", &[&name]);
        worker.expect("held");
        assert!(segment.destroy::<Notes>("notes").unwrap());
        worker.kill();
        assert!(segment.used() > used + 50_000);
        assert_eq!(segment.recover(), 1);
        // Whoever recovers may not know the type; whoever next works with it frees the object.
        assert!(segment.find::<Notes>("none").unwrap().is_none());
        assert_eq!(segment.used(), used);
        sound(&segment);
    }
}

fn owner() {
    let segment = in_role();
    let owned = segment.construct_anonymous::<Notes>(ShmMutex::<ShmVec<_>>::new(["mine"])).unwrap();
    owned.lock().unwrap().view().push("x".repeat(100_000)).unwrap();
    notes(&segment, "notes");
    let held = segment.find::<Notes>("notes").unwrap();
    assert!(segment.destroy::<Notes>("notes").unwrap());
    assert!(held.is_some());
    report("owning");
    hear();
}

/// Recovers, and knows none of the types.
fn stranger() {
    let segment = in_role();
    report(segment.recover());
    report(segment.object_count());
    sound(&segment);
}

#[test]
fn orphans_wait_for_somebody_who_knows_their_type() {
    let _watchdog = Watchdog::test("orphans");
    let name = TempName::new("orphans");
    let (segment, used) = prepared(&name);
    let mut owner = Worker::spawn("owner", &[&name]);
    owner.expect("owning");
    assert_eq!(segment.object_count(), 1, "the anonymous one");
    owner.kill();
    let mut stranger = Worker::spawn("stranger", &[&name]);
    stranger.expect("1");
    stranger.expect("0");
    stranger.finish();
    assert!(segment.used() > used + 100_000, "nobody dropped what he does not know");
    sound(&segment);
    // Another type does not help; the type does.
    assert!(segment.find::<u64>("none").unwrap().is_none());
    assert!(segment.used() > used + 100_000);
    assert!(segment.find::<Notes>("none").unwrap().is_none());
    assert_eq!(segment.used(), used);
    sound(&segment);
}

fn slow_builder() {
    let segment = in_role();
    let mut built = 0;
    let _ = segment.construct_slice::<ShmString, _>("notes", 10, |_| {
        built += 1;
        if built == 5 {
            report("half-way");
            hear();
        }
        "a text that is too long to stand inline"
    });
    report("finished");
}

#[test]
fn who_waits_for_a_constructor_that_is_killed_constructs() {
    let _watchdog = Watchdog::test("killed constructor");
    let name = TempName::new("constructor");
    let segment = name.segment().size(1 << 20).create().unwrap();
    let mut worker = Worker::spawn("slow_builder", &[&name]);
    worker.expect("half-way");
    assert!(segment.find_slice::<ShmString>("notes").unwrap().is_none(), "nothing to be seen");
    assert!(!segment.destroy::<ShmString>("notes").unwrap());
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| {
            let mine = segment.find_or_construct_slice::<ShmString, _>("notes", 10, |_| "mine").unwrap();
            assert!(mine.iter().all(|note| *note == "mine"));
        });
        std::thread::sleep(std::time::Duration::from_millis(100));
        assert!(!waiting.is_finished(), "a slow constructor is waited for");
        worker.kill();
        waiting.join().unwrap();
    });
    segment.recover();
    sound(&segment);
}

#[test]
fn who_waits_for_a_constructor_gets_its_object() {
    let _watchdog = Watchdog::test("slow constructor");
    let name = TempName::new("slow");
    let segment = name.segment().size(1 << 20).create().unwrap();
    let mut worker = Worker::spawn("slow_builder", &[&name]);
    worker.expect("half-way");
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| {
            let theirs = segment.find_or_construct_slice::<ShmString, _>("notes", 10, |_| "mine").unwrap();
            assert!(theirs.iter().all(|note| note.starts_with("a text")));
        });
        std::thread::sleep(std::time::Duration::from_millis(50));
        worker.tell("go on");
        waiting.join().unwrap();
    });
    worker.expect("finished");
    worker.finish();
    sound(&segment);
}
