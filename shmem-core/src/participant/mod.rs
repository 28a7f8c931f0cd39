//! Who uses a segment: a record for each attached process, a slot for each thread that locks.
//!
//! A process takes a **record** when it first pins an object or takes a lock, and proves that it is alive by a
//! byte lock of the segment's file that belongs to its own open file description: the kernel drops it when the
//! last thread of the process is gone, and only then. That is the only evidence of death there is: no timer, no
//! heartbeat, no process id (ids differ between PID namespaces and are reused).
//!
//! A thread takes a **slot** when it first locks something. The slot's index and generation make the *owner word*
//! that the thread writes into the locks it holds. A thread that exits holding nothing gives its slot back; one
//! that exits holding a lock leaves the slot orphaned, and others wait as for a live holder, because a leaked guard
//! may still be in use by another thread. Only the death of the process releases it.
//!
//! Whoever needs something of a dead process runs its *recovery*: idempotent steps, under that process's own
//! byte lock, so that one runs it at a time and another continues if the runner dies too. Upper layers register
//! their steps; this one knows none of them.
//!
//! # Process record states
//! | state | byte lock | meaning | who may change it |
//! |---|---|---|---|
//! | `FREE` | free | unused | whoever takes the byte lock |
//! | `FREE` | held | being attached, or recovered | the lock's holder |
//! | `ATTACHED` | held | alive | the process itself |
//! | `ATTACHED` | free | **dead**: to be recovered | whoever takes the byte lock |
//!
//! # Slot word
//! | bits 0–15 | bits 16–31 | meaning |
//! |---|---|---|
//! | generation | 0 | free |
//! | generation | process record + 1 | taken by a thread of that process |
//!
//! Freeing a slot raises its generation, so an owner word that names an older one is nobody's.

mod process;
mod slot;

pub(crate) use process::{ByteLocks, Participants, Steps};
pub(crate) use slot::{Owner, OwnerState, SlotHandle, current_owner};

/// No more than this many process records are ever in a segment: pins are kept as one bit for each.
pub(crate) const MAX_PROCESSES: usize = 256;
