//! Segments that come and go: creation races, removal, attaching and closing in a loop.
//!
//! Workers share a few names. Whoever creates or removes one notes it in the ledger, before and after: so between two
//! audits, what was created less what was removed is what is there. Every segment that is opened must be whole.

use super::ledger::Desk;
use super::{Scene, Suite, die};
use crate::{Random, leftovers};
use shmem_core::{Error, LockError, OpenError, Result, Root, Segment, SegmentBuilder, ShmMutex};
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

/// See the [module](self).
pub struct Creation;

const NAMES: usize = 4;
/// Segments kept open at most.
const KEPT: usize = 3;
const WORDS: usize = 16;

/// The suite's words, each for every name.
const CREATING: usize = 0;
const CREATED: usize = NAMES;
const CREATE_ENDED: usize = 2 * NAMES;
const REMOVING: usize = 3 * NAMES;
const REMOVED: usize = 4 * NAMES;
const REMOVE_ENDED: usize = 5 * NAMES;
const WAS_THERE: usize = 6 * NAMES;

const OPENED: usize = 0;
const SELF_KILLED: usize = 1;

fn name(base: &str, i: usize) -> String {
    format!("{base}-{i}")
}

/// The last one is reached as a file.
fn builder(base: &str, i: usize) -> SegmentBuilder {
    let name = name(base, i);
    if i + 1 == NAMES { Segment::file(format!("/dev/shm/{name}")) } else { Segment::shared(&name) }
}

fn remove(base: &str, i: usize) -> Result<bool> {
    let name = name(base, i);
    if i + 1 == NAMES { Segment::remove_file(format!("/dev/shm/{name}")) } else { Segment::remove(&name) }
}

fn is_open_error(e: &Error, which: impl Fn(&OpenError) -> bool) -> bool {
    matches!(e, Error::Open(e) if which(e))
}

/// An open segment, and what stands in it.
struct Kept {
    segment: Segment,
    value: Root<[u64]>,
    serial: u64,
}

/// One thread at work.
pub(super) struct Worker<'s> {
    scene: &'s Scene,
    desk: Desk,
    random: Random,
    words: &'static [AtomicU64],
    kept: Vec<Kept>,
}

impl<'s> Worker<'s> {
    pub(super) fn new(scene: &'s Scene, thread: usize, desk: Desk) -> Self {
        let (random, words) = (scene.random(thread), scene.ledger().suite());
        Worker { scene, desk, random, words, kept: Vec::new() }
    }

    fn noted<R>(&self, at: [usize; 3], i: usize, act: impl FnOnce() -> R, did: impl Fn(&R) -> bool) -> R {
        let [begun, done, ended] = at.map(|at| &self.words[at + i]);
        begun.fetch_add(1, SeqCst);
        let result = act();
        if did(&result) {
            done.fetch_add(1, SeqCst);
        }
        ended.fetch_add(1, SeqCst);
        result
    }

    /// One operation.
    pub(super) fn step(&mut self) {
        let i = self.random.below(NAMES as u64) as usize;
        let base = self.scene.base();
        let size = (64 << 10) << self.random.below(8);
        let create = [CREATING, CREATED, CREATE_ENDED];
        let made = |made: &Result<Segment>| made.as_ref().is_ok_and(Segment::created);
        let act = self.random.below(10);
        let (what, opened, allowed): (_, _, fn(&OpenError) -> bool) = match act {
            0 | 1 => {
                self.desk.doing("create", i as u64);
                let opened = self.noted(create, i, || builder(base, i).size(size).create(), made);
                ("create", opened, |e| matches!(e, OpenError::AlreadyExists { .. }))
            }
            2..5 => {
                self.desk.doing("open_or_create", i as u64);
                let opened = self.noted(create, i, || builder(base, i).size(size).open_or_create(), made);
                ("open_or_create", opened, |_| false)
            }
            5 | 6 => {
                self.desk.doing("open", i as u64);
                ("open", builder(base, i).open(), |e| matches!(e, OpenError::NotFound { .. }))
            }
            7 | 8 => {
                self.desk.doing("remove", i as u64);
                let lie = self.scene.sabotages("removal", &mut self.random, 100);
                let remove = || remove(base, i);
                let done = |removed: &Result<bool>| lie || matches!(removed, Ok(true));
                if let Err(e) = self.noted([REMOVING, REMOVED, REMOVE_ENDED], i, remove, done) {
                    self.scene.corrupt(format!("remove {i}: {e}"));
                }
                return self.desk.done();
            }
            _ => {
                self.look_at_kept();
                return self.desk.done();
            }
        };
        match opened {
            Ok(segment) => self.opened(what, i, segment),
            Err(e) if is_open_error(&e, allowed) => {}
            Err(e) => self.scene.corrupt(format!("{what} {i}: {e}")),
        }
        self.desk.done();
    }

    /// What must be so in any segment.
    fn opened(&mut self, what: &str, i: usize, segment: Segment) {
        self.scene.count(OPENED, 1);
        let (scene, desk) = (self.scene, self.desk);
        desk.doing("look into the segment", i as u64);
        if scene.dies(&mut self.random, 4000, SELF_KILLED) {
            die();
        }
        let (serial, dies) = (scene.serial(), scene.dies(&mut self.random, 4000, SELF_KILLED));
        let one = segment.find_or_construct_slice::<u64, _>("one", WORDS, |word| {
            if dies && word == WORDS / 2 {
                die();
            }
            serial
        });
        let value = match one {
            Ok(value) => value,
            Err(e) => return scene.corrupt(format!("{what} {i}: a segment without its object: {e}")),
        };
        let serial = value[0];
        if value.iter().any(|word| *word != serial) {
            scene.corrupt(format!("{what} {i}: a half-built object: {:?}", &*value));
        }
        desk.doing("lock in the segment", i as u64);
        let counted = segment.find_or_construct("lock", ShmMutex::<u64>::new(0)).and_then(|lock| {
            match lock.lock() {
                Ok(mut guard) => *guard += 1,
                Err(LockError::Poisoned { by_death: true }) => match lock.lock_poisoned() {
                    Ok(mut guard) => guard.clear_poison(),
                    Err(e) => return Err(e.into()),
                },
                Err(e) => return Err(e.into()),
            }
            Ok(())
        });
        if let Err(e) = counted {
            scene.corrupt(format!("{what} {i}: the lock of a segment: {e}"));
        }
        if self.random.below(20) == 0 {
            desk.doing("recover", i as u64);
            segment.recover();
            desk.doing("check", i as u64);
            scene.check(&segment, what);
        }
        if self.random.below(2) == 0 {
            desk.doing("keep", i as u64);
            if self.kept.len() == KEPT {
                self.kept.swap_remove(self.random.below(KEPT as u64) as usize);
            }
            self.kept.push(Kept { segment, value, serial });
        } else {
            desk.doing("close", i as u64);
        }
    }

    /// Nothing that was opened changes when its name goes.
    fn look_at_kept(&mut self) {
        for kept in &self.kept {
            self.desk.doing("look at what is kept", 0);
            let again = kept.segment.find_slice::<u64>("one");
            let same =
                again.as_ref().is_ok_and(|found| found.as_ref().is_some_and(|one| one[0] == kept.serial));
            if !same || kept.value.iter().any(|word| *word != kept.serial) {
                self.scene.corrupt(format!("a segment that was kept open has become {again:?}"));
            }
        }
        self.kept.clear();
    }
}

/// Compares what is there with the ledger; `last`: and then removes it all.
pub(super) fn audit(scene: &Scene, thread: usize, desk: Desk, last: bool) {
    let words = scene.ledger().suite();
    let mut worker = Worker::new(scene, thread, desk);
    for i in 0..NAMES {
        desk.doing("audit", i as u64);
        let now = match builder(scene.base(), i).open() {
            Ok(segment) => {
                desk.doing("recover", i as u64);
                segment.recover();
                let attached = segment.attached_pids();
                if attached.iter().any(|pid| *pid != std::process::id()) {
                    scene.corrupt(format!("still attached after recovery: {attached:?}"));
                }
                desk.doing("check", i as u64);
                scene.check(&segment, "audit");
                worker.opened("audit", i, segment);
                true
            }
            Err(e) if is_open_error(&e, |e| matches!(e, OpenError::NotFound { .. })) => false,
            Err(e) => {
                scene.corrupt(format!("audit of {i}: {e}"));
                true
            }
        };
        let word = |at: usize| words[at + i].load(SeqCst);
        let created = (word(CREATED), word(CREATED) + word(CREATING) - word(CREATE_ENDED));
        let removed = (word(REMOVED), word(REMOVED) + word(REMOVING) - word(REMOVE_ENDED));
        scene.balance(&format!("segment {i}"), word(WAS_THERE) != 0, now, created, removed);
        for at in [CREATING, CREATED, CREATE_ENDED, REMOVING, REMOVED, REMOVE_ENDED] {
            words[at + i].store(0, SeqCst);
        }
        words[WAS_THERE + i].store(now.into(), SeqCst);
    }
    worker.kept.clear();
    if last {
        // Whoever creates a name anew removes what dead creators of it left.
        for i in 0..NAMES {
            desk.doing("create anew", i as u64);
            let anew = remove(scene.base(), i)
                .and_then(|_| builder(scene.base(), i).size(64 << 10).create())
                .and_then(|_| remove(scene.base(), i));
            if !matches!(anew, Ok(true)) {
                scene.corrupt(format!("segment {i} anew: {anew:?}"));
            }
        }
        let left = leftovers(scene.base());
        if !left.is_empty() {
            scene.corrupt(format!("left in /dev/shm: {left:?}"));
        }
    }
}

/// Removes whatever a life left in `/dev/shm`.
pub(super) fn clear(base: &str) {
    for name in leftovers(base) {
        let _ = std::fs::remove_file(format!("/dev/shm/{name}"));
    }
}

impl Suite for Creation {
    fn name(&self) -> &'static str {
        "creation"
    }

    fn about(&self) -> &'static str {
        "segments: create, open, open_or_create, remove, close, against each other"
    }

    fn counts(&self) -> &'static [&'static str] {
        &["segments opened", "killed by themselves"]
    }

    fn sabotages(&self) -> &'static [&'static str] {
        &["removal"]
    }

    fn prepare(&self, _: &Scene) {}

    fn work(&self, scene: &Scene) {
        let threads = 1 + scene.random(0).below(2) as usize;
        scene.threads(threads, |thread, desk| {
            let mut worker = Worker::new(scene, thread, desk);
            while scene.goes_on() {
                worker.step();
            }
            desk.doing("close what is kept", 0);
        });
    }

    fn recover(&self, scene: &Scene) {
        scene.threads(1, |thread, desk| {
            let mut random = scene.random(thread);
            while scene.goes_on() {
                desk.doing("open, recover", 0);
                let i = random.below(NAMES as u64) as usize;
                if let Ok(segment) = builder(scene.base(), i).open() {
                    segment.recover();
                }
            }
        });
    }

    fn audit(&self, scene: &Scene) {
        scene.threads(1, |thread, desk| audit(scene, thread, desk, scene.is_last()));
    }

    fn remove(&self, base: &str) {
        clear(base);
    }
}
