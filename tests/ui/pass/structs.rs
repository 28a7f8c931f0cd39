//! Named, tuple and unit structs; views and initialisers have their shape.
use shmem_core::access::Access;
use shmem_core::{Init, ShmSafe};
use std::mem::MaybeUninit;
use std::ptr::NonNull;

#[derive(ShmSafe, Debug, PartialEq)]
#[repr(C)]
pub struct Named {
    pub id: u64,
    ratio: f32,
    flags: [bool; 4],
}

#[derive(ShmSafe, Debug, PartialEq)]
#[repr(transparent)]
pub struct Tuple(pub u32);

#[derive(ShmSafe, Debug, PartialEq)]
#[repr(C)]
struct Both(Named, Tuple, ());

#[derive(ShmSafe, Debug, PartialEq)]
#[repr(C)]
struct Unit;

#[derive(ShmSafe, Debug, PartialEq)]
#[repr(C)]
struct NoFields {}

#[derive(ShmSafe, Debug, PartialEq)]
#[repr(C)]
struct NoElements();

fn build<T: ShmSafe>(init: impl Init<T>) -> T {
    let mut slot = MaybeUninit::uninit();
    unsafe {
        init.init(slot.as_mut_ptr(), Access::detached()).unwrap();
        slot.assume_init()
    }
}

fn view<T: ShmSafe>(value: &mut T) -> T::Mut<'_> {
    unsafe { T::view(NonNull::from(value), Access::detached()) }
}

fn main() {
    let mut named = build(NamedInit { id: 1, ratio: 0.5, flags: [true; 4] });
    *view(&mut named).id += 1;
    view(&mut named).flags[1] = false;
    assert_eq!(named, Named { id: 2, ratio: 0.5, flags: [true, false, true, true] });

    let mut both: Both = build(BothInit(NamedInit { id: 7, ratio: 1.0, flags: [false; 4] }, Tuple(3), ()));
    let parts = view(&mut both);
    *parts.0.ratio = 2.0;
    *parts.1.0 = 4;
    assert_eq!(both, Both(Named { id: 7, ratio: 2.0, flags: [false; 4] }, Tuple(4), ()));
    assert_eq!(build::<Tuple>(TupleInit(9)), Tuple(9));

    assert_eq!(build::<Unit>(UnitInit), Unit);
    assert_eq!(build::<Unit>(Unit), Unit);
    let mut none: NoFields = build(NoFieldsInit {});
    let _ = view(&mut none);
    let mut none: NoElements = build(NoElementsInit());
    let _ = view(&mut none);
    let _ = view(&mut Unit);
}
