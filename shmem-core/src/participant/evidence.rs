//! Whether a process is dead: what the kernel vouches for, and nothing else.

use super::process::{ATTACHED, Participants, Record};
use super::switches::{self, Witness};
use crate::mapping::registry;
use crate::primitive::Ordering;
use crate::sys::process::{self, Identity};
use std::sync::Mutex;

/// Nobody can say whether a process is dead: the segment's descriptor was closed by somebody who did not own it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct CannotTell;

impl Record {
    /// Notes who has the record. Until this is whole only the byte can tell of a death.
    pub(super) fn identify(&self, exact: bool, identity: Option<Identity>) {
        self.forget();
        self.exact.store(exact.into(), Ordering::Relaxed);
        self.pid.store(std::process::id(), Ordering::Relaxed);
        let Some(identity) = identity else { return };
        self.started.store(identity.started, Ordering::Relaxed);
        // SYNC identity: Release, pairs with the Acquire below.
        self.namespaces.store(identity.namespaces, Ordering::Release);
    }

    /// Notes that it is nobody's of whom `/proc` could tell.
    pub(super) fn forget(&self) {
        self.namespaces.store(0, Ordering::Release);
        self.pid.store(0, Ordering::Relaxed);
    }

    fn identity(&self) -> Option<Identity> {
        let namespaces = self.namespaces.load(Ordering::Acquire);
        let pid = self.pid.load(Ordering::Relaxed);
        let started = self.started.load(Ordering::Acquire);
        let known = namespaces != 0 && self.namespaces.load(Ordering::Relaxed) == namespaces;
        known.then_some(Identity { pid, namespaces, started })
    }
}

impl Participants {
    /// Whether the process with this record is dead, as far as can be told. Two system calls if its byte is exact; about a
    /// dozen, with some for each of its threads, if it is not, and the process lives in this one's namespaces.
    pub(crate) fn is_dead(&self, index: u32) -> bool {
        self.find_out(index) == Ok(true)
    }

    /// Whether the process with this record is dead.
    ///
    /// # Errors
    /// [`CannotTell`] if no witness can be asked.
    pub(super) fn find_out(&self, index: u32) -> Result<bool, CannotTell> {
        let own = self.attached_now().or_else(|| self.cleaning_as());
        if index >= self.process_count() || own == Some(index) {
            return Ok(false);
        }
        let record = self.record(index);
        let life = || (record.state.load(Ordering::Acquire), record.generation.load(Ordering::Acquire));
        let before = life();
        // The same life of the record before and after, or the witness may have spoken of the time between two.
        if before.0 != ATTACHED {
            return Ok(false);
        }
        let byte = match switches::is_ignored(Witness::Byte) {
            true => Ok(false),
            false => self.file().is_held(index).map(|held| !held),
        };
        match byte {
            Ok(free) => Ok((free || threads_have_left(record)) && life() == before),
            Err(_) if threads_have_left(record) => Ok(life() == before),
            Err(_) => Err(CannotTell),
        }
    }
}

/// What the threads say, of a process whose byte is not exact. (Of one whose byte is, `/proc` would speak too early: a
/// thread is without memory before the last of what it asked the kernel to read into that has come.)
fn threads_have_left(record: &Record) -> bool {
    let asked = |_: &Identity| {
        let exact = record.exact.load(Ordering::Relaxed) != 0;
        !exact || switches::is_ignored(Witness::Byte)
    };
    !switches::is_ignored(Witness::Threads)
        && record.identity().filter(asked).is_some_and(|identity| process::has_left_its_memory(&identity))
}

/// This process's identity, asked for once.
pub(super) fn own_identity() -> Option<Identity> {
    static OWN: Mutex<Option<(u64, Identity)>> = Mutex::new(None);
    // Not the process id: the child of a fork may have its parent's, in a namespace of its own.
    let generation = registry::fork_generation();
    // Not waited for: in the child of a fork another thread may have held it.
    let Ok(mut own) = OWN.try_lock() else { return process::identity() };
    if own.is_none_or(|(of, _)| of != generation) {
        *own = process::identity().map(|identity| (generation, identity));
    }
    own.map(|(_, identity)| identity)
}
