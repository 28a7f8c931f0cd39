//! The library's entries and pins, with a stand-in for the directory around them: one entry, without a name, whose
//! object is a number that loom watches.
//!
//! What stands between the pins and a model is [`Holder`]: who changes how pins are called changes that alone.

#[path = "../../../shmem-core/src/segment/directory/entry.rs"]
mod entry;
#[path = "../../../shmem-core/src/segment/directory/pins.rs"]
mod pins;

use crate::layout::ShmSafe;
use crate::mapping::registry;
use crate::participant::table::{Process, RECORDS};
use crate::participant::{MAX_PROCESSES, Participants};
use crate::primitive::{Mutex, MutexGuard, Ordering};
use entry::{Entry, LANES, Phase, State};
use loom::cell::UnsafeCell;
use pins::{Hold, LocalPins, Pin};
use std::sync::Arc;

/// Drops an object's elements; `true` if it could.
type DropGlue = unsafe fn(*mut u8, usize) -> bool;

// The first record's lane is the last one's, too.
const _: () = assert!(RECORDS - 1 == LANES);

const CHUNKS: usize = 1;

fn place(number: u32) -> (usize, usize) {
    (0, number as usize)
}

fn number(_: usize, i: usize) -> u32 {
    i as u32
}

fn chunk_len(_: usize) -> usize {
    1
}

/// The entry and its object.
struct Shared {
    entry: Entry,
    object: UnsafeCell<u32>,
    /// How often the object was dropped.
    drops: std::sync::atomic::AtomicU32,
}

// SAFETY: the object is accessed through loom, which checks that nothing is read while it is dropped.
unsafe impl Send for Shared {}
// SAFETY: likewise.
unsafe impl Sync for Shared {}

/// One process's directory.
struct Directory {
    shared: Arc<Shared>,
    participants: Arc<Participants>,
    pins: LocalPins,
    storing: Mutex<()>,
}

/// Stands for a type's.
unsafe fn glue(_: *mut u8, _: usize) -> bool {
    true
}

/// Only look-ups by type need it.
unsafe fn drop_elements<T: ShmSafe>(_: *mut u8, _: usize) -> bool {
    unreachable!("nothing is looked up by type");
}

impl Directory {
    fn hold(&self) -> MutexGuard<'_, ()> {
        self.storing.lock().unwrap()
    }

    fn orphan(&self, entry: &Entry, state: State) {
        // How many there are is of no interest here.
        entry.advance(state, state.to(Phase::Orphan));
    }

    fn high(&self) -> u32 {
        1
    }

    fn number_of(&self, _: &Entry) -> u32 {
        0
    }

    fn is_in_place<T: ShmSafe>(&self, _: &Entry) -> bool {
        true
    }

    fn entry(&self, _: u32) -> Option<&Entry> {
        Some(&self.shared.entry)
    }

    fn drop_object(&self, _: &Entry, _: DropGlue) {
        self.shared.drops.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        // SAFETY: nobody has it any more; loom checks it.
        self.shared.object.with_mut(|object| unsafe { *object = 0 });
    }

    fn release(&self, entry: &Entry) {
        entry.settle(entry.state().to(Phase::Free));
    }
}

/// The one object of a model, `LIVE` at first, and what processes do with it.
pub struct Objects(Arc<Shared>);

/// A pin of a process's.
pub struct Held {
    hold: Hold,
    is_in_lane: bool,
}

impl Held {
    /// Whether it is counted in a lane.
    pub fn is_in_lane(&self) -> bool {
        self.is_in_lane
    }
}

/// What one process does with the object.
#[derive(Clone)]
pub struct Holder(Arc<Directory>);

impl Default for Objects {
    fn default() -> Self {
        let entry = Entry::default();
        entry.state.store(State(0).to(Phase::Live).0, Ordering::Relaxed);
        Objects(Arc::new(Shared { entry, object: UnsafeCell::new(7), drops: Default::default() }))
    }
}

impl Objects {
    /// The directory of a process.
    pub fn holder(&self, process: &Process) -> Holder {
        let directory = Directory {
            shared: self.0.clone(),
            participants: process.participants(),
            pins: LocalPins::default(),
            storing: Mutex::default(),
        };
        // The local count is made here, or loom would object to a thread that did not see it made.
        directory.pins.keep_lanes(vec![(0, 0)]);
        let holder = Holder(Arc::new(directory));
        // And its record is known from now on.
        let hold = holder.pin().unwrap();
        holder.unpin(hold);
        holder
    }

    /// Whether the object is gone, which it is once.
    pub fn is_gone(&self) -> bool {
        let drops = self.0.drops.load(std::sync::atomic::Ordering::Relaxed);
        assert!(drops <= 1, "dropped twice");
        drops == 1
    }

    /// Whether nobody holds it any more: it is gone, or whoever freed it was killed at that, or it waits for its type.
    pub fn is_over(&self) -> bool {
        self.is_gone() || self.is_orphan() || self.0.entry.state().is(Phase::Free)
    }

    /// Whether it waits for somebody who knows its type.
    pub fn is_orphan(&self) -> bool {
        self.0.entry.state().is(Phase::Orphan)
    }
}

impl Holder {
    /// Pins the object, if it is there to be found.
    pub fn pin(&self) -> Option<Held> {
        let entry = &self.0.shared.entry;
        let wanted = || entry.state().is(Phase::Live);
        match self.0.pin(entry, wanted, || Some((glue as DropGlue, entry.state()))) {
            Pin::Held(hold) => Some(Held { hold, is_in_lane: hold == Hold::in_lane(entry) }),
            Pin::Gone | Pin::NoRecord => None,
        }
    }

    /// Reads the object, which is pinned.
    pub fn read(&self) {
        // SAFETY: pinned, so it stays; loom checks it.
        let read = self.0.shared.object.with(|object| unsafe { *object });
        assert_eq!(read, 7);
    }

    /// Lets go of a pin.
    pub fn unpin(&self, held: Held) {
        self.0.unpin_of(held.hold, registry::fork_generation() as u32, glue);
    }

    /// What a fork does in the parent: the child, which has this record from now on, holds what this process holds.
    pub fn fork(&self, child: u32) {
        self.0.freeze(Some(child));
        self.0.pins.thaw();
    }

    /// Takes the object's name away. (The directory's lock is held meanwhile, and nobody else comes here.)
    pub fn unlink(&self) {
        let entry = &self.0.shared.entry;
        let life = entry.state();
        assert!(entry.advance(life, life.to(Phase::Unlinked)));
        self.0.reap_if_free(entry, Some((glue, life)));
    }

    /// As the directory's recovery step does it for one entry.
    pub fn recover(&self, dead: u32) {
        let entry = &self.0.shared.entry;
        self.0.unpin_dead(entry, dead);
        let state = entry.state();
        match state.phase() {
            Some(Phase::Freeing) if state.agent() == Some(dead) => self.0.release(entry),
            Some(Phase::Unlinked) => self.0.reap_if_free(entry, None),
            _ => {}
        }
    }
}
