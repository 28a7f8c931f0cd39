//! The segment's heap: blocks of any size, for every process that maps the segment, without a lock.
//!
//! This file needs `unsafe`: it implements [`Allocate`].
//!
//! # Glossary
//! A **page** is 4, 16 or 64 KiB (by the segment's greatest size). A **block** up to half a page is one of many equal
//! ones in a page of its **size class**; a larger one is a **span** of whole pages. Out of band stand, for each page, a
//! **descriptor** and a **bitmap** with one bit for each block. A thread's **cache** has **magazines** of blocks that are free
//! for it alone. A page **lends** once a block of it has served a request of a smaller class (see `lend`). A **raw** block
//! was asked for as bytes, and bears a mark (see `marks`).
//!
//! # What is the truth
//! The first word of each descriptor says what the page is, the bitmap which of its blocks are taken. Nothing else
//! decides anything: lists, marks and counts are hints, found out when wrong and rebuilt by looking at every page
//! before the heap grows or gives up.
//!
//! | state | payload | next, by | who may make the step |
//! |---|---|---|---|
//! | `Free` | 0 | `Small` (first block of a class) · `Head` (span of one page) · `Claiming` (first page of a longer one) · `Punching` (first page of a run to be given back) · `Body` (their others) | anyone |
//! | `Small` | class | `Retiring` (seems empty) | anyone |
//! | `Retiring` | class | `Free` (is empty) · `Small` (is not) | who began; anyone back to `Small` |
//! | `Claiming` | claimant | `Head` (all are claimed) · `Body` (appended to a span) · `Free` (given up, or freed) | the claimant; if he died, recovery |
//! | `Head` | pages | `Claiming` (freed) · `Head` (longer or shorter) | who frees or resizes the block |
//! | `Body` | distance to the head | `Free` · `Claiming` (first one that is cut off a span) · `Punched` | the claimant, or who has the block; recovery |
//! | `Punching` | claimant | `Punched` (given back) · `Free` (committed again) | the claimant; recovery to `Punched` |
//! | `Punched` | 1 if there may be memory | `Punching` (to be committed, or punched again) · `Body` (of such a run) | anyone |
//!
//! Each step is one compare-and-swap of the word and counts its generation up. A block is allocated by setting its bit
//! and finding the page's word unchanged, and freed by clearing the bit: two read-modify-writes for the pair. A thread that
//! has a cache mostly does neither: it takes the block from a magazine, and puts it there.
//! `small` shows why the two protocols cannot miss each other.
//!
//! # Deaths
//! | killed while | what is left |
//! |---|---|
//! | allocating | at most one bit that nobody knows of; or, filling a magazine, those of one bitmap word that were to go into it |
//! | freeing | the block live or free; a page on no list, which is found before the heap grows; or, emptying a magazine, the block and those of one bitmap word taken and nobody's |
//! | retiring a page | a page nothing is allocated from, until somebody looks at all pages |
//! | claiming, freeing or resizing a span | an intent, by which recovery frees the pages in hand, or completes what was decided; a block that was allocated and not handed out is unreachable |
//! | giving memory back, or asking for it again | an intent, by which recovery makes the pages in hand `Punched` |
//! | committing memory | memory that the next step finds committed |
//! | marking a raw block, or freeing one | the block raw, or taken and unreachable |
//! | overwriting free memory | the block or page in hand is unreachable |
//!
//! (A thread that gets no slot, because there are hardly any left, has no intent: the pages it had in hand stay claimed.) Unreachable blocks stay accounted as used,
//! until leaks are recovered (`sweep`). No step is ever waited for, but one: who finds no memory while a claim is under way has
//! the dead settled, and waits up to a quarter of a second for the living, once for each claim that stays.
//!
//! # Never
//! This layer makes no system call ([`Commit`] does), touches no page that is not committed, not even to read it, writes to no
//! block but free ones that are to be overwritten, and obeys no free of a block that is not live.

mod at_hand;
mod cache;
mod classes;
mod grow;
mod intent;
mod lend;
mod magazine;
mod marks;
mod page;
mod poison;
mod raw;
mod reachable;
mod report;
mod resize;
mod small;
mod span;
mod stats;
mod sweep;
#[cfg(test)]
mod test_support;
#[cfg(test)]
mod tests;
mod trim;
mod walk;
mod word;
mod zero;

pub(crate) use reachable::Reached;
pub use report::{BadFree, BadFreeHook, set_bad_free_hook};
pub use stats::{HeapStats, SizeClassStats};
pub use sweep::SweptClass;

use crate::access::{Allocate, BlockInfo, MAX_ALIGN};
use crate::error::{AllocError, Corrupt};
use crate::mapping::commit::Commit;
use crate::mapping::registry;
use crate::mapping::superblock::FixedHeader;
use crate::participant::Participants;
use lend::Lean;
use raw::Raw;
use small::Slot;
use std::alloc::Layout;
use std::collections::HashMap;
use std::ptr::NonNull;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, OnceLock, Weak};

/// The heap of one segment, through one mapping of this process.
pub(crate) struct Heap {
    raw: Raw,
    commit: Arc<dyn Commit>,
    slots: Box<[Slot]>,
    /// None in a mapping that nobody writes to.
    participants: OnceLock<Weak<Participants>>,
    /// The slot that every thread is to have.
    #[cfg(test)]
    everybodys_slot: OnceLock<u32>,
    /// What says whether what a thread knows of its cache is still true.
    epoch: registry::Epoch,
    /// See [`quick_base`](Heap::quick_base).
    quick_base: usize,
    lean: Lean,
    /// Claims this process has waited for in vain: page and word. Never blocked on.
    abandoned: Mutex<HashMap<u64, u64>>,
    /// Held while committing. Never blocked on.
    growing: Mutex<()>,
    /// Whether every free is checked as well as can be. A wish of this process: it changes nothing that is stored.
    checked: bool,
}

impl Heap {
    /// Makes the heap of a new segment, with a little memory committed or, if asked, all of its capacity.
    ///
    /// # Errors
    /// Those of [`Commit::commit`]; there is no heap then.
    ///
    /// # Safety
    /// 1. The range `header` describes is mapped at `base`, readable and writable, exposed; its metadata is
    ///    committed, the heap's header zeroed, the capacity stored in the segment's state.
    /// 2. `header` is one that `FixedHeader::new` made, and `commit` commits memory in that range.
    /// 3. Nobody else uses the segment yet.
    pub(crate) unsafe fn format(
        base: NonNull<u8>,
        header: &FixedHeader,
        commit: &dyn Commit,
        commit_all: bool,
    ) -> Result<(), AllocError> {
        // SAFETY: 1 and 2.
        let raw = unsafe { Raw::new(base.as_ptr().expose_provenance(), header) };
        let raw = raw.expect("a header of this library has one of the three page sizes");
        let capacity = raw.capacity_pages();
        let (first, all) = (raw.first_pages().min(capacity), capacity);
        raw.commit_up_to(commit, if commit_all { all } else { first }, if commit_all { all } else { first })?;
        raw.head().layout.store(page::LAYOUT, Ordering::Release);
        Ok(())
    }

    /// The heap of an existing segment.
    ///
    /// # Errors
    /// [`Corrupt`] if the heap's header is none.
    ///
    /// # Safety
    /// 1. The range `header` describes is mapped at `base`, readable and writable, exposed, and stays so while the
    ///    heap lives; the file is at least [`required_file_bytes`](Self::required_file_bytes) long, and never becomes
    ///    shorter.
    /// 2. `header` has been validated, and `commit` commits memory in that range.
    pub(crate) unsafe fn attach(
        base: NonNull<u8>,
        header: FixedHeader,
        commit: Arc<dyn Commit>,
    ) -> Result<Heap, Corrupt> {
        // SAFETY: 1 and 2.
        let raw = unsafe { Raw::new(base.as_ptr().expose_provenance(), &header)? };
        raw.check_header()?;
        poison::attach(header.segment_id, raw.base());
        // Few slots where few pages are to be had.
        let slots = if header.heap_page_shift == 12 { 4 } else { 16 };
        let slots = (0..slots).map(|_| Slot::new(raw.classes.count())).collect();
        let heap = Heap {
            epoch: registry::epoch(),
            quick_base: Heap::quick_base(raw.base(), header.heap_page_shift),
            raw,
            commit,
            slots,
            participants: OnceLock::new(),
            #[cfg(test)]
            everybodys_slot: OnceLock::new(),
            lean: Lean::no(),
            abandoned: Mutex::default(),
            growing: Mutex::default(),
            checked: false,
        };
        if cfg!(shmem_poison) {
            let (base, data) = (heap.raw.base(), header.data_at);
            poison::poison_here(base, data, heap.raw.page_at(heap.raw.committed()) - data);
            heap.for_each_live_block(&mut |block| {
                poison::unpoison_here(base, block.offset, block.size_bytes)
            });
        }
        Ok(heap)
    }

    /// The same heap, which checks every free as well as can be, or does not.
    pub(crate) fn with_checks(mut self, checked: bool) -> Heap {
        self.checked = checked;
        if checked {
            // Nothing is kept at hand: each free is seen by all.
            self.quick_base = usize::MAX;
        }
        self
    }

    /// How long the file must be for what the heap has committed; a shorter one was truncated.
    ///
    /// # Errors
    /// [`Corrupt`] if the heap's header, or the capacity in the segment's state, makes no sense.
    ///
    /// # Safety
    /// 1. The segment's first page is mapped at `base`, readable, exposed, 8-aligned. No more need be mapped.
    /// 2. `header` has been validated.
    pub(crate) unsafe fn required_file_bytes(
        base: NonNull<u8>,
        header: &FixedHeader,
    ) -> Result<u64, Corrupt> {
        // SAFETY: only the first page is touched below, and only read.
        let raw = unsafe { Raw::new(base.as_ptr().expose_provenance(), header)? };
        raw.check_header()?;
        let committed = raw.committed();
        Ok(if committed == 0 { header.metadata_bytes() } else { raw.page_at(committed) })
    }

    /// Tells the heap, once, who knows which thread slots are free.
    pub(crate) fn set_participants(&self, participants: &Arc<Participants>) {
        let _ = self.participants.set(Arc::downgrade(participants));
    }

    /// Whether the byte at `offset` stands in a heap page that has memory behind it.
    pub(crate) fn has_page(&self, offset: u64) -> bool {
        self.raw.page_of(offset).is_ok()
    }

    fn offset_of(&self, block: NonNull<u8>) -> u64 {
        block.addr().get().wrapping_sub(self.raw.base()) as u64
    }

    #[cold]
    fn refuse_raw(&self, offset: u64, layout: Layout) {
        let why = "the block was allocated raw, and is to be freed so";
        self.bad_free(BadFree { offset, size_bytes: layout.size() as u64, why });
    }

    #[cold]
    fn bad_free(&self, bad: BadFree) {
        self.raw.head().bad_frees.fetch_add(1, Ordering::Relaxed);
        report::report(&bad);
    }
}

impl Drop for Heap {
    fn drop(&mut self) {
        self.leave_all();
        // The mapping may be gone.
        poison::detach(self.raw.base());
    }
}

// SAFETY: 1: `claim` and `claim_run` give each bit and each page to one caller at a time; block starts are multiples of
// the class's size in a page that is aligned to its own, and the class's size is a multiple of the alignment. 2: `Raw`
// makes pointers from the exposed base.
unsafe impl Allocate for Heap {
    #[inline]
    fn allocate_at_hand(&self, layout: Layout) -> Option<NonNull<[u8]>> {
        self.take_at_hand(layout)
    }

    fn allocate(&self, layout: Layout) -> Result<NonNull<[u8]>, AllocError> {
        if layout.align() > MAX_ALIGN {
            return Err(AllocError::TooLarge {
                wanted_bytes: layout.size() as u64,
                align: u32::try_from(layout.align()).unwrap_or(u32::MAX),
            });
        }
        match self.raw.classes.of(layout.size(), layout.align()) {
            Some(class) => self.allocate_small(class, layout),
            None => self.allocate_span(layout),
        }
    }

    #[inline]
    unsafe fn deallocate(&self, block: NonNull<u8>, layout: Layout) {
        let offset = self.offset_of(block);
        if !self.keep_at_hand(offset, layout) {
            self.deallocate_slow(offset, layout);
        }
    }

    unsafe fn grow_in_place(&self, block: NonNull<u8>, layout: Layout, new_size: usize) -> Option<usize> {
        match self.raw.classes.of(layout.size(), layout.align()) {
            Some(class) => {
                let usable = self.raw.classes.get(class)?.size as usize;
                let len = poison::handed_out(new_size.max(layout.size()), usable);
                (new_size <= usable).then(|| {
                    poison::unpoison(self.raw.header.segment_id, self.offset_of(block), len as u64);
                    len
                })
            }
            None => self.grow_span(self.offset_of(block), new_size.max(layout.size())),
        }
    }

    unsafe fn shrink_in_place(
        &self,
        block: NonNull<u8>,
        layout: Layout,
        new_size: usize,
        publish: &mut dyn FnMut(usize),
    ) -> Option<usize> {
        match self.raw.classes.of(layout.size(), layout.align()) {
            Some(_) => None,
            None => self.shrink_span(self.offset_of(block), layout, new_size, publish),
        }
    }

    fn block_at(&self, offset: u64) -> Option<BlockInfo> {
        self.find_block(offset)
    }

    fn keep(&self, block: NonNull<u8>) {
        self.keep_page(self.offset_of(block));
    }

    fn peek(&self, offset: u64, into: &mut [u8]) -> bool {
        self.commit.read(offset, into)
    }
}

impl Heap {
    #[cold]
    #[inline(never)]
    fn deallocate_slow(&self, offset: u64, layout: Layout) {
        if self.checked && self.is_raw(offset) {
            return self.refuse_raw(offset, layout);
        }
        match self.raw.classes.of(layout.size(), layout.align()) {
            Some(class) => self.free_small(offset, class, layout),
            None => self.free_span(offset, layout),
        }
    }
}

#[cfg(test)]
pub(crate) use {cache::cache_layout, page::descriptor_layout, page::header_layout};
