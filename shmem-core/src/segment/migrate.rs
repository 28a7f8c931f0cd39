//! Migrating objects from one version of a type to another.
//!
//! This file needs `unsafe`: it vouches to the initialisers for the places that the directory gives.

use super::directory::{Key, Pinned, Shape, build_slice};
use super::handle::Root;
use super::inner::{Segment, unique_name};
use crate::access::Access;
use crate::error::Result;
#[cfg(doc)]
use crate::error::{Error, NameError};
use crate::layout::ShmSafe;
use crate::layout::init::{self, Filled, Init, Slot};

/// # Migrating
/// A stored type that changes gets another version (`#[shm(version = 2)]`); a program that finds the old one under a name
/// is told so ([`NameError::VersionMismatch`]) and brings it up to date here.
impl Segment {
    /// Replaces the `Old` called `name` by the `New` that `convert` makes of it, in one step for everybody else. Where
    /// there is a `New` already, gives that: so this may be called at every start.
    ///
    /// Of several processes that race exactly one converts; the others wait, and get what it made. Meanwhile every
    /// look-up of the name waits, so nobody can change what is being converted; no lock is held while `convert` runs: it
    /// may construct and find other objects. What is converted may be of any type, not only of another version.
    ///
    /// `convert` gives an initialiser that borrows nothing of the old object; with
    /// [`migrate_with`](Self::migrate_with) it may.
    ///
    /// # Errors
    /// [`NameError::NotFound`] if there is no such object; [`NameError::InUse`] if it is held, by another process or by
    /// another handle of this one (for some milliseconds it is waited for); [`NameError::VersionMismatch`] or [`NameError::TypeMismatch`], both against `New`, if it
    /// is neither of both types; [`NameError::CountMismatch`] if it is a slice; [`NameError::Recursive`] inside the
    /// conversion of the same name, [`NameError::Circular`] inside one that waits for this; [`AllocError`](crate::AllocError); what the initialiser fails with. After every
    /// error, or a panic of `convert`, the old object is where it was.
    ///
    /// # Crash safety
    /// A process that is killed anywhere inside leaves the name to the old object or to the new one, whole, never to none
    /// or both. What it had half built is leaked. An old object that it did not come to drop is dropped by the next
    /// `migrate` from (or use of) that type; if it was killed inside that drop, what was not dropped yet is leaked.
    ///
    /// # Examples
    /// ```
    /// use shmem_core::{Segment, ShmSafe, ShmString};
    ///
    /// /// What older programs stored.
    /// mod v1 {
    ///     use super::*;
    ///     #[derive(ShmSafe)]
    ///     #[repr(C)]
    ///     #[shm(version = 1)]
    ///     pub struct Account {
    ///         pub owner: ShmString,
    ///         pub balance: u32,
    ///     }
    /// }
    ///
    /// #[derive(ShmSafe, Debug)]
    /// #[repr(C)]
    /// #[shm(version = 2)]
    /// pub struct Account {
    ///     pub owner: ShmString,
    ///     pub balance_cents: i64,
    /// }
    ///
    /// # fn main() -> shmem_core::Result<()> {
    /// let bank = Segment::anonymous().size(1 << 20).create()?;
    /// bank.construct::<v1::Account>("ada", v1::AccountInit { owner: "Ada", balance: 7 })?;
    ///
    /// let error = bank.find::<Account>("ada").unwrap_err();
    /// assert!(error.to_string().contains("`Account` is version 1, this program's is version 2"));
    ///
    /// let ada = bank.migrate::<v1::Account, Account, _>("ada", |old| AccountInit {
    ///     owner: old.owner.to_string(),
    ///     balance_cents: i64::from(old.balance) * 100,
    /// })?;
    /// assert_eq!((&*ada.owner, ada.balance_cents), ("Ada", 700));
    /// # Ok(())
    /// # }
    /// ```
    pub fn migrate<Old: ShmSafe, New: ShmSafe + Sync, I: Init<New>>(
        &self,
        name: &str,
        convert: impl FnOnce(&Old) -> I,
    ) -> Result<Root<New>> {
        self.migrate_with(name, |old: &Old, slot: Slot<'_, '_, New>| slot.fill(convert(old)))
    }

    /// As [`migrate`](Self::migrate), for a conversion that fills the new object's place itself: from borrowed data, or
    /// with a lock inside the old object held. It may fail.
    ///
    /// # Errors
    /// As [`migrate`](Self::migrate), and what `convert` fails with.
    ///
    /// # Crash safety
    /// As [`migrate`](Self::migrate).
    ///
    /// # Examples
    /// ```
    /// use shmem_core::{Segment, ShmMutex, ShmString, ShmVec, init};
    /// # fn main() -> shmem_core::Result<()> {
    /// type Old = ShmMutex<ShmVec<u64>>;
    /// type New = ShmMutex<ShmVec<ShmString>>;
    /// let segment = Segment::anonymous().size(1 << 20).create()?;
    /// segment.construct::<Old>("list", ShmMutex::<ShmVec<u64>>::new([1, 2]))?;
    /// let list = segment.migrate_with::<Old, New>("list", |old, slot| {
    ///     let numbers = old.lock()?;
    ///     let texts = numbers.iter().map(|number| number.to_string());
    ///     slot.fill(ShmMutex::<ShmVec<ShmString>>::new(init::from_iter(texts)))
    /// })?;
    /// assert_eq!(list.lock()?[1], "2");
    /// # Ok(())
    /// # }
    /// ```
    pub fn migrate_with<Old: ShmSafe, New: ShmSafe + Sync>(
        &self,
        name: &str,
        convert: impl for<'o, 'id, 's> FnOnce(&'o Old, Slot<'id, 's, New>) -> Result<Filled<'id, 's, New>>,
    ) -> Result<Root<New>> {
        let key = Key::named(name)?;
        self.migrate_one(&key, &key, convert)
    }

    /// As [`migrate`](Self::migrate), for the one object of type `Old`, which becomes the one of type `New`.
    ///
    /// # Errors
    /// As [`migrate`](Self::migrate).
    ///
    /// # Crash safety
    /// As [`migrate`](Self::migrate).
    pub fn migrate_unique<Old: ShmSafe, New: ShmSafe + Sync, I: Init<New>>(
        &self,
        convert: impl FnOnce(&Old) -> I,
    ) -> Result<Root<New>> {
        // Versions of one type have one name, but others may be converted too.
        let (old, new) = (unique_name::<Old>(), unique_name::<New>());
        let (old, new) = (Key::unique(&old)?, Key::unique(&new)?);
        self.migrate_one(&old, &new, |old: &Old, slot: Slot<'_, '_, New>| slot.fill(convert(old)))
    }

    /// As [`migrate`](Self::migrate), for a slice: `convert` is called for each of its elements, in order.
    ///
    /// # Errors
    /// As [`migrate`](Self::migrate), but for `CountMismatch`: a single value counts as a slice of one.
    ///
    /// # Crash safety
    /// As [`migrate`](Self::migrate).
    pub fn migrate_slice<Old: ShmSafe, New: ShmSafe + Sync, I: Init<New>>(
        &self,
        name: &str,
        mut convert: impl FnMut(&Old) -> I,
    ) -> Result<Root<[New]>> {
        let key = Key::named(name)?;
        let build = |old: &[Old], first: *mut New, access: Access<'_>| {
            // SAFETY: the directory passes a fresh place for as many elements as there are old ones.
            unsafe { build_slice(first, old.len(), |i| convert(&old[i]), access) }
        };
        let directory = &self.inner.directory;
        let pinned = directory.migrate::<Old, New>(&key, &key, Shape::Slice(None), build)?;
        // SAFETY: the directory built or found a slice of `New` and pinned it for this handle.
        Ok(unsafe { Root::slice(&self.inner, pinned) })
    }

    fn migrate_one<Old: ShmSafe, New: ShmSafe>(
        &self,
        old_key: &Key<'_>,
        new_key: &Key<'_>,
        convert: impl for<'o, 'id, 's> FnOnce(&'o Old, Slot<'id, 's, New>) -> Result<Filled<'id, 's, New>>,
    ) -> Result<Root<New>> {
        let build = |old: &[Old], new: *mut New, access: Access<'_>| {
            let init = init::with(|slot| convert(&old[0], slot));
            // SAFETY: the directory passes a fresh place for one `New`.
            unsafe { init.init(new, access) }
        };
        let pinned: Pinned = self.inner.directory.migrate::<Old, New>(old_key, new_key, Shape::One, build)?;
        // SAFETY: the directory built or found one `New` and pinned it for this handle.
        Ok(unsafe { Root::one(&self.inner, pinned) })
    }
}
