//! [`BlockHandle`]: where something stands in a segment, as a number that every process understands.
//!
//! This file needs `unsafe`: it implements an unsafe trait.

use super::primitive::plain_members;
use super::{Kind, Origin, ShmHash, ShmHasher, ShmSafe, TypeInfo, Visitor};
use crate::access::Access;
use std::any::TypeId;
use std::ptr::{self, NonNull};

/// A place in a segment: an address that means the same in every process, and may be stored in the segment or sent.
///
/// [`Segment::handle_of`](crate::Segment::handle_of) makes one of an address, and
/// [`Segment::address_of`](crate::Segment::address_of) an address of it. It is a plain number of bytes from the segment's
/// first, and keeps nothing alive: a handle to a block that was freed leads to whatever stands there now.
#[doc(alias = "handle_t")]
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct BlockHandle(u64);

impl BlockHandle {
    /// The handle of what stands so many bytes from the segment's first.
    pub const fn from_offset(offset: u64) -> Self {
        BlockHandle(offset)
    }

    /// How many bytes it is from the segment's first.
    pub const fn offset(self) -> u64 {
        self.0
    }
}

// SAFETY: a number that means the same everywhere; every pattern is one.
unsafe impl ShmSafe for BlockHandle {
    const ANY_BITS: bool = true;
    type Parts = ();
    plain_members!();
    fn type_info() -> &'static TypeInfo {
        const {
            &TypeInfo {
                name: "BlockHandle",
                origin: Origin::Builtin,
                version: 0,
                size: size_of::<BlockHandle>(),
                align: align_of::<BlockHandle>(),
                kind: Kind::Builtin,
                args: &[],
                id: TypeId::of::<BlockHandle>(),
            }
        }
    }
    #[inline]
    unsafe fn visit(_: *const Self, _: &mut Visitor<'_>) {}
}

impl ShmHash for BlockHandle {
    #[inline]
    fn shm_hash(&self, hasher: &mut ShmHasher) {
        self.0.shm_hash(hasher);
    }
}
