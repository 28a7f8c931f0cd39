//! The atomics that every protocol of this crate is written with, in one place, so that a model checker's can be put in
//! for them. (They are std's today: mapped bytes are cast to them, and a checker's have another size.)

pub(crate) use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU8, AtomicU32, AtomicU64, Ordering};
