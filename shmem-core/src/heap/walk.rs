//! Looking at the whole heap: figures, live blocks, integrity.

use super::Heap;
use super::classes::Class;
use super::page::PageState;
use super::raw::{Raw, bits_of};
use crate::access::BlockInfo;
use crate::error::Corrupt;
use crate::mapping::superblock::{DESCRIPTOR_BYTES, HEAP_AT, STATE_AT, State};
use std::sync::atomic::Ordering;

/// How a segment's memory is used. Exact while nobody allocates or frees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct HeapStats {
    /// What the heap may hold in all.
    pub capacity_bytes: u64,
    /// What live blocks take (their usable sizes), with what deaths have made unreachable: see
    /// [`recover_leaks`](crate::Segment::recover_leaks).
    pub used_bytes: u64,
    /// The rest of the capacity.
    pub free_bytes: u64,
    /// How much of the capacity has memory behind it.
    pub committed_bytes: u64,
    /// How many frees were refused because they named no live block, since the segment was created.
    pub bad_frees: u64,
}

/// Damage beyond this many findings is not listed.
const MAX_FINDINGS: usize = 1000;

impl Heap {
    /// How memory is used. O(pages).
    pub(crate) fn stats(&self) -> HeapStats {
        let raw = &self.raw;
        let mut used = 0;
        for page in 0..raw.committed() {
            let word = raw.word(page);
            used += match word.state() {
                Some(PageState::Free) => 0,
                Some(PageState::Small | PageState::Retiring) => {
                    match raw.classes.get(word.payload() as usize) {
                        Some(class) => u64::from(raw.taken(page, class) * class.size),
                        None => raw.page_bytes(),
                    }
                }
                _ => raw.page_bytes(),
            };
        }
        let capacity = raw.capacity_pages() * raw.page_bytes();
        HeapStats {
            capacity_bytes: capacity,
            used_bytes: used,
            free_bytes: capacity.saturating_sub(used),
            committed_bytes: raw.committed() * raw.page_bytes(),
            bad_frees: raw.head().bad_frees.load(Ordering::Relaxed),
        }
    }

    /// Calls `f` with every live block, in the order of their offsets.
    pub(crate) fn for_each_live_block(&self, f: &mut dyn FnMut(BlockInfo)) {
        let raw = &self.raw;
        let mut page = 0;
        while page < raw.committed() {
            let word = raw.word(page);
            let mut len = 1;
            match word.state() {
                Some(PageState::Small | PageState::Retiring) => {
                    let class = raw.classes.get(word.payload() as usize);
                    let words = class.into_iter().flat_map(|class| (0..class.words).map(move |i| (class, i)));
                    for (class, i) in words {
                        let bits = raw.bits(page, i).load(Ordering::Acquire) & class.mask(i);
                        for bit in bits_of(bits) {
                            f(raw.block(page, class, i * 64 + bit as u32));
                        }
                    }
                }
                Some(PageState::Head) => {
                    len = word.payload().clamp(1, raw.committed() - page);
                    f(BlockInfo { offset: raw.page_at(page), size_bytes: len * raw.page_bytes() });
                }
                _ => {}
            }
            page += len;
        }
    }

    /// The live block that contains the byte at `offset`.
    pub(super) fn find_block(&self, offset: u64) -> Option<BlockInfo> {
        let raw = &self.raw;
        let (page, at) = raw.page_of(offset).ok()?;
        let word = raw.word(page);
        let head = match word.state()? {
            PageState::Small | PageState::Retiring => {
                let class = raw.classes.get(word.payload() as usize)?;
                let block = class.block_of(at);
                let live = block < class.blocks
                    && raw.bits(page, block / 64).load(Ordering::Acquire) >> (block % 64) & 1 != 0;
                return live.then(|| raw.block(page, class, block));
            }
            PageState::Head => page,
            PageState::Body => page.checked_sub(word.payload())?,
            PageState::Free | PageState::Claiming => return None,
        };
        let word = raw.word(head);
        let len = word.payload();
        (word.state() == Some(PageState::Head) && page - head < len && head + len <= raw.committed())
            .then(|| BlockInfo { offset: raw.page_at(head), size_bytes: len * raw.page_bytes() })
    }

    /// The largest block that could be had now.
    pub(super) fn largest_free(&self) -> u64 {
        let raw = &self.raw;
        let (mut run, mut longest, mut block) = (0, 0, 0);
        for page in 0..raw.committed() {
            let word = raw.word(page);
            match word.state() {
                Some(PageState::Free) => run += 1,
                state => {
                    run = 0;
                    if state == Some(PageState::Small)
                        && let Some(class) = raw.classes.get(word.payload() as usize)
                        && raw.taken(page, class) < class.blocks
                    {
                        block = block.max(u64::from(class.size));
                    }
                }
            }
            longest = longest.max(run);
        }
        let uncommitted = raw.capacity_pages().saturating_sub(raw.committed());
        (longest.max(run + uncommitted) * raw.page_bytes()).max(block)
    }

    /// Everything about the stored tables that this library does not write, not even if it is killed: nothing for a
    /// sound heap, as long as nobody allocates or frees meanwhile. O(pages); at most about 1000 findings.
    pub(crate) fn check(&self) -> Vec<Corrupt> {
        self.raw.check(false)
    }
}

impl Raw {
    fn block(&self, page: u64, class: &Class, block: u32) -> BlockInfo {
        BlockInfo {
            offset: self.page_at(page) + u64::from(block * class.size),
            size_bytes: class.size.into(),
        }
    }

    /// Whether the heap's header and the capacity are such that the tables may be used.
    pub(super) fn check_header(&self) -> Result<(), Corrupt> {
        let header = self.head();
        let fail = |at, what| Err(Corrupt { at, what });
        if header.layout.load(Ordering::Acquire) != super::page::LAYOUT {
            return fail(HEAP_AT, "the heap's layout is not the one this library uses");
        }
        // SAFETY: inside the first page, which is committed; 8-aligned; atomics may be shared.
        let state: &State = unsafe { &*self.at(STATE_AT).cast() };
        let capacity = state.capacity.load(crate::primitive::Ordering::Acquire);
        if capacity > self.header.max_capacity || !capacity.is_multiple_of(self.page_bytes()) {
            return fail(STATE_AT + 8, "the capacity makes no sense");
        }
        let committed = header.committed.load(Ordering::Acquire);
        if committed > capacity >> self.header.heap_page_shift {
            return fail(HEAP_AT + 8, "more heap pages are committed than the capacity allows");
        }
        Ok(())
    }

    /// Whether the pages' words make sense together. `strict` reports what a death may leave, too.
    pub(super) fn check(&self, strict: bool) -> Vec<Corrupt> {
        let mut findings: Vec<_> = self.check_header().err().into_iter().collect();
        let committed = self.committed();
        let mut covered = 0;
        for page in 0..committed {
            if findings.len() >= MAX_FINDINGS {
                break;
            }
            let mut found = |what| {
                findings.push(Corrupt { at: self.header.descriptors_at + page * DESCRIPTOR_BYTES, what })
            };
            let word = self.word(page);
            let Some(state) = word.state() else {
                found("a heap page is in no state there is");
                continue;
            };
            let payload = word.payload();
            if page < covered && state != PageState::Body {
                found("a page inside a span is not part of it");
            }
            match state {
                PageState::Free if payload != 0 => found("a free page has a payload"),
                PageState::Free if strict && !self.is_empty(page) => found("a free page has live blocks"),
                PageState::Free => {}
                PageState::Small | PageState::Retiring => match self.classes.get(payload as usize) {
                    None => found("a page's size class does not exist"),
                    Some(class) => {
                        let beyond = |i| if i < class.words { !class.mask(i) } else { !0 };
                        let outside = (0..self.bitmap_words() as u32)
                            .any(|i| self.bits(page, i).load(Ordering::SeqCst) & beyond(i) != 0);
                        if strict && (outside || state == PageState::Retiring) {
                            found("a page has blocks beyond its end, or is being retired");
                        }
                    }
                },
                PageState::Head | PageState::Claiming if payload == 0 || page + payload > committed => {
                    found("a span has an impossible length")
                }
                PageState::Head => covered = page + payload,
                PageState::Claiming if strict => found("a claim was left behind"),
                PageState::Claiming => {}
                PageState::Body if payload == 0 || payload > page => found("a page of a span has no head"),
                PageState::Body => {
                    let head = self.word(page - payload);
                    let live = head.state() == Some(PageState::Head) && head.payload() > payload;
                    if page < covered && !live {
                        found("a page inside a span belongs to another");
                    } else if strict && !live {
                        found("a page of a span that is gone was left behind");
                    }
                }
            }
        }
        findings
    }
}
