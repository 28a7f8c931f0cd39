//! [`ShmDefault`]: the first value of a type, for those that cannot be made on the stack and moved in.
//!
//! This file needs `unsafe`: it implements an unsafe trait.

use super::init::{Init, array_from_fn};
use super::{ShmPod, ShmSafe};
use crate::access::Access;
use crate::error::Result;
use std::marker::PhantomData;
use std::sync::atomic::*;

/// `Default` for types that are built in place: zero, empty or free.
///
/// A group of roots ([`ShmRoots`](crate::ShmRoots)) builds with it what no initialiser is given for.
///
/// ```
/// use shmem_core::{Segment, ShmDefault, ShmHashMap, ShmMutex};
/// # fn main() -> shmem_core::Result<()> {
/// type Stock = ShmMutex<ShmHashMap<u64, [u32; 4]>>;
/// let segment = Segment::anonymous().size(1 << 20).create()?;
/// let stock = segment.construct::<Stock>("stock", Stock::shm_default())?;
/// assert!(stock.lock()?.is_empty());
/// # Ok(())
/// # }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` has no default value in shared memory",
    label = "`ShmDefault` is not implemented for this type",
    note = "say what it is first: `#[shm(init = …)]`, with an initialiser",
    note = "or derive it for your own types: `#[shm(default)]` beside `#[derive(ShmSafe)]`"
)]
pub trait ShmDefault: ShmSafe {
    /// An initialiser of the default value.
    fn shm_default() -> impl Init<Self>;
}

macro_rules! as_std {
    ($($ty:ty)*) => { $(impl ShmDefault for $ty {
        /// As [`Default`].
        #[inline]
        fn shm_default() -> impl Init<Self> {
            <$ty>::default()
        }
    })* };
}
as_std! {
    u8 u16 u32 u64 u128 usize i8 i16 i32 i64 i128 isize f32 f64 bool char
    AtomicU8 AtomicU16 AtomicU32 AtomicU64 AtomicUsize
    AtomicI8 AtomicI16 AtomicI32 AtomicI64 AtomicIsize AtomicBool
}

impl ShmDefault for () {
    #[inline]
    fn shm_default() -> impl Init<Self> {}
}

/// Builds a `PhantomData`, which is no initialiser itself if what it stands for is not movable.
struct Marker;

// SAFETY: 1: it has no bytes. 2: it cannot fail. 3: nothing is written.
unsafe impl<T: ShmSafe> Init<PhantomData<T>> for Marker {
    #[inline]
    unsafe fn init(self, _: *mut PhantomData<T>, _: Access<'_>) -> Result<()> {
        Ok(())
    }
}

impl<T: ShmSafe> ShmDefault for PhantomData<T> {
    #[inline]
    fn shm_default() -> impl Init<Self> {
        Marker
    }
}

impl<T: ShmDefault, const N: usize> ShmDefault for [T; N] {
    /// Every element's own.
    #[inline]
    fn shm_default() -> impl Init<Self> {
        array_from_fn(|_| T::shm_default())
    }
}

impl<T: bytemuck::Pod + Send + Unpin + Default, const TAG: u64> ShmDefault for ShmPod<T, TAG> {
    /// As [`Default`].
    #[inline]
    fn shm_default() -> impl Init<Self> {
        ShmPod::default()
    }
}

#[cfg(test)]
mod tests {
    use super::ShmDefault;
    use crate::testing::TestSegment;
    use crate::{
        ShmBox, ShmBoxSlice, ShmHashMap, ShmHashSet, ShmMutex, ShmOption, ShmPod, ShmString, ShmVec,
    };
    use std::marker::PhantomData;
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

    #[test]
    fn plain_types_are_as_std_says() {
        let segment = TestSegment::new();
        macro_rules! equal {
            ($($ty:ty),*) => { $({
                let built = segment.build::<$ty>(<$ty>::shm_default()).unwrap();
                assert_eq!(*built.get(), <$ty>::default());
                built.check();
            })* };
        }
        equal!(u8, u128, usize, i64, f64, bool, char, [u16; 3], ShmPod<[f32; 3], 7>);
        segment.build::<()>(<()>::shm_default()).unwrap();
        segment.build::<PhantomData<ShmString>>(PhantomData::shm_default()).unwrap();
        let number = segment.build::<AtomicUsize>(AtomicUsize::shm_default()).unwrap();
        assert_eq!(number.get().load(Ordering::Relaxed), 0);
        let flag = segment.build::<AtomicBool>(AtomicBool::shm_default()).unwrap();
        assert!(!flag.get().load(Ordering::Relaxed));
    }

    #[test]
    fn containers_are_empty_and_own_nothing() {
        let segment = TestSegment::new();
        macro_rules! empty {
            ($($ty:ty),*) => { $({
                // One allocation, for the value itself.
                segment.fail_after(Some(1));
                let built = segment.build::<$ty>(<$ty>::shm_default()).unwrap();
                segment.fail_after(None);
                assert!(built.get().is_empty());
                built.check();
            })* };
        }
        empty!(ShmVec<ShmString>, ShmString, ShmBoxSlice<ShmString>, ShmHashSet<u64>);
        empty!(ShmHashMap<ShmString, ShmString>);
        let none = segment.build::<ShmOption<ShmString>>(ShmOption::shm_default()).unwrap();
        assert!(none.get().is_none());
        none.check();
    }

    #[test]
    fn what_holds_a_value_holds_its_default() {
        let segment = TestSegment::new();
        type Nested = [ShmBox<[ShmVec<u64>; 2]>; 3];
        // Out of memory at every allocation, that of the value itself and those of its boxes: nothing stays.
        for n in 0..4 {
            segment.fail_after(Some(n));
            let failed = segment.build::<Nested>(Nested::shm_default()).is_err();
            segment.fail_after(None);
            assert!(failed && segment.live_blocks().is_empty(), "{n}");
        }
        let nested = segment.build::<Nested>(Nested::shm_default()).unwrap();
        assert!(nested.elsewhere().iter().all(|pair| pair.iter().all(|list| list.is_empty())));
        nested.check();
        drop(nested);
        let locked = segment.build::<ShmMutex<[u32; 4]>>(ShmMutex::shm_default()).unwrap();
        assert!(!locked.get().is_poisoned());
        // SAFETY: nobody else has it.
        assert_eq!(*unsafe { locked.get().debug_value() }, [0; 4]);
    }
}
