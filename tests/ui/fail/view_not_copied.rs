//! A view is exclusive.
use shmem_core::ShmSafe;

#[derive(ShmSafe)]
#[repr(C)]
pub struct Stored {
    pub id: u64,
    pub size: u64,
}

fn twice(view: StoredMut<'_>) {
    let one = view;
    let two = view;
    *one.id = *two.id;
}

fn main() {
    let _ = twice;
}
