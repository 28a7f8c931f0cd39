//! Kills in a loop of allocations and frees, while others use the same segment.
//!
//! Workers do what those of [`heap`] do, with objects without names among it, and are killed at it, one after the other, for as
//! long as `--kills` says. All along one process that never dies allocates and frees in the same segment: its operations must
//! go through, and what it has must stay as it is. There is one life, so whatever a death leaves is there for all
//! later ones; one audit at the end compares with the ledger.

use super::ledger::word;
use super::{Runner, Scene, Suite, heap};
use crate::{thread_time, waits_of_this_thread};
use shmem_core::{Owned, Segment, ShmMutex, ShmVec};
use std::sync::atomic::Ordering::SeqCst;

/// See the [module](self).
pub struct AllocateLoop;

/// What the witness has counted: see [`AllocateLoop::counts`]. Those before are `heap`'s.
const WITNESSED: usize = 2;
const WAITS: usize = 3;
const LONGEST_US: usize = 4;

/// Objects that a thread has at once.
const OBJECTS: usize = 8;
/// All that have been at once; the directory keeps the room for so many.
const ALL_OBJECTS: usize = 200;
/// One time in so many, a worker overwrites what is free.
const ZEROING: u64 = 100_000;
/// Blocks that a kill may leak, on an average over more than a few. (One is what was in hand; a death while a magazine is
/// filled or emptied costs up to 22.)
const LEAKED_EACH: u64 = 4;
const FEW: u64 = 20;
/// Steps of the witness between two looks at everything.
const STEPS: u64 = 2000;

/// A vector whose every element is its length.
type Thing = ShmMutex<ShmVec<u64>>;

fn new_thing(segment: &Segment, n: u64) -> shmem_core::Result<Owned<Thing>> {
    segment.construct_anonymous::<Thing>(ShmMutex::new(vec![n; n as usize]))
}

/// A thread's objects.
struct Things<'s> {
    scene: &'s Scene,
    segment: &'s Segment,
    things: Vec<Owned<Thing>>,
}

impl Things<'_> {
    /// Makes an object, or checks and drops one.
    fn step(&mut self, n: u64) {
        if self.things.len() < OBJECTS {
            match new_thing(self.segment, n) {
                Ok(thing) => self.things.push(thing),
                Err(e) => self.scene.corrupt(format!("an object of {n}: {e}")),
            }
            return;
        }
        let thing = self.things.swap_remove(n as usize % OBJECTS);
        match thing.lock() {
            Ok(list) => {
                if list.iter().any(|element| *element != list.len() as u64) {
                    self.scene.corrupt(format!("an object of {} has changed", list.len()));
                }
            }
            Err(e) => self.scene.corrupt(format!("a lock of its own: {e}")),
        }
    }
}

impl Suite for AllocateLoop {
    fn name(&self) -> &'static str {
        "allocate-loop"
    }

    fn about(&self) -> &'static str {
        "kills while allocating, beside a process that never dies; --kills says how many"
    }

    fn counts(&self) -> &'static [&'static str] {
        &[
            "bytes leaked",
            "killed by themselves",
            "operations of the process that never dies",
            "times it waited in the kernel while it allocated and freed",
            "microseconds of processor time that its longest operation took",
        ]
    }

    fn sabotages(&self) -> &'static [&'static str] {
        &["twice", "keep", "wait"]
    }

    fn prepare(&self, scene: &Scene) {
        let segment = heap::open(scene);
        // The directory keeps the room that it has once needed.
        drop((0..ALL_OBJECTS as u64).map(|_| new_thing(&segment, 3)).collect::<Vec<_>>());
        heap::prepare(scene);
    }

    fn work(&self, scene: &Scene) {
        let threads = 1 + scene.random(0).below(2) as usize;
        scene.threads(threads, |thread, desk| {
            let mut random = scene.random(thread);
            let mut worker = heap::Worker::new(scene, thread, desk);
            let segment = worker.segment().clone();
            let mut things = Things { scene, segment: &segment, things: Vec::new() };
            while scene.goes_on() {
                if random.below(16) == 0 {
                    let n = random.size(500);
                    desk.doing("make or drop an object", n);
                    things.step(n);
                } else {
                    worker.step(ZEROING);
                }
                if scene.sabotages("keep", &mut random, 20) {
                    std::mem::forget(segment.allocate(std::alloc::Layout::new::<[u64; 8]>()));
                }
            }
        });
    }

    /// One thread allocates and frees, which never waits for anybody; another makes and drops objects, which waits for
    /// locks of the dead.
    fn watch(&self, scene: &Scene) {
        scene.threads(2, |thread, desk| {
            let mut random = scene.random(thread);
            let mut worker = heap::Worker::new(scene, thread, desk);
            let segment = worker.segment().clone();
            let mut things = Things { scene, segment: &segment, things: Vec::new() };
            let count = |i: usize| scene.ledger().count(i);
            while scene.goes_on() {
                if thread == 1 {
                    let n = random.size(500);
                    desk.doing("make or drop an object", n);
                    things.step(n);
                    desk.done();
                    continue;
                }
                let waits = waits_of_this_thread();
                for _ in 0..STEPS {
                    let begun = thread_time();
                    worker.step(u64::MAX);
                    count(LONGEST_US).fetch_max((thread_time() - begun).as_micros() as u64, SeqCst);
                }
                count(WAITS).fetch_add(waits_of_this_thread() - waits, SeqCst);
                count(WITNESSED).fetch_add(STEPS, SeqCst);
                desk.doing("check", 0);
                scene.check(&segment, "while others are killed");
                if segment.memory().bad_frees > 0 {
                    scene.corrupt("frees were refused");
                }
                if scene.sabotages("wait", &mut random, 10) {
                    desk.doing("wait for nothing", 0);
                    std::thread::park();
                }
            }
        });
    }

    fn recover(&self, _: &Scene) {}

    fn audit(&self, scene: &Scene) {
        scene.threads(1, |thread, desk| {
            desk.doing("recover", 0);
            let segment = heap::open(scene);
            segment.recover();
            // Whoever has an object of the type at hand drops what the dead have left of it.
            drop(new_thing(&segment, 3));
            if segment.object_count() != 1 {
                scene.corrupt(format!("{} objects are left", segment.object_count() - 1));
            }
            heap::audit(scene, thread, desk);
            let [leaked, kills] = [word::LEAKED, word::KILLS].map(|at| scene.ledger().at(at).load(SeqCst));
            if leaked > LEAKED_EACH * (kills + FEW) {
                scene.corrupt(format!("{leaked} blocks were leaked by {kills} kills"));
            }
        });
    }

    fn run(&self, runner: &mut Runner) {
        runner.beside_a_witness();
    }
}
