//! Locks that live in a segment and survive the death of whoever holds them.

mod mapped;
mod mutex;
mod raw;

pub use mapped::{MappedMutexGuard, MappedMutexRef};
pub use mutex::{CorruptGuard, MutexGuard, MutexInit, MutexMut, PoisonedLockError, ShmMutex};
pub(crate) use raw::{Acquired, LOCK_KINDS, Patience, RawLock};

#[cfg(test)]
pub(crate) use {mutex::mutex_layout, raw::raw_lock_layout};
