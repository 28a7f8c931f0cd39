//! A root gives shared access only.
use shmem_core::{Root, ShmString, ShmVec};

fn change(root: &mut Root<ShmVec<ShmString>>) {
    let list: &mut ShmVec<ShmString> = &mut *root;
    drop(list);
}

fn main() {
    let _ = change;
}
