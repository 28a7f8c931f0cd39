//! Nor may a variant's field be aligned to more than a page.
use bytemuck::{Pod, Zeroable};
use shmem_core::{ShmPod, ShmSafe};

#[derive(Clone, Copy)]
#[repr(C, align(8192))]
struct Large([u8; 8192]);

unsafe impl Zeroable for Large {}
unsafe impl Pod for Large {}

#[derive(ShmSafe)]
#[repr(u8)]
enum Job {
    Idle,
    Running(ShmPod<Large>),
}

fn main() {}
