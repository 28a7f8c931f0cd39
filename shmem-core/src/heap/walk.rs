//! Looking at the whole heap: live blocks, integrity.

use super::Heap;
use super::classes::Class;
use super::page::{PageState, Word};
use super::raw::{Raw, bits_of};
use crate::access::BlockInfo;
use crate::error::Corrupt;
use crate::mapping::superblock::{DESCRIPTOR_BYTES, HEAP_AT, STATE_AT, State};
use std::collections::HashSet;
use std::sync::atomic::Ordering;

/// Damage beyond this many findings is not listed.
const MAX_FINDINGS: usize = 1000;

impl Heap {
    /// Calls `f` with every live block, in the order of their offsets.
    pub(crate) fn for_each_live_block(&self, f: &mut dyn FnMut(BlockInfo)) {
        let raw = &self.raw;
        let cached: HashSet<u64> = raw.cached().map(|(offset, _)| offset).collect();
        let mut f = |block: BlockInfo| {
            if !cached.contains(&block.offset) {
                f(block);
            }
        };
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
                let live = block < class.blocks && raw.is_taken(page, block);
                return live.then(|| raw.block(page, class, block));
            }
            PageState::Head => page,
            PageState::Body => page.checked_sub(word.payload())?,
            PageState::Free | PageState::Claiming | PageState::Punching | PageState::Punched => return None,
        };
        let word = raw.word(head);
        let len = word.payload();
        (word.state() == Some(PageState::Head) && page - head < len && head + len <= raw.committed())
            .then(|| BlockInfo { offset: raw.page_at(head), size_bytes: len * raw.page_bytes() })
    }

    /// Everything about the stored tables that this library does not write, not even if it is killed: nothing for a
    /// sound heap, as long as nobody allocates or frees meanwhile. O(pages); at most about 1000 findings.
    pub(crate) fn check(&self) -> Vec<Corrupt> {
        self.raw.check(false)
    }

    /// As [`check`](Self::check), and what a death may leave, too, if nobody else is at work.
    pub(crate) fn check_strictly(&self) -> Vec<Corrupt> {
        self.raw.check(true)
    }

    /// What is wrong with the caches, if nobody is at work.
    pub(crate) fn check_caches(&self) -> Vec<Corrupt> {
        let mut findings = Vec::new();
        self.raw.check_caches(|at, what| findings.push(Corrupt { at, what }));
        findings
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
        // Before the capacity: both may be raised meanwhile, that one first.
        let committed = header.committed.load(Ordering::Acquire);
        // SAFETY: inside the first page, which is committed; 8-aligned; atomics may be shared.
        let state: &State = unsafe { &*self.at(STATE_AT).cast() };
        let capacity = state.capacity.load(crate::primitive::Ordering::Acquire);
        if capacity > self.header.max_capacity || !capacity.is_multiple_of(self.page_bytes()) {
            return fail(STATE_AT + 8, "the capacity makes no sense");
        }
        if committed > capacity >> self.header.heap_page_shift {
            return fail(HEAP_AT + 8, "more heap pages are committed than the capacity allows");
        }
        Ok(())
    }

    /// Whether the pages' words make sense together. `strict` reports what a death may leave, too.
    pub(super) fn check(&self, strict: bool) -> Vec<Corrupt> {
        let mut findings: Vec<_> = self.check_header().err().into_iter().collect();
        let committed = self.committed();
        // The head that was met last, its word, and until where its span goes.
        let (mut head, mut covered) = (None, 0);
        // Whoever frees a span, or makes it longer, changes its head first: then what its pages say proves nothing.
        let is_as_seen = |head: Option<(u64, Word)>| head.is_some_and(|(page, seen)| self.word(page) == seen);
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
            // Growing and shrinking claim a page of the span for a moment.
            let resizing = state == PageState::Claiming && !strict;
            if page < covered && state != PageState::Body && !resizing && is_as_seen(head) {
                found("a page inside a span is not part of it");
            }
            if strict && state != PageState::Head && self.is_span_marked(page) {
                found("a page that begins no span is marked as a raw one");
            }
            match state {
                PageState::Free if payload != 0 => found("a free page has a payload"),
                PageState::Free if strict && !self.is_empty(page) => found("a free page has live blocks"),
                PageState::Free => {}
                PageState::Small | PageState::Retiring => match self.classes.get(payload as usize) {
                    None => found("a page's size class does not exist"),
                    Some(class) if strict => {
                        let (outside, dead_marks) = self.strays(page, class);
                        if outside || state == PageState::Retiring {
                            found("a page has blocks beyond its end, or is being retired");
                        }
                        if dead_marks {
                            found("a block that is not live is marked raw");
                        }
                    }
                    Some(_) => {}
                },
                // It may have grown beyond what was committed when this began.
                PageState::Head if payload == 0 || page + payload > self.committed() => {
                    found("a span has an impossible length")
                }
                PageState::Head => {
                    (head, covered) = (Some((page, word)), page + payload);
                    if strict && !self.is_empty(page) {
                        found("a span has blocks of a size class");
                    }
                }
                PageState::Claiming | PageState::Punching if !self.is_claimant(payload) => {
                    found("a page is claimed by nobody there could be")
                }
                PageState::Claiming | PageState::Punching if strict => found("a claim was left behind"),
                PageState::Claiming | PageState::Punching => {}
                PageState::Punched if payload > 1 => found("a punched page has another payload"),
                PageState::Punched if strict && !self.is_empty(page) => {
                    found("a punched page has live blocks")
                }
                PageState::Punched => {}
                PageState::Body if payload == 0 || payload > page => found("a page of a span has no head"),
                PageState::Body => {
                    let own = self.word(page - payload);
                    let live = own.state() == Some(PageState::Head) && own.payload() > payload;
                    // Joining pages before a span changes its bodies first.
                    let joining = own.state() == Some(PageState::Claiming) && !strict;
                    if page < covered && !live && !joining && is_as_seen(head) && self.word(page) == word {
                        found("a page inside a span belongs to another");
                    } else if strict && !live {
                        found("a page of a span that is gone was left behind");
                    } else if strict && !self.is_empty(page) {
                        found("a page inside a span has blocks");
                    }
                }
            }
        }
        if strict {
            self.check_caches(|at, what| {
                if findings.len() < MAX_FINDINGS {
                    findings.push(Corrupt { at, what });
                }
            });
        }
        findings
    }
}
