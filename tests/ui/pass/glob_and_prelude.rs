//! The trait and the derive share a name and come with one import.
mod by_glob {
    use shmem_core::*;

    #[derive(ShmSafe)]
    #[repr(C)]
    pub struct Stored(pub u8);

    pub fn size<T: ShmSafe>() -> usize {
        T::type_info().size
    }
}

mod by_path {
    #[derive(shmem_core::ShmSafe)]
    #[repr(C)]
    pub struct Stored(pub u16);
}

mod renamed {
    use shmem_core::ShmSafe as Safe;

    #[derive(Safe)]
    #[repr(C)]
    pub struct Stored(pub u32);
}

fn main() {
    assert_eq!(by_glob::size::<by_glob::Stored>(), 1);
    assert_eq!(by_glob::size::<by_path::Stored>(), 2);
    assert_eq!(by_glob::size::<renamed::Stored>(), 4);
}
