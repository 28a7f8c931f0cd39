//! An initialiser of another type.
use shmem_core::ShmSafe;

#[derive(ShmSafe)]
#[repr(C)]
pub struct Stored {
    pub id: u64,
    pub size: u64,
}

fn build(init: impl shmem_core::Init<Stored>) {
    drop(init);
}

fn main() {
    build(StoredInit { id: "one", size: 2 });
}
