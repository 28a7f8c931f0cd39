//! `Init` is unsafe to implement, also for a type of one's own that is to build an enum.
use shmem_core::access::Access;
use shmem_core::{Init, Result, ShmSafe};

#[derive(ShmSafe)]
#[repr(u8)]
enum Job {
    Idle,
    Running(u64),
}

struct Nothing;

impl Init<Job> for Nothing {
    unsafe fn init(self, _: *mut Job, _: Access<'_>) -> Result<()> {
        Ok(())
    }
}

fn main() {}
