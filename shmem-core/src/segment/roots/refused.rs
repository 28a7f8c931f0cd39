//! What does not fit: a kind of field that is given what it cannot have.
//!
//! It is implemented too, under a bound that nothing fulfils. The bound's message says what is wrong.

use super::{At, ByDefault, ByInit, ByLen, Made, Many, Maybe, Mode, Named, One, Unique};
use crate::error::Result;
use crate::layout::{Init, ShmSafe};
use crate::segment::Root;
use std::convert::Infallible;

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

/// Implements a way for a kind of field that it does not fit: where `$field` is what no type is.
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
