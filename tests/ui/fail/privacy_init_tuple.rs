//! Also of a tuple struct (soundness A5).
mod even {
    use shmem_core::ShmSafe;

    /// An even number: unsafe code of this module may rely on that.
    #[derive(ShmSafe)]
    #[repr(C)]
    pub struct Even {
        number: u32,
        pub label: u32,
    }

    #[derive(ShmSafe)]
    #[repr(C)]
    pub struct EvenTuple(u32);
}

fn main() {
    let _ = even::EvenTupleInit(7);
}
