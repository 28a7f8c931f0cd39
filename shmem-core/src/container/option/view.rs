//! [`OptionMut`]: exclusive access to a [`ShmOption`].
//!
//! This file needs `unsafe`: it writes the payload and publishes tags.

use super::{NONE, SOME, ShmOption, payload, set_tag};
use crate::access::Access;
use crate::error::{Error, Result};
use crate::layout::ShmSafe;
use crate::layout::init::{Init, Scratch};
use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;
use std::ptr::{self, NonNull};

/// Exclusive access to a [`ShmOption`]. It dereferences to the option, for reading.
pub struct OptionMut<'a, T: ShmSafe> {
    at: NonNull<ShmOption<T>>,
    access: Access<'a>,
    _option: PhantomData<&'a mut ShmOption<T>>,
}

// SAFETY: it is a unique reference to the option; its context holds no thread's state.
unsafe impl<T: ShmSafe> Send for OptionMut<'_, T> {}
// SAFETY: shared, it only gives `&ShmOption<T>`.
unsafe impl<T: ShmSafe + Sync> Sync for OptionMut<'_, T> {}

impl<'a, T: ShmSafe> OptionMut<'a, T> {
    /// # Safety
    /// 1. As for [`ShmSafe::view`].
    #[inline]
    pub(super) unsafe fn new(at: NonNull<ShmOption<T>>, access: Access<'a>) -> Self {
        OptionMut { at, access, _option: PhantomData }
    }

    fn payload(&self) -> NonNull<T> {
        // SAFETY: the option is valid; a place in it is never null.
        unsafe { NonNull::new_unchecked(payload(self.at.as_ptr())) }
    }

    /// Announces that tag and payload will be overwritten.
    fn save(&self) {
        // SAFETY: the option is readable.
        unsafe { self.access.save_value(self.at.as_ptr()) }
    }

    fn lock_held(&self) -> bool {
        // SAFETY: the option is valid and exclusively ours.
        unsafe { ShmOption::lock_held(self.at.as_ptr()) }
    }

    /// Publishes a tag.
    ///
    /// # Safety
    /// 1. The payload is valid, or the tag says none. 2. The option was saved.
    unsafe fn set_tag(&mut self, tag: u8) {
        // SAFETY: 1; exclusively ours.
        unsafe { set_tag(self.at.as_ptr(), tag) }
    }

    /// The view of the value.
    #[inline]
    pub fn as_mut(&mut self) -> Option<T::Mut<'_>> {
        // SAFETY: the value is valid and, through `self`, exclusively ours.
        self.is_some().then(|| unsafe { T::view(self.payload(), self.access) })
    }

    /// Puts a value in, destroying the old one.
    ///
    /// # Errors
    /// The initialiser's, or [`Error::LockHeld`] if the old value holds a lock that is held; nothing has changed.
    ///
    /// # Crash safety
    /// CRASH option_set: a process killed inside leaves the old value, the new one, or none.
    pub fn set(&mut self, value: impl Init<T>) -> Result<()> {
        if self.is_none() {
            self.save();
            // SAFETY: the payload's place is ours and nobody reads it before the tag is stored.
            unsafe {
                value.init(self.payload().as_ptr(), self.access)?;
                self.set_tag(SOME);
            }
            return Ok(());
        }
        let new = Scratch::build(value, self.access)?;
        if self.lock_held() {
            return Err(Error::LockHeld);
        }
        self.clear();
        // CRASH option_set: here there is none.
        // SAFETY: `clear` saved the option and left the payload's place free.
        unsafe {
            new.place(self.payload().as_ptr());
            self.set_tag(SOME);
        }
        Ok(())
    }

    /// Puts a value in, destroying the old one, and gives its view.
    ///
    /// # Errors
    /// As [`set`](Self::set).
    pub fn insert(&mut self, value: impl Init<T>) -> Result<T::Mut<'_>> {
        self.set(value)?;
        // SAFETY: valid and, through `self`, exclusively ours.
        Ok(unsafe { T::view(self.payload(), self.access) })
    }

    /// The view of the value, which is built first if there is none.
    ///
    /// # Errors
    /// The initialiser's; there is still none then.
    pub fn get_or_insert(&mut self, value: impl Init<T>) -> Result<T::Mut<'_>> {
        self.get_or_insert_with(|| value)
    }

    /// The view of the value, which is built first, by what `make` gives, if there is none.
    ///
    /// # Errors
    /// The initialiser's; there is still none then.
    pub fn get_or_insert_with<I: Init<T>>(&mut self, make: impl FnOnce() -> I) -> Result<T::Mut<'_>> {
        if self.is_none() {
            self.set(make())?;
        }
        // SAFETY: valid and, through `self`, exclusively ours.
        Ok(unsafe { T::view(self.payload(), self.access) })
    }

    /// Destroys the value; gives whether there was one.
    ///
    /// # Panics
    /// If it holds a lock that is held; nothing has changed then.
    pub fn clear(&mut self) -> bool {
        if self.is_none() {
            return false;
        }
        assert!(!self.lock_held(), "a value to be destroyed holds a locked lock");
        self.save();
        // SAFETY: the value is destroyed once, when the tag no longer shows it.
        unsafe {
            self.set_tag(NONE);
            self.payload().drop_in_place();
        }
        true
    }

    /// Takes the value out.
    #[inline]
    pub fn take(&mut self) -> Option<T>
    where
        T: Unpin,
    {
        if self.is_none() {
            return None;
        }
        self.save();
        // SAFETY: valid and movable; the tag no longer shows it when it is returned.
        unsafe {
            self.set_tag(NONE);
            Some(self.payload().read())
        }
    }

    /// Puts a value in and takes the old one out.
    ///
    /// # Errors
    /// The initialiser's; nothing has changed.
    ///
    /// # Crash safety
    /// As [`set`](Self::set).
    pub fn replace(&mut self, value: impl Init<T>) -> Result<Option<T>>
    where
        T: Unpin,
    {
        let new = Scratch::build(value, self.access)?;
        let old = self.take();
        self.save();
        // SAFETY: `take` left the payload's place free; saved.
        unsafe {
            new.place(self.payload().as_ptr());
            self.set_tag(SOME);
        }
        Ok(old)
    }

    /// Moves the value out of `from`, an option in the same segment, into this one, destroying the old value: how
    /// values that are not movable change places, as when a node is taken out of a list. If `from` is empty, so is
    /// this one then.
    ///
    /// # Errors
    /// [`Error::OtherSegment`] if they stand in different segments, or if both are still being built, through different
    /// mappings of one; [`Error::LockHeld`]; nothing has changed.
    ///
    /// # Crash safety
    /// CRASH option_move: a process killed inside may leave the value in neither, leaked; never in both.
    pub fn move_from(&mut self, from: &mut OptionMut<'_, T>) -> Result<()> {
        if !self.access.same_segment(&from.access) {
            return Err(Error::OtherSegment);
        }
        if self.lock_held() || from.lock_held() {
            return Err(Error::LockHeld);
        }
        // The two places as one mapping shows them. A value that is still being built outside the segment has pointers
        // into the mapping of its own access, so it is that mapping's view of the other place that counts.
        let (value, place) = (from.payload().as_ptr(), self.payload().as_ptr());
        let (here, there) = (self.access.context(), from.access.context());
        let (value, place) = match (there.offset_of(value.cast()), here.offset_of(place.cast())) {
            _ if ptr::eq(here, there) => (value, place),
            // SAFETY: an offset valid in one mapping of the segment is valid in the other.
            (Some(offset), _) => (unsafe { here.base().add(offset as usize) }.cast(), place),
            // SAFETY: as above.
            (None, Some(offset)) => (value, unsafe { there.base().add(offset as usize) }.cast()),
            // Each is to stand in a mapping of its own, where the other's pointers would lead astray.
            (None, None) => return Err(Error::OtherSegment),
        };
        self.clear();
        if from.is_none() {
            return Ok(());
        }
        self.save();
        from.save();
        // CRASH option_move: between the two stores there is none in either.
        // SAFETY: the value is valid, its place here free; what it owns lies in the mapping that `place` is seen through;
        // no lock is held.
        unsafe {
            from.set_tag(NONE);
            T::relocate(value, place);
            self.set_tag(SOME);
        }
        Ok(())
    }
}

impl<T: ShmSafe> Deref for OptionMut<'_, T> {
    type Target = ShmOption<T>;
    #[inline]
    fn deref(&self) -> &ShmOption<T> {
        // SAFETY: valid, and no view of the value is alive while `self` is borrowed.
        unsafe { self.at.as_ref() }
    }
}

impl<T: ShmSafe + fmt::Debug> fmt::Debug for OptionMut<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

impl<T: ShmSafe + PartialEq<U>, U> PartialEq<Option<U>> for OptionMut<'_, T> {
    fn eq(&self, other: &Option<U>) -> bool {
        **self == *other
    }
}
