//! The atomics every protocol of this crate is written with: std's, or loom's when a model is being checked.
//!
//! Loom's atomics have another size than std's, so protocols are modelled on plain structs, never on mapped
//! bytes; `from_ptr` views of mapped memory always use std's.

#[cfg(not(loom))]
pub(crate) use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU8, AtomicU32, AtomicU64, Ordering};

#[cfg(loom)]
pub(crate) use loom::sync::atomic::{AtomicU32, AtomicU64, Ordering};
#[cfg(loom)]
pub(crate) use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU8};
