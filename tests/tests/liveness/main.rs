//! Who counts as dead, and what becomes of what they had: every manner of ending, or of only seeming to, in every kind
//! of work, with all witnesses and with each one missing.
//!
//! `cargo test -p shmem-tests --test liveness -- --nocapture` prints the tables.

mod cells;
mod lost;
mod manners;
mod memory;
mod namespaces;
mod victim;

use cells::judge;
use lost::{headless, without_descriptors};
use memory::{on_overlayfs, sharer};
use namespaces::{inner_judge, own_proc_judge};
use shmem_core::__testing::{Witness, ignore};
use shmem_core::{Root, Segment, ShmMutex};
use shmem_tests::*;
use victim::{helper, observer, reader, third, victim};

roles! {
    judge, victim, observer, third, reader, helper, inner_judge, own_proc_judge, headless, without_descriptors, on_overlayfs,
    sharer
}

type Counter = ShmMutex<u64>;

/// Whatever each process of a cell opens.
fn open(name: &str) -> (Segment, Root<Counter>) {
    let segment = Segment::shared(name).open().unwrap();
    let counter = segment.find::<Counter>("counter").unwrap().unwrap();
    (segment, counter)
}

/// A witness by its name on a command line; `none` is none.
fn witness(name: &str) -> Option<Witness> {
    [Witness::Byte, Witness::Threads, Witness::Cell].into_iter().find(|w| format!("{w:?}") == name)
}

/// Has this process do without the witness that argument `i` names.
fn ignore_argument(i: usize) -> Option<Witness> {
    let missing = witness(&argument::<String>(i));
    missing.into_iter().for_each(ignore);
    missing
}

/// Removes the segments of a judge's cells, should it be killed because it hangs.
struct Sweep(u32);

impl Drop for Sweep {
    fn drop(&mut self) {
        for name in leftovers(&format!("-cell-{}-", self.0)) {
            // Not of importance beside the failure.
            let _ = Segment::remove(&name);
        }
    }
}

/// One table. A process decides it, because a process that has once ignored a witness does so for good.
fn table(missing: &str) {
    let _watchdog = Watchdog::test(format!("the matrix without {missing}"));
    let mut judge = Worker::spawn("judge", &[&missing]);
    let _sweep = Sweep(judge.pid());
    // Longer than a cell may take to fail.
    while let Some(line) = judge.reports_within(2 * PATIENCE) {
        println!("{line}");
    }
    judge.finish();
}

#[test]
fn with_all_witnesses() {
    table("none");
}

#[test]
fn without_the_byte() {
    table("Byte");
}

#[test]
fn without_the_threads() {
    table("Threads");
}

#[test]
fn without_the_cell() {
    table("Cell");
}
