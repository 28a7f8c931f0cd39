//! A part that must not be swapped is not had as `&mut`.
use shmem_core::{MappedMutexGuard, MutexGuard, ShmMutex, ShmSafe, ShmString};

#[derive(ShmSafe)]
#[repr(C)]
struct Two {
    a: ShmString,
    b: ShmString,
}

fn swap(mutex: &ShmMutex<Two>) {
    let _: MappedMutexGuard<'_, ShmString> = MutexGuard::map(mutex.lock().unwrap(), |two| &mut *two.a);
}

fn main() {
    let _ = swap;
}
