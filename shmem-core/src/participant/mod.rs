//! Who uses a segment: a record for each attached process, a slot for each thread that locks.
//!
//! A process takes a **record** when it first pins an object or takes a lock. Whatever can be sent between its threads
//! (pins, reservations) is charged to the record. A thread takes a **slot** when it first locks something, and notes
//! there, before it takes a lock, which one. The slot's index and generation make the *owner word* that the thread
//! writes into the locks it holds. A thread that exits holding nothing gives its slot back; one that exits holding a
//! lock leaves the slot *orphaned*, and others wait as for a live holder, because a leaked guard may still be in use
//! by another thread. Only the death of the process releases it.
//!
//! # Witnesses
//! | witness | says | counts as |
//! |---|---|---|
//! | the byte of the process's record | free: no thread of the process has its memory any more | evidence |
//! | `/proc/PID/task/*/statm`, in the same PID and time namespace | all 0, or no such process: no thread of it has its memory | evidence, where the byte is not *exact* |
//! | the liveness cell of a thread (the kernel's robust list) | marked: that thread has ended, its siblings may still write | a hint: look now |
//!
//! A byte is exact where the file system lets it be free neither too early nor too late (see `mapping::held_byte`): then
//! `/proc`, which speaks too early for memory that the kernel itself or another process still writes to, is not asked. No
//! timer, no heartbeat and no process id alone is believed: a stopped process is alive. See [`evidence`], [`cell`].
//!
//! # Recovery
//! Whoever needs something of a dead process runs its recovery: idempotent steps, under a byte that belongs to the
//! recoverer as the dead process's own belonged to that; so one runs it at a time, and another begins again if the
//! runner dies too. Upper layers register their steps; this one knows none of them. See [`recovery`].
//!
//! # Alone
//! A process can keep the others out: it closes the *gate*, a byte that who attaches looks at, and sees that nobody else
//! is there. See [`exclusive`].
//!
//! # Process record states
//! | state | byte | meaning | who may change it |
//! |---|---|---|---|
//! | `FREE` | free | unused | whoever holds the byte |
//! | `FREE` | held | being attached, or just recovered | the byte's holder |
//! | `ATTACHED` | held | alive (unless the byte is not exact, and `/proc` says dead) | the process itself |
//! | `ATTACHED` | free | **dead**: to be recovered | whoever holds the recoverer's byte |
//!
//! # Slot word
//! | bits 0–31 | bits 32–47 | bit 48 | meaning |
//! |---|---|---|---|
//! | generation | 0 | 0 | free |
//! | generation | process record + 1 | 0 | taken by a thread of that process |
//! | generation | process record + 1 | 1 | orphaned: the thread has exited and left locks held |
//! | generation | 0xFFFF | 0 | retired: its thread died holding more locks than it could note |
//!
//! Freeing a slot raises its generation. Owner words hold the lower 16 bits of it. That they come round after 65,536
//! lives of a slot hurts nobody, because no lock word outlives its slot's life: a thread gives a slot back only when it
//! holds nothing, and recovery frees a dead thread's slot only when every lock it noted has been released. A thread
//! that held more locks than there is room to note has its slot retired, known to be nobody's, until the last of the others
//! was taken over.

mod cell;
mod evidence;
mod exclusive;
mod list;
mod process;
mod recovery;
mod slot;
pub(crate) mod switches;
mod thread;

pub(crate) use cell::{Gone, Waited, Watch};
pub(crate) use exclusive::{Exclusive, NotAlone};
pub(crate) use process::{Changing, Participants, SegmentFile};
pub(crate) use recovery::{LockKind, Recovered};
pub(crate) use slot::{Intent, Owner, SlotHandle, TaggedSlot};
pub(crate) use thread::{KeptSlot, begin_child, current_owner, kept_slot, known_slot};

/// No more than this many process records are ever in a segment: pins are kept as one bit for each.
pub(crate) const MAX_PROCESSES: usize = 256;

#[cfg(test)]
pub(crate) use {cell::cell_layout, process::record_layout, slot::slot_layout};
#[cfg(test)]
mod tests;
