use shmem_core::ShmSafe;

#[derive(ShmSafe)]
#[repr(C)]
struct Named {
    id: &'static u64,
    text: &'static str,
    list: &'static [u8],
}

fn main() {}
