//! Lives of entries: pins of many processes, look-ups that come too late, circles of constructors, deaths at every step,
//! hints that are wrong.

use super::directory::test_support::*;
use super::directory::{Step, at};
use super::migrate_tests::{alone_in, give_up, name_error};
use super::tests::{Account, segment, sound};
use super::*;
use crate::error::{Error, NameError, Result};
use crate::layout::init;
use crate::sync::ShmMutex;
use crate::{Init, ShmSafe, ShmVec};
use std::sync::Barrier;
use std::time::{Duration, Instant};

fn alone(test: &str, body: impl FnOnce()) {
    alone_in(module_path!(), test, body);
}

/// A long one, which a look-up compares only behind the pin.
const LONG: &str = "a name that does not fit into its directory entry";

// ---- pins ----------------------------------------------------------------------------------------------

#[test]
fn more_processes_than_lanes_hold_one_object() {
    type List = ShmVec<u64>;
    let s = segment();
    let mappings: Vec<Segment> = (0..9).map(|_| Segment::from_fd(&s).unwrap()).collect();
    drop(s.construct::<List>("list", [1, 2, 3]).unwrap());
    drop(s.construct::<List>("kept", [1, 2, 3]).unwrap());
    for kept in 0..mappings.len() {
        let mut roots: Vec<Root<List>> =
            mappings.iter().map(|m| m.find::<List>("list").unwrap().unwrap()).collect();
        let in_lanes = mappings.iter().filter(|m| is_in_lane(&m.inner.directory, roots[0].number())).count();
        assert_eq!(in_lanes, 4, "the others pin by bit");
        let holders = |s: &Segment| s.objects().unwrap().iter().find(|o| o.name == "list").map(|o| o.holders);
        assert_eq!(holders(&s), Some(9));
        let clone = roots[kept].clone();
        assert!(s.destroy::<List>("list").unwrap());
        roots.rotate_left(kept);
        drop(roots);
        assert_eq!(clone[..], [1, 2, 3], "one is held, by whatever way");
        let before = s.used();
        drop(clone);
        assert!(s.used() < before, "freed by the last, at once");
        assert_eq!(orphans(&s.inner.directory), (0, false));
        drop(s.construct::<List>("list", [1, 2, 3]).unwrap());
        sound(&s);
    }
}

#[test]
fn a_lane_passes_on_only_when_it_counts_nothing() {
    let s = segment();
    let mappings: Vec<Segment> = (0..8).map(|_| Segment::from_fd(&s).unwrap()).collect();
    drop(s.construct::<u64>("n", 7).unwrap());
    for _ in 0..3 {
        for m in &mappings {
            let root = m.find::<u64>("n").unwrap().unwrap();
            assert!(is_in_lane(&m.inner.directory, root.number()), "nobody else counts in it");
        }
    }
    sound(&s);
}

/// Has a look-up pin an object that is destroyed behind `step`, and nobody else to drop it.
fn destroyed_behind(step: Step, name: &'static str) {
    type List = ShmVec<u64>;
    let s = segment();
    let other = Segment::from_fd(&s).unwrap();
    drop(s.construct::<List>("kept", [0; 100]).unwrap());
    drop(s.construct::<u64>("n", 7).unwrap());
    let before = s.used();
    drop(s.construct::<List>(name, [0; 100]).unwrap());
    drop(s.find::<List>(name).unwrap());
    at(step, move || assert!(other.destroy::<List>(name).unwrap()));
    assert!(s.find::<List>(name).unwrap().is_none(), "behind {step:?}");
    assert_eq!(orphans(&s.inner.directory), (0, false), "behind {step:?}: it was dropped");
    assert!(s.used() <= before + 64, "behind {step:?}: {} against {before}", s.used());
    sound(&s);
}

#[test]
fn a_look_up_that_comes_too_late_drops_what_it_held_up() {
    for name in ["name", LONG] {
        destroyed_behind(Step::Met, name);
        destroyed_behind(Step::Pinned, name);
    }
}

#[test]
fn a_look_up_for_another_type_holds_nothing_up() {
    type List = ShmVec<u64>;
    let s = segment();
    let other = Segment::from_fd(&s).unwrap();
    drop(s.construct::<List>("name", [1; 100]).unwrap());
    at(Step::Pinned, || panic!("pinned"));
    assert!(matches!(name_error(s.find::<u64>("name")), NameError::TypeMismatch { .. }));
    assert!(matches!(name_error(s.find_slice::<u64>("name")), NameError::TypeMismatch { .. }));
    assert!(matches!(name_error(s.construct::<List>("name", [2])), NameError::AlreadyExists { .. }));
    // It goes while it is looked at: the difference is nobody's any more.
    at(Step::Met, move || assert!(other.destroy::<List>("name").unwrap()));
    assert!(s.find::<u64>("name").unwrap().is_none());
    assert_eq!(orphans(&s.inner.directory), (0, false));
    sound(&s);
}

#[test]
fn a_look_up_does_not_take_another_life_for_its_own() {
    let s = segment();
    let other = Segment::from_fd(&s).unwrap();
    drop(s.construct::<u64>("name", 7).unwrap());
    at(Step::Met, move || {
        assert!(other.destroy::<u64>("name").unwrap());
        // The entry's next life: of another type and name, then of the same name again.
        drop(other.construct::<ShmVec<u64>>("other", [1, 2]).unwrap());
    });
    assert!(s.find::<u64>("name").unwrap().is_none());
    assert_eq!(s.find::<ShmVec<u64>>("other").unwrap().unwrap()[..], [1, 2]);
    sound(&s);
}

#[test]
fn generations_may_come_round() {
    let s = segment();
    let n = s.construct::<u64>("n", 1).unwrap();
    let number = n.number();
    assert!(s.destroy::<u64>("n").unwrap());
    drop(n);
    age(&s.inner.directory, number);
    for i in 0..4 {
        hint(&s.inner.directory, 0, number, 0);
        let n = s.construct::<u64>("n", i).unwrap();
        assert_eq!((n.number(), *n), (number, i));
        assert_eq!(*s.find::<u64>("n").unwrap().unwrap(), i);
        // A version of it, by way of another entry that says which life it supersedes.
        drop(n);
        let wide = s.migrate::<u64, [u64; 2], _>("n", |old| [*old, 0]).unwrap();
        assert_eq!(*wide, [i, 0]);
        drop(wide);
        assert!(s.destroy::<[u64; 2]>("n").unwrap());
        sound(&s);
    }
}

// ---- circles -------------------------------------------------------------------------------------------

/// What became of one constructor of a ring, each of which asks for the next one's name inside.
fn in_ring<T: ShmSafe + Sync>(
    make: impl FnOnce(&dyn Fn() -> Result<()>) -> Result<Root<T>>,
    met: &dyn Fn(),
    next: &dyn Fn() -> Result<()>,
) -> Option<(String, String)> {
    let ask = || {
        met();
        next()
    };
    match make(&ask) {
        Ok(_) => None,
        Err(Error::Name(e)) => match *e {
            NameError::Circular { name, inside } => Some((name, inside)),
            e => panic!("{e}"),
        },
        Err(e) => panic!("{e}"),
    }
}

fn asking<'a>(ask: &'a dyn Fn() -> Result<()>) -> impl Init<u64> + 'a {
    init::with(move |slot| {
        ask()?;
        slot.fill(1)
    })
}

#[test]
fn constructors_that_wait_in_a_circle_are_told() {
    for n in [2, 3, 5] {
        let s = &segment();
        let all_in = &Barrier::new(n);
        let names: &Vec<String> = &(0..n).map(|i| format!("{i}")).collect();
        let told: Vec<_> = std::thread::scope(|scope| {
            let ring: Vec<_> = (0..n)
                .map(|i| {
                    scope.spawn(move || {
                        let next = || s.find_or_construct::<u64>(&names[(i + 1) % n], 2).map(drop);
                        let make = |ask: &dyn Fn() -> Result<()>| s.construct::<u64>(&names[i], asking(ask));
                        let met = || {
                            all_in.wait();
                        };
                        in_ring(make, &met, &next).map(|told| (i, told))
                    })
                })
                .collect();
            ring.into_iter().filter_map(|thread| thread.join().unwrap()).collect()
        });
        let [(i, (name, inside))] = &told[..] else { panic!("{n}: exactly one is told: {told:?}") };
        assert_eq!((name, inside), (&names[(i + 1) % n], &names[*i]));
        assert_eq!(s.object_count(), n, "the others went on, one of them with the name that was given up");
        sound(s);
    }
}

#[test]
fn conversions_that_wait_in_a_circle_are_told() {
    let s = &segment();
    let both_in = &Barrier::new(2);
    drop(s.construct::<u64>("a", 1).unwrap());
    drop(s.construct::<u64>("b", 1).unwrap());
    let convert = |name: &'static str, next: &'static str| {
        let look = || {
            both_in.wait();
            s.find::<u64>(next).map(drop)
        };
        s.migrate_with::<u64, i64>(name, |old, slot| match look() {
            // The other one was converted meanwhile.
            Err(Error::Name(e)) if matches!(*e, NameError::TypeMismatch { .. }) => slot.fill(*old as i64),
            looked => looked.and_then(|()| slot.fill(*old as i64)),
        })
    };
    let results = std::thread::scope(|scope| {
        let a = scope.spawn(|| convert("a", "b").map(drop));
        let b = scope.spawn(|| convert("b", "a").map(drop));
        [a.join().unwrap(), b.join().unwrap()]
    });
    let told = results.into_iter().filter_map(Result::err).map(|e| e.to_string()).collect::<Vec<_>>();
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].contains("which the initialiser of"), "{told:?}");
    assert_eq!(s.object_count(), 2);
    sound(s);
}

/// Waits until `body` says so.
#[track_caller]
pub(super) fn until(body: impl Fn() -> bool) {
    let start = Instant::now();
    while !body() {
        assert!(start.elapsed() < Duration::from_secs(20), "waited for ever");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Runs `body` in a child; gives its process id.
pub(super) fn child(body: impl FnOnce() -> i32) -> i32 {
    // SAFETY: the child works on segments and exits; no other thread holds anything, by the callers.
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        let status = std::panic::catch_unwind(std::panic::AssertUnwindSafe(body)).unwrap_or(99);
        // SAFETY: ends the child.
        unsafe { libc::_exit(status) };
    }
    pid
}

pub(super) fn status_of(pid: i32) -> i32 {
    let mut status = -1;
    // SAFETY: a child that just forked.
    assert_eq!(unsafe { libc::waitpid(pid, &raw mut status, 0) }, pid);
    if libc::WIFEXITED(status) { libc::WEXITSTATUS(status) } else { -1 }
}

pub(super) fn kill(pid: i32) {
    // SAFETY: a child that just forked.
    assert_eq!(unsafe { libc::kill(pid, libc::SIGKILL) }, 0);
    assert_eq!(status_of(pid), -1);
}

#[test]
#[cfg_attr(shmem_poison, ignore = "the table of poison does not survive a fork")]
fn processes_that_wait_in_a_circle_are_told() {
    alone("processes_that_wait_in_a_circle_are_told", || {
        let s = segment();
        let inside = s.construct::<ShmMutex<u64>>("inside", ShmMutex::new(0)).unwrap();
        let met = || {
            *inside.lock().unwrap() += 1;
            until(|| *inside.lock().unwrap() == 2);
        };
        let make = |name: &'static str, next: &'static str| {
            let next = || s.find_or_construct::<u64>(next, 2).map(drop);
            let make = |ask: &dyn Fn() -> Result<()>| s.construct::<u64>(name, asking(ask));
            i32::from(in_ring(make, &met, &next).is_some())
        };
        let pid = child(|| make("b", "a"));
        let told = make("a", "b");
        assert_eq!(told + status_of(pid), 1, "one of both");
        s.recover();
        assert_eq!(s.object_count(), 3);
        sound(&s);
    });
}

#[test]
#[cfg_attr(shmem_poison, ignore = "the table of poison does not survive a fork")]
fn the_dead_wait_for_nobody() {
    alone("the_dead_wait_for_nobody", || {
        let s = segment();
        let a = init::with(|slot| {
            // Waits for `a` inside `b`, and dies.
            let pid = child(|| {
                let ask = || s.find_or_construct::<u64>("a", 2).map(drop);
                i32::from(s.construct::<u64>("b", asking(&ask)).is_err())
            });
            until(|| waits(&s.inner.directory, "b"));
            kill(pid);
            assert_eq!(*s.find_or_construct::<u64>("b", 5)?, 5);
            slot.fill(1)
        });
        assert_eq!(*s.construct::<u64>("a", a).unwrap(), 1);
        sound(&s);
    });
}

// ---- deaths --------------------------------------------------------------------------------------------

#[test]
#[cfg_attr(shmem_poison, ignore = "the table of poison does not survive a fork")]
fn what_the_dead_held_is_destroyed_all_the_same() {
    alone("what_the_dead_held_is_destroyed_all_the_same", || {
        type List = ShmVec<u64>;
        let s = segment();
        drop(s.construct::<List>("kept", [1; 100]).unwrap());
        for first in 0..2 {
            let before = s.used();
            drop(s.construct::<List>("list", [1; 100]).unwrap());
            let pid = child(|| {
                std::mem::forget(s.find::<List>("list"));
                0
            });
            assert_eq!(status_of(pid), 0);
            if first == 0 {
                s.recover();
            }
            assert!(s.destroy::<List>("list").unwrap());
            s.recover();
            drop(s.find::<List>("kept").unwrap());
            assert_eq!(orphans(&s.inner.directory), (0, false));
            assert_eq!(s.used(), before);
            sound(&s);
        }
    });
}

#[test]
#[cfg_attr(shmem_poison, ignore = "the table of poison does not survive a fork")]
fn waiters_for_a_killed_constructor_go_on() {
    alone("waiters_for_a_killed_constructor_go_on", || {
        let s = &segment();
        drop(s.construct::<u64>("n", 1).unwrap());
        let pid = child(|| {
            let _ = s.construct_slice::<u64, u64>("name", 1, |_| {
                loop {
                    std::thread::sleep(Duration::from_secs(1));
                }
            });
            0
        });
        until(|| is_reserved(&s.inner.directory, "name"));
        std::thread::scope(|scope| {
            let waiters: Vec<_> = (0..3)
                .map(|i| scope.spawn(move || *s.find_or_construct::<u64>("name", i).unwrap()))
                .collect();
            until(|| has_sleepers(&s.inner.directory, "name"));
            kill(pid);
            let found: Vec<u64> = waiters.into_iter().map(|waiter| waiter.join().unwrap()).collect();
            assert_eq!(found, [found[0]; 3], "one of them built it");
        });
        sound(s);
    });
}

#[test]
#[cfg_attr(shmem_poison, ignore = "the table of poison does not survive a fork")]
fn a_death_behind_any_step_of_a_recovery_is_made_good() {
    alone("a_death_behind_any_step_of_a_recovery_is_made_good", || {
        for step in [Step::TakenOut, Step::Emptied, Step::Released] {
            for name in ["name", LONG] {
                let s = segment();
                drop(s.construct::<u64>("kept", 1).unwrap());
                let pid = child(|| {
                    let _ = s.construct_slice::<u64, u64>(name, 50, |i| {
                        if i == 20 {
                            // SAFETY: dies in the middle of the construction.
                            unsafe { libc::_exit(0) }
                        }
                        1
                    });
                    1
                });
                assert_eq!(status_of(pid), 0);
                let pid = child(|| {
                    // SAFETY: ends the child, as a kill does.
                    at(step, || unsafe { libc::_exit(0) });
                    s.recover();
                    1
                });
                assert_eq!(status_of(pid), 0, "it came past {step:?}");
                assert_eq!(
                    s.find_or_construct_slice::<u64, u64>(name, 3, |i| i as u64).unwrap()[..],
                    [0, 1, 2]
                );
                s.recover();
                sound(&s);
                let mut account = Account::of(&s);
                account.object::<u64>("kept");
                account.object::<u64>(name);
                account.balances();
            }
        }
    });
}

// ---- damage --------------------------------------------------------------------------------------------

#[test]
fn a_reservation_that_is_nobodys_is_not_waited_for() {
    let s = segment();
    let other = Segment::from_fd(&s).unwrap();
    drop(s.construct::<u64>("ours", 1).unwrap());
    drop(other.construct::<u64>("theirs", 1).unwrap());
    for agent in [record(&s.inner.directory), record(&other.inner.directory)] {
        let n = s.construct::<u64>("n", 7).unwrap();
        let number = n.number();
        drop(n);
        constructed_by(&s.inner.directory, number, agent);
        for s in [&s, &other] {
            let start = Instant::now();
            assert!(matches!(s.find_or_construct::<u64>("n", 8), Err(Error::Corrupt(_))), "by {agent}");
            assert!(start.elapsed() < Duration::from_secs(20));
        }
        made_live(&s.inner.directory, number);
        assert!(s.destroy::<u64>("n").unwrap());
    }
    sound(&s);
}

#[test]
fn wrong_hints_cost_no_entry_and_no_object() {
    type List = ShmVec<u64>;
    for (used, free, left) in
        [(0, 0, 0), (u32::MAX, u32::MAX, u32::MAX), (5, 3, 1), (1000, 0, 7), (1, u32::MAX, 0)]
    {
        let s = segment();
        let kept: Vec<Root<u64>> = (0..10).map(|i| s.construct(&format!("kept {i}"), i).unwrap()).collect();
        hint(&s.inner.directory, used, free, left);
        for i in 0..300 {
            let name = format!("{i}");
            drop(s.construct::<List>(&name, [i; 10]).unwrap());
            assert_eq!(s.find::<List>(&name).unwrap().unwrap()[..], [i; 10]);
            assert!(s.destroy::<List>(&name).unwrap());
        }
        assert!(high(&s.inner.directory) <= 16, "entries are used again: {}", high(&s.inner.directory));
        assert_eq!(orphans(&s.inner.directory), (0, false), "the hint was put right");
        assert!(kept.iter().enumerate().all(|(i, n)| **n == i as u64));
        sound(&s);
    }
}

#[test]
fn an_initialiser_that_gives_up_leaves_its_name_to_others() {
    let s = segment();
    let gave_up = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let outer = init::with(|_| {
            let _ = s.construct::<u64>("inner", init::with(|_| give_up()));
            unreachable!()
        });
        s.construct::<u64>("outer", outer)
    }));
    assert!(gave_up.is_err());
    for name in ["inner", "outer"] {
        assert_eq!(*s.construct::<u64>(name, 1).unwrap(), 1);
    }
    sound(&s);
}
