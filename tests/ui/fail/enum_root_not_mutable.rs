//! Without a lock an enum is only read.
use shmem_core::{Root, ShmSafe};

#[derive(ShmSafe)]
#[repr(u8)]
enum Job {
    Idle,
    Running(u64),
}

fn change(root: &mut Root<Job>) {
    if let Job::Running(id) = &mut **root {
        *id += 1;
    }
}

fn main() {
    let _ = change;
}
