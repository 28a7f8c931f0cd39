//! Death at every instruction: one operation is run in a child process under ptrace, which is killed after instruction
//! 1, 2, … N; after each kill everything is checked.
//!
//! | process | what it does |
//! |---|---|
//! | the tester | makes a fresh segment for each kill and has it open; checks, after the kill, what is left |
//! | the stepper | a [`Worker`](crate::Worker): forks a child for each kill, steps it, kills it |
//! | a child | prepares, stops at the mark [`begin`], goes on as it is let, never passes the mark [`end`] |
//!
//! An [`Operation`] says what the segment holds before, what the child prepares and runs, and how the tester checks. The
//! kit adds what holds for each of them: nothing hangs, [`Segment::recover`] leaves no process, pin or slot of the dead,
//! [`Segment::check`] finds nothing, and the operation takes effect at one instruction, before which it never has
//! and after which it always has. [`run`] gives a [`Report`]; the program `single_step` makes full runs.
//!
//! A system call is one instruction; a repeated string instruction is one for each repetition. Stepping to each of N
//! instructions would take N²/2 steps of 20 µs or more: so the first child is stepped once to learn the N addresses, and
//! every further one runs at full speed to a hardware breakpoint near its last instruction, at an address that
//! it has passed least often by then (see `route`). Where it arrives is compared with what was learnt: a kill
//! elsewhere counts, and is checked, as *strayed*.
//!
//! A suite of other operations has a role `stepper` that [serves](serve) them, and [runs](run) each:
//!
//! ```no_run
//! use shmem_core::{Root, ShmMutex};
//! use shmem_tests::step::{self, BOUND, Choice, Effect, Operation, Scene, region};
//!
//! fn counter(scene: &Scene) -> Root<ShmMutex<u64>> {
//!     scene.open().find("counter").unwrap().unwrap()
//! }
//!
//! const LOCK: Operation = Operation {
//!     name: "lock",
//!     bytes: step::SMALL,
//!     build: Some(|segment| drop(segment.construct::<ShmMutex<u64>>("counter", ShmMutex::new(7)).unwrap())),
//!     victim: None,
//!     child: |scene| {
//!         let counter = counter(scene);
//!         region(|| std::mem::forget(counter.lock()))
//!     },
//!     arrange: |scene| {
//!         let counter = scene.segment().find::<ShmMutex<u64>>("counter").unwrap().unwrap();
//!         Box::new(move |_| match counter.lock_timeout(BOUND) {
//!             Ok(_) => Effect::Nothing,
//!             Err(_) => Effect::Whole,
//!         })
//!     },
//! };
//!
//! fn stepper() {
//!     step::serve(&[LOCK]);
//! }
//!
//! step::run(&LOCK, Choice::ALL).assert_good();
//! ```
//!
//! x86-64 only: marks, registers and breakpoints are.

mod child;
mod explain;
pub mod operations;
mod panics;
mod report;
mod route;
mod run;
mod server;
mod trial;

pub use child::{begin, end, region};
pub use report::{Bad, Report};
pub use run::{Choice, run, run_within};
pub use server::serve;

use shmem_core::Segment;
use std::time::Duration;

/// How long anything may take that a death must not stop.
pub const BOUND: Duration = Duration::from_secs(8);

/// How large the segment of an operation is, mostly.
pub const SMALL: u64 = 1 << 20;

/// An operation that may die anywhere.
#[derive(Debug, Clone, Copy)]
pub struct Operation {
    /// What it is called; words joined by `-`.
    pub name: &'static str,
    /// How large the segment is. Each kill gets a copy of what is committed.
    pub bytes: u64,
    /// Builds what the segment holds before; `None` if there is no segment before. Run once: each kill gets a copy.
    pub build: Option<fn(&Segment)>,
    /// What another process does before, which then dies.
    pub victim: Option<fn(&Scene)>,
    /// What the child does: it prepares, and runs the operation in a [`region`].
    pub child: fn(&Scene),
    /// What the tester does while the child stands at the mark; gives the check of what its death leaves.
    pub arrange: fn(&Scene) -> Check,
}

/// Where an operation takes place, for any of its processes.
#[derive(Debug)]
pub struct Scene {
    name: String,
    segment: Option<Segment>,
}

impl Scene {
    /// The segment's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The segment, opened once more.
    ///
    /// # Panics
    /// If it cannot be.
    #[track_caller]
    pub fn open(&self) -> Segment {
        Segment::shared(&self.name).open().expect("the segment can be opened")
    }

    /// The segment, which the tester has open.
    ///
    /// # Panics
    /// In another process, or where there is no segment before.
    #[track_caller]
    pub fn segment(&self) -> &Segment {
        self.segment.as_ref().expect("the tester has the segment open")
    }
}

/// Checks what a death has left: panics, or says whether the operation had taken effect.
pub type Check = Box<dyn FnOnce(&Death) -> Effect>;

/// How a child died.
#[derive(Debug, Clone, Copy)]
pub struct Death {
    /// After how many instructions.
    pub after: usize,
    /// Whether the operation had ended.
    pub finished: bool,
    /// Whether [`Segment::recover`] was called before the check; it is for every other death.
    pub recovered: bool,
}

/// Whether an operation had taken effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// Wholly.
    Whole,
    /// Not at all.
    Nothing,
    /// It has none that lasts.
    Unseen,
}
