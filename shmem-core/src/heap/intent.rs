//! Intents: what a thread is doing to whole pages, so that its death leaves nothing undone.
//!
//! An operation that changes several pages begins by storing, in the thread's slot, what it is and which pages it is
//! about, and ends by storing 0. The page it claims first says whose slot that is: so recovery, which settles a dead
//! thread's intent before the slot is anybody else's, can tell exactly whether the operation had begun, and how far it
//! came. Each of its own steps is a compare-and-swap that can be repeated: if the recoverer dies, another begins again.
//!
//! | intent | the claimed page | what is done |
//! |---|---|---|
//! | `Run` | the first is `Claiming` | the run's pages become `Free`, from the last on: a claim is undone, a free completed |
//! | `Run` | the first is `Punching` | they become `Punched`, perhaps with memory behind them |
//! | `Resize` | one inside the live span is `Claiming` | it becomes `Body`: growing is completed, or shrinking undone |
//! | `Resize` | one behind the live span is `Claiming` | it and its bodies become `Free`: growing is undone, or shrinking completed |
//! | `Join` | the first is `Claiming`, the span behind it has its head | what was changed of the span's bodies is undone, and the others become `Free` |
//! | `Join` | the first is `Claiming`, all others are its bodies | it becomes the `Head` of all |
//! | `Join` | the first is `Claiming`, otherwise | it and its bodies become `Free` |
//! | any | none | the operation had not begun, or was through |
//!
//! Where slots are scarce, a thread that never locked anything works without one, and without an intent: its death costs
//! the pages in hand.
//!
//! This file needs `unsafe`: it turns places in the slot table into references to mapped atomics.

use super::Heap;
use super::grow::PATIENCE;
use super::page::{MAX_PAYLOAD, PageState, Word};
use super::raw::{FREE_LIST, Raw};
use crate::crash::crash_point;
use crate::mapping::superblock::{SLOT_INTENT_AT, SLOT_SIZE};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// What an operation does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Doing {
    /// Puts a run together or takes it apart.
    Run = 1,
    /// Makes a span longer or shorter where it stands; the pages are those of the longer one.
    Resize = 2,
    /// Puts pages before a span; the pages are all it will have.
    Join = 3,
}

/// An intent: bits 0–3 what, bits 4–31 the first page, bits 32–59 how many pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Intent {
    pub(super) doing: Doing,
    pub(super) first: u64,
    pub(super) len: u64,
}

impl Intent {
    fn encode(self) -> u64 {
        debug_assert!(self.first <= MAX_PAYLOAD && self.len <= MAX_PAYLOAD);
        self.doing as u64 | self.first << 4 | self.len << 32
    }

    fn decode(word: u64) -> Option<Intent> {
        let doing = match word & 0xF {
            1 => Doing::Run,
            2 => Doing::Resize,
            3 => Doing::Join,
            _ => return None,
        };
        Some(Intent { doing, first: (word >> 4) & MAX_PAYLOAD, len: (word >> 32) & MAX_PAYLOAD })
    }
}

/// Who has claimed a run: the payload of a `Claiming` or `Punching` page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Claimant {
    /// The thread that has the slot with this index; which pages, its intent says.
    Slot(u32),
    /// A thread without a slot. The run has so many pages (or more than can be said).
    Unknown(u64),
}

impl Claimant {
    const UNKNOWN: u64 = 1 << 27;

    pub(super) fn payload(self) -> u64 {
        match self {
            Claimant::Slot(index) => u64::from(index) + 1,
            Claimant::Unknown(len) => Self::UNKNOWN | len.min(Self::UNKNOWN - 1),
        }
    }

    pub(super) fn of(payload: u64) -> Claimant {
        match payload & Self::UNKNOWN {
            // No slot has this number: damage, or nobody's.
            0 => Claimant::Slot((payload as u32).wrapping_sub(1)),
            _ => Claimant::Unknown(payload & (Self::UNKNOWN - 1)),
        }
    }
}

impl Raw {
    /// The word of a thread slot for the intent, if there is such a slot.
    fn intent_word(&self, slot: u32) -> Option<&AtomicU64> {
        let inside = slot < self.header.slots;
        // SAFETY: in bounds of the slot table, which stands in the metadata that every segment has committed; aligned;
        // atomics may be shared.
        inside.then(|| unsafe {
            &*self.at(self.header.slots_at + u64::from(slot) * SLOT_SIZE + SLOT_INTENT_AT).cast()
        })
    }

    /// Whether the payload of a claimed page can be that of a claimant.
    pub(super) fn is_claimant(&self, payload: u64) -> bool {
        match Claimant::of(payload) {
            Claimant::Slot(slot) => slot < self.header.slots,
            Claimant::Unknown(len) => len > 0,
        }
    }

    /// The intent in a slot, which may be damaged.
    fn intent_of(&self, slot: u32) -> Option<Intent> {
        Intent::decode(self.intent_word(slot)?.load(Ordering::Acquire))
    }

    /// Does `work`, on pages that `intent` names, for the thread that has the slot.
    pub(super) fn intending<R>(
        &self,
        slot: Option<u32>,
        intent: Intent,
        work: impl FnOnce(Claimant) -> R,
    ) -> R {
        let word = slot.and_then(|index| Some((index, self.intent_word(index)?)));
        // One at a time: an operation inside another has none of its own.
        let Some((index, word)) = word.filter(|(_, word)| word.load(Ordering::Relaxed) == 0) else {
            return work(Claimant::Unknown(intent.len));
        };
        // CRASH intent: the first page is not this slot's: nothing is to be done.
        // SYNC intent: Release: it is there before the first page is claimed, and until everything is done.
        word.store(intent.encode(), Ordering::Release);
        crash_point!("intent.noted");
        let done = work(Claimant::Slot(index));
        // CRASH done: the first page is this slot's no more: nothing is to be done.
        crash_point!("intent.done");
        word.store(0, Ordering::Release);
        done
    }

    /// Whether the page is part of a claim.
    fn is_claimed(&self, page: u64) -> bool {
        let word = self.word(page);
        let head = match word.state() {
            Some(PageState::Claiming) => return true,
            Some(PageState::Body) => page.checked_sub(word.payload()),
            _ => None,
        };
        head.is_some_and(|head| self.word(head).state() == Some(PageState::Claiming))
    }

    /// How many pages the claim reaches that `page` is the first of, about.
    pub(super) fn claim_len(&self, page: u64, word: Word) -> u64 {
        let len = match Claimant::of(word.payload()) {
            Claimant::Unknown(len) => len,
            Claimant::Slot(slot) => match self.intent_of(slot) {
                Some(intent) if intent.first <= page => (intent.first + intent.len).saturating_sub(page),
                _ => 1,
            },
        };
        len.clamp(1, self.max_pages.saturating_sub(page).max(1))
    }

    /// Undoes or completes what the dead thread that had this slot was doing. See the [table](self).
    ///
    /// Only one thread at a time settles a slot, and nobody else has it until its intent is erased.
    pub(super) fn settle(&self, slot: u32) {
        let Some(Intent { doing, first, len }) = self.intent_of(slot) else { return };
        if len == 0 || first + len > self.committed() {
            return;
        }
        let ours = Claimant::Slot(slot).payload();
        match doing {
            Doing::Run => {
                let word = self.word(first);
                if word.is(PageState::Claiming, ours) {
                    self.drop_claim(first, word, first, 1..len);
                } else if word.is(PageState::Punching, ours) {
                    self.drop_bodies(first, 1..len, PageState::Punched, 1);
                    self.change(first, word, PageState::Punched, 1);
                }
            }
            Doing::Resize => {
                let claimed = |at: &u64| self.word(first + at).is(PageState::Claiming, ours);
                let Some(at) = (1..len).find(claimed) else { return };
                let (head, word) = (self.word(first), self.word(first + at));
                if head.state() == Some(PageState::Head) && head.payload() > at {
                    self.change(first + at, word, PageState::Body, at);
                } else {
                    self.drop_claim(first + at, word, first, at + 1..len);
                }
            }
            Doing::Join => {
                let word = self.word(first);
                if !word.is(PageState::Claiming, ours) {
                    return;
                }
                // Until the old head is a body it ends where the new span is to end, and no other page does.
                match (1..len).find(|at| self.word(first + at).is(PageState::Head, len - at)) {
                    Some(before) => self.part(first, word, before, len),
                    None if (1..len).all(|at| self.word(first + at).is(PageState::Body, at)) => {
                        self.join(first, word, len);
                    }
                    // Somebody has freed the span, or changed its length, and did not have this settled before.
                    None => self.drop_claim(first, word, first, 1..len),
                }
            }
        }
    }

    /// Frees the bodies `head + at` of a claim, for the `at` that are bodies of `head`, then its first page, and lists what
    /// of its pages is free.
    pub(super) fn drop_claim(&self, first: u64, claiming: Word, head: u64, bodies: std::ops::Range<u64>) {
        let end = head + bodies.end;
        self.drop_bodies(head, bodies, PageState::Free, 0);
        // Set by who was to put the page before a raw span, or left by who freed such a one as if it were none.
        self.unmark_span(first);
        self.change(first, claiming, PageState::Free, 0);
        // CRASH dropped: free pages on no list, which `heal` finds.
        crash_point!("span.dropped");
        for page in first..end.max(first + 1) {
            if self.word(page).state() == Some(PageState::Free) {
                self.list(FREE_LIST, page, 1);
            }
        }
    }
}

impl Heap {
    /// The slot in which this thread's intents stand, if it can have one.
    pub(super) fn own_slot(&self) -> Option<u32> {
        #[cfg(test)]
        if let Some(slot) = self.everybodys_slot.get() {
            return Some(*slot).filter(|slot| *slot < self.raw.header.slots);
        }
        Some(self.kept_slot(&self.participants()?)?.index)
    }

    /// If somebody was putting pages before the block at `offset` and may be dead, has that settled. (What else the dead were
    /// doing to it can be settled whatever is done to it meanwhile.) Costs a look at two pages, mostly.
    pub(super) fn settle_around(&self, offset: u64) {
        let Ok((page, _)) = self.raw.page_of(offset) else { return };
        let is_settled = match self.raw.word(page).state() {
            Some(PageState::Small | PageState::Retiring) => true,
            Some(PageState::Head) => page == 0 || !self.raw.is_claimed(page - 1),
            _ => false,
        };
        if let Some(participants) = self.participants().filter(|_| !is_settled) {
            let begun = Instant::now();
            while !participants.settle_dead() && begun.elapsed() < PATIENCE {
                std::thread::yield_now();
            }
        }
    }

    /// Undoes or completes what the dead thread that had this slot was doing to pages. To be called by one thread at a
    /// time, before the slot is anybody else's.
    pub(crate) fn settle(&self, slot: u32) {
        self.raw.settle(slot);
    }
}

#[cfg(test)]
impl Heap {
    /// From now on every thread has this slot here; or, if there is no such slot, none.
    pub(crate) fn pretend_slot(&self, slot: u32) {
        self.everybodys_slot.set(slot).expect("it is said once");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words() {
        for doing in [Doing::Run, Doing::Resize, Doing::Join] {
            for (first, len) in [(0, 1), (MAX_PAYLOAD, MAX_PAYLOAD), (77, 3)] {
                let intent = Intent { doing, first, len };
                assert_eq!(Intent::decode(intent.encode()), Some(intent));
            }
        }
        assert_eq!(Intent::decode(0), None);
        for claimant in [Claimant::Slot(0), Claimant::Slot(255), Claimant::Unknown(1)] {
            assert_eq!(Claimant::of(claimant.payload()), claimant);
        }
        let long = Claimant::Unknown(MAX_PAYLOAD).payload();
        assert!(long <= MAX_PAYLOAD && matches!(Claimant::of(long), Claimant::Unknown(_)));
    }
}
