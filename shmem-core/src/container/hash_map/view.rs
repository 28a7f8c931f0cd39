//! [`HashMapMut`]: exclusive access to a [`ShmHashMap`].
//!
//! This file needs `unsafe`: it writes shared memory through raw pointers.

use super::entry::{Entry, OccupiedEntry, VacantEntry};
use super::group::{Group, WIDTH};
use super::iter::{IterMut, ValuesMut};
use super::raw::{Header, Probe, Table};
use super::{ShmHashMap, bucket_locked, drop_live, lock_held};
use crate::access::Access;
use crate::error::{AllocError, Error, Result};
use crate::layout::init::{Init, Place, replace};
use crate::layout::{ShmHash, ShmHasher, ShmSafe};
use crate::ptr::OffsetPtr;
use std::borrow::Borrow;
use std::fmt;
use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::ops::Deref;
use std::ptr::{self, NonNull};

/// Exclusive access to a [`ShmHashMap`]: std's `HashMap` methods, fallible where memory is needed.
///
/// It derefs to the map for reading. Values are handed out as their views: `&mut u64` for a `u64`, `VecMut` for a
/// `ShmVec`.
pub struct HashMapMut<'a, K: ShmSafe, V: ShmSafe> {
    at: NonNull<ShmHashMap<K, V>>,
    access: Access<'a>,
    /// Ready to hash a key under the segment's seed.
    hasher: ShmHasher,
    /// The map's table, settled, once it was asked for; nobody else can give the map another one meanwhile.
    table: Option<Table<K, V>>,
    _map: PhantomData<&'a mut ShmHashMap<K, V>>,
}

// SAFETY: it is a unique reference to the map; its context holds no thread's state.
unsafe impl<K: ShmSafe, V: ShmSafe> Send for HashMapMut<'_, K, V> {}
// SAFETY: shared, it only gives `&ShmHashMap`.
unsafe impl<K: ShmSafe + Sync, V: ShmSafe + Sync> Sync for HashMapMut<'_, K, V> {}

/// Where a key is, or where it may be put.
pub(super) enum Spot<K, V> {
    /// In this live bucket.
    Live(Table<K, V>, usize),
    /// It may be put into this free bucket; its hash.
    Free(Table<K, V>, usize, u64),
}

impl<'a, K: ShmSafe, V: ShmSafe> HashMapMut<'a, K, V> {
    /// The view of the map at `at`.
    ///
    /// # Safety
    /// 1. As [`ShmSafe::view`]; the map itself may stand outside the segment while it is being built.
    #[inline(always)]
    pub(super) unsafe fn at(at: NonNull<ShmHashMap<K, V>>, access: Access<'a>) -> Self {
        HashMapMut { at, access, hasher: ShmHasher::new(access.hash_seed()), table: None, _map: PhantomData }
    }

    /// A shorter view.
    #[inline(always)]
    pub(super) fn reborrow(&mut self) -> HashMapMut<'_, K, V> {
        HashMapMut { hasher: self.hasher.clone(), _map: PhantomData, ..*self }
    }

    #[inline(always)]
    pub(super) fn access(&self) -> Access<'a> {
        self.access
    }

    #[inline(always)]
    fn pointer(&self) -> *mut OffsetPtr<Header> {
        // SAFETY: `at` points to a map.
        unsafe { &raw mut (*self.at.as_ptr()).table }
    }

    /// The table, settled.
    #[inline(always)]
    pub(super) fn table_mut(&mut self) -> Option<Table<K, V>> {
        if self.table.is_none() {
            self.first_use();
        }
        self.table
    }

    /// Reads the pointer to the table, and settles the table if an operation on it was cut short.
    #[inline(never)]
    fn first_use(&mut self) {
        let Some(table) = (**self).table() else { return };
        if !table.is_settled() {
            // SAFETY: the map is exclusively ours.
            unsafe { table.settle(self.access) };
        }
        self.table = Some(table);
    }

    /// Stores the pointer to the table, which publishes the table.
    ///
    /// # Safety
    /// 1. The table is whole, in the segment and settled; the pointer was announced to `save`.
    #[inline]
    unsafe fn publish(&mut self, table: Option<Table<K, V>>) {
        self.table = table;
        let header = table.map_or(ptr::null_mut(), |table| table.header().as_ptr());
        // SAFETY: the map is exclusively ours; 1.
        unsafe { OffsetPtr::store(self.pointer(), header) }
    }

    fn save_pointer(&self) {
        // SAFETY: the pointer is readable.
        unsafe { self.access.save_value(self.pointer()) }
    }

    /// Every key with its value's view, in arbitrary order.
    ///
    /// A value's view counts as overwriting it.
    pub fn iter_mut(&mut self) -> IterMut<'_, K, V> {
        IterMut::new(self)
    }

    /// Every value's view, in arbitrary order.
    pub fn values_mut(&mut self) -> ValuesMut<'_, K, V> {
        ValuesMut::new(self)
    }

    /// Removes every entry; the table is kept for what comes next. (If an entry holds a held lock, everything is
    /// leaked instead, the table too.)
    ///
    /// # Crash safety
    /// One store empties the map. A process killed later leaks what was not dropped yet, and the table.
    pub fn clear(&mut self) {
        let Some(table) = self.table_mut() else { return };
        if table.counters().items == 0 && table.counters().tombstones == 0 {
            return;
        }
        self.save_pointer();
        let whole = Table::<K, V>::layout(table.mask()).expect("the table was allocated").size();
        // SAFETY: the map is exclusively ours, and no pointer names the table while it is emptied.
        unsafe {
            self.access.save(table.header().as_ptr().cast::<u8>(), whole);
            self.publish(None);
            if lock_held(table) {
                return;
            }
            drop_live(table, self.access);
            table.reset();
            self.publish(Some(table));
        }
    }

    /// Removes the entries for which `keep` answers `false`.
    ///
    /// # Panics
    /// If an entry to be removed holds a held lock; it stays. A panic of `keep` leaves the entries not yet asked for.
    pub fn retain(&mut self, mut keep: impl FnMut(&K, V::Mut<'_>) -> bool) {
        let Some(table) = self.table_mut() else { return };
        for first in (0..=table.mask()).step_by(WIDTH) {
            // SAFETY: a group inside the control bytes, whose first is 16-aligned.
            let full = unsafe { Group::load_aligned(table.ctrl(first)) }.full();
            for i in full {
                let bucket = table.bucket(first + i).as_ptr();
                // SAFETY: a live bucket (only its own control byte is changed below), exclusively ours.
                let kept = unsafe {
                    let value = NonNull::new_unchecked(&raw mut (*bucket).value);
                    keep(&(*bucket).key, V::view(value, self.access))
                };
                if !kept {
                    // SAFETY: live.
                    unsafe { self.evict(table, first + i) };
                }
            }
        }
    }

    /// Takes the entry out and drops it.
    ///
    /// # Panics
    /// If it holds a held lock; it stays.
    ///
    /// # Safety
    /// 1. Bucket `i` of the map's settled table is live.
    #[inline(always)]
    pub(super) unsafe fn evict(&mut self, table: Table<K, V>, i: usize) {
        let bucket = table.bucket(i);
        if (K::HAS_LOCKS || V::HAS_LOCKS) && bucket_locked(bucket) {
            held();
        }
        // SAFETY: 1; the map is exclusively ours; nothing names the bucket when it is dropped.
        unsafe {
            table.save(i, self.access);
            table.vacate(i);
            bucket.drop_in_place();
        }
    }
}

impl<'a, K: ShmSafe + ShmHash + Eq, V: ShmSafe> HashMapMut<'a, K, V> {
    #[inline(always)]
    fn hash<Q: ShmHash + ?Sized>(&self, key: &Q) -> u64 {
        let mut hasher = self.hasher.clone();
        key.shm_hash(&mut hasher);
        hasher.finish()
    }

    #[inline(always)]
    fn locate<Q>(&mut self, key: &Q) -> Option<(Table<K, V>, usize)>
    where
        K: Borrow<Q>,
        Q: ShmHash + Eq + ?Sized,
    {
        let hash = self.hash(key);
        let table = self.table_mut()?;
        Some((table, table.find(hash, |k| k.borrow() == key)?))
    }

    /// The bucket of `key`, or a free one where it may be put, growing the table if need be.
    #[inline(always)]
    pub(super) fn spot<Q>(&mut self, key: &Q) -> Result<Spot<K, V>>
    where
        K: Borrow<Q>,
        Q: ShmHash + Eq + ?Sized,
    {
        let hash = self.hash(key);
        if let Some(table) = self.table_mut() {
            match table.find_or_free(hash, |k| k.borrow() == key) {
                Probe::Found(i) => return Ok(Spot::Live(table, i)),
                Probe::Free(i) if !table.must_grow(i) => return Ok(Spot::Free(table, i, hash)),
                _ => {}
            }
        }
        let table = self.grow(1)?;
        let i = table.free_for(hash).expect("a table that has grown has a free bucket");
        Ok(Spot::Free(table, i, hash))
    }

    /// The view of `key`'s value, if the map has one.
    ///
    /// It counts as overwriting the value.
    #[inline]
    pub fn get_mut<Q>(&mut self, key: &Q) -> Option<V::Mut<'_>>
    where
        K: Borrow<Q>,
        Q: ShmHash + Eq + ?Sized,
    {
        let (table, i) = self.locate(key)?;
        // SAFETY: a live bucket, exclusively ours for as long as `self` is borrowed.
        Some(unsafe { value_view(table, i, self.access) })
    }

    /// Enters `key` with `value`, or replaces the value if the map has `key` (the stored key stays). `true` if the
    /// key is new.
    ///
    /// The key is built first, to be looked up: at no cost if it is movable, else in a place of its own. To look up
    /// an expensive key by a borrowed form first, use [`insert_ref`](Self::insert_ref) or
    /// [`entry_ref`](Self::entry_ref).
    ///
    /// # Errors
    /// The initialisers', [`AllocError`](crate::AllocError), or [`Error::LockHeld`] if a value to be replaced or
    /// moved to a larger table holds a held lock. The map's entries are as before.
    ///
    /// # Crash safety
    /// A new key appears whole, with one store. Replacing is as [`ShmSafe`], 7.
    #[inline]
    pub fn insert(&mut self, key: impl Init<K>, value: impl Init<V>) -> Result<bool> {
        let mut place = Place::new();
        let key = place.build(key, self.access)?;
        match self.spot(key.get())? {
            Spot::Live(table, i) => {
                // SAFETY: live, exclusively ours.
                unsafe { replace(value_at(table, i), value, self.access)? };
                Ok(false)
            }
            Spot::Free(table, i, hash) => {
                let bucket = table.bucket(i).as_ptr();
                // SAFETY: the bucket is free, so its bytes are ours to build in; then it holds a whole entry.
                unsafe {
                    table.save(i, self.access);
                    value.init(&raw mut (*bucket).value, self.access)?;
                    key.place(&raw mut (*bucket).key);
                    table.occupy(i, hash);
                }
                Ok(true)
            }
        }
    }

    /// As [`insert`](Self::insert), by a borrowed form of the key, from which the key is built only if the map does
    /// not have it: `map.insert_ref("ada", 36)` for `ShmString` keys.
    ///
    /// # Errors
    /// As for `insert`.
    #[inline]
    pub fn insert_ref<'q, Q>(&mut self, key: &'q Q, value: impl Init<V>) -> Result<bool>
    where
        K: Borrow<Q>,
        Q: ShmHash + Eq + ?Sized,
        &'q Q: Init<K>,
    {
        match self.entry_ref(key)? {
            Entry::Occupied(mut entry) => entry.set(value).map(|()| false),
            Entry::Vacant(entry) => entry.insert(value).map(|_| true),
        }
    }

    /// The place of `key` in the map, to look at, change or fill.
    ///
    /// # Errors
    /// The initialiser's, [`AllocError`](crate::AllocError), or [`Error::LockHeld`]: a vacant entry has its room
    /// ready. The map's entries are as before.
    #[inline]
    pub fn entry(&mut self, key: impl Init<K>) -> Result<Entry<'_, K, V>> {
        let mut place = Place::new();
        let key = place.build(key, self.access)?;
        match self.spot(key.get())? {
            Spot::Live(table, i) => Ok(Entry::Occupied(OccupiedEntry::new(self.reborrow(), table, i))),
            Spot::Free(table, i, hash) => {
                // SAFETY: the bucket is free, so its bytes are ours to build in.
                unsafe {
                    table.save(i, self.access);
                    key.place(&raw mut (*table.bucket(i).as_ptr()).key);
                    Ok(Entry::Vacant(VacantEntry::new(self.reborrow(), table, i, hash)))
                }
            }
        }
    }

    /// As [`entry`](Self::entry), by a borrowed form of the key, from which the key is built only if the map does not
    /// have it.
    ///
    /// # Errors
    /// As for `entry`.
    ///
    /// # Examples
    /// ```
    /// use shmem_core::{Segment, ShmHashMap, ShmMutex, ShmString};
    /// # fn main() -> shmem_core::Result<()> {
    /// let segment = Segment::anonymous().size(1 << 20).create()?;
    /// let words = segment
    ///     .construct::<ShmMutex<ShmHashMap<ShmString, u64>>>("words", ShmMutex::new(ShmHashMap::new()))?;
    /// let mut guard = words.lock()?;
    /// for word in "the cat and the hat".split(' ') {
    ///     *guard.view().entry_ref(word)?.or_insert(0)? += 1;
    /// }
    /// assert_eq!(guard["the"], 2);
    /// # Ok(())
    /// # }
    /// ```
    #[inline]
    pub fn entry_ref<'q, Q>(&mut self, key: &'q Q) -> Result<Entry<'_, K, V>>
    where
        K: Borrow<Q>,
        Q: ShmHash + Eq + ?Sized,
        &'q Q: Init<K>,
    {
        match self.spot(key)? {
            Spot::Live(table, i) => Ok(Entry::Occupied(OccupiedEntry::new(self.reborrow(), table, i))),
            Spot::Free(table, i, hash) => {
                // SAFETY: the bucket is free, so its bytes are ours to build in.
                unsafe {
                    table.save(i, self.access);
                    key.init(&raw mut (*table.bucket(i).as_ptr()).key, self.access)?;
                    Ok(Entry::Vacant(VacantEntry::new(self.reborrow(), table, i, hash)))
                }
            }
        }
    }

    /// Removes `key` and drops its value. Whether the map had it.
    ///
    /// # Panics
    /// If the entry holds a held lock (its guard was leaked); it stays.
    ///
    /// # Crash safety
    /// One store takes the entry out. A process killed later leaks what was not dropped yet.
    #[inline]
    pub fn remove<Q>(&mut self, key: &Q) -> bool
    where
        K: Borrow<Q>,
        Q: ShmHash + Eq + ?Sized,
    {
        let Some((table, i)) = self.locate(key) else { return false };
        // SAFETY: live.
        unsafe { self.evict(table, i) };
        true
    }

    /// Removes `key` and gives its value, if the map has it. (A value that is not movable cannot be given out: use
    /// [`remove`](Self::remove).)
    #[inline]
    pub fn take<Q>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
        V: Unpin,
        Q: ShmHash + Eq + ?Sized,
    {
        let (table, i) = self.locate(key)?;
        let bucket = table.bucket(i);
        if K::HAS_LOCKS && bucket_locked(bucket) {
            held();
        }
        // SAFETY: live and exclusively ours; movable, and moved out once, when nothing names the bucket any more.
        unsafe {
            table.save(i, self.access);
            table.vacate(i);
            let value = (&raw const (*bucket.as_ptr()).value).read();
            (&raw mut (*bucket.as_ptr()).key).drop_in_place();
            Some(value)
        }
    }

    /// Removes `key` and gives the stored key and its value, if the map has it.
    pub fn remove_entry<Q>(&mut self, key: &Q) -> Option<(K, V)>
    where
        K: Borrow<Q> + Unpin,
        V: Unpin,
        Q: ShmHash + Eq + ?Sized,
    {
        let (table, i) = self.locate(key)?;
        // SAFETY: live and exclusively ours; movable, and moved out once, when nothing names the bucket any more.
        unsafe {
            table.save(i, self.access);
            table.vacate(i);
            let bucket = table.bucket(i).as_ptr().read();
            Some((bucket.key, bucket.value))
        }
    }

    /// Enters every pair, as [`insert`](Self::insert) does.
    ///
    /// # Errors
    /// The first error of `insert`; the pairs before it are in the map.
    pub fn extend<A: Init<K>, B: Init<V>>(&mut self, pairs: impl IntoIterator<Item = (A, B)>) -> Result<()> {
        let pairs = pairs.into_iter();
        // A hint only: half of it if keys may repeat those that are there, and no error if it cannot be had.
        let hint = pairs.size_hint().0;
        let _ = self.reserve(if self.is_empty() { hint } else { hint.div_ceil(2) });
        for (key, value) in pairs {
            self.insert(key, value)?;
        }
        Ok(())
    }

    /// Makes room for at least `additional` more entries.
    ///
    /// # Errors
    /// [`AllocError`](crate::AllocError), or [`Error::LockHeld`] if an entry to be moved holds a held lock; nothing
    /// was changed.
    pub fn reserve(&mut self, additional: usize) -> Result<()> {
        let left = self.table_mut().map_or(0, |table| table.counters().growth_left);
        if additional as u64 > left {
            self.grow(additional)?;
        }
        Ok(())
    }

    /// Gives back the memory the entries do not need.
    ///
    /// # Errors
    /// As for [`reserve`](Self::reserve): a smaller table must be had before the larger one is freed.
    pub fn shrink_to_fit(&mut self) -> Result<()> {
        let Some(table) = self.table_mut() else { return Ok(()) };
        let items = table.counters().items as usize;
        if items == 0 {
            self.save_pointer();
            // SAFETY: the table holds nothing, and nothing names it any more when it is freed.
            unsafe {
                self.publish(None);
                table.free(self.access);
            }
        } else if Table::<K, V>::mask_for(items).is_some_and(|mask| mask < table.mask()) {
            self.rehash(table, items)?;
        }
        Ok(())
    }

    /// A table with room for `additional` more entries: the first one, a larger one, or one of the same size without
    /// the deleted buckets.
    #[cold]
    #[inline(never)]
    fn grow(&mut self, additional: usize) -> Result<Table<K, V>> {
        let Some(table) = self.table_mut() else {
            let table = Table::allocate(additional, self.access)?;
            let unpublished = Unpublished { table, access: self.access };
            self.save_pointer();
            // SAFETY: a whole table in the segment.
            unsafe { self.publish(Some(table)) };
            let _ = ManuallyDrop::new(unpublished);
            return Ok(table);
        };
        let (items, limit) = (table.counters().items as usize, table.counters().limit as usize);
        let Some(wanted) = items.checked_add(additional) else {
            return Err(AllocError::TooLarge { wanted_bytes: u64::MAX, align: 16 }.into());
        };
        self.rehash(table, if wanted <= limit / 2 { limit } else { wanted.max(limit + 1) })
    }

    /// Moves every entry to a new table with room for `room` entries.
    ///
    /// CRASH rehash: one store publishes the new table, in which every entry stands already; before it, a killed
    /// process leaks the new table, after it the old one. No entry is ever named by two published tables.
    fn rehash(&mut self, table: Table<K, V>, room: usize) -> Result<Table<K, V>> {
        if lock_held(table) {
            return Err(Error::LockHeld);
        }
        let new = Table::allocate(room, self.access)?;
        let unpublished = Unpublished { table: new, access: self.access };
        // SAFETY: `new` is new; `room` is at least the number of entries, of a settled table; no lock is held.
        unsafe { table.relocate_into(new) };
        self.save_pointer();
        let _ = ManuallyDrop::new(unpublished);
        // SAFETY: the new table is whole; its entries were moved out of the old one, which nothing names any more.
        unsafe {
            self.publish(Some(new));
            table.free(self.access);
        }
        Ok(new)
    }
}

/// A table that nothing names yet: freed, without its entries, if a key's `Hash` panics.
struct Unpublished<'a, K, V> {
    table: Table<K, V>,
    access: Access<'a>,
}

impl<K, V> Drop for Unpublished<'_, K, V> {
    fn drop(&mut self) {
        // SAFETY: nothing names the table.
        unsafe { self.table.free(self.access) }
    }
}

#[cold]
fn held() -> ! {
    panic!("an entry that holds a locked lock cannot be removed")
}

/// The value in bucket `i`.
#[inline(always)]
pub(super) fn value_at<K, V>(table: Table<K, V>, i: usize) -> NonNull<V> {
    // SAFETY: a field of a bucket is not null.
    unsafe { NonNull::new_unchecked(&raw mut (*table.bucket(i).as_ptr()).value) }
}

/// The view of the value in bucket `i`.
///
/// # Safety
/// 1. The bucket is live and, for `'b`, exclusively the caller's.
#[inline(always)]
pub(super) unsafe fn value_view<'b, K, V: ShmSafe>(
    table: Table<K, V>,
    i: usize,
    access: Access<'b>,
) -> V::Mut<'b> {
    // SAFETY: 1.
    unsafe { V::view(value_at(table, i), access) }
}

impl<K: ShmSafe, V: ShmSafe> Deref for HashMapMut<'_, K, V> {
    type Target = ShmHashMap<K, V>;
    #[inline(always)]
    fn deref(&self) -> &ShmHashMap<K, V> {
        // SAFETY: valid, and no view of a value is alive while `self` is borrowed.
        unsafe { self.at.as_ref() }
    }
}

impl<K: ShmSafe + fmt::Debug, V: ShmSafe + fmt::Debug> fmt::Debug for HashMapMut<'_, K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}
