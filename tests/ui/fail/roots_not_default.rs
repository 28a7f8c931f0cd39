//! What has no default value gets one.
use shmem_core::{Root, ShmMutex, ShmRoots, ShmSafe};
use std::num::NonZeroU8;

#[derive(ShmSafe)]
#[repr(C)]
struct Config {
    threads: u64,
}

#[derive(ShmRoots)]
struct Roots {
    config: Root<Config>,
    locked: Root<ShmMutex<NonZeroU8>>,
    #[shm(len = 3)]
    each: Root<[NonZeroU8]>,
    // These need none.
    #[shm(init = Config { threads: 1 })]
    given: Root<Config>,
    found: Option<Root<Config>>,
}

fn main() {}
