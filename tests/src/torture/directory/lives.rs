//! [`Book`]: the lives of the objects, as the ledger has them.
//!
//! Whoever builds an object draws a serial number for it, under the reservation of its name: so of the objects that
//! have a name one after the other, each has a larger number than the one before.
//!
//! | a life's mark | set |
//! |---|---|
//! | `STARTED` | by its initialiser, first |
//! | `FAILED` | by its initialiser, before it fails on purpose |
//! | `CONVERTED` | by its initialiser, if a migration runs it |
//! | `KNOWN` | by who was given it, or found it: it was published |
//! | `DROPPED` | by its destructor, first |
//! | `LEAKED` | by the audit that misses it |
//!
//! For each name the ledger has how many removals were begun, and ended, and how many of them removed something. So
//! between two audits, constructions that are known, and those that are not (their process was killed inside), less
//! removals that are known, and those that are not, must be the difference between what is there and what was.

use super::super::{Ledger, Scene};
use super::{ANONYMOUS, PLACES};
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

/// See the [module](self).
pub(super) mod mark {
    pub(in super::super) const STARTED: u64 = 1;
    pub(in super::super) const FAILED: u64 = 2;
    pub(in super::super) const CONVERTED: u64 = 4;
    pub(in super::super) const KNOWN: u64 = 8;
    pub(in super::super) const DROPPED: u64 = 16;
    pub(in super::super) const LEAKED: u64 = 32;
    pub(super) const PLACE_SHIFT: u32 = 8;
}

const NEXT: usize = 0;
const ROUND: usize = 1;
const KILLS: usize = 2;
const WAS_THERE: usize = 64;
const BEGUN: usize = WAS_THERE + PLACES;
const ENDED: usize = BEGUN + PLACES;
const REMOVED: usize = ENDED + PLACES;
const NEWEST: usize = REMOVED + PLACES;
const LIVES: usize = 1024;

const _: () = assert!(NEWEST + PLACES <= LIVES);

/// See the [module](self).
#[derive(Debug, Clone, Copy)]
pub(super) struct Book {
    words: &'static [AtomicU64],
}

impl Book {
    pub(super) fn of(ledger: &Ledger) -> Self {
        Book { words: ledger.suite() }
    }

    /// A new life at `place`; `None` when the book is full.
    pub(super) fn begin(&self, place: usize, marks: u64) -> Option<u64> {
        let serial = self.words[NEXT].fetch_add(1, SeqCst) + 1;
        let life = self.words.get(LIVES + serial as usize)?;
        life.store(mark::STARTED | marks | (place as u64) << mark::PLACE_SHIFT, SeqCst);
        Some(serial)
    }

    /// Marks a life; gives the marks it had. `None` if there is no such life.
    pub(super) fn mark(&self, serial: u64, marks: u64) -> Option<u64> {
        if serial == 0 || serial > self.last() {
            return None;
        }
        let life = self.words.get(LIVES + serial as usize)?;
        let now = life.load(SeqCst);
        if now & marks == marks && marks & mark::DROPPED == 0 {
            return Some(now);
        }
        Some(life.fetch_or(marks, SeqCst))
    }

    /// Where an object of that life belongs, from its marks.
    pub(super) fn place(marks: u64) -> usize {
        (marks >> mark::PLACE_SHIFT) as usize
    }

    /// The last serial number that was drawn and has room.
    pub(super) fn last(&self) -> u64 {
        self.words[NEXT].load(SeqCst).min((self.words.len() - LIVES - 1) as u64)
    }

    /// The newest life that anybody found at `place`.
    pub(super) fn newest(&self, place: usize) -> u64 {
        self.words[NEWEST + place].load(SeqCst)
    }

    /// Somebody found this life at `place`.
    pub(super) fn seen(&self, place: usize, serial: u64) {
        if self.newest(place) < serial {
            self.words[NEWEST + place].fetch_max(serial, SeqCst);
        }
    }

    /// Notes a removal around `remove`.
    pub(super) fn removal<R>(&self, place: usize, remove: impl FnOnce() -> R, did: impl Fn(&R) -> bool) -> R {
        self.words[BEGUN + place].fetch_add(1, SeqCst);
        let result = remove();
        if did(&result) {
            self.words[REMOVED + place].fetch_add(1, SeqCst);
        }
        self.words[ENDED + place].fetch_add(1, SeqCst);
        result
    }

    /// Compares the lives since the last audit with what `there` says of each place now. Gives how many places could be
    /// told exactly. Nobody else is at work.
    pub(super) fn balance(&self, scene: &Scene, there: &[Option<u64>; PLACES]) -> u64 {
        let mut built = [(0, 0); PLACES];
        for serial in self.words[ROUND].load(SeqCst) + 1..=self.last() {
            let life = self.words[LIVES + serial as usize].load(SeqCst);
            let place = Self::place(life);
            if place >= PLACES || life & (mark::FAILED | mark::CONVERTED) != 0 {
                continue;
            }
            built[place].1 += 1;
            if life & (mark::KNOWN | mark::DROPPED) != 0 {
                built[place].0 += 1;
            }
        }
        let mut exact = 0;
        for (place, (least, most)) in built.into_iter().enumerate().take(ANONYMOUS) {
            let word = |at: usize| self.words[at + place].load(SeqCst);
            let perhaps = word(BEGUN) - word(ENDED);
            exact += u64::from(least == most && perhaps == 0);
            let removed = (word(REMOVED), word(REMOVED) + perhaps);
            let (was, now) = (word(WAS_THERE) != 0, there[place].is_some());
            scene.balance(&format!("place {place}"), was, now, (least, most), removed);
        }
        exact
    }

    /// Counts the lives that are neither there nor were dropped, once each; and those of an audit's own round end here.
    pub(super) fn close(&self, scene: &Scene, there: &[Option<u64>; PLACES]) {
        let mut leaked = 0;
        for serial in 1..=self.last() {
            let life = &self.words[LIVES + serial as usize];
            let now = life.load(SeqCst);
            let is_there = there.get(Self::place(now)).is_some_and(|at| *at == Some(serial));
            if now & (mark::FAILED | mark::DROPPED | mark::LEAKED) == 0 && !is_there {
                life.fetch_or(mark::LEAKED, SeqCst);
                leaked += 1;
            }
        }
        scene.leaked(leaked);
        let kills = scene.ledger().at(super::super::ledger::word::KILLS).load(SeqCst);
        let since = kills - self.words[KILLS].swap(kills, SeqCst);
        // Each of two threads may have been building one and dropping another.
        if leaked > 4 * since {
            scene.corrupt(format!("{leaked} objects were lost with {since} processes"));
        }
        for (place, there) in there.iter().enumerate() {
            self.words[WAS_THERE + place].store(there.is_some().into(), SeqCst);
            for at in [BEGUN, ENDED, REMOVED] {
                self.words[at + place].store(0, SeqCst);
            }
        }
        self.words[ROUND].store(self.last(), SeqCst);
    }

    /// A life begins with nothing there, and with the kills of those before it.
    pub(super) fn open(&self, scene: &Scene) {
        self.words[KILLS].store(scene.ledger().at(super::super::ledger::word::KILLS).load(SeqCst), SeqCst);
    }
}
