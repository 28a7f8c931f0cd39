//! A field without an initialiser.
use shmem_core::ShmSafe;

#[derive(ShmSafe)]
#[repr(C)]
pub struct Stored {
    pub id: u64,
    pub size: u64,
}

fn main() {
    let _ = StoredInit { id: 1 };
}
