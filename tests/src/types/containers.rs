//! [`Read`] and [`Stored`] for the types of the library.
//!
//! This file needs `unsafe`: it calls initialisers.

use super::describe::Ty;
use super::model::Model;
use super::stored::{Change, Held, Of, Parts, Read, Stored};
use shmem_core::access::Access;
use shmem_core::*;
use std::marker::PhantomData;
use std::num::*;

macro_rules! leaves {
    ($($ty:ty, |$value:ident| $read:expr, |$model:ident| $make:expr;)*) => { $(
        impl Read for $ty {
            fn parts(&self) -> Parts<'_> {
                Parts::Leaf
            }
            fn read(&self) -> Model {
                let $value = *self;
                $read
            }
        }
        impl Stored for $ty {
            unsafe fn build($model: &Model, slot: *mut Self, access: Access<'_>) -> Result<()> {
                let value: $ty = $make;
                // SAFETY: as the caller says.
                unsafe { value.init(slot, access) }
            }
            fn change(view: &mut Self, mut at: Change<'_, '_>) {
                at.expect(view);
                let $model = at.fresh();
                *view = $make;
            }
        }
    )* };
}

macro_rules! numbers {
    ($($ty:ident as $bits:ident, $non_zero:ident;)*) => { leaves! { $(
        $ty, |value| Model::Bits(u128::from(value as $bits)), |model| model.bits() as $ty;
        $non_zero, |value| Model::Bits(u128::from(value.get() as $bits)),
            |model| $non_zero::new(model.bits() as $ty).expect("not 0");
    )* } };
}

numbers! {
    u8 as u8, NonZeroU8; u16 as u16, NonZeroU16; u32 as u32, NonZeroU32; u64 as u64, NonZeroU64;
    u128 as u128, NonZeroU128; i8 as u8, NonZeroI8; i16 as u16, NonZeroI16; i32 as u32, NonZeroI32;
    i64 as u64, NonZeroI64; i128 as u128, NonZeroI128;
}

leaves! {
    usize, |value| Model::Bits(value as u128), |model| model.bits() as usize;
    isize, |value| Model::Bits(value as usize as u128), |model| model.bits() as isize;
    f32, |value| Model::Bits(value.to_bits().into()), |model| f32::from_bits(model.bits() as u32);
    f64, |value| Model::Bits(value.to_bits().into()), |model| f64::from_bits(model.bits() as u64);
    bool, |value| Model::Bool(value), |model| *model == Model::Bool(true);
    char, |value| Model::Char(value), |model| match model { Model::Char(c) => *c, _ => unreachable!() };
    (), |value| { let () = value; Model::Unit }, |model| assert_eq!(*model, Model::Unit);
}

impl<T: 'static> Read for PhantomData<T> {
    fn parts(&self) -> Parts<'_> {
        Parts::Leaf
    }
    fn read(&self) -> Model {
        Model::Unit
    }
}

impl<T: ShmSafe + Sync> Stored for PhantomData<T> {
    unsafe fn build(_: &Model, slot: *mut Self, access: Access<'_>) -> Result<()> {
        // SAFETY: as the caller says.
        unsafe { Init::<PhantomData<T>>::init((), slot, access) }
    }
    fn change(_: Self::Mut<'_>, _: Change<'_, '_>) {}
}

impl Read for ShmString {
    fn parts(&self) -> Parts<'_> {
        Parts::Leaf
    }
    fn read(&self) -> Model {
        Model::Text(self.as_str().to_owned())
    }
}

impl Stored for ShmString {
    unsafe fn build(model: &Model, slot: *mut Self, access: Access<'_>) -> Result<()> {
        // SAFETY: as the caller says.
        unsafe { model.text().init(slot, access) }
    }
    fn change(mut view: StringMut<'_>, mut at: Change<'_, '_>) {
        at.expect(&*view);
        match at.pick(3) {
            0 => {
                view.push_str("and more of it").expect("memory for a text");
                *at.model = Model::Text(format!("{}and more of it", at.model.text()));
            }
            1 => {
                view.clear();
                *at.model = Model::Text(String::new());
            }
            _ => view.set(at.fresh().text()).expect("memory for a text"),
        }
    }
}

/// The type of the elements.
fn element(at: &Change<'_, '_>) -> Ty {
    match &at.ty {
        Ty::Of(_, inner) | Ty::Array(inner, _) => (**inner).clone(),
        other => unreachable!("{other:?} has no elements"),
    }
}

// Loops, and no adapters of iterators: what is generic is compiled for each of some thousand types.
fn elements<T: Read>(list: &[T]) -> Parts<'_> {
    let mut elements: Vec<&dyn Read> = Vec::new();
    for element in list {
        elements.push(element);
    }
    Parts::Elements(elements)
}

/// What to do with a sequence.
enum Edit {
    Insert(usize, Model),
    Push(Model),
    Swap(usize, usize),
    Remove(usize),
    Set(usize, Model),
    Inside(usize),
    Clear,
}

/// Chooses one that goes with `len` elements, and does it to the model, but for `Inside`.
fn edit(at: &mut Change<'_, '_>, inner: &Ty, grows: bool) -> Edit {
    let len = at.model.list().len();
    let choice = if grows { at.pick(8) } else { 5 + at.pick(2) };
    let (i, new) = (at.pick(len.max(1)), at.make.small(inner));
    let list = at.model.list_mut();
    match choice {
        0 | 1 => {
            list.insert(i, new.clone());
            Edit::Insert(i, new)
        }
        2 => {
            list.push(new.clone());
            Edit::Push(new)
        }
        3 if len > 1 => {
            list.swap(i, len - 1);
            Edit::Swap(i, len - 1)
        }
        4 if len > 0 => {
            list.remove(i);
            Edit::Remove(i)
        }
        5 if len > 0 => {
            list[i] = new.clone();
            Edit::Set(i, new)
        }
        _ if len > 0 => Edit::Inside(i),
        _ => Edit::Clear,
    }
}

impl<T: Stored> Read for ShmVec<T> {
    fn parts(&self) -> Parts<'_> {
        elements(self)
    }
}

impl<T: Stored> Stored for ShmVec<T> {
    unsafe fn build(model: &Model, slot: *mut Self, access: Access<'_>) -> Result<()> {
        // SAFETY: as the caller says.
        unsafe { model.inits().init(slot, access) }
    }
    fn change(mut view: VecMut<'_, T>, mut at: Change<'_, '_>) {
        at.expect(&*view);
        let inner = element(&at);
        let done = match edit(&mut at, &inner, true) {
            Edit::Insert(i, new) => view.insert(i, Of(&new)),
            Edit::Push(new) => view.push(Of(&new)),
            Edit::Swap(i, j) => view.swap(i, j),
            Edit::Remove(i) => view.remove_drop(i),
            Edit::Set(i, new) => view.set(i, Of(&new)),
            Edit::Inside(i) => {
                T::change(view.get_mut(i).expect("an element"), at.inside(Some(i), &inner));
                Ok(())
            }
            Edit::Clear => {
                view.clear();
                Ok(())
            }
        };
        done.expect("memory for an element");
    }
}

impl<T: Stored> Read for ShmBoxSlice<T> {
    fn parts(&self) -> Parts<'_> {
        elements(self)
    }
}

impl<T: Stored> Stored for ShmBoxSlice<T> {
    unsafe fn build(model: &Model, slot: *mut Self, access: Access<'_>) -> Result<()> {
        // SAFETY: as the caller says.
        unsafe { model.inits().init(slot, access) }
    }
    fn change(mut view: BoxSliceMut<'_, T>, mut at: Change<'_, '_>) {
        at.expect(&*view);
        let inner = element(&at);
        match edit(&mut at, &inner, false) {
            Edit::Set(i, new) => view.set(i, Of(&new)).expect("memory for an element"),
            Edit::Inside(i) => {
                T::change(view.get_mut(i).expect("an element"), at.inside(Some(i), &inner));
            }
            _ => {}
        }
    }
}

impl<T: Stored, const N: usize> Read for [T; N] {
    fn parts(&self) -> Parts<'_> {
        elements(self)
    }
}

impl<T: Stored, const N: usize> Stored for [T; N] {
    unsafe fn build(model: &Model, slot: *mut Self, access: Access<'_>) -> Result<()> {
        let list = model.list();
        // SAFETY: as the caller says.
        unsafe { init::array_from_fn::<T, Of<'_>, N>(|i| Of(&list[i])).init(slot, access) }
    }
    fn change(mut view: ArrayMut<'_, T, N>, mut at: Change<'_, '_>) {
        at.expect(&*view);
        let inner = element(&at);
        match edit(&mut at, &inner, false) {
            Edit::Set(i, new) => view.set(i, Of(&new)).expect("memory for an element"),
            Edit::Inside(i) => {
                T::change(view.get_mut(i).expect("an element"), at.inside(Some(i), &inner));
            }
            _ => {}
        }
    }
}

impl<T: Stored> Read for ShmBox<T> {
    fn parts(&self) -> Parts<'_> {
        Parts::Elements(vec![&**self])
    }
    fn read(&self) -> Model {
        (**self).read()
    }
}

impl<T: Stored> Stored for ShmBox<T> {
    unsafe fn build(model: &Model, slot: *mut Self, access: Access<'_>) -> Result<()> {
        // SAFETY: as the caller says.
        unsafe { ShmBox::<T>::new(Of(model)).init(slot, access) }
    }
    fn change(mut view: BoxMut<'_, T>, at: Change<'_, '_>) {
        at.expect(&*view);
        let inner = element(&at);
        let at = at.inside(None, &inner);
        if let Some(at) = at.replace(|new| view.set(new)) {
            T::change(view.get(), at);
        }
    }
}

impl<T: Stored> Read for ShmOption<T> {
    fn parts(&self) -> Parts<'_> {
        Parts::Elements(self.iter().map(|value| value as &dyn Read).collect())
    }
}

impl<T: Stored> Stored for ShmOption<T> {
    unsafe fn build(model: &Model, slot: *mut Self, access: Access<'_>) -> Result<()> {
        // SAFETY: as the caller says.
        unsafe { model.inits().pop().init(slot, access) }
    }
    fn change(mut view: OptionMut<'_, T>, mut at: Change<'_, '_>) {
        at.expect(&*view);
        let inner = element(&at);
        match at.pick(4) {
            0 => {
                let was = view.is_some();
                assert_eq!(view.clear(), was);
                *at.model = Model::List(Vec::new());
            }
            2.. if view.is_some() => {
                let value = view.as_mut().expect("a value");
                T::change(value, at.inside(Some(0), &inner));
            }
            _ => {
                let new = at.make.small(&inner);
                view.set(Of(&new)).expect("memory for a value");
                *at.model = Model::List(vec![new]);
            }
        }
    }
}

impl<T: Stored> Read for ShmMutex<T> {
    /// What is behind a lock can only be read while that is held.
    fn parts(&self) -> Parts<'_> {
        Parts::Leaf
    }
    fn read(&self) -> Model {
        self.lock().expect("a free lock").read()
    }
    fn hold(&self) -> Option<Box<dyn Held + '_>> {
        Some(Box::new(self.lock().expect("a free lock")))
    }
}

impl<T: Stored> Stored for ShmMutex<T> {
    unsafe fn build(model: &Model, slot: *mut Self, access: Access<'_>) -> Result<()> {
        // SAFETY: as the caller says.
        unsafe { ShmMutex::<T>::new(Of(model)).init(slot, access) }
    }
    fn change(mut view: MutexMut<'_, T>, at: Change<'_, '_>) {
        at.expect(&*view);
        let inner = element(&at);
        let mut at = at.inside(None, &inner);
        if at.pick(2) == 0 {
            let mut guard = view.lock().expect("a free lock");
            if let Some(at) = at.replace(|new| guard.set(new)) {
                T::change(guard.view(), at);
            }
        } else if let Some(at) = at.replace(|new| view.set(new)) {
            T::change(view.get().expect("a free lock"), at);
        }
    }
}

macro_rules! tuples {
    ($($tuple:ident: $($param:ident $i:tt),+;)*) => { $(
        impl<$($param: Stored),+> Read for $tuple<$($param),+> {
            fn parts(&self) -> Parts<'_> {
                Parts::Fields(0, vec![$(&self.$i),+])
            }
        }
        impl<$($param: Stored),+> Stored for $tuple<$($param),+> {
            unsafe fn build(model: &Model, slot: *mut Self, access: Access<'_>) -> Result<()> {
                let list = model.list();
                // SAFETY: as the caller says.
                unsafe { Init::<Self>::init(($(Of(&list[$i]),)+), slot, access) }
            }
            fn change(view: Self::Mut<'_>, at: Change<'_, '_>) {
                let (i, at) = at.field();
                match i {
                    $($i => $param::change(view.$i, at),)+
                    _ => {}
                }
            }
        }
    )* };
}
tuples! {
    ShmTuple1: A 0;
    ShmTuple2: A 0, B 1;
    ShmTuple3: A 0, B 1, C 2;
}
