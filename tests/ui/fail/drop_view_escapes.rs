//! The view of a value being dropped does not outlive the drop (soundness A2).
use shmem_core::ShmSafe;

use std::sync::Mutex;

static LAST: Mutex<Option<&'static mut u64>> = Mutex::new(None);

#[derive(ShmSafe)]
#[shm(drop)]
#[repr(C)]
struct Stored {
    id: u64,
}

impl shmem_core::ShmDrop for Stored {
    fn drop(this: StoredMut<'_>) {
        *LAST.lock().unwrap() = Some(this.id);
    }
}

fn main() {}
