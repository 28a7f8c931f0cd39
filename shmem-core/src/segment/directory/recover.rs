//! The directory's lock; making good what its dead holders, and dead constructors and destroyers, left; freeing.
//!
//! This file needs `unsafe`: it frees blocks of mapped memory.

use super::entry::{Entry, MAX_NAME, Phase, State};
use super::staged::{Step, step};
use super::{Directory, DropGlue, drop_elements};
use crate::access::MAX_ALIGN;
use crate::crash::crash_point;
use crate::error::Result;
use crate::layout::{Fingerprint, ShmSafe};
use crate::participant::{SlotHandle, current_owner};
use crate::primitive::Ordering;
use crate::sync::{Acquired, Patience, RawLock};
use std::alloc::Layout;
use std::ptr::{self, NonNull};

impl Directory {
    pub(super) fn lock(&self) -> Result<Locked<'_>> {
        self.lock_within(Patience::Forever)
    }

    pub(super) fn lock_within(&self, patience: Patience) -> Result<Locked<'_>> {
        let slot = current_owner(self.header())?;
        let raw = &self.header().lock;
        let clean =
            raw.lock_fast(&slot) || raw.lock_slow(&slot, patience, &self.participants)? == Acquired::Clean;
        let locked = Locked { lock: raw, slot, panicking: std::thread::panicking() };
        crash_point!("lock.taken");
        if !clean {
            self.repair();
            raw.clear_poison();
        }
        Ok(locked)
    }

    /// Makes good what a dead holder of the lock left. The entries are the truth; everything else follows.
    pub(super) fn repair(&self) {
        crash_point!("repair.begun");
        self.finish_migrations();
        crash_point!("repair.migrated");
        self.rebuild();
        crash_point!("repair.rebuilt");
        self.count_used();
        crash_point!("repair.counted");
    }

    /// Makes `used` right; gives it. Under the directory lock.
    pub(super) fn count_used(&self) -> u32 {
        let entries = (0..self.high()).filter_map(|n| self.entry(n));
        let used = entries.filter(|e| !e.state().is(Phase::Free)).count() as u32;
        self.header().used.store(used, Ordering::Relaxed);
        used
    }

    /// Undoes what a dead process left in the directory: its pins, its reservations, its half-done conversions and
    /// frees. Whether all of it could be undone: for reservations and conversions this thread needs a slot.
    pub(crate) fn recover(&self, dead: u32) -> bool {
        let mut done = true;
        for number in 0..self.high() {
            let Some(entry) = self.entry(number) else { continue };
            self.unpin_dead(entry, dead);
            crash_point!("recover.unpinned");
            let state = entry.state();
            let of_dead = state.agent() == Some(dead);
            match state.phase() {
                Some(Phase::Reserved) if of_dead => {
                    crash_point!("recover.reservation");
                    done &= self.roll_back(entry);
                }
                Some(Phase::Converting) if of_dead => {
                    crash_point!("recover.conversion");
                    done &= self.take_mark_back(entry, dead);
                }
                // Its drop ran half-way: the object is leaked, never dropped twice.
                Some(Phase::Freeing) if of_dead => {
                    crash_point!("recover.release");
                    self.release(entry);
                }
                Some(Phase::Live)
                    if entry.label().is_anonymous()
                        && !entry.is_pinned()
                        && entry.advance(state, state.to(Phase::Unlinked)) =>
                {
                    crash_point!("recover.anonymous");
                    self.reap_if_free(entry, None);
                }
                Some(Phase::Unlinked) => self.reap_if_free(entry, None),
                // Perhaps it died before it had counted it.
                Some(Phase::Orphan) if !self.has_orphans() => {
                    self.header().orphans.fetch_add(1, Ordering::SeqCst);
                }
                _ => {}
            }
        }
        crash_point!("recover.done");
        done
    }

    /// Takes back a reservation. The object's block, if there is one yet, is freed; what a half-built value owned
    /// was dropped by its initialiser, or is leaked if that died. `false` if the directory cannot be locked.
    pub(super) fn roll_back(&self, entry: &Entry) -> bool {
        let Ok(_lock) = self.lock() else { return false };
        crash_point!("rollback.locked");
        if entry.state().is(Phase::Reserved) {
            // All under the lock: an index made anew meanwhile would have the name again.
            self.remove(entry.hash.load(Ordering::Relaxed), self.number_of(entry));
            step(Step::TakenOut);
            crash_point!("rollback.removed");
            // CRASH roll-back: whoever goes on begins again; a death inside this leaks the block.
            self.free_object_block(entry);
            step(Step::Emptied);
            crash_point!("rollback.freed");
            self.release(entry);
            step(Step::Released);
            crash_point!("rollback.released");
        }
        true
    }

    /// Makes an entry free and wakes whoever waits for it.
    pub(super) fn release(&self, entry: &Entry) {
        let name_at = entry.name_at();
        // CRASH release: a death between these leaks the name's block.
        if name_at != 0 {
            entry.name[0].store(0, Ordering::Relaxed);
            crash_point!("release.unnamed");
            let len = entry.label().name_len().clamp(1, MAX_NAME);
            let block = NonNull::new(self.at(name_at)).expect("not null: an offset into the mapping");
            // SAFETY: allocated for this name with this length; nobody reads an entry that is neither pinned nor named.
            unsafe { self.access().deallocate(block, Layout::from_size_align_unchecked(len, 1)) };
        }
        crash_point!("release.nameless");
        self.header().free.store(self.number_of(entry), Ordering::Relaxed);
        crash_point!("release.hinted");
        // CRASH release: until this store the entry is its agent's, and recovery comes here again; a death behind it
        // leaves `used` too high, and so an entry unused until the entries are counted again (`take_entry`).
        entry.settle(entry.state().to(Phase::Free));
        crash_point!("release.free");
        let used = &self.header().used;
        let _ = used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| used.checked_sub(1));
    }

    pub(super) fn element_layout(&self, entry: &Entry) -> Option<(Layout, u64)> {
        let count = entry.count.load(Ordering::Relaxed);
        let size = entry.element_size.load(Ordering::Relaxed).checked_mul(count)?;
        let align = entry.label().align();
        let layout = Layout::from_size_align(usize::try_from(size).ok()?, align).ok()?;
        (align <= MAX_ALIGN).then_some((layout, count))
    }

    pub(super) fn free_object_block(&self, entry: &Entry) {
        let at = entry.object.swap(0, Ordering::Relaxed);
        if at == 0 || at >= self.reserved_bytes() {
            return;
        }
        crash_point!("reap.unnamed");
        if let (Some((layout, _)), Some(block)) = (self.element_layout(entry), NonNull::new(self.at(at))) {
            // SAFETY: the object's block, with its layout; the entry, which was taken by one thread alone, named it.
            unsafe { self.access().deallocate(block, layout) };
        }
    }

    /// Drops an object's elements and frees its block. The caller alone took the entry to `Freeing`.
    pub(super) fn drop_object(&self, entry: &Entry, glue: DropGlue) {
        let at = self.object_at(entry);
        let count = entry.count.load(Ordering::Relaxed) as usize;
        // SAFETY: a valid object that nobody can reach any more, of the glue's type: whoever passed the glue held a
        // pin of that type, or compared fingerprints.
        if unsafe { glue(at.as_ptr(), count) } {
            crash_point!("reap.dropped");
            self.free_object_block(entry);
            crash_point!("reap.freed");
        }
    }

    #[inline(always)]
    pub(super) fn object_at(&self, entry: &Entry) -> NonNull<u8> {
        let at = match entry.object.load(Ordering::Relaxed) {
            0 => ptr::without_provenance_mut(entry.label().align()),
            at => self.at(at),
        };
        NonNull::new(at).expect("an alignment or an address in the mapping")
    }

    /// Whether there may be orphans.
    #[inline(always)]
    pub(super) fn has_orphans(&self) -> bool {
        self.header().orphans.load(Ordering::Relaxed) as u32 != 0
    }

    /// Goes from `state`, unlinked, to orphaned.
    pub(super) fn orphan(&self, entry: &Entry, state: State) {
        let orphans = &self.header().orphans;
        // CRASH orphan: counted before, so a death here leaves a hint that is too high, until somebody finds no orphan; and
        // again, in the upper half, afterwards, so that who looked before does not take the hint back.
        orphans.fetch_add(1, Ordering::SeqCst);
        crash_point!("orphan.counted");
        if entry.advance(state, state.to(Phase::Orphan)) {
            crash_point!("orphan.left");
            orphans.fetch_add(1 << 32, Ordering::SeqCst);
        } else {
            self.one_orphan_less();
        }
    }

    pub(super) fn one_orphan_less(&self) {
        let less = |orphans: u64| (orphans as u32 != 0).then(|| orphans - 1);
        let _ = self.header().orphans.fetch_update(Ordering::SeqCst, Ordering::Relaxed, less);
    }

    /// Frees the orphans of type `T`, if there are any.
    pub(super) fn sweep_orphans<T: ShmSafe>(&self) {
        let hint = self.header().orphans.load(Ordering::SeqCst);
        if hint as u32 == 0 || self.participants.process().is_err() {
            return;
        }
        let wanted = Fingerprint::halves_of::<T>();
        let mut met = false;
        for number in 0..self.high() {
            let Some(entry) = self.entry(number) else { continue };
            let state = entry.state();
            if !state.is(Phase::Orphan) {
                continue;
            }
            met = true;
            // Counted after, and by one alone.
            if entry.fingerprint() == wanted
                && self.is_in_block::<T>(entry)
                && self.reap(entry, state, drop_elements::<T>)
            {
                crash_point!("orphan.swept");
                self.one_orphan_less();
            }
        }
        if !met {
            // Not one, and none was added since: a death left the hint.
            let (none, relaxed) = (hint >> 32 << 32, Ordering::Relaxed);
            let _ = self.header().orphans.compare_exchange(hint, none, Ordering::SeqCst, relaxed);
        }
    }
}

/// The directory lock, held.
pub(super) struct Locked<'d> {
    pub(super) lock: &'d RawLock,
    pub(super) slot: SlotHandle,
    /// Whether the thread was panicking already when it locked.
    pub(super) panicking: bool,
}

impl Drop for Locked<'_> {
    fn drop(&mut self) {
        // A panic under the lock leaves repairs to do, like a death.
        let poisoned = !self.panicking && std::thread::panicking();
        if poisoned {
            self.lock.blame_panic();
        }
        self.lock.unlock(&self.slot, poisoned);
    }
}
