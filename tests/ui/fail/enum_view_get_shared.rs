//! Views of fields need the enum's view for themselves.
use shmem_core::{ShmSafe, ShmString};

#[derive(ShmSafe)]
#[repr(u8)]
enum Job {
    Idle,
    Failed(ShmString),
}

fn get(view: &JobMut<'_>) {
    view.get();
}

fn main() {
    let _ = get;
}
