//! What a [`Worker`] does to the names, and what may come of each.

use super::super::quietly;
use super::lives::mark;
use super::types::{Birth, Fate, Half, Twofold, lone, slice_born, slice_halves, v1};
use super::worker::{Op, Worker, is_name_error, other_version};
use super::{ANONYMOUS, LONE, PAIRS, counts, name};
use shmem_core::{Error, NameError, Result, Root};
use std::cell::Cell;

impl Worker<'_> {
    // ---- one value under a name ----------------------------------------------------------------------

    /// What an initialiser comes to: now and then nothing good.
    fn fate(&mut self) -> Fate {
        if self.scene.dies(&mut self.random, 4000, counts::SELF_KILLED) {
            return Fate::Dies;
        }
        match self.random.below(4000) {
            0..60 => Fate::Panics,
            60..200 => Fate::Fails,
            _ => Fate::Whole,
        }
    }

    pub(super) fn pair<T: Twofold>(&mut self, op: Op, place: usize, depth: u64) {
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
            Error::Init(_) => !ran || fate == Fate::Fails,
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

    pub(super) fn migrate<Old: Twofold, New: Twofold>(&mut self, place: usize) {
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
            Error::Init(_) => !ran || fate == Fate::Fails,
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

    pub(super) fn unique(&mut self, op: Op) {
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

    pub(super) fn slice(&mut self, place: usize) {
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
            Error::Init(_) => !ran() || fate == Fate::Fails,
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

    pub(super) fn anonymous(&mut self) {
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
}
