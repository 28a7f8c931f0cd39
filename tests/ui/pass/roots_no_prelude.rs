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
    pub struct Sized;
    pub struct FnOnce;
    pub struct Segment;
    pub struct Root;
    pub struct At;
    pub struct Mode;
    pub struct Named;
    pub struct Group;
    pub struct DefaultField;
    pub mod core {}
    pub mod std {}
    pub mod alloc {}
    pub mod roots {}
    pub mod shmem_core {}
    pub struct str;
    pub struct u64;
    pub struct usize;
    pub struct bool;

    #[derive(::shmem_core::ShmRoots)]
    #[shm(prefix = "a/")]
    pub struct Roots {
        pub segment: ::shmem_core::Root<::core::primitive::u64>,
        #[shm(init = 7)]
        mode: ::shmem_core::Root<::core::primitive::u32>,
        #[shm(len = 2)]
        count: ::shmem_core::Root<[::core::primitive::u8]>,
        #[shm(len = 2, init = |i| i as ::core::primitive::u16)]
        root_0: ::shmem_core::Root<[::core::primitive::u16]>,
        #[shm(unique)]
        unique: ::shmem_core::Root<::shmem_core::ShmString>,
        optional: ::core::option::Option<::shmem_core::Root<::core::primitive::u64>>,
    }
}

fn main() {
    let segment = ::std::result::Result::unwrap(::shmem_core::Segment::anonymous().size(1 << 20).create());
    let roots = ::std::result::Result::unwrap(shadowed::Roots::open_or_create(&segment));
    ::std::assert_eq!(*roots.segment, 0);
    ::std::assert_eq!(::std::result::Result::unwrap(shadowed::Roots::destroy(&segment)), 5);
    ::std::assert_eq!(shadowed::Roots::NAMES[0], "a/segment");
}
