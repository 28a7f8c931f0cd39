//! `relocate` writes raw memory, so it is unsafe to call (soundness C4).
use shmem_core::ShmSafe;

fn main() {
    let (mut from, mut to) = (1u64, 2u64);
    <u64 as ShmSafe>::relocate(&mut from, &mut to);
}
