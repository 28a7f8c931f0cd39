//! A field is not moved out of a stored enum.
use shmem_core::{ShmMutex, ShmSafe, ShmString};

#[derive(ShmSafe)]
#[repr(u8)]
enum Job {
    Idle,
    Failed(ShmString),
}

fn take(mutex: &ShmMutex<Job>) -> Option<ShmString> {
    match *mutex.lock().unwrap() {
        Job::Idle => None,
        Job::Failed(why) => Some(why),
    }
}

fn main() {
    let _ = take;
}
