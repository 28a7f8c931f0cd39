//! The suite that CONTRIBUTING.md shows: counters that workers raise without a lock.
//!
//! A worker notes in the ledger that it is about to raise a counter, raises it, and notes that it did. So at the end
//! each counter is at least what was noted after, and at most what was noted before.

use super::{Scene, Suite};
use shmem_core::{Root, Segment};
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

/// See the [module](self).
pub struct Counter;

const COUNTERS: usize = 8;
/// The suite's words: how often each counter was about to be raised, and how often it was.
const BEFORE: usize = 0;
const AFTER: usize = COUNTERS;

fn open(scene: &Scene) -> (Segment, Root<[AtomicU64]>) {
    let segment = Segment::shared(scene.base()).size(1 << 20).open_or_create().unwrap();
    let counters = segment.find_or_construct_slice("counters", COUNTERS, |_| AtomicU64::new(0)).unwrap();
    (segment, counters)
}

impl Suite for Counter {
    fn name(&self) -> &'static str {
        "counter"
    }

    fn about(&self) -> &'static str {
        "counters raised without a lock: the example of CONTRIBUTING.md"
    }

    fn sabotages(&self) -> &'static [&'static str] {
        &["ledger"]
    }

    fn prepare(&self, scene: &Scene) {
        open(scene);
    }

    fn work(&self, scene: &Scene) {
        let words = scene.ledger().suite();
        scene.threads(1, |thread, desk| {
            let mut random = scene.random(thread);
            desk.doing("open", 0);
            let (_segment, counters) = open(scene);
            while scene.goes_on() {
                let i = random.below(COUNTERS as u64) as usize;
                desk.doing("raise", i as u64);
                words[BEFORE + i].fetch_add(1, SeqCst);
                counters[i].fetch_add(1, SeqCst);
                words[AFTER + i].fetch_add(1, SeqCst);
                if scene.sabotages("ledger", &mut random, 1000) {
                    words[AFTER + i].fetch_add(1_000_000, SeqCst);
                }
                desk.done();
            }
        });
    }

    fn recover(&self, scene: &Scene) {
        while scene.goes_on() {
            open(scene).0.recover();
        }
    }

    fn audit(&self, scene: &Scene) {
        let words = scene.ledger().suite();
        let (segment, counters) = open(scene);
        segment.recover();
        scene.check(&segment, "counter");
        for (i, counter) in counters.iter().enumerate() {
            let (before, after) = (words[BEFORE + i].load(SeqCst), words[AFTER + i].load(SeqCst));
            let now = counter.load(SeqCst);
            if !(after..=before).contains(&now) {
                scene.corrupt(format!("counter {i} is {now}, and was raised {after} to {before} times"));
            }
        }
    }
}
