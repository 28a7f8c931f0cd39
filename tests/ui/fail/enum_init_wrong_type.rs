//! A field of a variant with an initialiser of another type.
use shmem_core::{Init, ShmSafe, ShmString};

#[derive(ShmSafe)]
#[repr(u8)]
enum Job {
    Idle,
    Running { id: u64, name: ShmString },
}

fn job() -> impl Init<Job> {
    JobRunningInit { id: "one", name: "a name" }
}

fn main() {
    let _ = job;
}
