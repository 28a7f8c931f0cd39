//! [`RawLock`]: the lock word under every exclusive lock of this crate.
//!
//! | bit 31 | bit 30 | bits 0–29 | meaning |
//! |---|---|---|---|
//! | 0 | 0 | 0 | free |
//! | 0 | 0 | owner | held |
//! | 1 | 0 | owner | held, and somebody sleeps: unlocking must wake one |
//! | 1 | 0 | 0 | never |
//! | 0 | 1 | 0 | free and poisoned: a holder died or panicked |
//! | any | 1 | owner | held by somebody who was told of the poison |
//! | 1 | 1 | 0 | as free and poisoned, and somebody sleeps (left by a take-over): the next one who comes wakes them |
//!
//! An owner is a thread's [owner word](crate::participant::Owner). Locking and unlocking are one atomic operation
//! each. A waiter spins for a moment, then sleeps in a futex on the word; it wakes now and then to ask whether the
//! owner's process is still alive, and if the kernel says it is not, takes the lock away from exactly that owner
//! by compare-and-swap, leaving it poisoned.
//!
//! The waiting algorithm is Drepper's second mutex ("Futexes are tricky", 2011) with the owner in the word.

use crate::error::LockError;
use crate::participant::{Owner, OwnerState, Participants, SlotHandle};
use crate::primitive::{AtomicU32, Ordering};
use crate::sys::clock::Deadline;
use crate::sys::futex::{self, Woken};
use std::hint;
use std::time::Duration;

const WAITERS: u32 = 1 << 31;
const POISON: u32 = 1 << 30;
const OWNER: u32 = Owner::MASK;

/// [`RawLock::cause`] when the poison is a panic's.
const BY_PANIC: u32 = 1;
/// [`RawLock::cause`] when the poison is a death's.
const BY_DEATH: u32 = 2;

/// Rounds of spinning before a waiter sleeps; each round pauses twice as long as the one before, up to
/// [`SPIN_PAUSES`]. About 4 µs in all: a critical section that is being executed ends within that, one whose holder
/// sleeps does not.
const SPIN_ROUNDS: u32 = 24;
const SPIN_PAUSES: u32 = 16;

/// How long a waiter sleeps before it asks, the first time and at most, whether the owner lives.
const FIRST_CHECK: Duration = Duration::from_millis(10);
const LAST_CHECK: Duration = Duration::from_millis(160);

/// The word and the cause of its poison.
#[repr(C)]
#[derive(Debug)]
pub(crate) struct RawLock {
    word: AtomicU32,
    cause: AtomicU32,
}

const _: () = assert!(size_of::<RawLock>() == 8 && align_of::<RawLock>() == 4);

/// How a lock was acquired.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Acquired {
    /// Cleanly.
    Clean,
    /// It is poisoned; the caller holds it all the same.
    Poisoned {
        /// Whether by a death (else a panic).
        by_death: bool,
    },
}

/// How long to wait for a lock.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Patience {
    /// Not at all.
    Try,
    /// Until then.
    Until(Deadline),
    /// As long as it takes.
    Forever,
}

impl RawLock {
    /// A free lock.
    pub(crate) fn new() -> Self {
        RawLock { word: AtomicU32::new(0), cause: AtomicU32::new(0) }
    }

    /// Acquires the lock if it is free and not poisoned: one compare-and-swap.
    #[inline]
    pub(crate) fn lock_fast(&self, slot: &SlotHandle) -> bool {
        // SYNC lock: Acquire, pairs with the Release in `unlock`.
        let free =
            self.word.compare_exchange(0, slot.owner().0, Ordering::Acquire, Ordering::Relaxed).is_ok();
        if free {
            slot.hold();
        }
        free
    }

    /// Acquires the lock, poisoned or not, waiting as `patience` says. `participants` tells the living from the
    /// dead.
    ///
    /// # Errors
    /// [`LockError::WouldBlock`], [`LockError::TimedOut`], and [`LockError::Deadlock`] if this thread holds it.
    #[cold]
    pub(crate) fn lock_slow(
        &self,
        slot: &SlotHandle,
        patience: Patience,
        participants: &Participants,
    ) -> Result<Acquired, LockError> {
        let me = slot.owner().0;
        let mut slept = 0;
        let mut spins = 0;
        let mut check_after = FIRST_CHECK;
        loop {
            let now = self.word.load(Ordering::Relaxed);
            if now & OWNER == 0 {
                // Whoever has slept cannot know whether others still do, so it leaves the mark.
                let taken = me | (now & (WAITERS | POISON)) | slept;
                // SYNC lock: Acquire, pairs with the Release in `unlock`.
                if self.word.compare_exchange_weak(now, taken, Ordering::Acquire, Ordering::Relaxed).is_ok() {
                    slot.hold();
                    return Ok(self.acquired(now));
                }
                continue;
            }
            if now & OWNER == me {
                return Err(LockError::Deadlock);
            }
            if let Patience::Try = patience {
                // A dead owner's lock can be had at once.
                if self.take_from_dead(now, participants) {
                    continue;
                }
                return Err(LockError::WouldBlock);
            }
            if spins < SPIN_ROUNDS && now & WAITERS == 0 {
                for _ in 0..(1 << spins.min(31)).min(SPIN_PAUSES) {
                    hint::spin_loop();
                }
                spins += 1;
                continue;
            }
            let marked = now | WAITERS;
            if now & WAITERS == 0
                && self.word.compare_exchange_weak(now, marked, Ordering::Relaxed, Ordering::Relaxed).is_err()
            {
                continue;
            }
            slept = WAITERS;
            let check_at = Deadline::after(check_after);
            let until = match patience {
                Patience::Until(deadline) if deadline < check_at => deadline,
                _ => check_at,
            };
            if futex::wait(&self.word, marked, Some(until.ns())) == Woken::Look {
                continue;
            }
            let expired = matches!(patience, Patience::Until(deadline) if deadline.has_passed());
            check_after = (check_after * 2).min(LAST_CHECK);
            if !self.take_from_dead(marked, participants) && expired {
                return Err(LockError::TimedOut);
            }
        }
    }

    fn acquired(&self, found: u32) -> Acquired {
        match found & POISON {
            0 => Acquired::Clean,
            _ => Acquired::Poisoned { by_death: self.cause.load(Ordering::Relaxed) != BY_PANIC },
        }
    }

    /// If the owner named in `seen` is dead, frees the lock, poisoned. Whether it may be free now.
    #[cold]
    fn take_from_dead(&self, seen: u32, participants: &Participants) -> bool {
        if participants.owner_state(Owner(seen & OWNER)) == OwnerState::Alive {
            return false;
        }
        // CRASH take-over: a death between these stores leaves the dead owner in the word, and the next waiter
        // does the same again.
        self.cause.store(BY_DEATH, Ordering::Relaxed);
        let freed = (seen & WAITERS) | POISON;
        // From exactly this owner and generation: were the owner alive after all, or the lock another's by now,
        // nothing happens. SYNC lock: AcqRel, so that who locks next sees the cause.
        if self.word.compare_exchange(seen, freed, Ordering::AcqRel, Ordering::Relaxed).is_ok()
            && seen & WAITERS != 0
        {
            futex::wake(&self.word, u32::MAX);
        }
        true
    }

    /// Releases the lock, poisoned or not.
    #[inline]
    pub(crate) fn unlock(&self, slot: &SlotHandle, poisoned: bool) {
        slot.let_go();
        let free = if poisoned { POISON } else { 0 };
        // SYNC lock: Release, pairs with the Acquire of whoever locks next.
        if self.word.swap(free, Ordering::Release) & WAITERS != 0 {
            futex::wake(&self.word, 1);
        }
    }

    /// Notes that the poison the holder is about to leave is a panic's.
    #[cold]
    pub(crate) fn blame_panic(&self) {
        self.cause.store(BY_PANIC, Ordering::Relaxed);
    }

    /// Whether the lock is held, by whomever.
    pub(crate) fn is_held(&self) -> bool {
        self.word.load(Ordering::Relaxed) & OWNER != 0
    }

    /// Whether the lock is poisoned.
    pub(crate) fn poison(&self) -> Option<LockError> {
        let poisoned = self.word.load(Ordering::Relaxed) & POISON != 0;
        poisoned.then(|| LockError::Poisoned { by_death: self.cause.load(Ordering::Relaxed) != BY_PANIC })
    }

    /// Clears the poison of a lock to which the caller has exclusive access (held, or unreachable to others).
    pub(crate) fn clear_poison(&self) {
        self.word.fetch_and(!POISON, Ordering::Relaxed);
        self.cause.store(0, Ordering::Relaxed);
    }

    /// The state a moved lock takes with it: its poison.
    pub(crate) fn moved(&self) -> Self {
        RawLock {
            word: AtomicU32::new(self.word.load(Ordering::Relaxed) & POISON),
            cause: AtomicU32::new(self.cause.load(Ordering::Relaxed)),
        }
    }
}
