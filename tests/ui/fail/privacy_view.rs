//! A private field is private in the view too (soundness A5).
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

fn set(mut view: even::EvenMut<'_>) {
    *view.label = 1;
    *view.number = 7;
}

fn main() {
    let _ = set;
}
