//! Who takes part in a segment, for people: see [`Segment::participants`].

use super::inner::Segment;
use crate::mapping::superblock::DIRECTORY_AT;
use std::collections::BTreeMap;
use std::fmt;

/// A process that is attached to a segment: see [`Segment::participants`].
///
/// Displays as one line for the process and one for each of its threads.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Participant {
    /// Its process id in its own PID namespace; 0 while it is attaching.
    pub pid: u32,
    /// Which of the segment's process records it has.
    pub record: u32,
    /// Whether it is alive.
    pub state: ParticipantState,
    /// Whether it is this process, by this mapping of the segment.
    pub is_self: bool,
    /// Its threads that have locked something.
    pub threads: Vec<ParticipantThread>,
}

/// Whether a [`Participant`] is alive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ParticipantState {
    /// As far as the kernel says. (A stopped process is alive.)
    Alive,
    /// The kernel vouches that its last thread is gone; nobody has recovered it yet.
    Dead,
}

/// A thread of a [`Participant`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ParticipantThread {
    /// Its id in the PID namespace of its process.
    pub thread_id: u32,
    /// Whether it has exited and left locks held: only the end of its process releases them.
    pub is_orphaned: bool,
    /// The locks it holds.
    pub holds: Vec<ParticipantLock>,
    /// How many further locks it holds; a thread keeps a list of the first few only.
    pub holds_more: u32,
    /// The lock it sleeps for.
    pub waits_for: Option<ParticipantLock>,
}

/// A lock that a [`ParticipantThread`] holds or waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ParticipantLock {
    /// Where it stands, in bytes from the start of the segment.
    pub offset: u64,
    /// The name of the object it is a part of, if it stands in one itself, and not in memory the object points to.
    pub object: Option<String>,
}

impl fmt::Display for ParticipantLock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.object {
            Some(object) => write!(f, "{object} ({:#x})", self.offset),
            None if self.offset == DIRECTORY_AT => f.write_str("the directory"),
            None => write!(f, "{:#x}", self.offset),
        }
    }
}

impl fmt::Display for Participant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match self.state {
            ParticipantState::Alive => "alive",
            ParticipantState::Dead => "dead",
        };
        let own = if self.is_self { ", this one" } else { "" };
        write!(f, "process {} (record {}): {state}{own}", self.pid, self.record)?;
        for thread in &self.threads {
            let orphaned = if thread.is_orphaned { " (has exited)" } else { "" };
            write!(f, "\n  thread {}{orphaned}", thread.thread_id)?;
            let mut separator = " holds ";
            for lock in &thread.holds {
                write!(f, "{separator}{lock}")?;
                separator = ", ";
            }
            if thread.holds_more > 0 {
                write!(f, "{separator}{} more", thread.holds_more)?;
            }
            if let Some(lock) = &thread.waits_for {
                write!(f, "; waits for {lock}")?;
            }
        }
        Ok(())
    }
}

impl Segment {
    /// The processes attached to the segment, with their threads and the locks that these hold or wait for: what to look
    /// at when something does not go on. Attached is who has held an object or taken a lock.
    ///
    /// Others go on meanwhile, so it is a picture of an instant that never was. Costs a few system calls for each process;
    /// waits for nobody (names of objects are left out while the directory is locked).
    pub fn participants(&self) -> Vec<Participant> {
        let participants = &self.inner.participants;
        let threads = participants.threads();
        let own = participants.attached_now();
        let offsets: Vec<u64> =
            threads.iter().flat_map(|t| t.holds.iter().chain(&t.waits_for)).copied().collect();
        let names = self.inner.directory.names_at(&offsets);
        let mut locks =
            offsets.into_iter().zip(names).map(|(offset, object)| ParticipantLock { offset, object });
        let mut of_process: BTreeMap<u32, Vec<ParticipantThread>> = BTreeMap::new();
        for thread in threads {
            let report = ParticipantThread {
                thread_id: thread.thread_id,
                is_orphaned: thread.is_orphaned,
                holds: locks.by_ref().take(thread.holds.len()).collect(),
                holds_more: thread.unnoted,
                waits_for: thread.waits_for.and_then(|_| locks.next()),
            };
            of_process.entry(thread.process).or_default().push(report);
        }
        let report = |(record, pid)| Participant {
            pid,
            record,
            state: match participants.is_dead(record) {
                true => ParticipantState::Dead,
                false => ParticipantState::Alive,
            },
            is_self: own == Some(record),
            threads: of_process.remove(&record).unwrap_or_default(),
        };
        participants.attached_processes().into_iter().map(report).collect()
    }
}
