//! [`ShmHashSet`]: a hash set in shared memory; [`HashSetMut`], its view.
//!
//! This file needs `unsafe`: it implements an unsafe trait.

use super::entry::Entry;
use super::init::EmptyHashSet;
use super::iter::Keys;
use super::{EmptyHashMap, HashMapMut, ShmHashMap, VERSION};
use crate::access::Access;
use crate::error::Result;
use crate::layout::init::Init;
use crate::layout::{GenericArg, Kind, Origin, Reach, ShmHash, ShmSafe, TypeInfo, Visitor};
use std::any::TypeId;
use std::borrow::Borrow;
use std::collections::HashSet;
use std::fmt;
use std::hash::{BuildHasher, Hash};
use std::ops::Deref;
use std::ptr::NonNull;

/// The iterator over the keys of a [`ShmHashSet`].
pub type SetIter<'a, K> = Keys<'a, K, ()>;

/// A hash set in shared memory: a [`ShmHashMap`] without values.
#[doc(alias = "unordered_set")]
#[doc(alias = "unordered_flat_set")]
#[repr(transparent)]
pub struct ShmHashSet<K: ShmSafe> {
    map: ShmHashMap<K, ()>,
}

impl<K: ShmSafe> ShmHashSet<K> {
    /// An initialiser of an empty set, which allocates nothing.
    #[expect(clippy::new_ret_no_self, reason = "a set is only ever built in place")]
    pub fn new() -> EmptyHashSet<K> {
        EmptyHashSet(EmptyHashMap::with_capacity(0))
    }

    /// An initialiser of an empty set with room for at least `capacity` keys.
    pub fn with_capacity(capacity: usize) -> EmptyHashSet<K> {
        EmptyHashSet(EmptyHashMap::with_capacity(capacity))
    }

    /// How many keys the set has. Constant time.
    #[inline]
    pub fn len(&self) -> usize {
        self.map.len()
    }

    /// Whether the set has no key.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.map.is_empty()
    }

    /// How many keys the set has room for before it allocates again.
    pub fn capacity(&self) -> usize {
        self.map.capacity()
    }

    /// Every key, in arbitrary order.
    #[inline]
    pub fn iter(&self) -> SetIter<'_, K> {
        self.map.keys()
    }

    /// Whether the set has `key`.
    #[inline]
    pub fn contains<Q>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
        Q: ShmHash + Eq + ?Sized,
    {
        self.map.contains_key(key)
    }

    /// The stored key that equals `key`.
    #[inline]
    pub fn get<Q>(&self, key: &Q) -> Option<&K>
    where
        K: Borrow<Q>,
        Q: ShmHash + Eq + ?Sized,
    {
        Some(self.map.get_key_value(key)?.0)
    }

    /// Whether every key of this set is in `other`.
    pub fn is_subset(&self, other: &ShmHashSet<K>) -> bool
    where
        K: ShmHash + Eq,
    {
        self.len() <= other.len() && self.iter().all(|key| other.contains(key))
    }

    /// Whether the sets have no key in common.
    pub fn is_disjoint(&self, other: &ShmHashSet<K>) -> bool
    where
        K: ShmHash + Eq,
    {
        !self.iter().any(|key| other.contains(key))
    }
}

// SAFETY: as for the map it consists of.
unsafe impl<K: ShmSafe> ShmSafe for ShmHashSet<K> {
    const PLAIN: bool = false;
    const ANY_BITS: bool = false;
    type Parts = Reach<ShmHashMap<K, ()>>;
    type Mut<'a> = HashSetMut<'a, K>;

    #[inline]
    unsafe fn view<'a>(at: NonNull<Self>, access: Access<'a>) -> HashSetMut<'a, K> {
        // SAFETY: as the caller says; the set is transparent.
        HashSetMut(unsafe { HashMapMut::at(at.cast(), access) })
    }

    #[inline]
    unsafe fn relocate(from: *mut Self, to: *mut Self) {
        // SAFETY: as the caller says; the set is transparent.
        unsafe { ShmHashMap::<K, ()>::relocate(from.cast(), to.cast()) }
    }

    fn type_info() -> &'static TypeInfo {
        const {
            &TypeInfo {
                name: "ShmHashSet",
                origin: Origin::Builtin,
                version: VERSION,
                size: size_of::<ShmHashSet<K>>(),
                align: align_of::<ShmHashSet<K>>(),
                kind: Kind::Builtin,
                args: &[GenericArg::Type(K::type_info)],
                id: TypeId::of::<ShmHashSet<K>>(),
            }
        }
    }

    unsafe fn visit(this: *const Self, visitor: &mut Visitor<'_>) {
        // SAFETY: as the caller says; the set is transparent.
        unsafe { ShmHashMap::<K, ()>::visit(this.cast(), visitor) }
    }
}

impl<'a, K: ShmSafe> IntoIterator for &'a ShmHashSet<K> {
    type Item = &'a K;
    type IntoIter = SetIter<'a, K>;
    #[inline]
    fn into_iter(self) -> SetIter<'a, K> {
        self.iter()
    }
}

impl<K: ShmSafe + fmt::Debug> fmt::Debug for ShmHashSet<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self).finish()
    }
}

impl<K: ShmSafe + ShmHash + Eq> PartialEq for ShmHashSet<K> {
    fn eq(&self, other: &Self) -> bool {
        self.map == other.map
    }
}

impl<K: ShmSafe + ShmHash + Eq> Eq for ShmHashSet<K> {}

/// With a native set, whose keys must hash (by [`ShmHash`]) as their stored form does.
impl<K, A, S> PartialEq<HashSet<A, S>> for ShmHashSet<K>
where
    K: ShmSafe + PartialEq<A>,
    A: ShmHash + Hash + Eq,
    S: BuildHasher,
{
    fn eq(&self, other: &HashSet<A, S>) -> bool {
        self.len() == other.len() && other.iter().all(|a| self.map.find(a, |k| k == a).is_some())
    }
}

/// Exclusive access to a [`ShmHashSet`]: std's `HashSet` methods, fallible where memory is needed. It derefs to the
/// set for reading.
pub struct HashSetMut<'a, K: ShmSafe>(HashMapMut<'a, K, ()>);

impl<K: ShmSafe> HashSetMut<'_, K> {
    /// Removes every key; the table is kept. See [`HashMapMut::clear`].
    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// Removes the keys for which `keep` answers `false`. See [`HashMapMut::retain`].
    ///
    /// # Panics
    /// As `HashMapMut::retain`.
    pub fn retain(&mut self, mut keep: impl FnMut(&K) -> bool) {
        self.0.retain(|key, _| keep(key));
    }
}

impl<K: ShmSafe + ShmHash + Eq> HashSetMut<'_, K> {
    /// Enters `key`; `true` if it is new, else the stored key stays.
    ///
    /// # Errors
    /// As for [`HashMapMut::insert`].
    #[inline]
    pub fn insert(&mut self, key: impl Init<K>) -> Result<bool> {
        self.0.insert(key, ())
    }

    /// As [`insert`](Self::insert), by a borrowed form, from which the key is built only if it is new.
    ///
    /// # Errors
    /// As for `insert`.
    #[inline]
    pub fn insert_ref<'q, Q>(&mut self, key: &'q Q) -> Result<bool>
    where
        K: Borrow<Q>,
        Q: ShmHash + Eq + ?Sized,
        &'q Q: Init<K>,
    {
        match self.0.entry_ref(key)? {
            Entry::Occupied(_) => Ok(false),
            Entry::Vacant(entry) => entry.insert(()).map(|_| true),
        }
    }

    /// Removes `key`. Whether the set had it. See [`HashMapMut::remove`].
    ///
    /// # Panics
    /// As `HashMapMut::remove`.
    #[inline]
    pub fn remove<Q>(&mut self, key: &Q) -> bool
    where
        K: Borrow<Q>,
        Q: ShmHash + Eq + ?Sized,
    {
        self.0.remove(key)
    }

    /// Removes the stored key that equals `key` and gives it.
    pub fn take<Q>(&mut self, key: &Q) -> Option<K>
    where
        K: Borrow<Q> + Unpin,
        Q: ShmHash + Eq + ?Sized,
    {
        Some(self.0.remove_entry(key)?.0)
    }

    /// Enters every key, as [`insert`](Self::insert) does.
    ///
    /// # Errors
    /// The first error of `insert`; the keys before it are in the set.
    pub fn extend<A: Init<K>>(&mut self, keys: impl IntoIterator<Item = A>) -> Result<()> {
        self.0.extend(keys.into_iter().map(|key| (key, ())))
    }

    /// Makes room for at least `additional` more keys.
    ///
    /// # Errors
    /// As for [`HashMapMut::reserve`].
    pub fn reserve(&mut self, additional: usize) -> Result<()> {
        self.0.reserve(additional)
    }

    /// Gives back the memory the keys do not need.
    ///
    /// # Errors
    /// As for [`HashMapMut::shrink_to_fit`].
    pub fn shrink_to_fit(&mut self) -> Result<()> {
        self.0.shrink_to_fit()
    }
}

impl<K: ShmSafe> Deref for HashSetMut<'_, K> {
    type Target = ShmHashSet<K>;
    #[inline]
    fn deref(&self) -> &ShmHashSet<K> {
        let map: *const ShmHashMap<K, ()> = &raw const *self.0;
        // SAFETY: the set is transparent; borrowed with `self`.
        unsafe { &*map.cast() }
    }
}

impl<K: ShmSafe + fmt::Debug> fmt::Debug for HashSetMut<'_, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}
