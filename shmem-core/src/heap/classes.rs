//! Size classes: which block size serves a request, for each of the three heap page sizes.
//!
//! The tables are part of the stored format (FORMAT.md, "Size classes"): processes must agree on them, because the
//! class of a live block is found again from the layout it is freed with.

use crate::mapping::superblock::CACHE_BYTES;

/// More classes than any page size has; also the number of hint lists a descriptor group has room for, less the
/// list of free pages.
pub(super) const MAX_CLASSES: usize = 127;

/// Bytes of a cache before its first magazine.
pub(super) const CACHE_HEADER_BYTES: u32 = 64;

/// No magazine has room for more blocks.
pub(super) const MOST_KEPT: u32 = 22;

/// Words of a magazine before its first offset.
pub(super) const MAGAZINE_HEADER_WORDS: usize = 2;

/// Requests up to this size find their class in steps of 8, above it in steps of 128.
pub(super) const FINE: usize = 1024;

/// One size class.
#[derive(Debug, Clone, Copy)]
pub(super) struct Class {
    /// The size of a block in bytes, a multiple of 8; of 16 above 128 bytes and of 128 above 1 KiB.
    pub(super) size: u32,
    /// How many blocks a page holds.
    pub(super) blocks: u32,
    /// `ceil(2^32 / size)`: division by multiplication, exact for every offset inside a page.
    magic: u32,
    /// How many bitmap words the blocks take.
    pub(super) words: u32,
    /// A page with at least this many free blocks is worth listing.
    pub(super) worth: u32,
    /// How many free blocks a thread keeps in its magazine of this class; 0 if it has none.
    pub(super) kept: u32,
    /// Where the magazine stands in the thread's cache.
    pub(super) magazine_at: u32,
}

impl Class {
    const fn new(size: u32, page_bytes: u32) -> Self {
        let blocks = page_bytes / size;
        let worth = if blocks < 64 { 1 } else { blocks / 32 };
        let words = blocks.div_ceil(64);
        Class { size, blocks, magic: u32::MAX / size + 1, words, worth, kept: 0, magazine_at: 0 }
    }

    /// The bits of bitmap word `i` that stand for blocks.
    #[inline]
    pub(super) fn mask(&self, i: u32) -> u64 {
        if i + 1 < self.words { !0 } else { !0 >> (self.words * 64 - self.blocks) }
    }

    /// The block that the byte at `at` of the page belongs to; not below `blocks` behind the last one.
    #[inline]
    pub(super) fn block_of(&self, at: u32) -> u32 {
        // `at` < 2^16 and `size` < 2^16, so the error of the reciprocal, below 2^16 / 2^32, is below 1 / `size`.
        ((u64::from(at) * u64::from(self.magic)) >> 32) as u32
    }
}

/// The size classes of one page size.
pub(super) struct Classes {
    pub(super) table: [Class; MAX_CLASSES],
    count: usize,
    /// The class for `(size + 7) / 8`, up to [`FINE`].
    pub(super) fine: [u8; FINE / 8 + 1],
    /// The class for `(size + 127) / 128`, up to half a page.
    coarse: [u8; 32768 / 128 + 1],
    /// The largest block.
    largest: usize,
}

impl Classes {
    pub(super) const fn new(page_shift: u32) -> Self {
        let page = 1u32 << page_shift;
        let mut table = [Class::new(16, 16); MAX_CLASSES];
        let mut count = 0;
        let mut size = 16;
        // Steps of 8 up to 128, then eight steps a doubling, as long as a page holds eight or more.
        while size <= page / 8 {
            table[count] = Class::new(size, page);
            count += 1;
            size += if size < 128 { 8 } else { (1 << size.ilog2()) / 8 };
        }
        // Then the largest sizes of which a page holds 7, 6, … 2.
        let mut blocks = 7;
        while blocks >= 2 {
            let size = page / blocks;
            let size = if size > FINE as u32 { size / 128 * 128 } else { size / 16 * 16 };
            table[count] = Class::new(size, page);
            count += 1;
            blocks -= 1;
        }
        // Magazines' blocks take no more than 8 KiB.
        let most = if page_shift == 16 { MOST_KEPT } else { 0 };
        let (mut class, mut at) = (0, CACHE_HEADER_BYTES);
        while class < count {
            let fits = (8 << 10) / table[class].size;
            let kept = if fits < most { fits } else { most };
            if kept >= 2 {
                table[class].kept = kept;
                table[class].magazine_at = at;
                at += (MAGAZINE_HEADER_WORDS as u32 + kept) * 8;
            }
            class += 1;
        }
        assert!(at as u64 <= CACHE_BYTES);
        let mut classes =
            Classes { table, count, fine: [0; 129], coarse: [0; 257], largest: (page / 2) as usize };
        let mut i = 0;
        while i < classes.fine.len() {
            classes.fine[i] = classes.first_at_least(i * 8);
            i += 1;
        }
        i = 0;
        while i < classes.coarse.len() {
            classes.coarse[i] = classes.first_at_least(i * 128);
            i += 1;
        }
        classes
    }

    const fn first_at_least(&self, size: usize) -> u8 {
        let mut class = 0;
        while class < self.count && (self.table[class].size as usize) < size {
            class += 1;
        }
        class as u8
    }

    /// The tables for pages of `1 << page_shift` bytes, if there are such.
    pub(super) fn for_page(page_shift: u32) -> Option<&'static Classes> {
        static TABLES: [Classes; 3] = [Classes::new(12), Classes::new(14), Classes::new(16)];
        match page_shift {
            12 => Some(&TABLES[0]),
            14 => Some(&TABLES[1]),
            16 => Some(&TABLES[2]),
            _ => None,
        }
    }

    /// The classes that have magazines, with their numbers.
    pub(super) fn cached(&self) -> impl Iterator<Item = (usize, &Class)> {
        self.table[..self.count].iter().enumerate().filter(|(_, class)| class.kept > 0)
    }

    /// How many classes there are.
    pub(super) fn count(&self) -> usize {
        self.count
    }

    /// The class with this number, which may come from stored bytes.
    #[inline]
    pub(super) fn get(&self, class: usize) -> Option<&Class> {
        self.table[..self.count].get(class)
    }

    /// The class that serves a request: the smallest whose block size is no smaller than `size` and a multiple
    /// of `align` (a power of two); `None` if it needs pages of its own.
    ///
    /// A pure function, and the same for every size from the one asked for to the block's: so the class of a
    /// live block follows from whatever layout it is freed with.
    #[inline]
    pub(super) fn of(&self, size: usize, align: usize) -> Option<usize> {
        if align <= 16 && size <= FINE - 16 {
            // Classes that are no multiple of 16 are multiples of 8, and a size rounded up to 16 skips them.
            let size = (size + align - 1) & !(align - 1);
            return Some(usize::from(self.fine[size.div_ceil(8)]));
        }
        self.of_large(size, align)
    }

    #[inline(never)]
    fn of_large(&self, size: usize, align: usize) -> Option<usize> {
        if size > self.largest || align > self.largest {
            return None;
        }
        let size = size.next_multiple_of(align);
        if size > self.largest {
            return None;
        }
        let first = if size <= FINE { self.fine[size.div_ceil(8)] } else { self.coarse[size.div_ceil(128)] };
        // The last class is half a page, a multiple of every alignment that got here.
        (usize::from(first)..self.count)
            .find(|class| (self.table[*class].size as usize).is_multiple_of(align))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_size_and_alignment_has_one_class() {
        for shift in [12, 14, 16] {
            let classes = Classes::for_page(shift).unwrap();
            let page = 1usize << shift;
            assert!(classes.count() < MAX_CLASSES);
            assert_eq!(classes.table[classes.count - 1].size as usize, page / 2);
            for pair in classes.table[..classes.count].windows(2) {
                assert!(pair[0].size < pair[1].size);
            }
            for align in (0..=12).map(|bit| 1usize << bit) {
                let mut expected = 0;
                for size in 1..=page {
                    let fits = |class: &Class| {
                        class.size as usize >= size && (class.size as usize).is_multiple_of(align)
                    };
                    while expected < classes.count && !fits(&classes.table[expected]) {
                        expected += 1;
                    }
                    let class = classes.of(size, align);
                    assert_eq!(class.unwrap_or(classes.count), expected, "{shift} {size} {align}");
                }
            }
        }
    }

    #[test]
    fn blocks_are_found_from_their_bytes() {
        for shift in [12, 14, 16] {
            let classes = Classes::for_page(shift).unwrap();
            for class in &classes.table[..classes.count] {
                assert!(class.blocks <= (1 << shift) / 16 && class.blocks >= 2);
                assert!(class.size.is_multiple_of(if class.size > 128 { 16 } else { 8 }));
                for at in 0..1u32 << shift {
                    assert_eq!(class.block_of(at), at / class.size);
                }
                let bits: u32 = (0..class.words).map(|i| class.mask(i).count_ones()).sum();
                assert_eq!(bits, class.blocks);
            }
        }
    }

    /// The figures of FORMAT.md, "Size classes".
    #[test]
    fn the_tables_are_those_of_the_format() {
        let expected = [
            (12, 37, 512, [576, 672, 816, 1024, 1280, 2048]),
            (14, 53, 2048, [2304, 2688, 3200, 4096, 5376, 8192]),
            (16, 69, 8192, [9344, 10880, 13056, 16384, 21760, 32768]),
        ];
        for (shift, count, last_step, few) in expected {
            let classes = Classes::for_page(shift).unwrap();
            let sizes: Vec<u32> = classes.table[..classes.count].iter().map(|class| class.size).collect();
            assert_eq!(sizes.len(), count);
            assert_eq!(
                sizes[..18],
                [16, 24, 32, 40, 48, 56, 64, 72, 80, 88, 96, 104, 112, 120, 128, 144, 160, 176]
            );
            assert_eq!(sizes[count - 7], last_step);
            assert_eq!(sizes[count - 6..], few);
        }
    }

    #[test]
    fn little_is_wasted() {
        let classes = Classes::for_page(16).unwrap();
        for size in 65usize..=8192 {
            let class = classes.get(classes.of(size, 8).unwrap()).unwrap();
            assert!((class.size as usize - size) * 8 <= class.size as usize, "{size} in {}", class.size);
        }
    }
}
