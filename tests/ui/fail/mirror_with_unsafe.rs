//! The functions of `with` are called as safe ones.
use shmem_core::ShmSafe;

mod seconds {
    pub type Shm = u64;
    /// # Safety
    /// Not for everybody.
    pub unsafe fn init(native: &u32) -> u64 {
        (*native).into()
    }
    pub fn to_native(shm: &u64) -> u32 {
        *shm as u32
    }
}

#[derive(ShmSafe)]
#[shm(mirror = ShmTimer)]
struct Timer {
    #[shm(with = seconds)]
    left: u32,
}

fn main() {
    let _ = Timer { left: 1 };
}
