//! Several processes meet at one name: exactly one creates the segment, exactly one constructs the object, and a kill
//! costs neither.

use shmem_core::{OpenError, Root, Segment, init};
use shmem_tests::*;
use std::hint;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::{Duration, Instant};

roles! { racer, victim }

const RACERS: u64 = 8;

fn rounds() -> usize {
    if long() { 2000 } else { 200 }
}

/// The tally of each round, in a segment of its own.
fn tally(control: &str, what: &str, n: usize) -> Root<[AtomicU64]> {
    let control = Segment::shared(control).size(1 << 20).open_or_create().unwrap();
    control.find_or_construct_slice::<AtomicU64, _>(what, n, |_| AtomicU64::new(0)).unwrap()
}

fn meet(place: &AtomicU64) {
    place.fetch_add(1, SeqCst);
    eventually("every racer is there", || place.load(SeqCst) >= RACERS);
}

/// A whole value of a round: each element the same.
fn is_whole(value: &[u64], key: u64) -> bool {
    value.len() == 32 && value.iter().all(|&word| word == key)
}

fn racer() {
    let (control, base, rounds): (String, String, usize) = (argument(0), argument(1), argument(2));
    let [start, end, created, constructed] =
        ["start", "end", "created", "constructed"].map(|what| tally(&control, what, rounds));
    for round in 0..rounds {
        let name = format!("{base}-{round}");
        meet(&start[round]);
        let segment = Segment::shared(&name).size(64 << 10).open_or_create().unwrap();
        created[round].fetch_add(segment.created().into(), SeqCst);
        let one = segment.find_or_construct::<u64>(
            "one",
            init::from_fn(|| {
                constructed[round].fetch_add(1, SeqCst);
                Ok::<_, OpenError>(round as u64)
            }),
        );
        assert_eq!(*one.unwrap(), round as u64);
        let many = segment.find_or_construct_slice::<u64, _>("many", 32, |_| round as u64).unwrap();
        assert!(is_whole(&many, round as u64));
        meet(&end[round]);
        if Segment::remove(&name).unwrap() {
            sound(&segment);
        }
    }
}

#[test]
fn one_creates_and_one_constructs_in_every_round() {
    let _watchdog = Watchdog::test("races");
    let (control, base) = (TempName::new("tally"), TempName::new("race"));
    let workers: Vec<_> =
        (0..RACERS).map(|_| Worker::spawn("racer", &[&control, &base, &rounds()])).collect();
    workers.into_iter().for_each(Worker::finish);
    for what in ["created", "constructed"] {
        let counts: Vec<u64> = tally(&control, what, rounds()).iter().map(|n| n.load(SeqCst)).collect();
        assert!(counts.iter().all(|&n| n == 1), "{what}: {counts:?}");
    }
    assert_eq!(leftovers(&base), [""; 0]);
}

/// Goes from name to name; in each it creates the segment and constructs the object, slowly, if it is the first.
fn victim() {
    let (control, base): (String, String) = (argument(0), argument(1));
    let [progress, constructs] = ["progress", "constructs"].map(|what| tally(&control, what, 1));
    report("running");
    for key in 0.. {
        progress[0].fetch_max(key, SeqCst);
        let segment = Segment::shared(&format!("{base}-{key}")).size(64 << 10).open_or_create().unwrap();
        constructs[0].fetch_add(segment.created().into(), SeqCst);
        let value = construct_slowly(&segment, key);
        assert!(is_whole(&value, key), "{value:?}");
    }
}

fn construct_slowly(segment: &Segment, key: u64) -> Root<[u64]> {
    let value = segment.find_or_construct_slice::<u64, _>("value", 32, |_| {
        (0..200).for_each(|_| hint::spin_loop());
        key
    });
    value.unwrap()
}

#[test]
fn killed_creators_and_constructors_lose_no_round() {
    let _watchdog = Watchdog::test("races with kills");
    let mut random = Random::new(Random::fresh_seed("races with kills"));
    let mut names = 0;
    for _ in 0..if long() { 300 } else { 25 } {
        let (control, base) = (TempName::new("kill-tally"), TempName::new("kill"));
        let mut victims: Vec<_> = (0..4).map(|_| Worker::spawn("victim", &[&control, &base])).collect();
        victims.iter_mut().for_each(|victim| victim.expect("running"));
        for victim in &mut victims {
            std::thread::sleep(Duration::from_micros(random.below(4000)));
            victim.kill();
        }
        let last = tally(&control, "progress", 1)[0].load(SeqCst);
        for key in 0..=last {
            let start = Instant::now();
            let name = format!("{base}-{key}");
            let segment = Segment::shared(&name).size(64 << 10).open_or_create().unwrap();
            let value = construct_slowly(&segment, key);
            assert!(is_whole(&value, key), "{value:?}");
            assert!(start.elapsed() < Duration::from_secs(20), "a dead constructor was waited for");
            segment.recover();
            assert_eq!(segment.attached_pids(), [std::process::id()]);
            sound(&segment);
            assert!(Segment::remove(&name).unwrap());
        }
        names += last + 1;
        assert_eq!(leftovers(&base), [""; 0]);
    }
    println!("{names} names");
}
