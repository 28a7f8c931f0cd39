//! Dying without a process: for unit tests of what a death leaves.
//!
//! A second mapping of a segment is to it what a second process is: it has a record, byte locks, slots and pins of its
//! own. [`killed`] has a thread work through one, stops that thread for ever where it says so (in an initialiser, with a
//! lock held, at a crash point), and then lets go of the mapping's byte lock, as the kernel does for the dead. From
//! then on the thread is dead as far as anybody can see: it never runs again and nothing of its is dropped.
//!
//! Not at `pin.*` and `recover.*`: the thread would stop with what a `fork` waits for, and other tests fork.

use super::Segment;
use crate::crash;
use std::sync::mpsc::{Sender, channel};
use std::thread;
use std::time::Duration;

/// The end of a thread that works in [`killed`].
pub(super) struct Death(Sender<()>);

impl Death {
    /// Stops this thread for ever.
    pub(super) fn strike(self) -> ! {
        let _ = self.0.send(());
        loop {
            thread::park();
        }
    }
}

/// Runs `act` with a handle to `segment` that belongs to a process of its own, so to speak, until it strikes; then that
/// process is dead. Panics if `act` comes to its end alive.
pub(super) fn killed(segment: &Segment, act: impl FnOnce(Segment, Death) + Send + 'static) {
    let own = Segment::from_fd(segment).expect("a second mapping");
    let inner = own.inner.clone();
    let (sender, struck) = channel();
    thread::spawn(move || act(own, Death(sender)));
    struck.recv_timeout(Duration::from_secs(60)).expect("it dies");
    inner.participants.abandon();
}

/// As [`killed`]; it is struck when it passes the crash point for the `nth` time.
pub(super) fn killed_at(
    segment: &Segment,
    point: &'static str,
    nth: u64,
    act: impl FnOnce(Segment) + Send + 'static,
) {
    killed(segment, move |segment, death| {
        crash::arm_thread(point, nth, move || death.strike());
        act(segment);
    });
}

mod tests {
    use super::*;
    use crate::error::LockError;
    use crate::segment::tests::{segment, sound};
    use crate::{ShmMutex, ShmString, init};

    /// Nobody is left but this process, and nothing is held.
    #[track_caller]
    fn recovered(segment: &Segment) {
        segment.recover();
        assert_eq!(segment.attached_pids().len(), 1);
        assert!(segment.objects().unwrap().iter().all(|object| object.holders == 0));
        sound(segment);
    }

    #[test]
    fn whoever_dies_in_an_initialiser_leaves_its_name_to_others() {
        let s = segment();
        killed(&s, |s, death| {
            let _ = s.construct::<ShmString>("name", init::with(|_| death.strike()));
        });
        assert_eq!(&**s.find_or_construct::<ShmString>("name", "whole").unwrap(), "whole");
        recovered(&s);
    }

    #[test]
    fn whoever_dies_with_handles_holds_nothing() {
        let s = segment();
        s.construct::<ShmString>("destroyed", "x".repeat(100)).unwrap();
        s.construct::<ShmString>("kept", "y").unwrap();
        killed(&s, |s, death| {
            let _roots = ["destroyed", "kept"].map(|name| s.find::<ShmString>(name).unwrap().unwrap());
            let _owned = s.construct_anonymous::<u64>(7).unwrap();
            death.strike();
        });
        assert!(s.destroy::<ShmString>("destroyed").unwrap());
        let holders = |name| s.objects().unwrap().iter().find(|o| o.name == name).map(|o| o.holders);
        assert_eq!(holders("kept"), Some(0), "who destroys what it held looks after the dead");
        recovered(&s);
        assert_eq!(s.object_count(), 1);
    }

    #[test]
    fn whoever_dies_with_a_lock_leaves_it_poisoned() {
        let s = segment();
        let lock = s.construct::<ShmMutex<u64>>("lock", ShmMutex::new(0)).unwrap();
        killed(&s, |s, death| {
            let lock = s.find::<ShmMutex<u64>>("lock").unwrap().unwrap();
            let _guard = lock.lock().unwrap();
            death.strike();
        });
        assert_eq!(lock.lock().unwrap_err(), LockError::Poisoned { by_death: true });
        drop(lock);
        recovered(&s);
    }

    #[test]
    fn whoever_has_no_time_does_not_wait_for_a_directory_whose_holder_sleeps() {
        const SHORT: Duration = Duration::from_millis(20);
        type Lock = ShmMutex<u64>;
        for with_deadline in [false, true] {
            let s = segment();
            let lock = s.construct::<Lock>("lock", ShmMutex::new(0)).unwrap();
            // Recovering this one takes the directory's lock, too.
            killed(&s, |s, death| {
                let lock = s.find::<Lock>("lock").unwrap().unwrap();
                let _guard = lock.lock().unwrap();
                let _ = s.construct::<u64>("half", init::with(|_| death.strike()));
            });
            let sleeper = Segment::from_fd(&s).unwrap();
            let (asleep, falls_asleep) = channel();
            let (wake, woken) = channel::<()>();
            let sleeping = thread::spawn(move || {
                crash::arm_thread("lock.taken", 1, move || {
                    asleep.send(()).unwrap();
                    let _ = woken.recv();
                });
                drop(sleeper.construct::<u64>("slow", 1).unwrap());
            });
            falls_asleep.recv_timeout(Duration::from_secs(60)).unwrap();
            let (sender, outcome) = channel();
            let hurried = thread::spawn(move || {
                let locked = if with_deadline { lock.lock_timeout(SHORT) } else { lock.try_lock() };
                sender.send(locked.map(drop)).unwrap();
            });
            let outcome = outcome.recv_timeout(Duration::from_secs(20));
            wake.send(()).unwrap();
            sleeping.join().unwrap();
            hurried.join().unwrap();
            let outcome = outcome.expect("it waits for the directory");
            assert_eq!(
                outcome,
                Err(LockError::Poisoned { by_death: true }),
                "with a deadline: {with_deadline}"
            );
            recovered(&s);
        }
    }

    #[test]
    fn what_nobody_is_at_any_more_is_damage() {
        let s = segment();
        let object = s.construct_anonymous::<u64>(7).unwrap();
        let number = object.root().number();
        killed_at(&s, "reap.freeing", 1, |s| drop(s.construct_anonymous::<u64>(8)));
        // The dead one's record is still there, and with it what undoes its work.
        sound(&s);
        assert_eq!(s.recover(), 1);
        sound(&s);
        crate::segment::directory::test_support::freed_by(&s.inner.directory, number, 200);
        let found: Vec<_> = s.check().into_iter().map(|found| found.what).collect();
        assert!(found.contains(&"an object is being constructed or freed by nobody"), "{found:?}");
        std::mem::forget(object);
    }

    #[test]
    fn the_steps_of_constructing_and_destroying() {
        const POINTS: &[&str] = &[
            "lock.taken",
            "reserve.index",
            "reserve.schema",
            "reserve.entry",
            "reserve.name",
            "reserve.written",
            "reserve.reserved",
            "reserve.pinned",
            "reserve.inserted",
            "insert.stored",
            "construct.reserved",
            "construct.allocated",
            "construct.named",
            "construct.built",
            "construct.live",
            "unlink.unlinked",
            "unlink.removed",
            "unlink.unlocked",
            "remove.moving",
            "remove.cleared",
            "remove.moved",
            "reap.freeing",
            "reap.dropped",
            "reap.unnamed",
            "reap.freed",
            "release.unnamed",
            "release.nameless",
            "release.hinted",
            "release.free",
        ];
        let long = "n".repeat(100);
        for point in POINTS {
            let (s, name) = (segment(), long.clone());
            s.construct::<u64>("another", 1).unwrap();
            killed_at(&s, point, 1, move |s| {
                drop(s.construct::<ShmString>(&name, "a text that does not stand inline in its string"));
                let _ = s.destroy::<ShmString>(&name);
            });
            let there = s.find::<ShmString>(&long).unwrap();
            assert!(there.is_none_or(|text| text.starts_with("a text")), "{point}");
            drop(s.find_or_construct::<ShmString>(&long, "anew").unwrap());
            assert!(s.destroy::<ShmString>(&long).unwrap(), "{point}");
            recovered(&s);
            assert_eq!(s.object_count(), 1, "{point}");
        }
    }
}
