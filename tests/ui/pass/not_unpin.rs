//! A struct with an address-sensitive field is not movable, nor is what contains it.
use shmem_core::access::Access;
use shmem_core::{ShmSafe, TypeInfo, Visitor};
use std::marker::PhantomPinned;
use std::ptr::NonNull;

#[repr(C)]
pub struct Pinned(u64, PhantomPinned);

unsafe impl ShmSafe for Pinned {
    const PLAIN: bool = false;
    const ANY_BITS: bool = false;
    type Parts = ();
    type Mut<'a> = ();
    unsafe fn view<'a>(_: NonNull<Self>, _: Access<'a>) {}
    unsafe fn relocate(_: *mut Self, _: *mut Self) {}
    fn type_info() -> &'static TypeInfo {
        unimplemented!()
    }
    unsafe fn visit(_: *const Self, _: &mut Visitor<'_>) {}
}

#[derive(ShmSafe)]
#[repr(C)]
struct Stored<T> {
    id: u64,
    value: T,
}

#[derive(ShmSafe)]
#[repr(C)]
struct Plain {
    pinned: Pinned,
}

/// Ambiguous if the type is `Unpin`.
trait NotUnpin<Which> {
    fn check() {}
}
impl<T> NotUnpin<()> for T {}
impl<T: Unpin> NotUnpin<u8> for T {}

fn main() {
    <Stored<Pinned> as NotUnpin<_>>::check();
    <Plain as NotUnpin<_>>::check();
    <[Stored<Plain>; 2] as NotUnpin<_>>::check();
    const { assert!(!Stored::<Pinned>::PLAIN && Stored::<u8>::PLAIN) };
    fn movable<T: Unpin>() {}
    movable::<Stored<u8>>();
}
