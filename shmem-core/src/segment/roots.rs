//! What the code that `#[derive(ShmRoots)]` writes refers to: how a field of a group is opened. No part of the API.
//!
//! The kind of a field is found by a trait, and so whatever name its type is written by. For each way of giving a first
//! value there is a trait of kinds. A kind that a way does not fit implements it too, under a bound that nothing
//! fulfils: the bound's message says what is wrong.

use super::directory::Key;
use super::handle::{Object, Root};
use super::inner::{Segment, unique_name};
use crate::error::{NameError, Result};
use crate::layout::{Init, ShmDefault, ShmSafe};
use crate::mapping::registry;
use std::convert::Infallible;
use std::marker::PhantomData;

/// What is done with each root of a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Found or constructed.
    OpenOrCreate,
    /// Found.
    Open,
    /// Constructed; destroyed again if a later one fails.
    Create,
}

/// A group of roots.
pub trait Group: Sized {
    /// Every root, in the order of the fields.
    ///
    /// # Errors
    /// That of the first root that fails.
    fn each(segment: &Segment, mode: Mode) -> Result<Self>;
}

/// Of a root that is found by its name.
#[derive(Debug, Clone, Copy)]
pub enum Named {}

/// Of a root that is found by its type.
#[derive(Debug, Clone, Copy)]
pub enum Unique {}

/// A root's place: its segment and its name.
#[derive(Debug, Clone, Copy)]
pub struct At<'s> {
    /// Where it stands.
    pub segment: &'s Segment,
    /// What it is called; `None`: as its type.
    pub name: Option<&'static str>,
}

impl At<'_> {
    fn name<T: ShmSafe>(&self) -> String {
        self.name.map_or_else(unique_name::<T>, str::to_owned)
    }

    fn key<'n>(&self, name: &'n str) -> Result<Key<'n>> {
        if self.name.is_some() { Key::named(name) } else { Key::unique(name) }
    }

    /// What is there already; `None` if it is to be constructed.
    fn find_one<T: ShmSafe>(&self, mode: Mode) -> Result<Option<Made<Root<T>>>> {
        self.find(mode, |key| self.segment.find_one(key))
    }

    fn find<T: Object + ?Sized>(
        &self,
        mode: Mode,
        find: impl FnOnce(&Key<'_>) -> Result<Option<Root<T>>>,
    ) -> Result<Option<Made<Root<T>>>> {
        if mode == Mode::Create {
            return Ok(None);
        }
        let name = self.name::<T::Element>();
        match find(&self.key(&name)?)? {
            None if mode == Mode::Open => Err(NameError::NotFound { name }.into()),
            root => Ok(root.map(Made::found)),
        }
    }

    fn construct_one<T: ShmSafe>(&self, mode: Mode, init: impl Init<T>) -> Result<Made<Root<T>>> {
        let name = self.name::<T>();
        let (root, _) = self.segment.construct_one(&self.key(&name)?, mode == Mode::Create, init)?;
        Ok(self.made(root, name, mode))
    }

    fn construct_many<T: ShmSafe, I: Init<T>>(
        &self,
        mode: Mode,
        len: usize,
        each: impl FnMut(usize) -> I,
    ) -> Result<Made<Root<[T]>>> {
        let name = self.name::<T>();
        let root = self.segment.construct_many(&self.key(&name)?, len, mode == Mode::Create, each)?;
        Ok(self.made(root, name, mode))
    }

    fn destroy<T: ShmSafe>(&self) -> Result<bool> {
        self.segment.inner.directory.destroy::<T>(&self.key(&self.name::<T>())?)
    }

    /// A root that was found or constructed; certainly the latter if the mode is `Create`.
    fn made<T: Object + ?Sized>(&self, root: Root<T>, name: String, mode: Mode) -> Made<Root<T>> {
        let undo = (mode == Mode::Create).then(|| Undo {
            segment: self.segment.clone(),
            name,
            unique: self.name.is_none(),
            number: root.number(),
            fork_generation: registry::fork_generation(),
            destroy: destroy_again::<T::Element>,
        });
        Made { undo, field: root }
    }
}

/// A field, of which the root is destroyed again if it is dropped instead of [kept](Made::keep).
#[derive(Debug)]
#[must_use = "what was created is destroyed again with this"]
pub struct Made<F> {
    // Dropped first: while the handle lives, the object's number is no other's.
    undo: Option<Undo>,
    field: F,
}

impl<F> Made<F> {
    fn found(field: F) -> Self {
        Made { undo: None, field }
    }

    /// The field; the root stays.
    pub fn keep(mut self) -> F {
        if let Some(undo) = &mut self.undo {
            undo.destroy = |_, _, _| ();
        }
        self.field
    }
}

/// Destroys a root when it is dropped.
struct Undo {
    segment: Segment,
    name: String,
    unique: bool,
    number: u32,
    fork_generation: u64,
    destroy: fn(&Segment, &Key<'_>, u32),
}

/// Takes back the object of this number, unless somebody has destroyed it: the name may then be another's.
fn destroy_again<T: ShmSafe>(segment: &Segment, key: &Key<'_>, number: u32) {
    // If it cannot be (there is no slot for another thread), it stays, as after a death.
    let _ = segment.inner.directory.destroy_if::<T>(key, |has_it| has_it == number);
}

impl Drop for Undo {
    fn drop(&mut self) {
        let key = if self.unique { Key::unique(&self.name) } else { Key::named(&self.name) };
        // In the child of a fork, it is the parent's to destroy.
        if let Ok(key) = key
            && self.fork_generation == registry::fork_generation()
        {
            (self.destroy)(&self.segment, &key, self.number);
        }
    }
}

impl std::fmt::Debug for Undo {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Undo").field("name", &self.name).finish_non_exhaustive()
    }
}

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

/// Declares what no type is, with the message for a field that would have to be it.
macro_rules! refusal {
    ($(#[$attr:meta])* $name:ident) => {
        $(#[$attr])*
        pub trait $name {
            /// In place of what is never called.
            const NEVER: Infallible;
        }
    };
}

refusal! {
    /// A slice whose length is known without `#[shm(len = …)]`.
    #[diagnostic::on_unimplemented(
        message = "nothing says how long the slice `{Self}` is",
        label = "how many elements has it?",
        note = "say so: `#[shm(len = …)]`"
    )]
    LengthKnown
}
refusal! {
    /// A slice that is found by its type.
    #[diagnostic::on_unimplemented(
        message = "`{Self}` is a slice, which cannot be found by its type",
        label = "`#[shm(unique)]` is for one value",
        note = "give it a name instead: remove `unique`"
    )]
    UniqueSlice
}
refusal! {
    /// A single value with a length.
    #[diagnostic::on_unimplemented(
        message = "`{Self}` is one value, so it has no length",
        label = "not a slice",
        note = "`#[shm(len = …)]` is for a `Root<[T]>`"
    )]
    ManyValues
}
refusal! {
    /// An optional root that is constructed.
    #[diagnostic::on_unimplemented(
        message = "an optional root is found if it is there and never constructed, so it has neither `init` nor `len`",
        label = "`{Self}` is optional",
        note = "to construct it where it is not there, remove the `Option`"
    )]
    Constructed
}

/// Implements a way for a kind of field, where `$ty` is what nothing is.
macro_rules! refused {
    (@members ByDefault<$key:ty> $field:ty: $refusal:ident) => {
        fn get(_: At<'_>, _: Mode) -> Result<Made<Self::Field>> {
            match <$field as $refusal>::NEVER {}
        }
    };
    (@members ByInit<$key:ty> $field:ty: $refusal:ident) => {
        type Value = T;
        fn find(_: At<'_>, _: Mode) -> Result<Option<Made<Self::Field>>> {
            match <$field as $refusal>::NEVER {}
        }
        fn construct(_: At<'_>, _: Mode, _: impl Init<T>) -> Result<Made<Self::Field>> {
            match <$field as $refusal>::NEVER {}
        }
    };
    (@members ByLen<$key:ty> $field:ty: $refusal:ident) => {
        type Value = T;
        fn get<I: Init<Self::Value>>(
            _: At<'_>,
            _: Mode,
            _: usize,
            _: impl FnMut(usize) -> I,
        ) -> Result<Made<Self::Field>> {
            match <$field as $refusal>::NEVER {}
        }
    };
    ($way:ident<$key:ty> for $kind:ty, $field:ty: $refusal:ident) => {
        impl<T: ShmSafe> $way<$key> for $kind
        where
            $field: $refusal,
        {
            refused!(@members $way<$key> $field: $refusal);
        }
    };
}
refused!(ByDefault<Named> for Many<T>, Root<[T]>: LengthKnown);
refused!(ByDefault<Unique> for Many<T>, Root<[T]>: UniqueSlice);
refused!(ByDefault<Unique> for Maybe<Many<T>>, Root<[T]>: UniqueSlice);
refused!(ByInit<Named> for Many<T>, Root<[T]>: LengthKnown);
refused!(ByInit<Unique> for Many<T>, Root<[T]>: UniqueSlice);
refused!(ByInit<Named> for Maybe<One<T>>, Option<Root<T>>: Constructed);
refused!(ByInit<Unique> for Maybe<One<T>>, Option<Root<T>>: Constructed);
refused!(ByInit<Named> for Maybe<Many<T>>, Option<Root<[T]>>: Constructed);
refused!(ByInit<Unique> for Maybe<Many<T>>, Option<Root<[T]>>: Constructed);
refused!(ByLen<Named> for One<T>, Root<T>: ManyValues);
refused!(ByLen<Named> for Maybe<One<T>>, Option<Root<T>>: Constructed);
refused!(ByLen<Named> for Maybe<Many<T>>, Option<Root<[T]>>: Constructed);
