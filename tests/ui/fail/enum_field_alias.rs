//! An alias hides what a variant's field is; the bound finds it.
use shmem_core::ShmSafe;

type Text = String;

#[derive(ShmSafe)]
#[repr(u8)]
enum Job {
    Idle,
    Failed(Text),
}

fn main() {}
