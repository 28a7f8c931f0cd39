//! Nor does a vector's view.
use shmem_core::{ShmSafe, ShmString, ShmVec};

#[derive(ShmSafe)]
#[repr(C)]
struct Two {
    a: ShmString,
    b: ShmString,
}

fn swap(mut list: <ShmVec<Two> as ShmSafe>::Mut<'_>) {
    list.as_mut_slice().swap(0, 1);
}

fn main() {
    let _ = swap;
}
