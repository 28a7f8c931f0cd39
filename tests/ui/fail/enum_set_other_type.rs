//! `set` takes an initialiser of this enum.
use shmem_core::{ShmSafe, ShmString};

#[derive(ShmSafe)]
#[repr(u8)]
enum Job {
    Idle,
    Failed(ShmString),
}

#[derive(ShmSafe)]
#[repr(u8)]
enum Task {
    Idle,
    Failed(ShmString),
}

fn set(mut view: JobMut<'_>) {
    view.set(TaskFailedInit("of a task")).unwrap();
    view.set(Task::init_idle()).unwrap();
}

fn main() {
    let _ = set;
}
