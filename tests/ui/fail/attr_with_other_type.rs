//! It converts the type that the field has.
use shmem_core::ShmSafe;

mod seconds {
    use std::time::Duration;

    pub type Shm = u64;

    pub fn init(took: &Duration) -> u64 {
        took.as_secs()
    }

    pub fn to_native(shm: &u64) -> Duration {
        Duration::from_secs(*shm)
    }
}

#[derive(ShmSafe)]
#[shm(mirror = ShmOrder)]
struct Order {
    id: u64,
    #[shm(with = seconds)]
    took: String,
}

fn main() {}
