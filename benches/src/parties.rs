//! Work by several parties at once: two processes, two threads, many threads. The C++ peers have the same in
//! `peers/bench.hpp`.
//!
//! This file needs `unsafe`: it forks, and shares memory with the child.

use crate::Result;
use crate::measure::{Sample, check, pin, unpin};
use rustix::process::{Pid, Signal, WaitOptions, set_parent_process_death_signal, waitpid};
use std::ptr;
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, Ordering::*};
use std::time::{Duration, Instant};

/// How long one side of a two-party run waits for the other before it gives up.
const PATIENCE: Duration = Duration::from_secs(30);

/// How many calls a party makes between two looks at the clock.
const CALLS_A_LOOK: u64 = 64;

/// A value on cache lines of its own.
#[repr(align(128))]
struct Padded<T>(T);

/// Where two parties meet, and what they report. All zeros is a fresh one.
#[repr(C)]
pub struct Meet {
    ready: Padded<AtomicI32>,
    stop: Padded<AtomicI32>,
    failed: Padded<AtomicI32>,
    begin: [Padded<AtomicU64>; 2],
    end: [Padded<AtomicU64>; 2],
    ops: [Padded<AtomicU64>; 2],
}

impl Meet {
    /// Waits until `ready` parties have come.
    fn await_ready(&self, ready: i32) -> Result<()> {
        let start = Instant::now();
        let mut spins = 0u32;
        while self.ready.0.load(Acquire) < ready {
            check(self.failed.0.load(Relaxed) == 0, "the other party failed")?;
            spins = spins.wrapping_add(1);
            if spins.is_multiple_of(4096) {
                check(start.elapsed() < PATIENCE, "the other party did not come")?;
            }
            std::hint::spin_loop();
        }
        Ok(())
    }

    /// One side: the first sets up alone, then the second, then both work together for `run_time`. `op` gives how many
    /// operations it made.
    fn side<S>(
        &self,
        who: usize,
        run_time: Duration,
        setup: impl FnOnce() -> Result<S>,
        op: impl Fn(&S) -> Result<u64>,
    ) -> Result<()> {
        pin(who);
        self.await_ready(who as i32)?;
        let state = setup()?;
        self.ready.0.fetch_add(1, AcqRel);
        self.await_ready(2)?;
        let start = Instant::now();
        self.begin[who].0.store(now_ns(), Relaxed);
        let (mut calls, mut done) = (0u64, 0);
        while self.goes_on(who, done) {
            done += op(&state)?;
            calls += 1;
            if calls.is_multiple_of(CALLS_A_LOOK) && who == 0 && start.elapsed() > run_time {
                self.stop.0.store(1, Relaxed);
            }
        }
        self.end[who].0.store(now_ns(), Relaxed);
        self.ops[who].0.store(done, Relaxed);
        Ok(())
    }

    /// Whether a party works on: until the first one says that it is over, but the second has to do something at all.
    #[inline]
    fn goes_on(&self, who: usize, done: u64) -> bool {
        self.stop.0.load(Relaxed) == 0 || (who == 1 && done == 0 && self.failed.0.load(Relaxed) == 0)
    }

    /// As `side`; a failure ends the other side too.
    fn side_or_fail<S>(
        &self,
        who: usize,
        run_time: Duration,
        setup: impl FnOnce() -> Result<S>,
        op: impl Fn(&S) -> Result<u64>,
    ) -> Result<()> {
        let result = self.side(who, run_time, setup, op);
        if result.is_err() {
            self.failed.0.store(1, Relaxed);
            self.stop.0.store(1, Relaxed);
        }
        result
    }

    /// From the later start to the later end, with the operations of both.
    fn sample(&self) -> Sample {
        let later = |a: &[Padded<AtomicU64>; 2]| a[0].0.load(Relaxed).max(a[1].0.load(Relaxed));
        let ops = self.ops[0].0.load(Relaxed) + self.ops[1].0.load(Relaxed);
        Sample { ns: later(&self.end).saturating_sub(later(&self.begin)), ops }
    }
}

/// The monotonic clock, equal in all processes.
fn now_ns() -> u64 {
    let t = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    t.tv_sec as u64 * 1_000_000_000 + t.tv_nsec as u64
}

/// Zeroed memory that a forked child shares with this process.
struct SharedMeet(*mut Meet);

impl SharedMeet {
    fn new() -> Result<Self> {
        use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous};
        // SAFETY: a new anonymous mapping overlaps nothing.
        let at = unsafe {
            mmap_anonymous(
                ptr::null_mut(),
                size_of::<Meet>(),
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::SHARED | MapFlags::POPULATE,
            )?
        };
        Ok(SharedMeet(at.cast()))
    }
}

impl std::ops::Deref for SharedMeet {
    type Target = Meet;
    fn deref(&self) -> &Meet {
        // SAFETY: the mapping is page-aligned, large enough, lives as long as `self`, and its zeros are a `Meet`;
        // both processes write it through atomics only.
        unsafe { &*self.0 }
    }
}

impl Drop for SharedMeet {
    fn drop(&mut self) {
        // SAFETY: mapped by `new` with this size, and no reference outlives `self`.
        let _ = unsafe { rustix::mm::munmap(self.0.cast(), size_of::<Meet>()) };
    }
}

/// What [`fork`] has made: this process is one of the two.
enum Forked {
    Parent(Pid),
    Child,
}

/// Makes a child that dies with this process.
///
/// # Safety
/// 1. This process has one thread.
/// 2. The child ends by [`leave`].
unsafe fn fork() -> Result<Forked> {
    // SAFETY: by 1 the child may do whatever the parent may.
    match unsafe { libc::fork() } {
        child if child < 0 => Err(std::io::Error::last_os_error().into()),
        0 => {
            let _ = set_parent_process_death_signal(Some(Signal::KILL));
            Ok(Forked::Child)
        }
        child => Ok(Forked::Parent(Pid::from_raw(child).ok_or("a child without a process id")?)),
    }
}

/// The end of a forked child, which says on standard error what went wrong.
fn leave(work: impl FnOnce() -> Result<()>) -> ! {
    let code = match std::panic::catch_unwind(std::panic::AssertUnwindSafe(work)) {
        Ok(Ok(())) => 0,
        Ok(Err(e)) => {
            eprintln!("second process: {e}");
            1
        }
        Err(_) => 1,
    };
    // SAFETY: ends the child without running the parent's exit handlers or flushing its buffers.
    unsafe { libc::_exit(code) }
}

/// Waits for a child; `Err` unless all went well there.
fn wait(child: Pid) -> Result<()> {
    let status = waitpid(Some(child), WaitOptions::empty())?;
    let clean = status.is_some_and(|(_, status)| status.exit_status() == Some(0));
    check(clean, "the second process failed")
}

/// Both sides call `op`, which gives how many operations it made, for `run_time`: side 0 in this process on the first
/// CPU, side 1 in a forked child on the second. `setup(0)` is done before `setup(1)` begins. This process must have
/// one thread.
pub fn two_processes<S>(
    run_time: Duration,
    setup: impl Fn(usize) -> Result<S>,
    op: impl Fn(&S) -> Result<u64>,
) -> Result<Sample> {
    let meet = SharedMeet::new()?;
    // SAFETY: 1 by the caller; 2 below.
    let child = match unsafe { fork()? } {
        Forked::Child => leave(|| {
            let side = || meet.side_or_fail(1, run_time, || setup(1), &op);
            let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(side));
            result.unwrap_or_else(|_| {
                meet.failed.0.store(1, Relaxed);
                Err("it panicked".into())
            })
        }),
        Forked::Parent(child) => child,
    };
    let mine = meet.side_or_fail(0, run_time, || setup(0), &op);
    let theirs = wait(child);
    pin(0);
    mine?;
    theirs?;
    Ok(meet.sample())
}

/// The same with two threads of this process.
pub fn two_threads<S>(
    run_time: Duration,
    setup: impl Fn(usize) -> Result<S> + Sync,
    op: impl Fn(&S) -> Result<u64> + Sync,
) -> Result<Sample> {
    let meet = SharedMeet::new()?;
    let here: &Meet = &meet;
    let side = |who| here.side_or_fail(who, run_time, || setup(who), &op).map_err(|e| e.to_string());
    std::thread::scope(|scope| {
        let other = scope.spawn(|| side(1));
        let mine = side(0);
        let other = other.join().unwrap_or_else(|_| Err("the second thread panicked".into()));
        mine.and(other)
    })?;
    pin(0);
    Ok(meet.sample())
}

/// The same with this thread alone.
pub fn one_party<S>(
    run_time: Duration,
    setup: impl FnOnce() -> Result<S>,
    op: impl Fn(&S) -> Result<u64>,
) -> Result<Sample> {
    let state = setup()?;
    let start = Instant::now();
    let (mut calls, mut ops) = (0u64, 0);
    while !calls.is_multiple_of(CALLS_A_LOOK) || start.elapsed() <= run_time {
        ops += op(&state)?;
        calls += 1;
    }
    Ok(Sample { ns: start.elapsed().as_nanos() as u64, ops })
}

/// Runs `work` in a forked child: it leaves nothing in this process's memory. This process must have one thread.
pub fn in_child(work: impl FnOnce() -> Result<Sample>) -> Result<Sample> {
    let meet = SharedMeet::new()?;
    // SAFETY: 1 by the caller; 2 below.
    match unsafe { fork()? } {
        Forked::Child => leave(|| {
            let sample = work()?;
            meet.end[1].0.store(sample.ns, Relaxed);
            meet.ops[1].0.store(sample.ops, Relaxed);
            Ok(())
        }),
        Forked::Parent(child) => wait(child)?,
    }
    Ok(Sample { ns: meet.end[1].0.load(Relaxed), ops: meet.ops[1].0.load(Relaxed) })
}

/// The same with more threads than processors, which may run wherever they like: what waits must sleep, and does not get
/// its turn for nothing.
pub fn crowd(
    threads: usize,
    run_time: Duration,
    op: impl Fn() -> Result<(), String> + Sync,
) -> Result<Sample> {
    let (begin, stop) = (Barrier::new(threads + 1), AtomicBool::new(false));
    let side = || {
        unpin();
        begin.wait();
        let mut ops = 0;
        while !stop.load(Relaxed) {
            op()?;
            ops += 1;
        }
        Ok::<u64, String>(ops)
    };
    let sample = std::thread::scope(|scope| {
        let sides: Vec<_> = (0..threads).map(|_| scope.spawn(side)).collect();
        begin.wait();
        let start = Instant::now();
        std::thread::sleep(run_time);
        stop.store(true, Relaxed);
        let mut sample = Sample { ns: 0, ops: 0 };
        for side in sides {
            sample.ops += side.join().unwrap_or_else(|_| Err("a thread panicked".into()))?;
        }
        sample.ns = start.elapsed().as_nanos() as u64;
        Ok::<_, String>(sample)
    })?;
    Ok(sample)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crowd_counts_what_it_does() {
        let count = AtomicU64::new(0);
        let sample = crowd(3, SHORT, || {
            count.fetch_add(1, Relaxed);
            Ok(())
        });
        assert_eq!(sample.unwrap().ops, count.load(Relaxed));
        assert!(crowd(2, SHORT, || Err("no".into())).is_err());
    }

    #[test]
    fn one_party_counts_what_it_does() {
        let count = AtomicU64::new(0);
        let op = |(): &()| {
            count.fetch_add(3, Relaxed);
            Ok(3)
        };
        let sample = one_party(SHORT, || Ok(()), op).unwrap();
        assert_eq!(sample.ops, count.load(Relaxed));
        assert!(sample.ns >= SHORT.as_nanos() as u64);
        assert!(one_party(SHORT, || Ok(()), |()| Err("no".into())).is_err());
    }

    const SHORT: Duration = Duration::from_millis(5);

    #[test]
    fn two_threads_count_what_they_do() {
        let count = AtomicU64::new(0);
        let sample = two_threads(
            SHORT,
            |_| Ok(()),
            |()| {
                count.fetch_add(2, Relaxed);
                Ok(2)
            },
        )
        .unwrap();
        assert_eq!(sample.ops, count.load(Relaxed));
        assert!(sample.ns > 0);
    }

    #[test]
    fn a_failing_side_ends_the_other() {
        let failing = |at: u64| {
            let calls = AtomicU64::new(0);
            let meet = SharedMeet::new().unwrap();
            let meet: &Meet = &meet;
            let op = |(): &()| {
                check(calls.fetch_add(1, Relaxed) != at, "enough")?;
                Ok(1)
            };
            std::thread::scope(|scope| {
                let other = scope.spawn(|| meet.side_or_fail(1, SHORT, || Ok(()), op).is_ok());
                let mine = meet.side_or_fail(0, Duration::MAX, || Ok(()), op).is_ok();
                mine && other.join().unwrap()
            })
        };
        assert!(!failing(0));
        assert!(!failing(1000));
    }
}
