//! A lock's guard stays on its thread (soundness A9).
use shmem_core::{MutexGuard, ShmMutex};

fn send<T: Send>(_: T) {}

fn give(mutex: &ShmMutex<u64>) {
    let guard: MutexGuard<'_, u64> = mutex.lock().unwrap();
    send(guard);
}

fn main() {
    let _ = give;
}
