//! Destroying: the name goes at once, the object when nobody holds it any more.

use super::entry::Phase;
use super::pins::Hold;
use super::{Directory, Key, Shape, drop_elements};
use crate::crash::crash_point;
use crate::error::Result;
use crate::layout::ShmSafe;

impl Directory {
    /// Unlinks the object called `key`; whether it was there. It goes when nobody holds it any more.
    pub(crate) fn destroy<T: ShmSafe>(&self, key: &Key<'_>) -> Result<bool> {
        self.destroy_if::<T>(key, |_| true)
    }

    /// As [`destroy`](Self::destroy), if the number of the object that has the name now is the one `wanted`. (While the
    /// caller pins an object, its number is no other's.)
    pub(crate) fn destroy_if<T: ShmSafe>(&self, key: &Key<'_>, wanted: impl Fn(u32) -> bool) -> Result<bool> {
        let hash = self.hash(key);
        let (entry, life) = loop {
            let lock = self.lock()?;
            let Some((entry, state)) = self.lookup_locked(&lock, key, hash)? else {
                return Ok(false);
            };
            if state.is(Phase::Reserved) || !wanted(self.number_of(entry)) {
                // Under construction: not there yet.
                return Ok(false);
            }
            if state.is(Phase::Converting) {
                self.wait_for(lock, entry, state, key)?;
                continue;
            }
            self.check_type::<T>(entry, key, Shape::Slice(None))?;
            // CRASH unlink: from this store the name is gone for every look-up; a death before the index is mended
            // leaves the lock to be taken over, and the index to be rebuilt.
            if entry.advance(state, state.to(Phase::Unlinked)) {
                crash_point!("unlink.unlinked");
                self.remove(hash, self.number_of(entry));
                crash_point!("unlink.removed");
                drop(lock);
                crash_point!("unlink.unlocked");
                break (entry, state);
            }
        };
        self.reap_if_free(entry, Some((drop_elements::<T>, life)));
        if entry.is_pinned() && entry.state().same_life(life) {
            // The dead do not keep it.
            for holder in entry.holders() {
                self.participants.recover_if_dead(holder);
            }
        }
        Ok(true)
    }

    /// Unlinks the anonymous object that the caller has pinned.
    pub(crate) fn unlink_anonymous(&self, hold: Hold) {
        let entry = hold.entry(self);
        let state = entry.state();
        if state.is(Phase::Live) {
            entry.advance(state, state.to(Phase::Unlinked));
            crash_point!("unlink.anonymous");
        }
    }

    /// The number of a pinned object: no other's, while it is pinned.
    pub(crate) fn number_held(&self, hold: Hold) -> u32 {
        self.number_of(hold.entry(self))
    }
}
