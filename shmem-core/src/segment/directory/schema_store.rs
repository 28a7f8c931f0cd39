//! The segment's type records: a list that only grows, newest first. FORMAT.md, "Type records".
//!
//! This file needs `unsafe`: it reaches records in mapped memory.

use super::Directory;
use crate::crash::crash_point;
use crate::error::{Corrupt, Result};
use crate::layout::{Fingerprint, ShmSafe, StoredType, check_stored, encode_stored, from_halves, halves};
use crate::primitive::{AtomicU64, Ordering};
use std::alloc::Layout;
use std::collections::HashSet;
use std::sync::Arc;

/// Before the bytes of a record: where the next one stands, how long this one is, and whose it is.
#[repr(C)]
struct Head {
    next: AtomicU64,
    len: AtomicU64,
    fingerprint: [AtomicU64; 2],
}

const HEAD: u64 = size_of::<Head>() as u64;

/// A longer record is taken for damage.
const MAX_RECORD: u64 = 1 << 24;

impl Directory {
    fn head(&self, at: u64) -> Option<&Head> {
        let inside = at != 0 && at.is_multiple_of(8) && at.checked_add(HEAD)? <= self.reserved_bytes();
        // SAFETY: inside the mapping and aligned; committed, since heap blocks are, unless the offset is damaged, which
        // `committed` rules out.
        (inside && self.is_live(at)).then(|| unsafe { &*self.at(at).cast() })
    }

    /// Calls `each` with every record's offset and fingerprint, until it answers `Some`.
    fn records<R>(&self, mut each: impl FnMut(u64, &Head) -> Option<R>) -> Option<R> {
        // SYNC schema: Acquire, pairs with the Release in `store_schema`.
        let mut at = self.header().schema.load(Ordering::Acquire);
        for _ in 0..self.most_records() {
            let head = self.head(at)?;
            if let Some(result) = each(at, head) {
                return Some(result);
            }
            at = head.next.load(Ordering::Relaxed);
        }
        None
    }

    /// More records than have room are damage: a list that goes in circles.
    fn most_records(&self) -> u64 {
        self.reserved_bytes() / HEAD
    }

    fn fingerprint_of(head: &Head) -> Fingerprint {
        from_halves([0, 1].map(|i| head.fingerprint[i].load(Ordering::Relaxed)))
    }

    /// The stored record of a type.
    pub(super) fn stored_record(&self, wanted: Fingerprint) -> Option<Vec<u8>> {
        self.records(|at, head| {
            if Self::fingerprint_of(head) != wanted {
                return None;
            }
            self.record_at(at, head)
        })
    }

    fn record_at(&self, at: u64, head: &Head) -> Option<Vec<u8>> {
        let len = head.len.load(Ordering::Relaxed);
        let block = self.access().block_at(self.at(at))?;
        let fits = len <= MAX_RECORD && at == block.offset && HEAD + len <= block.size_bytes;
        // SAFETY: a live block that holds the record, which is never written again.
        fits.then(|| unsafe { std::slice::from_raw_parts(self.at(at + HEAD), len as usize) }.to_vec())
    }

    /// Everything that is wrong with the records.
    pub(super) fn check_records(&self) -> Vec<Corrupt> {
        let (mut found, mut places, mut stored) = (Vec::new(), Vec::new(), Vec::new());
        let mut at = self.header().schema.load(Ordering::Acquire);
        let mut left = self.most_records();
        while at != 0 {
            left -= 1;
            let Some(head) = self.head(at).filter(|_| left > 0) else {
                found.push(Corrupt { at, what: "the list of type records leads astray" });
                break;
            };
            match self.record_at(at, head) {
                Some(record) => {
                    places.push(at);
                    stored.push(StoredType { fingerprint: Self::fingerprint_of(head), record });
                }
                None => found.push(Corrupt { at, what: "a type record is in no block of its size" }),
            }
            at = head.next.load(Ordering::Relaxed);
        }
        found.extend(check_stored(&stored).into_iter().map(|(i, what)| Corrupt { at: places[i], what }));
        found
    }

    /// Every record, newest first.
    pub(crate) fn stored_types(&self) -> Vec<StoredType> {
        let mut all = Vec::new();
        self.records(|_, head| {
            all.push(Self::fingerprint_of(head));
            None::<()>
        });
        all.into_iter()
            .filter_map(|fingerprint| {
                Some(StoredType { fingerprint, record: self.stored_record(fingerprint)? })
            })
            .collect()
    }

    /// Where every record stands.
    pub(super) fn record_blocks(&self) -> Vec<u64> {
        let mut all = Vec::new();
        self.records(|at, _| {
            all.push(at);
            None::<()>
        });
        all
    }

    /// Stores the records of `T` and of the types it is made of, where they are missing. Under the directory lock.
    pub(super) fn store_schema<T: ShmSafe>(&self) -> Result<()> {
        let id = T::type_info().id;
        if self.known_types.load().contains(&id) {
            return Ok(());
        }
        // The parts before the whole: a reader that finds a type finds what it is made of.
        for stored in encode_stored::<T>().into_iter().rev() {
            if self
                .records(|_, head| (Self::fingerprint_of(head) == stored.fingerprint).then_some(()))
                .is_none()
            {
                self.store_record(&stored)?;
            }
        }
        let _storing = self.hold();
        let mut known = HashSet::clone(&self.known_types.load());
        known.insert(id);
        self.known_types.store(Arc::new(known));
        Ok(())
    }

    fn store_record(&self, stored: &StoredType) -> Result<()> {
        let size = size_of::<Head>() + stored.record.len();
        let layout = Layout::from_size_align(size, 8).expect("a record is small");
        let block = self.access().allocate(layout)?.cast::<u8>();
        let [low, high] = halves(stored.fingerprint);
        // SAFETY: a fresh block of that size, aligned to 8.
        unsafe {
            block.cast::<Head>().write(Head {
                next: AtomicU64::new(self.header().schema.load(Ordering::Relaxed)),
                len: AtomicU64::new(stored.record.len() as u64),
                fingerprint: [AtomicU64::new(low), AtomicU64::new(high)],
            });
            let bytes = block.as_ptr().add(size_of::<Head>());
            bytes.copy_from_nonoverlapping(stored.record.as_ptr(), stored.record.len());
        }
        crash_point!("schema.written");
        // CRASH schema: a death before this store leaks the block.
        // SYNC schema: Release, pairs with the Acquire in `records`.
        self.header().schema.store(self.offset_of(block), Ordering::Release);
        crash_point!("schema.linked");
        Ok(())
    }
}

#[cfg(test)]
pub(crate) fn schema_head_layout() -> crate::format_test::StoredLayout {
    crate::format_test::stored_layout!(Head { next, len, fingerprint })
}
