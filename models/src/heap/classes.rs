//! Stands in for the size classes: there is one.

/// See the library's.
pub(super) const MAX_CLASSES: usize = 1;
pub(super) const CACHE_HEADER_BYTES: u32 = 64;
pub(super) const MAGAZINE_HEADER_WORDS: usize = 2;
pub(super) const FINE: usize = 1024;
/// No fewer than four, which the library keeps in the smallest of segments.
pub(super) const MOST_KEPT: u32 = 4;

/// A magazine is filled with two blocks besides the one that was asked for, and emptied until one is left.
pub(super) const KEPT: u32 = 3;

/// A page has 65 blocks, in two words of the bitmap.
pub(super) const SIZE: u32 = 1008;

/// As the library's.
#[derive(Debug, Clone, Copy)]
pub(super) struct Class {
    pub(super) size: u32,
    pub(super) blocks: u32,
    pub(super) words: u32,
    pub(super) worth: u32,
    pub(super) kept: u32,
    pub(super) magazine_at: u32,
}

impl Class {
    pub(super) fn mask(&self, i: u32) -> u64 {
        if i + 1 < self.words { !0 } else { !0 >> (self.words * 64 - self.blocks) }
    }

    pub(super) fn block_of(&self, at: u32) -> u32 {
        at / self.size
    }
}

/// As the library's.
pub(super) struct Classes {
    pub(super) table: [Class; MAX_CLASSES],
    pub(super) fine: [u8; FINE / 8 + 1],
}

impl Classes {
    pub(super) const fn new(page_shift: u32) -> Self {
        let blocks = (1 << page_shift) / SIZE;
        let words = blocks.div_ceil(64);
        let class =
            Class { size: SIZE, blocks, words, worth: 1, kept: KEPT, magazine_at: CACHE_HEADER_BYTES };
        Classes { table: [class], fine: [0; FINE / 8 + 1] }
    }

    pub(super) fn for_page(page_shift: u32) -> Option<&'static Classes> {
        static TABLE: Classes = Classes::new(16);
        (page_shift == 16).then_some(&TABLE)
    }

    pub(super) fn cached(&self) -> impl Iterator<Item = (usize, &Class)> {
        self.table.iter().enumerate()
    }

    pub(super) fn count(&self) -> usize {
        self.table.len()
    }

    pub(super) fn get(&self, class: usize) -> Option<&Class> {
        self.table.get(class)
    }

    pub(super) fn of(&self, _: usize, _: usize) -> Option<usize> {
        Some(0)
    }
}
