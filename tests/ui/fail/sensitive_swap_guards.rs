//! No guard gives a `&mut` to an address-sensitive value (soundness A2).
use shmem_core::{ShmMutex, ShmSafe, ShmString};

#[derive(ShmSafe)]
#[repr(C)]
struct Two {
    a: ShmString,
    b: ShmString,
}

fn swap(one: &ShmMutex<Two>, two: &ShmMutex<Two>) {
    let (mut one, mut two) = (one.lock().unwrap(), two.lock().unwrap());
    std::mem::swap(&mut *one, &mut *two);
}

fn main() {
    let _ = swap;
}
