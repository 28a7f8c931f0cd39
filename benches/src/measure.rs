//! Measuring: clock, pinning, random numbers, two parties. The C++ peers have the same in `peers/bench.hpp`.
//!
//! This file needs `unsafe`: it forks, and shares memory with the child.

use crate::Result;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use std::path::PathBuf;
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, Ordering::*};
use std::sync::{Barrier, OnceLock};
use std::time::{Duration, Instant};

/// How workloads are to be set up.
#[derive(Clone)]
pub struct Setup {
    /// Whether this is a smoke run: every workload shrinks.
    pub quick: bool,
    /// Where files are to be made.
    pub directory: PathBuf,
}

impl Setup {
    /// A workload's size: `full`, or a hundredth of it (at least 10) in a smoke run.
    pub fn scaled(&self, full: u64) -> u64 {
        if self.quick { (full / 100).max(10) } else { full }
    }

    /// How long a case that runs for a time runs.
    pub fn run_time(&self) -> Duration {
        Duration::from_millis(if self.quick { 10 } else { 150 })
    }
}

/// A case with its data set up; each call runs it once.
pub type Workload = Box<dyn FnMut() -> Result<Sample>>;

/// What one run took.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// Its time.
    pub ns: u64,
    /// How many operations it made.
    pub ops: u64,
}

/// Times `ops` operations.
pub fn timed(ops: u64, f: impl FnOnce()) -> Sample {
    let start = Instant::now();
    f();
    Sample { ns: start.elapsed().as_nanos() as u64, ops }
}

/// As [`timed`], for operations that may fail.
pub fn try_timed<E>(ops: u64, f: impl FnOnce() -> Result<(), E>) -> Result<Sample, E> {
    let start = Instant::now();
    f()?;
    Ok(Sample { ns: start.elapsed().as_nanos() as u64, ops })
}

/// `Err` with a message unless it holds: no figure comes from wrong contents.
pub fn check(holds: bool, what: &str) -> Result<()> {
    if holds { Ok(()) } else { Err(what.into()) }
}

/// splitmix64's finaliser: a cheap bijection on 64-bit numbers.
#[inline]
pub fn mix(x: u64) -> u64 {
    let x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// The same sequence of random numbers as the C++ peers'.
pub struct Rng(pub u64);

impl Rng {
    /// A number below `n`.
    #[inline]
    pub fn below(&mut self, n: u64) -> u64 {
        let x = mix(self.0);
        self.0 = self.0.wrapping_add(1);
        ((u128::from(x) * u128::from(n)) >> 64) as u64
    }
}

/// A name for an object of the system that no other process uses.
pub fn own_name(what: &str) -> String {
    format!("shmem-benches-{what}-{}", std::process::id())
}

/// The CPUs this process was allowed to use when it first asked.
fn allowed_cpus() -> &'static [usize] {
    static ALLOWED: OnceLock<Vec<usize>> = OnceLock::new();
    ALLOWED.get_or_init(|| {
        let set = sched_getaffinity(None).unwrap_or_default();
        (0..CpuSet::MAX_CPU).filter(|&cpu| set.is_set(cpu)).collect()
    })
}

/// How many CPUs there are for this program.
pub fn cpus() -> usize {
    allowed_cpus().len()
}

/// Pins this thread to the n-th CPU it may use.
pub fn pin(n: usize) {
    if let Some(&cpu) = allowed_cpus().get(n) {
        let mut set = CpuSet::new();
        set.set(cpu);
        // A process that may not pin itself measures all the same.
        let _ = sched_setaffinity(None, &set);
    }
}

/// Lets this thread run on every processor that the program may use.
fn unpin() {
    let mut set = CpuSet::new();
    allowed_cpus().iter().for_each(|cpu| set.set(*cpu));
    let _ = sched_setaffinity(None, &set);
}

/// How long one side of a two-party run waits for the other before it gives up.
const PATIENCE: Duration = Duration::from_secs(30);

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

    /// One side: the first sets up alone, then the second, then both work together for `run_time`, in steps of
    /// 64 calls of `op`.
    fn side<S>(
        &self,
        who: usize,
        run_time: Duration,
        setup: impl FnOnce() -> Result<S>,
        op: impl Fn(&S) -> Result<()>,
    ) -> Result<()> {
        pin(who);
        self.await_ready(who as i32)?;
        let state = setup()?;
        self.ready.0.fetch_add(1, AcqRel);
        self.await_ready(2)?;
        let start = Instant::now();
        self.begin[who].0.store(now_ns(), Relaxed);
        let mut done = 0;
        while self.stop.0.load(Relaxed) == 0 {
            op(&state)?;
            done += 1;
            if done % 64 == 0 && who == 0 && start.elapsed() > run_time {
                self.stop.0.store(1, Relaxed);
            }
        }
        self.end[who].0.store(now_ns(), Relaxed);
        self.ops[who].0.store(done, Relaxed);
        Ok(())
    }

    /// As `side`; a failure ends the other side too.
    fn side_or_fail<S>(
        &self,
        who: usize,
        run_time: Duration,
        setup: impl FnOnce() -> Result<S>,
        op: impl Fn(&S) -> Result<()>,
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

/// Both sides call `op` for `run_time`: side 0 in this process on the first CPU, side 1 in a forked child on the
/// second. `setup(0)` is done before `setup(1)` begins. This process must have one thread.
pub fn two_processes<S>(
    run_time: Duration,
    setup: impl Fn(usize) -> Result<S>,
    op: impl Fn(&S) -> Result<()>,
) -> Result<Sample> {
    let meet = SharedMeet::new()?;
    // SAFETY: this process has one thread, so the child may do whatever the parent may.
    let child = unsafe { libc::fork() };
    if child < 0 {
        return Err(std::io::Error::last_os_error().into());
    }
    if child == 0 {
        let _ = rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL));
        let side = || meet.side_or_fail(1, run_time, || setup(1), &op);
        let code = match std::panic::catch_unwind(std::panic::AssertUnwindSafe(side)) {
            Ok(Ok(())) => 0,
            Ok(Err(e)) => {
                eprintln!("second process: {e}");
                1
            }
            Err(_) => {
                meet.failed.0.store(1, Relaxed);
                1
            }
        };
        // SAFETY: ends the child without running the parent's exit handlers or flushing its buffers.
        unsafe { libc::_exit(code) }
    }
    let mine = meet.side_or_fail(0, run_time, || setup(0), &op);
    let pid = rustix::process::Pid::from_raw(child);
    let status = rustix::process::waitpid(pid, rustix::process::WaitOptions::empty())?;
    pin(0);
    mine?;
    let clean = status.is_some_and(|(_, status)| status.exit_status() == Some(0));
    check(clean, "the second process failed")?;
    Ok(meet.sample())
}

/// The same with two threads of this process.
pub fn two_threads(run_time: Duration, op: impl Fn() + Sync) -> Result<Sample> {
    let meet = SharedMeet::new()?;
    let here: &Meet = &meet;
    let side = |who| {
        here.side_or_fail(
            who,
            run_time,
            || Ok(()),
            |()| {
                op();
                Ok(())
            },
        )
        .map_err(|e| e.to_string())
    };
    std::thread::scope(|scope| {
        let other = scope.spawn(|| side(1));
        let mine = side(0);
        let other = other.join().unwrap_or_else(|_| Err("the second thread panicked".into()));
        mine.and(other)
    })?;
    pin(0);
    Ok(meet.sample())
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

    const SHORT: Duration = Duration::from_millis(5);

    #[test]
    fn two_threads_count_what_they_do() {
        let count = AtomicU64::new(0);
        let sample = two_threads(SHORT, || _ = count.fetch_add(1, Relaxed)).unwrap();
        assert_eq!(sample.ops, count.load(Relaxed));
        assert!(sample.ns > 0);
    }

    #[test]
    fn a_failing_side_ends_the_other() {
        let failing = |at: u64| {
            let calls = AtomicU64::new(0);
            let meet = SharedMeet::new().unwrap();
            let meet: &Meet = &meet;
            let op = |(): &()| check(calls.fetch_add(1, Relaxed) != at, "enough");
            std::thread::scope(|scope| {
                let other = scope.spawn(|| meet.side_or_fail(1, SHORT, || Ok(()), op).is_ok());
                let mine = meet.side_or_fail(0, Duration::MAX, || Ok(()), op).is_ok();
                mine && other.join().unwrap()
            })
        };
        assert!(!failing(0));
        assert!(!failing(1000));
    }

    #[test]
    fn random_numbers_are_in_range_and_repeat() {
        let (mut a, mut b) = (Rng(3), Rng(3));
        for n in 1..1000 {
            let x = a.below(n);
            assert!(x < n);
            assert_eq!(x, b.below(n));
        }
    }
}
