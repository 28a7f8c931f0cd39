//! An enum that is not movable is not assigned to: what stands there would be overwritten (soundness A5).
use shmem_core::{ShmSafe, ShmString};

#[derive(ShmSafe)]
#[repr(u8)]
enum Job {
    Idle,
    Failed(ShmString),
}

fn reset(view: JobMut<'_>) {
    *view = Job::Idle;
}

fn main() {
    let _ = reset;
}
