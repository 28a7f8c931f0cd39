//! Switches by which a test takes a witness away from this process. Without one, deaths are noticed later or by the
//! others; nobody is ever held for dead who is not.

use std::sync::atomic::{AtomicU8, Ordering};

/// Something that tells of a death.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Witness {
    /// The byte lock of a process's record.
    Byte = 1,
    /// The threads of a process in `/proc`.
    Threads = 2,
    /// The liveness cells of threads.
    Cell = 4,
}

static IGNORED: AtomicU8 = AtomicU8::new(0);

/// From now on this process does not ask, or (a cell) does not provide, this witness.
pub fn ignore(witness: Witness) {
    IGNORED.fetch_or(witness as u8, Ordering::Relaxed);
}

pub(crate) fn is_ignored(witness: Witness) -> bool {
    IGNORED.load(Ordering::Relaxed) & witness as u8 != 0
}
