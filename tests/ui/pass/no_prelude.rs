//! Nothing in scope matters.
#![no_implicit_prelude]
#![allow(dead_code, non_camel_case_types)]

mod shadowed {
    // What the code must not mean by these names.
    pub struct Option;
    pub struct Result;
    pub struct Some;
    pub struct None;
    pub struct Ok;
    pub struct Err;
    pub struct Box;
    pub struct Sized;
    pub struct Send;
    pub struct Unpin;
    pub struct Drop;
    pub struct Init;
    pub struct Access;
    pub struct Error;
    pub struct NonNull;
    pub struct TypeInfo;
    pub mod core {}
    pub mod std {}
    pub mod alloc {}
    pub mod shmem_core {}
    pub struct u8;
    pub struct u32;
    pub struct usize;
    pub struct bool;

    #[derive(::shmem_core::ShmSafe)]
    #[shm(hash, drop, version = 3)]
    #[repr(C)]
    pub struct Stored<const N: ::core::primitive::usize> {
        pub id: ::core::primitive::u64,
        list: [::core::primitive::u32; N],
        unit: (),
    }

    impl<const N: ::core::primitive::usize> ::shmem_core::ShmDrop for Stored<N> {
        fn drop(_: StoredMut<'_, N>) {}
    }

    #[derive(::shmem_core::ShmSafe)]
    #[repr(C)]
    pub struct Empty;

    #[derive(::shmem_core::ShmSafe)]
    #[repr(C)]
    pub struct Tuple(::core::primitive::u64, pub Empty);

    pub fn name() -> &'static ::core::primitive::str {
        <Stored<3> as ::shmem_core::ShmSafe>::type_info().name
    }
}

fn main() {
    ::std::assert_eq!(shadowed::name(), "Stored");
}
