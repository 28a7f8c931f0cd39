//! What every protocol of this crate is written with: atomics, and whatever else one thread can notice of another. In
//! one place, because the models put a model checker's in for them, whose atomics have another size and no constant
//! constructor: only what is mapped, or made anew with each mapping, is of these types.

pub(crate) use arc_swap::ArcSwapOption;
pub(crate) use std::sync::atomic::{
    AtomicBool, AtomicI64, AtomicU8, AtomicU32, AtomicU64, Ordering, compiler_fence, fence,
};
pub(crate) use std::sync::{Mutex, MutexGuard};
pub(crate) use std::{hint, thread, thread_local};
