//! The kinds of fields, and the ways of giving a root its first value.
//!
//! The kind of a field is found by a trait, and so whatever name its type is written by. Each way is a trait of kinds.

use super::{At, Made, Mode};
#[cfg(doc)]
use crate::error::NameError;
use crate::error::Result;
use crate::layout::{Init, ShmDefault, ShmSafe};
#[cfg(doc)]
use crate::segment::Segment;
use crate::segment::{Object, Root};
use std::marker::PhantomData;

/// Of a root that is found by its name.
#[derive(Debug, Clone, Copy)]
pub enum Named {}

/// Of a root that is found by its type.
#[derive(Debug, Clone, Copy)]
pub enum Unique {}

/// A field of a group.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no root, so it cannot be a field of a group of roots",
    label = "neither a `Root<…>` nor an `Option<Root<…>>`",
    note = "a field is a `Root<T>`, a `Root<[T]>` with `#[shm(len = …)]`, or an `Option` of one, which is found if it is there"
)]
pub trait RootField: Sized {
    /// What kind of field.
    type Kind: Kind<Field = Self>;

    /// Destroys the root; whether it was there.
    ///
    /// # Errors
    /// As [`Segment::destroy`].
    fn destroy(at: At<'_>) -> Result<bool> {
        at.destroy::<<Self::Kind as Kind>::Element>()
    }
}

/// A kind of field.
pub trait Kind {
    /// Its type.
    type Field;
    /// What is destroyed.
    type Element: ShmSafe;
}

/// `T` or `[T]`.
pub trait KindOf: Object {
    /// The kind of a `Root` to it.
    type Kind: Kind<Field = Root<Self>, Element = Self::Element>;
}

/// The kind of a `Root<T>`.
#[derive(Debug)]
pub struct One<T>(PhantomData<T>);

/// The kind of a `Root<[T]>`.
#[derive(Debug)]
pub struct Many<T>(PhantomData<T>);

/// The kind of an `Option<Root<…>>`; `N` is that of the `Root`.
#[derive(Debug)]
pub struct Maybe<N>(PhantomData<N>);

impl<T: ShmSafe> Kind for One<T> {
    type Field = Root<T>;
    type Element = T;
}

impl<T: ShmSafe> Kind for Many<T> {
    type Field = Root<[T]>;
    type Element = T;
}

impl<N: Kind> Kind for Maybe<N> {
    type Field = Option<N::Field>;
    type Element = N::Element;
}

impl<T: ShmSafe> KindOf for T {
    type Kind = One<T>;
}

impl<T: ShmSafe> KindOf for [T] {
    type Kind = Many<T>;
}

impl<T: KindOf + ?Sized> RootField for Root<T> {
    type Kind = T::Kind;
}

impl<T: KindOf + ?Sized> RootField for Option<Root<T>> {
    type Kind = Maybe<T::Kind>;
}

/// The field has no initialiser.
pub trait ByDefault<K>: Kind {
    /// Finds or constructs the root.
    ///
    /// # Errors
    /// As [`Segment::find_or_construct`], and [`NameError::NotFound`].
    fn get(at: At<'_>, mode: Mode) -> Result<Made<Self::Field>>;
}

/// The field has `#[shm(init = …)]`.
pub trait ByInit<K>: Kind {
    /// What is initialised.
    type Value: ShmSafe;

    /// Finds the root; gives `None` if it is to be constructed.
    ///
    /// # Errors
    /// As [`Segment::find`], and [`NameError::NotFound`].
    fn find(at: At<'_>, mode: Mode) -> Result<Option<Made<Self::Field>>>;

    /// Finds or constructs the root.
    ///
    /// # Errors
    /// As [`Segment::find_or_construct`] or [`Segment::construct`].
    fn construct(at: At<'_>, mode: Mode, init: impl Init<Self::Value>) -> Result<Made<Self::Field>>;
}

/// The field has `#[shm(len = …)]`.
pub trait ByLen<K>: Kind {
    /// What it is a slice of.
    type Value: ShmSafe;

    /// Finds or constructs the root.
    ///
    /// # Errors
    /// As [`Segment::find_or_construct_slice`], and [`NameError::NotFound`].
    fn get<I: Init<Self::Value>>(
        at: At<'_>,
        mode: Mode,
        len: usize,
        each: impl FnMut(usize) -> I,
    ) -> Result<Made<Self::Field>>;

    /// [`get`](Self::get) with the elements' default.
    ///
    /// # Errors
    /// As for `get`.
    fn get_default(at: At<'_>, mode: Mode, len: usize) -> Result<Made<Self::Field>>
    where
        Self::Value: ShmDefault,
    {
        Self::get(at, mode, len, |_| Self::Value::shm_default())
    }
}

impl<T: ShmDefault + Sync, K> ByDefault<K> for One<T> {
    fn get(at: At<'_>, mode: Mode) -> Result<Made<Root<T>>> {
        match at.find_one(mode)? {
            Some(found) => Ok(found),
            None => at.construct_one(mode, T::shm_default()),
        }
    }
}

impl<T: ShmSafe + Sync, K> ByDefault<K> for Maybe<One<T>> {
    fn get(at: At<'_>, _: Mode) -> Result<Made<Option<Root<T>>>> {
        Ok(Made::found(at.segment.find_one(&at.key(&at.name::<T>())?)?))
    }
}

impl<T: ShmSafe + Sync> ByDefault<Named> for Maybe<Many<T>> {
    fn get(at: At<'_>, _: Mode) -> Result<Made<Option<Root<[T]>>>> {
        Ok(Made::found(at.segment.find_many(&at.key(&at.name::<T>())?, None)?))
    }
}

impl<T: ShmSafe + Sync, K> ByInit<K> for One<T> {
    type Value = T;
    fn find(at: At<'_>, mode: Mode) -> Result<Option<Made<Root<T>>>> {
        at.find_one(mode)
    }
    fn construct(at: At<'_>, mode: Mode, init: impl Init<T>) -> Result<Made<Root<T>>> {
        at.construct_one(mode, init)
    }
}

impl<T: ShmSafe + Sync> ByLen<Named> for Many<T> {
    type Value = T;
    fn get<I: Init<T>>(
        at: At<'_>,
        mode: Mode,
        len: usize,
        each: impl FnMut(usize) -> I,
    ) -> Result<Made<Root<[T]>>> {
        match at.find(mode, |key| at.segment.find_many(key, Some(len as u64)))? {
            Some(found) => Ok(found),
            None => at.construct_many(mode, len, each),
        }
    }
}
