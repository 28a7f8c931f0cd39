//! Which fields an enum has, only its variant says.
use shmem_core::{ShmSafe, ShmString};

#[derive(ShmSafe)]
#[repr(u8)]
enum Job {
    Idle,
    Running { id: u64, name: ShmString },
}

fn rename(mut view: JobMut<'_>) {
    view.name.set("other").unwrap();
}

fn main() {
    let _ = rename;
}
