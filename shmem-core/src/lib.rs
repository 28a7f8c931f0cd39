//! shmem (draft root)
extern crate self as shmem_core;

pub mod access;
mod container;
mod error;
mod heap;
mod layout;
mod mapping;
mod primitive;
mod ptr;
mod sys;
#[cfg(test)]
pub(crate) mod testing;

pub use container::*;
pub use error::*;
pub use layout::*;
pub use ptr::OffsetPtr;
