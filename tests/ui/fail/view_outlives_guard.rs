//! A view does not outlive the guard it came from.
use shmem_core::{ShmMutex, ShmSafe, ShmString};

#[derive(ShmSafe)]
#[repr(C)]
struct Two {
    a: ShmString,
    b: ShmString,
}

fn keep(mutex: &ShmMutex<Two>) {
    let mut guard = mutex.lock().unwrap();
    let view = guard.view();
    drop(guard);
    let _ = view.a.len();
}

fn main() {
    let _ = keep;
}
