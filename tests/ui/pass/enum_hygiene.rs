//! Enums and mirrors among names that are all taken, raw identifiers, and items made by macros and inside functions.
#![no_implicit_prelude]
#![forbid(unsafe_code)]
#![deny(warnings)]
#![allow(dead_code, non_camel_case_types)]
extern crate shmem_core;
extern crate std;
mod core {}
#[allow(non_upper_case_globals)]
const Idle: u8 = 3;
#[allow(non_upper_case_globals)]
const Some: u8 = 3;
struct Option;
struct Result;
struct Vec;
struct String;
struct bool_;
struct Ok;
struct Err;
struct Sized;
struct Clone;
trait Cast {
    fn cast(self) -> u8;
    fn parts(&mut self);
    fn keep(self);
    fn set(&mut self);
    fn init(self);
    fn mirror(&self);
    fn to_native(&self);
    fn as_ptr(self);
    fn arg(self);
    fn build(self);
    fn get(&mut self);
}
impl<T> Cast for T {
    fn cast(self) -> u8 {
        0
    }
    fn parts(&mut self) {}
    fn keep(self) {}
    fn set(&mut self) {}
    fn init(self) {}
    fn mirror(&self) {}
    fn to_native(&self) {}
    fn as_ptr(self) {}
    fn arg(self) {}
    fn build(self) {}
    fn get(&mut self) {}
}

#[derive(::shmem_core::ShmSafe)]
#[shm(hash)]
#[repr(u8)]
pub enum r#enum {
    Idle,
    Some(u8),
    r#type { r#fn: u64, r#match: ::shmem_core::ShmVec<u8> },
    Ok(u8),
    Err {},
    None(),
}

#[derive(::shmem_core::ShmSafe)]
#[repr(C)]
pub enum E<T, N, E2, I, Job, const USIZE: usize>
where
    T: ::std::marker::Copy,
{
    A(T, [N; USIZE]),
    B(E2, I),
    C(Job),
    #[allow(dead_code)]
    D,
}

#[derive(::shmem_core::ShmSafe)]
#[shm(mirror = r#ShmTry, hash)]
pub struct r#try {
    pub r#type: u64,
    pub r#in: ::std::string::String,
    pub o: ::std::option::Option<::std::boxed::Box<r#try>>,
}

#[derive(::shmem_core::ShmSafe)]
#[shm(mirror = ShmG)]
pub enum G<r#type, N>
where
    N: ::std::clone::Clone,
{
    Idle,
    Some(::std::vec::Vec<r#type>),
    Ok { r#fn: (N, r#type) },
    T(::std::marker::PhantomData<N>),
}

macro_rules! make {
    ($n:ident, $v:ident, $t:ty, $d:expr) => {
        #[derive(::shmem_core::ShmSafe)]
        #[repr(i16)]
        pub enum $n {
            $v($t) = $d,
            Other { v: $t, other: ::shmem_core::ShmString } = $d + 1,
            Unit,
        }
    };
}
make!(
    Made,
    First,
    [u16; {
        const T: usize = 3;
        T
    }],
    {
        const X: i16 = -3;
        X
    }
);

fn main() {
    #[derive(::shmem_core::ShmSafe)]
    #[repr(u8)]
    enum Local {
        A(u8),
        B(::shmem_core::ShmString),
    }
    {
        #[derive(::shmem_core::ShmSafe)]
        #[shm(mirror = ShmLocal)]
        struct Local2 {
            a: ::std::string::String,
        }
    }
    fn f() {
        #[derive(::shmem_core::ShmSafe)]
        #[repr(u8)]
        enum Local {
            A(u8),
            B(::shmem_core::ShmString),
        }
    }
}
