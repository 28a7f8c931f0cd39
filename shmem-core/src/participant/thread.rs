//! The slots of this thread: taken lazily, given back when it exits holding nothing.
//!
//! This file needs `unsafe`: it follows the contexts of mapped segments.

use super::cell::LinkedCell;
use super::process::Participants;
use super::slot::SlotHandle;
use crate::access::Context;
use crate::error::{Error, LockError};
use crate::mapping::registry;
use crate::primitive::Ordering;
use crate::sys::process;
use std::cell::RefCell;
use std::ptr::NonNull;
use std::sync::{Arc, Weak};

/// One slot of this thread.
struct Attachment {
    /// Dead once the mapping is gone.
    participants: Weak<Participants>,
    at: *const Participants,
    fork_generation: u64,
    handle: SlotHandle,
    /// Unlinked by this thread, whatever becomes of the slot.
    cell: Option<LinkedCell>,
}

/// The slots of one thread, given back when it exits.
#[derive(Default)]
struct Attachments(Vec<Attachment>);

impl Drop for Attachments {
    fn drop(&mut self) {
        // The cache must not serve a lock taken by a later thread-local destructor with a slot that is free.
        registry::forget_cached();
        for mut attachment in self.0.drain(..) {
            // First: a death between leaves the cell to the slot's recovery. And nobody is to be woken by a thread's end
            // that is no death.
            drop(attachment.cell.take());
            let Some(participants) = attachment.participants.upgrade() else { continue };
            if attachment.fork_generation != registry::fork_generation() {
                continue; // The parent's slot, not ours.
            }
            // The mapping lives while `participants` does.
            let slot = attachment.handle.slot();
            participants.prepare_to_part(slot);
            if slot.holds() {
                // Only the death of the process releases what the thread holds.
                slot.cell.store(0, Ordering::Release);
                slot.orphan();
            } else {
                slot.give_back();
            }
        }
    }
}

impl Attachments {
    fn known(&mut self, participants: &Arc<Participants>) -> Option<SlotHandle> {
        self.0.retain(|a| a.participants.strong_count() > 0);
        let fork_generation = registry::fork_generation();
        let at = Arc::as_ptr(participants);
        let known = self.0.iter().find(|a| std::ptr::eq(a.at, at) && a.fork_generation == fork_generation)?;
        Some(known.handle)
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
/// none free, [`LockError::Refused`] if the system does not let this process attach.
#[inline(always)]
pub(crate) fn current_owner<T>(at: *const T) -> Result<SlotHandle, LockError> {
    match NonNull::new(registry::slot_at(at.cast()).cast_mut()) {
        Some(slot) => Ok(SlotHandle(slot.cast())),
        None => attach_thread(at.cast()),
    }
}

/// The slot that this thread has there already.
pub(crate) fn known_slot(participants: &Arc<Participants>) -> Option<SlotHandle> {
    let known = ATTACHMENTS.try_with(|attachments| attachments.try_borrow_mut().ok()?.known(participants));
    known.ok().flatten()
}

/// As [`current_owner`], but only a slot that the thread keeps until it exits: none if it is about to.
pub(crate) fn kept_slot(at: *const u8) -> Option<SlotHandle> {
    let keeps = ATTACHMENTS.try_with(|_| ()).is_ok();
    if keeps { current_owner(at).ok() } else { None }
}

#[cold]
fn attach_thread(at: *const u8) -> Result<SlotHandle, LockError> {
    let context = registry::context_at(at).ok_or(LockError::ReadOnly)?;
    // SAFETY: the caller holds a reference to what stands at `at`, so the mapping and its context live.
    let context: &Context = unsafe { &*context };
    let participants: &Arc<Participants> = context.upper::<Arc<Participants>>().ok_or(LockError::ReadOnly)?;
    let known = || ATTACHMENTS.try_with(|attachments| attachments.borrow_mut().known(participants));
    let handle = match known() {
        Ok(Some(known)) => known,
        Ok(None) => {
            // Nothing is borrowed meanwhile: it may recover the dead, which takes locks, and so comes back here.
            let (index, handle) = take_slot(participants)?;
            if let Ok(Some(known)) = known() {
                handle.slot().give_back();
                known
            } else {
                keep(participants, index, handle);
                handle
            }
        }
        // The thread is exiting and its slots are given back: this one is when it lets go of what it is about to lock.
        Err(_) => {
            let (_, handle) = take_slot(participants)?;
            handle.slot().detach();
            handle
        }
    };
    registry::remember_slot(at, handle.0.as_ptr().cast());
    Ok(handle)
}

/// The index of the slot that this thread has in the mapping, if it has one already.
pub(crate) fn own_slot(participants: &Participants) -> Option<u32> {
    let fork_generation = registry::fork_generation();
    let known = |attachments: &RefCell<Attachments>| {
        let attachments = attachments.try_borrow().ok()?;
        let ours = |a: &&Attachment| std::ptr::eq(a.at, participants) && a.fork_generation == fork_generation;
        Some(attachments.0.iter().find(ours)?.handle)
    };
    let handle = ATTACHMENTS.try_with(known).ok().flatten()?;
    participants.index_of(handle.slot())
}

/// In the child of a fork: what the forking thread had is its parent's. The kernel must not look at its cell here, whose
/// address may become something else's.
pub(crate) fn begin_child() {
    let _ = ATTACHMENTS.try_with(|attachments| {
        if let Ok(mut attachments) = attachments.try_borrow_mut() {
            attachments.0.clear();
        }
    });
}

/// Gives back this thread's slots in a mapping whose record it could not keep.
pub(super) fn part_from(participants: &Participants) {
    registry::forget_cached();
    let _ = ATTACHMENTS.try_with(|attachments| {
        attachments.borrow_mut().0.retain_mut(|attachment| {
            let here = std::ptr::eq(attachment.at, participants);
            if here {
                drop(attachment.cell.take());
                attachment.handle.slot().give_back();
            }
            !here
        });
    });
}

/// Remembers a slot until the thread exits, and gives it a cell.
pub(super) fn keep(participants: &Arc<Participants>, index: u32, handle: SlotHandle) {
    let slot = handle.slot();
    let cell =
        participants.cells_mapping().and_then(|cells| LinkedCell::link(cells, index, slot.life(index)));
    slot.cell.store(cell.as_ref().map_or(0, LinkedCell::number), Ordering::Release);
    let _ = ATTACHMENTS.try_with(|attachments| {
        attachments.borrow_mut().0.push(Attachment {
            participants: Arc::downgrade(participants),
            at: Arc::as_ptr(participants),
            fork_generation: registry::fork_generation(),
            handle,
            cell,
        });
    });
}

pub(super) fn take_slot(participants: &Participants) -> Result<(u32, SlotHandle), LockError> {
    let record = participants.process().map_err(|e| match e {
        Error::TooManyProcesses { .. } => LockError::NoProcess,
        _ => LockError::Refused,
    })?;
    for attempt in 0..2 {
        if let Some((index, slot)) = participants.slots().find(|(index, slot)| slot.take(*index, record)) {
            slot.thread.store(process::thread_id(), Ordering::Relaxed);
            return Ok((index, SlotHandle(NonNull::from(slot))));
        }
        // Full: perhaps of dead processes' slots.
        if attempt == 0 && participants.recover_all() == 0 {
            break;
        }
    }
    Err(LockError::NoSlot)
}
