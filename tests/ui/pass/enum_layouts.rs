//! Layouts of enums that the compiler and the derive must agree on: over-aligned fields, fields without bytes, 128 bits,
//! tags at the ends of their types, variants that are configured away, recursion through other enums.
#![forbid(unsafe_code)]
#![deny(warnings)]
#![allow(dead_code)]
use shmem_core::*;
use std::marker::PhantomData;
#[derive(ShmSafe, Clone, Copy)]
#[repr(C, align(64))]
struct Z64;
#[derive(ShmSafe, Clone, Copy)]
#[repr(C, align(256))]
struct A256(u8);
#[derive(ShmSafe)]
#[repr(u8)]
enum L1 {
    A(u8, Z64, u8),
    B(u128),
    C(Z64),
    D(PhantomData<u128>),
}
#[derive(ShmSafe)]
#[repr(C)]
enum L2 {
    A(u8, Z64, u8),
    B(u128),
    C(Z64),
    D(PhantomData<u128>),
    E(),
    F {},
}
#[derive(ShmSafe)]
#[repr(C, u8)]
enum L3 {
    A(Z64),
    B(u8),
    C([Z64; 0], u16),
}
#[derive(ShmSafe)]
#[repr(C, i64, align(512))]
enum L4 {
    A(A256) = -7,
    B(u8) = 2147483647,
}
#[derive(ShmSafe)]
#[repr(isize)]
enum L5 {
    A(u8) = isize::MIN,
    B([L1; 3]),
}
#[derive(ShmSafe)]
#[repr(usize, align(4))]
enum L6 {
    A(u8) = usize::MAX,
    B([L1; 3]) = 0,
}
#[derive(ShmSafe)]
#[repr(align(32))]
#[repr(u16)]
#[repr(C)]
enum L7<T> {
    A(T),
    B(u8, T),
    C(L8<T, T>),
}
#[derive(ShmSafe)]
#[repr(u8)]
enum L8<T, U> {
    A(T, U),
    B(U, u8, T),
    Z,
}
#[derive(ShmSafe)]
#[repr(u8, align(4096))]
enum L9 {
    A,
}
#[derive(ShmSafe)]
#[repr(C)]
enum L10 {
    A = -2147483648,
    B = 2147483647,
}
#[derive(ShmSafe)]
#[repr(u8)]
enum L11 {
    #[cfg(any())]
    X(u8),
    A(u8),
    #[cfg(all())]
    B {
        #[cfg(any())]
        x: u8,
        y: u16,
    },
    #[cfg(any())]
    C,
}
#[derive(ShmSafe)]
#[repr(u8)]
enum Deep {
    A(ShmOption<ShmBox<Deep>>),
    B(ShmVec<Deep>),
    C(ShmMutex<ShmVec<Deep>>),
    D(L7<L8<u8, ShmBox<Deep>>>),
}
#[derive(ShmSafe)]
#[repr(u8)]
enum Assoc<I: Iterator + ShmSafe>
where
    I::Item: ShmSafe,
{
    A(I::Item),
    B(PhantomData<I>),
}
fn main() {
    let s = Segment::anonymous().size(1 << 20).create().unwrap();
    let r = s
        .construct::<ShmMutex<[L7<u64>; 2]>>("x", ShmMutex::new(init::array([L7AInit(1), L7AInit(2)])))
        .unwrap();
    let mut g = r.lock().unwrap();
    let mut v = g.view();
    v.get_mut(1).unwrap().set(L7CInit(L8BInit(3, 4, 5))).unwrap();
    drop(g);
    let g = r.lock().unwrap();
    match &g[1] {
        L7::C(L8::B(3, 4, 5)) => println!("ok"),
        _ => panic!(),
    }
}
