//! The library's participants, file by file: all but `thread`, which finds a thread's slot by an address, and `list`,
//! which is for people.

#[path = "../../shmem-core/src/participant/cell.rs"]
mod cell;
#[path = "../../shmem-core/src/participant/evidence.rs"]
mod evidence;
#[path = "../../shmem-core/src/participant/exclusive.rs"]
mod exclusive;
#[path = "../../shmem-core/src/participant/process.rs"]
mod process;
#[path = "../../shmem-core/src/participant/recovery.rs"]
mod recovery;
#[path = "../../shmem-core/src/participant/slot.rs"]
mod slot;
#[path = "../../shmem-core/src/participant/switches.rs"]
mod switches;

pub(crate) mod table;

/// The slots that a thread remembers, which the models hand around instead.
pub(crate) mod thread {
    use super::Participants;
    use std::cell::Cell;
    use std::sync::Arc;

    /// As the library's.
    #[derive(Debug, Clone, Copy)]
    pub(crate) struct KeptSlot {
        pub(crate) index: u32,
        pub(crate) generation: u32,
    }

    loom::thread_local! {
        static KNOWN: Cell<Option<KeptSlot>> = Cell::new(None);
    }

    /// The slot that this thread works with, from now on.
    pub(crate) fn become_slot(slot: Option<KeptSlot>) {
        KNOWN.with(|known| known.set(slot));
    }

    pub(crate) fn has_slot() -> bool {
        KNOWN.with(Cell::get).is_some()
    }

    pub(crate) fn known_slot(_: &Arc<Participants>) -> Option<KeptSlot> {
        KNOWN.with(Cell::get)
    }

    pub(crate) fn kept_slot(_: *const u8, participants: &Arc<Participants>) -> Option<KeptSlot> {
        known_slot(participants)
    }

    /// Of a process that could not keep its record.
    pub(super) fn part_from(_: &Participants) {
        unreachable!("no step of the models fails");
    }
}

pub(crate) use cell::{Gone, Waited, Watch};
pub(crate) use process::Participants;
pub(crate) use recovery::{LockKind, Recovered};
pub(crate) use slot::{Intent, Owner, SlotHandle};
pub(crate) use thread::{KeptSlot, kept_slot, known_slot};

pub(crate) const MAX_PROCESSES: usize = 256;

pub(crate) const PROCESS_SIZE: u64 = size_of::<process::Record>() as u64;
pub(crate) const SLOT_SIZE: u64 = size_of::<slot::Slot>() as u64;
pub(crate) const SLOT_INTENT_AT: u64 = std::mem::offset_of!(slot::Slot, intent) as u64;
pub(crate) const CELL_SIZE: u64 = size_of::<cell::Cell>() as u64;
