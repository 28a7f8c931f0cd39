//! The library's lock word.

#[path = "../../shmem-core/src/sync/raw.rs"]
mod raw;

pub(crate) use raw::{Acquired, LOCK_KINDS, Patience, RawLock};
