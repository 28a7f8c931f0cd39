//! Nor are their fields: a view is no `&mut` to what it stands for.
use shmem_core::{ShmSafe, ShmString};

#[derive(ShmSafe)]
#[repr(u8)]
enum Job {
    Idle,
    Failed(ShmString),
}

fn swap(a: &mut JobMut<'_>, other: &mut ShmString) {
    if let JobVariantMut::Failed(why) = a.get() {
        std::mem::swap(why, other);
    }
}

fn main() {
    let _ = swap;
}
