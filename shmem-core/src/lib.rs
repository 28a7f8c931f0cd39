//! shmem (draft root)
extern crate self as shmem_core;

#[doc(hidden)]
#[path = "derive_support.rs"]
pub mod __private;
pub mod access;
mod container;
mod error;
mod heap;
mod layout;
mod mapping;
mod participant;
mod primitive;
mod ptr;
mod segment;
mod sync;
mod sys;
#[cfg(test)]
pub(crate) mod testing;

pub use container::*;
pub use error::*;
pub use heap::*;
pub use layout::*;
pub use mapping::{FileMapping, MapMode, MappedRegion, RegionAdvice, RemoveOnDrop, SharedMemory};
pub use ptr::OffsetPtr;
pub use segment::*;
pub use shmem_derive::ShmSafe;
pub use sync::*;
