//! A value of an enum that is not movable is no initialiser, whatever its variant.
use shmem_core::{ShmSafe, ShmString};

#[derive(ShmSafe)]
#[repr(u8)]
enum Job {
    Idle,
    Failed(ShmString),
}

fn set(mut view: JobMut<'_>) {
    view.set(Job::Idle).unwrap();
}

fn main() {
    let _ = set;
}
