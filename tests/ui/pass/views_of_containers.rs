//! Views of structs with containers are `Send` and `Sync` as what they view, and reborrow freely.
use shmem_core::{ShmHashMap, ShmMutex, ShmSafe, ShmString, ShmVec};

#[derive(ShmSafe)]
#[repr(C)]
struct Stored<T: ShmSafe> {
    name: ShmString,
    list: ShmVec<T>,
    map: ShmHashMap<u64, T>,
    lock: ShmMutex<T>,
}

fn send<T: Send>() {}
fn sync<T: Sync>() {}

fn fill(stored: &mut StoredMut<'_, u32>) -> shmem_core::Result<()> {
    stored.name.push_str("x")?;
    stored.list.push(1)?;
    stored.list.push(2)
}

fn main() {
    send::<StoredMut<'static, u32>>();
    sync::<StoredMut<'static, u32>>();
    send::<Stored<u32>>();
    sync::<Stored<u32>>();
    let _ = fill;
}
