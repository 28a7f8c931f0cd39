//! Iterators over a [`ShmHashMap`].
//!
//! This file needs `unsafe`: it reads live buckets through raw pointers.

use super::ShmHashMap;
use super::raw::{Bucket, Live};
use super::view::HashMapMut;
use crate::access::Access;
use crate::layout::ShmSafe;
use std::fmt;
use std::iter::FusedIterator;
use std::marker::PhantomData;
use std::ptr::NonNull;

/// The live buckets of a map and how many are left.
struct Buckets<K, V> {
    live: Live<K, V>,
    left: usize,
}

impl<K: ShmSafe, V: ShmSafe> Buckets<K, V> {
    #[inline]
    fn of(map: &ShmHashMap<K, V>) -> Self {
        match map.table() {
            Some(table) => Buckets { live: table.live(), left: table.len() },
            None => Buckets { live: Live::none(), left: 0 },
        }
    }
}

impl<K, V> Clone for Buckets<K, V> {
    fn clone(&self) -> Self {
        Buckets { live: self.live.clone(), left: self.left }
    }
}

impl<K, V> Iterator for Buckets<K, V> {
    type Item = NonNull<Bucket<K, V>>;

    #[inline(always)]
    fn next(&mut self) -> Option<Self::Item> {
        let bucket = self.live.next()?;
        // Where the walk ends does not depend on the count.
        self.left = self.left.wrapping_sub(1);
        Some(bucket)
    }

    #[inline]
    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

macro_rules! iterators {
    ($($(#[$doc:meta])* $name:ident, $item:ty, $bucket:ident => $value:expr;)*) => { $(
        $(#[$doc])*
        pub struct $name<'a, K: ShmSafe, V: ShmSafe> {
            buckets: Buckets<K, V>,
            _map: PhantomData<&'a ShmHashMap<K, V>>,
        }

        // SAFETY: it stands for a shared reference to the map.
        unsafe impl<K: ShmSafe + Sync, V: ShmSafe + Sync> Send for $name<'_, K, V> {}
        // SAFETY: as above.
        unsafe impl<K: ShmSafe + Sync, V: ShmSafe + Sync> Sync for $name<'_, K, V> {}

        impl<'a, K: ShmSafe, V: ShmSafe> $name<'a, K, V> {
            #[inline]
            pub(super) fn new(map: &'a ShmHashMap<K, V>) -> Self {
                $name { buckets: Buckets::of(map), _map: PhantomData }
            }
        }

        impl<K: ShmSafe, V: ShmSafe> Clone for $name<'_, K, V> {
            fn clone(&self) -> Self {
                $name { buckets: self.buckets.clone(), _map: PhantomData }
            }
        }

        impl<'a, K: ShmSafe, V: ShmSafe> Iterator for $name<'a, K, V> {
            type Item = $item;

            #[inline(always)]
            fn next(&mut self) -> Option<$item> {
                // SAFETY: live, borrowed for `'a`.
                let $bucket = unsafe { &*self.buckets.next()?.as_ptr() };
                Some($value)
            }

            #[inline]
            fn size_hint(&self) -> (usize, Option<usize>) {
                self.buckets.size_hint()
            }
        }

        impl<K: ShmSafe, V: ShmSafe> ExactSizeIterator for $name<'_, K, V> {}
        impl<K: ShmSafe, V: ShmSafe> FusedIterator for $name<'_, K, V> {}

        impl<K: ShmSafe + fmt::Debug, V: ShmSafe + fmt::Debug> fmt::Debug for $name<'_, K, V> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_list().entries(self.clone()).finish()
            }
        }
    )* };
}

iterators! {
    /// Every key with its value: see [`ShmHashMap::iter`].
    Iter, (&'a K, &'a V), bucket => (&bucket.key, &bucket.value);
    /// Every key: see [`ShmHashMap::keys`].
    Keys, &'a K, bucket => &bucket.key;
    /// Every value: see [`ShmHashMap::values`].
    Values, &'a V, bucket => &bucket.value;
}

impl<'a, K: ShmSafe, V: ShmSafe> IntoIterator for &'a ShmHashMap<K, V> {
    type Item = (&'a K, &'a V);
    type IntoIter = Iter<'a, K, V>;
    #[inline]
    fn into_iter(self) -> Iter<'a, K, V> {
        self.iter()
    }
}

/// Every key with its value's view: see [`HashMapMut::iter_mut`].
pub struct IterMut<'m, K: ShmSafe, V: ShmSafe> {
    buckets: Buckets<K, V>,
    access: Access<'m>,
    _map: PhantomData<&'m mut ShmHashMap<K, V>>,
}

// SAFETY: it stands for a unique reference to the map; keys are given as `&K`.
unsafe impl<K: ShmSafe + Sync, V: ShmSafe> Send for IterMut<'_, K, V> {}
// SAFETY: shared, it gives nothing.
unsafe impl<K: ShmSafe + Sync, V: ShmSafe + Sync> Sync for IterMut<'_, K, V> {}

impl<'m, K: ShmSafe, V: ShmSafe> IterMut<'m, K, V> {
    pub(super) fn new(map: &'m mut HashMapMut<'_, K, V>) -> Self {
        map.table_mut();
        IterMut { buckets: Buckets::of(map), access: map.access(), _map: PhantomData }
    }
}

impl<'m, K: ShmSafe, V: ShmSafe> Iterator for IterMut<'m, K, V> {
    type Item = (&'m K, V::Mut<'m>);

    #[inline(always)]
    fn next(&mut self) -> Option<Self::Item> {
        let bucket = self.buckets.next()?.as_ptr();
        // SAFETY: live, given out once, exclusively ours for `'m`.
        unsafe {
            let value = NonNull::new_unchecked(&raw mut (*bucket).value);
            Some((&(*bucket).key, V::view(value, self.access)))
        }
    }

    #[inline]
    fn size_hint(&self) -> (usize, Option<usize>) {
        self.buckets.size_hint()
    }
}

impl<K: ShmSafe, V: ShmSafe> ExactSizeIterator for IterMut<'_, K, V> {}
impl<K: ShmSafe, V: ShmSafe> FusedIterator for IterMut<'_, K, V> {}

impl<K: ShmSafe, V: ShmSafe> fmt::Debug for IterMut<'_, K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IterMut").field("left", &self.buckets.left).finish_non_exhaustive()
    }
}

/// Every value's view: see [`HashMapMut::values_mut`].
#[derive(Debug)]
pub struct ValuesMut<'m, K: ShmSafe, V: ShmSafe>(IterMut<'m, K, V>);

impl<'m, K: ShmSafe, V: ShmSafe> ValuesMut<'m, K, V> {
    pub(super) fn new(map: &'m mut HashMapMut<'_, K, V>) -> Self {
        ValuesMut(IterMut::new(map))
    }
}

impl<'m, K: ShmSafe, V: ShmSafe> Iterator for ValuesMut<'m, K, V> {
    type Item = V::Mut<'m>;

    #[inline(always)]
    fn next(&mut self) -> Option<V::Mut<'m>> {
        Some(self.0.next()?.1)
    }

    #[inline]
    fn size_hint(&self) -> (usize, Option<usize>) {
        self.0.size_hint()
    }
}

impl<K: ShmSafe, V: ShmSafe> ExactSizeIterator for ValuesMut<'_, K, V> {}
impl<K: ShmSafe, V: ShmSafe> FusedIterator for ValuesMut<'_, K, V> {}
