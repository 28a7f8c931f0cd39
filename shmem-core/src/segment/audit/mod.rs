//! Looking through everything that a segment holds: [`Segment::verify`] finds damage, [`Segment::recover_leaks`] gives back
//! what nothing leads to any more.
//!
//! Both need the segment for themselves. Other processes are kept out by the gate of `participant`, which opens with the death
//! of who closed it. Other threads of this process can use the segment only by handles that share its mapping; so who has
//! the one handle there is, exclusively, has no others. (Handles of another mapping are another participant's.)
//!
//! # Leak recovery
//! 1. The dead are recovered, and the directory made whole.
//! 2. Heap and directory are checked, and every object is walked: each block that is reached is noted, in memory of this
//!    process. Objects that nobody can find any more, but somebody holds or is to free, are among them.
//! 3. The directory's own blocks are reached, too: chunks of entries, index tables (old ones too), names, type records; then
//!    raw blocks, and blocks in magazines: those stay where they are, for the threads and slots that have them.
//! 4. If anything was wrong, or unknown, or half made, that is the answer. Else the heap is swept.
//!
//! Nothing stored changes before step 4, and a sweep may be cut short anywhere: it is begun again from step 1.
//!
//! This file needs `unsafe`: it vouches for being alone.

mod report;
#[cfg(test)]
mod tests;
mod types;
mod walk;

pub use report::{LeakReport, VerifyReport};

use super::directory::Stock;
use super::inner::Segment;
use crate::access::BlockInfo;
use crate::crash::crash_point;
use crate::error::{AuditError, Corrupt, Error, Finding, OpenError, Result};
use crate::heap::Reached;
use crate::participant::{Exclusive, NotAlone};
use std::sync::Arc;
use std::sync::atomic::{Ordering, fence};
use types::Types;
use walk::{By, Walker};

/// What a report calls an object.
fn title(object: &Stock) -> String {
    match &object.name {
        Some(name) => format!("`{name}` ({})", object.type_name),
        None => format!("an anonymous {}", object.type_name),
    }
}

fn of_nobody(corrupt: Corrupt) -> Finding {
    Finding { object: None, corrupt }
}

impl Segment {
    /// Looks through the whole segment: heap, directory, and every object with all that it owns. Pointers must lead to live
    /// blocks, each owned once and large enough; tags, `bool`s, `char`s and text must be valid; and types that this process
    /// has used are asked for their own checks (`#[shm(validate = …)]`). Costs time for every byte in use but plain numbers;
    /// and one bit of memory for each 16 bytes.
    ///
    /// Objects are found whether they can be looked up or not. Types that this process has no code for are walked by their
    /// stored descriptions; the few that these do not describe (containers that others have written by hand) are counted.
    ///
    /// Needs the segment for itself, as [`recover_leaks`](Self::recover_leaks) does, and recovers the dead first.
    ///
    /// ```
    /// use shmem_core::{Segment, ShmString, ShmVec};
    /// # fn main() -> shmem_core::Result<()> {
    /// let mut segment = Segment::anonymous().size(1 << 20).create()?;
    /// segment.construct::<ShmVec<ShmString>>("names", ["Ada", "a name too long to stand in its string"])?;
    /// let report = segment.verify()?;
    /// assert!(report.is_sound());
    /// assert_eq!(report.to_string(), "sound: 1 object walked, 3 blocks of 112 bytes");
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`AuditError::InUse`], [`AuditError::Handles`], [`AuditError::Underway`].
    pub fn verify(&mut self) -> Result<VerifyReport> {
        self.only_handle()?;
        // SAFETY: 1: this is the only handle to the mapping, and it is borrowed exclusively.
        unsafe { self.verify_unchecked() }
    }

    /// As [`verify`](Self::verify), while this process has other handles to the segment.
    ///
    /// # Errors
    /// [`AuditError::InUse`], [`AuditError::Underway`].
    ///
    /// # Safety
    /// 1. Until it returns, no other thread of this process uses the segment, or anything in it, in any way but to read
    ///    what nobody changes; and this thread is not inside an initialiser, a conversion or a destructor, and holds no view.
    pub unsafe fn verify_unchecked(&self) -> Result<VerifyReport> {
        let alone = self.alone()?;
        let inner = &*self.inner;
        let mut report = VerifyReport { processes_recovered: alone.recovered, ..Default::default() };
        let found = self.check_alone();
        let left = inner.heap.check_strictly().into_iter().filter(|corrupt| !found.contains(corrupt));
        report.left_by_the_dead = left.count() as u64;
        report.findings = found.into_iter().map(of_nobody).collect();
        let mut reached = inner.heap.none_reached();
        inner.directory.locked(|| {
            let types = Types::new(&inner.directory.stored_types());
            let mut note = |block| reached.insert(block);
            let mut walker = Walker::new(inner.directory.own_access(), &types, By::Code, &mut note);
            for object in inner.directory.inventory() {
                if !object.is_whole {
                    report.under_construction.push(title(&object));
                    continue;
                }
                // SAFETY: 1: nobody else is attached, and the caller answers for this process.
                let walked = unsafe { walker.walk(&object) };
                let wrong = |corrupt| Finding { object: Some(title(&object)), corrupt };
                report.findings.extend(walked.findings.into_iter().map(wrong));
                match walked.is_known {
                    true => report.objects += 1,
                    false => report.unknown.push(title(&object)),
                }
            }
        })?;
        (report.blocks, report.bytes) = (reached.blocks, reached.bytes);
        Ok(report)
    }

    /// Gives back memory that nothing leads to: processes that were killed while they allocated, built a value or took one
    /// apart have left it. No destructor is run, and no user code.
    ///
    /// Kept is what any object owns, whether it can be looked up or not; what the library uses itself; and raw blocks.
    /// Everything else goes; also a block that was allocated by hand ([`access`](Self::access)) and that no object owns. Costs
    /// what [`verify`](Self::verify) costs, and does not depend on how much was leaked.
    ///
    /// Needs the segment for itself: no other process may be attached (the dead are recovered first), and who wants to
    /// attach meanwhile waits; and this must be the only handle of this process to the mapping. So it is best called right
    /// after the segment was opened.
    ///
    /// ```
    /// use shmem_core::{Segment, ShmVec};
    /// # fn main() -> shmem_core::Result<()> {
    /// let mut segment = Segment::anonymous().size(1 << 20).create()?;
    /// segment.construct::<ShmVec<u64>>("list", [1, 2, 3])?;
    /// let used = segment.used();
    /// // As if killed at the wrong moment.
    /// segment.access().allocate(std::alloc::Layout::new::<[u64; 100]>())?;
    /// let report = segment.recover_leaks()?;
    /// assert_eq!((report.swept_blocks(), segment.used()), (1, used));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`AuditError`], by what is in the way: others, other handles, an object of a type that cannot be walked, damage.
    /// Nothing was given back then.
    ///
    /// # Crash safety
    /// A process that dies inside keeps nobody out, and has given back some leaks and nothing else.
    #[doc(alias = "garbage_collect")]
    pub fn recover_leaks(&mut self) -> Result<LeakReport> {
        self.only_handle()?;
        // SAFETY: 1: this is the only handle to the mapping, and it is borrowed exclusively. 2: a block that was allocated by
        // hand is the caller's only as long as no leaks are recovered, see `access`.
        unsafe { self.recover_leaks_unchecked() }
    }

    /// As [`recover_leaks`](Self::recover_leaks), while this process has other handles to the segment. What they hold stays.
    ///
    /// # Errors
    /// As [`recover_leaks`](Self::recover_leaks), but for [`AuditError::Handles`].
    ///
    /// # Safety
    /// 1. Until it returns, no other thread of this process uses the segment, or anything in it, in any way but to read
    ///    what nobody changes; and this thread is not inside an initialiser, a conversion or a destructor, and holds no view.
    /// 2. No block that was allocated by hand, and that no object owns, is used afterwards.
    pub unsafe fn recover_leaks_unchecked(&self) -> Result<LeakReport> {
        let alone = self.alone()?;
        crash_point!("leaks.alone");
        let inner = &*self.inner;
        let damaged = |findings: Vec<Finding>| Error::from(AuditError::Damaged { findings });
        // What it finds wrong may be such that nothing below could be believed.
        let found = self.check_alone();
        if !found.is_empty() {
            return Err(damaged(found.into_iter().map(of_nobody).collect()));
        }
        let mut report = LeakReport { processes_recovered: alone.recovered, ..Default::default() };
        inner.directory.locked(|| {
            let mut reached = inner.heap.none_reached();
            // SAFETY: 1: nobody else is attached, and the caller answers for this process.
            report.objects = unsafe { self.reach_objects(&mut |block| reached.insert(block)) }?;
            // What no object owns, and is no leak.
            let mut owned = Vec::new();
            let mut reach = |reached: &mut Reached, block: BlockInfo, what| {
                if !reached.insert(block) {
                    owned.push(of_nobody(Corrupt { at: block.offset, what }));
                }
            };
            for block in inner.directory.own_blocks().map_err(|corrupt| damaged(vec![of_nobody(corrupt)]))? {
                reach(&mut reached, block, "an object owns a block of the directory's");
            }
            inner.heap.for_each_raw_block(&mut |block| {
                reach(&mut reached, block, "an object owns a raw block");
                report.raw_blocks += 1;
            });
            (report.live_blocks, report.live_bytes) = (reached.blocks, reached.bytes);
            inner.heap.for_each_cached_block(&mut |block| {
                reach(&mut reached, block, "an object owns a block that is in a magazine");
            });
            if !owned.is_empty() {
                return Err(damaged(owned));
            }
            crash_point!("leaks.marked");
            let swept = inner.heap.sweep(&reached);
            crash_point!("leaks.done");
            let page = inner.heap.page_bytes();
            report.classes = swept.classes;
            (report.spans, report.span_bytes) = (swept.spans, swept.span_pages * page);
            report.stray_bytes = swept.stray_pages * page;
            Ok(report)
        })?
    }

    /// Tells `note` of every block that an object owns; it says whether it is the first time. Gives how many objects there are.
    ///
    /// # Safety
    /// 1. Nobody else uses the segment.
    unsafe fn reach_objects(&self, note: &mut dyn FnMut(BlockInfo) -> bool) -> Result<u64> {
        let directory = &self.inner.directory;
        let objects = directory.inventory();
        let half: Vec<String> = objects.iter().filter(|object| !object.is_whole).map(title).collect();
        if !half.is_empty() {
            return Err(AuditError::UnderConstruction { objects: half }.into());
        }
        let types = Types::new(&directory.stored_types());
        let mut walker = Walker::new(directory.own_access(), &types, By::Description, note);
        let (mut findings, mut unknown) = (Vec::new(), Vec::new());
        for object in &objects {
            // SAFETY: 1.
            let walked = unsafe { walker.walk(object) };
            let wrong = |corrupt| Finding { object: Some(title(object)), corrupt };
            findings.extend(walked.findings.into_iter().map(wrong));
            if !walked.is_known {
                unknown.push(title(object));
            }
        }
        if !findings.is_empty() {
            return Err(AuditError::Damaged { findings }.into());
        }
        if !unknown.is_empty() {
            return Err(AuditError::UnknownTypes { objects: unknown }.into());
        }
        Ok(objects.len() as u64)
    }

    /// Whether this is the only handle to the mapping. (Nothing makes another one of none, but a fork under way, which lets it
    /// go again.)
    fn only_handle(&mut self) -> Result<()> {
        match Arc::strong_count(&self.inner) {
            1 => {
                // SYNC handles: Acquire, pairs with the Release by which the last other one was dropped: what its thread did is
                // done.
                fence(Ordering::Acquire);
                Ok(())
            }
            n => Err(AuditError::Handles { handles: n - 1 }.into()),
        }
    }

    /// What is wrong with heap and directory, when nobody is at work.
    fn check_alone(&self) -> Vec<Corrupt> {
        let mut found = self.check();
        found.extend(self.inner.heap.check_caches());
        found
    }

    fn alone(&self) -> Result<Exclusive<'_>> {
        self.inner.participants.exclude_others().map_err(|why| match why {
            NotAlone::Others(processes) => AuditError::InUse { processes }.into(),
            NotAlone::Underway => AuditError::Underway.into(),
            NotAlone::Attach(error) => error,
            NotAlone::Refused(source) => {
                OpenError::Io { action: "lock a byte of", path: self.name().into(), source }.into()
            }
        })
    }
}
