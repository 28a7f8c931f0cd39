//! The variant is not replaced while its fields are viewed (soundness A1).
use shmem_core::{ShmSafe, ShmString};

#[derive(ShmSafe)]
#[repr(u8)]
enum Job {
    Idle,
    Failed(ShmString),
}

fn replace(mut view: JobMut<'_>) {
    if let JobVariantMut::Failed(mut why) = view.get() {
        view.set(Job::init_idle()).unwrap();
        why.set("gone").unwrap();
    }
}

fn main() {
    let _ = replace;
}
