//! An initialiser of another struct.
use shmem_core::ShmSafe;

#[derive(ShmSafe)]
#[repr(C)]
pub struct Stored {
    pub id: u64,
    pub size: u64,
}

#[derive(ShmSafe)]
#[repr(C)]
struct Other {
    id: u64,
}

fn build(init: impl shmem_core::Init<Stored>) {
    drop(init);
}

fn main() {
    build(OtherInit { id: 1 });
}
