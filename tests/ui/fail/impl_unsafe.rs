//! `ShmSafe` by hand is unsafe.
use shmem_core::access::Access;
use shmem_core::{Error, Init};

struct Nothing;

impl Init<u64> for Nothing {
    unsafe fn init(self, _: *mut u64, _: Access<'_>) -> Result<(), Error> {
        Ok(())
    }
}

fn main() {}
