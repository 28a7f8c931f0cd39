//! [`Worker`]: random operations on shared names, each compared with the book.

use super::super::{Desk, Scene, quietly};
use super::lives::{Book, mark};
use super::types::{Birth, Fate, Half, Halves, Twofold, lone, note_drops, slice_born, slice_halves, v1, v2};
use super::{ANONYMOUS, LONE, PAIRS, SLICES, counts, name};
use crate::Random;
use shmem_core::{Error, NameError, Result, Root, Segment};
use std::cell::Cell;

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
    scene: &'s Scene,
    pub(super) book: Book,
    pub(super) segment: Segment,
    desk: Desk,
    random: Random,
    kept: Vec<Kept>,
}

fn is_name_error(e: &Error, which: impl Fn(&NameError) -> bool) -> bool {
    matches!(e, Error::Name(e) if which(e))
}

fn other_version(e: &Error) -> bool {
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

    // ---- one value under a name ----------------------------------------------------------------------

    /// What an initialiser comes to: now and then nothing good.
    fn fate(&mut self) -> Fate {
        match self.random.below(4000) {
            0 => {
                self.scene.count(counts::SELF_KILLED, 1);
                Fate::Dies
            }
            1..60 => Fate::Panics,
            60..200 => Fate::Fails,
            _ => Fate::Whole,
        }
    }

    fn pair<T: Twofold>(&mut self, op: Op, place: usize, depth: u64) {
        let name = name(place);
        let floor = self.book.newest(place);
        self.desk.doing(
            match op {
                Op::Find => "find",
                Op::Construct => "construct",
                Op::FindOrConstruct => "find_or_construct",
                _ => "destroy",
            },
            place as u64,
        );
        match op {
            Op::Find => {
                let found = self.segment.find::<T>(&name);
                if let Some(Some(root)) = self.expect("find", place, found, other_version) {
                    self.met(place, floor, root);
                }
            }
            Op::Destroy => {
                let lie = self.scene.sabotages("removal", &mut self.random, 200);
                let removed = self.book.removal(
                    place,
                    || self.segment.destroy::<T>(&name),
                    |removed| lie || matches!(removed, Ok(true)),
                );
                self.expect("destroy", place, removed, other_version);
            }
            _ => {
                let exclusive = op == Op::Construct;
                // Only names further on are built inside: so nobody waits in a circle.
                let inner = (depth == 0 && place + 1 < PAIRS && self.random.below(25) == 0)
                    .then(|| place + 1 + self.random.below((PAIRS - place - 1) as u64) as usize);
                let fate = self.fate();
                let pause = self.random.below(60);
                let inside = Cell::new(None);
                let segment = self.segment.clone();
                let book = self.book;
                let between = || {
                    (0..pause).for_each(|_| std::hint::spin_loop());
                    if let Some(inner) = inner {
                        let birth = Birth {
                            book,
                            place: inner,
                            marks: 0,
                            fate: Fate::Whole,
                            serial: Cell::new(0),
                            between: &|| {},
                        };
                        inside.set(Some(segment.construct::<T>(&super::name(inner), T::born(&birth))));
                    }
                };
                let birth = Birth { book, place, marks: 0, fate, serial: Cell::new(0), between: &between };
                let built = quietly(|| {
                    if exclusive {
                        self.segment.construct::<T>(&name, T::born(&birth))
                    } else {
                        self.segment.find_or_construct::<T>(&name, T::born(&birth))
                    }
                });
                let serial = birth.serial.get();
                if let (Some(inner), Some(built)) = (inner, inside.take()) {
                    let taken = |e: &Error| {
                        is_name_error(e, |e| matches!(e, NameError::AlreadyExists { .. })) || other_version(e)
                    };
                    if let Some(root) = self.expect("construct inside", inner, built, taken) {
                        self.met(inner, 0, root);
                    }
                }
                self.built(place, floor, built, serial, fate, exclusive);
            }
        }
    }

    /// What came of a construction.
    fn built<T: Twofold>(
        &mut self,
        place: usize,
        floor: u64,
        built: Option<Result<Root<T>>>,
        serial: u64,
        fate: Fate,
        exclusive: bool,
    ) {
        let Some(built) = built else { return };
        let ran = serial != 0;
        let allowed = |e: &Error| match e {
            Error::Init(_) => ran && fate == Fate::Fails || !ran,
            e => {
                other_version(e)
                    || exclusive && is_name_error(e, |e| matches!(e, NameError::AlreadyExists { .. }))
            }
        };
        let what = if exclusive { "construct" } else { "find_or_construct" };
        let Some(root) = self.expect(what, place, built, allowed) else { return };
        let found = root.halves().left;
        if ran && found != serial {
            self.scene.double(format!("{what} of place {place} built life {serial} and gave life {found}"));
        }
        if !ran && exclusive {
            self.scene.corrupt(format!("construct of place {place} built nothing and gave life {found}"));
        }
        self.met(place, floor, root);
    }

    /// An object that this worker has a handle to.
    fn met<T: Twofold>(&mut self, place: usize, floor: u64, root: Root<T>) {
        let serial = self.judge(place, floor, root.halves());
        self.keep(place, serial, move || root.halves());
    }

    /// Compares an object, pinned, with the book.
    fn judge(&mut self, place: usize, floor: u64, halves: Halves) -> u64 {
        let marks = self.book.mark(halves.left, mark::KNOWN);
        self.judge_marked(place, floor, halves, marks)
    }

    /// Compares an object with the marks that the book had while it was pinned.
    fn judge_marked(&mut self, place: usize, floor: u64, halves: Halves, marks: Option<u64>) -> u64 {
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

    fn keep(&mut self, place: usize, serial: u64, halves: impl Fn() -> Halves + Send + 'static) {
        if self.random.below(3) == 0 {
            if self.kept.len() == KEPT {
                self.let_go();
            }
            self.kept.push(Kept { place, serial, halves: Box::new(halves) });
        } else {
            self.desk.doing("let go", place as u64);
        }
    }

    fn expect<R>(
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

    fn migrate<Old: Twofold, New: Twofold>(&mut self, place: usize) {
        let floor = self.book.newest(place);
        let fate = self.fate();
        let birth = Birth {
            book: self.book,
            place,
            marks: mark::CONVERTED,
            fate,
            serial: Cell::new(0),
            between: &|| {},
        };
        self.desk.doing("migrate", place as u64);
        let old = Cell::new(None);
        let migrated = quietly(|| {
            self.segment.migrate_with::<Old, New>(&name(place), |from, slot| {
                let halves = from.halves();
                old.set(Some((halves, self.book.mark(halves.left, mark::KNOWN))));
                slot.fill(New::born(&birth))
            })
        });
        if let Some((halves, marks)) = old.take() {
            self.judge_marked(place, floor, halves, marks);
        }
        let ran = birth.serial.get() != 0;
        let allowed = |e: &Error| match e {
            Error::Init(_) => ran && fate == Fate::Fails || !ran,
            e => is_name_error(e, |e| matches!(e, NameError::NotFound { .. } | NameError::InUse { .. })),
        };
        let Some(migrated) = migrated else { return };
        if let Some(root) = self.expect("migrate", place, migrated, allowed) {
            if ran {
                self.scene.count(counts::MIGRATED, 1);
            }
            self.met(place, floor, root);
        }
    }

    // ---- the unique object, slices, objects without a name -------------------------------------------

    fn unique(&mut self, op: Op) {
        let floor = self.book.newest(LONE);
        let fate = self.fate();
        let birth =
            Birth { book: self.book, place: LONE, marks: 0, fate, serial: Cell::new(0), between: &|| {} };
        self.desk.doing("the unique object", op as u64);
        let segment = &self.segment;
        match op {
            Op::Find => {
                let found = segment.find_unique::<lone::Lone>();
                if let Some(Some(root)) = self.expect("find_unique", LONE, found, |_| false) {
                    self.met(LONE, floor, root);
                }
            }
            Op::Destroy => {
                let removed = self.book.removal(
                    LONE,
                    || segment.destroy_unique::<lone::Lone>(),
                    |removed| matches!(removed, Ok(true)),
                );
                self.expect("destroy_unique", LONE, removed, |_| false);
            }
            _ => {
                let exclusive = op == Op::Construct;
                let built = quietly(|| {
                    if exclusive {
                        segment.construct_unique(<lone::Lone as Twofold>::born(&birth))
                    } else {
                        segment.find_or_construct_unique(<lone::Lone as Twofold>::born(&birth))
                    }
                });
                let serial = birth.serial.get();
                self.built(LONE, floor, built, serial, fate, exclusive);
            }
        }
    }

    fn slice(&mut self, place: usize) {
        let (name, floor) = (name(place), self.book.newest(place));
        let fate = self.fate();
        let n = 1 + self.random.below(9) as usize;
        let birth = Birth { book: self.book, place, marks: 0, fate, serial: Cell::new(0), between: &|| {} };
        let what = self.random.below(4);
        self.desk.doing("slice", what << 32 | place as u64);
        let segment = &self.segment;
        let ran = || birth.serial.get() != 0;
        let built = match what {
            0 => {
                let removed = self.book.removal(
                    place,
                    || segment.destroy::<Half>(&name),
                    |removed| matches!(removed, Ok(true)),
                );
                self.expect("destroy", place, removed, |_| false);
                return;
            }
            1 => Some(segment.find_slice::<Half>(&name)),
            2 => quietly(|| segment.construct_slice(&name, n, |i| slice_born(&birth, i, n)).map(Some)),
            _ => {
                quietly(|| segment.find_or_construct_slice(&name, n, |i| slice_born(&birth, i, n)).map(Some))
            }
        };
        let allowed = |e: &Error| match e {
            Error::Init(_) => ran() && fate == Fate::Fails || !ran(),
            e => is_name_error(e, |e| match e {
                NameError::AlreadyExists { .. } => what == 2,
                NameError::CountMismatch { .. } => what == 3,
                _ => false,
            }),
        };
        let Some(built) = built else { return };
        if let Some(Some(root)) = self.expect("slice", place, built, allowed) {
            let halves = slice_halves(&root);
            if ran() && halves.left != birth.serial.get() {
                let built = birth.serial.get();
                self.scene.double(format!("slice {place}: built life {built}, got life {}", halves.left));
            }
            let serial = self.judge(place, floor, halves);
            self.keep(place, serial, move || slice_halves(&root));
        }
    }

    fn anonymous(&mut self) {
        let fate = self.fate();
        let birth = Birth {
            book: self.book,
            place: ANONYMOUS,
            marks: 0,
            fate,
            serial: Cell::new(0),
            between: &|| {},
        };
        self.desk.doing("construct_anonymous", 0);
        let segment = &self.segment;
        let Some(built) = quietly(|| segment.construct_anonymous(<v1::Pair as Twofold>::born(&birth))) else {
            return;
        };
        let allowed = |e: &Error| matches!(e, Error::Init(_));
        if let Some(owned) = self.expect("construct_anonymous", ANONYMOUS, built, allowed) {
            let serial = self.judge(ANONYMOUS, 0, owned.halves());
            // The object goes with its owner, but not while somebody else has a handle.
            if self.random.below(2) == 0 {
                let root = owned.root();
                drop(owned);
                self.keep(ANONYMOUS, serial, move || root.halves());
            } else {
                self.keep(ANONYMOUS, serial, move || owned.halves());
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
