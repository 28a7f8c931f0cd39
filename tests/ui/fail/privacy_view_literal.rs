//! Nor can a view with one be made by hand (soundness A5).
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
    let (mut number, mut label) = (7, 1);
    let _ = even::EvenMut { number: &mut number, label: &mut label };
}
