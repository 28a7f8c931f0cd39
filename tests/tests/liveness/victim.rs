//! The processes of a cell: the one that ends, the ones that it is in the way of, and the third ones.

use super::manners::{Deed, Manner};
use super::{Counter, ignore_argument, open};
use shmem_core::{LockError, Segment, ShmMutex, init};
use shmem_tests::*;
use std::convert::Infallible;
use std::io::Write;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::time::Duration;

/// What the test has heard of: go on with the deed, and end it well.
static GO_ON: AtomicBool = AtomicBool::new(false);
/// The thread is to return with the lock held.
static RETURN: AtomicBool = AtomicBool::new(false);

const MOMENT: Duration = Duration::from_millis(1);

fn named<T: Copy + std::fmt::Debug>(all: &[T], i: usize) -> T {
    let name = argument::<String>(i);
    *all.iter().find(|one| format!("{one:?}") == name).expect("one of them")
}

fn until_told() {
    while !GO_ON.load(Ordering::Relaxed) {
        std::thread::sleep(MOMENT);
    }
}

/// Reports `ready` when it is inside its deed, and ends in its manner when it is told to.
pub(crate) fn victim() {
    let (manner, deed) = (named(&Manner::ALL, 1), named(&Deed::ALL, 2));
    ignore_argument(3);
    ends::no_core_dump();
    ends::threads_can_vanish();
    let (segment, counter) = open(&argument::<String>(0));
    static THREAD: AtomicI32 = AtomicI32::new(0);
    let thread = std::thread::spawn(move || {
        THREAD.store(ends::thread_id(), Ordering::Relaxed);
        report(perform(deed, &segment, &counter));
        (segment, counter)
    });
    while let Some(line) = hear() {
        match line.as_str() {
            "end" => end(manner, &THREAD),
            _ => GO_ON.store(true, Ordering::Relaxed),
        }
    }
    drop(thread.join().expect("the deed"));
}

/// What became of it.
fn perform(deed: Deed, segment: &Segment, counter: &Counter) -> &'static str {
    match deed {
        Deed::Hold => {
            let guard = counter.lock().unwrap();
            report("ready");
            while !GO_ON.load(Ordering::Relaxed) {
                if RETURN.load(Ordering::Relaxed) {
                    std::mem::forget(guard);
                    break;
                }
                std::thread::sleep(MOMENT);
            }
        }
        Deed::Wait => {
            report("ready");
            match counter.lock() {
                Ok(guard) => drop(guard),
                Err(LockError::Refused) => return "refused",
                Err(e) => panic!("{e}"),
            }
        }
        Deed::Attach => {
            let mut told = false;
            while !GO_ON.load(Ordering::Relaxed) {
                let own = Segment::shared(&argument::<String>(0)).open().unwrap();
                // Not the one that others want: a death in here is of one who attaches, not of a holder.
                *own.find::<Counter>("scratch").unwrap().unwrap().lock_poisoned().unwrap() += 1;
                if !told {
                    report("ready");
                    told = true;
                }
            }
        }
        Deed::Construct => {
            let slow = init::from_fn(|| {
                report("ready");
                until_told();
                Ok::<u64, Infallible>(1)
            });
            segment.construct::<u64>("root", slow).unwrap();
        }
        Deed::Recover => {
            report("ready");
            report(format_args!("recovered {}", segment.recover()));
        }
    }
    "done"
}

/// Ends, or seems to.
fn end(manner: Manner, thread: &AtomicI32) {
    match manner {
        // The test does these.
        Manner::Kill | Manner::Stop | Manner::InnerVictim | Manner::InnerWaiter => {}
        Manner::Fault => ends::fault(),
        Manner::Abort => std::process::abort(),
        Manner::Exit => ends::exit_at_once(),
        Manner::ThreadReturns => RETURN.store(true, Ordering::Relaxed),
        Manner::ThreadVanishes => {
            ends::make_vanish(thread.load(Ordering::Relaxed));
            ends::report_bare("vanished");
            ends::sleep_for_ever();
        }
        Manner::FirstVanishes => {
            ends::first_thread_vanishes();
            ends::report_bare("vanished");
            ends::sleep_for_ever();
        }
        Manner::Exec => ends::become_another_program(),
        Manner::Fork => {
            let child = |out: &mut std::fs::File| {
                cut_lifelines();
                writeln!(out, "running").unwrap();
                ends::sleep_for_ever();
            };
            // SAFETY: the child makes system calls only, but for what the segment's own handlers do.
            let mut child = unsafe { fork(child) }.unwrap();
            assert_eq!(child.report(), "running");
            report(child.pid);
            ends::sleep_for_ever();
        }
        Manner::RawFork => {
            report(ends::raw_fork());
            ends::sleep_for_ever();
        }
        Manner::CloseFrom => {
            ends::close_descriptors();
            report("closed");
            // Nothing is dropped: std's files would find their descriptors gone, and abort.
            ends::sleep_for_ever();
        }
    }
}

/// What somebody wants whom the victim may be in the way of, and how that ends.
pub(crate) fn want(deed: Deed, name: &str, segment: &Segment, counter: &Counter) -> String {
    let lock = || match counter.lock() {
        Ok(_) => "clean".to_owned(),
        Err(LockError::Poisoned { by_death: true }) => {
            counter.lock_poisoned().unwrap().clear_poison();
            drop(counter.lock().unwrap());
            "taken over".into()
        }
        Err(e) => e.to_string(),
    };
    let root = |name| match *segment.find_or_construct::<u64>(name, 2).unwrap() {
        2 => "taken over".to_owned(),
        1 => "clean".into(),
        other => format!("a root of {other}"),
    };
    match deed {
        Deed::Hold | Deed::Wait => lock(),
        Deed::Construct => root("root"),
        Deed::Attach => {
            let own = Segment::shared(name).open().unwrap();
            *own.find::<Counter>("counter").unwrap().unwrap().lock().unwrap() += 1;
            "clean".into()
        }
        Deed::Recover => match (root("half"), lock()) {
            (root, lock) if root == lock => root,
            (root, lock) => format!("the root {root}, the lock {lock}"),
        },
    }
}

/// Wants what the victim is in the way of, in a process of its own.
pub(crate) fn observer() {
    ignore_argument(2);
    let name: String = argument(0);
    let (segment, counter) = open(&name);
    report("ready");
    report(want(named(&Deed::ALL, 1), &name, &segment, &counter));
}

/// Waits, with the mutex, inside an initialiser.
pub(crate) fn third() {
    ignore_argument(1);
    let (segment, counter) = open(&argument::<String>(0));
    let _guard = counter.lock().unwrap();
    let slow = init::from_fn(|| {
        report("ready");
        until_told();
        Ok::<u64, Infallible>(3)
    });
    segment.construct::<u64>("half", slow).unwrap();
}

/// Has the directory locked most of the time, until it hears something.
pub(crate) fn reader() {
    ignore_argument(1);
    let (segment, _counter) = open(&argument::<String>(0));
    for i in 0..200 {
        segment.construct::<u64>(&format!("filler {i}"), i).unwrap();
    }
    std::thread::spawn(|| {
        hear();
        GO_ON.store(true, Ordering::Relaxed);
    });
    report("ready");
    while !GO_ON.load(Ordering::Relaxed) {
        segment.objects().unwrap();
    }
}

/// Recovers, with all witnesses.
pub(crate) fn helper() {
    report(Segment::shared(&argument::<String>(0)).open().unwrap().recover());
}

/// A segment with what the cells need.
pub(crate) fn create(name: &TempName) -> (Segment, shmem_core::Root<Counter>) {
    let segment = name.segment().size(1 << 20).create().unwrap();
    let counter = segment.construct::<Counter>("counter", ShmMutex::new(0)).unwrap();
    segment.construct::<Counter>("scratch", ShmMutex::new(0)).unwrap();
    (segment, counter)
}
