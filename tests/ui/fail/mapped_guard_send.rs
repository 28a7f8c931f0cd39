//! A guard of a part stays on its thread, as the one it was made of.
use shmem_core::{MappedMutexGuard, MutexGuard, ShmMutex};

fn send<T: Send>(_: T) {}

fn give(mutex: &ShmMutex<u64>) {
    let guard: MappedMutexGuard<'_, u64> = MutexGuard::map(mutex.lock().unwrap(), |n| &mut **n);
    send(guard);
}

fn main() {
    let _ = give;
}
