//! The two processes of a hand-over: one holds the lock until it is killed, the other one waits for it.

use crate::Result;
use rustix::time::{ClockId, clock_gettime};
use shmem_core::__testing::{Witness, ignore};
use shmem_core::{PoisonedLockError, Segment, ShmMutex, ShmVec};
use std::hint::black_box;
use std::io::Write;

/// Which of the two.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub enum Part {
    /// Holds the lock.
    Holder,
    /// Waits for the lock.
    Waiter,
}

/// The arguments of a party.
#[derive(clap::Args)]
pub struct Party {
    /// Which of the two.
    pub part: Part,
    /// The segment.
    pub segment: String,
    /// How much memory of its own the holder touches.
    #[arg(long, default_value_t = 0)]
    pub private_bytes: usize,
    /// Whether the holder touches the segment's ballast.
    #[arg(long)]
    pub ballast: bool,
    /// Whether it does without liveness cells.
    #[arg(long)]
    pub without_cell: bool,
}

/// What is handed over.
pub type Lock = ShmMutex<u64>;
/// Memory of the segment to be touched.
pub type Ballast = ShmMutex<ShmVec<[u8; PIECE]>>;

/// An element of the ballast.
pub const PIECE: usize = 64 << 10;
/// What the operating system maps at a time.
const PAGE: usize = 4096;

/// Names of the two.
pub const LOCK: &str = "lock";
pub const BALLAST: &str = "ballast";

/// The monotonic clock, which is the same for every process.
pub fn now_ns() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

fn touch(memory: &mut [u8]) {
    memory.iter_mut().step_by(PAGE).for_each(|byte| *byte = 1);
    black_box(memory);
}

/// Serves requests until the end of input: `hold`; `wait`, which is answered before it waits, and then `when`.
pub fn serve(party: &Party) -> Result<()> {
    if party.without_cell {
        ignore(Witness::Cell);
    }
    let segment = Segment::shared(&party.segment).open()?;
    let lock = segment.find::<Lock>(LOCK)?.ok_or("there is no lock")?;
    let mut private = vec![0; party.private_bytes];
    touch(&mut private);
    if party.ballast {
        let ballast = segment.find::<Ballast>(BALLAST)?.ok_or("there is no ballast")?;
        touch(ballast.lock()?.view().as_mut_slice().as_flattened_mut());
    }
    let answer = |line: &dyn std::fmt::Display| {
        let mut out = std::io::stdout().lock();
        writeln!(out, "{line}").and_then(|()| out.flush())
    };
    let (mut held, mut owned_at) = (None, 0);
    for line in std::io::stdin().lines() {
        match line?.as_str() {
            "hold" => {
                held = Some(lock.lock()?);
                answer(&"holding")?;
            }
            "wait" => {
                answer(&"waiting")?;
                let mut guard = lock.lock_poisoned().map_err(|e| match e {
                    PoisonedLockError::Lock(e) => e.to_string(),
                    _ => "the counter is corrupt".into(),
                })?;
                owned_at = now_ns();
                if !guard.is_poisoned() {
                    return Err("it was unlocked".into());
                }
                *guard += 1;
                guard.clear_poison();
            }
            "when" => answer(&owned_at)?,
            _ => answer(&"error not understood")?,
        }
    }
    drop(held);
    Ok(())
}
