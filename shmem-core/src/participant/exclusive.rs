//! Being alone: no other process is attached, and none gets in meanwhile.
//!
//! Who wants to be alone holds one byte of the file, the *gate*, and then looks at every record; who attaches holds the
//! byte of a record and then looks at the gate. Both are locks of one file, which the kernel takes one after the other: so
//! at least one of the two sees the other, and gives way. The gate is held as a record's byte is: it opens when the
//! process that closed it has left its memory, whatever it did before.
//!
//! Where bytes are not [exact](crate::mapping::HeldByte::is_exact) a child of a dead process may keep the gate. So a closed
//! gate counts only while some other process that is attached lives: who closed it is one.

use super::process::{ATTACHED, FREE, GATE, Participants};
use crate::error::Error;
use crate::primitive::{self, Ordering};
use std::time::Duration;

/// How often who wants to be alone looks for others. Who is attaching finds the gate closed and goes, who is detaching goes.
const LOOKS: u32 = 5;
/// Time between two looks, of either side.
const LOOK_AGAIN: Duration = Duration::from_millis(2);

/// No other process is attached, nor will be while this lives.
#[derive(Debug)]
pub(crate) struct Exclusive<'p> {
    participants: &'p Participants,
    /// How many dead processes were recovered before.
    pub(crate) recovered: usize,
}

impl Drop for Exclusive<'_> {
    fn drop(&mut self) {
        self.participants.open_gate();
    }
}

/// Why this process could not be alone.
#[derive(Debug)]
pub(crate) enum NotAlone {
    /// Others are attached: their ids, as they know themselves, 0 of one that is attaching.
    Others(Vec<u32>),
    /// Another process is alone.
    Underway,
    /// This process could not attach.
    Attach(Error),
    /// The system does not let the gate be closed.
    Refused(std::io::Error),
}

impl Participants {
    /// Recovers the dead, and keeps out every process that is not attached.
    pub(crate) fn exclude_others(&self) -> Result<Exclusive<'_>, NotAlone> {
        let own = self.process().map_err(NotAlone::Attach)?;
        // CRASH gate: it opens with the death of this process.
        match self.file().hold(GATE) {
            Ok(Some(gate)) => self.close_gate(gate),
            Ok(None) => return Err(NotAlone::Underway),
            Err(e) => return Err(NotAlone::Refused(e)),
        }
        let mut alone = Exclusive { participants: self, recovered: 0 };
        let mut looks = 0;
        loop {
            alone.recovered += self.recover_all();
            let others: Vec<u32> = (0..self.process_count()).filter(|i| self.is_another(*i, own)).collect();
            if others.is_empty() {
                return Ok(alone);
            }
            looks += 1;
            if looks == LOOKS {
                let pid = |index: &u32| self.record(*index).pid.load(Ordering::Relaxed);
                return Err(NotAlone::Others(others.iter().map(pid).collect()));
            }
            primitive::thread::sleep(LOOK_AGAIN);
        }
    }

    /// Whether some process but `own` has the record, or is about to.
    fn is_another(&self, index: u32, own: u32) -> bool {
        if index == own {
            return false;
        }
        match self.record(index).state.load(Ordering::Acquire) {
            // A dead one that could not be recovered, too.
            FREE => self.file().is_held(index).unwrap_or(true),
            _ => true,
        }
    }

    /// Whether a process that is about to take this record, and holds its byte, is to give way. One system call, or two.
    pub(super) fn is_kept_out(&self, index: u32) -> bool {
        // SYNC gate: the kernel's, see the module.
        self.file().is_held(GATE).unwrap_or(false) && self.others_live(index)
    }

    fn others_live(&self, own: u32) -> bool {
        (0..self.process_count()).filter(|index| *index != own).any(|index| {
            self.record(index).state.load(Ordering::Acquire) == ATTACHED && self.find_out(index) != Ok(true)
        })
    }

    /// Waits until the gate is open.
    pub(super) fn wait_at_the_gate(&self) {
        while self.is_kept_out(u32::MAX) {
            primitive::thread::sleep(LOOK_AGAIN);
        }
    }
}
