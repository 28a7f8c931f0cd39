//! The programs that allocators are measured and broken with: see `shmem_tests::stress`. `SHMEM_LONG=1` does 50 times as
//! much, `SHMEM_STRESS=N` so many times.

use shmem_core::Segment;
use shmem_tests::stress::{processes, settled, threads};
use shmem_tests::*;

roles! { line, producer, consumer }

/// Large enough for caches.
const SIZE: u64 = 256 << 20;

fn by_threads(program: &str, run: fn(&Segment, u64)) {
    let _watchdog = Watchdog::test(program);
    let segment = Segment::anonymous().size(SIZE).create().unwrap();
    run(&segment, Random::fresh_seed(program));
    settled(&segment);
}

#[test]
fn larson() {
    by_threads("larson", threads::larson);
}

#[test]
fn cache_thrash() {
    by_threads("cache-thrash", threads::thrash);
}

#[test]
fn cache_scratch() {
    by_threads("cache-scratch", threads::scratch);
}

#[test]
fn producers_and_consumers() {
    by_threads("producers and consumers", threads::producers);
}

#[test]
fn producers_and_consumers_of_large_blocks() {
    by_threads("producers and consumers of large blocks", threads::producers_of_large);
}

#[test]
fn batches() {
    by_threads("batches", threads::batches);
}

// ---- processes (what others allocate, the sanitizer's poison does not know of) ---------------------------------

fn in_role() -> Segment {
    Segment::shared(&argument::<String>(0)).open().unwrap()
}

fn line() {
    processes::work_on_line(&in_role(), argument(1), argument(2));
}

#[test]
#[cfg(not(shmem_poison))]
fn larson_by_processes() {
    let _watchdog = Watchdog::test("larson, by processes");
    let name = TempName::new("larson");
    let segment = name.segment().size(SIZE).create().unwrap();
    processes::prepare_lines(&segment);
    let seed = Random::fresh_seed("larson, by processes");
    // Each line has its successors, whether the others are slower or not.
    std::thread::scope(|scope| {
        for line in 0..processes::LINES {
            let name = &name;
            scope.spawn(move || {
                for generation in 0..4 + 4 * shmem_tests::stress::scale() {
                    let seed = seed ^ generation << 32 ^ (line as u64) << 48;
                    Worker::spawn("line", &[name, &line, &seed]).finish();
                }
            });
        }
    });
    processes::clear_lines(&segment);
    settled(&segment);
}

fn producer() {
    processes::produce(&in_role(), argument(1), argument(2));
}

fn consumer() {
    report(processes::consume(&in_role(), argument(1)));
}

#[test]
#[cfg(not(shmem_poison))]
fn producers_and_consumers_by_processes() {
    let _watchdog = Watchdog::test("producers and consumers, by processes");
    let name = TempName::new("producers");
    let segment = name.segment().size(SIZE).create().unwrap();
    let (producers, seed) = (2, Random::fresh_seed("producers and consumers, by processes"));
    processes::prepare_exchange(&segment, producers);
    let producing: Vec<_> =
        (0..producers).map(|i| Worker::spawn("producer", &[&name, &i, &(seed ^ i << 48)])).collect();
    let consuming: Vec<_> =
        (0..2).map(|i| Worker::spawn("consumer", &[&name, &(seed ^ (i + 8) << 48)])).collect();
    producing.into_iter().for_each(Worker::finish);
    let reports = consuming.into_iter().flat_map(Worker::finish_reports);
    let freed: u64 = reports.map(|report| report.parse::<u64>().unwrap()).sum();
    assert_eq!(freed, processes::produced(producers));
    processes::clear_exchange(&segment);
    settled(&segment);
}
