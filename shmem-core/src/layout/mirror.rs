//! [`Mirror`]: ordinary Rust types and their twins in shared memory.
//!
//! This file needs `unsafe`: it builds arrays in place.

use super::ShmSafe;
use super::init::{Init, Partial};
use crate::access::Access;
use crate::error::Result;
use std::cmp::Ordering;
use std::convert::Infallible;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::marker::PhantomData;

/// An ordinary type that has a twin in shared memory: `ShmString` is `String`'s, `ShmVec<ShmString>` is `Vec<String>`'s.
///
/// Only the types: [`Mirror`] converts. They are apart so that the twin of a type with parameters can be named
/// whatever its parameters can do. A container joins in by implementing both.
#[diagnostic::on_unimplemented(
    message = "`{Self}` has no twin in shared memory",
    label = "this type is not mirrored",
    note = "numbers, bool, char, String, Vec, Box, Option, HashMap, HashSet, arrays and tuples of types with twins have one",
    note = "for a type of your own: `#[derive(ShmSafe)] #[shm(mirror = ShmName)]`",
    note = "for one field: `#[shm(with = module)]` converts it, `#[shm(skip)]` leaves it out"
)]
pub trait MirrorType {
    /// The twin.
    type Shm: ShmSafe;
}

/// Conversion between an ordinary type and its twin in shared memory.
///
/// `#[derive(ShmSafe)]` with `#[shm(mirror = ShmOrder)]` on an ordinary `Order` makes the twin and implements this.
/// Converting takes time and stack in proportion to the value: a chain of boxes converts recursively, as it is dropped.
///
/// ```
/// use shmem_core::{Segment, ShmMutex, ShmSafe};
/// # fn main() -> shmem_core::Result<()> {
/// #[derive(ShmSafe, Debug, PartialEq)]
/// #[shm(mirror = ShmOrder)]
/// struct Order {
///     symbol: String,
///     fills: Vec<(u64, f64)>,
///     note: Option<Box<Order>>,
/// }
///
/// let order = Order { symbol: "AAPL".into(), fills: vec![(100, 1.5)], note: None };
/// let segment = Segment::anonymous().size(1 << 20).create()?;
/// let shared = segment.construct::<ShmMutex<ShmOrder>>("order", ShmMutex::new(&order))?;
/// let mut guard = shared.lock()?;
/// assert_eq!(guard.symbol, "AAPL");
/// guard.view().fills.clear();
/// assert_eq!(guard.to_native(), Order { fills: vec![], ..order });
/// # Ok(())
/// # }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be converted to and from shared memory",
    note = "what it is made of must implement `Mirror` itself (the keys of a map `Eq` and `Hash`, their twins `ShmHash`)"
)]
pub trait Mirror: MirrorType + Sized {
    /// What builds the twin of a borrowed value.
    type Init<'a>: Init<Self::Shm>
    where
        Self: 'a;

    /// An initialiser of this value's twin.
    fn mirror(&self) -> Self::Init<'_>;

    /// The ordinary value that `shm` is the twin of.
    fn to_native(shm: &Self::Shm) -> Self;
}

/// Stands for an ordinary type whose twin is `S`, in the twin of a type with parameters. It has no values, so it can do
/// whatever a parameter may be asked to.
#[doc(hidden)]
pub struct Twin<S>(Infallible, PhantomData<fn() -> S>);

impl<S: ShmSafe> MirrorType for Twin<S> {
    type Shm = S;
}

impl<S> Copy for Twin<S> {}
impl<S> Clone for Twin<S> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<S> Eq for Twin<S> {}
impl<S> PartialEq for Twin<S> {
    fn eq(&self, _: &Self) -> bool {
        match self.0 {}
    }
}
impl<S> Ord for Twin<S> {
    fn cmp(&self, _: &Self) -> Ordering {
        match self.0 {}
    }
}
impl<S> PartialOrd for Twin<S> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl<S> Hash for Twin<S> {
    fn hash<H: Hasher>(&self, _: &mut H) {
        match self.0 {}
    }
}
impl<S> fmt::Debug for Twin<S> {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {}
    }
}
impl<S> fmt::Display for Twin<S> {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {}
    }
}

/// A type that can be its own twin: it is copied. (The lifetime is for the derive, which must state a bound that may be
/// false.)
#[doc(hidden)]
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be copied out of shared memory",
    note = "a type that is shared itself is its own twin if it is `Clone` and movable"
)]
pub trait OwnTwin<'a>: Clone + Unpin {}

impl<T: Clone + Unpin> OwnTwin<'_> for T {}

macro_rules! own_twin {
    ($($ty:ty)*) => { $(
        impl MirrorType for $ty {
            type Shm = $ty;
        }
        impl Mirror for $ty {
            type Init<'a> = $ty;
            #[inline]
            fn mirror(&self) -> $ty {
                *self
            }
            #[inline]
            fn to_native(shm: &$ty) -> $ty {
                *shm
            }
        }
    )* };
}
use std::num::*;
own_twin!(u8 u16 u32 u64 u128 usize i8 i16 i32 i64 i128 isize f32 f64 bool char);
own_twin!(());
own_twin!(NonZeroU8 NonZeroU16 NonZeroU32 NonZeroU64 NonZeroU128 NonZeroUsize);
own_twin!(NonZeroI8 NonZeroI16 NonZeroI32 NonZeroI64 NonZeroI128 NonZeroIsize);

impl<T: MirrorType> MirrorType for PhantomData<T> {
    type Shm = PhantomData<T::Shm>;
}

impl<T: MirrorType> Mirror for PhantomData<T> {
    type Init<'a>
        = ()
    where
        T: 'a;
    fn mirror(&self) {}
    fn to_native(_: &PhantomData<T::Shm>) -> Self {
        PhantomData
    }
}

impl<T: MirrorType, const N: usize> MirrorType for [T; N] {
    type Shm = [T::Shm; N];
}

/// Builds the twin of an array, element by element.
#[derive(Debug)]
pub struct MirrorArray<'a, T, const N: usize>(&'a [T; N]);

// SAFETY: 1: every element was built. 2: `Partial` drops what was built. 3: by the elements' initialisers.
unsafe impl<T: Mirror, const N: usize> Init<[T::Shm; N]> for MirrorArray<'_, T, N> {
    unsafe fn init(self, slot: *mut [T::Shm; N], access: Access<'_>) -> Result<()> {
        let mut partial = Partial::new(slot.cast::<T::Shm>());
        for element in self.0 {
            // SAFETY: the slot has room for `N` elements.
            unsafe { partial.push(element.mirror(), access)? };
        }
        partial.finish();
        Ok(())
    }
}

impl<T: Mirror, const N: usize> Mirror for [T; N] {
    type Init<'a>
        = MirrorArray<'a, T, N>
    where
        T: 'a;
    fn mirror(&self) -> MirrorArray<'_, T, N> {
        MirrorArray(self)
    }
    fn to_native(shm: &[T::Shm; N]) -> Self {
        std::array::from_fn(|i| T::to_native(&shm[i]))
    }
}

/// The initialisers of the elements of a borrowed collection.
pub type MirrorIter<'a, I, T> = std::iter::Map<I, fn(&'a T) -> <T as Mirror>::Init<'a>>;
