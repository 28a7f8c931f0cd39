//! While a view is alive, nothing reads the value (soundness A5).
use shmem_core::{ShmMutex, ShmSafe, ShmString};

#[derive(ShmSafe)]
#[repr(C)]
struct Two {
    a: ShmString,
    b: ShmString,
}

fn both(mutex: &ShmMutex<Two>) {
    let mut guard = mutex.lock().unwrap();
    let view = guard.view();
    let whole: &Two = &guard;
    drop(view);
    let _ = whole.a.len();
}

fn main() {
    let _ = both;
}
