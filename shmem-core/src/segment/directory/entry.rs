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
//! | 13–63 | a generation, raised whenever an entry becomes `FREE` |
//!
//! The generation has 51 bits, so it never comes round: an entry that is made and freed every 100 ns needs seven years. So
//! one state word, met twice, proves that all that was read in between is of one object's life. Sleepers wait on the
//! word's lower half.
//!
//! Phase and agent change together: whoever is to undo an agent's work after its death always finds whose it was.

//!
//! This file needs `unsafe`: the kernel is shown half a state word.

use crate::participant::Owner;
use crate::primitive::{AtomicU32, AtomicU64, Ordering};
use crate::sys::futex;

/// How an entry's name is kept: up to this many bytes in the entry, else in a heap block.
pub(super) const INLINE_NAME: usize = 40;

/// Processes that can pin one object with a single atomic operation; see `pins`.
pub(super) const LANES: usize = 4;

/// The longest name of an object, in bytes.
pub(crate) const MAX_NAME: usize = 1024;

/// One object. A look-up needs the first two cache lines.
#[derive(Default)]
#[repr(C, align(64))]
pub(super) struct Entry {
    /// Phase, sleepers and generation; its lower half is a futex word while `RESERVED` or `CONVERTING`.
    pub(super) state: AtomicU64,
    /// Counted pins: lane `i` is for one of the processes whose record is `i` modulo [`LANES`].
    pub(super) lanes: [AtomicU64; LANES],
    /// Where the first element stands; 0 if it has no bytes.
    pub(super) object: AtomicU64,
    /// The element type.
    pub(super) fingerprint: [AtomicU64; 2],
    /// What it is and how long its name: see [`Label`].
    pub(super) label: AtomicU64,
    /// Size of one element in bytes.
    pub(super) element_size: AtomicU64,
    /// How many elements.
    pub(super) count: AtomicU64,
    /// An inline name, zeros behind it; or, in the first word, where a longer one stands.
    pub(super) name: [AtomicU64; INLINE_NAME / 8],
    /// The hash of kind and name.
    pub(super) hash: AtomicU64,
    /// A bit for each process that pins the object without a lane.
    pub(super) pins: [AtomicU64; 4],
    /// The [`Life`] of the object that this one is to take the place of, 0 when it is not or has done so.
    pub(super) supersedes: AtomicU64,
    /// The [`Life`] of the object whose constructor the one of this object waits for, 0 while it runs.
    pub(super) waits_for: AtomicU64,
    /// Owner word of the thread that constructs or converts it; 0 while nobody does.
    pub(super) constructor: AtomicU32,
    pub(super) _zero: u32,
}

#[cfg(not(loom))]
const _: () = assert!(size_of::<Entry>() == 192 && align_of::<Entry>() == 64);
#[cfg(not(loom))]
const _: () = assert!(std::mem::offset_of!(Entry, label) == 64 && std::mem::offset_of!(Entry, hash) == 128);
const _: () = assert!(super::MAX_PROCESSES == 4 * 64);

/// What an object is: bits 0–7 the [`ObjectKind`], bit 8 whether it was constructed as a slice, bits 16–31 the length of its
/// name in bytes, bits 32–63 the alignment of an element.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Label(pub(super) u64);

const SLICE: u64 = 1 << 8;
const _: () = assert!(MAX_NAME < 1 << 16);

impl Label {
    #[inline(always)]
    pub(super) fn new(kind: ObjectKind, slice: bool, name_len: usize, align: usize) -> Self {
        Label(kind.code() | u64::from(slice) << 8 | (name_len as u64) << 16 | (align as u64) << 32)
    }

    #[inline(always)]
    pub(super) fn is_slice(self) -> bool {
        self.0 & SLICE != 0
    }

    #[inline(always)]
    pub(super) fn name_len(self) -> usize {
        usize::from((self.0 >> 16) as u16)
    }

    /// The alignment of an element.
    #[inline(always)]
    pub(super) fn align(self) -> usize {
        (self.0 >> 32) as usize
    }

    /// The same, as a slice.
    #[inline(always)]
    pub(super) fn of_slice(self) -> Self {
        Label(self.0 | SLICE)
    }

    /// Whether a name of this kind and length may be this one's.
    #[inline(always)]
    pub(super) fn names(self, kind: ObjectKind, name_len: usize) -> bool {
        self.0 & 0xFF == kind.code() && self.name_len() == name_len
    }

    /// How it is found; `None` if the word is damaged.
    pub(super) fn kind(self) -> Option<ObjectKind> {
        ObjectKind::from_code(self.0)
    }

    pub(super) fn is_anonymous(self) -> bool {
        self.kind() == Some(ObjectKind::Anonymous)
    }
}

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
    #[inline(always)]
    pub(super) fn code(self) -> u64 {
        match self {
            ObjectKind::Named => 1,
            ObjectKind::Unique => 2,
            ObjectKind::Anonymous => 3,
        }
    }

    fn from_code(code: u64) -> Option<Self> {
        [ObjectKind::Named, ObjectKind::Unique, ObjectKind::Anonymous]
            .into_iter()
            .find(|k| k.code() == code & 0xFF)
    }
}

/// The bit of a state word that asks for a wake-up.
const SLEEPERS: u64 = 1 << 3;
const AGENT_SHIFT: u32 = 4;
const GENERATION_SHIFT: u32 = 13;
const AGENT: u64 = (1 << GENERATION_SHIFT) - (1 << AGENT_SHIFT);

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
pub(super) struct State(pub(super) u64);

impl State {
    /// The phase, `None` if the word is damaged.
    pub(super) fn phase(self) -> Option<Phase> {
        PHASES.get((self.0 & 7) as usize).copied()
    }

    #[inline(always)]
    pub(super) fn is(self, phase: Phase) -> bool {
        self.0 & 7 == phase as u64
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
        let raised = u64::from(phase == Phase::Free) << GENERATION_SHIFT;
        State(((self.0 >> GENERATION_SHIFT) << GENERATION_SHIFT).wrapping_add(raised) | phase as u64)
    }

    /// As [`to`](Self::to), by the process with this record.
    pub(super) fn by(self, phase: Phase, process: u32) -> State {
        State(self.to(phase).0 | u64::from(process + 1) << AGENT_SHIFT)
    }

    /// The same generation, free.
    #[cfg(test)]
    pub(super) fn as_free(self) -> State {
        State(self.0 >> GENERATION_SHIFT << GENERATION_SHIFT)
    }

    /// The record of the process that constructs, converts or frees the object.
    pub(super) fn agent(self) -> Option<u32> {
        (((self.0 & AGENT) >> AGENT_SHIFT) as u32).checked_sub(1)
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

/// One object's life in one entry, as a word: the entry's number + 1 in bits 0–27, the lower 36 bits of its generation
/// above. (It is compared while the entry is in that life or has just left it.)
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Life(pub(super) u64);

const NUMBER_BITS: u32 = 28;
const _: () = assert!(super::CHUNKS < NUMBER_BITS as usize - 4);

impl Life {
    /// The life that entry `number`, in `state`, is in.
    pub(super) fn new(number: u32, state: State) -> Self {
        Life(state.0 >> GENERATION_SHIFT << NUMBER_BITS | u64::from(number + 1))
    }

    /// Which entry; `None` for the word 0.
    pub(super) fn number(self) -> Option<u32> {
        (self.0 as u32 & ((1 << NUMBER_BITS) - 1)).checked_sub(1)
    }
}

/// Who pins an object in one lane, and how often: bits 0–47 the number of pins, bits 48–63 the process's record + 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Lane(pub(super) u64);

impl Lane {
    const COUNT: u64 = (1 << 48) - 1;

    #[inline(always)]
    pub(super) fn new(process: u32, pins: u64) -> Self {
        Lane(u64::from(process + 1) << 48 | pins)
    }

    #[inline(always)]
    pub(super) fn pins(self) -> u64 {
        self.0 & Self::COUNT
    }

    #[inline(always)]
    pub(super) fn process(self) -> Option<u32> {
        ((self.0 >> 48) as u32).checked_sub(1)
    }
}

/// The last word of a name, zeros behind it, in few loads: its length is no multiple of 8.
#[inline(always)]
fn last_word(name: &[u8]) -> u64 {
    let rest = name.len() % 8;
    if let Some(last) = name.last_chunk::<8>() {
        return u64::from_le_bytes(*last) >> (64 - 8 * rest);
    }
    if let (Some(first), Some(last)) = (name.first_chunk::<4>(), name.last_chunk::<4>()) {
        // They overlap in bytes that are the same in both.
        return u64::from(u32::from_le_bytes(*first))
            | u64::from(u32::from_le_bytes(*last)) << (8 * rest - 32);
    }
    name.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte))
}

impl Entry {
    /// The state. SeqCst: pins and unlinking decide by it in one total order (see `pins`).
    #[inline(always)]
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
            futex::wake(self.futex_word(), u32::MAX);
        }
    }

    /// Whether it is being constructed or converted.
    pub(super) fn is_under_way(state: State) -> bool {
        state.is(Phase::Reserved) || state.is(Phase::Converting)
    }

    /// What to sleep on while the entry is in `state`, until `settle`: the word, and what it holds.
    pub(super) fn futex_of(&self, state: State) -> (&AtomicU32, u32) {
        (self.futex_word(), state.0 as u32)
    }

    /// The half of the state word with phase, sleepers and agent, and the lower bits of the generation; only the kernel
    /// reads it.
    fn futex_word(&self) -> &AtomicU32 {
        // SAFETY: inside the state word, and aligned. (It is the lower half: all is little-endian.)
        unsafe { &*(&raw const self.state).cast::<AtomicU32>() }
    }

    /// What it is.
    #[inline(always)]
    pub(super) fn label(&self) -> Label {
        Label(self.label.load(Ordering::Relaxed))
    }

    /// Whether its name, which is as long and inline, is this one.
    #[inline(always)]
    pub(super) fn has_inline_name(&self, name: &[u8]) -> bool {
        let word = |i: usize| self.name[i].load(Ordering::Relaxed);
        let (words, rest) = name.as_chunks::<8>();
        words.iter().enumerate().all(|(i, bytes)| word(i) == u64::from_le_bytes(*bytes))
            && (rest.is_empty() || word(words.len()) == last_word(name))
    }

    /// Where a name that is not inline stands, 0 if it is or is gone.
    pub(super) fn name_at(&self) -> u64 {
        if self.label().name_len() > INLINE_NAME { self.name[0].load(Ordering::Relaxed) } else { 0 }
    }

    /// Notes that the thread with this owner word constructs or converts the object no more. It may be another's by now.
    pub(super) fn is_made(&self, constructor: Owner) {
        // SYNC made: Release, pairs with the Acquire in `is_nobodys`: who reads the 0 finds the phase that came before it.
        let _ = self.constructor.compare_exchange(constructor.0, 0, Ordering::Release, Ordering::Relaxed);
    }

    /// Writes an inline name. The caller alone may do so.
    pub(super) fn set_inline_name(&self, name: &[u8]) {
        for (i, word) in self.name.iter().enumerate() {
            let mut bytes = [0; 8];
            let part = name.get(8 * i..).unwrap_or(&[]);
            let len = part.len().min(8);
            bytes[..len].copy_from_slice(&part[..len]);
            word.store(u64::from_le_bytes(bytes), Ordering::Relaxed);
        }
    }

    /// The fingerprint of its element type.
    #[inline(always)]
    pub(super) fn fingerprint(&self) -> [u64; 2] {
        [0, 1].map(|i| self.fingerprint[i].load(Ordering::Relaxed))
    }

    /// Whether any process pins it. The lanes first: see `pins`.
    pub(super) fn is_pinned(&self) -> bool {
        self.lanes.iter().any(|lane| Lane(lane.load(Ordering::SeqCst)).pins() != 0)
            || self.pins.iter().any(|word| word.load(Ordering::SeqCst) != 0)
    }

    /// The word and bit for a process.
    pub(super) fn pin_bit(&self, process: u32) -> (&AtomicU64, u64) {
        (&self.pins[process as usize / 64 % 4], 1 << (process % 64))
    }

    /// The lane for a process.
    #[inline(always)]
    pub(super) fn lane(&self, process: u32) -> &AtomicU64 {
        &self.lanes[process as usize % LANES]
    }

    /// The records of the processes that pin it.
    pub(super) fn holders(&self) -> Vec<u32> {
        let in_lanes = self.lanes.iter().filter_map(|lane| {
            let lane = Lane(lane.load(Ordering::SeqCst));
            lane.process().filter(|_| lane.pins() != 0)
        });
        let mut holders: Vec<u32> = in_lanes.collect();
        let by_bit = (0..self.pins.len() as u32 * 64).filter(|process| {
            let (word, bit) = self.pin_bit(*process);
            word.load(Ordering::SeqCst) & bit != 0
        });
        holders.extend(by_bit);
        holders.sort_unstable();
        holders.dedup();
        holders
    }
}

#[cfg(test)]
pub(crate) fn entry_layout() -> crate::format_test::StoredLayout {
    crate::format_test::stored_layout!(Entry {
        state,
        lanes,
        object,
        fingerprint,
        label,
        element_size,
        count,
        name,
        hash,
        pins,
        supersedes,
        waits_for,
        constructor,
        _zero
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blank() -> Entry {
        // SAFETY: all its fields are numbers.
        unsafe { std::mem::zeroed() }
    }

    #[test]
    fn a_lane_counts_without_disturbing_its_process() {
        for process in [0, 255] {
            let lane = Lane::new(process, 1 << 40);
            assert_eq!((lane.process(), lane.pins()), (Some(process), 1 << 40));
            let entry = blank();
            assert!(!entry.is_pinned());
            entry.lane(process).store(lane.0, Ordering::Relaxed);
            let (word, bit) = entry.pin_bit(7);
            word.store(bit, Ordering::Relaxed);
            let mut both = vec![process, 7];
            both.sort_unstable();
            assert_eq!((entry.is_pinned(), entry.holders()), (true, both));
        }
        assert_eq!((Lane(0).process(), Lane(0).pins()), (None, 0));
    }

    #[test]
    fn phase_agent_and_generation_do_not_disturb_each_other() {
        let born = State(0x4_0000_1234_5678 << GENERATION_SHIFT);
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
            assert_eq!(free.0, 0x4_0000_1234_5679 << GENERATION_SHIFT);
        }
        assert_eq!(State(u64::MAX).to(Phase::Free), State(0), "generations wrap");
    }

    #[test]
    fn names_are_compared_whole() {
        let entry = blank();
        let long = "a name of forty bytes, which is the most";
        assert_eq!(long.len(), INLINE_NAME);
        for len in 1..=INLINE_NAME {
            let name = &long.as_bytes()[..len];
            entry.set_inline_name(name);
            assert!(entry.has_inline_name(name));
            for i in 0..len {
                let mut other = name.to_vec();
                other[i] ^= 1;
                assert!(!entry.has_inline_name(&other), "byte {i} of {len}");
            }
        }
    }

    #[test]
    fn a_life_is_told_from_the_next_one_of_its_entry() {
        let born = State(0x4_0000_1234_5678 << GENERATION_SHIFT);
        let life = Life::new(7, born.to(Phase::Live));
        assert_eq!(life.number(), Some(7));
        assert_eq!(life, Life::new(7, born.by(Phase::Converting, 255).with_sleepers()));
        assert_ne!(life, Life::new(7, born.to(Phase::Free)));
        assert_ne!(life, Life::new(8, born));
        assert_eq!(Life(0).number(), None);
        assert_ne!(Life::new(0, State(0)).0, 0);
    }
}
