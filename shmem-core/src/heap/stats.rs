//! Figures: how a segment's memory is used.

use super::Heap;
use super::page::PageState;
use std::fmt;
use std::sync::atomic::Ordering;

/// How a segment's memory is used: see [`Segment::memory`](crate::Segment::memory). Exact while nobody allocates or frees.
///
/// Displays as a table. With the cargo feature `serde` it can be serialised.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct HeapStats {
    /// What the heap may hold in all.
    pub capacity_bytes: u64,
    /// What live blocks take (their usable sizes), with what deaths have made unreachable; not what threads have at hand.
    pub used_bytes: u64,
    /// The rest of the capacity.
    pub free_bytes: u64,
    /// How much of the capacity has memory behind it: what was [given back](crate::Segment::trim) has not.
    pub committed_bytes: u64,
    /// The part of `free_bytes` that stands in caches of threads, at hand for these only.
    pub cached_bytes: u64,
    /// The part of `used_bytes` that was [allocated as bytes](crate::Segment::allocate).
    pub raw_bytes: u64,
    /// In how many blocks.
    pub raw_blocks: u64,
    /// The largest block that could be had now.
    pub largest_free_bytes: u64,
    /// The size of a heap page.
    pub page_bytes: u64,
    /// How many pages have memory behind them (those [given back](crate::Segment::trim) have not); of these
    pub committed_pages: u64,
    /// are nobody's,
    pub free_pages: u64,
    /// belong to spans, blocks of whole pages,
    pub span_pages: u64,
    /// are being taken or given back just now, or were when a process died; the others hold smaller blocks.
    pub claimed_pages: u64,
    /// How many spans there are.
    pub spans: u64,
    /// The size classes that have pages, smallest blocks first.
    pub classes: Vec<SizeClassStats>,
    /// How many frees were refused because they named no live block, since the segment was created.
    pub bad_frees: u64,
}

/// How the blocks of one size are used: see [`HeapStats::classes`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct SizeClassStats {
    /// The size of a block.
    pub block_bytes: u64,
    /// How many pages hold such blocks.
    pub pages: u64,
    /// How many blocks are live.
    pub live: u64,
    /// How many blocks are free, in caches or not.
    pub free: u64,
    /// How many of the free ones stand in caches of threads.
    pub cached: u64,
}

impl HeapStats {
    /// How scattered the free memory is: 0.0 if all of it could be had as one block, near 1.0 if it is all in crumbs.
    pub fn fragmentation(&self) -> f64 {
        if self.free_bytes == 0 {
            return 0.0;
        }
        1.0 - (self.largest_free_bytes as f64 / self.free_bytes as f64).min(1.0)
    }

    /// How much of the pages that are in use is live blocks, from 0.0 to 1.0 (also if no page is).
    pub fn occupancy(&self) -> f64 {
        match (self.committed_pages - self.free_pages) * self.page_bytes {
            0 => 1.0,
            bytes => self.used_bytes as f64 / bytes as f64,
        }
    }
}

impl Heap {
    /// How memory is used. O(pages).
    pub(crate) fn stats(&self) -> HeapStats {
        let raw = &self.raw;
        let page_bytes = raw.page_bytes();
        let empty = |class| SizeClassStats { block_bytes: class, pages: 0, live: 0, free: 0, cached: 0 };
        let mut classes: Vec<SizeClassStats> = (0..raw.classes.count())
            .filter_map(|i| raw.classes.get(i))
            .map(|c| empty(c.size.into()))
            .collect();
        let (committed, capacity) = (raw.committed(), raw.capacity_pages());
        let mut stats = HeapStats {
            capacity_bytes: capacity * page_bytes,
            used_bytes: 0,
            free_bytes: 0,
            committed_bytes: committed * page_bytes,
            cached_bytes: 0,
            raw_bytes: 0,
            raw_blocks: 0,
            largest_free_bytes: 0,
            page_bytes,
            committed_pages: committed,
            free_pages: 0,
            span_pages: 0,
            claimed_pages: 0,
            spans: 0,
            classes: Vec::new(),
            bad_frees: raw.head().bad_frees.load(Ordering::Relaxed),
        };
        let (mut run, mut longest) = (0, 0);
        // Until where pages are those of the last span, and whether that one is raw.
        let (mut span_end, mut is_raw) = (0, false);
        for page in 0..committed {
            let word = raw.word(page);
            let is_free = matches!(word.state(), Some(PageState::Free | PageState::Punched));
            run = if is_free { run + 1 } else { 0 };
            longest = longest.max(run);
            match word.state() {
                Some(PageState::Free) => stats.free_pages += 1,
                Some(PageState::Punched) if word.payload() == 0 => stats.committed_pages -= 1,
                Some(PageState::Punched) => stats.free_pages += 1,
                Some(PageState::Small | PageState::Retiring) => {
                    let class = word.payload() as usize;
                    let (Some(geometry), Some(of_class)) = (raw.classes.get(class), classes.get_mut(class))
                    else {
                        stats.claimed_pages += 1;
                        continue;
                    };
                    let live = raw.taken(page, geometry).min(geometry.blocks);
                    let marked = u64::from(raw.marked(page, geometry));
                    of_class.pages += 1;
                    of_class.live += u64::from(live);
                    of_class.free += u64::from(geometry.blocks - live);
                    stats.raw_blocks += marked;
                    stats.raw_bytes += marked * u64::from(geometry.size);
                }
                Some(PageState::Head) => {
                    is_raw = raw.is_span_marked(page);
                    span_end = page + word.payload();
                    stats.spans += 1;
                    stats.raw_blocks += u64::from(is_raw);
                    stats.span_pages += 1;
                    stats.raw_bytes += if is_raw { page_bytes } else { 0 };
                }
                Some(PageState::Body) if page < span_end => {
                    stats.span_pages += 1;
                    stats.raw_bytes += if is_raw { page_bytes } else { 0 };
                }
                _ => stats.claimed_pages += 1,
            }
        }
        stats.committed_bytes = stats.committed_pages * page_bytes;
        for (_, class) in raw.cached() {
            if let Some(of_class) = classes.get_mut(class).filter(|class| class.live > 0) {
                of_class.live -= 1;
                of_class.free += 1;
                of_class.cached += 1;
                stats.cached_bytes += of_class.block_bytes;
            }
        }
        classes.retain(|class| class.pages > 0);
        let in_blocks: u64 = classes.iter().map(|class| class.live * class.block_bytes).sum();
        stats.used_bytes = in_blocks + (stats.span_pages + stats.claimed_pages) * page_bytes;
        stats.free_bytes = stats.capacity_bytes.saturating_sub(stats.used_bytes);
        let with_free = classes.iter().filter(|class| class.free > 0);
        let block = with_free.map(|class| class.block_bytes).max().unwrap_or(0);
        let longest = longest.max(run + capacity.saturating_sub(committed));
        stats.largest_free_bytes = (longest * page_bytes).max(block);
        stats.classes = classes;
        stats
    }

    /// The largest block that could be had now.
    pub(super) fn largest_free(&self) -> u64 {
        self.stats().largest_free_bytes
    }
}

/// A number of bytes for people.
struct Bytes(u64);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self.0 {
            bytes @ ..1024 => format!("{bytes} B"),
            bytes => {
                let unit = ((bytes.ilog2() / 10) as usize).min(6);
                let value = bytes as f64 / (1u64 << (10 * unit)) as f64;
                format!("{value:.1} {}iB", b" KMGTPE"[unit] as char)
            }
        };
        f.pad(&text)
    }
}

impl fmt::Display for HeapStats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [capacity, used, free, committed, cached, raw, largest, page] = [
            self.capacity_bytes,
            self.used_bytes,
            self.free_bytes,
            self.committed_bytes,
            self.cached_bytes,
            self.raw_bytes,
            self.largest_free_bytes,
            self.page_bytes,
        ]
        .map(Bytes);
        let of_blocks: u64 = self.classes.iter().map(|class| class.pages).sum();
        let percent = |part: f64| part * 100.0;
        writeln!(
            f,
            "capacity {capacity}: {used} used, {free} free ({cached} in caches); {committed} committed"
        )?;
        writeln!(
            f,
            "largest block to be had {largest}; fragmentation {:.1} %, pages in use filled to {:.1} %",
            percent(self.fragmentation()),
            percent(self.occupancy())
        )?;
        writeln!(
            f,
            "pages of {page}: {} of blocks, {} of spans, {} claimed, {} free",
            of_blocks, self.span_pages, self.claimed_pages, self.free_pages
        )?;
        writeln!(f, "raw blocks {} ({raw}); bad frees {}", self.raw_blocks, self.bad_frees)?;
        let head = ["block size", "pages", "live", "free", "cached"];
        write!(
            f,
            "{:>10} {:>9} {:>11} {:>11} {:>9} {:>11}",
            head[0], head[1], head[2], head[3], head[4], "used"
        )?;
        for class in &self.classes {
            let SizeClassStats { block_bytes, pages, live, free, cached } = class;
            let used = Bytes(live * block_bytes);
            write!(f, "\n{block_bytes:>10} {pages:>9} {live:>11} {free:>11} {cached:>9} {used:>11}")?;
        }
        let used = Bytes(self.span_pages * self.page_bytes);
        write!(
            f,
            "\n{:>10} {:>9} {:>11} {:>11} {:>9} {used:>11}",
            "spans", self.span_pages, self.spans, "-", "-"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_for_people() {
        let of = |bytes| Bytes(bytes).to_string();
        assert_eq!([0, 1023, 1024, 1536].map(of), ["0 B", "1023 B", "1.0 KiB", "1.5 KiB"]);
        assert_eq!([64 << 20, 64 << 30, u64::MAX].map(of), ["64.0 MiB", "64.0 GiB", "16.0 EiB"]);
        assert_eq!(format!("{:>8}|", Bytes(7)), "     7 B|");
    }
}
