use shmem_core::ShmSafe;

#[derive(ShmSafe)]
#[repr(C)]
struct Named {
    id: u64,
}

impl Drop for Named {
    fn drop(&mut self) {}
}

fn main() {}
