//! Type and const parameters, defaults, bounds, `where` clauses.
use shmem_core::{ConstArg, GenericArg, ShmSafe};
use std::fmt::Debug;
use std::marker::PhantomData;

#[derive(ShmSafe)]
#[repr(C)]
pub struct Pair<A, B = u32> {
    pub a: A,
    pub b: B,
}

#[derive(ShmSafe)]
#[repr(C)]
struct Bounded<T: Copy + Debug, const N: usize, U>
where
    U: Default,
    [T; N]: Debug,
{
    items: [T; N],
    other: U,
    marker: PhantomData<()>,
}

type Count = i16;

#[derive(ShmSafe)]
#[repr(C)]
struct Consts<const A: u8, const B: Count, const C: bool, const D: char>;

#[derive(ShmSafe)]
#[repr(transparent)]
struct Id<T> {
    number: u64,
    of: PhantomData<T>,
}

impl<A, B> PairMut<'_, A, B>
where
    A: ShmSafe,
    B: for<'a> ShmSafe<Mut<'a> = &'a mut B>,
{
    fn b(&mut self) -> &mut B {
        &mut *self.b
    }
}

fn stored<T: ShmSafe>() -> &'static [GenericArg] {
    T::type_info().args
}

fn main() {
    assert_eq!(stored::<Pair<u8>>().len(), 2);
    assert_eq!(stored::<Bounded<u8, 3, u16>>().len(), 3);
    assert_eq!(stored::<Id<Pair<u8, i8>>>().len(), 1);
    let args = stored::<Consts<1, -2, true, 'x'>>().iter().map(|arg| match arg {
        GenericArg::Const(value) => *value,
        GenericArg::Type(_) => unreachable!(),
    });
    let expected = [ConstArg::Unsigned(1), ConstArg::Signed(-2), ConstArg::Bool(true), ConstArg::Char('x')];
    assert!(args.eq(expected));
    let _ = PairMut::<u8, u8>::b;
    fn unpin<T: Unpin>() {}
    unpin::<Pair<u8, Id<Pair<u64>>>>();
}
