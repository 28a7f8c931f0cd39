//! `view` promises exclusiveness, so it is unsafe to call (soundness C4).
use shmem_core::ShmSafe;
use shmem_core::access::Access;
use std::ptr::NonNull;

fn main() {
    let mut n = 1u64;
    let _ = <u64 as ShmSafe>::view(NonNull::from(&mut n), Access::detached());
}
