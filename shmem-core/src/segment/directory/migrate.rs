//! Migrating: an object gives its name to one of another type that is made of it.
//!
//! The old entry is *marked* (`CONVERTING`): its name still leads to it, but nobody can pin it, so what the conversion
//! reads is what the migration replaces, and no change is lost. Whoever looks the name up meanwhile waits. The new
//! object is an ordinary reservation, of the same name, that says which [`Life`] it *supersedes*; it does not count
//! while that one is there.
//!
//! | step | under the lock | a death behind it leaves | who makes that good |
//! |---|---|---|---|
//! | mark: old `LIVE` → `CONVERTING` | yes | the old object, that nobody can pin | recovery: → `LIVE` |
//! | reserve the new entry | yes | and a reservation | recovery: rolled back, as any |
//! | build the new value | no | and what it owns, leaked | |
//! | **commit: new `RESERVED` → `LIVE`** | yes | two entries that are there | whoever takes the lock over: [`finish_migrations`](Directory::finish_migrations) |
//! | old → `UNLINKED` | yes | the new object; a name in the index too many | whoever takes the lock over: a new index, and an orphan |
//! | take the old name out, `supersedes` = 0 | yes | the new object, and an unlinked one | recovery: an orphan |
//! | drop the old object | no | as any death in a drop | recovery: leaked |
//!
//! So at every instant one of both is to be had. From the commit to the unlinking the sequence number is odd, which
//! sends whoever finds neither (it may have looked at the new entry before the one step and at the old one after the
//! other) to the lock. Marking meets pinning as unlinking does: see `pins`.
//!
//! This file needs `unsafe`: it makes references to the old object.

use super::pins::Pin;
use super::staged::{Step, step};
use super::wait::Making;
use super::{
    Directory, Entry, Hold, Key, Life, Locked, Phase, Pinned, Reservation, Shape, State, drop_elements,
};
use crate::access::{Access, MAX_ALIGN};
use crate::crash::crash_point;
use crate::error::{NameError, Result};
use crate::layout::{Fingerprint, ShmSafe};
use crate::mapping::registry;
use crate::primitive::Ordering;
use crate::sys::clock::Deadline;

use std::mem::ManuallyDrop;
use std::slice;
use std::time::Duration;

/// How long an object may be pinned before a migration is refused: a look-up pins for a moment what turns out to be
/// of another type, and the dead are to be recovered first.
const HOLD_ON: Duration = Duration::from_millis(20);
/// Time between two looks.
const LOOK_AGAIN: Duration = Duration::from_micros(200);

/// What became of the beginning of a migration.
enum Begun<'d> {
    /// The name leads to something else than an `Old`, now pinned.
    Other(Hold),
    /// The old object is marked, the new one reserved.
    Marked { old: Mark<'d>, new: Reservation<'d> },
}

/// A marked entry: live again if the conversion fails or panics.
struct Mark<'d> {
    directory: &'d Directory,
    number: u32,
    entry: &'d Entry,
    /// The state it is marked with.
    state: State,
    fork_generation: u64,
    making: Making,
}

impl Drop for Mark<'_> {
    fn drop(&mut self) {
        self.making.end();
        // In the child of a fork inside the conversion it is the parent's.
        if self.fork_generation == registry::fork_generation() {
            self.entry.settle(self.state.to(Phase::Live));
            self.entry.is_made(self.making.constructor());
        }
        self.directory.migrations.fetch_sub(1, Ordering::Release);
    }
}

/// Lets go of the new object if the old one's drop panics.
struct Held<'d>(&'d Directory, Hold);

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.0.unpin(self.1);
    }
}

impl Directory {
    /// The object called `new_key`, made of the `Old` called `old_key` by `build` if it is not there. `shape`: what the
    /// old one must be. `build` gets the old elements, and room for as many new ones.
    pub(crate) fn migrate<Old: ShmSafe, New: ShmSafe>(
        &self,
        old_key: &Key<'_>,
        new_key: &Key<'_>,
        shape: Shape,
        build: impl FnOnce(&[Old], *mut New, Access<'_>) -> Result<()>,
    ) -> Result<Pinned> {
        const { assert!(align_of::<New>() <= MAX_ALIGN, "the alignment of a stored type is at most 4096") };
        self.sweep_orphans::<Old>();
        self.sweep_orphans::<New>();
        let (old, new) = match self.begin::<Old, New>(old_key, new_key, shape)? {
            Begun::Other(hold) => return self.typed::<New>(hold, new_key, shape),
            Begun::Marked { old, new } => (old, new),
        };
        crash_point!("migrate.reserved");
        let count = new.entry.count.load(Ordering::Relaxed) as usize;
        let (first, _) = self.access().allocate_array::<New>(count)?;
        if size_of::<New>() * count != 0 {
            new.entry.object.store(self.offset_of(first), Ordering::Relaxed);
        }
        step(Step::Reserved);
        crash_point!("migrate.allocated");
        // SAFETY: `begin` found valid `Old`s there, as many as the new entry says, that nobody can pin while marked.
        let elements =
            unsafe { slice::from_raw_parts(self.object_at(old.entry).as_ptr().cast::<Old>(), count) };
        build(elements, first.as_ptr(), Access::new(&self.context))?;
        assert!(new.is_ours(), "shmem: a conversion that forked returned in the child");
        step(Step::Built);
        crash_point!("migrate.built");
        let hold = new.hold;
        let lock = self.lock()?;
        let (old_entry, state) = self.commit(&lock, old, new);
        drop(lock);
        step(Step::Settled);
        crash_point!("migrate.settled");
        let held = Held(self, hold);
        self.reap_if_free(old_entry, Some((drop_elements::<Old>, state)));
        std::mem::forget(held);
        Ok(Pinned { hold, at: first.cast(), count })
    }

    /// Marks the old entry and reserves a new one, as soon as nobody holds the old one; under one lock, so nobody sees
    /// a mark that is taken back at once.
    fn begin<Old: ShmSafe, New: ShmSafe>(
        &self,
        old_key: &Key<'_>,
        new_key: &Key<'_>,
        shape: Shape,
    ) -> Result<Begun<'_>> {
        let [old_hash, new_hash] = [old_key, new_key].map(|key| self.hash(key));
        let patience = Deadline::after(HOLD_ON);
        loop {
            let lock = self.lock()?;
            let mut key = new_key;
            let mut found = self.lookup_locked(&lock, new_key, new_hash)?;
            if found.is_none() && old_key.name != new_key.name {
                key = old_key;
                found = self.lookup_locked(&lock, old_key, old_hash)?;
            }
            let Some((entry, state)) = found else {
                return Err(NameError::NotFound { name: old_key.owned_name() }.into());
            };
            if !state.is(Phase::Live) {
                // Under construction, or another is converting it.
                self.wait_for(lock, entry, state, key)?;
                continue;
            }
            let stored = entry.fingerprint();
            if stored != Fingerprint::halves_of::<Old>() || stored == Fingerprint::halves_of::<New>() {
                // Before it is pinned: what cannot be dropped here is not held up.
                self.check_type::<New>(entry, new_key, shape)?;
                match self.pin(entry, || entry.state() == state, || self.glue_of::<New>(entry)) {
                    Pin::Held(hold) => return Ok(Begun::Other(hold)),
                    Pin::Gone => continue,
                    Pin::NoRecord => return Err(self.no_record()),
                }
            }
            self.check_type::<Old>(entry, key, shape)?;
            let number = self.number_of(entry);
            if let Some(old) = self.mark(&lock, number, entry, state)? {
                step(Step::Marked);
                crash_point!("migrate.marked");
                let slice = entry.label().is_slice();
                let count = entry.count.load(Ordering::Relaxed);
                let shape = if slice { Shape::Slice(Some(count)) } else { Shape::One };
                let life = Life::new(number, state);
                let (hold, entry) = self.reserve::<New>(lock, new_key, new_hash, shape, Some(life))?;
                let new = Reservation::new(self, hold, entry);
                return Ok(Begun::Marked { old, new });
            }
            drop(lock);
            let holders = entry.holders();
            if patience.has_passed() && !holders.is_empty() {
                let holders = holders.len() as u32;
                return Err(NameError::InUse { name: key.owned_name(), holders }.into());
            }
            for process in holders {
                self.participants.recover_if_dead(process);
            }
            std::thread::sleep(LOOK_AGAIN);
        }
    }

    /// Marks a live entry, if nobody pins it.
    fn mark<'d>(
        &'d self,
        lock: &Locked<'_>,
        number: u32,
        entry: &'d Entry,
        state: State,
    ) -> Result<Option<Mark<'d>>> {
        let process = self.participants.process()?;
        if entry.is_pinned() {
            return Ok(None);
        }
        step(Step::Unpinned);
        crash_point!("migrate.unpinned");
        entry.constructor.store(lock.slot.owner().0, Ordering::Relaxed);
        let marked = state.by(Phase::Converting, process);
        // CRASH mark: recovery of this process takes the mark back.
        // SYNC pin/unlink: SeqCst: whoever pins sees the mark, or its pin is seen below.
        // Counted before, and uncounted after (Release): who finds the mark and no count has found damage.
        self.migrations.fetch_add(1, Ordering::Relaxed);
        if !entry.advance(state, marked) {
            self.migrations.fetch_sub(1, Ordering::Relaxed);
            entry.is_made(lock.slot.owner());
            return Ok(None);
        }
        let mark = Mark {
            directory: self,
            number,
            entry,
            state: marked,
            fork_generation: registry::fork_generation(),
            making: Making::begin(entry),
        };
        Ok((!entry.is_pinned()).then_some(mark))
    }

    /// Lets the new entry take the old one's place; gives the old one, to be dropped.
    fn commit<'d>(&self, _lock: &Locked<'_>, old: Mark<'d>, new: Reservation<'d>) -> (&'d Entry, State) {
        let hash = old.entry.hash.load(Ordering::Relaxed);
        let (number, entry, state) = (old.number, old.entry, old.state);
        let new_entry = new.entry;
        // Nothing below panics.
        let (old, new) = (ManuallyDrop::new(old), ManuallyDrop::new(new));
        new.making.end();
        old.making.end();
        let moving = self.moving();
        crash_point!("migrate.moving");
        // CRASH migrate: until this store the name is the old object's, from it on the new one's; see the module's table.
        new_entry.settle(new_entry.state().to(Phase::Live));
        step(Step::Committed);
        crash_point!("migrate.committed");
        entry.settle(state.to(Phase::Unlinked));
        step(Step::Unlinked);
        crash_point!("migrate.unlinked");
        drop(moving);
        self.remove(hash, number);
        step(Step::Removed);
        crash_point!("migrate.removed");
        new_entry.supersedes.store(0, Ordering::Relaxed);
        new_entry.is_made(new.making.constructor());
        self.migrations.fetch_sub(1, Ordering::Release);
        (entry, state)
    }

    /// Goes on where a dead holder of the lock stopped between a migration's commit and its end. Under the lock.
    pub(super) fn finish_migrations(&self) {
        for number in 0..self.high() {
            let Some(entry) = self.entry(number) else { continue };
            let life = Life(entry.supersedes.load(Ordering::Relaxed));
            if life.0 == 0 || !entry.state().is(Phase::Live) {
                continue;
            }
            if let Some(old) = life.number()
                && let Some(old_entry) = self.entry(old)
                && let state = old_entry.state()
                && state.is(Phase::Converting)
                && life == Life::new(old, state)
            {
                old_entry.settle(state.to(Phase::Unlinked));
                crash_point!("finish.unlinked");
                self.reap_if_free(old_entry, None);
                crash_point!("finish.reaped");
            }
            entry.supersedes.store(0, Ordering::Relaxed);
            crash_point!("finish.done");
        }
    }

    /// Takes back the mark of a dead process, if its migration was not committed. `false` if the directory cannot be
    /// locked.
    pub(super) fn take_mark_back(&self, entry: &Entry, dead: u32) -> bool {
        // Taking the lock over from the dead finishes what was committed.
        let Ok(_lock) = self.lock() else { return false };
        crash_point!("takeback.locked");
        let state = entry.state();
        if state.is(Phase::Converting) && state.agent() == Some(dead) {
            entry.settle(state.to(Phase::Live));
            crash_point!("takeback.live");
        }
        true
    }
}
