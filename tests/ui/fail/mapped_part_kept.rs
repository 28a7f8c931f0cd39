//! What is chosen from a guard's view goes nowhere but into the guard of the part.
use shmem_core::{MappedMutexGuard, MutexGuard, ShmMutex, ShmVec};

fn keep(mutex: &ShmMutex<ShmVec<u64>>) {
    let mut kept = None;
    let first: MappedMutexGuard<'_, [u64; 0]> = MutexGuard::map(mutex.lock().unwrap(), |list| {
        kept = Some(list);
        &mut []
    });
    drop((first, kept));
}

fn main() {
    let _ = keep;
}
