//! An enum and a twin where nothing that the code could mean is in scope under its name.
#![no_implicit_prelude]
#![allow(dead_code, non_camel_case_types)]

mod shadowed {
    pub struct Option;
    pub struct Result;
    pub struct Ok;
    pub struct Err;
    pub struct Some;
    pub struct None;
    pub struct String;
    pub struct Vec;
    pub struct Box;
    pub struct Default;
    pub struct Clone;
    pub struct Copy;
    pub struct Deref;
    pub struct DerefMut;
    pub struct Unpin;
    pub struct Drop;
    pub struct Init;
    pub struct Access;
    pub struct Mirror;
    pub struct MirrorType;
    pub struct ShmSafe;
    pub struct ShmHash;
    pub struct ShmDefault;
    pub struct Place;
    pub struct Error;
    pub struct PhantomData;
    pub mod core {}
    pub mod std {}
    pub mod alloc {}
    pub mod shmem_core {}
    pub mod u8 {}
    pub mod u64 {}
    pub mod i128 {}
    pub mod usize {}
    pub mod isize {}
    pub mod bool {}
    pub mod str {}
    pub const __FROM: () = ();

    #[derive(::shmem_core::ShmSafe)]
    #[shm(hash, drop, version = 3, validate = check)]
    #[repr(u8)]
    pub enum Job<const N: ::core::primitive::usize> {
        Idle,
        Running {
            id: ::core::primitive::u64,
            list: [::core::primitive::u32; N],
        },
        Failed(::shmem_core::ShmString),
    }

    fn check<const N: ::core::primitive::usize>(
        _: &Job<N>,
    ) -> ::core::result::Result<(), &'static ::core::primitive::str> {
        ::core::result::Result::Ok(())
    }

    impl<const N: ::core::primitive::usize> ::shmem_core::ShmDrop for Job<N> {
        fn drop(mut this: JobMut<'_, N>) {
            if let JobVariantMut::Running { id, .. } = this.get() {
                *id = 0;
            }
        }
    }

    #[derive(::shmem_core::ShmSafe)]
    #[shm(hash)]
    #[repr(C)]
    pub enum Side {
        Buy,
        Sell,
    }

    #[derive(::shmem_core::ShmSafe)]
    #[shm(mirror = ShmOrder, hash, derive(::core::fmt::Debug))]
    pub struct Order {
        pub id: ::core::primitive::u64,
        name: ::std::string::String,
        #[shm(skip)]
        cache: ::std::vec::Vec<::core::primitive::u8>,
    }

    #[derive(::shmem_core::ShmSafe)]
    #[shm(mirror = ShmEvent)]
    pub enum Event {
        Quit,
        Text(::std::string::String),
        Orders { list: ::std::vec::Vec<Order> },
    }

    pub fn name() -> &'static ::core::primitive::str {
        <ShmEvent as ::shmem_core::ShmSafe>::type_info().name
    }
}

fn main() {
    ::std::assert_eq!(shadowed::name(), "ShmEvent");
}
