//! A module that converts says to what.
use shmem_core::ShmSafe;
use std::time::Duration;

mod seconds {
    use std::time::Duration;

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
    took: Duration,
}

fn main() {}
