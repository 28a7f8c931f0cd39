//! The first attack: a `Drop` that swaps two strings (soundness A2).
use shmem_core::{ShmSafe, ShmString};

#[derive(ShmSafe)]
#[repr(C)]
struct Two {
    a: ShmString,
    b: ShmString,
}

impl Drop for Two {
    fn drop(&mut self) {
        std::mem::swap(&mut self.a, &mut self.b);
    }
}

fn main() {}
