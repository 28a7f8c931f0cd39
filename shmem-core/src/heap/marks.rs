//! Raw blocks: those that the program asked for as bytes, and accounts for itself.
//!
//! A raw block carries a *mark*, out of band: it is freed by [`Heap::free_raw`] only, and only once, and no recovery of
//! leaks ever takes it. A page's bitmap has one bit for each 16 bytes, so the upper half of it is unused where blocks have
//! 32 bytes or more: bit `i` there marks block `i`. Raw requests below 32 bytes are served by that class. The mark of a
//! span stands in its first page's descriptor.
//!
//! # Marks are owned
//! The mark is set when the block is allocated, and cleared before it is freed. So a marked block is live, whoever died
//! when. In the other direction there is a stranger: an allocator that was held up may set a bit of the upper half for a
//! moment, if the page held blocks of 16 or 24 bytes when it looked (see `small`; it finds the page's word changed, and
//! clears the bit); not in the descriptor, which only who has the span writes. Therefore a bit belongs to whoever has turned
//! it from 0 to 1. A block whose mark is set already when it is allocated is not handed out, but given back after another was
//! found. (A block that is not raw and has a stranger's bit over it, which takes such a delay, or a death in it, is taken for a
//! raw one by a checked heap: it stays allocated.)

use super::Heap;
use super::classes::{Class, Classes};
use super::page::{MAX_PAYLOAD, PageState};
use super::poison;
use super::raw::Raw;
use super::report::BadFree;
use crate::access::{Allocate, MAX_ALIGN};
use crate::crash::crash_point;
use crate::error::AllocError;
use std::alloc::Layout;
use std::ops::Range;
use std::ptr::NonNull;
use std::sync::atomic::Ordering;

/// The smallest block that can carry a mark.
pub(super) const SMALLEST: usize = 32;

/// How often an expansion is tried anew because others took or freed pages meanwhile.
const TRIES: usize = 16;

/// A block that could be raw, as the tables show it.
struct Place {
    page: u64,
    /// The bitmap word of the mark, and the mark in it; nothing for a span.
    word: u32,
    mark: u64,
    /// The block's size class; none if it is a span.
    class: Option<usize>,
    size_bytes: u64,
}

impl Place {
    /// What the block, which was asked for with `layout`, could have been asked for with: one of its own class, if it is lent.
    fn serves(&self, layout: Layout, classes: &Classes) -> Layout {
        let layout = with_mark(layout);
        let size = match classes.of(layout.size(), layout.align()) == self.class {
            true => layout.size(),
            false => self.size_bytes as usize,
        };
        Layout::from_size_align(size, layout.align()).unwrap_or(layout)
    }
}

/// What a raw request asks of the heap: `layout`, but for a size that has marks.
fn with_mark(layout: Layout) -> Layout {
    Layout::from_size_align(layout.size().max(SMALLEST), layout.align()).unwrap_or(layout)
}

impl Heap {
    /// A raw block of at least `layout.size()` bytes; the slice's length is the usable size.
    pub(crate) fn allocate_raw(&self, layout: Layout) -> Result<NonNull<[u8]>, AllocError> {
        if layout.align() > MAX_ALIGN {
            return Err(too_large(layout));
        }
        let mut passed_over = Vec::new();
        let outcome = loop {
            // CRASH raw-allocate: the block is taken and has no mark: recovery of leaks finds it.
            let allocated = self.allocate(with_mark(layout));
            crash_point!("marks.allocated");
            match allocated {
                Ok(block) if self.raw.set_mark(self.offset_of(block.cast())) => break Ok(block),
                Ok(block) => passed_over.push(block.cast()),
                Err(error) => break Err(error),
            }
        };
        for block in passed_over {
            // SAFETY: just allocated with this layout.
            unsafe { self.deallocate(block, with_mark(layout)) };
        }
        outcome.map_err(|error| match error {
            AllocError::OutOfMemory { largest_free_bytes, .. } => {
                AllocError::OutOfMemory { wanted_bytes: layout.size() as u64, largest_free_bytes }
            }
            error => error,
        })
    }

    /// Gives a raw block back. What is none, or is none of this layout, is reported and otherwise ignored.
    ///
    /// # Safety
    /// 1. `block` came from [`allocate_raw`](Self::allocate_raw) in this segment, in any process, and was not freed since.
    /// 2. `layout` has the alignment it was asked with and a size from what was asked to what is usable.
    pub(crate) unsafe fn free_raw(&self, block: NonNull<u8>, layout: Layout) {
        let offset = self.offset_of(block);
        self.settle_around(offset);
        let cleared = self.place_for(offset, layout).and_then(|place| match self.raw.clear_mark(&place) {
            true => Ok(()),
            false if self.find_block(offset).is_some() => Err("the block is not one that was allocated raw"),
            false => Err("the block is free already"),
        });
        if let Err(why) = cleared {
            return self.bad_free(BadFree { offset, size_bytes: layout.size() as u64, why });
        }
        // CRASH raw-free: the block is taken and has no mark any more: recovery of leaks finds it.
        crash_point!("marks.cleared");
        // SAFETY: 1 and 2; whoever cleared the mark is the only one that frees it.
        unsafe { self.deallocate(block, with_mark(layout)) }
    }

    /// The usable size of the live raw block at `block`, if there is one.
    pub(crate) fn raw_size(&self, block: NonNull<u8>) -> Option<u64> {
        let offset = self.offset_of(block);
        self.settle_around(offset);
        let place = self.raw.place(offset).ok()?;
        self.raw.is_marked(&place).then_some(place.size_bytes)
    }

    /// Whether the block at `offset` is raw.
    pub(super) fn is_raw(&self, offset: u64) -> bool {
        self.raw.place(offset).is_ok_and(|place| self.raw.is_marked(&place))
    }

    /// Makes a raw block usable up to `preferred` bytes where it stands, or else up to as many as there is room for, if
    /// these are at least `least`; gives the new usable size.
    ///
    /// # Errors
    /// [`AllocError::CannotExpand`]; nothing was changed.
    ///
    /// # Safety
    /// As for [`free_raw`](Self::free_raw).
    pub(crate) unsafe fn expand_raw(
        &self,
        block: NonNull<u8>,
        layout: Layout,
        least: usize,
        preferred: usize,
    ) -> Result<usize, AllocError> {
        let refused = |possible_bytes| cannot_expand(least, possible_bytes);
        let place = self.raw_place(block, layout).ok_or(refused(0))?;
        let layout = place.serves(layout, self.raw.classes);
        let (mut target, mut commit) = (preferred.max(least), true);
        for _ in 0..TRIES {
            // SAFETY: by the caller.
            if let Some(usable) = unsafe { self.grow_in_place(block, layout, target) } {
                return Ok(usable);
            }
            let room = self.raw.room(&place, commit);
            if room < least as u64 {
                return Err(refused(room));
            }
            // There is room and it was refused: memory for it could not be had, or it was free only for a moment.
            commit &= room < target as u64;
            target = target.min(room as usize);
        }
        Err(refused(self.raw.room(&place, false)))
    }

    /// Puts free pages before a raw block, as many as `preferred` bytes need or there are, if it has at least `least` then;
    /// gives it with its new beginning. What it held stays where it was.
    ///
    /// # Errors
    /// [`AllocError::CannotExpand`]; nothing was changed.
    ///
    /// # Safety
    /// As for [`free_raw`](Self::free_raw).
    pub(crate) unsafe fn expand_raw_backward(
        &self,
        block: NonNull<u8>,
        layout: Layout,
        least: usize,
        preferred: usize,
    ) -> Result<NonNull<[u8]>, AllocError> {
        let place = self.raw_place(block, layout).ok_or(cannot_expand(least, 0))?;
        if place.class.is_some() {
            // SAFETY: by the caller.
            let usable = unsafe { self.grow_in_place(block, place.serves(layout, self.raw.classes), least) };
            return usable
                .map(|usable| NonNull::slice_from_raw_parts(block, usable))
                .ok_or(cannot_expand(least, place.size_bytes));
        }
        let expanded = self.expand_backward(self.offset_of(block), least, preferred);
        let expanded = expanded.map_err(|possible| cannot_expand(least, possible as u64))?;
        let at = NonNull::new(self.raw.at(expanded.offset)).expect("a mapping's address is not null");
        Ok(NonNull::slice_from_raw_parts(at, expanded.usable))
    }

    /// Gives whole pages of a raw block back that `new_size` bytes do not need; gives what may be used from now on, or `None`
    /// if there is no such block.
    ///
    /// # Safety
    /// As for [`free_raw`](Self::free_raw); what is behind `new_size` bytes is not used any more.
    pub(crate) unsafe fn shrink_raw(
        &self,
        block: NonNull<u8>,
        layout: Layout,
        new_size: usize,
    ) -> Option<usize> {
        let place = self.raw_place(block, layout)?;
        // A block of whole pages remains one.
        let least = (self.raw.page_bytes() / 2 + 1) as usize;
        // SAFETY: by the caller.
        let shorter =
            unsafe { self.shrink_in_place(block, with_mark(layout), new_size.max(least), &mut |_| ()) };
        Some(shorter.unwrap_or(poison::handed_out(layout.size(), place.size_bytes as usize)))
    }

    /// The live raw block at `block`, if one of this layout begins there.
    fn raw_place(&self, block: NonNull<u8>, layout: Layout) -> Option<Place> {
        let offset = self.offset_of(block);
        self.settle_around(offset);
        self.place_for(offset, layout).ok().filter(|place| self.raw.is_marked(place))
    }

    /// The block at `offset`, if one of this layout begins there.
    fn place_for(&self, offset: u64, layout: Layout) -> Result<Place, &'static str> {
        let place = self.raw.place(offset)?;
        let layout = with_mark(layout);
        match (self.raw.classes.of(layout.size(), layout.align()), place.class) {
            (None, None) if layout.size() as u64 > place.size_bytes => Err("the span has another length"),
            (asked, is) if asked == is => Ok(place),
            (Some(asked), Some(is)) if asked < is && self.raw.lends(place.page) => Ok(place),
            _ => Err("the block has another size"),
        }
    }
}

impl Raw {
    /// The first bitmap word that holds marks.
    #[inline]
    pub(super) fn first_mark(&self) -> u32 {
        (self.bitmap_words() / 2) as u32
    }

    /// The block that begins at `offset`, live or not, if blocks there can be raw.
    fn place(&self, offset: u64) -> Result<Place, &'static str> {
        let (page, at) = self.page_of(offset)?;
        let word = self.word(page);
        match word.state() {
            Some(PageState::Small | PageState::Retiring) => {
                let class = word.payload() as usize;
                let geometry = self.classes.get(class).ok_or("there is no such class")?;
                let block = geometry.block_of(at);
                if block * geometry.size != at || block >= geometry.blocks {
                    return Err("no block begins there");
                }
                if (geometry.size as usize) < SMALLEST {
                    return Err("the block is not one that was allocated raw");
                }
                Ok(Place {
                    page,
                    word: self.first_mark() + block / 64,
                    mark: 1 << (block % 64),
                    class: Some(class),
                    size_bytes: geometry.size.into(),
                })
            }
            Some(PageState::Head) if at == 0 && page + word.payload() <= self.committed() => Ok(Place {
                page,
                word: 0,
                mark: 0,
                class: None,
                size_bytes: word.payload() * self.page_bytes(),
            }),
            Some(PageState::Free) => Err("the block is free already"),
            _ => Err("no block begins there"),
        }
    }

    /// Marks the block at `offset`, which the caller has just allocated; `false` if somebody else owns the mark.
    fn set_mark(&self, offset: u64) -> bool {
        // SYNC mark: AcqRel, as for the block's bit: who clears the mark has read what its setter wrote before.
        self.place(offset).is_ok_and(|place| match place.class {
            Some(_) => {
                self.bits(place.page, place.word).fetch_or(place.mark, Ordering::AcqRel) & place.mark == 0
            }
            None => {
                self.mark_span(place.page);
                true
            }
        })
    }

    /// Takes the block's mark away; `false` if it had none.
    fn clear_mark(&self, place: &Place) -> bool {
        // SYNC mark: before the block's bit is cleared, which is sequentially consistent: a page without bits has no marks.
        match place.class {
            Some(_) => {
                self.bits(place.page, place.word).fetch_and(!place.mark, Ordering::AcqRel) & place.mark != 0
            }
            None => self.descriptor(place.page).raw_span.swap(0, Ordering::AcqRel) != 0,
        }
    }

    fn is_marked(&self, place: &Place) -> bool {
        match place.class {
            Some(_) => self.bits(place.page, place.word).load(Ordering::Acquire) & place.mark != 0,
            None => self.is_span_marked(place.page),
        }
    }

    /// How long the block could be where it stands, as it looks now; with `commit`, if memory is to be had.
    fn room(&self, place: &Place, commit: bool) -> u64 {
        if place.class.is_some() {
            return place.size_bytes;
        }
        let committed = self.committed();
        let mut end = place.page + self.word(place.page).payload();
        while end < committed && matches!(self.word(end).state(), Some(PageState::Free | PageState::Punched))
        {
            end += 1;
        }
        if end == committed && commit {
            end = end.max(self.capacity_pages());
        }
        (end - place.page).min(MAX_PAYLOAD) * self.page_bytes()
    }

    /// Whether the page, which holds blocks of the class, has bits that are no block's, and marks that are no live block's.
    pub(super) fn strays(&self, page: u64, class: &Class) -> (bool, bool) {
        // Marks first: they go first, too.
        let words: Vec<u64> = (0..self.bitmap_words() as u32)
            .rev()
            .map(|i| self.bits(page, i).load(Ordering::SeqCst))
            .collect();
        let word = |i: u32| words[words.len() - 1 - i as usize];
        let blocks = |i: u32| if i < class.words { word(i) & class.mask(i) } else { 0 };
        let end =
            if class.size as usize >= SMALLEST { self.first_mark() } else { self.bitmap_words() as u32 };
        let outside = (0..end).any(|i| word(i) != blocks(i));
        let dead = (end..self.bitmap_words() as u32).any(|i| word(i) & !blocks(i - end) != 0);
        (outside, dead)
    }

    /// How many of the page's blocks are raw, if it holds blocks of the class.
    pub(super) fn marked(&self, page: u64, class: &Class) -> u32 {
        if (class.size as usize) < SMALLEST {
            return 0;
        }
        let marks = |i| self.bits(page, self.first_mark() + i).load(Ordering::Relaxed) & class.mask(i);
        (0..class.words).map(|i| marks(i).count_ones()).sum()
    }

    /// Makes the span that begins with the page raw.
    pub(super) fn mark_span(&self, page: u64) {
        self.descriptor(page).raw_span.store(1, Ordering::Release);
    }

    /// The page begins no raw span any more.
    pub(super) fn unmark_span(&self, page: u64) {
        if self.is_span_marked(page) {
            self.descriptor(page).raw_span.store(0, Ordering::Release);
        }
    }

    /// Whether the span that begins with the page is raw.
    pub(super) fn is_span_marked(&self, page: u64) -> bool {
        self.descriptor(page).raw_span.load(Ordering::Acquire) != 0
    }

    /// The bits of a page that holds blocks of the class which stand for nothing.
    pub(super) fn spare_bits(&self, class: &Class) -> Range<u32> {
        let all = self.bitmap_words() as u32 * 64;
        class.blocks..if class.size as usize >= SMALLEST { all / 2 } else { all }
    }
}

fn cannot_expand(least: usize, possible_bytes: u64) -> AllocError {
    AllocError::CannotExpand { wanted_bytes: least as u64, possible_bytes }
}

#[cold]
fn too_large(layout: Layout) -> AllocError {
    AllocError::TooLarge {
        wanted_bytes: layout.size() as u64,
        align: u32::try_from(layout.align()).unwrap_or(u32::MAX),
    }
}
