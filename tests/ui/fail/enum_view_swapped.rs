//! Two enums that are not movable are not swapped through their views (soundness A5).
use shmem_core::{ShmSafe, ShmString};

#[derive(ShmSafe)]
#[repr(u8)]
enum Job {
    Idle,
    Failed(ShmString),
}

fn swap(a: JobMut<'_>, b: JobMut<'_>) {
    std::mem::swap(&mut *a, &mut *b);
}

fn main() {
    let _ = swap;
}
