//! Who takes part, for people: processes, their threads, what these hold and wait for.

use super::process::{ATTACHED, Participants};
use super::slot::Slot;
use crate::primitive::Ordering;

/// What a slot says of its thread.
#[derive(Debug, Clone)]
pub(crate) struct ThreadReport {
    pub(crate) process: u32,
    pub(crate) thread_id: u32,
    pub(crate) is_orphaned: bool,
    /// Where the locks that it holds stand, in bytes from the segment's start.
    pub(crate) holds: Vec<u64>,
    /// How many further ones it holds.
    pub(crate) unnoted: u32,
    /// Where the lock stands that it sleeps for.
    pub(crate) waits_for: Option<u64>,
}

impl Participants {
    /// The attached processes: record and process id (0 while it is attaching), as they are now.
    pub(crate) fn attached_processes(&self) -> Vec<(u32, u32)> {
        (0..self.process_count())
            .filter(|index| self.record(*index).state.load(Ordering::Acquire) == ATTACHED)
            .map(|index| (index, self.record(index).pid.load(Ordering::Relaxed)))
            .collect()
    }

    /// The threads that have slots. What they hold changes meanwhile: a lock counts as held if its word says so now.
    pub(crate) fn threads(&self) -> Vec<ThreadReport> {
        let file_len = self.file().len().unwrap_or(0);
        self.slots()
            .filter_map(|(index, slot)| {
                let process = slot.process()?;
                let held = slot.notes().filter_map(|note| {
                    let (at, kind) = self.noted(note, file_len)?;
                    let word = self.word(at)?;
                    (kind.is_held)(word, slot.owner(index)).then(|| self.offset_of(at))
                });
                Some(ThreadReport {
                    process,
                    thread_id: slot.thread.load(Ordering::Relaxed),
                    is_orphaned: slot.is_orphaned(),
                    holds: held.collect(),
                    unnoted: slot.unnoted(),
                    waits_for: self.waits_for(slot),
                })
            })
            .collect()
    }

    fn waits_for(&self, slot: &Slot) -> Option<u64> {
        let (at, _) = slot.resolve(slot.waits_for.load(Ordering::Relaxed))?;
        Some(self.offset_of(at))
    }
}
