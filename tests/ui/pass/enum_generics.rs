//! Generic enums: const parameters, defaults, where clauses, bounds, parameters that no field mentions.
use shmem_core::{Init, ShmBox, ShmHash, ShmOption, ShmSafe, ShmString, ShmVec};
use std::fmt::Debug;
use std::marker::PhantomData;

#[derive(ShmSafe, Debug)]
#[repr(u8)]
enum All<T: Debug, U = u64, const N: usize = 2, const FLAG: bool = true>
where
    U: Debug + Copy,
    [T; N]: Debug,
{
    Nothing,
    One(T),
    Many { all: [T; N], other: U },
    Marked(PhantomData<U>),
}

#[derive(ShmSafe)]
#[shm(hash)]
#[repr(C)]
enum Key<T>
where
    T: Eq,
{
    One(T),
    Two(T, T),
}

/// No field, but a parameter.
#[derive(ShmSafe)]
#[repr(u8)]
enum Plain<const N: u8> {
    Zero,
    One,
}

#[derive(ShmSafe)]
#[repr(u32)]
enum List<T: ShmSafe> {
    Nil,
    Cons { head: T, tail: ShmBox<List<T>> },
    Lists(ShmVec<List<ShmOption<T>>>),
}

fn generic<T: ShmSafe + Debug, I: Init<T>>(view: &mut AllMut<'_, T>, init: I) -> shmem_core::Result<()> {
    view.set(AllOneInit(init))
}

fn main() {
    fn stored<T: ShmSafe>() {}
    fn movable<T: Unpin>() {}
    fn key<T: ShmHash + ShmSafe>() {}
    stored::<All<ShmString, u8, 3, false>>();
    movable::<All<u8>>();
    key::<Key<ShmString>>();
    stored::<Plain<9>>();
    let _ = generic::<ShmString, &str>;
    let _ = AllManyInit { all: [1u8, 2], other: 3u64 };
    let _ = All::<u8>::init_nothing();
    let _ = (Plain::<3>::Zero, Plain::<3>::One, KeyOneInit(1), KeyTwoInit(1, 2));
    fn init<T: ShmSafe>(_: impl Init<T>) {}
    init::<List<ShmString>>(ListConsInit { head: "text", tail: ShmBox::new(List::<ShmString>::init_nil()) });
    let _ = AllMarkedInit(());
}
