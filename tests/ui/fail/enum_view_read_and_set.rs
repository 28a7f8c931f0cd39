//! Nor while they are read.
use shmem_core::{ShmSafe, ShmString};

#[derive(ShmSafe)]
#[repr(u8)]
enum Job {
    Idle,
    Failed(ShmString),
}

fn replace(mut view: JobMut<'_>) {
    if let Job::Failed(why) = &*view {
        view.set(Job::init_idle()).unwrap();
        assert_eq!(*why, "gone");
    }
}

fn main() {
    let _ = replace;
}
