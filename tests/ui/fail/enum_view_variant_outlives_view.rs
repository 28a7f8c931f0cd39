//! The view of the current variant borrows the enum's: else `set` could replace what it stands for.
use shmem_core::{ShmSafe, ShmString};

#[derive(ShmSafe)]
#[repr(u8)]
enum Job {
    Idle,
    Failed(ShmString),
}

fn whole<'a>(view: &mut JobMut<'a>) -> JobVariantMut<'a> {
    view.get()
}

fn main() {
    let _ = whole;
}
