//! Containers that live in a segment: std's names and behaviour, fallible where memory is needed.
//!
//! Each is read through `&T` like its std twin, built by an [initialiser](crate::Init) and written through its
//! view. What every one of them keeps to:
//! - An element that is not `Unpin` is never moved bitwise, only [relocated](crate::ShmSafe::relocate).
//! - Whatever instruction a process is killed at, what the others find is memory-safe: elements being shifted
//!   stand beyond the published length, so that they may be leaked but are never owned twice.
//! - User code (initialisers, comparisons, predicates, iterators) runs before anything is changed; destructors
//!   run when nothing names the element any more.
//! - A failing operation leaves the contents as they were. (Capacity may have grown.)

/// The description of a type of the library.
macro_rules! builtin_info {
    ($ty:ty, $name:literal $(, $arg:ty)*) => {
        const {
            $(assert!(
                align_of::<$arg>() <= $crate::access::MAX_ALIGN,
                "the alignment of a stored type is at most 4096"
            );)*
            &$crate::TypeInfo {
                name: $name,
                origin: $crate::Origin::Builtin,
                version: 0,
                size: size_of::<$ty>(),
                align: align_of::<$ty>(),
                kind: $crate::Kind::Builtin,
                args: &[$($crate::GenericArg::Type(<$arg as $crate::ShmSafe>::type_info)),*],
                id: std::any::TypeId::of::<$ty>(),
            }
        }
    };
}

mod boxed;
mod drop_queue;
pub mod hash_map;
mod option;
mod string;
#[cfg(test)]
mod test_kit;
mod vec;

pub use boxed::{BoxInit, BoxMut, BoxSliceFromFn, BoxSliceMut, ShmBox, ShmBoxSlice};
pub use hash_map::{HashMapMut, HashSetMut, ShmHashMap, ShmHashSet};
pub use option::{NoneInit, OptionMut, ShmOption, SomeInit};
pub use string::{EmptyString, ShmString, StringMut, StringPart};
pub use vec::{EmptyVec, ShmVec, VecIterMut, VecMut};
