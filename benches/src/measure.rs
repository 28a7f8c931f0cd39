//! Measuring: clock, pinning, random numbers. The C++ peers have the same in `peers/bench.hpp`.

use crate::Result;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use std::path::PathBuf;
use std::sync::OnceLock;
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

/// What one run took; of a share (see `catalogue`), the part and the whole.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// Its time.
    pub ns: u64,
    /// How many operations it made.
    pub ops: u64,
}

impl Sample {
    /// Of two parties' work, the time of one's operation instead of one operation of both.
    pub fn of_each(self) -> Self {
        Sample { ns: self.ns * 2, ..self }
    }
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
pub fn unpin() {
    let mut set = CpuSet::new();
    allowed_cpus().iter().for_each(|cpu| set.set(*cpu));
    let _ = sched_setaffinity(None, &set);
}

#[cfg(test)]
mod tests {
    use super::*;

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
