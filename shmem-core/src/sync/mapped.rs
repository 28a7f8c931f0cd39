//! [`MappedMutexGuard`], [`MappedMutexRef`]: guards that give a part of what a mutex protects.
//!
//! A part that may be written is chosen by way of the view, never through `&T`: a type may show others what only it may
//! change.
//!
//! This file needs `unsafe`: a guard keeps a pointer to the part.

use super::mutex::{MutexGuard, release};
use super::raw::RawLock;
use crate::layout::ShmSafe;
use crate::participant::TaggedSlot;
use std::fmt;
use std::marker::PhantomData;
use std::mem;
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;

/// A lock held for the part of its value that a guard has.
struct Held<'a> {
    lock: &'a RawLock,
    slot: TaggedSlot,
    _not_send: PhantomData<*mut ()>,
}

impl<'a> Held<'a> {
    fn of<T: ShmSafe>(guard: MutexGuard<'a, T>) -> Self {
        let (lock, slot) = guard.parts();
        mem::forget(guard);
        Held { lock, slot, _not_send: PhantomData }
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        release(self.lock, self.slot);
    }
}

/// A [`MutexGuard`] that gives one part of the value, to be read and written: see [`MutexGuard::map`].
///
/// Not `Send`: the thread that locked unlocks.
#[must_use = "the mutex is unlocked when the guard is dropped"]
pub struct MappedMutexGuard<'a, U: ?Sized> {
    at: NonNull<U>,
    _held: Held<'a>,
    _part: PhantomData<&'a mut U>,
}

/// A [`MutexGuard`] that gives one part of the value, to be read: see [`MutexGuard::map_ref`].
///
/// Not `Send`: the thread that locked unlocks.
#[must_use = "the mutex is unlocked when the guard is dropped"]
pub struct MappedMutexRef<'a, U: ?Sized> {
    at: NonNull<U>,
    _held: Held<'a>,
    _part: PhantomData<&'a U>,
}

// SAFETY: a shared guard gives `&U` and nothing else.
unsafe impl<U: ?Sized + Sync> Sync for MappedMutexGuard<'_, U> {}
// SAFETY: likewise.
unsafe impl<U: ?Sized + Sync> Sync for MappedMutexRef<'_, U> {}

impl<'a, T: ShmSafe> MutexGuard<'a, T> {
    /// Turns the guard into one for the part of the value that `part` chooses from its view. A panic in `part` poisons the
    /// mutex, as any while it is held.
    ///
    /// ```
    /// use shmem_core::{MappedMutexGuard, MutexGuard, Segment, ShmMutex, ShmVec};
    /// # fn main() -> shmem_core::Result<()> {
    /// let segment = Segment::anonymous().size(1 << 20).create()?;
    /// let list = segment.construct::<ShmMutex<ShmVec<u64>>>("list", ShmMutex::new([3, 1, 2]))?;
    /// let mut numbers: MappedMutexGuard<'_, [u64]> = MutexGuard::map(list.lock()?, |v| v.as_mut_slice());
    /// numbers.sort();
    /// assert_eq!(numbers[..], [1, 2, 3]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn map<U: ?Sized, F>(guard: Self, part: F) -> MappedMutexGuard<'a, U>
    where
        F: for<'r, 'v> FnOnce(&'r mut T::Mut<'v>) -> &'r mut U,
    {
        match Self::filter_map(guard, |view| Some(part(view))) {
            Ok(mapped) => mapped,
            Err(_) => unreachable!("the part was chosen"),
        }
    }

    /// As [`map`](Self::map), if `part` finds one; else gives the guard back.
    ///
    /// # Errors
    /// The guard, if `part` gave `None`.
    pub fn filter_map<U: ?Sized, F>(mut guard: Self, part: F) -> Result<MappedMutexGuard<'a, U>, Self>
    where
        F: for<'r, 'v> FnOnce(&'r mut T::Mut<'v>) -> Option<&'r mut U>,
    {
        // What `part` gives, for whatever lifetimes, comes from the view: it is the guard's alone.
        let at = part(&mut guard.view()).map(NonNull::from);
        match at {
            Some(at) => Ok(MappedMutexGuard { at, _held: Held::of(guard), _part: PhantomData }),
            None => Err(guard),
        }
    }

    /// Turns the guard into one that gives what `part` chooses from the value, to be read.
    pub fn map_ref<U: ?Sized, F>(guard: Self, part: F) -> MappedMutexRef<'a, U>
    where
        F: for<'r> FnOnce(&'r T) -> &'r U,
    {
        let at = NonNull::from(part(&guard));
        MappedMutexRef { at, _held: Held::of(guard), _part: PhantomData }
    }

    /// As [`map_ref`](Self::map_ref), if `part` finds one; else gives the guard back.
    ///
    /// # Errors
    /// The guard, if `part` gave `None`.
    pub fn filter_map_ref<U: ?Sized, F>(guard: Self, part: F) -> Result<MappedMutexRef<'a, U>, Self>
    where
        F: for<'r> FnOnce(&'r T) -> Option<&'r U>,
    {
        match part(&guard).map(NonNull::from) {
            Some(at) => Ok(MappedMutexRef { at, _held: Held::of(guard), _part: PhantomData }),
            None => Err(guard),
        }
    }
}

impl<U: ?Sized> Deref for MappedMutexGuard<'_, U> {
    type Target = U;
    fn deref(&self) -> &U {
        // SAFETY: came as an exclusive reference, whose value is this guard's while it lives.
        unsafe { self.at.as_ref() }
    }
}

impl<U: ?Sized> DerefMut for MappedMutexGuard<'_, U> {
    fn deref_mut(&mut self) -> &mut U {
        // SAFETY: likewise; the guard is borrowed mutably.
        unsafe { self.at.as_mut() }
    }
}

impl<U: ?Sized> Deref for MappedMutexRef<'_, U> {
    type Target = U;
    fn deref(&self) -> &U {
        // SAFETY: came as a reference to a part of what is this guard's while it lives.
        unsafe { self.at.as_ref() }
    }
}

impl<U: ?Sized + fmt::Debug> fmt::Debug for MappedMutexGuard<'_, U> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

impl<U: ?Sized + fmt::Debug> fmt::Debug for MappedMutexRef<'_, U> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

impl<U: ?Sized + fmt::Display> fmt::Display for MappedMutexGuard<'_, U> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

impl<U: ?Sized + fmt::Display> fmt::Display for MappedMutexRef<'_, U> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{LockError, Segment, ShmHashMap, ShmMutex, ShmSafe, ShmVec};

    #[derive(ShmSafe, Debug)]
    #[shm(crate = crate)]
    #[repr(C)]
    struct Account {
        balance: i64,
        history: ShmVec<i64>,
    }

    #[test]
    fn parts_are_locked_as_long_as_their_guards() {
        let segment = Segment::anonymous().size(1 << 20).create().unwrap();
        let init = ShmMutex::new(AccountInit { balance: 5, history: [1, 2, 3] });
        let account = segment.construct::<ShmMutex<Account>>("account", init).unwrap();
        let mut balance = MutexGuard::map(account.lock().unwrap(), |account| &mut *account.balance);
        *balance += 1;
        assert_eq!(account.try_lock().unwrap_err(), LockError::Deadlock);
        drop(balance);
        let mut last =
            MutexGuard::filter_map(account.lock().unwrap(), |account| account.history.last_mut()).unwrap();
        *last = 4;
        drop(last);
        let history = MutexGuard::map_ref(account.lock().unwrap(), |account| &account.history);
        assert_eq!(history[..], [1, 2, 4]);
        drop(history);
        let none = MutexGuard::filter_map_ref(account.lock().unwrap(), |account| account.history.get(7));
        assert_eq!(none.unwrap_err().balance, 6);
        assert!(account.try_lock().is_ok());
    }

    #[test]
    fn a_panic_with_a_part_poisons() {
        let segment = Segment::anonymous().size(1 << 20).create().unwrap();
        let map = ShmMutex::<ShmHashMap<u64, u64>>::new(ShmHashMap::new());
        let map = segment.construct::<ShmMutex<ShmHashMap<u64, u64>>>("map", map).unwrap();
        map.lock().unwrap().view().insert(1, 2).unwrap();
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let value = MutexGuard::filter_map(map.lock().unwrap(), |map| map.get_mut(&1)).unwrap();
            assert_eq!(*value, 3, "on purpose");
        }));
        assert!(panicked.is_err());
        assert_eq!(map.lock().unwrap_err(), LockError::Poisoned { by_death: false });
        let mut guard = map.lock_poisoned().unwrap();
        guard.clear_poison();
        // A guard of a poisoned mutex stays one.
        drop(guard);
        assert!(!map.is_poisoned());
    }
}
