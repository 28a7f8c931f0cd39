//! How hash maps and sets are built.
//!
//! This file needs `unsafe`: it implements an unsafe trait.

use super::raw::Table;
use super::{HashMapMut, ShmHashMap, ShmHashSet};
use crate::access::Access;
use crate::error::Result;
use crate::layout::init::{FromIter, Init, from_iter};
use crate::layout::mirror::{Mirror, MirrorIter, MirrorType};
use crate::layout::{ShmDefault, ShmHash, ShmSafe};
use crate::ptr::OffsetPtr;
use std::collections::{HashMap, HashSet, hash_map, hash_set};
use std::fmt;
use std::hash::{BuildHasher, Hash};
use std::iter::Map;
use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::ptr::{self, NonNull};

/// The initialiser of an empty [`ShmHashMap`].
pub struct EmptyHashMap<K, V> {
    capacity: usize,
    _map: PhantomData<fn() -> (K, V)>,
}

impl<K, V> EmptyHashMap<K, V> {
    pub(super) fn with_capacity(capacity: usize) -> Self {
        EmptyHashMap { capacity, _map: PhantomData }
    }
}

impl<K, V> Clone for EmptyHashMap<K, V> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<K, V> Copy for EmptyHashMap<K, V> {}

impl<K, V> fmt::Debug for EmptyHashMap<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EmptyHashMap").field("capacity", &self.capacity).finish()
    }
}

// SAFETY: 1: a null pointer or one to a new table. 2: only the allocation fails, before the slot is written.
unsafe impl<K: ShmSafe, V: ShmSafe> Init<ShmHashMap<K, V>> for EmptyHashMap<K, V> {
    #[inline]
    unsafe fn init(self, slot: *mut ShmHashMap<K, V>, access: Access<'_>) -> Result<()> {
        let table = match self.capacity {
            0 => ptr::null_mut(),
            capacity => Table::<K, V>::allocate(capacity, access)?.header().as_ptr(),
        };
        // SAFETY: the slot is valid for writes; the table lies in the segment it is built for.
        unsafe { OffsetPtr::store(&raw mut (*slot).table, table) };
        Ok(())
    }
}

impl<K: ShmSafe, V: ShmSafe> ShmDefault for ShmHashMap<K, V> {
    /// Empty.
    #[inline]
    fn shm_default() -> impl Init<Self> {
        ShmHashMap::new()
    }
}

/// Builds a map at `slot` and fills it; drops it if that fails or panics.
///
/// # Safety
/// 1. As [`Init::init`].
unsafe fn build<K: ShmSafe, V: ShmSafe>(
    slot: *mut ShmHashMap<K, V>,
    access: Access<'_>,
    fill: impl FnOnce(&mut HashMapMut<'_, K, V>) -> Result<()>,
) -> Result<()> {
    struct Building<K: ShmSafe, V: ShmSafe>(NonNull<ShmHashMap<K, V>>);
    impl<K: ShmSafe, V: ShmSafe> Drop for Building<K, V> {
        fn drop(&mut self) {
            // SAFETY: the map is valid and nobody else knows it.
            unsafe { self.0.drop_in_place() }
        }
    }
    // SAFETY: 1; a slot is not null; then a valid map stands there that is ours.
    unsafe {
        EmptyHashMap::with_capacity(0).init(slot, access)?;
        let building = Building(NonNull::new_unchecked(slot));
        fill(&mut HashMapMut::at(building.0, access))?;
        let _ = ManuallyDrop::new(building);
    }
    Ok(())
}

macro_rules! init_map {
    ($([$($generics:tt)*] $from:ty;)*) => { $(
        // SAFETY: 1: a valid map, filled through its view. 2: `build` drops it on failure. 3: by the initialisers.
        unsafe impl<K: ShmSafe + ShmHash + Eq, V: ShmSafe, A: Init<K>, B: Init<V>, $($generics)*>
            Init<ShmHashMap<K, V>> for $from
        {
            unsafe fn init(self, slot: *mut ShmHashMap<K, V>, access: Access<'_>) -> Result<()> {
                // SAFETY: as the caller says.
                unsafe { build(slot, access, |map| map.extend(self)) }
            }
        }
    )* };
}

init_map! {
    [const N: usize] [(A, B); N];
    [] Vec<(A, B)>;
    [S] HashMap<A, B, S>;
}

// SAFETY: as above.
unsafe impl<K, V, A, B, I> Init<ShmHashMap<K, V>> for FromIter<I>
where
    K: ShmSafe + ShmHash + Eq,
    V: ShmSafe,
    A: Init<K>,
    B: Init<V>,
    I: Iterator<Item = (A, B)>,
{
    unsafe fn init(self, slot: *mut ShmHashMap<K, V>, access: Access<'_>) -> Result<()> {
        // SAFETY: as the caller says.
        unsafe { build(slot, access, |map| map.extend(self.0)) }
    }
}

/// The initialiser of an empty [`ShmHashSet`].
pub struct EmptyHashSet<K>(pub(super) EmptyHashMap<K, ()>);

impl<K> Clone for EmptyHashSet<K> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<K> Copy for EmptyHashSet<K> {}

impl<K> fmt::Debug for EmptyHashSet<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EmptyHashSet").field("capacity", &self.0.capacity).finish()
    }
}

// SAFETY: a set is a map without values.
unsafe impl<K: ShmSafe> Init<ShmHashSet<K>> for EmptyHashSet<K> {
    #[inline]
    unsafe fn init(self, slot: *mut ShmHashSet<K>, access: Access<'_>) -> Result<()> {
        // SAFETY: as the caller says; the set is transparent.
        unsafe { self.0.init(slot.cast(), access) }
    }
}

impl<K: ShmSafe> ShmDefault for ShmHashSet<K> {
    /// Empty.
    #[inline]
    fn shm_default() -> impl Init<Self> {
        ShmHashSet::new()
    }
}

macro_rules! init_set {
    ($([$($generics:tt)*] $from:ty;)*) => { $(
        // SAFETY: as for maps.
        unsafe impl<K: ShmSafe + ShmHash + Eq, A: Init<K>, $($generics)*> Init<ShmHashSet<K>> for $from {
            unsafe fn init(self, slot: *mut ShmHashSet<K>, access: Access<'_>) -> Result<()> {
                let map = slot.cast::<ShmHashMap<K, ()>>();
                // SAFETY: as the caller says; the set is transparent.
                unsafe { build(map, access, |map| map.extend(self.into_iter().map(|key| (key, ())))) }
            }
        }
    )* };
}

init_set! {
    [const N: usize] [A; N];
    [] Vec<A>;
    [S] HashSet<A, S>;
}

// SAFETY: as for maps.
unsafe impl<K, A, I> Init<ShmHashSet<K>> for FromIter<I>
where
    K: ShmSafe + ShmHash + Eq,
    A: Init<K>,
    I: Iterator<Item = A>,
{
    unsafe fn init(self, slot: *mut ShmHashSet<K>, access: Access<'_>) -> Result<()> {
        // SAFETY: as the caller says; the set is transparent.
        unsafe {
            build(slot.cast::<ShmHashMap<K, ()>>(), access, |map| map.extend(self.0.map(|key| (key, ()))))
        }
    }
}

impl<K: MirrorType, V: MirrorType, S> MirrorType for HashMap<K, V, S> {
    type Shm = ShmHashMap<K::Shm, V::Shm>;
}

/// The initialisers of a borrowed key and its value.
type MirrorEntry<'a, K, V> = (<K as Mirror>::Init<'a>, <V as Mirror>::Init<'a>);

impl<K, V, S> Mirror for HashMap<K, V, S>
where
    K: Mirror<Shm: ShmHash + Eq> + Eq + Hash,
    V: Mirror,
    S: BuildHasher + Default,
{
    type Init<'a>
        = FromIter<Map<hash_map::Iter<'a, K, V>, fn((&'a K, &'a V)) -> MirrorEntry<'a, K, V>>>
    where
        K: 'a,
        V: 'a,
        S: 'a;
    fn mirror(&self) -> Self::Init<'_> {
        fn entry<'a, K: Mirror, V: Mirror>((key, value): (&'a K, &'a V)) -> MirrorEntry<'a, K, V> {
            (key.mirror(), value.mirror())
        }
        from_iter(self.iter().map(entry as for<'a> fn((&'a K, &'a V)) -> MirrorEntry<'a, K, V>))
    }
    fn to_native(shm: &ShmHashMap<K::Shm, V::Shm>) -> Self {
        shm.iter().map(|(key, value)| (K::to_native(key), V::to_native(value))).collect()
    }
}

impl<K: MirrorType, S> MirrorType for HashSet<K, S> {
    type Shm = ShmHashSet<K::Shm>;
}

impl<K, S> Mirror for HashSet<K, S>
where
    K: Mirror<Shm: ShmHash + Eq> + Eq + Hash,
    S: BuildHasher + Default,
{
    type Init<'a>
        = FromIter<MirrorIter<'a, hash_set::Iter<'a, K>, K>>
    where
        K: 'a,
        S: 'a;
    fn mirror(&self) -> Self::Init<'_> {
        from_iter(self.iter().map(K::mirror as fn(&K) -> K::Init<'_>))
    }
    fn to_native(shm: &ShmHashSet<K::Shm>) -> Self {
        shm.iter().map(K::to_native).collect()
    }
}
