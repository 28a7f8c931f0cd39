//! A view of an enum does not outlive the guard it came from.
use shmem_core::{ShmMutex, ShmSafe, ShmString};

#[derive(ShmSafe)]
#[repr(u8)]
enum Job {
    Idle,
    Failed(ShmString),
}

fn keep(mutex: &ShmMutex<Job>) {
    let mut guard = mutex.lock().unwrap();
    let mut view = guard.view();
    drop(guard);
    view.set(JobFailedInit("late")).unwrap();
}

fn main() {
    let _ = keep;
}
