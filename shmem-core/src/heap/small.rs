//! Blocks up to half a page: pages of one class, a bit for each block.
//!
//! # Allocation against retirement
//! An allocator sets a bit and then reads the page's word again; who retires a page changes the word and then reads
//! the bits. All four are sequentially consistent, so at least one sees the other: the allocator gives the bit back,
//! or the page stays. Every change of the word counts its generation up, so "unchanged" means that nothing happened.
//!
//! # Which page
//! Each of a few *slots* of this process (threads are dealt onto them) remembers for each class the page it allocates
//! from. That page is *adopted*: off its class's list, so that no two slots work on the same bitmap words while other
//! pages are to be had. A page found full is left *unlisted*; whoever frees blocks in it lists it again once there are
//! enough. All of this is hints, see `raw`.

use super::Heap;
use super::classes::Class;
use super::magazine::{Magazine, Pushed};
use super::page::{ADOPTED, LISTED, PageState, UNLISTED, Word};
use super::poison;
use super::raw::{FREE_LIST, Raw, bits_of};
use super::report::BadFree;
use crate::error::AllocError;
use crate::primitive::{AtomicU64, Ordering};
use std::alloc::Layout;
use std::cell::Cell;
use std::ptr::NonNull;
use std::sync::atomic::AtomicU32;
use std::time::Instant;

thread_local! {
    static THREAD: Cell<u32> = const { Cell::new(u32::MAX) };
}

/// A small number for each thread of the process.
#[inline]
fn thread_number() -> u32 {
    let number = THREAD.get();
    if number != u32::MAX { number } else { new_thread_number() }
}

#[cold]
fn new_thread_number() -> u32 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed) & 0xFFFF;
    THREAD.set(number);
    number
}

/// The pages a slot allocates from, one for each class: (word of the bitmap) << 32 | page + 1; 0 for none.
#[repr(align(128))]
pub(super) struct Slot {
    current: Box<[AtomicU64]>,
}

impl Slot {
    pub(super) fn new(classes: usize) -> Self {
        Slot { current: (0..classes).map(|_| AtomicU64::new(0)).collect() }
    }
}

fn encode(page: u64, word: u32) -> u64 {
    u64::from(word) << 32 | (page + 1)
}

fn decode(current: u64) -> Option<(u64, u32)> {
    Some(((current & 0xFFFF_FFFF).checked_sub(1)?, (current >> 32) as u32))
}

/// Why no block was had from a page.
enum Missed {
    /// Every block is taken.
    Full,
    /// The page is not, or no longer, one of the class.
    Changed,
}

impl Heap {
    pub(super) fn allocate_small(&self, class: usize, layout: Layout) -> Result<NonNull<[u8]>, AllocError> {
        let Some(geometry) = self.raw.classes.get(class) else {
            return Err(self.out_of_memory(layout.size()));
        };
        let magazine = self.magazine(geometry);
        if let Some(offset) = magazine.and_then(Magazine::pop) {
            return Ok(self.hand_out(offset, geometry.size, layout));
        }
        self.allocate_from_pages(magazine, class, geometry, layout)
    }

    /// Takes a block from the bitmaps, and others of the same word for the thread's magazine, if it has one.
    #[inline(never)]
    fn allocate_from_pages(
        &self,
        magazine: Option<Magazine<'_>>,
        class: usize,
        geometry: &Class,
        layout: Layout,
    ) -> Result<NonNull<[u8]>, AllocError> {
        let magazine = magazine.or_else(|| self.first_magazine(geometry));
        let current = &self.slots[thread_number() as usize % self.slots.len()].current[class];
        let seen = current.load(Ordering::Relaxed);
        if let Some((page, start)) = decode(seen)
            && let Ok((block, word)) = self.raw.claim(page, class, start, magazine)
        {
            if word != start {
                // Another thread of the slot may have gone on to another page.
                let _ =
                    current.compare_exchange(seen, encode(page, word), Ordering::Relaxed, Ordering::Relaxed);
            }
            return Ok(self.hand_out(self.raw.block_place(page, class, block).0, geometry.size, layout));
        }
        self.allocate_from_other_page(current, magazine, class, layout)
    }

    #[cold]
    #[inline(never)]
    fn allocate_from_other_page(
        &self,
        current: &AtomicU64,
        magazine: Option<Magazine<'_>>,
        class: usize,
        layout: Layout,
    ) -> Result<NonNull<[u8]>, AllocError> {
        let hand_out = |page, block| {
            let (offset, size) = self.raw.block_place(page, class, block);
            Some(self.hand_out(offset, size as u32, layout))
        };
        let mut attempt = |heap: &Heap| {
            heap.leave(current, class);
            if let Some((page, block)) = heap.adopt_listed(current, magazine, class) {
                return hand_out(page, block);
            }
            while let Some(page) = heap.raw.take_listed(FREE_LIST) {
                // CRASH fresh-page: the page is off the list of free pages, or an empty page of the class on no list;
                // `heal` lists it.
                let word = heap.raw.word(page);
                if word.state() == Some(PageState::Free)
                    && heap.raw.change(page, word, PageState::Small, class as u64).is_some()
                    && let Some(block) = heap.adopt(current, magazine, page, class)
                {
                    return hand_out(page, block);
                }
            }
            None
        };
        let begun = Instant::now();
        if self.is_lean()
            && let Some(block) = attempt(self).or_else(|| self.borrow(class, layout))
        {
            return Ok(block);
        }
        self.until_exhausted(layout.size(), 1, &mut attempt).or_else(|_| {
            // As often as it takes: others borrow, and have pages in hand meanwhile.
            let or_borrow = |heap: &Heap| attempt(heap).or_else(|| heap.borrow(class, layout));
            let block = self.until_exhausted(layout.size(), 1, or_borrow)?;
            self.be_lean(begun.elapsed());
            Ok(block)
        })
    }

    /// Takes a block of the class from its current page, or from one of its list.
    pub(super) fn claim_existing(&self, class: usize) -> Option<(u64, u32)> {
        let current = &self.slots[thread_number() as usize % self.slots.len()].current[class];
        decode(current.load(Ordering::Relaxed))
            .and_then(|(page, start)| Some((page, self.raw.claim(page, class, start, None).ok()?.0)))
            .or_else(|| self.adopt_listed(current, None, class))
    }

    /// Takes a block from a page of the class's list, which becomes the slot's page of the class.
    fn adopt_listed(
        &self,
        current: &AtomicU64,
        magazine: Option<Magazine<'_>>,
        class: usize,
    ) -> Option<(u64, u32)> {
        while let Some(page) = self.raw.take_listed(class) {
            if let Some(block) = self.adopt(current, magazine, page, class) {
                return Some((page, block));
            }
        }
        None
    }

    /// Makes the page, which was just taken off a list, the slot's page of the class, and takes a block from it.
    fn adopt(
        &self,
        current: &AtomicU64,
        magazine: Option<Magazine<'_>>,
        page: u64,
        class: usize,
    ) -> Option<u32> {
        if !self.raw.word(page).is(PageState::Small, class as u64) {
            return None;
        }
        // CRASH adopted: a page that nobody works on any more is marked adopted; `heal` lists it once much of it is
        // free, or when nothing else is left.
        self.raw.descriptor(page).listed.store(ADOPTED, Ordering::SeqCst);
        match self.raw.claim(page, class, 0, magazine) {
            Ok((block, word)) => {
                let before = current.swap(encode(page, word), Ordering::Relaxed);
                if let Some((before, _)) = decode(before)
                    && before != page
                {
                    // Another thread of this slot was here at the same time.
                    self.raw.release(before, class);
                }
                Some(block)
            }
            Err(Missed::Full) => {
                self.raw.release(page, class);
                None
            }
            Err(Missed::Changed) => None,
        }
    }

    /// Forgets the slot's page of the class.
    fn leave(&self, current: &AtomicU64, class: usize) {
        if let Some((page, _)) = decode(current.swap(0, Ordering::Relaxed)) {
            self.raw.release(page, class);
        }
    }

    /// Forgets the pages of every slot.
    pub(super) fn leave_all(&self) {
        for slot in &self.slots {
            for (class, current) in slot.current.iter().enumerate() {
                if let Some((page, _)) = decode(current.load(Ordering::Relaxed)) {
                    self.leave(current, class);
                    self.raw.retire_if_empty(page, class);
                }
            }
        }
    }

    #[inline(always)]
    pub(super) fn hand_out(&self, offset: u64, size: u32, layout: Layout) -> NonNull<[u8]> {
        let len = poison::handed_out(layout.size(), size as usize);
        poison::unpoison(self.raw.header.segment_id, offset, len as u64);
        // SAFETY: a mapping's address is not null.
        let at = unsafe { NonNull::new_unchecked(self.raw.at(offset)) };
        NonNull::slice_from_raw_parts(at, len)
    }

    pub(super) fn free_small(&self, offset: u64, class: usize, layout: Layout) {
        if let Err(why) = self.try_free_small(offset, class) {
            self.bad_free(BadFree { offset, size_bytes: layout.size() as u64, why });
        }
    }

    fn try_free_small(&self, offset: u64, class: usize) -> Result<(), &'static str> {
        let (page, block) = match self.raw.locate(offset, class) {
            Ok(found) => found,
            Err(why) => {
                let larger = self.raw.lender(offset, class).ok_or(why)?;
                return self.try_free_small(offset, larger);
            }
        };
        let geometry = self.raw.classes.get(class).ok_or("there is no such class")?;
        if !self.raw.is_taken(page, block) {
            return Err(FREE_ALREADY);
        }
        poison::poison(self.raw.header.segment_id, offset, geometry.size.into());
        if let Some(magazine) = self.magazine(geometry) {
            let most = self.raw.most_kept;
            let mut pushed = magazine.push(offset, most);
            if pushed == Pushed::Full {
                self.flush(magazine, class, most.min(geometry.kept as usize) / 2, true);
                pushed = magazine.push(offset, most);
            }
            match pushed {
                Pushed::Done => return Ok(()),
                Pushed::There => return Err(FREE_ALREADY),
                // Whoever was told of a bad free has filled it again.
                Pushed::Full => {}
            }
        }
        self.raw.free(offset, class)
    }
}

const FREE_ALREADY: &str = "the block is free already";

/// The lowest set bits of a word, so many at most.
#[inline]
fn lowest(word: u64, count: usize) -> u64 {
    let rest = (0..count).fold(word, |rest, _| rest & rest.wrapping_sub(1));
    word & !rest
}

impl Raw {
    /// Takes a free block of the page, looking from bitmap word `start` on, and fills an empty magazine with others of the
    /// same word; gives the block and the word.
    #[inline]
    fn claim(
        &self,
        page: u64,
        class: usize,
        start: u32,
        magazine: Option<Magazine<'_>>,
    ) -> Result<(u32, u32), Missed> {
        let Some(geometry) = self.classes.get(class) else { return Err(Missed::Changed) };
        let seen = self.word(page);
        if !seen.is(PageState::Small, class as u64) {
            return Err(Missed::Changed);
        }
        let words = geometry.words;
        let mut i = if start < words { start } else { 0 };
        for _ in 0..words {
            let bits = self.bits(page, i);
            let mut value = bits.load(Ordering::Relaxed);
            loop {
                let free = !value & geometry.mask(i);
                if free == 0 {
                    break;
                }
                let bit = free & free.wrapping_neg();
                let others =
                    magazine.map_or(0, |magazine| lowest(free & !bit, magazine.room(self.most_kept)));
                let count = others.count_ones() as usize;
                if let Some(magazine) = magazine.filter(|_| count > 0) {
                    let offset = |bit: u64| self.block_place(page, class, i * 64 + bit as u32).0;
                    magazine.fill(bits_of(others).map(offset), count);
                }
                // CRASH allocate: the bits are set and nobody has the blocks: they are unreachable until leaks are
                // recovered. Nothing else was changed.
                // SYNC block: Acquire pairs with the Release of `free`, so that what the last owner wrote is before
                // what the next one does. SYNC retire: sequentially consistent with `retire_if_empty`.
                let taken = value | bit | others;
                match bits.compare_exchange(value, taken, Ordering::SeqCst, Ordering::Relaxed) {
                    Ok(_) if self.word(page) == seen => {
                        if let Some(magazine) = magazine.filter(|_| count > 0) {
                            magazine.filled(count);
                        }
                        return Ok((i * 64 + bit.trailing_zeros(), i));
                    }
                    Ok(_) => {
                        bits.fetch_and(!(bit | others), Ordering::SeqCst);
                        return Err(Missed::Changed);
                    }
                    Err(now) => value = now,
                }
            }
            i = if i + 1 < words { i + 1 } else { 0 };
        }
        Err(Missed::Full)
    }

    /// Gives up an adopted page: puts it on its class's list if that is worth it.
    fn release(&self, page: u64, class: usize) {
        let (descriptor, Some(geometry)) = (self.descriptor(page), self.classes.get(class)) else { return };
        // SYNC relist: the mark first, then the count; `free` clears its bit first, then reads the mark. So a block
        // freed meanwhile is either counted here or its freer sees that the page is on no list.
        // CRASH release: the page is on no list; frees in it list it, or `heal` does.
        descriptor.listed.swap(UNLISTED, Ordering::SeqCst);
        let free = geometry.blocks - self.taken(page, geometry).min(geometry.blocks);
        descriptor.frees.store(free, Ordering::Relaxed);
        if free >= geometry.worth && self.word(page).is(PageState::Small, class as u64) {
            self.list_partial(page, class);
        }
    }

    fn list_partial(&self, page: u64, class: usize) {
        // CRASH list: the page is marked listed and is not; `heal` lists it.
        if self.descriptor(page).listed.swap(LISTED, Ordering::SeqCst) != LISTED {
            self.list(class, page, 1);
        }
    }

    /// The page and number of the block of the class that begins at `offset`, whether live or not.
    #[inline]
    pub(super) fn locate(&self, offset: u64, class: usize) -> Result<(u64, u32), &'static str> {
        let (page, at) = self.page_of(offset)?;
        let (word, geometry) = (self.word(page), self.classes.get(class).ok_or("there is no such class")?);
        if !word.is(PageState::Small, class as u64) && !word.is(PageState::Retiring, class as u64) {
            return Err("the page holds no blocks of this size");
        }
        let block = geometry.block_of(at);
        if block * geometry.size != at || block >= geometry.blocks {
            return Err("no block begins there");
        }
        Ok((page, block))
    }

    /// Whether the block's bit is set: it is live, or at hand for some thread.
    pub(super) fn is_taken(&self, page: u64, block: u32) -> bool {
        self.bits(page, block / 64).load(Ordering::Acquire) >> (block % 64) & 1 != 0
    }

    /// Where a block stands, and its size.
    #[inline]
    pub(super) fn block_place(&self, page: u64, class: usize, block: u32) -> (u64, u64) {
        let size = self.classes.get(class).map_or(0, |class| class.size);
        (self.page_at(page) + u64::from(block * size), size.into())
    }

    /// Gives the block of the class at `offset` back, to all.
    pub(super) fn free(&self, offset: u64, class: usize) -> Result<(), &'static str> {
        let (page, block) = self.locate(offset, class)?;
        let bit = 1u64 << (block % 64);
        if self.clear(page, class, block / 64, bit) == bit { Ok(()) } else { Err(FREE_ALREADY) }
    }

    /// Gives blocks of one word of a page of the class back; tells which of them were taken.
    #[inline]
    pub(super) fn clear(&self, page: u64, class: usize, word: u32, blocks: u64) -> u64 {
        let bits = self.bits(page, word);
        // CRASH clear: before this the blocks are taken and unreachable, after it they are free; hints may be behind.
        // SYNC block: Release pairs with `claim`. SYNC relist, SYNC retire: see there.
        let cleared = bits.fetch_and(!blocks, Ordering::SeqCst) & blocks;
        let (descriptor, Some(geometry)) = (self.descriptor(page), self.classes.get(class)) else {
            return cleared;
        };
        match descriptor.listed.load(Ordering::SeqCst) {
            ADOPTED => return cleared,
            UNLISTED => {
                // Not counted exactly (two frees at once may count as one): a hint.
                let frees = descriptor.frees.load(Ordering::Relaxed).saturating_add(cleared.count_ones());
                descriptor.frees.store(frees, Ordering::Relaxed);
                if frees >= geometry.worth {
                    self.list_partial(page, class);
                }
            }
            _ => {}
        }
        if bits.load(Ordering::Relaxed) == 0 {
            self.retire_if_empty(page, class);
        }
        cleared
    }

    /// Gives a page of the class back to the free pages if every block of it is free.
    pub(super) fn retire_if_empty(&self, page: u64, class: usize) {
        let word = self.word(page);
        if word.is(PageState::Small, class as u64) && self.is_empty(page) {
            self.retire(page, class, word);
        }
    }

    #[cold]
    fn retire(&self, page: u64, class: usize, word: Word) {
        // CRASH retire: the page stays `Retiring`: its blocks can be freed, none can be allocated; whoever next
        // looks through the pages makes it `Small` again.
        let Some(retiring) = self.change(page, word, PageState::Retiring, class as u64) else { return };
        // SYNC retire: the word first, then the bits; `claim` sets its bit first, then reads the word.
        if self.is_empty(page) {
            if self.change(page, retiring, PageState::Free, 0).is_some() {
                // CRASH retired: a free page on no list; `heal` lists it.
                self.unlist(class, page, 1);
                self.list(FREE_LIST, page, 1);
            }
        } else if self.change(page, retiring, PageState::Small, class as u64).is_some() {
            self.list_partial(page, class);
        }
    }

    /// The page that the byte at `offset` stands in, and its place there.
    #[inline]
    pub(super) fn page_of(&self, offset: u64) -> Result<(u64, u32), &'static str> {
        let data = offset.wrapping_sub(self.header.data_at);
        let page = data >> self.header.heap_page_shift;
        // An offset below the data wraps to a page far beyond.
        if page >= self.committed() {
            return Err("the address is outside the heap's pages");
        }
        Ok((page, (data & (self.page_bytes() - 1)) as u32))
    }
}
