//! [`Worker`]: random operations on shared names, each compared with the book.

use super::super::{Desk, Scene};
use super::lives::{Book, mark};
use super::types::{Half, Halves, Twofold, lone, note_drops, slice_halves, v1, v2};
use super::{ANONYMOUS, LONE, PAIRS, SLICES, name};
use crate::Random;
use shmem_core::{Error, NameError, Result, Root, Segment};

/// What a worker can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Op {
    /// `find`, of a name or the unique object.
    Find,
    /// `construct`, likewise; now and then failing, panicking, or with another inside.
    Construct,
    /// `find_or_construct`, likewise.
    FindOrConstruct,
    /// `destroy`, likewise.
    Destroy,
    /// `migrate_with`, either way between two versions.
    Migrate,
    /// The same with slices.
    Slice,
    /// An object without a name, kept for a while.
    Anonymous,
    /// Lets go of what is kept.
    LetGo,
    /// Looks at what is kept.
    Look,
    /// `objects`, `object_count`.
    List,
    /// `recover`.
    Recover,
    /// `check`, while others work.
    Check,
    /// Lets go of everything, closes the segment and opens it again.
    Reopen,
}

/// How often each is done.
const WEIGHTS: [(Op, u64); 13] = [
    (Op::Find, 300),
    (Op::Construct, 150),
    (Op::FindOrConstruct, 150),
    (Op::Destroy, 150),
    (Op::Migrate, 20),
    (Op::Slice, 100),
    (Op::Anonymous, 30),
    (Op::LetGo, 120),
    (Op::Look, 60),
    (Op::List, 4),
    (Op::Recover, 2),
    (Op::Check, 1),
    (Op::Reopen, 2),
];

/// Handles kept at most.
const KEPT: usize = 12;

/// A handle that is kept: where its object belongs, and what it says of itself.
struct Kept {
    place: usize,
    serial: u64,
    halves: Box<dyn Fn() -> Halves + Send>,
}

/// One thread at work.
pub struct Worker<'s> {
    pub(super) scene: &'s Scene,
    pub(super) book: Book,
    pub(super) segment: Segment,
    pub(super) desk: Desk,
    pub(super) random: Random,
    kept: Vec<Kept>,
}

pub(super) fn is_name_error(e: &Error, which: impl Fn(&NameError) -> bool) -> bool {
    matches!(e, Error::Name(e) if which(e))
}

pub(super) fn other_version(e: &Error) -> bool {
    is_name_error(e, |e| matches!(e, NameError::VersionMismatch { .. }))
}

impl<'s> Worker<'s> {
    /// One that has opened the segment.
    pub fn new(scene: &'s Scene, thread: usize, desk: Desk) -> Self {
        let book = Book::of(scene.ledger());
        note_drops(scene, book);
        desk.doing("open", 0);
        let segment = super::open(scene);
        Worker { scene, book, segment, desk, random: scene.random(thread), kept: Vec::new() }
    }

    /// Recovers what the dead left.
    pub fn recover(&mut self) {
        self.desk.doing("recover", 0);
        self.segment.recover();
    }

    /// One operation: one of `focus` every other time, if there are any.
    pub fn step(&mut self, focus: &[Op]) {
        let op = match focus {
            [_, ..] if self.random.below(2) == 0 => *self.random.pick(focus),
            _ => {
                let mut point = self.random.below(WEIGHTS.iter().map(|(_, weight)| weight).sum());
                let at = WEIGHTS.iter().find(|(_, weight)| {
                    let here = point < *weight;
                    point = point.saturating_sub(*weight);
                    here
                });
                at.map_or(Op::Find, |(op, _)| *op)
            }
        };
        self.act(op);
        self.desk.done();
    }

    fn act(&mut self, op: Op) {
        // Every tenth time it is the unique object.
        let named = self.random.below(10) != 0;
        let place = self.random.below(PAIRS as u64) as usize;
        match op {
            Op::Find | Op::Construct | Op::FindOrConstruct | Op::Destroy if !named => {
                self.unique(op);
            }
            Op::Find | Op::Construct | Op::FindOrConstruct | Op::Destroy => {
                if self.random.below(2) == 0 {
                    self.pair::<v1::Pair>(op, place, 0);
                } else {
                    self.pair::<v2::Pair>(op, place, 0);
                }
            }
            Op::Migrate => {
                self.kept.retain(|kept| kept.place != place);
                if self.random.below(2) == 0 {
                    self.migrate::<v1::Pair, v2::Pair>(place);
                } else {
                    self.migrate::<v2::Pair, v1::Pair>(place);
                }
            }
            Op::Slice => {
                let slice = self.random.below(SLICES as u64) as usize;
                self.slice(PAIRS + slice);
            }
            Op::Anonymous => self.anonymous(),
            Op::LetGo => self.let_go(),
            Op::Look => self.look(),
            Op::List => self.list(),
            Op::Recover => self.recover(),
            Op::Check => {
                self.desk.doing("check", 0);
                self.scene.check(&self.segment, "while others work");
            }
            Op::Reopen => {
                self.desk.doing("let go of everything", 0);
                self.kept.clear();
                self.desk.doing("reopen", 0);
                self.segment = super::open(self.scene);
            }
        }
    }

    /// An object that this worker has a handle to.
    pub(super) fn met<T: Twofold>(&mut self, place: usize, floor: u64, root: Root<T>) {
        let serial = self.judge(place, floor, root.halves());
        self.keep(place, serial, move || root.halves());
    }

    /// Compares an object, pinned, with the book.
    pub(super) fn judge(&mut self, place: usize, floor: u64, halves: Halves) -> u64 {
        let marks = self.book.mark(halves.left, mark::KNOWN);
        self.judge_marked(place, floor, halves, marks)
    }

    /// Compares an object with the marks that the book had while it was pinned.
    pub(super) fn judge_marked(
        &mut self,
        place: usize,
        floor: u64,
        halves: Halves,
        marks: Option<u64>,
    ) -> u64 {
        let serial = halves.left;
        let agree = halves.agree() && !self.scene.sabotages("half", &mut self.random, 2000);
        if !agree {
            self.scene.corrupt(format!("place {place} holds {halves:?}"));
        }
        match marks {
            None => self.scene.corrupt(format!("place {place} holds life {serial}, which there is none")),
            Some(marks) => {
                if Book::place(marks) != place {
                    self.scene.corrupt(format!(
                        "place {place} holds life {serial} of place {}",
                        Book::place(marks)
                    ));
                }
                if marks & (mark::DROPPED | mark::FAILED | mark::LEAKED) != 0 {
                    self.scene
                        .corrupt(format!("place {place} holds life {serial}, marked {:#x}", marks & 0xFF));
                }
            }
        }
        if serial < floor {
            self.scene
                .double(format!("place {place} holds life {serial}, and life {floor} was there before"));
        }
        if place != ANONYMOUS {
            self.book.seen(place, serial);
        }
        serial
    }

    pub(super) fn keep(&mut self, place: usize, serial: u64, halves: impl Fn() -> Halves + Send + 'static) {
        if self.random.below(3) == 0 {
            if self.kept.len() == KEPT {
                self.let_go();
            }
            self.kept.push(Kept { place, serial, halves: Box::new(halves) });
        } else {
            self.desk.doing("let go", place as u64);
        }
    }

    pub(super) fn expect<R>(
        &self,
        what: &str,
        place: usize,
        result: Result<R>,
        allowed: impl Fn(&Error) -> bool,
    ) -> Option<R> {
        match result {
            Ok(value) => Some(value),
            Err(e) => {
                if !allowed(&e) {
                    self.scene.corrupt(format!("{what} of place {place}: {e}"));
                }
                None
            }
        }
    }

    // ---- what is kept --------------------------------------------------------------------------------

    fn look(&mut self) {
        for i in 0..self.kept.len() {
            let (place, serial) = (self.kept[i].place, self.kept[i].serial);
            self.desk.doing("look", place as u64);
            let halves = (self.kept[i].halves)();
            if halves.left != serial {
                self.scene
                    .corrupt(format!("life {serial} at place {place} is held, and has become {halves:?}"));
            }
            self.judge(place, 0, halves);
        }
    }

    fn let_go(&mut self) {
        if self.kept.is_empty() {
            return;
        }
        let i = self.random.below(self.kept.len() as u64) as usize;
        let kept = self.kept.swap_remove(i);
        let halves = (kept.halves)();
        self.judge(kept.place, 0, halves);
        self.desk.doing("let go", kept.place as u64);
    }

    fn list(&mut self) {
        self.desk.doing("objects", 0);
        let listed = self.segment.objects();
        if let Some(listed) = self.expect("objects", 0, listed, |_| false) {
            let mut names: Vec<_> = listed
                .iter()
                .filter(|object| object.kind == shmem_core::ObjectKind::Named)
                .map(|object| &object.name)
                .collect();
            names.sort_unstable();
            if let Some(twice) = names.windows(2).find(|two| two[0] == two[1]) {
                self.scene.double(format!("two objects are called {:.40}", twice[0]));
            }
        }
        let most = PAIRS + SLICES + 1 + 8 * 2 * KEPT;
        let count = self.segment.object_count();
        if count > most {
            self.scene.corrupt(format!("{count} objects, and there are at most {most}"));
        }
    }

    /// What is there under the name of `place`, whichever type it has.
    pub(super) fn at(&mut self, place: usize) -> Option<u64> {
        let (name, floor) = (name(place), self.book.newest(place));
        self.desk.doing("find for the audit", place as u64);
        let halves = if place == LONE {
            self.expect("find_unique", place, self.segment.find_unique::<lone::Lone>(), |_| false)?
                .map(|root| root.halves())
        } else if place >= PAIRS {
            let found = self.segment.find_slice::<Half>(&name);
            self.expect("find_slice", place, found, |_| false)?.map(|root| slice_halves(&root))
        } else {
            let found = self.segment.find::<v1::Pair>(&name).map(|found| found.map(|root| root.halves()));
            match found {
                Err(e) if other_version(&e) => {
                    let found = self.segment.find::<v2::Pair>(&name);
                    self.expect("find", place, found, |_| false)?.map(|root| root.halves())
                }
                found => self.expect("find", place, found, |_| false)?,
            }
        };
        halves.map(|halves| self.judge(place, floor, halves))
    }

    /// Constructs and destroys at a place where nothing is; or destroys what is there.
    pub(super) fn turn(&mut self, place: usize) {
        self.kept.clear();
        let ops = if self.at(place).is_some() { &[Op::Destroy][..] } else { &[Op::Construct, Op::Destroy] };
        for op in ops {
            match place {
                LONE => self.unique(*op),
                place if place >= PAIRS => {
                    let removed = self.book.removal(
                        place,
                        || self.segment.destroy::<Half>(&name(place)),
                        |removed| matches!(removed, Ok(true)),
                    );
                    self.expect("destroy", place, removed, |_| false);
                }
                place => {
                    self.pair::<v1::Pair>(*op, place, 1);
                    self.pair::<v2::Pair>(*op, place, 1);
                }
            }
            self.kept.clear();
        }
    }
}
