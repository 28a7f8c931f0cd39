//! Nor does a view (soundness A5).
use shmem_core::{ShmSafe, ShmString};

#[derive(ShmSafe)]
#[repr(C)]
struct Two {
    a: ShmString,
    b: ShmString,
}

fn swap(view: TwoMut<'_>) {
    let (a, b): (&mut ShmString, &mut ShmString) = (view.a, view.b);
    std::mem::swap(a, b);
}

fn main() {
    let _ = swap;
}
