//! A view gives no reference to the whole value (soundness A5).
use shmem_core::ShmSafe;

#[derive(ShmSafe)]
#[repr(C)]
pub struct Stored {
    pub id: u64,
    pub size: u64,
}

fn look(view: StoredMut<'_>) -> u64 {
    let whole: &Stored = &view;
    whole.id
}

fn main() {
    let _ = look;
}
