//! Many mutexes in one segment: exclusion, lost updates, torn sections, poison, waits without an end.
//!
//! Each mutex guards a `Cell`. Inside, a worker puts its mark, raises one half, perhaps takes further mutexes, raises
//! the other half, notes the section in the ledger and takes the mark away. Only who holds the mutex changes its
//! numbers in the ledger. So whoever enters finds, exactly:
//!
//! - no mark (else there are two holders, or a death went unnoticed),
//! - both halves equal to the sections that the ledger has of all workers, and those that a repair found,
//!
//! unless the mutex is poisoned: then each half may be one ahead, and that is repaired and noted.

use super::ledger::{DESKS, Desk};
use super::{Intended, Scene, Suite, die, quietly};
use crate::Random;
use shmem_core::{LockError, MutexGuard, PoisonedLockError, Root, Segment, ShmMutex, ShmSafe, ShmVec};
use std::sync::atomic::{AtomicU64, Ordering::SeqCst, compiler_fence};
use std::time::{Duration, Instant};

/// See the [module](self).
pub struct Locks;

/// What a mutex guards.
#[derive(ShmSafe)]
#[repr(C)]
struct Cell {
    /// Who is inside: the number of its desk + 1.
    owner: u64,
    left: u64,
    right: u64,
    /// Some of the values that `left` had, in order.
    trail: ShmVec<u64>,
}

type Mutexes = Root<[ShmMutex<Cell>]>;
type Guard<'a> = MutexGuard<'a, Cell>;

const MUTEXES: usize = 24;
const NESTED: u64 = 3;
const TRAIL: usize = 24;

/// The suite's words: the sections that each desk completed, by mutex; then those that repairs found.
const DONE: usize = 0;
const REPAIRED: usize = DESKS * MUTEXES;

const BY_DEATH: usize = 0;
const BY_PANIC: usize = 1;
const TIMED_OUT: usize = 2;
const SELF_KILLED: usize = 3;

fn open(scene: &Scene) -> (Segment, Mutexes) {
    let segment = Segment::shared(scene.base()).size(4 << 20).open_or_create().unwrap();
    let cell = || CellInit { owner: 0, left: 0, right: 0, trail: ShmVec::new() };
    let mutexes = segment.find_or_construct_slice("mutexes", MUTEXES, |_| ShmMutex::<Cell>::new(cell()));
    (segment, mutexes.unwrap())
}

/// One thread at work.
struct Worker<'s> {
    scene: &'s Scene,
    mutexes: &'s [ShmMutex<Cell>],
    seat: usize,
    desk: Desk,
    random: Random,
    words: &'static [AtomicU64],
}

impl Worker<'_> {
    fn done(&self, seat: usize, i: usize) -> &'static AtomicU64 {
        &self.words[DONE + seat * MUTEXES + i]
    }

    /// How often mutex `i` was entered and left, as the ledger says. Only for who holds it.
    fn known(&self, i: usize) -> u64 {
        let repaired = self.words[REPAIRED + i].load(SeqCst);
        (0..DESKS).map(|seat| self.done(seat, i).load(SeqCst)).sum::<u64>().wrapping_add(repaired)
    }

    /// Some mutexes in ascending order, so that nobody waits in a circle.
    fn choose(&mut self) -> Vec<usize> {
        let n = if self.random.below(3) == 0 { 2 + self.random.below(NESTED - 1) } else { 1 };
        // A few are fought for.
        let among = if self.random.below(2) == 0 { 4 } else { MUTEXES as u64 };
        let mut chosen: Vec<usize> = (0..n).map(|_| self.random.below(among) as usize).collect();
        chosen.sort_unstable();
        chosen.dedup();
        chosen
    }

    /// Locks mutex `i` in one of the ways; `None` if it did not wait long enough to get it.
    fn lock(&mut self, i: usize) -> Option<Guard<'_>> {
        let (mutex, begun) = (&self.mutexes[i], Instant::now());
        let wait = Duration::from_micros(self.random.below(5000));
        let (how, locked) = match self.random.below(10) {
            0..=4 => ("lock", self.said("lock", i, || mutex.lock())),
            5 | 6 => ("try_lock", self.said("try_lock", i, || mutex.try_lock())),
            7 | 8 => ("lock_timeout", self.said("lock_timeout", i, || mutex.lock_timeout(wait))),
            _ => ("lock_until", self.said("lock_until", i, || mutex.lock_until(begun + wait))),
        };
        match locked {
            Ok(guard) => {
                self.enter(i, &guard);
                Some(guard)
            }
            Err(LockError::Poisoned { by_death }) => {
                self.scene.count(if by_death { BY_DEATH } else { BY_PANIC }, 1);
                self.mend(i)
            }
            Err(LockError::WouldBlock) if how == "try_lock" => None,
            Err(LockError::TimedOut) if how == "lock_timeout" || how == "lock_until" => {
                self.scene.count(TIMED_OUT, 1);
                if begun.elapsed() + Duration::from_micros(50) < wait {
                    self.scene.corrupt(format!("{how} of mutex {i} gave up before its time"));
                }
                None
            }
            Err(e) => {
                self.scene.corrupt(format!("{how} of mutex {i}: {e}"));
                None
            }
        }
    }

    fn said<R>(&self, what: &str, i: usize, act: impl FnOnce() -> R) -> R {
        self.desk.doing(what, i as u64);
        let result = act();
        self.desk.doing("inside", i as u64);
        result
    }

    /// What must be so inside a mutex that is not poisoned.
    fn enter(&self, i: usize, cell: &Cell) {
        let known = self.known(i);
        if cell.owner != 0 {
            self.scene.double(format!("mutex {i} has two holders, {} and {}", cell.owner, self.seat + 1));
        }
        if (cell.left, cell.right) != (known, known) {
            self.scene.corrupt(format!(
                "mutex {i} was left {} and {} times, {known} by the ledger",
                cell.left, cell.right
            ));
        }
        self.look_at_trail(i, cell);
    }

    fn look_at_trail(&self, i: usize, cell: &Cell) {
        let sorted = cell.trail.windows(2).all(|two| two[0] < two[1]);
        if cell.trail.len() > TRAIL || !sorted || cell.trail.last().is_some_and(|last| *last > cell.left) {
            self.scene.corrupt(format!("mutex {i} has the trail {:?}", &*cell.trail));
        }
    }

    /// Locks a poisoned mutex, and makes good what its last holder left.
    fn mend(&mut self, i: usize) -> Option<Guard<'_>> {
        let mutex = &self.mutexes[i];
        let mut guard = match self.said("lock_poisoned", i, || mutex.lock_poisoned()) {
            Ok(guard) => guard,
            Err(PoisonedLockError::Corrupt(guard)) => {
                self.scene.corrupt(format!("the value of mutex {i} is not memory-safe: {}", guard.found()));
                return None;
            }
            Err(e) => {
                self.scene.corrupt(format!("lock_poisoned of mutex {i}: {e}"));
                return None;
            }
        };
        if !guard.is_poisoned() {
            // Another was faster.
            self.enter(i, &guard);
            return Some(guard);
        }
        let known = self.known(i);
        let ahead = guard.left.wrapping_sub(known);
        if ahead > 1 || guard.right.wrapping_sub(known) > ahead {
            self.scene.corrupt(format!(
                "poisoned mutex {i} was left {} and {} times, {known} by the ledger",
                guard.left, guard.right
            ));
        }
        self.look_at_trail(i, &guard);
        {
            let mut view = guard.view();
            // Whoever is killed here leaves what the next one mends in the same way.
            *view.right = *view.left;
            *view.owner = 0;
            view.trail.clear();
        }
        self.words[REPAIRED + i].fetch_add(ahead, SeqCst);
        if self.random.below(8) == 0 {
            // It stays poisoned, mended.
            return None;
        }
        guard.clear_poison();
        Some(guard)
    }

    /// A section in the first of the mutexes, with the rest inside it.
    fn section(&mut self, chosen: &[usize]) {
        let Some((&i, rest)) = chosen.split_first() else { return self.inmost() };
        // The borrow of the guard is the mutexes', not this worker's.
        let mutexes = self.mutexes;
        let (scene, seat) = (self.scene, self.seat);
        let mut this = Worker {
            random: Random::new(self.random.word()),
            words: self.words,
            desk: self.desk,
            scene,
            mutexes,
            seat,
        };
        let Some(mut guard) = this.lock(i) else { return };
        self.chance(20_000);
        {
            let view = guard.view();
            *view.owner = seat as u64 + 1;
            *view.left += 1;
        }
        compiler_fence(SeqCst);
        self.chance(20_000);
        if self.random.below(6) == 0 {
            let left = guard.left;
            let mut view = guard.view();
            if view.trail.len() == TRAIL {
                view.trail.clear();
            }
            if let Err(e) = view.trail.push(left) {
                scene.corrupt(format!("a trail of {TRAIL} numbers: {e}"));
            }
        }
        if self.random.below(200) == 0
            && mutexes[i].lock_timeout(Duration::ZERO).err() != Some(LockError::Deadlock)
        {
            scene.double(format!("mutex {i} was locked twice by one thread"));
        }
        self.section(rest);
        compiler_fence(SeqCst);
        if guard.owner != seat as u64 + 1 {
            scene.double(format!("mutex {i} had another holder, {}, beside {}", guard.owner, seat + 1));
        }
        if !scene.sabotages("torn", &mut self.random, 2000) {
            *guard.view().right += 1;
        }
        self.chance(20_000);
        if !scene.sabotages("lost", &mut self.random, 2000) {
            self.done(seat, i).fetch_add(1, SeqCst);
        }
        self.chance(20_000);
        if !scene.sabotages("double", &mut self.random, 2000) {
            *guard.view().owner = 0;
        }
        if scene.sabotages("hang", &mut self.random, 2000) {
            self.desk.doing("sleep with a mutex held", i as u64);
            loop {
                std::thread::park();
            }
        }
    }

    /// Inside all of them.
    fn inmost(&mut self) {
        match self.random.below(1500) {
            0 => Intended::panic(),
            1 => std::thread::sleep(Duration::from_micros(self.random.below(300))),
            2..300 => (0..self.random.below(300)).for_each(|_| std::hint::spin_loop()),
            _ => {}
        }
    }

    /// One time in `odds`, the end of this process.
    fn chance(&mut self, odds: u64) {
        if self.scene.dies(&mut self.random, odds, SELF_KILLED) {
            die();
        }
    }
}

impl Suite for Locks {
    fn name(&self) -> &'static str {
        "locks"
    }

    fn about(&self) -> &'static str {
        "mutexes: exclusion, lost updates, poison, time-outs, waits without an end"
    }

    fn counts(&self) -> &'static [&'static str] {
        &["poisoned by a death", "poisoned by a panic", "timed out", "killed by themselves"]
    }

    fn sabotages(&self) -> &'static [&'static str] {
        &["lost", "torn", "double", "hang"]
    }

    fn prepare(&self, scene: &Scene) {
        open(scene);
    }

    fn work(&self, scene: &Scene) {
        let (segment, mutexes) = open(scene);
        let threads = 1 + scene.random(0).below(2) as usize;
        scene.threads(threads, |thread, desk| {
            let (random, words) = (scene.random(thread), scene.ledger().suite());
            let seat = scene.seat(thread);
            let mut worker = Worker { scene, mutexes: &mutexes, seat, desk, random, words };
            while scene.goes_on() {
                if worker.random.below(3000) == 0 {
                    desk.doing("recover", 0);
                    segment.recover();
                }
                let chosen = worker.choose();
                quietly(|| worker.section(&chosen));
                desk.done();
            }
        });
    }

    fn recover(&self, scene: &Scene) {
        scene.threads(1, |_, desk| {
            while scene.goes_on() {
                desk.doing("open", 0);
                let (segment, _mutexes) = open(scene);
                desk.doing("recover", 0);
                segment.recover();
                desk.doing("check", 0);
                scene.check(&segment, "while others work");
            }
        });
    }

    fn audit(&self, scene: &Scene) {
        scene.threads(1, |thread, desk| {
            desk.doing("open", 0);
            let (segment, mutexes) = open(scene);
            desk.doing("recover", 0);
            segment.recover();
            let attached = segment.attached_pids();
            if attached.iter().any(|pid| *pid != std::process::id()) {
                scene.corrupt(format!("still attached after recovery: {attached:?}"));
            }
            let (random, words) = (scene.random(thread), scene.ledger().suite());
            let seat = scene.seat(thread);
            let mut worker = Worker { scene, mutexes: &mutexes, seat, desk, random, words };
            for i in 0..MUTEXES {
                match worker.said("lock", i, || mutexes[i].lock()) {
                    Ok(guard) => worker.enter(i, &guard),
                    Err(LockError::Poisoned { .. }) => drop(worker.mend(i)),
                    Err(e) => scene.corrupt(format!("mutex {i}, with nobody else there: {e}")),
                }
            }
            desk.doing("check", 0);
            scene.check(&segment, "audit");
        });
    }
}
