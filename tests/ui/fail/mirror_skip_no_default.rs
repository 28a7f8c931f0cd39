//! A field that is not stored is made anew, by `Default`.
use shmem_core::ShmSafe;

struct Cache(u64);

#[derive(ShmSafe)]
#[shm(mirror = ShmOrder)]
struct Order {
    id: u64,
    #[shm(skip)]
    cache: Cache,
}

fn main() {}
