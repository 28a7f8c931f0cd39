//! Thread slots and the owner words made of them.
//!
//! This file needs `unsafe`: it keeps pointers to slots in mapped memory.

use super::process::Participants;
use crate::access::Context;
use crate::error::{Error, LockError};
use crate::mapping::registry;
use crate::mapping::superblock::PARTICIPANT_SIZE;
use crate::primitive::{AtomicU32, AtomicU64, Ordering};
use std::cell::RefCell;
use std::ptr::NonNull;
use std::sync::{Arc, Weak};

/// A thread's place in the segment.
#[repr(C, align(64))]
pub(super) struct Slot {
    /// Generation and process; see the [table](super).
    word: AtomicU64,
    /// How many locks the thread holds. Written by the thread itself; read by it when it exits.
    held: AtomicU32,
    /// The owner word of the thread that has the slot.
    owner: AtomicU32,
    _reserved: [u64; 6],
}

const _: () = assert!(size_of::<Slot>() == PARTICIPANT_SIZE as usize);

fn word(generation: u16, process: Option<u32>) -> u64 {
    u64::from(generation) | u64::from(process.map_or(0, |p| p + 1)) << 16
}

fn generation(word: u64) -> u16 {
    word as u16
}

fn process(word: u64) -> Option<u32> {
    (word as u32 >> 16).checked_sub(1)
}

impl Slot {
    /// Whether it belongs to a thread of `process` that holds a lock.
    pub(super) fn is_held_by(&self, owner: u32) -> bool {
        process(self.word.load(Ordering::Acquire)) == Some(owner) && self.held.load(Ordering::Relaxed) != 0
    }

    /// Frees the slot if it belongs to a thread of `dead`.
    pub(super) fn free_if_of(&self, dead: u32) {
        let taken = self.word.load(Ordering::Acquire);
        if process(taken) == Some(dead) {
            self.held.store(0, Ordering::Relaxed);
            let free = word(generation(taken).wrapping_add(1), None);
            // SYNC slot: Release, so that the next owner finds it empty.
            let _ = self.word.compare_exchange(taken, free, Ordering::AcqRel, Ordering::Relaxed);
        }
    }
}

/// The word by which a thread signs the locks it holds: `generation << 14 | slot + 1`, never 0, below 2³⁰.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Owner(pub(crate) u32);

impl Owner {
    /// The bits of a lock word that hold an owner.
    pub(crate) const MASK: u32 = (1 << 30) - 1;

    fn new(slot: u32, generation: u16) -> Self {
        Owner(u32::from(generation) << 14 | (slot + 1))
    }

    fn slot(self) -> Option<u32> {
        (self.0 & 0x3FFF).checked_sub(1)
    }

    fn generation(self) -> u16 {
        (self.0 >> 14) as u16
    }
}

/// What an owner word found in a lock says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum OwnerState {
    /// Its process lives, as far as is known.
    Alive,
    /// The process died: what the owner held is to be taken over.
    Dead,
}

/// A thread's slot in one mapping, as a guard keeps it. It is the thread's own: not `Send`.
///
/// # Invariants
/// 1. The slot is mapped while the lock is for which the handle was made, and is the thread's until it exits.
#[derive(Clone, Copy)]
pub(crate) struct SlotHandle(NonNull<Slot>);

impl SlotHandle {
    #[inline]
    fn slot(&self) -> &Slot {
        // SAFETY: 1; its fields are atomics.
        unsafe { self.0.as_ref() }
    }

    /// The thread's owner word.
    #[inline]
    pub(crate) fn owner(&self) -> Owner {
        Owner(self.slot().owner.load(Ordering::Relaxed))
    }

    /// Counts a lock taken.
    #[inline]
    pub(crate) fn hold(&self) {
        let held = &self.slot().held;
        held.store(held.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
    }

    /// Counts a lock let go.
    #[inline]
    pub(crate) fn let_go(&self) {
        let held = &self.slot().held;
        held.store(held.load(Ordering::Relaxed).wrapping_sub(1), Ordering::Relaxed);
    }
}

/// One slot of this thread.
struct Attachment {
    /// Dead once the mapping is gone.
    participants: Weak<Participants>,
    at: *const Participants,
    fork_generation: u64,
    handle: SlotHandle,
}

/// The slots of one thread, given back when it exits.
#[derive(Default)]
struct Attachments(Vec<Attachment>);

impl Drop for Attachments {
    fn drop(&mut self) {
        // The cache must not serve a lock taken by a later thread-local destructor with a slot that is free.
        registry::forget_cached();
        for attachment in self.0.drain(..) {
            let Some(_mapped) = attachment.participants.upgrade() else { continue };
            if attachment.fork_generation != registry::fork_generation() {
                continue; // The parent's slot, not ours.
            }
            // The mapping lives while `_mapped` does.
            let slot = attachment.handle.slot();
            if slot.held.load(Ordering::Relaxed) != 0 {
                continue; // Orphaned: only the death of the process releases what the thread holds.
            }
            let taken = slot.word.load(Ordering::Relaxed);
            // SYNC slot: Release, so that the next owner finds it empty.
            slot.word.store(word(generation(taken).wrapping_add(1), None), Ordering::Release);
        }
    }
}

thread_local! {
    static ATTACHMENTS: RefCell<Attachments> = RefCell::default();
}

/// This thread's slot in the mapping that contains `at`.
///
/// Costs a comparison with the thread's cache once the thread has locked in this segment; the first time it takes a
/// slot, and the process's record if it has none.
///
/// # Errors
/// [`LockError::ReadOnly`] if `at` is in no segment, [`LockError::NoSlot`] or [`LockError::NoProcess`] if there is
/// none free.
#[inline]
pub(crate) fn current_owner<T>(at: *const T) -> Result<SlotHandle, LockError> {
    match NonNull::new(registry::slot_at(at.cast()).cast_mut()) {
        Some(slot) => Ok(SlotHandle(slot.cast())),
        None => attach_thread(at.cast()),
    }
}

#[cold]
fn attach_thread(at: *const u8) -> Result<SlotHandle, LockError> {
    let context = registry::context_at(at).ok_or(LockError::ReadOnly)?;
    // SAFETY: the caller holds a reference to what stands at `at`, so the mapping and its context live.
    let context: &Context = unsafe { &*context };
    let participants: &Arc<Participants> = context.upper::<Arc<Participants>>().ok_or(LockError::ReadOnly)?;
    let handle = ATTACHMENTS
        .try_with(|attachments| {
            let mut attachments = attachments.borrow_mut();
            attachments.0.retain(|a| a.participants.strong_count() > 0);
            let fork_generation = registry::fork_generation();
            let known = attachments.0.iter().find(|a| {
                std::ptr::eq(a.at, Arc::as_ptr(participants)) && a.fork_generation == fork_generation
            });
            if let Some(known) = known {
                return Ok(known.handle);
            }
            let handle = take_slot(participants)?;
            attachments.0.push(Attachment {
                participants: Arc::downgrade(participants),
                at: Arc::as_ptr(participants),
                fork_generation,
                handle,
            });
            Ok(handle)
        })
        // The thread is exiting and its slots are given back: take one that the process's death will free.
        .unwrap_or_else(|_| take_slot(participants))?;
    registry::remember_slot(at, handle.0.as_ptr().cast());
    Ok(handle)
}

fn take_slot(participants: &Participants) -> Result<SlotHandle, LockError> {
    let process_record = participants.process().map_err(|e| match e {
        Error::TooManyProcesses { .. } => LockError::NoProcess,
        _ => LockError::NoSlot,
    })?;
    for attempt in 0..2 {
        for index in 0..participants.slots() {
            let Some(slot) = participants.slot(index) else { continue };
            let free = slot.word.load(Ordering::Relaxed);
            if process(free).is_some() {
                continue;
            }
            let taken = word(generation(free), Some(process_record));
            // SYNC slot: Acquire, pairs with the Release that freed it.
            if slot.word.compare_exchange(free, taken, Ordering::AcqRel, Ordering::Relaxed).is_ok() {
                slot.held.store(0, Ordering::Relaxed);
                slot.owner.store(Owner::new(index, generation(free)).0, Ordering::Relaxed);
                return Ok(SlotHandle(NonNull::from(slot)));
            }
        }
        // Full: perhaps of dead processes' slots.
        if attempt == 0 && participants.recover_all() == 0 {
            break;
        }
    }
    Err(LockError::NoSlot)
}

impl Participants {
    /// What became of the thread that signed a lock with `owner`. A system call if it seems alive.
    pub(crate) fn owner_state(&self, owner: Owner) -> OwnerState {
        let slot = owner.slot().and_then(|index| self.slot(index));
        let Some(slot) = slot else { return OwnerState::Dead };
        let now = slot.word.load(Ordering::Acquire);
        match process(now) {
            // The slot was freed without the lock being let go: its process died and was recovered.
            _ if generation(now) != owner.generation() => OwnerState::Dead,
            None => OwnerState::Dead,
            Some(record) if self.is_dead(record) => OwnerState::Dead,
            Some(_) => OwnerState::Alive,
        }
    }
}
