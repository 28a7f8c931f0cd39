//! [`ShmPod`]: a [`bytemuck::Pod`] type in shared memory.
//!
//! This file needs `unsafe`: it implements an unsafe trait.

use super::primitive::plain_members;
use super::{GenericArg, Kind, Origin, ShmSafe, TypeInfo, Visitor};
use crate::access::Access;
use std::any::TypeId;
use std::ops::{Deref, DerefMut};
use std::ptr::{self, NonNull};

/// Any plain-old-data type of another crate: whatever is [`bytemuck::Pod`] and `Send`.
///
/// Another crate's type says nothing of its fields, so its identity is only its size, its alignment and `TAG`, a
/// number of the caller's choice that keeps apart types which happen to have one size. (A blanket implementation
/// would overlap with others; a type of your own can derive `ShmSafe` instead.)
///
/// ```
/// use shmem_core::{Segment, ShmPod, ShmVec};
/// # fn main() -> shmem_core::Result<()> {
/// type Sample = ShmPod<[f32; 3], 1>;
/// let segment = Segment::anonymous().size(1 << 20).create()?;
/// let samples = segment.construct::<ShmVec<Sample>>("samples", [ShmPod([1.0, 2.0, 3.0])])?;
/// assert_eq!(samples[0][1], 2.0);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct ShmPod<T, const TAG: u64 = 0>(pub T);

// SAFETY: a `Pod` type has no padding, no pointers that it could dereference safely, and takes any bits; it cannot
// be changed through a shared reference.
unsafe impl<T: bytemuck::Pod + Send, const TAG: u64> ShmSafe for ShmPod<T, TAG> {
    const ANY_BITS: bool = true;
    type Parts = ();
    plain_members!();
    fn type_info() -> &'static TypeInfo {
        const {
            &TypeInfo {
                name: "ShmPod",
                origin: Origin::Builtin,
                version: 0,
                size: size_of::<T>(),
                align: align_of::<T>(),
                kind: Kind::Builtin,
                args: &[GenericArg::Const(super::ConstArg::Unsigned(TAG as u128))],
                id: TypeId::of::<ShmPod<T, TAG>>(),
            }
        }
    }
    #[inline]
    unsafe fn visit(_: *const Self, _: &mut Visitor<'_>) {}
}

impl<T, const TAG: u64> Deref for ShmPod<T, TAG> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T, const TAG: u64> DerefMut for ShmPod<T, TAG> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.0
    }
}
