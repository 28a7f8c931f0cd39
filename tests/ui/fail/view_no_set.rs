//! A view replaces no whole value (soundness A5).
use shmem_core::ShmSafe;

#[derive(ShmSafe)]
#[repr(C)]
pub struct Stored {
    pub id: u64,
    pub size: u64,
}

fn change(view: StoredMut<'_>) {
    *view = Stored { id: 1, size: 2 };
}

fn main() {
    let _ = change;
}
