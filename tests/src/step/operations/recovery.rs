//! Recovery of a dead process by one that dies of it.

use super::super::{Check, Effect, Operation, Scene, region};
use super::locks::die_with_lock;
use super::names::one_pair;
use super::{BEFORE, PLAIN, Pair, begins_anew, found, is_whole, two_locks, usable, wait_for_the_end};
use shmem_core::{Segment, init};
use std::mem::forget;

/// All of them.
pub const ALL: &[Operation] =
    &[Operation { name: "recover", build: Some(build), victim: Some(die), child: recover, arrange, ..PLAIN }];

fn build(segment: &Segment) {
    two_locks(segment);
    one_pair(segment);
}

/// Dies with a lock, a pin of what was destroyed since, and half of an object.
fn die(scene: &Scene) {
    die_with_lock(scene);
    let segment = scene.open();
    let held = found::<Pair>(&segment, "pair");
    assert!(segment.destroy::<Pair>("pair").expect("it works"));
    forget(held);
    let half = segment.construct::<Pair>("half", init::with(|_| die_here()));
    unreachable!("{half:?}");
}

fn recover(scene: &Scene) {
    let segment = scene.open();
    region(|| segment.recover())
}

fn arrange(scene: &Scene) -> Check {
    let (segment, counter) = (scene.segment().clone(), scene.counter());
    Box::new(move |_| {
        assert_eq!(usable(&counter), (BEFORE, true));
        assert!(segment.find::<Pair>("half").expect("it works").is_none());
        let half = segment.construct::<Pair>("half", super::pair()).expect("the name is free");
        is_whole(&half);
        drop(half);
        begins_anew(&segment, "half");
        begins_anew(&segment, "pair");
        Effect::Unseen
    })
}

fn die_here() -> ! {
    crate::signal(std::process::id(), libc::SIGKILL);
    wait_for_the_end()
}
