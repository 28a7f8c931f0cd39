//! `visit` reads raw memory, so it is unsafe to call (soundness C4).
use shmem_core::access::Access;
use shmem_core::{ShmSafe, Visitor};

fn main() {
    <bool as ShmSafe>::visit(std::ptr::null(), &mut Visitor::new(Access::detached()));
}
