//! What the test suites of shmem share: worker processes, watchdogs, names that are cleaned up, and the few system
//! calls that stage a failure.
//!
//! A suite that needs processes declares its [`roles!`]; [`spawn`](Worker::spawn) starts its own binary again in
//! one of them. Whatever a test waits for, it waits for with a [`Watchdog`] or a time-out: a hang is a failure that
//! says what was being waited for. Workers are killed and reaped, names and files removed, also when a test fails.

pub mod ends;
pub mod placed;
mod random;
mod resources;
mod scratch;
#[cfg(target_arch = "x86_64")]
pub mod step;
pub mod stress;
mod system;
pub mod torture;
pub mod types;
mod watchdog;
mod worker;

pub use random::Random;
pub use resources::{Resources, waits_of_this_thread};
pub use scratch::{TempDir, TempName, leftovers};
pub use system::{
    Forked, cut_lifelines, fork, is_root, limit_file_size, make_fifo, mount_tmpfs, set_owner, signal,
    thread_time,
};
pub use watchdog::Watchdog;
pub use worker::{Worker, argument, arguments, enter, hear, report};

use std::time::{Duration, Instant};

/// How long a test waits for something that takes moments.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Whether the long forms of the suites were asked for (`SHMEM_LONG=1`).
pub fn long() -> bool {
    std::env::var_os("SHMEM_LONG").is_some_and(|value| value == "1")
}

/// Waits until `condition` holds; panics, naming `what`, if it takes too long.
#[track_caller]
pub fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < PATIENCE, "waited in vain until {what}");
        std::thread::sleep(Duration::from_micros(200));
    }
}

/// Checks that the segment shows no damage.
#[track_caller]
pub fn sound(segment: &shmem_core::Segment) {
    assert_eq!(segment.check(), []);
}
