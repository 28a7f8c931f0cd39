//! Constructing: a name is reserved, the value built, then published.
//!
//! This file needs `unsafe`: it writes names and builds values in mapped memory.

use super::entry::{Entry, INLINE_NAME, Label, Life, ObjectKind, Phase};
use super::pins::Hold;
use super::recover::Locked;
use super::wait::Making;
use super::{Directory, Key, Pinned, Shape, chunk_len, place};
use crate::access::{Access, MAX_ALIGN};
use crate::crash::crash_point;
use crate::error::{Corrupt, NameError, Result};
use crate::layout::init::{Init, Partial};
use crate::layout::{Fingerprint, ShmSafe};
use crate::mapping::registry;
use crate::mapping::superblock::DIRECTORY_AT;
use crate::primitive::Ordering;
use std::alloc::Layout;
use std::sync::atomic::fence;

impl Directory {
    /// The object called `key`: found, or built by `init` (called once, with room for how many elements).
    /// `exclusive`: finding it is an error. Gives whether it was built.
    pub(crate) fn construct<T: ShmSafe>(
        &self,
        key: &Key<'_>,
        shape: Shape,
        exclusive: bool,
        build: impl FnOnce(*mut T, Access<'_>) -> Result<()>,
    ) -> Result<(Pinned, bool)> {
        const { assert!(align_of::<T>() <= MAX_ALIGN, "the alignment of a stored type is at most 4096") };
        if self.has_orphans() {
            self.sweep_orphans::<T>();
        }
        let anonymous = key.kind == ObjectKind::Anonymous;
        let hash = self.hash(key);
        let (hold, entry) = loop {
            let check = |entry: &Entry| match exclusive {
                true => Err(NameError::AlreadyExists { name: key.owned_name() }.into()),
                false => self.check_type::<T>(entry, key, shape),
            };
            if !anonymous && let Some(hold) = self.find_pinned::<T>(key, check)? {
                return Ok((self.typed::<T>(hold, key, shape)?, false));
            }
            let lock = self.lock()?;
            let found = if anonymous { None } else { self.lookup_locked(&lock, key, hash)? };
            match found {
                None => break self.reserve::<T>(lock, key, hash, shape, None)?,
                Some((_, state)) if state.is(Phase::Live) => {}
                Some((entry, state)) => self.wait_for(lock, entry, state, key)?,
            }
        };
        let reservation = Reservation::new(self, hold, entry);
        crash_point!("construct.reserved");
        let count = entry.count.load(Ordering::Relaxed) as usize;
        let (first, _) = self.access().allocate_array::<T>(count)?;
        crash_point!("construct.allocated");
        if size_of::<T>() * count != 0 {
            entry.object.store(self.offset_of(first), Ordering::Relaxed);
        }
        crash_point!("construct.named");
        build(first.as_ptr(), Access::new(&self.context))?;
        crash_point!("construct.built");
        assert!(reservation.is_ours(), "shmem: an initialiser that forked returned in the child");
        // CRASH publish: until this store there is no object; a death leaves a reservation to be rolled back, and
        // what the value owns leaked.
        entry.settle(entry.state().to(Phase::Live));
        crash_point!("construct.live");
        reservation.finish();
        Ok((Pinned { hold, at: first.cast(), count }, true))
    }

    /// Takes an entry for `key` and enters the name, also where that is the name of what it is to supersede.
    pub(super) fn reserve<T: ShmSafe>(
        &self,
        lock: Locked<'_>,
        key: &Key<'_>,
        hash: u64,
        shape: Shape,
        supersedes: Option<Life>,
    ) -> Result<(Hold, &Entry)> {
        let process = self.participants.process()?;
        let anonymous = key.kind == ObjectKind::Anonymous;
        if !anonymous {
            self.reserve_index()?;
        }
        crash_point!("reserve.index");
        self.store_schema::<T>()?;
        crash_point!("reserve.schema");
        let number = self.take_entry()?;
        crash_point!("reserve.entry");
        let entry = self.entry(number).ok_or(Corrupt { at: DIRECTORY_AT, what: "an entry in no block" })?;
        let (slice, count) = match shape {
            Shape::One => (false, 1),
            Shape::Slice(n) => (true, n.unwrap_or(0)),
        };
        // SYNC life: Release, pairs with the Acquire of whoever reads an entry that it does not pin: if it has read what is
        // written below, it finds the state of the life that ended before.
        fence(Ordering::Release);
        self.write_name(entry, key.name)?;
        crash_point!("reserve.name");
        let relaxed = Ordering::Relaxed;
        entry.label.store(Label::new(key.kind, slice, key.name.len(), align_of::<T>()).0, relaxed);
        entry.hash.store(hash, relaxed);
        entry.object.store(0, relaxed);
        entry.count.store(count, relaxed);
        entry.element_size.store(size_of::<T>() as u64, relaxed);
        for (word, half) in entry.fingerprint.iter().zip(Fingerprint::halves_of::<T>()) {
            word.store(half, relaxed);
        }
        entry.constructor.store(lock.slot.owner().0, relaxed);
        entry.supersedes.store(supersedes.map_or(0, |life| life.0), relaxed);
        entry.waits_for.store(0, relaxed);
        crash_point!("reserve.written");
        // CRASH reserve: until this store the entry is free; after it, recovery of this process frees it again, and
        // the next holder of the lock makes the index anew.
        entry.settle(entry.state().by(Phase::Reserved, process));
        crash_point!("reserve.reserved");
        let hold = self.pin_reserved(entry, process);
        crash_point!("reserve.pinned");
        self.header().used.fetch_add(1, relaxed);
        if !anonymous {
            self.insert(hash, number);
            crash_point!("reserve.inserted");
        }
        drop(lock);
        Ok((hold, entry))
    }

    /// A free entry. Under the directory lock.
    pub(super) fn take_entry(&self) -> Result<u32> {
        let header = self.header();
        let high = self.high();
        let free =
            |number: u32| self.entry(number).is_some_and(|e| e.state().is(Phase::Free) && !e.is_pinned());
        let (chunk, i) = place(high);
        // Before there is a new chunk they are counted: deaths may have left the hint too high, and so entries unused.
        let used = if i == 0 { self.count_used() } else { header.used.load(Ordering::Relaxed) };
        if used < high {
            let hint = header.free.load(Ordering::Relaxed).min(high - 1);
            if let Some(number) = (hint..high).chain(0..hint).find(|number| free(*number)) {
                header.free.store(number + 1, Ordering::Relaxed);
                return Ok(number);
            }
            // Too low: or every `construct` would look at all of them.
            header.used.store(high, Ordering::Relaxed);
        }
        let at = header
            .chunks
            .get(chunk)
            .ok_or(crate::error::AllocError::OutOfMemory { wanted_bytes: 0, largest_free_bytes: 0 })?;
        if at.load(Ordering::Relaxed) == 0 {
            let bytes = chunk_len(chunk) * size_of::<Entry>();
            let layout =
                Layout::from_size_align(bytes, align_of::<Entry>()).expect("a power of two of entries");
            let block = self.access().allocate(layout)?.cast::<u8>();
            // SAFETY: a fresh block of that size.
            unsafe { block.as_ptr().write_bytes(0, bytes) };
            crash_point!("chunk.allocated");
            // CRASH chunk: a death before this store leaks the block.
            // SYNC chunk: Release, pairs with the Acquire in `entry`.
            at.store(self.offset_of(block), Ordering::Release);
            crash_point!("chunk.stored");
        }
        header.high.store(high + 1, Ordering::Release);
        crash_point!("entry.taken");
        Ok(high)
    }

    pub(super) fn write_name(&self, entry: &Entry, name: &str) -> Result<()> {
        if name.len() > INLINE_NAME {
            let layout = Layout::from_size_align(name.len(), 1).expect("a name is short");
            let block = self.access().allocate(layout)?.cast::<u8>();
            // Look-ups compare names before they know that the entry is still there.
            self.context.allocator().keep(block);
            crash_point!("name.allocated");
            // SAFETY: a fresh block for the name.
            unsafe { block.as_ptr().copy_from_nonoverlapping(name.as_ptr(), name.len()) };
            // CRASH name: a death from here to `reserve` leaks the block.
            entry.name[0].store(self.offset_of(block), Ordering::Relaxed);
        } else {
            entry.set_inline_name(name.as_bytes());
        }
        crash_point!("name.written");
        Ok(())
    }
}

/// An entry under construction: given back if that fails or panics.
pub(super) struct Reservation<'d> {
    pub(super) directory: &'d Directory,
    pub(super) hold: Hold,
    pub(super) entry: &'d Entry,
    pub(super) fork_generation: u64,
    pub(super) making: Making,
}

impl<'d> Reservation<'d> {
    /// Of an entry that this thread has just reserved.
    pub(super) fn new(directory: &'d Directory, hold: Hold, entry: &'d Entry) -> Self {
        let fork_generation = registry::fork_generation();
        Reservation { directory, hold, entry, fork_generation, making: Making::begin(entry) }
    }

    /// Whether this process made it. Else it is the child of a fork inside the initialiser, and it is its parent's.
    pub(super) fn is_ours(&self) -> bool {
        self.fork_generation == registry::fork_generation()
    }

    /// The object is there.
    pub(super) fn finish(self) {
        let this = std::mem::ManuallyDrop::new(self);
        this.making.end();
        this.entry.is_made(this.making.constructor());
    }
}

impl Drop for Reservation<'_> {
    fn drop(&mut self) {
        self.making.end();
        if !self.is_ours() {
            return;
        }
        self.directory.unpin(self.hold);
        // The thread had a slot when it reserved. CRASH: were it not so, the death of the process would roll it back.
        let _ = self.directory.roll_back(self.entry);
    }
}

/// Builds `n` elements in place; drops what was built if one fails.
///
/// # Safety
/// 1. There is room for `n` elements at `first`.
pub(crate) unsafe fn build_slice<T: ShmSafe, I: Init<T>>(
    first: *mut T,
    n: usize,
    mut each: impl FnMut(usize) -> I,
    access: Access<'_>,
) -> Result<()> {
    let mut partial = Partial::new(first);
    for i in 0..n {
        // SAFETY: 1.
        unsafe { partial.push(each(i), access)? };
    }
    partial.finish();
    Ok(())
}
