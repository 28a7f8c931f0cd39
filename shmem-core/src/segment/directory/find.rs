//! The way a look-up takes when all is well: no lock, no allocation, nothing returned that must be copied about, two cache
//! lines of the entry and one atomic operation.
//!
//! Everything is compared *before* the object is pinned; a state word that is the same before and after proves that what
//! was read in between, and what is pinned now, is of one life (see `entry`). So an object that is being freed, or that is
//! not what was looked for, is not pinned at all.
//!
//! Whatever is out of the ordinary (a name that is not there, another type, a damaged entry) is left to the slow
//! path, which begins anew and says what is wrong.
//!
//! This file needs `unsafe`: it has the processor fetch an object.

use super::entry::{Entry, INLINE_NAME, Label, ObjectKind, Phase};
use super::index::Table;
use super::pins::{Hold, Mine, enter};
use super::staged::{Step, step};
use super::{Directory, Key};
use crate::layout::{Fingerprint, ShmSafe};
use crate::primitive::Ordering;
use std::ptr::NonNull;
use std::sync::atomic::fence;

impl Directory {
    /// The object of this name, pinned and of the right type: one value, or with `MANY` a slice of any length, which one
    /// value is too. Its pin and place, in two registers.
    #[inline(never)]
    pub(super) fn find_hot<T: ShmSafe, const MANY: bool>(
        &self,
        name: &str,
        kind: ObjectKind,
    ) -> Option<(Hold, NonNull<u8>)> {
        let header = self.header();
        // SYNC sequence: Acquire, so that no slot is read before it. A hit needs no second look: the entry proves it.
        let settled = header.sequence.load(Ordering::Acquire) & 1 == 0;
        let index = header.index.load(Ordering::Acquire);
        let checked = index == self.checked_index.load(Ordering::Relaxed);
        if !settled || !checked || index == 0 || self.has_orphans() {
            return None;
        }
        let (table, mine) = (Table::of_checked(index), self.mine()?);
        let key = Key { kind, name };
        let label = Label::new(kind, MANY, name.len(), align_of::<T>());
        let is_inline = name.len() <= INLINE_NAME;
        let (entry, live) = self.probe(table, self.hash(&key), |entry| {
            // First: what is read from here on is of this life, or the state will have changed.
            let live = entry.state();
            let stored = if MANY { entry.label().of_slice() } else { entry.label() };
            let named = !is_inline || entry.has_inline_name(name.as_bytes());
            (stored == label && live.is(Phase::Live) && named).then_some((entry, live))
        })?;
        if entry.fingerprint() != Fingerprint::halves_of::<T>() || !self.is_in_place::<T>(entry) {
            return None;
        }
        let at = self.object_at(entry);
        prefetch(at);
        step(Step::Met);
        if !enter(entry.lane(mine.process()), mine.process()) {
            return None;
        }
        step(Step::Pinned);
        // SYNC life: Acquire, pairs with the fence in `reserve`: with a later life's fields comes its state.
        fence(Ordering::Acquire);
        // A name that is elsewhere can only be read now.
        if entry.state() != live || !self.is_still(mine) || !is_inline && !self.is_named(entry, &key) {
            self.leave_late::<T>(entry, mine);
            return None;
        }
        Some((Hold::in_lane(entry), at))
    }

    /// Takes back a pin that came too late.
    #[cold]
    fn leave_late<T: ShmSafe>(&self, entry: &Entry, mine: Mine) {
        self.leave(entry, mine.process(), self.glue_of::<T>(entry));
    }

    /// Lets go of a handle's pin on an object of `T`s, if it is this process's.
    #[inline(always)]
    pub(crate) fn let_go<T: ShmSafe>(&self, hold: Hold, fork_generation: u32) {
        self.unpin_of(hold, fork_generation, super::drop_elements::<T>);
    }
}

/// Has the processor fetch the object while the pin is being counted.
#[inline(always)]
fn prefetch(at: NonNull<u8>) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a hint; it cannot fault.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(at.as_ptr().cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = at;
}
