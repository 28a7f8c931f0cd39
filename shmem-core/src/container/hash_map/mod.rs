//! [`ShmHashMap`]: a hash map (Swiss table) in shared memory; [`HashMapMut`], its view.
//!
//! This file needs `unsafe`: it implements an unsafe trait and follows stored pointers.

mod check;
mod entry;
mod group;
mod init;
mod iter;
mod raw;
mod set;
#[cfg(test)]
mod tests;
mod view;

pub(crate) use check::visit_table;
pub use entry::{Entry, OccupiedEntry, VacantEntry};
pub use init::{EmptyHashMap, EmptyHashSet};
pub use iter::{Iter, IterMut, Keys, Values, ValuesMut};
pub use set::{HashSetMut, SetIter, ShmHashSet};
pub use view::HashMapMut;

use super::drop_queue::destroy_with;
use crate::access::Access;
use crate::layout::{GenericArg, Kind, Origin, Reach, ShmHash, ShmSafe, TypeInfo, Visitor, hash_one};
use crate::mapping::registry;
use crate::ptr::OffsetPtr;
use raw::{Bucket, Header, Table};
use std::alloc::Layout;
use std::any::TypeId;
use std::borrow::Borrow;
use std::collections::HashMap;
use std::fmt;
use std::hash::{BuildHasher, Hash};
use std::marker::PhantomData;
use std::ops::Index;
use std::ptr::NonNull;

/// The version of the table's layout and of the hash algorithm: part of the type's identity.
pub(crate) const VERSION: u32 = 1;

/// A hash map in shared memory: std's `HashMap`, with keys hashed by [`ShmHash`].
///
/// Eight bytes that point to a table in one heap block; an empty map has none. It is read through `&ShmHashMap` and
/// changed through its view [`HashMapMut`], which a guard's `view()` gives. Keys can be looked up by a borrowed form:
/// `map.get("ada")` for `ShmString` keys. Iteration order is arbitrary, but the same in every process.
///
/// Keys are hashed under the segment's random seed. Keys that compare equal must hash equal (see [`ShmHash`]); where
/// they do not, answers are wrong, never undefined.
///
/// # Crash safety
/// A process killed inside an operation leaves the map as before or as after it; until the next operation through a
/// view, a lookup may miss the one key in question.
///
/// # Examples
/// ```
/// use shmem_core::{Segment, ShmHashMap, ShmMutex, ShmString};
/// # fn main() -> shmem_core::Result<()> {
/// let segment = Segment::anonymous().size(1 << 20).create()?;
/// let ages = segment.construct::<ShmMutex<ShmHashMap<ShmString, u32>>>(
///     "ages",
///     ShmMutex::new([("Ada", 36), ("Grace", 85)]),
/// )?;
/// let mut guard = ages.lock()?;
/// let mut map = guard.view();
/// assert!(map.insert("Edsger", 72)?);
/// *map.get_mut("Ada").unwrap() += 1;
/// *map.entry_ref("Barbara")?.or_insert(0)? += 1;
/// assert!(map.remove("Grace"));
/// assert_eq!(map["Ada"], 37);
/// assert_eq!(guard.iter().map(|(_, age)| age).sum::<u32>(), 37 + 72 + 1);
/// # Ok(())
/// # }
/// ```
#[doc(alias = "unordered_flat_map")]
#[doc(alias = "unordered_map")]
#[repr(C)]
pub struct ShmHashMap<K: ShmSafe, V: ShmSafe> {
    table: OffsetPtr<Header>,
    _buckets: PhantomData<(K, V)>,
}

const _: () = assert!(size_of::<ShmHashMap<u64, u64>>() == 8);

// SAFETY: it owns its keys and values, and the table is reached through it only.
unsafe impl<K: ShmSafe, V: ShmSafe> Send for ShmHashMap<K, V> {}
// SAFETY: shared, it gives `&K` and `&V` only; nothing changes through `&self`.
unsafe impl<K: ShmSafe + Sync, V: ShmSafe + Sync> Sync for ShmHashMap<K, V> {}

impl<K: ShmSafe, V: ShmSafe> ShmHashMap<K, V> {
    /// An initialiser of an empty map, which allocates nothing.
    ///
    /// (Not `Self`: a map with offset pointers is never held by value.)
    #[expect(clippy::new_ret_no_self, reason = "a map is only ever built in place")]
    pub fn new() -> EmptyHashMap<K, V> {
        EmptyHashMap::with_capacity(0)
    }

    /// An initialiser of an empty map with room for at least `capacity` entries.
    pub fn with_capacity(capacity: usize) -> EmptyHashMap<K, V> {
        EmptyHashMap::with_capacity(capacity)
    }

    #[inline(always)]
    fn table(&self) -> Option<Table<K, V>> {
        // SAFETY: 1: a stored pointer that is not null leads to this map's table. 2: `self` is borrowed; whoever
        // writes has it exclusively.
        self.table.get().map(|header| unsafe { Table::at(header) })
    }

    /// How many entries the map has. Constant time.
    #[inline]
    pub fn len(&self) -> usize {
        self.table().map_or(0, Table::len)
    }

    /// Whether the map has no entry.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many entries the map has room for before it allocates again.
    pub fn capacity(&self) -> usize {
        self.table().map_or(0, |table| {
            let counters = table.counters();
            (counters.items + counters.growth_left) as usize
        })
    }

    /// Every key with its value, in arbitrary order. Costs time proportional to the capacity.
    #[inline]
    pub fn iter(&self) -> Iter<'_, K, V> {
        Iter::new(self)
    }

    /// Every key, in arbitrary order.
    #[inline]
    pub fn keys(&self) -> Keys<'_, K, V> {
        Keys::new(self)
    }

    /// Every value, in arbitrary order.
    #[inline]
    pub fn values(&self) -> Values<'_, K, V> {
        Values::new(self)
    }

    #[inline(always)]
    fn find<Q: ShmHash + ?Sized>(&self, key: &Q, eq: impl FnMut(&K) -> bool) -> Option<&Bucket<K, V>> {
        let table = self.table()?;
        let i = table.find(hash_one(key, table.seed()), eq)?;
        // SAFETY: a live bucket, borrowed with `self`.
        Some(unsafe { table.bucket(i).as_ref() })
    }
}

impl<K: ShmSafe, V: ShmSafe> ShmHashMap<K, V> {
    /// The value of `key`, if the map has one. Constant time.
    #[inline]
    pub fn get<Q>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
        Q: ShmHash + Eq + ?Sized,
    {
        Some(&self.find(key, |k| k.borrow() == key)?.value)
    }

    /// The stored key and the value of `key`, if the map has one.
    #[inline]
    pub fn get_key_value<Q>(&self, key: &Q) -> Option<(&K, &V)>
    where
        K: Borrow<Q>,
        Q: ShmHash + Eq + ?Sized,
    {
        let bucket = self.find(key, |k| k.borrow() == key)?;
        Some((&bucket.key, &bucket.value))
    }

    /// Whether the map has `key`.
    #[inline]
    pub fn contains_key<Q>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
        Q: ShmHash + Eq + ?Sized,
    {
        self.find(key, |k| k.borrow() == key).is_some()
    }
}

// SAFETY: 1: a self-relative pointer to a block of `repr(C)` data. 2: not plain, and `OffsetPtr` is not `Unpin`.
// 3: keys and values. 6: `HashMapMut` announces what it overwrites. 7: one store. 8: see `visit`. 10: see `Drop`.
unsafe impl<K: ShmSafe, V: ShmSafe> ShmSafe for ShmHashMap<K, V> {
    const PLAIN: bool = false;
    const ANY_BITS: bool = false;
    type Parts = (Reach<K>, Reach<V>);
    type Mut<'a> = HashMapMut<'a, K, V>;

    #[inline]
    unsafe fn view<'a>(at: NonNull<Self>, access: Access<'a>) -> HashMapMut<'a, K, V> {
        // SAFETY: as the caller says.
        unsafe { HashMapMut::at(at, access) }
    }

    #[inline]
    unsafe fn relocate(from: *mut Self, to: *mut Self) {
        // SAFETY: both valid by the caller; the table lies in the mapping of `to`.
        unsafe { OffsetPtr::store(&raw mut (*to).table, (*from).table.as_ptr()) }
    }

    fn type_info() -> &'static TypeInfo {
        const {
            &TypeInfo {
                name: "ShmHashMap",
                origin: Origin::Builtin,
                version: VERSION,
                size: size_of::<ShmHashMap<K, V>>(),
                align: align_of::<ShmHashMap<K, V>>(),
                kind: Kind::Builtin,
                args: &[GenericArg::Type(K::type_info), GenericArg::Type(V::type_info)],
                id: TypeId::of::<ShmHashMap<K, V>>(),
            }
        }
    }

    unsafe fn visit(this: *const Self, visitor: &mut Visitor<'_>) {
        unsafe fn visit<K: ShmSafe, V: ShmSafe>(at: *const u8, visitor: &mut Visitor<'_>) {
            let bucket = at.cast::<Bucket<K, V>>();
            // SAFETY: a bucket inside a live block, aligned; it may be damaged.
            unsafe {
                K::visit(&raw const (*bucket).key, visitor);
                V::visit(&raw const (*bucket).value, visitor);
            }
        }
        let buckets = Layout::new::<Bucket<K, V>>();
        let each = &mut |visitor: &mut Visitor<'_>, first: *const u8, count| {
            if !(K::ANY_BITS && V::ANY_BITS) {
                // SAFETY: the buckets lie in a live block of the table's.
                unsafe { visitor.schedule_with(first, count, buckets.size(), visit::<K, V>) }
            }
        };
        // SAFETY: readable by the caller, and aligned.
        unsafe { visit_table(this.cast(), buckets, visitor, each) }
    }
}

impl<K: ShmSafe, V: ShmSafe> Drop for ShmHashMap<K, V> {
    /// Drops every entry and frees the table, in constant stack however deep maps and boxes nest. Entries that hold a
    /// held lock cannot be dropped: then everything is leaked.
    fn drop(&mut self) {
        let Some(table) = self.table() else { return };
        // SAFETY: the mapping the table lies in lives while the map is used. (The map itself may stand outside,
        // while it is being built.)
        let access = unsafe { registry::access_of(table.header().as_ptr()) };
        // SAFETY: the map is ours alone.
        unsafe {
            access.save_value(&raw const self.table);
            OffsetPtr::store(&raw mut self.table, std::ptr::null_mut());
            if lock_held(table) {
                return;
            }
            if std::mem::needs_drop::<Bucket<K, V>>() {
                destroy_with(table.header().cast(), access, destroy_table::<K, V>);
            } else {
                table.free(access);
            }
        }
    }
}

/// Drops the entries of the table whose header stands at `header` and frees it.
///
/// # Safety
/// 1. A table of this type stands there that nothing names; `access` is to its segment.
unsafe fn destroy_table<K: ShmSafe, V: ShmSafe>(header: NonNull<u8>, access: Access<'_>) {
    // SAFETY: 1.
    unsafe {
        let table = Table::<K, V>::at(header.cast());
        drop_live(table, access);
        table.free(access);
    }
}

/// Whether a lock in a live bucket is held.
fn lock_held<K: ShmSafe, V: ShmSafe>(table: Table<K, V>) -> bool {
    (K::HAS_LOCKS || V::HAS_LOCKS) && table.live().any(bucket_locked)
}

/// Whether a lock in the live bucket is held.
#[inline(always)]
fn bucket_locked<K: ShmSafe, V: ShmSafe>(bucket: NonNull<Bucket<K, V>>) -> bool {
    let bucket = bucket.as_ptr();
    // SAFETY: a live bucket of a map to which the caller has exclusive access.
    unsafe {
        K::HAS_LOCKS && K::lock_held(&raw const (*bucket).key)
            || V::HAS_LOCKS && V::lock_held(&raw const (*bucket).value)
    }
}

/// Drops what the live buckets hold; should one panic, the rest leaks.
///
/// # Safety
/// 1. The table is the caller's, nothing names it, and its buckets are not used again.
unsafe fn drop_live<K: ShmSafe, V: ShmSafe>(table: Table<K, V>, access: Access<'_>) {
    if !std::mem::needs_drop::<Bucket<K, V>>() {
        return;
    }
    for bucket in table.live() {
        // SAFETY: live, and 1.
        unsafe {
            access.save_value(bucket.as_ptr());
            bucket.drop_in_place();
        }
    }
}

impl<K, V, Q> Index<&Q> for ShmHashMap<K, V>
where
    K: ShmSafe + Borrow<Q>,
    V: ShmSafe,
    Q: ShmHash + Eq + ?Sized,
{
    type Output = V;

    /// The value of `key`.
    ///
    /// # Panics
    /// If the map has no such key.
    #[inline]
    fn index(&self, key: &Q) -> &V {
        self.get(key).expect("no entry found for key")
    }
}

impl<K: ShmSafe + fmt::Debug, V: ShmSafe + fmt::Debug> fmt::Debug for ShmHashMap<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self).finish()
    }
}

impl<K: ShmSafe + ShmHash + Eq, V: ShmSafe + PartialEq> PartialEq for ShmHashMap<K, V> {
    fn eq(&self, other: &Self) -> bool {
        self.len() == other.len() && self.iter().all(|(k, v)| other.get(k).is_some_and(|other| v == other))
    }
}

impl<K: ShmSafe + ShmHash + Eq, V: ShmSafe + Eq> Eq for ShmHashMap<K, V> {}

/// With a native map, whose keys must hash (by [`ShmHash`]) as their stored form does.
impl<K, V, A, B, S> PartialEq<HashMap<A, B, S>> for ShmHashMap<K, V>
where
    K: ShmSafe + PartialEq<A>,
    V: ShmSafe + PartialEq<B>,
    A: ShmHash + Hash + Eq,
    S: BuildHasher,
{
    fn eq(&self, other: &HashMap<A, B, S>) -> bool {
        self.len() == other.len()
            && other.iter().all(|(a, b)| self.find(a, |k| k == a).is_some_and(|bucket| bucket.value == *b))
    }
}

impl<K, V, A, B, S> PartialEq<ShmHashMap<K, V>> for HashMap<A, B, S>
where
    K: ShmSafe + PartialEq<A>,
    V: ShmSafe + PartialEq<B>,
    A: ShmHash + Hash + Eq,
    S: BuildHasher,
{
    fn eq(&self, other: &ShmHashMap<K, V>) -> bool {
        other == self
    }
}

#[cfg(test)]
pub(crate) fn hash_map_layout() -> crate::format_test::StoredLayout {
    crate::format_test::stored_layout!(ShmHashMap < u64, u64 > { table })
}

#[cfg(test)]
pub(crate) use raw::hash_table_layout;
