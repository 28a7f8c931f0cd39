//! A view of a local value does not outlive it.
use shmem_core::ShmSafe;

#[derive(ShmSafe)]
#[repr(C)]
pub struct Stored {
    pub id: u64,
    pub size: u64,
}

fn make() -> StoredMut<'static> {
    let (mut id, mut size) = (1, 2);
    StoredMut { id: &mut id, size: &mut size }
}

fn main() {
    let _ = make;
}
