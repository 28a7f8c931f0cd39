//! [`Visitor`]: walks what values own, for integrity checks, leak recovery and inspection.
//!
//! It keeps a work list instead of recursing, so a list of any length is walked in constant stack; it trusts no
//! byte it reads.
//!
//! This file needs `unsafe`: it reads memory that may be damaged, after checking where it is.

use super::ShmSafe;
use crate::access::{Access, BlockInfo};
use crate::error::Corrupt;
use crate::ptr::OffsetPtr;
use std::collections::BTreeMap;
use std::panic;

/// How many findings are kept; a walk over badly damaged bytes need not list them all.
const MAX_FINDINGS: usize = 64;

/// A type's own check of a value that is sound: what is wrong with it.
type CheckFn = fn(*const u8) -> Result<(), &'static str>;
pub(crate) type VisitFn = unsafe fn(*const u8, &mut Visitor<'_>);
/// Learns of each block that something owns; whether it is the first time.
pub(crate) type OwnFn<'v> = &'v mut dyn FnMut(BlockInfo) -> bool;

/// Values yet to be visited.
struct Work {
    first: *const u8,
    count: usize,
    stride: usize,
    visit: VisitFn,
}

/// A walk over values and the blocks they own.
pub struct Visitor<'v> {
    access: Access<'v>,
    owned: BTreeMap<u64, u64>,
    /// Where blocks are noted instead of in `owned`.
    noted: Option<OwnFn<'v>>,
    findings: Vec<Corrupt>,
    damaged: bool,
    work: Vec<Work>,
    /// What is asked of values once all that was reached was found sound.
    checks: Vec<(*const u8, CheckFn)>,
}

impl<'v> Visitor<'v> {
    /// A walk in the segment of `access`.
    pub fn new(access: Access<'v>) -> Self {
        Visitor {
            access,
            owned: BTreeMap::new(),
            noted: None,
            findings: Vec::new(),
            damaged: false,
            work: Vec::new(),
            checks: Vec::new(),
        }
    }

    /// A walk that tells `noted` of the blocks, and keeps no list of them.
    pub(crate) fn noting(access: Access<'v>, noted: OwnFn<'v>) -> Self {
        Visitor { noted: Some(noted), ..Visitor::new(access) }
    }

    /// Walks `count` values at `first` and everything they own. If all of it is sound, the types' own checks
    /// (`#[shm(validate = …)]`) are asked, a value's after those of what it is made of; one that panics says that its value
    /// is wrong.
    ///
    /// # Safety
    /// 1. `count` values' bytes from `first` are readable and aligned; they may be damaged.
    /// 2. Nobody changes them or what they own meanwhile.
    pub unsafe fn walk<T: ShmSafe>(&mut self, first: *const T, count: usize) {
        self.schedule(first, count);
        // SAFETY: 1 and 2.
        unsafe { self.run() };
        self.ask_types();
    }

    /// Visits what is yet to be visited.
    ///
    /// # Safety
    /// 1. As for [`walk`](Self::walk), of whatever was scheduled.
    pub(crate) unsafe fn run(&mut self) {
        while let Some(mut work) = self.work.pop() {
            let at = work.first;
            work.count -= 1;
            if work.count > 0 {
                work.first = at.wrapping_add(work.stride);
                self.work.push(Work { ..work });
            }
            // SAFETY: 1 for the roots; `schedule`d elements were checked to lie in a live block.
            unsafe { (work.visit)(at, self) };
        }
    }

    /// Asks the types' own checks about what was visited, if all of it is sound.
    pub(crate) fn ask_types(&mut self) {
        // They look at values as at any valid ones, and may change what is in locks inside them. So what a value
        // contains or owns, which was noted after it, is asked before it, and is not looked at again.
        let checks = std::mem::take(&mut self.checks);
        for (at, check) in if self.damaged { Vec::new() } else { checks }.into_iter().rev() {
            let checked = panic::catch_unwind(|| check(at)).unwrap_or(Err("its type's check panicked"));
            if let Err(what) = checked {
                self.invalid(at, what);
            }
        }
    }

    /// Has `check` asked of the value at `at`, if the walk finds everything sound. Called by what the derive writes for
    /// `#[shm(validate = …)]`, before the value's fields are visited.
    #[doc(hidden)]
    pub fn check_later(&mut self, at: *const u8, check: CheckFn) {
        self.checks.push((at, check));
    }

    /// Forgets which values the types' own checks would be asked about.
    pub(crate) fn ask_nobody(&mut self) {
        self.checks.clear();
    }

    /// Has `count` places of `stride` bytes from `first` on visited by a function of the caller's.
    ///
    /// # Safety
    /// 1. They lie in a live block, so they are readable; `visit` stands whatever they hold.
    pub(crate) unsafe fn schedule_with(
        &mut self,
        first: *const u8,
        count: usize,
        stride: usize,
        visit: VisitFn,
    ) {
        if count > 0 {
            self.work.push(Work { first, count, stride, visit });
        }
    }

    fn schedule<T: ShmSafe>(&mut self, first: *const T, count: usize) {
        unsafe fn visit<T: ShmSafe>(at: *const u8, visitor: &mut Visitor<'_>) {
            // SAFETY: by the caller.
            unsafe { T::visit(at.cast(), visitor) }
        }
        if count > 0 && !T::ANY_BITS && size_of::<T>() > 0 {
            self.work.push(Work { first: first.cast(), count, stride: size_of::<T>(), visit: visit::<T> });
        }
    }

    /// Reports that the value owns the block that `ptr` points to, which must have room for `capacity` values of
    /// type `T`; the first `live` of them are visited too. A null pointer owns nothing.
    ///
    /// # Safety
    /// 1. `ptr` is readable and aligned.
    pub unsafe fn own<T: ShmSafe>(&mut self, ptr: *const OffsetPtr<T>, live: usize, capacity: usize) {
        let Some(size) = capacity.checked_mul(size_of::<T>()).filter(|_| live <= capacity) else {
            return self
                .invalid(ptr.cast(), "a length larger than the capacity, or a capacity beyond memory");
        };
        // SAFETY: 1.
        if let Some(first) = unsafe { self.own_bytes(ptr, size) } {
            self.schedule(first, live);
        }
    }

    /// Reports that the value owns the block that `ptr` points to, which must have at least `size` bytes; gives its
    /// first byte if the block is live, large enough, aligned for a `T`, and owned by no other value.
    ///
    /// # Safety
    /// 1. `ptr` is readable and aligned.
    pub unsafe fn own_bytes<T>(&mut self, ptr: *const OffsetPtr<T>, size: usize) -> Option<*const T> {
        // SAFETY: 1.
        let target: *const T = unsafe { OffsetPtr::load(ptr) };
        if target.is_null() {
            if size > 0 {
                self.invalid(ptr.cast(), "a null pointer where a block is needed");
            }
            return None;
        }
        let block = self.block(ptr.cast(), target.cast())?;
        let start = self.access.context().offset_of(target.cast());
        if start != Some(block.offset) || !target.is_aligned() {
            self.invalid(ptr.cast(), "a pointer to no block's start");
            return None;
        }
        if block.size_bytes < size as u64 {
            self.invalid(ptr.cast(), "a block smaller than its contents");
            return None;
        }
        if !self.note(block) {
            self.invalid(ptr.cast(), "a block owned twice");
            return None;
        }
        Some(target)
    }

    fn note(&mut self, block: BlockInfo) -> bool {
        match &mut self.noted {
            Some(noted) => noted(block),
            None => self.owned.insert(block.offset, block.size_bytes).is_none(),
        }
    }

    fn block(&mut self, at: *const u8, target: *const u8) -> Option<BlockInfo> {
        let block = self.access.block_at(target);
        if block.is_none() {
            self.invalid(at, "a pointer to no live block");
        }
        block
    }

    /// Reports a block that is in use without being owned through a pointer (a root's own).
    pub fn claim(&mut self, offset: u64) -> Option<BlockInfo> {
        let at = self.access.context().base().wrapping_add(offset as usize);
        let block = self.block(at, at)?;
        if !self.note(block) {
            self.invalid(at, "a block owned twice");
        }
        Some(block)
    }

    /// Reports that the byte at `at` is wrong.
    pub fn invalid(&mut self, at: *const u8, what: &'static str) {
        self.damaged = true;
        if self.findings.len() < MAX_FINDINGS {
            let at = self.access.context().offset_of(at).unwrap_or(u64::MAX);
            self.findings.push(Corrupt { at, what });
        }
    }

    /// Whether nothing wrong was found.
    pub fn is_clean(&self) -> bool {
        !self.damaged
    }

    /// Takes what was found wrong, and begins anew.
    pub(crate) fn take_findings(&mut self) -> Vec<Corrupt> {
        self.damaged = false;
        std::mem::take(&mut self.findings)
    }

    /// What was found wrong, the first 64 findings.
    pub fn findings(&self) -> &[Corrupt] {
        &self.findings
    }

    /// Every block reported, as (offset, usable size), in address order.
    pub fn blocks(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        self.owned.iter().map(|(offset, size)| (*offset, *size))
    }

    /// The segment walked.
    pub fn access(&self) -> Access<'v> {
        self.access
    }
}

impl std::fmt::Debug for Visitor<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Visitor")
            .field("blocks", &self.owned.len())
            .field("findings", &self.findings)
            .finish_non_exhaustive()
    }
}
