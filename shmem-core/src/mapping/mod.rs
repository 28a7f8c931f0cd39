//! Segments as the operating system sees them: files, address ranges, committed memory, and the process-wide
//! registry of what is mapped where.

pub(crate) mod commit;
mod draft;
pub(crate) mod file;
pub(crate) mod held_byte;
pub(crate) mod place;
mod raw;
mod region;
pub(crate) mod registry;
mod remove;
pub(crate) mod storage;
pub(crate) mod superblock;

pub(crate) use file::{CreateSpec, MappedFile, Want};
pub(crate) use held_byte::{HeldByte, LockedByte};
pub(crate) use place::{Place, remove};

pub use raw::{FileMapping, SharedMemory};
pub use region::{MapMode, MappedRegion, RegionAdvice};
pub use remove::RemoveOnDrop;
