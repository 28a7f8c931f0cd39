//! An enum that holds an offset pointer in some variant is not moved, swapped or replaced as a whole, though a variant
//! without fields can be written down.
use shmem_core::{ShmMutex, ShmSafe, ShmString};
use std::mem;

#[derive(ShmSafe)]
#[repr(u8)]
enum Job {
    Idle,
    Failed(ShmString),
}

#[derive(ShmSafe)]
#[repr(u8)]
enum Generic<T> {
    Idle,
    Value(T),
}

impl Drop for Job {
    fn drop(&mut self) {
        mem::swap(self, &mut Job::Idle);
    }
}

impl Unpin for Generic<Job> {}

fn swapped(mut a: JobMut<'_>, mut b: JobMut<'_>) {
    mem::swap(&mut *a, &mut *b);
}

fn replaced(job: &ShmMutex<Job>) {
    *job.lock().unwrap() = Job::Idle;
}

fn replaced_in_generic(mut view: GenericMut<'_, Job>) {
    mem::replace(&mut *view, Generic::Idle);
}

fn initialises_itself(mut view: JobMut<'_>) {
    let _ = view.set(Job::Idle);
}

fn main() {}
