//! [`ShmMutex`]: mutual exclusion between threads and processes, with the data inside.
//!
//! This file needs `unsafe`: it turns a held lock into access to what it protects.

use super::raw::{Acquired, Patience, RawLock};
use crate::access::{Access, undo_log_in_force};
use crate::error::{Corrupt, Error, LockError, Result};
use crate::layout::init::{Init, replace};
use crate::layout::{GenericArg, Interior, Kind, Origin, Reach, ShmDefault, ShmSafe, TypeInfo, Visitor};
use crate::mapping::registry;
use crate::participant::{Participants, SlotHandle, TaggedSlot, current_owner};
use crate::sys::clock::Deadline;
use std::any::TypeId;
use std::cell::UnsafeCell;
use std::fmt;
use std::marker::{PhantomData, PhantomPinned};
use std::ops::{Deref, DerefMut};
use std::ptr::{self, NonNull};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A mutual exclusion lock that lives in a segment and protects what is inside it.
///
/// Locking a free one and unlocking it are one atomic operation each; a waiter spins for a few microseconds, then
/// sleeps. A holder that panics leaves the mutex *poisoned*, as std's does; so does one whose process dies: the
/// next locker learns of it once the kernel vouches that the last thread of that process is gone.
///
/// It is built in place with [`ShmMutex::new`], and cannot be moved or dropped while it is held.
///
/// | state | `lock` gives | `lock_poisoned` gives |
/// |---|---|---|
/// | free | a guard | a guard |
/// | held by a living process | waits | waits |
/// | held by this thread | `Deadlock` | `Deadlock` |
/// | held by a process that dies | waits until the kernel vouches for the death, then as below | as below |
/// | poisoned by a panic | `Poisoned { by_death: false }` | a guard |
/// | poisoned by a death | `Poisoned { by_death: true }` | a guard, once the value was found memory-safe, else `Corrupt` |
///
/// A guard of a poisoned mutex leaves it poisoned, unless [`clear_poison`](MutexGuard::clear_poison) was called.
///
/// # Crash safety
/// A process may be killed at any instruction of any operation here. Waiting, it leaves nothing behind. Holding the mutex,
/// or just about to give it back, it leaves it poisoned or free; who waits gets it within milliseconds of the end of the process's
/// last thread (80 at most, if nothing hints at it), whichever thread locked it. A stopped process still holds what it holds; so does a thread that
/// has exited and leaked its guard, until its process ends. A child of a `fork` holds nothing of its parent's.
///
/// What a device writes on its own is beyond that: memory of a segment must not be the target of `io_uring` direct reads, RDMA
/// and the like, which go on after the process that asked for them is gone.
///
/// ```
/// use shmem_core::{Segment, ShmMutex, ShmVec};
/// # fn main() -> shmem_core::Result<()> {
/// let segment = Segment::anonymous().size(1 << 20).create()?;
/// let list = segment.construct::<ShmMutex<ShmVec<u64>>>("list", ShmMutex::new(ShmVec::new()))?;
/// let mut guard = list.lock()?;
/// guard.view().push(7)?;
/// assert_eq!(guard[..], [7]);
/// # Ok(())
/// # }
/// ```
#[doc(alias = "interprocess_mutex")]
#[repr(C)]
pub struct ShmMutex<T> {
    lock: RawLock,
    value: UnsafeCell<T>,
    _address_sensitive: PhantomPinned,
}

// SAFETY: it gives access to one thread at a time, which for that time may use the value as its own.
unsafe impl<T: Send> Sync for ShmMutex<T> {}

impl<T: ShmSafe> ShmMutex<T> {
    /// An initialiser of a free mutex around what `value` builds.
    #[allow(clippy::new_ret_no_self)] // An address-sensitive value is never returned: it is built in place.
    pub fn new<I: Init<T>>(value: I) -> MutexInit<T, I> {
        MutexInit { value, _builds: PhantomData }
    }

    /// Locks it, waiting as long as it takes.
    ///
    /// # Errors
    /// [`LockError::Poisoned`] if a holder died or panicked (it is then not held: see
    /// [`lock_poisoned`](Self::lock_poisoned)); [`LockError::Deadlock`] if this thread holds it;
    /// [`LockError::NoSlot`] and [`LockError::NoProcess`] if the segment has no room for another participant.
    ///
    /// # Crash safety
    /// A process that dies while it waits leaves nothing behind.
    // Always: returned through memory, guard and error would be pieced together there, which costs more than the lock.
    #[inline(always)]
    pub fn lock(&self) -> Result<MutexGuard<'_, T>, LockError> {
        let slot = current_owner(ptr::from_ref(self))?;
        if self.lock.lock_fast(&slot) {
            return Ok(MutexGuard::new(self, slot, false));
        }
        self.lock_clean(slot, Patience::Forever)
    }

    /// Locks it if that is possible without waiting.
    ///
    /// # Errors
    /// [`LockError::WouldBlock`] if it is held; else as [`lock`](Self::lock).
    pub fn try_lock(&self) -> Result<MutexGuard<'_, T>, LockError> {
        let slot = current_owner(ptr::from_ref(self))?;
        if self.lock.lock_fast(&slot) {
            return Ok(MutexGuard::new(self, slot, false));
        }
        self.lock_clean(slot, Patience::Try)
    }

    /// Locks it, waiting at most `timeout` of monotonic time. A lock that is free is taken whatever the timeout.
    ///
    /// # Errors
    /// [`LockError::TimedOut`]; else as [`lock`](Self::lock).
    #[doc(alias = "timed_lock")]
    #[doc(alias = "try_lock_for")]
    pub fn lock_timeout(&self, timeout: Duration) -> Result<MutexGuard<'_, T>, LockError> {
        self.lock_clean(current_owner(ptr::from_ref(self))?, Patience::Until(Deadline::after(timeout)))
    }

    /// Locks it, waiting until `deadline` at most. A lock that is free is taken even if that has passed.
    ///
    /// # Errors
    /// [`LockError::TimedOut`]; else as [`lock`](Self::lock).
    #[doc(alias = "try_lock_until")]
    pub fn lock_until(&self, deadline: Instant) -> Result<MutexGuard<'_, T>, LockError> {
        self.lock_timeout(deadline.saturating_duration_since(Instant::now()))
    }

    /// Locks it whether it is poisoned or not, waiting as long as it takes. The guard's
    /// [`clear_poison`](MutexGuard::clear_poison) makes it sound again; without that it stays poisoned.
    ///
    /// After a death, the value is first walked: it may be logically incomplete, but must be memory-safe. (A type of
    /// which any bytes are a value needs no walk, and neither does the value after a mere panic.)
    ///
    /// # Errors
    /// [`PoisonedLockError::Corrupt`] holds the lock, and lets only replace the value; [`PoisonedLockError::Lock`]
    /// otherwise.
    ///
    /// # Crash safety
    /// A process that dies while it looks, or repairs, leaves the mutex poisoned as before.
    pub fn lock_poisoned(&self) -> Result<MutexGuard<'_, T>, PoisonedLockError<'_, T>> {
        self.lock_whatever(Patience::Forever)
    }

    /// As [`lock_poisoned`](Self::lock_poisoned), if that is possible without waiting.
    ///
    /// # Errors
    /// [`LockError::WouldBlock`] if it is held; else as [`lock_poisoned`](Self::lock_poisoned).
    pub fn try_lock_poisoned(&self) -> Result<MutexGuard<'_, T>, PoisonedLockError<'_, T>> {
        self.lock_whatever(Patience::Try)
    }

    /// As [`lock_poisoned`](Self::lock_poisoned), waiting at most `timeout` of monotonic time.
    ///
    /// # Errors
    /// [`LockError::TimedOut`]; else as [`lock_poisoned`](Self::lock_poisoned).
    pub fn lock_poisoned_timeout(
        &self,
        timeout: Duration,
    ) -> Result<MutexGuard<'_, T>, PoisonedLockError<'_, T>> {
        self.lock_whatever(Patience::Until(Deadline::after(timeout)))
    }

    fn lock_whatever(&self, patience: Patience) -> Result<MutexGuard<'_, T>, PoisonedLockError<'_, T>> {
        let slot = current_owner(ptr::from_ref(self)).map_err(PoisonedLockError::Lock)?;
        let acquired = self.acquire(&slot, patience).map_err(PoisonedLockError::Lock)?;
        let guard = MutexGuard::new(self, slot, acquired != Acquired::Clean);
        if acquired != (Acquired::Poisoned { by_death: true }) || T::ANY_BITS {
            return Ok(guard);
        }
        let mut visitor = Visitor::new(guard.access());
        // SAFETY: the value is readable, and held by this thread.
        unsafe { visitor.walk(self.value.get().cast_const(), 1) };
        match visitor.findings().first() {
            None => Ok(guard),
            Some(found) => Err(PoisonedLockError::Corrupt(CorruptGuard { found: *found, guard })),
        }
    }

    /// Whether it is poisoned now.
    pub fn is_poisoned(&self) -> bool {
        self.lock.poison().is_some()
    }

    /// Whether it is free, and what it protects fit to be moved or dropped: what a dead holder left is walked first, as
    /// by [`lock_poisoned`](Self::lock_poisoned). Only for a caller with exclusive access.
    fn may_go(&self) -> bool {
        if self.is_held_by_living() {
            return false;
        }
        let by_death = self.lock.poison() == Some(LockError::Poisoned { by_death: true });
        if !by_death || T::ANY_BITS {
            return true;
        }
        // SAFETY: the mapping, or what the mutex stands in for now, outlives `self`.
        let mut visitor = Visitor::new(unsafe { registry::access_of(self) });
        // SAFETY: the value is readable, and the caller's alone.
        unsafe { visitor.walk(self.value.get().cast_const(), 1) };
        visitor.findings().is_empty()
    }

    /// Whether anybody holds it. A dead holder's lock is freed, poisoned. Only for a caller with exclusive access.
    fn is_held_by_living(&self) -> bool {
        if !self.lock.is_held() {
            return false;
        }
        let Some(context) = registry::context_at(ptr::from_ref(self).cast()) else { return true };
        // SAFETY: `self` stands in the mapping, so the mapping and its context live.
        let participants = unsafe { &*context }.upper::<Arc<Participants>>();
        participants.is_none_or(|participants| self.lock.is_held_by_living(participants))
    }

    /// The value, without locking.
    ///
    /// # Safety
    /// 1. Nobody changes it meanwhile.
    #[cfg(test)]
    pub(crate) unsafe fn debug_value(&self) -> &T {
        // SAFETY: valid, and 1.
        unsafe { &*self.value.get() }
    }

    fn acquire(&self, slot: &SlotHandle, patience: Patience) -> Result<Acquired, LockError> {
        let context = registry::context_at(ptr::from_ref(self).cast()).ok_or(LockError::ReadOnly)?;
        // SAFETY: `self` stands in the mapping, so the mapping and its context live.
        let context = unsafe { &*context };
        let participants = context.upper::<Arc<Participants>>().ok_or(LockError::ReadOnly)?;
        self.lock.lock_slow(slot, patience, participants)
    }

    #[cold]
    fn lock_clean(&self, slot: SlotHandle, patience: Patience) -> Result<MutexGuard<'_, T>, LockError> {
        match self.acquire(&slot, patience)? {
            Acquired::Clean => Ok(MutexGuard::new(self, slot, false)),
            Acquired::Poisoned { by_death } => {
                self.lock.unlock(&slot, true);
                Err(LockError::Poisoned { by_death })
            }
        }
    }
}

impl<T: ShmSafe + fmt::Debug> fmt::Debug for ShmMutex<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("ShmMutex");
        match self.try_lock() {
            Ok(guard) => out.field("value", &&*guard),
            Err(e) => out.field("value", &format_args!("<{e}>")),
        };
        out.finish_non_exhaustive()
    }
}

/// The initialiser that [`ShmMutex::new`] makes. `T` is inferred from where it is used.
pub struct MutexInit<T, I> {
    value: I,
    _builds: PhantomData<fn() -> T>,
}

impl<T, I: Clone> Clone for MutexInit<T, I> {
    fn clone(&self) -> Self {
        MutexInit { value: self.value.clone(), _builds: PhantomData }
    }
}

impl<T, I: Copy> Copy for MutexInit<T, I> {}

impl<T, I: fmt::Debug> fmt::Debug for MutexInit<T, I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MutexInit").field("value", &self.value).finish()
    }
}

// SAFETY: 1: the lock is free and the value built. 2: the value comes first, and nothing fails after it.
// 3: by the value's initialiser.
unsafe impl<T: ShmSafe, I: Init<T>> Init<ShmMutex<T>> for MutexInit<T, I> {
    unsafe fn init(self, slot: *mut ShmMutex<T>, access: Access<'_>) -> Result<()> {
        // SAFETY: the slot is valid for writes, and so are its parts.
        unsafe {
            self.value.init((&raw mut (*slot).value).cast(), access)?;
            (&raw mut (*slot).lock).write(RawLock::new());
        }
        Ok(())
    }
}

impl<T: ShmDefault> ShmDefault for ShmMutex<T> {
    /// A free mutex around the value's own default.
    fn shm_default() -> impl Init<Self> {
        ShmMutex::new(T::shm_default())
    }
}

// SAFETY: 1: the owner word means the same in every process. 2: not plain: a held lock must not be copied. 3: the
// value changes through `&self`. 6: the view is the exclusive one. 7: the word is written after the value. 8: only
// the value owns anything.
unsafe impl<T: ShmSafe> ShmSafe for ShmMutex<T> {
    const PLAIN: bool = false;
    const ANY_BITS: bool = false;
    const HAS_LOCKS: bool = true;
    type Parts = (Interior, Reach<T>);
    type Mut<'a> = MutexMut<'a, T>;

    unsafe fn view<'a>(at: NonNull<Self>, access: Access<'a>) -> MutexMut<'a, T> {
        MutexMut { at, access, _mutex: PhantomData }
    }

    unsafe fn relocate(from: *mut Self, to: *mut Self) {
        // SAFETY: both are valid by the caller, and so are their parts.
        unsafe {
            T::relocate((&raw mut (*from).value).cast(), (&raw mut (*to).value).cast());
            (&raw mut (*to).lock).write((*from).lock.moved());
        }
    }

    fn type_info() -> &'static TypeInfo {
        const {
            &TypeInfo {
                name: "ShmMutex",
                origin: Origin::Builtin,
                version: 0,
                size: size_of::<ShmMutex<T>>(),
                align: align_of::<ShmMutex<T>>(),
                kind: Kind::Builtin,
                args: &[GenericArg::Type(T::type_info)],
                id: TypeId::of::<ShmMutex<T>>(),
            }
        }
    }

    unsafe fn visit(this: *const Self, visitor: &mut Visitor<'_>) {
        // SAFETY: readable by the caller.
        unsafe { T::visit((&raw const (*this).value).cast(), visitor) }
    }

    unsafe fn lock_held(this: *const Self) -> bool {
        // SAFETY: valid by the caller.
        let mutex = unsafe { &*this };
        // SAFETY: likewise.
        !mutex.may_go() || unsafe { T::lock_held(mutex.value.get()) }
    }
}

/// The mutex is, or stays, poisoned when the guard unlocks it.
const STAYS_POISONED: usize = 1;
/// The thread was panicking already when it locked.
const WAS_PANICKING: usize = 2;

/// The right to use what a [`ShmMutex`] protects, until it is dropped.
///
/// Not `Send`: the thread that locked unlocks.
#[must_use = "the mutex is unlocked when the guard is dropped"]
pub struct MutexGuard<'a, T: ShmSafe> {
    mutex: &'a ShmMutex<T>,
    /// The thread's slot, tagged with [`STAYS_POISONED`] and [`WAS_PANICKING`].
    slot: TaggedSlot,
    _not_send: PhantomData<*mut ()>,
}

// SAFETY: a shared guard gives `&T` and nothing else.
unsafe impl<T: ShmSafe + Sync> Sync for MutexGuard<'_, T> {}

impl<'a, T: ShmSafe> MutexGuard<'a, T> {
    #[inline(always)]
    fn new(mutex: &'a ShmMutex<T>, slot: SlotHandle, poisoned: bool) -> Self {
        let poisoned = if poisoned { STAYS_POISONED } else { 0 };
        let panicking = if std::thread::panicking() { WAS_PANICKING } else { 0 };
        MutexGuard { mutex, slot: TaggedSlot::new(slot, poisoned | panicking), _not_send: PhantomData }
    }

    /// What it holds, and by which slot.
    pub(super) fn parts(&self) -> (&'a RawLock, TaggedSlot) {
        (&self.mutex.lock, self.slot)
    }

    #[inline]
    fn access(&self) -> Access<'a> {
        // SAFETY: the mutex stands in the mapping and is borrowed for `'a`.
        unsafe { registry::access_of(self.mutex) }
    }

    #[inline]
    fn at(&self) -> NonNull<T> {
        // SAFETY: a cell is never null.
        unsafe { NonNull::new_unchecked(self.mutex.value.get()) }
    }

    /// The exclusive view of the value: `VecMut`, `HashMapMut`, `AccountMut` …
    #[inline]
    pub fn view(&mut self) -> T::Mut<'_> {
        // SAFETY: the value is valid and, while the guard lives, this thread's.
        unsafe { T::view(self.at(), self.access()) }
    }

    /// Replaces the value.
    ///
    /// # Errors
    /// The initialiser's, or [`Error::LockHeld`] if a lock inside the old value is held; the old value stays.
    ///
    /// # Crash safety
    /// A process killed inside poisons the mutex; the value is the old one, the new one, or memory-safe but
    /// incomplete.
    pub fn set(&mut self, init: impl Init<T>) -> Result<()> {
        // SAFETY: the value is valid and, while the guard lives, this thread's.
        unsafe { replace(self.at(), init, self.access()) }
    }

    /// Makes a poisoned mutex sound again, when this guard is dropped.
    pub fn clear_poison(&mut self) {
        self.slot = TaggedSlot::new(self.slot.slot(), self.slot.tag() & !STAYS_POISONED);
    }

    /// Whether the mutex stays poisoned when this guard is dropped.
    pub fn is_poisoned(&self) -> bool {
        self.slot.tag() & STAYS_POISONED != 0
    }
}

impl<T: ShmSafe> Deref for MutexGuard<'_, T> {
    type Target = T;
    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: the value is valid and, while the guard lives, this thread's; views borrow the guard mutably.
        unsafe { self.at().as_ref() }
    }
}

/// Movable values keep the habit from std: `*guard += 1`.
impl<T: ShmSafe + Unpin> DerefMut for MutexGuard<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        if undo_log_in_force() {
            // SAFETY: readable; a `&mut` to it is about to be handed out.
            unsafe { self.access().save_value(self.at().as_ptr()) };
        }
        // SAFETY: valid, this thread's, and movable.
        unsafe { self.at().as_mut() }
    }
}

impl<T: ShmSafe> Drop for MutexGuard<'_, T> {
    #[inline(always)]
    fn drop(&mut self) {
        release(&self.mutex.lock, self.slot);
    }
}

/// Unlocks what a guard holds by its slot; poisons it if the thread began to panic since it was locked.
#[inline(always)]
pub(super) fn release(lock: &RawLock, slot: TaggedSlot) {
    if !slot.is_ours(ptr::from_ref(lock)) {
        return; // In the child of a fork: the lock is the parent's.
    }
    let mut tag = slot.tag();
    if std::thread::panicking() && tag & (STAYS_POISONED | WAS_PANICKING) == 0 {
        lock.blame_panic();
        tag |= STAYS_POISONED;
    }
    lock.unlock(&slot.slot(), tag & STAYS_POISONED != 0);
}

impl<T: ShmSafe + fmt::Debug> fmt::Debug for MutexGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

impl<T: ShmSafe + fmt::Display> fmt::Display for MutexGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

/// A mutex whose value a dead process left in a state that is not memory-safe. It is held; the value can only be
/// replaced.
#[must_use = "the mutex is unlocked, still poisoned, when this is dropped"]
pub struct CorruptGuard<'a, T: ShmSafe> {
    guard: MutexGuard<'a, T>,
    found: Corrupt,
}

impl<'a, T: ShmSafe> CorruptGuard<'a, T> {
    /// What is wrong with the value.
    pub fn found(&self) -> Corrupt {
        self.found
    }

    /// Replaces the value; what the old one owned is leaked until leak recovery. The poison is cleared.
    ///
    /// # Errors
    /// The initialiser's, with this guard given back.
    pub fn replace(self, init: impl Init<T>) -> std::result::Result<MutexGuard<'a, T>, (Self, Error)> {
        let at = self.guard.at().as_ptr();
        let built = crate::layout::init::Scratch::build(init, self.guard.access());
        match built {
            Err(e) => Err((self, e)),
            Ok(new) => {
                // SAFETY: the old value's bytes are readable, this thread's, and given up without being read.
                unsafe {
                    self.guard.access().save_value(at);
                    new.place(at);
                }
                let mut guard = self.guard;
                guard.clear_poison();
                Ok(guard)
            }
        }
    }
}

impl<T: ShmSafe> fmt::Debug for CorruptGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CorruptGuard").field("found", &self.found).finish_non_exhaustive()
    }
}

/// Why [`ShmMutex::lock_poisoned`] gave no guard.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PoisonedLockError<'a, T: ShmSafe> {
    /// The lock was not acquired.
    #[error(transparent)]
    Lock(LockError),
    /// The value is not memory-safe.
    #[error("the value behind a poisoned lock is damaged: {}", .0.found())]
    Corrupt(CorruptGuard<'a, T>),
}

impl<T: ShmSafe> From<PoisonedLockError<'_, T>> for Error {
    fn from(e: PoisonedLockError<'_, T>) -> Self {
        match e {
            PoisonedLockError::Lock(e) => e.into(),
            PoisonedLockError::Corrupt(guard) => guard.found().into(),
        }
    }
}

/// Exclusive access to a mutex (through the view of what it stands in): no locking is needed.
pub struct MutexMut<'a, T: ShmSafe> {
    at: NonNull<ShmMutex<T>>,
    access: Access<'a>,
    _mutex: PhantomData<&'a mut ShmMutex<T>>,
}

// SAFETY: a unique reference to the mutex; its context holds no thread's state.
unsafe impl<T: ShmSafe> Send for MutexMut<'_, T> {}
// SAFETY: shared, it gives `&ShmMutex<T>`, which is `Sync`.
unsafe impl<T: ShmSafe> Sync for MutexMut<'_, T> {}

impl<T: ShmSafe> MutexMut<'_, T> {
    fn value(&self) -> NonNull<T> {
        // SAFETY: valid; a cell is never null.
        unsafe { NonNull::new_unchecked(self.at.as_ref().value.get()) }
    }

    /// The view of the value.
    ///
    /// # Errors
    /// [`LockError::Poisoned`] if the mutex is poisoned, [`LockError::WouldBlock`] if it is held (its guard was
    /// leaked).
    pub fn get(&mut self) -> Result<T::Mut<'_>, LockError> {
        // SAFETY: valid and exclusively ours.
        let mutex = unsafe { self.at.as_ref() };
        if mutex.is_held_by_living() {
            return Err(LockError::WouldBlock);
        }
        match mutex.lock.poison() {
            Some(poisoned) => Err(poisoned),
            // SAFETY: valid, and nobody else can reach or hold it.
            None => Ok(unsafe { T::view(self.value(), self.access) }),
        }
    }

    /// Replaces the value, and clears the poison.
    ///
    /// # Errors
    /// The initialiser's, or [`Error::LockHeld`] if the mutex, or a lock inside the value, is held; the old value
    /// stays.
    pub fn set(&mut self, init: impl Init<T>) -> Result<()> {
        // SAFETY: valid and exclusively ours.
        let mutex = unsafe { self.at.as_ref() };
        if mutex.is_held_by_living() {
            return Err(Error::LockHeld);
        }
        let lock = &mutex.lock;
        if lock.poison().is_none() {
            // SAFETY: the value is valid and exclusively ours.
            return unsafe { replace(self.value(), init, self.access) };
        }
        let new = crate::layout::init::Scratch::build(init, self.access)?;
        // SAFETY: readable and ours; the old value may be damaged, so it is given up without being read.
        unsafe {
            self.access.save_value(self.at.as_ptr());
            new.place(self.value().as_ptr());
        }
        lock.clear_poison();
        Ok(())
    }
}

impl<T: ShmSafe> Deref for MutexMut<'_, T> {
    type Target = ShmMutex<T>;
    fn deref(&self) -> &ShmMutex<T> {
        // SAFETY: valid; `get` borrows the view mutably.
        unsafe { self.at.as_ref() }
    }
}

impl<T: ShmSafe> fmt::Debug for MutexMut<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MutexMut").field("poison", &self.lock.poison()).finish_non_exhaustive()
    }
}

#[cfg(test)]
pub(crate) fn mutex_layout() -> crate::format_test::StoredLayout {
    crate::format_test::stored_layout!(ShmMutex<u64> { lock, value })
}
