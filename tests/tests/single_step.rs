//! Death at every instruction of the library's operations, and whether the kit that tries it would notice.
//!
//! A sample of the instructions of each operation, or all of them with `SHMEM_LONG=1`; the program `single_step` tries all
//! of one operation.
#![cfg(target_arch = "x86_64")]

use shmem_core::{Root, Segment};
use shmem_tests::step::{self, Check, Choice, Effect, Operation, Report, Scene, operations, region};
use shmem_tests::*;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::Duration;

roles! { stepper }

fn stepper() {
    step::serve(
        &[&operations::all()[..], &[HOLE, HANGING_CHECK, HANGING_CHILD, KEEPER, TWO_MINDS, NO_MARK]].concat(),
    );
}

/// How many kills a sample has.
const KILLS: usize = 40;

#[track_caller]
fn survive(operations: &[Operation]) {
    let seed = Random::fresh_seed("single step");
    println!("{}", Report::heading());
    let choice = if long() { Choice::ALL } else { Choice::Sample { kills: KILLS, seed } };
    for operation in operations {
        let _watchdog = Watchdog::test(operation.name);
        let report = step::run(operation, choice);
        println!("{report}");
        report.assert_good();
    }
}

#[test]
fn locks() {
    survive(operations::locks::ALL);
}

#[test]
fn locks_that_somebody_waits_for() {
    survive(operations::waiting::ALL);
}

#[test]
fn names() {
    survive(operations::names::ALL);
}

#[test]
fn handles() {
    survive(operations::handles::ALL);
}

#[test]
fn segments() {
    survive(operations::segments::ALL);
}

#[test]
fn recovery() {
    survive(operations::recovery::ALL);
}

#[test]
fn containers() {
    survive(operations::containers::ALL);
}

#[test]
fn memory() {
    survive(operations::memory::ALL);
}

#[test]
fn heap() {
    survive(operations::heap::ALL);
    if long() {
        survive(operations::heap::LONG_ONES);
    }
}

/// Two numbers that are raised one after the other, with nothing to keep them together.
const HOLE: Operation = Operation {
    name: "hole",
    bytes: step::SMALL,
    build: Some(build_twins),
    victim: None,
    child: raise_in_turn,
    arrange: arrange_equal,
};

/// Instructions between the two.
const BETWEEN: usize = 5;

fn build_twins(segment: &Segment) {
    segment.construct_slice::<AtomicU64, _>("twins", 2, |_| AtomicU64::new(0)).unwrap();
}

fn twins(segment: &Segment) -> Root<[AtomicU64]> {
    segment.find_slice::<AtomicU64>("twins").unwrap().unwrap()
}

#[inline(never)]
fn raise_both(one: &AtomicU64, other: &AtomicU64) {
    // SAFETY: two aligned words, raised by one instruction each, as an atomic of this process alone may be.
    unsafe {
        std::arch::asm!(
            "inc qword ptr [{one}]",
            "nop", "nop", "nop", "nop", "nop",
            "inc qword ptr [{other}]",
            one = in(reg) one.as_ptr(),
            other = in(reg) other.as_ptr(),
        );
    }
}

fn raise_in_turn(scene: &Scene) {
    let twins = twins(&scene.open());
    region(|| raise_both(&twins[0], &twins[1]))
}

fn arrange_equal(scene: &Scene) -> Check {
    let twins = twins(scene.segment());
    Box::new(move |_| {
        let [one, other] = [0, 1].map(|i| twins[i].load(SeqCst));
        assert_eq!(one, other, "the twins differ");
        if one == 1 { Effect::Whole } else { Effect::Nothing }
    })
}

#[test]
fn a_hole_is_found_where_it_is() {
    let report = step::run(&HOLE, Choice::ALL);
    println!("{report}");
    assert_eq!((report.kills, report.strayed), (report.instructions + 1, 0));
    assert_eq!(report.bad.len(), BETWEEN + 1, "{report}");
    let first = report.bad[0].after;
    for (i, bad) in report.bad.iter().enumerate() {
        assert_eq!(bad.after, first + i, "one window: {report}");
        assert!(bad.at.contains("raise_both"), "{report}");
        assert!(bad.what.contains("the twins differ"), "{report}");
    }
    let (effect, _) = report.effect.as_ref().expect("it has one");
    assert_eq!(*effect, first + BETWEEN + 1);
    assert!(report.to_string().contains(&format!(
        "after {first}–{} ({} kills)",
        first + BETWEEN,
        BETWEEN + 1
    )));
    let window = Choice::Range { from: first, to: Some(first + 2), every: 2 };
    assert_eq!(step::run(&HOLE, window).bad.len(), 2);
}

/// Where the operations below go wrong.
const THERE: usize = 3;
const FEW: Choice = Choice::Range { from: 0, to: Some(6), every: 1 };
const SHORT: Duration = Duration::from_secs(3);

const HANGING_CHECK: Operation = Operation { name: "hanging-check", arrange: arrange_hang, ..HOLE };

fn arrange_hang(_: &Scene) -> Check {
    Box::new(|death| {
        if death.after == THERE && !death.finished {
            loop {
                std::thread::park();
            }
        }
        Effect::Unseen
    })
}

#[test]
fn what_hangs_after_a_death_is_found() {
    let _watchdog = Watchdog::test("hanging check");
    let report = step::run_within(&HANGING_CHECK, FEW, SHORT);
    println!("{report}");
    assert_eq!((report.bad.len(), report.kills), (1, 6), "{report}");
    assert_eq!((report.bad[0].after, &*report.bad[0].what), (THERE, "checking: it hangs"));
    assert!(report.bad[0].at.starts_with('`'), "{report}");
}

const HANGING_CHILD: Operation = Operation { name: "hanging-child", child: hang, ..HOLE };

fn hang(_: &Scene) {
    region(std::thread::park)
}

#[test]
fn an_operation_that_hangs_is_found() {
    let _watchdog = Watchdog::test("hanging child");
    let report = step::run_within(&HANGING_CHILD, FEW, SHORT);
    println!("{report}");
    assert_eq!((report.bad.len(), report.kills), (1, 0), "{report}");
    assert!(report.bad[0].what.contains("the child hangs"), "{report}");
}

const KEEPER: Operation = Operation { name: "keeper", arrange: arrange_keep, ..HOLE };

/// Somebody still holds something, as far as anybody can see.
fn arrange_keep(scene: &Scene) -> Check {
    let other = scene.open();
    Box::new(move |death| {
        if death.after == THERE {
            std::mem::forget(twins(&other));
        }
        Effect::Unseen
    })
}

#[test]
fn what_is_left_of_the_dead_is_found() {
    let _watchdog = Watchdog::test("keeper");
    let report = step::run(&KEEPER, FEW);
    println!("{report}");
    assert_eq!((report.bad.len(), report.kills), (1, 7), "{report}");
    assert_eq!(report.bad[0].after, THERE);
}

const TWO_MINDS: Operation = Operation { name: "two-minds", arrange: arrange_doubt, ..HOLE };

fn arrange_doubt(_: &Scene) -> Check {
    Box::new(|death| if death.after == THERE || death.finished { Effect::Whole } else { Effect::Nothing })
}

#[test]
fn an_effect_that_is_undone_is_found() {
    let _watchdog = Watchdog::test("two minds");
    let report = step::run(&TWO_MINDS, FEW);
    println!("{report}");
    assert_eq!(report.effect.as_ref().map(|(after, _)| *after), Some(THERE), "{report}");
    assert_eq!(report.bad.iter().map(|bad| bad.after).collect::<Vec<_>>(), [4, 5, 6], "{report}");
}

const NO_MARK: Operation = Operation { name: "no-mark", child: |_| (), ..HOLE };

#[test]
fn an_operation_that_is_never_run_is_found() {
    let _watchdog = Watchdog::test("no mark");
    let report = step::run(&NO_MARK, FEW);
    println!("{report}");
    assert!(report.bad[0].what.contains("does not reach the mark"), "{report}");
}
