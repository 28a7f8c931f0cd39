//! Transparent structs, with fields that take no space.
use shmem_core::{Kind, ShmSafe};
use std::marker::PhantomData;

#[derive(ShmSafe)]
#[repr(transparent)]
struct Meters<U>(PhantomData<U>, f64, ());

#[derive(ShmSafe)]
#[repr(transparent)]
struct Nothing(PhantomData<u64>, ());

fn main() {
    let info = Meters::<u64>::type_info();
    assert_eq!((info.size, info.align), (8, 8));
    let Kind::Struct { fields } = &info.kind else { unreachable!() };
    assert!(fields.iter().all(|field| field.offset == 0));
    assert_eq!(Nothing::type_info().size, 0);
}
