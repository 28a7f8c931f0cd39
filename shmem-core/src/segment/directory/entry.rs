//! Directory entries: one for each object, in chunks that are never moved nor freed, so that they can be read
//! without a lock.
//!
//! | phase | meaning | next |
//! |---|---|---|
//! | `FREE` | unused | `RESERVED`, by whoever holds the directory lock |
//! | `RESERVED` | being constructed by `agent` | `LIVE` by it; `FREE` if it fails or dies |
//! | `LIVE` | can be found | `UNLINKED`; `CONVERTING`, under the directory lock, while nobody pins it |
//! | `UNLINKED` | its name is gone; it lives while a process pins it | `FREEING` or `ORPHAN`, once nobody does |
//! | `FREEING` | being dropped by `agent` | `FREE` |
//! | `ORPHAN` | nobody pins it and its type was not at hand | `FREEING`, by whoever next works with that type |
//! | `CONVERTING` | as `LIVE`, but nobody can pin it: `agent` makes of it an object of another type (see `migrate`) | `UNLINKED`, when the other is live; `LIVE`, if it fails or dies |
//!
//! | bits of the state word | meaning |
//! |---|---|
//! | 0–2 | the phase |
//! | 3 | somebody sleeps until a reservation or a conversion ends |
//! | 4–12 | the agent: process record + 1 of whoever constructs, converts or frees the object, else 0 |
//! | 13–31 | a generation, raised whenever an entry becomes `FREE` |
//!
//! Phase and agent change together: whoever is to undo an agent's work after its death always finds whose it was.

use crate::primitive::{AtomicU32, AtomicU64, Ordering};
use crate::sys::futex;

/// How an entry's name is kept: up to this many bytes in the entry, else in a heap block.
pub(super) const INLINE_NAME: usize = 72;

/// The longest name of an object, in bytes.
pub(crate) const MAX_NAME: usize = 1024;

/// One object. A look-up needs the first two cache lines.
#[derive(Default)]
#[repr(C, align(64))]
pub(super) struct Entry {
    /// Phase, sleepers and generation; a futex word while `RESERVED` or `CONVERTING`.
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
    pub(super) _zero: u32,
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
    /// Owner word of the thread that constructs or converts it.
    pub(super) constructor: AtomicU32,
    /// The [`Life`] of the object that this one is to take the place of, 0 when it is not or has done so.
    pub(super) supersedes: AtomicU64,
}

#[cfg(not(loom))]
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
const AGENT_SHIFT: u32 = 4;
const GENERATION_SHIFT: u32 = 13;
const AGENT: u32 = (1 << GENERATION_SHIFT) - (1 << AGENT_SHIFT);

const _: () = assert!(super::MAX_PROCESSES < 1 << (GENERATION_SHIFT - AGENT_SHIFT));

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
    Converting = 6,
}

const PHASES: [Phase; 7] = [
    Phase::Free,
    Phase::Reserved,
    Phase::Live,
    Phase::Unlinked,
    Phase::Freeing,
    Phase::Orphan,
    Phase::Converting,
];

/// A state word: phase, agent and generation.
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

    /// Whether the object's name leads to it.
    pub(super) fn is_there(self) -> bool {
        self.is(Phase::Live) || self.is(Phase::Converting)
    }

    /// Whether the entry's name belongs into the index.
    pub(super) fn is_indexed(self) -> bool {
        self.is_there() || self.is(Phase::Reserved)
    }

    /// The same generation in another phase, without an agent, nobody asleep; freeing begins a new generation.
    pub(super) fn to(self, phase: Phase) -> State {
        let raised = u32::from(phase == Phase::Free) << GENERATION_SHIFT;
        State(((self.0 >> GENERATION_SHIFT) << GENERATION_SHIFT).wrapping_add(raised) | phase as u32)
    }

    /// As [`to`](Self::to), by the process with this record.
    pub(super) fn by(self, phase: Phase, process: u32) -> State {
        State(self.to(phase).0 | (process + 1) << AGENT_SHIFT)
    }

    /// The record of the process that constructs, converts or frees the object.
    pub(super) fn agent(self) -> Option<u32> {
        ((self.0 & AGENT) >> AGENT_SHIFT).checked_sub(1)
    }

    /// Whether both are of one object's life.
    pub(super) fn same_life(self, other: State) -> bool {
        self.0 >> GENERATION_SHIFT == other.0 >> GENERATION_SHIFT
    }

    /// The same, with somebody asleep.
    pub(super) fn with_sleepers(self) -> State {
        State(self.0 | SLEEPERS)
    }
}

/// One object's life in one entry, as a word: the entry's number + 1 below, its generation above.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Life(pub(super) u64);

impl Life {
    /// The life that entry `number`, in `state`, is in.
    pub(super) fn new(number: u32, state: State) -> Self {
        Life(u64::from(state.0 >> GENERATION_SHIFT) << 32 | u64::from(number + 1))
    }

    /// Which entry; `None` for the word 0.
    pub(super) fn number(self) -> Option<u32> {
        (self.0 as u32).checked_sub(1)
    }
}

impl Entry {
    /// The state. SeqCst: pins and unlinking decide by it in one total order (see `pins`).
    pub(super) fn state(&self) -> State {
        State(self.state.load(Ordering::SeqCst))
    }

    /// Goes from `from` to `next` if nobody else changed it.
    pub(super) fn advance(&self, from: State, next: State) -> bool {
        self.state.compare_exchange(from.0, next.0, Ordering::SeqCst, Ordering::Relaxed).is_ok()
    }

    /// Goes to `next`, whatever the entry is in, and wakes whoever sleeps on it. The caller alone may do so.
    pub(super) fn settle(&self, next: State) {
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

#[cfg(test)]
pub(crate) fn entry_layout() -> crate::format_test::StoredLayout {
    crate::format_test::stored_layout!(Entry {
        state,
        kind,
        hash,
        object,
        fingerprint,
        count,
        name_len,
        _zero,
        name_at,
        pins,
        name,
        element_size,
        element_align,
        constructor,
        supersedes
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn phase_agent_and_generation_do_not_disturb_each_other() {
        let born = State(0x1_2345 << GENERATION_SHIFT);
        assert_eq!(born.agent(), None);
        for process in [0, 7, 255] {
            let reserved = born.by(Phase::Reserved, process).with_sleepers();
            assert!(reserved.is(Phase::Reserved) && reserved.same_life(born));
            assert_eq!(reserved.agent(), Some(process));
            let live = reserved.to(Phase::Live);
            assert_eq!((live.phase(), live.agent()), (Some(Phase::Live), None));
            assert!(live.same_life(born));
            let freeing = live.by(Phase::Freeing, process);
            assert_eq!(freeing.agent(), Some(process));
            let free = freeing.to(Phase::Free);
            assert!(!free.same_life(born) && free.agent().is_none());
            assert_eq!(free.0, 0x1_2346 << GENERATION_SHIFT);
        }
        assert_eq!(State(u32::MAX).to(Phase::Free), State(0), "generations wrap");
    }

    #[test]
    fn a_life_is_told_from_the_next_one_of_its_entry() {
        let born = State(0x1_2345 << GENERATION_SHIFT);
        let life = Life::new(7, born.to(Phase::Live));
        assert_eq!(life.number(), Some(7));
        assert_eq!(life, Life::new(7, born.by(Phase::Converting, 255).with_sleepers()));
        assert_ne!(life, Life::new(7, born.to(Phase::Free)));
        assert_ne!(life, Life::new(8, born));
        assert_eq!(Life(0).number(), None);
        assert_ne!(Life::new(0, State(0)).0, 0);
    }
}
