//! [`Entry`]: a key's place in a map.
//!
//! This file needs `unsafe`: it fills and drops buckets.

use super::raw::Table;
use super::view::{HashMapMut, value_at, value_view};
use crate::error::Result;
use crate::layout::ShmSafe;
use crate::layout::init::{Init, replace};
use std::fmt;
use std::mem::ManuallyDrop;

/// A key's place in a map, from [`HashMapMut::entry`] or [`HashMapMut::entry_ref`].
pub enum Entry<'m, K: ShmSafe, V: ShmSafe> {
    /// The map has the key.
    Occupied(OccupiedEntry<'m, K, V>),
    /// The map does not have the key; there is room for it.
    Vacant(VacantEntry<'m, K, V>),
}

impl<'m, K: ShmSafe, V: ShmSafe> Entry<'m, K, V> {
    /// The key.
    pub fn key(&self) -> &K {
        match self {
            Entry::Occupied(entry) => entry.key(),
            Entry::Vacant(entry) => entry.key(),
        }
    }

    /// The view of the value, which is built if the key is new.
    ///
    /// # Errors
    /// The initialiser's; the map is then without the key.
    #[inline]
    pub fn or_insert(self, value: impl Init<V>) -> Result<V::Mut<'m>> {
        match self {
            Entry::Occupied(entry) => Ok(entry.into_mut()),
            Entry::Vacant(entry) => entry.insert(value),
        }
    }

    /// As [`or_insert`](Self::or_insert), with an initialiser that is made only if the key is new.
    ///
    /// # Errors
    /// As for `or_insert`.
    #[inline]
    pub fn or_insert_with<I: Init<V>>(self, make: impl FnOnce() -> I) -> Result<V::Mut<'m>> {
        match self {
            Entry::Occupied(entry) => Ok(entry.into_mut()),
            Entry::Vacant(entry) => entry.insert(make()),
        }
    }

    /// As [`or_insert_with`](Self::or_insert_with), from the key.
    ///
    /// # Errors
    /// As for `or_insert`.
    #[inline]
    pub fn or_insert_with_key<I: Init<V>>(self, make: impl FnOnce(&K) -> I) -> Result<V::Mut<'m>> {
        match self {
            Entry::Occupied(entry) => Ok(entry.into_mut()),
            Entry::Vacant(entry) => {
                let value = make(entry.key());
                entry.insert(value)
            }
        }
    }

    /// Changes the value if there is one.
    #[inline]
    pub fn and_modify(mut self, change: impl FnOnce(V::Mut<'_>)) -> Self {
        if let Entry::Occupied(entry) = &mut self {
            change(entry.get_mut());
        }
        self
    }
}

impl<K: ShmSafe + fmt::Debug, V: ShmSafe + fmt::Debug> fmt::Debug for Entry<'_, K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Entry::Occupied(entry) => entry.fmt(f),
            Entry::Vacant(entry) => entry.fmt(f),
        }
    }
}

/// An entry of the map.
pub struct OccupiedEntry<'m, K: ShmSafe, V: ShmSafe> {
    map: HashMapMut<'m, K, V>,
    table: Table<K, V>,
    i: usize,
}

impl<'m, K: ShmSafe, V: ShmSafe> OccupiedEntry<'m, K, V> {
    #[inline(always)]
    pub(super) fn new(map: HashMapMut<'m, K, V>, table: Table<K, V>, i: usize) -> Self {
        OccupiedEntry { map, table, i }
    }

    /// The stored key.
    #[inline]
    pub fn key(&self) -> &K {
        // SAFETY: the bucket is live, borrowed with `self`.
        unsafe { &(*self.table.bucket(self.i).as_ptr()).key }
    }

    /// The value.
    #[inline]
    pub fn get(&self) -> &V {
        // SAFETY: as above.
        unsafe { value_at(self.table, self.i).as_ref() }
    }

    /// The value's view.
    #[inline]
    pub fn get_mut(&mut self) -> V::Mut<'_> {
        // SAFETY: the bucket is live and, through `self`, exclusively ours.
        unsafe { value_view(self.table, self.i, self.map.access()) }
    }

    /// The value's view, for as long as the map's.
    #[inline]
    pub fn into_mut(self) -> V::Mut<'m> {
        // SAFETY: the bucket is live and, through the view this consumes, exclusively ours.
        unsafe { value_view(self.table, self.i, self.map.access()) }
    }

    /// Replaces the value.
    ///
    /// # Errors
    /// The initialiser's, or [`Error::LockHeld`](crate::Error::LockHeld); the old value stays.
    pub fn set(&mut self, value: impl Init<V>) -> Result<()> {
        // SAFETY: the bucket is live and, through `self`, exclusively ours.
        unsafe { replace(value_at(self.table, self.i), value, self.map.access()) }
    }

    /// Removes the entry and drops it.
    ///
    /// # Panics
    /// If it holds a held lock; it stays.
    pub fn remove(mut self) {
        // SAFETY: the bucket is live.
        unsafe { self.map.evict(self.table, self.i) }
    }
}

impl<K: ShmSafe + fmt::Debug, V: ShmSafe + fmt::Debug> fmt::Debug for OccupiedEntry<'_, K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OccupiedEntry").field("key", self.key()).field("value", self.get()).finish()
    }
}

/// A key that the map does not have, and room for it. Dropping it drops the key and leaves the map as it was.
pub struct VacantEntry<'m, K: ShmSafe, V: ShmSafe> {
    map: HashMapMut<'m, K, V>,
    table: Table<K, V>,
    i: usize,
    hash: u64,
}

impl<'m, K: ShmSafe, V: ShmSafe> VacantEntry<'m, K, V> {
    /// # Safety
    /// 1. Bucket `i` of the map's table is free, was announced to `save` and holds the key, whose hash is `hash`; taking
    ///    it needs no larger table.
    #[inline(always)]
    pub(super) unsafe fn new(map: HashMapMut<'m, K, V>, table: Table<K, V>, i: usize, hash: u64) -> Self {
        VacantEntry { map, table, i, hash }
    }

    /// The key, not yet in the map.
    #[inline]
    pub fn key(&self) -> &K {
        // SAFETY: `new`, 1; borrowed with `self`.
        unsafe { &(*self.table.bucket(self.i).as_ptr()).key }
    }

    /// Enters the key with `value`, and gives the value's view.
    ///
    /// # Errors
    /// The initialiser's; the map is as before.
    #[inline]
    pub fn insert(self, value: impl Init<V>) -> Result<V::Mut<'m>> {
        let at = value_at(self.table, self.i);
        // SAFETY: `new`, 1: the bucket's bytes are ours to build in; then it holds a whole entry. If the initialiser
        // fails, `self` is dropped and the key with it.
        unsafe {
            value.init(at.as_ptr(), self.map.access())?;
            let this = ManuallyDrop::new(self);
            this.table.occupy(this.i, this.hash);
            Ok(V::view(at, this.map.access()))
        }
    }
}

impl<K: ShmSafe, V: ShmSafe> Drop for VacantEntry<'_, K, V> {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: `new`, 1: the key is whole, and nothing names it.
        unsafe { (&raw mut (*self.table.bucket(self.i).as_ptr()).key).drop_in_place() }
    }
}

impl<K: ShmSafe + fmt::Debug, V: ShmSafe> fmt::Debug for VacantEntry<'_, K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("VacantEntry").field(self.key()).finish()
    }
}
