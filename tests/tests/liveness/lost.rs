//! Processes that have lost what they may think they need, and take part all the same: their first thread, as programs in C
//! that call `pthread_exit` in `main`, with which much goes of what `/proc/self` shows; or their descriptors, as daemons that
//! close them all.

use super::victim::create;
use shmem_core::{LockError, Segment};
use shmem_tests::*;
use std::time::Duration;

/// Takes part: opens, attaches, locks, is told of a death, recovers.
pub(crate) fn headless() {
    let name: String = argument(0);
    let before = Segment::shared(&name).open().unwrap();
    ends::threads_can_vanish();
    ends::first_thread_vanishes();
    report("headless");
    let part = |segment: &Segment| -> shmem_core::Result<()> {
        let scratch = segment.find::<super::Counter>("scratch")?.expect("it is there");
        *scratch.lock()? += 1;
        Ok(())
    };
    report(format_args!("{:?}", part(&before)));
    report(format_args!("{:?}", Segment::shared(&name).open().and_then(|segment| part(&segment))));
    let counter = before.find::<super::Counter>("counter").unwrap().unwrap();
    report("waiting");
    report(format_args!("{:?}", counter.lock().map(|_| ())));
    report(before.recover());
    report("done");
    ends::sleep_for_ever();
}

#[test]
fn a_process_whose_first_thread_has_ended_takes_part() {
    let _watchdog = Watchdog::test("headless");
    let name = TempName::new("headless");
    let (segment, counter) = create(&name);
    let mut holder = Worker::spawn("victim", &[&name, &"Kill", &"Hold", &"none"]);
    holder.expect("ready");
    let mut worker = Worker::spawn("headless", &[&name]);
    worker.expect("headless");
    assert_eq!([worker.hear(), worker.hear()], ["Ok(())", "Ok(())"], "in a segment opened before, and after");
    worker.expect("waiting");
    holder.kill();
    worker.expect("Err(Poisoned { by_death: true })");
    assert_eq!(counter.lock().unwrap_err(), LockError::Poisoned { by_death: true });
    counter.lock_poisoned().unwrap().clear_poison();
    worker.expect("0");
    worker.expect("done");
    assert_eq!(segment.recover(), 0, "it is alive");
    worker.kill();
    assert_eq!(segment.recover(), 1);
    sound(&segment);
}

/// Closes all descriptors, lets others have their numbers, and waits: for a living holder, then for a dead one.
pub(crate) fn without_descriptors() {
    let (segment, counter) = super::open(&argument::<String>(0));
    *segment.find::<super::Counter>("scratch").unwrap().unwrap().lock().unwrap() += 1;
    ends::close_descriptors();
    // Files on which nobody has locked anything.
    let other = std::env::current_exe().unwrap();
    let others: Vec<_> = (0..64).map(|_| std::fs::File::open(&other)).collect();
    report(others.iter().all(Result::is_ok));
    report(format_args!("{:?}", counter.lock_timeout(Duration::from_millis(300)).map(|_| ())));
    report(format_args!("{:?}", counter.lock().map(|_| ())));
    hear();
    report(format_args!("{:?}", counter.lock().map(|_| ())));
    hear();
    report(format_args!("{:?}", counter.lock().map(|mut guard| *guard += 1)));
    ends::sleep_for_ever();
}

#[test]
fn a_waiter_whose_descriptors_are_other_files_by_now() {
    let _watchdog = Watchdog::test("without descriptors");
    let name = TempName::new("descriptors");
    let (segment, counter) = create(&name);
    let mut holder = Worker::spawn("victim", &[&name, &"Kill", &"Hold", &"none"]);
    holder.expect("ready");
    let mut worker = Worker::spawn("without_descriptors", &[&name]);
    worker.expect("true");
    assert_eq!(worker.hear(), "Err(TimedOut)", "the holder is alive");
    // It can never find out whether the holder is dead: without a deadline that would be for ever.
    worker.expect("Err(Refused)");
    holder.kill();
    worker.tell("for a dead one");
    worker.expect("Err(Refused)");
    assert_eq!(counter.lock().unwrap_err(), LockError::Poisoned { by_death: true });
    counter.lock_poisoned().unwrap().clear_poison();
    worker.tell("for nobody");
    worker.expect("Ok(())");
    worker.kill();
    segment.recover();
    sound(&segment);
}
