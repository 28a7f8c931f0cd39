//! [`ShmSafe`], the contract of every type that lives in a segment.
//!
//! This file needs `unsafe`: it declares an unsafe trait.

use super::{TypeInfo, Visitor};
use crate::access::Access;
use std::cell::Cell;
use std::convert::Infallible;
use std::marker::PhantomData;
use std::panic::RefUnwindSafe;
use std::ptr::NonNull;

/// A type that means the same in every process: it may live in shared memory.
///
/// Derive it: `#[derive(ShmSafe)]` checks every field and generates all of this.
///
/// # Safety
/// An implementation promises, for every value `v: Self` that its `Init`s, views and methods can produce:
/// 1. `v` holds no address, no reference, no function pointer and nothing else that means something in one
///    process only; pointers are [`OffsetPtr`](crate::OffsetPtr)s into the segment `v` stands in. The layout of
///    `Self` is fixed (`repr(C)`, `transparent` or a primitive repr) and its alignment at most 4096.
/// 2. `PLAIN`: if true, the bytes of `v`, copied elsewhere, are the same value. A type with `PLAIN == false`
///    must not be `Unpin`.
/// 3. `Parts` names every type reachable from `v`, each as [`Reach`], and [`Interior`] where bytes of `v` can be
///    changed through `&v`.
/// 4. `ANY_BITS`: if true, every bit pattern of `size_of::<Self>()` bytes is a value and owns nothing.
/// 5. `HAS_LOCKS`: if false, no lock stands inside the bytes of `v`.
/// 6. `view` gives exclusive access to the value at `at` and nothing else, announces to
///    [`Access::save`] every byte it overwrites or hands out a `&mut` to, and never yields a `&mut Self` (nor a
///    way to swap the value with another) unless `Self: Unpin`.
/// 7. `relocate` writes nothing but `*to`, and writes it in such an order that, were `*to` a valid value
///    before, every prefix of its stores leaves a value that is memory-safe to read and to drop *except that
///    what it owned may be leaked*, or one that `visit` reports as invalid: an enum none of whose variants is without
///    fields, and a plain value of which not every mix of bytes is one, cannot do better.
/// 8. `visit` reports exactly the blocks `v` owns, and bytes that are no value (a tag, a `bool`, a `char`); it reads
///    through raw pointers only, and neither panics nor loops whatever the bytes are.
/// 9. `type_info` describes the layout truthfully and always gives the same answer. Every block that `v` owns is owned by one
///    of the fields or elements described, or the type is of [`Kind::Builtin`](super::Kind::Builtin).
/// 10. Dropping `v` in place frees what it owns, in whichever process that happens.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot live in shared memory",
    label = "this type is not `ShmSafe`",
    note = "derive it for your own types: `#[derive(ShmSafe)] #[repr(C)]`",
    note = "use ShmString for String, ShmVec<T> for Vec<T>, ShmBox<T> for Box<T>, ShmOption<T> for Option<T>, ShmHashMap<K, V> for HashMap, ShmMutex<T> for Mutex, and a #[repr(C)] struct for a tuple",
    note = "references, raw pointers, function pointers and trait objects hold addresses, which differ in every process"
)]
pub unsafe trait ShmSafe: Sized + Send + 'static {
    /// Whether a bitwise copy elsewhere is the same value (no offset pointer, no lock inside).
    const PLAIN: bool;

    /// Whether every bit pattern is a valid value that owns nothing.
    const ANY_BITS: bool;

    /// Whether a lock stands inside the value's own bytes.
    const HAS_LOCKS: bool = false;

    /// What the type is made of: a tuple of [`Reach<F>`](Reach) for its fields and for what it points to, and
    /// [`Interior`] if it can be changed through `&Self`. Only for the compiler: see [`Frozen`].
    type Parts;

    /// Exclusive access to a value: `&mut T` for a primitive, `VecMut` for a vector, `AccountMut` for a derived
    /// `Account`.
    type Mut<'a>;

    /// The view of the value at `at`.
    ///
    /// # Safety
    /// 1. `at` points to a valid, aligned value in the segment of `access`.
    /// 2. For `'a`, nobody else reads or writes the value or what it owns.
    unsafe fn view<'a>(at: NonNull<Self>, access: Access<'a>) -> Self::Mut<'a>;

    /// Moves the value at `from` to `to`, re-basing its pointers. `from` keeps its bytes and must be treated as
    /// moved out of.
    ///
    /// # Safety
    /// 1. `from` points to a valid value, `to` is valid for writes of one, both aligned; they do not overlap.
    /// 2. `to` is uninitialised or holds a value that may be forgotten.
    /// 3. What the value owns lies in a mapping of this process; `to` stands, or will stand, in that mapping.
    /// 4. No lock inside the value is held ([`lock_held`](Self::lock_held)).
    unsafe fn relocate(from: *mut Self, to: *mut Self);

    /// The type's description.
    fn type_info() -> &'static TypeInfo;

    /// Reports what the value at `this` owns and checks what can be checked.
    ///
    /// # Safety
    /// 1. `this` is aligned and `size_of::<Self>()` bytes from it are readable; they may be damaged.
    unsafe fn visit(this: *const Self, visitor: &mut Visitor<'_>);

    /// Whether a lock inside the value's own bytes is held. Such a value must be neither moved nor dropped.
    ///
    /// # Safety
    /// 1. `this` points to a valid value to which the caller has exclusive access.
    unsafe fn lock_held(this: *const Self) -> bool {
        let _ = this;
        false
    }
}

/// Stands for the type `T` in the [`Parts`](ShmSafe::Parts) of another.
///
/// A nominal type, so that recursive types have finite parts, and without values.
pub struct Reach<T: ShmSafe>(PhantomData<T::Parts>, Infallible);

/// Stands, among the [`Parts`](ShmSafe::Parts) of a type, for bytes that change through a shared reference.
pub struct Interior(Cell<()>, Infallible);

/// A type of which nothing reachable can change through `&Self`: no atomics and no locks, not even behind its
/// pointers. Only such a type can be shown through a read-only mapping.
///
/// Every type that qualifies has it: it is computed from [`ShmSafe::Parts`] with the compiler's own reasoning
/// about auto traits, which, unlike a constant, stands recursive types.
#[diagnostic::on_unimplemented(
    message = "`{Self}` can change through a shared reference, so it cannot be shown through a read-only mapping",
    note = "copy what sits in locks and atomics through a writable segment"
)]
pub trait Frozen {}

// The message is to speak of `Frozen`, not of how it is computed.
#[diagnostic::do_not_recommend]
impl<T: ShmSafe> Frozen for T where Reach<T>: RefUnwindSafe {}

/// Whether a lock inside one of `n` values is held: to be asked before values are moved or dropped.
///
/// # Safety
/// 1. `first` points to `n` valid values to which the caller has exclusive access.
#[inline]
pub(crate) unsafe fn any_lock_held<T: ShmSafe>(first: *const T, n: usize) -> bool {
    // SAFETY: 1, for each.
    T::HAS_LOCKS && (0..n).any(|i| unsafe { T::lock_held(first.add(i)) })
}

/// Moves `n` values; `from` and `to` do not overlap.
///
/// # Safety
/// 1. As [`ShmSafe::relocate`], for each of the `n` values.
#[inline]
pub(crate) unsafe fn relocate_many<T: ShmSafe>(from: *mut T, to: *mut T, n: usize) {
    if T::PLAIN {
        // SAFETY: 1, and a plain value is its bytes.
        unsafe { std::ptr::copy_nonoverlapping(from, to, n) }
    } else {
        for i in 0..n {
            // SAFETY: 1.
            unsafe { T::relocate(from.add(i), to.add(i)) }
        }
    }
}
