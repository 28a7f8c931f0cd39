//! Directory entries: one for each object, in chunks that are never moved nor freed, so that they can be read
//! without a lock.
//!
//! | phase | meaning | next |
//! |---|---|---|
//! | `FREE` | unused | `RESERVED`, by whoever holds the directory lock |
//! | `RESERVED` | being constructed by `agent` | `LIVE` by it; `FREE` if it fails or dies |
//! | `LIVE` | can be found | `UNLINKED` |
//! | `UNLINKED` | its name is gone; it lives while a process pins it | `FREEING` or `ORPHAN`, once nobody does |
//! | `FREEING` | being dropped by `agent` | `FREE` |
//! | `ORPHAN` | nobody pins it and its type was not at hand | `FREEING`, by whoever next works with that type |
//!
//! Bit 3 of the state word says that somebody sleeps until a reservation ends. The bits above are a generation, raised
//! whenever an entry becomes `FREE`.

use crate::primitive::{AtomicU32, AtomicU64, Ordering};
use crate::sys::futex;

/// How an entry's name is kept: up to this many bytes in the entry, else in a heap block.
pub(super) const INLINE_NAME: usize = 72;

/// The longest name of an object, in bytes.
pub(crate) const MAX_NAME: usize = 1024;

/// One object. A look-up needs the first two cache lines.
#[repr(C, align(64))]
pub(super) struct Entry {
    /// Phase, sleepers and generation; a futex word while `RESERVED`.
    pub(super) state: AtomicU32,
    /// [`ObjectKind`], and [`SLICE`] if it was constructed as a slice.
    pub(super) kind: AtomicU32,
    /// The hash of kind and name.
    pub(super) hash: AtomicU64,
    /// Where the first element stands; 0 if it has no bytes.
    pub(super) object: AtomicU64,
    /// The element type.
    pub(super) fingerprint: [AtomicU64; 2],
    /// How many elements.
    pub(super) count: AtomicU64,
    /// The name's length in bytes.
    pub(super) name_len: AtomicU32,
    /// Process record + 1 of whoever constructs or frees it.
    pub(super) agent: AtomicU32,
    /// Where a name that is not inline stands, 0 if it is.
    pub(super) name_at: AtomicU64,
    /// A bit for each process that pins the object.
    pub(super) pins: [AtomicU64; 4],
    /// An inline name.
    pub(super) name: [AtomicU64; INLINE_NAME / 8],
    /// Size of one element in bytes.
    pub(super) element_size: AtomicU64,
    /// Its alignment.
    pub(super) element_align: AtomicU32,
    /// Owner word of the thread that constructs it.
    pub(super) constructor: AtomicU32,
    pub(super) _zero: u64,
}

const _: () = assert!(size_of::<Entry>() == 192 && align_of::<Entry>() == 64);
const _: () = assert!(super::MAX_PROCESSES == 4 * 64);

/// Added to [`Entry::kind`] of a slice.
pub(super) const SLICE: u32 = 1 << 8;

/// How an object is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum ObjectKind {
    /// By its name.
    Named,
    /// By its type.
    Unique,
    /// Not at all: only through its [`Owned`](crate::Owned).
    Anonymous,
}

impl ObjectKind {
    pub(super) fn code(self) -> u32 {
        match self {
            ObjectKind::Named => 1,
            ObjectKind::Unique => 2,
            ObjectKind::Anonymous => 3,
        }
    }

    pub(super) fn from_code(code: u32) -> Option<Self> {
        [ObjectKind::Named, ObjectKind::Unique, ObjectKind::Anonymous]
            .into_iter()
            .find(|k| k.code() == code & 0xFF)
    }
}

/// The bit of a state word that asks for a wake-up.
const SLEEPERS: u32 = 1 << 3;

/// See the [table](self).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub(super) enum Phase {
    Free = 0,
    Reserved = 1,
    Live = 2,
    Unlinked = 3,
    Freeing = 4,
    Orphan = 5,
}

const PHASES: [Phase; 6] =
    [Phase::Free, Phase::Reserved, Phase::Live, Phase::Unlinked, Phase::Freeing, Phase::Orphan];

/// A state word: phase and generation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct State(pub(super) u32);

impl State {
    /// The phase, `None` if the word is damaged.
    pub(super) fn phase(self) -> Option<Phase> {
        PHASES.get((self.0 & 7) as usize).copied()
    }

    pub(super) fn is(self, phase: Phase) -> bool {
        self.0 & 7 == phase as u32
    }

    /// The same generation in another phase, nobody asleep; freeing begins a new generation.
    pub(super) fn to(self, phase: Phase) -> State {
        let generation = if phase == Phase::Free { (self.0 >> 4).wrapping_add(1) } else { self.0 >> 4 };
        State(generation << 4 | phase as u32)
    }

    /// The same, with somebody asleep.
    pub(super) fn with_sleepers(self) -> State {
        State(self.0 | SLEEPERS)
    }
}

impl Entry {
    /// The state. SeqCst: pins and unlinking decide by it in one total order (see `pins`).
    pub(super) fn state(&self) -> State {
        State(self.state.load(Ordering::SeqCst))
    }

    /// Goes from `from` to `phase` if nobody else changed it.
    pub(super) fn advance(&self, from: State, phase: Phase) -> bool {
        self.state.compare_exchange(from.0, from.to(phase).0, Ordering::SeqCst, Ordering::Relaxed).is_ok()
    }

    /// Ends a reservation or a life: goes to `phase`, whatever the entry is in, and wakes whoever sleeps on it. The
    /// caller alone may do so.
    pub(super) fn settle(&self, phase: Phase) {
        let next = self.state().to(phase);
        // SYNC publish: SeqCst, pairs with the loads in `state`; a swap, to learn of sleepers without missing one.
        if self.state.swap(next.0, Ordering::SeqCst) & SLEEPERS != 0 {
            futex::wake(&self.state, u32::MAX);
        }
    }

    /// Whether any process pins it.
    pub(super) fn is_pinned(&self) -> bool {
        self.pins.iter().any(|word| word.load(Ordering::SeqCst) != 0)
    }

    /// The word and bit for a process.
    pub(super) fn pin_bit(&self, process: u32) -> (&AtomicU64, u64) {
        (&self.pins[process as usize / 64 % 4], 1 << (process % 64))
    }
}
