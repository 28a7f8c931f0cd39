//! The view of an enum is one unique reference: what it lends ends before it lends again, and before the guard does.
use shmem_core::{ShmMutex, ShmSafe, ShmString};

#[derive(ShmSafe)]
#[repr(u8)]
enum Job {
    Idle,
    Failed(ShmString),
}

fn lent_twice(mut view: JobMut<'_>) {
    let first = view.get();
    let second = view.get();
    drop((first, second));
}

fn read_beside(mut view: JobMut<'_>) {
    let fields = view.get();
    let whole: &Job = &view;
    drop(fields);
    let _ = matches!(whole, Job::Idle);
}

fn replaced_beside(mut view: JobMut<'_>) {
    if let JobVariantMut::Failed(mut why) = view.get() {
        view.set(Job::init_idle()).unwrap();
        why.clear();
    }
}

fn outlives(job: &ShmMutex<Job>) -> JobVariantMut<'_> {
    let mut guard = job.lock().unwrap();
    guard.view().get()
}

fn copied(view: JobMut<'_>) {
    let other = view;
    drop((view, other));
}

fn main() {}
