//! One cell of the matrix: stages it, and decides.

use super::manners::{Deed, Fate, Manner, fate};
use super::victim::{create, want};
use super::{Counter, ignore_argument};
use shmem_core::__testing::Witness;
use shmem_core::{LockError, Root, Segment};
use shmem_tests::*;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

/// How long somebody who is to wait is watched.
const WATCHED: Duration = Duration::from_millis(200);
/// How long somebody who is not to wait may, before that counts as for ever. Less than for the whole table.
const FOR_EVER: Duration = Duration::from_secs(20);
/// Cells at a time.
const AT_ONCE: usize = 6;

/// Decides every cell with a witness missing, and reports the table.
pub(crate) fn judge() {
    let missing = ignore_argument(0);
    let cells: Vec<(Manner, Deed)> =
        Manner::ALL.into_iter().flat_map(|manner| Deed::ALL.map(|deed| (manner, deed))).collect();
    let next = AtomicUsize::new(0);
    let done: Mutex<BTreeMap<usize, Result<String, String>>> = Mutex::default();
    let start = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                while let Some((manner, deed)) = cells.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let i = cells.iter().position(|cell| cell == &(*manner, *deed)).unwrap();
                    let outcome = catch_unwind(AssertUnwindSafe(|| decide(*manner, *deed, missing)));
                    let outcome = outcome.map_err(|e| match e.downcast::<String>() {
                        Ok(message) => *message,
                        Err(e) => e.downcast_ref::<&str>().unwrap_or(&"a panic").to_string(),
                    });
                    done.lock().unwrap().insert(i, outcome);
                }
            });
        }
    });
    let done = done.into_inner().unwrap();
    report_table(missing, &cells, &done);
    report(format_args!("in {:.1} s", start.elapsed().as_secs_f64()));
    let failed: Vec<_> =
        done.iter().filter_map(|(i, outcome)| Some((cells[*i], outcome.as_ref().err()?))).collect();
    assert!(failed.is_empty(), "{failed:#?}");
}

fn report_table(
    missing: Option<Witness>,
    cells: &[(Manner, Deed)],
    done: &BTreeMap<usize, Result<String, String>>,
) {
    let title = missing.map_or("all witnesses".into(), |witness| format!("without {witness:?}"));
    report(format_args!(
        "{title:<20}{}",
        Deed::ALL.map(|deed| format!("{:<24}", format!("{deed:?}"))).concat()
    ));
    let (mut line, mut reasons) = (String::new(), Vec::new());
    for (i, (manner, deed)) in cells.iter().enumerate() {
        if deed == &Deed::ALL[0] {
            line = format!("{:<20}", manner.name());
        }
        let text = done[&i].as_deref().unwrap_or("FAILED");
        line += &format!("{text:<24}");
        if deed == Deed::ALL.last().unwrap() {
            report(line.trim_end());
        }
        if let Fate::CannotBeTold(why) | Fate::None(why) = fate(*manner, *deed, missing) {
            let reason = format!("{}: {why}", manner.name());
            if !reasons.contains(&reason) {
                reasons.push(reason);
            }
        }
    }
    reasons.iter().for_each(report);
    report("");
}

/// Somebody whom the victim may be in the way of.
enum Observer {
    Thread(Receiver<String>),
    Process(Worker),
}

impl Observer {
    fn start(cell: &Cell, segment: &Segment, counter: &Root<Counter>) -> Self {
        if cell.manner == Manner::InnerWaiter {
            let arguments: [&dyn std::fmt::Display; 3] =
                [&cell.name, &format!("{:?}", cell.deed), &cell.missing()];
            let mut worker = Worker::spawn_in_pid_namespace("observer", &arguments);
            worker.expect("ready");
            return Observer::Process(worker);
        }
        let (sender, outcome) = channel();
        let (deed, name) = (cell.deed, cell.name.to_string());
        let (segment, counter) = (segment.clone(), counter.clone());
        std::thread::spawn(move || {
            let outcome = want(deed, &name, &segment, &counter);
            drop((segment, counter));
            let _ = sender.send(outcome);
        });
        Observer::Thread(outcome)
    }

    fn within(&mut self, time: Duration) -> Option<String> {
        match self {
            Observer::Thread(outcome) => outcome.recv_timeout(time).ok(),
            Observer::Process(worker) => worker.reports_within(time),
        }
    }

    #[track_caller]
    fn is_waiting(&mut self, time: Duration, why: &str) {
        assert_eq!(self.within(time), None, "it was to wait: {why}");
    }

    #[track_caller]
    fn gets(&mut self, wanted: &str) {
        assert_eq!(self.within(FOR_EVER).as_deref(), Some(wanted));
    }
}

struct Cell {
    manner: Manner,
    deed: Deed,
    missing: Option<Witness>,
    name: TempName,
}

impl Cell {
    fn missing(&self) -> String {
        self.missing.map_or("none".into(), |witness| format!("{witness:?}"))
    }

    fn victim(&self) -> Worker {
        let (manner, deed) = (format!("{:?}", self.manner), format!("{:?}", self.deed));
        let arguments: [&dyn std::fmt::Display; 4] = [&self.name, &manner, &deed, &self.missing()];
        match self.manner {
            Manner::InnerVictim => Worker::spawn_in_pid_namespace("victim", &arguments),
            _ => Worker::spawn("victim", &arguments),
        }
    }
}

/// A process that was stopped with the directory locked.
fn stop_with_the_directory(cell: &Cell, segment: &Segment) -> Worker {
    let mut reader = Worker::spawn("reader", &[&cell.name, &cell.missing()]);
    reader.expect("ready");
    let pid = reader.pid();
    eventually("a reader was stopped with the directory locked", || {
        reader.signal(libc::SIGSTOP);
        eventually("it is stopped", || ends::is_stopped(pid));
        let stopped = segment.participants().into_iter().find(|p| p.pid == pid);
        let locks = stopped.into_iter().flat_map(|p| p.threads).flat_map(|thread| thread.holds);
        let has = locks.map(|lock| lock.to_string()).any(|lock| lock == "the directory");
        if !has {
            reader.signal(libc::SIGCONT);
        }
        has
    });
    reader
}

/// Whether a thread of the process with this id (in its own namespace) waits for what is displayed so.
fn waits_for(segment: &Segment, pid: u32, lock: &str) -> bool {
    let threads = segment.participants().into_iter().filter(|p| p.pid == pid).flat_map(|p| p.threads);
    threads.filter_map(|thread| thread.waits_for).any(|waited| waited.to_string().starts_with(lock))
}

/// Stages a cell and decides it: what it says in the table. Panics if it does not come out as it must.
fn decide(manner: Manner, deed: Deed, missing: Option<Witness>) -> String {
    let cell = Cell { manner, deed, missing, name: TempName::new("cell") };
    if manner.needs_root() && !is_root() {
        return "skipped: needs root".into();
    }
    let fate = fate(manner, deed, missing);
    if matches!(fate, Fate::None(_)) && matches!(manner, Manner::ThreadReturns | Manner::CloseFrom) {
        return "–".into();
    }
    let (segment, counter) = create(&cell.name);
    let mut reader = None;
    if deed == Deed::Recover {
        let mut third = Worker::spawn("third", &[&cell.name, &cell.missing()]);
        third.expect("ready");
        third.kill();
        if !matches!(fate, Fate::None(_)) {
            reader = Some(stop_with_the_directory(&cell, &segment));
        }
    }
    let held = (deed == Deed::Wait).then(|| counter.lock().unwrap());
    let mut victim = cell.victim();
    victim.expect("ready");
    // The id as the victim knows it.
    let own_pid = if manner == Manner::InnerVictim { 1 } else { victim.pid() };
    match deed {
        Deed::Wait => eventually("the victim waits", || waits_for(&segment, own_pid, "counter")),
        Deed::Recover if matches!(fate, Fate::None(_)) => {
            victim.expect("recovered 0");
            drop(victim);
            tidy_up(&cell, &segment);
            return "– (recovers none)".into();
        }
        Deed::Recover => eventually("the victim recovers", || waits_for(&segment, own_pid, "the directory")),
        Deed::Attach => std::thread::sleep(Duration::from_micros(u64::from(own_pid) % 32 * 100)),
        Deed::Hold | Deed::Construct => {}
    }
    let mut observer = Observer::start(&cell, &segment, &counter);
    if deed != Deed::Attach {
        observer.is_waiting(Duration::from_millis(10), "nothing has happened yet");
    }

    let start = Instant::now();
    let _child = bring_about(manner, &mut victim);
    if held.is_some() && !matches!(fate, Fate::Lives | Fate::Stops) {
        // Or it may get the lock yet.
        let pid = victim.pid();
        eventually("the victim is gone", || ends::has_ended(pid));
    }
    drop(held);
    if let Some(reader) = &reader {
        reader.signal(libc::SIGCONT);
    }
    let after = || format!("{:.1} ms", start.elapsed().as_secs_f64() * 1e3);
    let in_the_way = deed.is_in_the_way();
    let text = match fate {
        Fate::Dies => {
            observer.gets(if in_the_way { "taken over" } else { "clean" });
            format!("{}: {}", if in_the_way { "taken over" } else { "clean" }, after())
        }
        _ if !in_the_way => {
            observer.gets("clean");
            let after = after();
            if fate == Fate::Stops {
                let_go_on(&mut victim);
            } else if manner == Manner::FirstVanishes && deed == Deed::Wait {
                victim.expect("done");
            } else if manner == Manner::CloseFrom && deed == Deed::Wait {
                // It is told so if it came to look at the holder's byte before the lock was free.
                let outcome = victim.hear();
                assert!(["done", "refused"].contains(&outcome.as_str()), "{outcome}");
            }
            format!("clean: {after}")
        }
        // The thread that recovers goes on.
        Fate::Lives if manner != Manner::ThreadVanishes && deed == Deed::Recover => {
            observer.gets("taken over");
            format!("goes on: {}", after())
        }
        // What the third one had is in nobody's way, for its death can be told.
        Fate::CannotBeTold(_) if (manner, deed) == (Manner::Exec, Deed::Recover) => {
            observer.gets("taken over");
            format!("taken over: {}", after())
        }
        Fate::Lives => {
            observer.is_waiting(WATCHED, "the process lives");
            holder_is_alive(deed, &segment, &counter);
            victim.signal(libc::SIGKILL);
            observer.gets("taken over");
            "lives, until killed".into()
        }
        Fate::Stops => {
            observer.is_waiting(WATCHED, "the process is stopped");
            holder_is_alive(deed, &segment, &counter);
            let_go_on(&mut victim);
            observer.gets(if deed == Deed::Recover { "taken over" } else { "clean" });
            assert!(deed == Deed::Recover || !counter.is_poisoned());
            "lives, goes on".into()
        }
        Fate::CannotBeTold(_) => {
            observer.is_waiting(WATCHED, "nobody can tell");
            match manner {
                Manner::Exec => {
                    holder_is_alive(deed, &segment, &counter);
                    victim.signal(libc::SIGKILL);
                    observer.gets("taken over");
                    "waits, until it ends".into()
                }
                _ => {
                    assert_ne!(ask_another(&cell), 0);
                    observer.gets("taken over");
                    "waits for another".into()
                }
            }
        }
        Fate::None(_) => unreachable!("decided above"),
    };
    if let Some(mut reader) = reader {
        reader.tell("end");
        reader.finish();
    }
    drop((victim, _child));
    drop((observer, counter));
    tidy_up(&cell, &segment);
    text
}

/// Ends the victim in its manner; gives a child of it that lives on.
fn bring_about(manner: Manner, victim: &mut Worker) -> Option<ends::Orphan> {
    match manner {
        Manner::Kill | Manner::InnerVictim | Manner::InnerWaiter => victim.signal(libc::SIGKILL),
        Manner::Stop => {
            victim.signal(libc::SIGSTOP);
            let pid = victim.pid();
            eventually("the victim is stopped", || ends::is_stopped(pid));
        }
        Manner::Fork | Manner::RawFork => {
            victim.tell("end");
            let child = ends::Orphan(victim.hear().parse().expect("a process id"));
            victim.signal(libc::SIGKILL);
            return Some(child);
        }
        Manner::ThreadReturns | Manner::ThreadVanishes | Manner::FirstVanishes | Manner::CloseFrom => {
            victim.tell("end");
            let expected = match manner {
                Manner::ThreadReturns => "done",
                Manner::ThreadVanishes | Manner::FirstVanishes => "vanished",
                _ => "closed",
            };
            victim.expect(expected);
        }
        Manner::Fault | Manner::Abort | Manner::Exit | Manner::Exec => victim.tell("end"),
    }
    None
}

/// Nothing that asks sees a death.
fn holder_is_alive(deed: Deed, segment: &Segment, counter: &Counter) {
    if deed == Deed::Hold {
        assert_eq!(counter.lock_timeout(Duration::from_millis(20)).unwrap_err(), LockError::TimedOut);
        assert_eq!(counter.try_lock().unwrap_err(), LockError::WouldBlock);
    }
    assert_eq!(segment.recover(), 0);
}

/// Lets a stopped victim end its deed; it must end well.
fn let_go_on(victim: &mut Worker) {
    victim.signal(libc::SIGCONT);
    victim.tell("go on");
    while victim.hear() != "done" {}
    assert!(victim.end().success());
}

/// Recovers the dead as a process with all witnesses does; how many there were.
fn ask_another(cell: &Cell) -> usize {
    let mut helper = Worker::spawn("helper", &[&cell.name]);
    let recovered = helper.hear().parse().expect("a number");
    helper.finish();
    recovered
}

/// In the end only this process is attached, and the segment is sound.
fn tidy_up(cell: &Cell, segment: &Segment) {
    // Whoever dies while it attaches may not have said yet who it is, and the child of a fork in which the parent detaches
    // leaves a record without saying so.
    let only_the_byte_tells = cell.manner.needs_root() || cell.deed == Deed::Attach;
    if cell.missing == Some(Witness::Byte) && only_the_byte_tells {
        ask_another(cell);
    }
    eventually("the dead are recovered", || {
        segment.recover();
        segment.attached_pids() == [std::process::id()]
    });
    sound(segment);
}
