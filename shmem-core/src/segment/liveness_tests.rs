//! What keeps a process alive for others, under attack: descriptors that children take along, forks at every moment,
//! descriptors that others have closed and used again.

use super::abandon::killed;
use super::life_tests::{child, kill, status_of, until};
use super::migrate_tests::alone_in;
use super::tests::{segment, sound};
use super::*;
use crate::error::Error;
use crate::layout::init;
use crate::mapping::held_byte;
use crate::participant::MAX_PROCESSES;
use crate::sync::ShmMutex;
use crate::sys::robust;
use crate::{LockError, crash};
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

type Lock = ShmMutex<u64>;

const BY_DEATH: LockError = LockError::Poisoned { by_death: true };
/// Longer than anything takes that does not wait for ever.
const PATIENCE: Duration = Duration::from_secs(20);
/// The byte of a record, and that of whoever recovers it. Nobody else has the record: lower ones are free.
const RECORD: u64 = MAX_PROCESSES as u64 - 1;
const RECOVERER: u64 = MAX_PROCESSES as u64 + RECORD;

fn alone(test: &str, body: impl FnOnce()) {
    alone_in(module_path!(), test, body);
}

fn lock_in(s: &Segment) -> Root<Lock> {
    s.construct::<Lock>("lock", ShmMutex::new(0)).unwrap()
}

/// Sleeps for a minute at most.
fn sleep() -> i32 {
    std::thread::sleep(Duration::from_secs(60));
    0
}

/// Ends this process, as a kill does.
fn die() -> ! {
    // SAFETY: no preconditions.
    unsafe { libc::_exit(0) }
}

/// Children that sleep; killed when dropped.
#[derive(Default)]
struct Sleepers(Vec<i32>);

impl Sleepers {
    fn add(&mut self) {
        self.0.push(child(sleep));
    }
}

impl Drop for Sleepers {
    fn drop(&mut self) {
        self.0.drain(..).for_each(kill);
    }
}

/// How many descriptors a process has.
fn descriptors(pid: u32) -> usize {
    std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count()
}

// ---- forks ---------------------------------------------------------------------------------------------

#[test]
#[cfg_attr(shmem_poison, ignore = "the table of poison does not survive a fork")]
fn the_kernel_does_not_look_at_a_parents_cell_in_a_child() {
    alone("the_kernel_does_not_look_at_a_parents_cell_in_a_child", || {
        let s = segment();
        let lock = lock_in(&s);
        drop(lock.lock().unwrap());
        assert!(robust::is_linked());
        // The C library's fork leaves it as it is.
        let pid = child(|| {
            let before = robust::is_linked();
            drop(lock.lock().unwrap());
            i32::from(before) | i32::from(!robust::is_linked()) << 1
        });
        assert_eq!(status_of(pid), 0, "the parent's is gone, and the child's own can be linked");
        assert!(robust::is_linked());
    });
}

#[test]
#[cfg_attr(shmem_poison, ignore = "the table of poison does not survive a fork")]
fn no_fork_begins_while_a_byte_is_being_taken() {
    alone("no_fork_begins_while_a_byte_is_being_taken", || {
        const WATCHED: Duration = Duration::from_millis(50);
        let s = segment();
        let done = AtomicU32::new(0);
        std::thread::scope(|scope| {
            // As a thread that has opened a description, and has not mapped it yet.
            let open = held_byte::hold();
            scope.spawn(|| {
                let status = status_of(child(|| 0));
                done.fetch_add(1, Ordering::SeqCst);
                assert_eq!(status, 0);
            });
            // Nor is another one opened: the fork may come between.
            scope.spawn(|| {
                let held = s.inner.file.storage().hold_byte(RECORD);
                done.fetch_add(1, Ordering::SeqCst);
                assert!(held.unwrap().is_some());
            });
            std::thread::sleep(WATCHED);
            let too_early = done.load(Ordering::SeqCst);
            drop(open);
            until(|| done.load(Ordering::SeqCst) == 2);
            assert_eq!(too_early, 0);
        });
    });
}

#[test]
#[cfg_attr(shmem_poison, ignore = "the table of poison does not survive a fork")]
fn no_child_takes_a_byte_along() {
    alone("no_child_takes_a_byte_along", || {
        let s = segment();
        let storage = s.inner.file.storage();
        let (stop, taken) = (&AtomicBool::new(false), &AtomicU32::new(0));
        let mut children = Sleepers::default();
        std::thread::scope(|scope| {
            scope.spawn(move || {
                while !stop.load(Ordering::SeqCst) {
                    for byte in [RECORD, RECOVERER] {
                        drop(storage.hold_byte(byte).unwrap().expect("nobody else has it"));
                    }
                    taken.fetch_add(1, Ordering::SeqCst);
                }
            });
            until(|| taken.load(Ordering::SeqCst) > 0);
            (0..100).for_each(|_| children.add());
            stop.store(true, Ordering::SeqCst);
        });
        // The one by which they are counted is this process's own.
        let own = descriptors(std::process::id()) - 1;
        let of_children: Vec<_> = children.0.iter().map(|pid| descriptors(*pid as u32)).collect();
        let held = [RECORD, RECOVERER].map(|byte| storage.byte_is_held(byte).unwrap());
        drop(children);
        assert_eq!(held, [false; 2], "a child has a byte that nobody holds");
        assert_eq!(of_children, [own; 100]);
    });
}

#[test]
#[cfg_attr(shmem_poison, ignore = "the table of poison does not survive a fork")]
fn forks_amid_recoveries_are_in_nobodys_way() {
    alone("forks_amid_recoveries_are_in_nobodys_way", || {
        const LIVING: usize = 10;
        let s = segment();
        let lock = &lock_in(&s);
        let (stop, forked) = (&AtomicBool::new(false), &AtomicU32::new(0));
        std::thread::scope(|scope| {
            scope.spawn(move || {
                let mut children = Sleepers::default();
                while !stop.load(Ordering::SeqCst) {
                    if children.0.len() == LIVING {
                        kill(children.0.remove(0));
                    }
                    children.add();
                    forked.fetch_add(1, Ordering::SeqCst);
                }
            });
            until(|| forked.load(Ordering::SeqCst) as usize >= LIVING);
            let outcomes: Vec<_> = (0..40)
                .map(|_| {
                    let dead = child(|| i32::from(lock.lock().map(std::mem::forget).is_err()));
                    let died = status_of(dead);
                    let outcome = lock.lock_timeout(PATIENCE).map(drop);
                    if let Ok(mut guard) = lock.lock_poisoned() {
                        guard.clear_poison();
                    }
                    (died, outcome)
                })
                .collect();
            stop.store(true, Ordering::SeqCst);
            assert!(outcomes.iter().all(|outcome| *outcome == (0, Err(BY_DEATH))), "{outcomes:?}");
        });
        until(|| {
            s.recover();
            s.attached_pids() == [std::process::id()]
        });
        sound(&s);
    });
}

/// Ends, when it is dropped, a process whose parent has ended.
struct Orphan(i32);

impl Drop for Orphan {
    fn drop(&mut self) {
        // SAFETY: no preconditions. It sleeps for a minute, so the id is its still.
        unsafe { libc::kill(self.0, libc::SIGKILL) };
    }
}

#[test]
#[cfg_attr(shmem_poison, ignore = "the table of poison does not survive a fork")]
fn a_child_made_amid_a_recovery_does_not_keep_it_under_way() {
    alone("a_child_made_amid_a_recovery_does_not_keep_it_under_way", || {
        let s = segment();
        let left = s.construct::<AtomicU32>("left", AtomicU32::new(0)).unwrap();
        let dead = child(|| {
            let _ = s.construct::<u64>("half", init::with(|_| die()));
            1
        });
        assert_eq!(status_of(dead), 0);
        let recoverer = child(|| {
            let left = left.clone();
            crash::arm_thread("lock.taken", 1, move || {
                left.store(child(sleep) as u32, Ordering::SeqCst);
                die()
            });
            s.recover();
            1
        });
        assert_eq!(status_of(recoverer), 0, "it died amid its recovery");
        let left = Orphan(left.load(Ordering::SeqCst) as i32);
        until(|| {
            s.recover();
            s.attached_pids().iter().all(|pid| [std::process::id(), left.0 as u32].contains(pid))
        });
        assert_eq!(*s.find_or_construct::<u64>("half", 2).unwrap(), 2);
        assert_eq!(s.attached_pids().len(), 2, "the child lives");
        drop(left);
        until(|| {
            s.recover();
            s.attached_pids() == [std::process::id()]
        });
        sound(&s);
    });
}

// ---- descriptors ---------------------------------------------------------------------------------------

/// Has the number of a segment's descriptor stand for another file, as it does once somebody has closed what is not
/// theirs and opened that. Gives what undoes it.
fn stand_for(s: &Segment, file: &File) -> Restore {
    let number = s.inner.file.fd().as_raw_fd();
    let restore = Restore { number, was: s.inner.file.fd().try_clone_to_owned().unwrap() };
    put(number, file.as_raw_fd());
    restore
}

fn put(number: i32, file: i32) {
    // SAFETY: both are open; the number is the test's own segment's.
    assert_eq!(unsafe { libc::dup3(file, number, libc::O_CLOEXEC) }, number);
}

struct Restore {
    number: i32,
    was: OwnedFd,
}

impl Drop for Restore {
    fn drop(&mut self) {
        put(self.number, self.was.as_raw_fd());
    }
}

fn file_of(bytes: u64) -> File {
    let file =
        File::from(rustix::fs::memfd_create(c"shmem-unit-other", rustix::fs::MemfdFlags::CLOEXEC).unwrap());
    file.set_len(bytes).unwrap();
    file
}

#[test]
fn a_file_that_has_the_descriptors_number_by_now_is_left_alone() {
    let s = segment();
    drop(lock_in(&s));
    // Longer than the segment's: a note or a cell would find its place in it.
    let other = file_of(16 << 20);
    let [attached, late] = [(); 2].map(|()| Segment::from_fd(&s).unwrap());
    let lock = attached.find::<Lock>("lock").unwrap().unwrap();
    let restore = [&attached, &late].map(|s| stand_for(s, &other));
    // This thread takes a slot and a cell in the one, and would take a record in the other.
    let locked = lock.lock().map(drop);
    let recovered = attached.recover();
    let found = late.find::<Lock>("lock").map(drop);
    drop(restore);
    assert_eq!((locked, recovered), (Ok(()), 0));
    assert!(matches!(&found, Err(Error::Open(_))), "{found:?}");
    let mut bytes = vec![1; 16 << 20];
    other.read_exact_at(&mut bytes, 0).unwrap();
    assert!(bytes.iter().all(|byte| *byte == 0), "another file was written");
    assert!(late.find::<Lock>("lock").unwrap().is_some());
    drop(lock);
    sound(&s);
}

#[test]
fn whoever_has_lost_its_descriptor_is_told_instead_of_waiting_for_the_dead() {
    let s = segment();
    let lock = lock_in(&s);
    killed(&s, |s, death| {
        let lock = s.find::<Lock>("lock").unwrap().unwrap();
        let _guard = lock.lock().unwrap();
        death.strike();
    });
    let poor = Segment::from_fd(&s).unwrap();
    let wanted = poor.find::<Lock>("lock").unwrap().unwrap();
    let restore = stand_for(&poor, &file_of(16 << 20));
    let (sender, outcomes) = channel();
    let waiter = std::thread::spawn(move || {
        sender.send(wanted.lock().map(drop)).unwrap();
        sender.send(wanted.lock_timeout(Duration::from_millis(20)).map(drop)).unwrap();
        sender.send(wanted.try_lock().map(drop)).unwrap();
    });
    let told = [(); 3].map(|()| outcomes.recv_timeout(PATIENCE));
    // Whoever can tell takes it over; and if the other one waits still, it goes on.
    assert_eq!(lock.lock().map(drop), Err(BY_DEATH));
    waiter.join().unwrap();
    drop(restore);
    assert_eq!(told, [LockError::Refused, LockError::TimedOut, LockError::WouldBlock].map(|e| Ok(Err(e))));
    lock.lock_poisoned().unwrap().clear_poison();
    drop(poor);
    // A byte is held a little longer while a child that another test spawns has the descriptors of this process.
    until(|| {
        s.recover();
        s.attached_pids() == [std::process::id()]
    });
    sound(&s);
}

// ---- closing -------------------------------------------------------------------------------------------

#[test]
fn a_thread_that_sleeps_keeps_neither_the_file_nor_a_cell() {
    let s = segment();
    let lock = lock_in(&s);
    let file = File::from(s.as_fd().try_clone_to_owned().unwrap());
    let header = *s.inner.file.header();
    let (locked, was_locked) = channel();
    let (end, to_end) = channel::<()>();
    let sleeper = std::thread::spawn(move || {
        drop(lock.lock().unwrap());
        drop(lock);
        locked.send(robust::is_linked()).unwrap();
        let _ = to_end.recv();
    });
    assert!(was_locked.recv().unwrap());
    let cells = || {
        let mut bytes = vec![0_u8; header.slots as usize * 64];
        file.read_exact_at(&mut bytes, header.cells_at).unwrap();
        bytes
    };
    let maps = || {
        let inode = file.metadata().unwrap().ino().to_string();
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
        maps.lines().filter(|line| line.split_whitespace().nth(4) == Some(&inode)).count()
    };
    assert!(maps() > 0 && cells().iter().any(|byte| *byte != 0));
    drop(s);
    // A fork under way, another test's, keeps it a little longer.
    let begun = Instant::now();
    while maps() > 0 && begun.elapsed() < PATIENCE {
        std::thread::yield_now();
    }
    assert_eq!(maps(), 0, "what was closed, and perhaps removed, stays in memory");
    let closed = cells();
    assert!(closed.iter().all(|byte| *byte == 0), "a cell that is nobody's is free");
    // Somebody puts a backup back.
    file.write_all_at(&vec![0xA5; header.slots as usize * 64], header.cells_at).unwrap();
    drop(end);
    sleeper.join().unwrap();
    assert!(cells().iter().all(|byte| *byte == 0xA5), "the thread has touched it when it ended");
}
