//! The library under another name.
pub extern crate shmem_core as other;

mod deep {
    pub use other as library;
    pub mod shmem_core {}
}

use other::ShmSafe as Safe;

#[derive(Safe)]
#[shm(crate = crate::deep::library, hash, drop)]
#[repr(C)]
struct Stored<T: other::ShmSafe> {
    id: u64,
    value: T,
}

impl<T: other::ShmSafe> other::ShmDrop for Stored<T> {
    fn drop(_: StoredMut<'_, T>) {}
}

macro_rules! with_crate {
    ($krate:path) => {
        #[derive(Safe)]
        #[shm(crate = $krate)]
        #[repr(C)]
        struct Inner(u8);
    };
}
with_crate!(crate::deep::library);

fn main() {
    fn stored<T: other::ShmSafe>() {}
    stored::<Stored<Inner>>();
}
