//! A private field is private in the twin too (soundness A5).
mod orders {
    use shmem_core::ShmSafe;

    #[derive(ShmSafe)]
    #[shm(mirror = ShmEven)]
    pub struct Even {
        number: u64,
    }
}

fn main() {
    let _ = orders::ShmEvenInit { number: 7 };
}
