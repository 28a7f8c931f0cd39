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
//! each; beside that, the owner notes in its slot which lock it is about to take, and strikes it out when it has released
//! it. A waiter spins for a moment, then sleeps in a futex on the word and on the owner's liveness cell. If the owner's
//! process turns out to be dead, it is recovered, which releases this lock from exactly that owner by compare-and-swap,
//! poisoned. Nothing else takes a lock from the dead.
//!
//! The waiting algorithm is Drepper's second mutex ("Futexes are tricky", 2011) with the owner in the word.

use crate::error::LockError;
use crate::participant::{Gone, Intent, LockKind, Owner, Participants, Recovered, SlotHandle, Waited, Watch};
use crate::primitive::{AtomicU32, Ordering, hint, thread};
use crate::sys::clock::Deadline;
use crate::sys::futex;
use std::time::Duration;

const WAITERS: u32 = 1 << 31;
const POISON: u32 = 1 << 30;
const OWNER: u32 = Owner::MASK;

/// [`RawLock::cause`] when the poison is a panic's.
const BY_PANIC: u32 = 1;
/// [`RawLock::cause`] when the poison is a death's.
const BY_DEATH: u32 = 2;

/// Rounds of spinning before a waiter sleeps; each pauses twice as long as the one before, up to [`SPIN_MOST`]. 240
/// pauses in all, 2 to 7 µs: a critical section that is being executed ends within that, one whose holder sleeps does not.
/// A look takes the word's cache line away from the holder, so it comes seldom: looking after 1, 2, 4 … pauses, two
/// processes that do nothing but lock have half to a third of the throughput. (A model learns nothing from further rounds.)
const SPIN_ROUNDS: u32 = if cfg!(loom) { 1 } else { 5 };
const SPIN_LEAST: u32 = 16;
const SPIN_MOST: u32 = 64;

/// How long whoever moves or drops a lock waits for somebody else's recovery of its dead holder, and how often it looks.
const RECOVERY_ENDS: Duration = Duration::from_secs(1);
const LOOK_AGAIN: Duration = Duration::from_micros(200);

/// What slots call this kind of lock; an index into [`LOCK_KINDS`].
const KIND: usize = 0;

/// How recovery deals with the locks of this layer.
pub(crate) static LOCK_KINDS: [LockKind; 1] =
    [LockKind { is_held: RawLock::is_word_of, release: RawLock::release_at }];

/// The word and the cause of its poison.
#[repr(C)]
#[derive(Debug)]
pub(crate) struct RawLock {
    word: AtomicU32,
    cause: AtomicU32,
}

#[cfg(not(loom))]
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

    /// Acquires the lock if it is free and not poisoned, and its slot has room to note it: one compare-and-swap.
    #[inline(always)]
    pub(crate) fn lock_fast(&self, slot: &SlotHandle) -> bool {
        let Some(intent) = slot.try_intend(self, KIND) else { return false };
        self.take(0, slot.owner().0, slot, intent)
    }

    /// Takes the lock if its word is `free`.
    #[inline(always)]
    fn take(&self, free: u32, taken: u32, slot: &SlotHandle, intent: Intent) -> bool {
        // CRASH lock: a death behind this, before it is counted as held, finds the note.
        // SYNC lock: Acquire, pairs with the Release in `unlock`. SYNC owner: Release, so that whoever finds this owner in
        // the word finds its slot taken.
        if self.word.compare_exchange(free, taken, Ordering::AcqRel, Ordering::Relaxed).is_ok() {
            slot.taken(intent);
            return true;
        }
        slot.not_taken(intent);
        false
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
        let mut waiting = false;
        let acquired = self.wait(slot, patience, participants, &mut waiting);
        if waiting {
            slot.stop_waiting();
        }
        if acquired.is_err() {
            slot.part();
        }
        acquired
    }

    fn wait(
        &self,
        slot: &SlotHandle,
        patience: Patience,
        participants: &Participants,
        waiting: &mut bool,
    ) -> Result<Acquired, LockError> {
        let me = slot.owner().0;
        let mut slept = 0;
        let mut spins = 0;
        let mut watch = Watch::default();
        loop {
            // SYNC owner: Acquire, pairs with the Release in `take`: in an older state of its slot the owner would be nobody.
            let now = self.word.load(Ordering::Acquire);
            if now & OWNER == 0 {
                // Whoever has slept cannot know whether others still do, so it leaves the mark.
                let taken = me | (now & (WAITERS | POISON)) | slept;
                if self.take(now, taken, slot, slot.intend(self, KIND)) {
                    return Ok(self.acquired(now));
                }
                continue;
            }
            let owner = Owner(now & OWNER);
            if owner.0 == me {
                return Err(LockError::Deadlock);
            }
            if participants.is_retired(owner) {
                self.take_from_retired(owner, participants);
                continue;
            }
            if let Patience::Try = patience {
                // A dead owner's lock can be had at once.
                if participants.recover_owner(owner, true) == Ok(Recovered::Yes) {
                    continue;
                }
                return Err(LockError::WouldBlock);
            }
            if spins < SPIN_ROUNDS && now & WAITERS == 0 {
                for _ in 0..(SPIN_LEAST << spins).min(SPIN_MOST) {
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
            if !*waiting {
                slot.wait_for(self, KIND);
                *waiting = true;
            }
            let deadline = match patience {
                Patience::Until(deadline) => Some(deadline),
                _ => None,
            };
            match participants.wait_for(&self.word, marked, owner, deadline, &mut watch) {
                Waited::Look => {}
                Waited::TimedOut => return Err(LockError::TimedOut),
                Waited::Refused => return Err(LockError::Refused),
            }
        }
    }

    fn acquired(&self, found: u32) -> Acquired {
        match found & POISON {
            0 => Acquired::Clean,
            _ => Acquired::Poisoned { by_death: self.cause.load(Ordering::Relaxed) != BY_PANIC },
        }
    }

    /// Takes the lock from a dead owner who could not note it.
    #[cold]
    fn take_from_retired(&self, owner: Owner, participants: &Participants) {
        if self.release_from(owner) {
            participants.taken_from_retired(owner);
        }
    }

    /// Releases the lock, poisoned, if it is `owner`'s, who is dead; whether it was.
    #[cold]
    fn release_from(&self, owner: Owner) -> bool {
        loop {
            let now = self.word.load(Ordering::Relaxed);
            if now & OWNER != owner.0 {
                return false;
            }
            // CRASH take-over: a death between these stores leaves the dead owner in the word, and the next recoverer
            // does the same again. The cause first: poison that passes for a panic's would not have the value walked.
            self.cause.store(BY_DEATH, Ordering::Relaxed);
            let freed = (now & WAITERS) | POISON;
            // From exactly this owner. SYNC lock: AcqRel, so that who locks next sees the cause.
            if self.word.compare_exchange(now, freed, Ordering::AcqRel, Ordering::Relaxed).is_ok() {
                if now & WAITERS != 0 {
                    futex::wake(&self.word, u32::MAX);
                }
                return true;
            }
        }
    }

    fn is_word_of(word: u32, owner: Owner) -> bool {
        word & OWNER == owner.0
    }

    unsafe fn release_at(at: *const u8, owner: Owner) {
        // SAFETY: a lock that its dead owner holds, by the contract of `LockKind`.
        unsafe { &*at.cast::<RawLock>() }.release_from(owner);
    }

    /// Releases the lock, poisoned or not.
    #[inline(always)]
    pub(crate) fn unlock(&self, slot: &SlotHandle, poisoned: bool) {
        let free = if poisoned { POISON } else { 0 };
        // CRASH unlock: a death behind this finds a note of a lock that is not held, and strikes it out.
        // SYNC lock: Release, pairs with the Acquire of whoever locks next.
        let now = self.word.swap(free, Ordering::Release);
        slot.let_go(self, KIND);
        if now & WAITERS != 0 {
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

    /// Whether the lock is held by the living; a dead owner's is released, poisoned, by its recovery. For a caller with
    /// exclusive access to what the lock stands in.
    #[cold]
    pub(crate) fn is_held_by_living(&self, participants: &Participants) -> bool {
        let patience = Deadline::after(RECOVERY_ENDS);
        loop {
            // SYNC owner: Acquire, as in `lock_slow`.
            let owner = Owner(self.word.load(Ordering::Acquire) & OWNER);
            if owner.0 == 0 {
                return false;
            }
            if participants.is_retired(owner) {
                self.take_from_retired(owner, participants);
                continue;
            }
            match participants.recover_owner(owner, false) {
                Ok(Recovered::Yes) => {}
                Ok(Recovered::No) => return self.is_held(),
                // Not before it is through: it may be about to look at this very lock.
                Ok(Recovered::Underway) if !patience.has_passed() => thread::sleep(LOOK_AGAIN),
                Ok(Recovered::Underway | Recovered::Refused) | Err(Gone) => return self.is_held(),
            }
        }
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

#[cfg(test)]
pub(crate) fn raw_lock_layout() -> crate::format_test::StoredLayout {
    crate::format_test::stored_layout!(RawLock { word, cause })
}
