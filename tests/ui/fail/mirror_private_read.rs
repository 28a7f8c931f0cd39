//! Nor is it read where the ordinary type's is not.
mod orders {
    use shmem_core::ShmSafe;

    #[derive(ShmSafe)]
    #[shm(mirror = ShmEven)]
    pub struct Even {
        number: u64,
    }
}

fn main() {
    let _ = |even: &orders::ShmEven| even.number;
}
