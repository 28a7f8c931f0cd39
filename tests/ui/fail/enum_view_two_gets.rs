//! There is one view of the current variant at a time (soundness A1).
use shmem_core::{ShmSafe, ShmString};

#[derive(ShmSafe)]
#[repr(u8)]
enum Job {
    Idle,
    Failed(ShmString),
}

fn twice(mut view: JobMut<'_>) {
    let one = view.get();
    let two = view.get();
    drop((one, two));
}

fn main() {
    let _ = twice;
}
