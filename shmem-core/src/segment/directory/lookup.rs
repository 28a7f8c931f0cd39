//! Names, and finding what has one: the ways that take time. (`find` has the short one.)
//!
//! This file needs `unsafe`: it reads names and objects in mapped memory.

use super::entry::{Entry, INLINE_NAME, MAX_NAME, Phase, State};
use super::pins::{Hold, Pin};
use super::staged::{Step, step};
use super::{Directory, Key, Locked, MISSES, MISSES_AT_MOST, Pinned, Shape, drop_elements};
use crate::error::{Corrupt, Error, NameError, Result};
use crate::layout::{Fingerprint, ShmSafe, TypeInfo, first_difference, from_halves};
use crate::mapping::registry;
use crate::primitive::{AtomicU8, Ordering};
use std::sync::atomic::fence;

impl Directory {
    pub(super) fn name_bytes(&self, entry: &Entry) -> Option<&[u8]> {
        let len = entry.label().name_len();
        let at = match len {
            0..=INLINE_NAME => (&raw const entry.name).cast::<u8>(),
            _ => self.name_block(entry.name_at(), len)?,
        };
        // SAFETY: inside the entry or a live block; written before the entry was published, and not again while it
        // is pinned or the directory lock is held, as every caller does one of.
        Some(unsafe { std::slice::from_raw_parts(at, len) })
    }

    pub(super) fn name_block(&self, at: u64, len: usize) -> Option<*const u8> {
        let block = self.context.allocator().block_at(at)?;
        let fits = block.offset == at && len <= MAX_NAME && block.size_bytes >= len as u64;
        fits.then(|| self.at(at).cast_const())
    }

    /// Whether the entry has this name. It may become another's meanwhile, if it is neither pinned nor locked: then the
    /// answer is to be thrown away.
    pub(super) fn is_named(&self, entry: &Entry, key: &Key<'_>) -> bool {
        let name = key.name.as_bytes();
        if !entry.label().names(key.kind, name.len()) {
            return false;
        }
        if name.len() <= INLINE_NAME {
            return entry.has_inline_name(name);
        }
        let Some(at) = self.name_block(entry.name_at(), name.len()) else {
            return false;
        };
        name.iter().enumerate().all(|(i, wanted)| {
            // SAFETY: inside a block of this segment.
            unsafe { AtomicU8::from_ptr(at.cast_mut().add(i)) }.load(Ordering::Relaxed) == *wanted
        })
    }

    /// The live object called `key`, pinned; without a lock. An object that `check` objects to is not pinned: if it is
    /// destroyed just then, nobody has to wait for a thread that cannot drop it.
    pub(super) fn find_pinned<T: ShmSafe>(
        &self,
        key: &Key<'_>,
        check: impl Fn(&Entry) -> Result<()>,
    ) -> Result<Option<Hold>> {
        let hash = self.hash(key);
        for _ in 0..64 {
            // SYNC sequence: Acquire, so that no slot is read before it.
            let sequence = self.header().sequence.load(Ordering::Acquire);
            if sequence & 1 != 0 {
                break;
            }
            let Some(table) = self.checked_table()? else { return Ok(None) };
            // Live no more by the time it was pinned: it is gone, or is being converted (and may be live again by now).
            let mut changed = false;
            let mut converting = false;
            let found = self.probe(table, hash, |entry| {
                if entry.hash.load(Ordering::Relaxed) != hash {
                    return None;
                }
                let state = entry.state();
                if !state.is(Phase::Live) {
                    // Perhaps another name's, of the same hash: the lock will tell.
                    converting |= state.is(Phase::Converting);
                    return None;
                }
                let objection = if self.is_named(entry, key) { check(entry).err() } else { return None };
                step(Step::Met);
                let wanted = || {
                    // SYNC life: Acquire, pairs with the fence in `reserve`.
                    fence(Ordering::Acquire);
                    entry.state() == state
                };
                if let Some(objection) = objection {
                    changed |= !wanted();
                    return (!changed).then_some(Err(objection));
                }
                match self.pin(entry, || wanted() && self.is_named(entry, key), || self.glue_of::<T>(entry)) {
                    Pin::Held(hold) => Some(Ok(hold)),
                    Pin::Gone => {
                        changed = true;
                        None
                    }
                    Pin::NoRecord => Some(Err(self.no_record())),
                }
            });
            if let Some(found) = found {
                return found.map(Some);
            }
            if converting {
                break;
            }
            // SYNC sequence: the fence keeps the slots' loads before this one.
            std::sync::atomic::fence(Ordering::Acquire);
            if self.header().sequence.load(Ordering::Relaxed) == sequence && !changed {
                return Ok(None);
            }
        }
        loop {
            let lock = self.lock()?;
            match self.lookup_locked(&lock, key, hash)? {
                Some((entry, state)) if state.is(Phase::Live) => {
                    check(entry)?;
                    match self.pin(entry, || entry.state() == state, || self.glue_of::<T>(entry)) {
                        Pin::Held(hold) => return Ok(Some(hold)),
                        Pin::Gone => return Ok(None),
                        Pin::NoRecord => return Err(self.no_record()),
                    }
                }
                Some((entry, state)) if state.is(Phase::Converting) => {
                    self.wait_for(lock, entry, state, key)?;
                }
                _ => return Ok(None),
            }
        }
    }

    /// The entry that has the name. Beside one that is there, the reservation of what is to supersede it does not count.
    pub(super) fn lookup_locked(
        &self,
        _: &Locked<'_>,
        key: &Key<'_>,
        hash: u64,
    ) -> Result<Option<(&Entry, State)>> {
        let Some(table) = self.checked_table()? else { return Ok(None) };
        let mut reserved = None;
        let there = self.probe(table, hash, |entry| {
            let state = entry.state();
            if !state.is_indexed() || !self.is_named(entry, key) {
                return None;
            }
            if state.is(Phase::Reserved) {
                reserved.get_or_insert((entry, state));
                return None;
            }
            Some((entry, state))
        });
        Ok(there.or(reserved))
    }

    /// The object called `key`, pinned, if it is there.
    #[inline(always)]
    pub(crate) fn find<T: ShmSafe>(&self, key: &Key<'_>, shape: Shape) -> Result<Option<Pinned>> {
        if shape == Shape::One {
            if let Some((hold, at)) = self.find_hot::<T, false>(key.name, key.kind) {
                return Ok(Some(Pinned { hold, at, count: 1 }));
            }
        } else if let Some((hold, at)) = self.find_hot::<T, true>(key.name, key.kind) {
            // Pinned, so the entry stays.
            let count = hold.entry(self).count.load(Ordering::Relaxed);
            if matches!(shape, Shape::Slice(Some(n)) if n != count) {
                self.unpin_of(hold, registry::fork_generation() as u32, drop_elements::<T>);
            } else {
                return Ok(Some(Pinned { hold, at, count: count as usize }));
            }
        }
        self.find_slow::<T>(key, shape)
    }

    #[cold]
    pub(super) fn find_slow<T: ShmSafe>(&self, key: &Key<'_>, shape: Shape) -> Result<Option<Pinned>> {
        if self.has_orphans() {
            self.sweep_orphans::<T>();
        }
        match self.find_pinned::<T>(key, |entry| self.check_type::<T>(entry, key, shape))? {
            Some(hold) => self.typed::<T>(hold, key, shape).map(Some),
            None => Ok(None),
        }
    }

    /// Checks the type of a pinned object; lets go of it if it is another.
    pub(super) fn typed<T: ShmSafe>(&self, hold: Hold, key: &Key<'_>, shape: Shape) -> Result<Pinned> {
        let entry = hold.entry(self);
        match self.check_type::<T>(entry, key, shape) {
            Ok(()) => Ok(Pinned {
                hold,
                at: self.object_at(entry),
                count: entry.count.load(Ordering::Relaxed) as usize,
            }),
            Err(e) => {
                self.unpin(hold);
                Err(e)
            }
        }
    }

    #[inline]
    pub(super) fn check_type<T: ShmSafe>(&self, entry: &Entry, key: &Key<'_>, shape: Shape) -> Result<()> {
        let stored = entry.fingerprint();
        if stored != Fingerprint::halves_of::<T>() {
            return Err(self.type_mismatch(from_halves(stored), T::type_info(), key));
        }
        let count = entry.count.load(Ordering::Relaxed);
        let slice = entry.label().is_slice();
        let fits = match shape {
            Shape::One => !slice,
            Shape::Slice(None) => true,
            Shape::Slice(Some(n)) => n == count,
        };
        if !fits {
            let stored = if slice { Shape::Slice(Some(count)) } else { Shape::One };
            return Err(NameError::CountMismatch {
                name: key.owned_name(),
                stored: stored.to_string(),
                expected: shape.to_string(),
            }
            .into());
        }
        if self.is_in_place::<T>(entry) {
            return Ok(());
        }
        let at = entry.object.load(Ordering::Relaxed);
        Err(Corrupt { at, what: "an object that is not where its entry says" }.into())
    }

    /// Whether the object's place, as far as its entry says, can hold it. Entries may be damaged.
    #[inline(always)]
    pub(super) fn is_in_place<T: ShmSafe>(&self, entry: &Entry) -> bool {
        let at = entry.object.load(Ordering::Relaxed);
        let count = entry.count.load(Ordering::Relaxed);
        let inside = match (size_of::<T>() as u64).checked_mul(count) {
            Some(0) => true,
            Some(n) => {
                at != 0
                    && at.is_multiple_of(align_of::<T>() as u64)
                    && at.checked_add(n).is_some_and(|end| end <= self.reserved_bytes())
            }
            None => false,
        };
        inside
            && (count == 1 || entry.label().is_slice())
            && entry.element_size.load(Ordering::Relaxed) == size_of::<T>() as u64
            && entry.label().align() == align_of::<T>()
    }

    /// Whether the object stands in a live block of its size: what is asked before it is dropped by somebody who never
    /// held it.
    pub(super) fn is_in_block<T: ShmSafe>(&self, entry: &Entry) -> bool {
        let at = entry.object.load(Ordering::Relaxed);
        let bytes = (size_of::<T>() as u64).saturating_mul(entry.count.load(Ordering::Relaxed));
        let block = || self.context.allocator().block_at(at);
        let held = || block().is_some_and(|b| b.offset == at && b.size_bytes >= bytes);
        self.is_in_place::<T>(entry) && (bytes == 0 || held())
    }

    #[cold]
    pub(super) fn type_mismatch(
        &self,
        stored: Fingerprint,
        expected: &'static TypeInfo,
        key: &Key<'_>,
    ) -> Error {
        let (stored_name, difference) = first_difference(stored, expected, &|f| self.stored_record(f));
        if let Some(versions) = difference.versions {
            return NameError::VersionMismatch {
                name: key.owned_name(),
                stored: stored_name,
                path: difference.path,
                type_name: versions.type_name,
                stored_version: versions.stored,
                expected_version: versions.expected,
            }
            .into();
        }
        NameError::TypeMismatch {
            name: key.owned_name(),
            stored: stored_name,
            expected: expected.to_string(),
            path: difference.path,
            stored_part: difference.stored,
            expected_part: difference.expected,
        }
        .into()
    }

    /// A copy of the object called `key`, taken without pinning it: for mappings that cannot be written.
    pub(crate) fn copy<T: ShmSafe + Copy>(&self, key: &Key<'_>) -> Result<Option<T>> {
        let hash = self.hash(key);
        let mut misses = 0;
        loop {
            let sequence = self.header().sequence.load(Ordering::Acquire);
            // What is being converted has the name until another entry is live under it.
            let mut converting = None;
            let look = |entry| {
                let entry: &Entry = entry;
                let state = entry.state();
                if !state.is_there() || !self.is_named(entry, key) {
                    return None;
                }
                if state.is(Phase::Converting) {
                    converting = Some((entry, state));
                    return None;
                }
                Some((entry, state))
            };
            let found = match self.checked_table()? {
                // A dead process may have left the index half moved, and this one cannot mend it. The entries are whole.
                _ if misses >= MISSES => (0..self.high()).filter_map(|n| self.entry(n)).find_map(look),
                Some(table) => self.probe(table, hash, look),
                None => None,
            };
            match found.or(converting).map(|(entry, state)| self.copy_entry::<T>(entry, state, key)) {
                // It went while it was being copied; perhaps another has the name by now.
                Some(Ok(None)) => {}
                Some(copied) => return copied,
                None => {
                    std::sync::atomic::fence(Ordering::Acquire);
                    let now = self.header().sequence.load(Ordering::Relaxed);
                    // Odd all the time: whoever moves slots died, or stands still; and the entries were all looked at.
                    let undisturbed = now == sequence && (now & 1 == 0 || misses >= MISSES);
                    if undisturbed || misses >= MISSES_AT_MOST {
                        return Ok(None);
                    }
                    misses += 1;
                    std::thread::yield_now();
                }
            }
        }
    }

    pub(super) fn copy_entry<T: ShmSafe + Copy>(
        &self,
        entry: &Entry,
        state: State,
        key: &Key<'_>,
    ) -> Result<Option<T>> {
        let checked = self.check_type::<T>(entry, key, Shape::One);
        if entry.state() != state {
            return Ok(None);
        }
        checked?;
        let at = entry.object.load(Ordering::Relaxed);
        let block = self.context.allocator().block_at(at);
        if size_of::<T>() > 0 && block.is_none_or(|b| at + size_of::<T>() as u64 > b.offset + b.size_bytes) {
            return if entry.state() != state {
                Ok(None)
            } else {
                Err(Corrupt { at, what: "an object in no block" }.into())
            };
        }
        let mut copy = std::mem::MaybeUninit::<T>::zeroed();
        // SAFETY: the bytes of `copy`, all of them written.
        let bytes = unsafe { std::slice::from_raw_parts_mut(copy.as_mut_ptr().cast::<u8>(), size_of::<T>()) };
        // Not through the mapping: should the object go meanwhile, and its memory be given back to the system, that must not
        // be touched. Bytes that change meanwhile are thrown away below.
        if !bytes.is_empty() && !self.context.allocator().peek(at, bytes) {
            return Err(Corrupt { at, what: "an object that cannot be read" }.into());
        }
        // SYNC copy: the fence keeps the bytes' loads before that of the state, which is raised before they change.
        std::sync::atomic::fence(Ordering::Acquire);
        // SAFETY: the object was live before and after: these are the bytes of a valid `T`, which is plain.
        Ok((entry.state() == state).then(|| unsafe { copy.assume_init() }))
    }
}
