//! The name index: a hash table from hashes to entry numbers, read without a lock, written under the directory lock.
//!
//! Linear probing, at most half full, deletion by shifting back (Knuth, TAOCP 3, 6.4, algorithm R). It is derived: the
//! entries are the truth, and whoever takes the directory lock from a dead holder rebuilds it.
//!
//! Readers validate: a hit is proved by the entry itself; a miss counts only if the sequence number, odd while
//! slots move, did not change meanwhile. Old tables are kept when the index grows (they add up to less than the
//! current one), because a reader may still be in one.
//!
//! This file needs `unsafe`: it reaches tables in mapped memory.

use super::Directory;
use super::entry::Entry;
use crate::crash::crash_point;
use crate::error::{Corrupt, Result};
use crate::primitive::{AtomicU64, Ordering};
use std::alloc::Layout;

/// The bits of a slot for an entry's place in its chunk; above are those for the chunk, and above these the hash's.
const PLACE_BITS: u32 = 27;
const _: () =
    assert!(super::chunk_len(super::CHUNKS - 1) < 1 << PLACE_BITS && super::CHUNKS < 1 << (32 - PLACE_BITS));

/// A slot: the hash's upper half, and chunk and place of the entry there + 1; or 0. (Not its number, from which a look-up would
/// have to compute them.)
fn slot(hash: u64, entry: u32) -> u64 {
    let (chunk, i) = super::place(entry);
    hash & !0xFFFF_FFFF | (((chunk as u64) << PLACE_BITS | i as u64) + 1)
}

/// What the header says of the current table: log2 of its slots in the upper byte, its offset below.
#[derive(Clone, Copy)]
pub(super) struct Table {
    pub(super) at: u64,
    pub(super) log2: u32,
}

/// Bytes before the slots: the offset of the table before.
const TABLE_HEAD: u64 = 8;
const FIRST_LOG2: u32 = 5;

impl Table {
    #[inline]
    pub(super) fn decode(word: u64) -> Option<Self> {
        let table = Self::of_checked(word);
        (table.at != 0 && table.at.is_multiple_of(8) && (FIRST_LOG2..=32).contains(&table.log2))
            .then_some(table)
    }

    /// The same of a word that was found to be one.
    #[inline(always)]
    pub(super) fn of_checked(word: u64) -> Self {
        Table { at: word & ((1 << 56) - 1), log2: (word >> 56) as u32 }
    }

    fn encode(self) -> u64 {
        u64::from(self.log2) << 56 | self.at
    }

    fn mask(self) -> u64 {
        (1 << self.log2) - 1
    }

    pub(super) fn bytes(self) -> u64 {
        TABLE_HEAD + (8 << self.log2)
    }
}

impl Directory {
    /// The current table, if there is one and it lies in the segment.
    pub(super) fn table(&self) -> Option<Table> {
        // SYNC index: Acquire, pairs with the Release that published the table.
        let table = Table::decode(self.header().index.load(Ordering::Acquire))?;
        (table.at.checked_add(table.bytes())? <= self.reserved_bytes()).then_some(table)
    }

    #[inline(always)]
    fn slot_of(&self, table: Table, i: u64) -> &AtomicU64 {
        let at = table.at + TABLE_HEAD + 8 * (i & table.mask());
        // SAFETY: inside the table, which `table` checked to lie inside the mapping; 8-aligned.
        unsafe { &*self.at(at).cast() }
    }

    /// The entry that a slot names, if it names one.
    #[inline(always)]
    fn entry_of(&self, slot: u64) -> Option<&Entry> {
        let place = (slot as u32).checked_sub(1)?;
        self.entry_in((place >> PLACE_BITS) as usize, place as usize & ((1 << PLACE_BITS) - 1))
    }

    /// Calls `found` with each entry whose hash may be `hash`, until it answers `Some`.
    #[inline(always)]
    pub(super) fn probe<'d, R>(
        &'d self,
        table: Table,
        hash: u64,
        mut found: impl FnMut(&'d Entry) -> Option<R>,
    ) -> Option<R> {
        let mut i = hash;
        // Bounded: a damaged table may have no empty slot.
        for _ in 0..=table.mask() {
            // SYNC index: Acquire, pairs with the Release in `insert`: the entry behind the number is written.
            let word = self.slot_of(table, i).load(Ordering::Acquire);
            if word == 0 {
                return None;
            }
            if word >> 32 == hash >> 32
                && let Some(entry) = self.entry_of(word)
                && let Some(result) = found(entry)
            {
                return Some(result);
            }
            i = i.wrapping_add(1);
        }
        None
    }

    /// Makes room for one more name. Under the directory lock.
    pub(super) fn reserve_index(&self) -> Result<()> {
        let wanted = u64::from(self.header().indexed.load(Ordering::Relaxed)) + 1;
        let old = self.table();
        let log2 = old.map_or(FIRST_LOG2, |table| table.log2);
        if old.is_some() && wanted * 2 <= 1 << log2 {
            return Ok(());
        }
        let log2 = if old.is_some() { log2 + 1 } else { log2 };
        let size = Table { at: 0, log2 }.bytes();
        let layout = Layout::from_size_align(size as usize, 8).expect("a power of two and a word");
        let block = self.access().allocate(layout)?;
        // SAFETY: a fresh block of that size.
        unsafe { block.cast::<u8>().as_ptr().write_bytes(0, layout.size()) };
        let at = self.offset_of(block.cast::<u8>());
        // SAFETY: the block's first word.
        unsafe { block.cast::<u64>().write(old.map_or(0, |table| table.at)) };
        crash_point!("grow.allocated");
        let table = Table { at, log2 };
        self.fill(table);
        crash_point!("grow.filled");
        // CRASH index: until this store the old table is in force and the new block is unreachable (leaked).
        // SYNC index: Release, pairs with the Acquire in `table`.
        self.header().index.store(table.encode(), Ordering::Release);
        crash_point!("grow.stored");
        Ok(())
    }

    /// Enters every entry that has a name into `table`, which is empty.
    fn fill(&self, table: Table) {
        let mut indexed = 0;
        for number in 0..self.high() {
            let Some(entry) = self.entry(number) else { continue };
            let state = entry.state();
            if !entry.label().is_anonymous() && state.is_indexed() && indexed < table.mask() as u32 {
                self.insert_into(table, entry.hash.load(Ordering::Relaxed), number);
                indexed += 1;
            }
        }
        self.header().indexed.store(indexed, Ordering::Relaxed);
    }

    fn insert_into(&self, table: Table, hash: u64, entry: u32) {
        let mut i = hash;
        for _ in 0..=table.mask() {
            let slot_now = self.slot_of(table, i);
            if slot_now.load(Ordering::Relaxed) == 0 {
                // SYNC index: Release, pairs with the Acquire in `probe`.
                slot_now.store(slot(hash, entry), Ordering::Release);
                return;
            }
            i = i.wrapping_add(1);
        }
    }

    /// Enters a name; `reserve_index` made room. Under the directory lock.
    pub(super) fn insert(&self, hash: u64, entry: u32) {
        if let Some(table) = self.table() {
            self.insert_into(table, hash, entry);
            crash_point!("insert.stored");
            self.header().indexed.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Takes a name out. Under the directory lock.
    pub(super) fn remove(&self, hash: u64, entry: u32) {
        let Some(table) = self.table() else { return };
        let mask = table.mask();
        let mut hole = hash & mask;
        for _ in 0..=mask {
            match self.slot_of(table, hole).load(Ordering::Relaxed) {
                0 => return,
                word if word == slot(hash, entry) => break,
                _ => hole = (hole + 1) & mask,
            }
        }
        let moving = self.moving();
        crash_point!("remove.moving");
        let mut next = hole;
        for _ in 0..=mask {
            next = (next + 1) & mask;
            let word = self.slot_of(table, next).load(Ordering::Relaxed);
            if word == 0 {
                break;
            }
            let home = self.entry_of(word).map_or(next, |e| e.hash.load(Ordering::Relaxed) & mask);
            // It may fill the hole if its home does not lie between the hole and itself.
            if next.wrapping_sub(home) & mask >= next.wrapping_sub(hole) & mask {
                self.slot_of(table, hole).store(word, Ordering::Release);
                crash_point!("remove.shifted");
                hole = next;
            }
        }
        self.slot_of(table, hole).store(0, Ordering::Release);
        crash_point!("remove.cleared");
        drop(moving);
        crash_point!("remove.moved");
        self.header().indexed.fetch_sub(1, Ordering::Relaxed);
    }

    /// Makes the index anew from the entries. Under the directory lock, after its holder died.
    pub(super) fn rebuild(&self) {
        let moving = self.moving();
        crash_point!("rebuild.moving");
        if let Some(table) = self.table() {
            for i in 0..=table.mask() {
                self.slot_of(table, i).store(0, Ordering::Relaxed);
            }
            crash_point!("rebuild.emptied");
            self.fill(table);
            crash_point!("rebuild.filled");
        }
        drop(moving);
    }

    /// Marks the time in which slots move or a name passes to another entry: the sequence number is odd.
    pub(super) fn moving(&self) -> impl Drop + '_ {
        struct Moving<'d>(&'d AtomicU64);
        impl Drop for Moving<'_> {
            fn drop(&mut self) {
                // SYNC sequence: Release: whoever reads the even number sees the slots moved.
                self.0.store((self.0.load(Ordering::Relaxed) | 1).wrapping_add(1), Ordering::Release);
            }
        }
        let sequence = &self.header().sequence;
        // CRASH index: a death leaves the number odd, which sends readers to the lock, where the next holder rebuilds.
        // SYNC sequence: the swap is sequentially consistent, so no slot moves before it.
        sequence.swap(sequence.load(Ordering::Relaxed) | 1, Ordering::SeqCst);
        std::sync::atomic::fence(Ordering::SeqCst);
        Moving(sequence)
    }

    /// Slots that name no entry that can be found. Under the directory lock.
    pub(super) fn check_index(&self) -> Vec<Corrupt> {
        let Some(table) = self.table() else { return Vec::new() };
        let astray = |i: &u64| {
            let word = self.slot_of(table, *i).load(Ordering::Relaxed);
            let entry = self.entry_of(word).filter(|entry| self.number_of(entry) < self.high());
            word != 0
                && !entry.is_some_and(|entry| {
                    let state = entry.state();
                    let hash = entry.hash.load(Ordering::Relaxed);
                    hash >> 32 == word >> 32 && state.is_indexed()
                })
        };
        let what = "an index slot names no object";
        let corrupt = |i| Corrupt { at: table.at + TABLE_HEAD + 8 * i, what };
        (0..=table.mask()).filter(astray).map(corrupt).collect()
    }

    /// Every index table in use or kept, as (offset, bytes).
    ///
    /// # Errors
    /// [`Corrupt`] if one leads to no other.
    pub(super) fn tables(&self) -> Result<Vec<(u64, u64)>, Corrupt> {
        let mut tables = Vec::new();
        let mut next = self.table();
        while let Some(table) = next {
            tables.push((table.at, table.bytes()));
            if !self.is_live(table.at) {
                return Err(Corrupt { at: table.at, what: "an index table is in no block" });
            }
            // SAFETY: the table's first word, in a live block and so inside the mapping, with memory behind it; 8-aligned.
            let before = unsafe { &*self.at(table.at).cast::<AtomicU64>() }.load(Ordering::Relaxed);
            next = Table::decode(Table { at: before, log2: table.log2.wrapping_sub(1) }.encode())
                .filter(|t| before < 1 << 56 && t.at + t.bytes() <= self.reserved_bytes());
            if before != 0 && next.is_none() {
                return Err(Corrupt { at: table.at, what: "an index table names none before it" });
            }
        }
        Ok(tables)
    }
}
