//! Views are `Send` and `Sync` as what they view (soundness A9).
use shmem_core::ShmSafe;
use std::sync::atomic::AtomicU32;

#[derive(ShmSafe)]
#[repr(C)]
struct Stored {
    id: u64,
    hits: [AtomicU32; 4],
    flag: bool,
}

fn send<T: Send>() {}
fn sync<T: Sync>() {}

fn main() {
    send::<Stored>();
    sync::<Stored>();
    send::<StoredMut<'static>>();
    sync::<StoredMut<'static>>();
}
