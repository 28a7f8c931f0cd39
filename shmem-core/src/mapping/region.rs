//! [`MappedRegion`]: mapped bytes, and how to copy them while others change them.
//!
//! This file needs `unsafe`: it reads and writes mapped memory.

use crate::sys::{file, memory};
use memmap2::{Advice, MmapOptions, MmapRaw};
use std::fs::File;
use std::io;
use std::ops::{Bound, RangeBounds};
use std::ptr;
use std::sync::atomic::{AtomicU64, Ordering};

/// How a [`MappedRegion`] may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MapMode {
    /// Read only.
    #[doc(alias = "read_only")]
    ReadOnly,
    /// Read and written; what is written is seen by everybody who maps the file.
    #[doc(alias = "read_write")]
    ReadWrite,
    /// Read and written; what is written is this region's own and never reaches the file. What others write to a
    /// page is seen until this region writes to it.
    #[doc(alias = "copy_on_write")]
    CopyOnWrite,
}

/// What a program expects to do with a [`MappedRegion`]; see `madvise(2)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RegionAdvice {
    /// Nothing special.
    Normal,
    /// Pages are used in order: read ahead much.
    Sequential,
    /// Pages are used in no order: do not read ahead.
    Random,
    /// Pages are used soon: read them now.
    WillNeed,
}

/// Mapped bytes of a file, of shared memory, or of memory shared with later children.
///
/// Other processes may change the bytes at any time, so there are no slices but `unsafe` ones;
/// [`read_at`](Self::read_at) and [`write_at`](Self::write_at) copy by atomic words, which is no data race whatever
/// the others do (but may see half of what another is writing). Dropping the region unmaps it.
///
/// If somebody cuts the file off below the region, touching the lost pages is SIGBUS; so is writing to a hole of a
/// file on a full disk. [`SharedMemory::set_len`](crate::SharedMemory::set_len) leaves no holes.
#[doc(alias = "mapped_region")]
#[derive(Debug)]
pub struct MappedRegion {
    map: MmapRaw,
    mode: MapMode,
}

/// Bytes in the words by which regions are copied.
const WORD: usize = size_of::<u64>();

impl MappedRegion {
    pub(super) fn map(file: &File, range: impl RangeBounds<u64>, mode: MapMode) -> io::Result<Self> {
        let file_len = file::status(file)?.len;
        let (start, end) = resolve(range, file_len)?;
        if start == end {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "an empty range cannot be mapped"));
        }
        let len = usize::try_from(end - start).map_err(io::Error::other)?;
        let mut options = MmapOptions::new();
        options.offset(start).len(len);
        let map = match mode {
            MapMode::ReadOnly => options.map_raw_read_only(file)?,
            MapMode::ReadWrite => options.map_raw(file)?,
            // SAFETY: no reference into the mapping is formed: it is turned into raw memory at once.
            MapMode::CopyOnWrite => unsafe { options.map_copy(file)? }.into(),
        };
        Ok(MappedRegion { map, mode })
    }

    /// Zeroed memory without a file, shared with the children this process forks.
    ///
    /// # Errors
    /// `InvalidInput` for no bytes at all; the system's.
    #[doc(alias = "anonymous_shared_memory")]
    pub fn anonymous(len: usize) -> io::Result<Self> {
        if len == 0 {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "an empty range cannot be mapped"));
        }
        let map = MmapOptions::new().len(len).map_anon()?.into();
        Ok(MappedRegion { map, mode: MapMode::ReadWrite })
    }

    /// The first byte. Valid for reads, and for writes unless the region is read-only, while the region lives.
    #[doc(alias = "get_address")]
    pub fn as_ptr(&self) -> *mut u8 {
        self.map.as_mut_ptr()
    }

    /// How many bytes are mapped; never 0.
    #[allow(clippy::len_without_is_empty, reason = "a region is never empty")]
    #[doc(alias = "get_size")]
    pub fn len(&self) -> usize {
        self.map.len()
    }

    /// How the region may be used.
    pub fn mode(&self) -> MapMode {
        self.mode
    }

    /// The bytes.
    ///
    /// # Safety
    /// 1. For as long as the slice is used nobody writes to the region, in this process or another, and nobody
    ///    cuts the file off.
    pub unsafe fn as_slice(&self) -> &[u8] {
        // SAFETY: mapped for as long as `self`; 1.
        unsafe { std::slice::from_raw_parts(self.as_ptr(), self.len()) }
    }

    /// The bytes, to be written.
    ///
    /// # Panics
    /// If the region is read-only.
    ///
    /// # Safety
    /// 1. For as long as the slice is used nobody else reads or writes the region, in this process or another, and
    ///    nobody cuts the file off.
    pub unsafe fn as_mut_slice(&mut self) -> &mut [u8] {
        assert!(self.mode != MapMode::ReadOnly, "the region is read-only");
        // SAFETY: mapped writable for as long as `self`; 1.
        unsafe { std::slice::from_raw_parts_mut(self.as_ptr(), self.len()) }
    }

    /// Copies the bytes from `offset` on into a buffer.
    ///
    /// # Errors
    /// `InvalidInput` if the buffer reaches beyond the region; nothing is copied then.
    pub fn read_at(&self, offset: usize, into: &mut [u8]) -> io::Result<()> {
        self.check(offset, into.len())?;
        self.words(offset, into.len(), |word, skip, range| {
            let bytes = word.load(Ordering::Relaxed).to_ne_bytes();
            let n = range.len();
            into[range].copy_from_slice(&bytes[skip..skip + n]);
        });
        Ok(())
    }

    /// Copies bytes to `offset` and on. Each aligned 8-byte word is written at once.
    ///
    /// # Errors
    /// `InvalidInput` if the bytes reach beyond the region, `PermissionDenied` if it is read-only; nothing is
    /// written then.
    pub fn write_at(&self, offset: usize, from: &[u8]) -> io::Result<()> {
        self.check(offset, from.len())?;
        if self.mode == MapMode::ReadOnly {
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, "the region is read-only"));
        }
        self.words(offset, from.len(), |word, skip, range| {
            let from = &from[range];
            if let Ok(whole) = from.try_into() {
                word.store(u64::from_ne_bytes(whole), Ordering::Relaxed);
                return;
            }
            // The word's other bytes may be another writer's.
            let _ = word.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |old| {
                let mut bytes = old.to_ne_bytes();
                bytes[skip..skip + from.len()].copy_from_slice(from);
                Some(u64::from_ne_bytes(bytes))
            });
        });
        Ok(())
    }

    /// A copy of all bytes.
    pub fn to_vec(&self) -> Vec<u8> {
        let mut bytes = vec![0; self.len()];
        self.read_at(0, &mut bytes).expect("the buffer is as long as the region");
        bytes
    }

    fn check(&self, offset: usize, len: usize) -> io::Result<()> {
        match offset.checked_add(len) {
            Some(end) if end <= self.len() => Ok(()),
            _ => Err(io::Error::new(io::ErrorKind::InvalidInput, "the range reaches beyond the region")),
        }
    }

    /// Calls `each` for every aligned word that overlaps `len` bytes from `offset`: with the word, where in it the
    /// bytes begin, and which of the bytes they are.
    fn words(
        &self,
        offset: usize,
        len: usize,
        mut each: impl FnMut(&AtomicU64, usize, std::ops::Range<usize>),
    ) {
        let start = self.as_ptr().addr() + offset;
        let mut done = 0;
        while done < len {
            let skip = (start + done) % WORD;
            let n = (WORD - skip).min(len - done);
            // Where the region begins or ends inside a word, the rest of it lies in the same mapped page.
            let word = self.as_ptr().wrapping_add(offset + done).wrapping_sub(skip);
            let word = ptr::with_exposed_provenance_mut::<u64>(word.expose_provenance());
            // SAFETY: aligned; mapped while `self` is borrowed; like all of the region it is only accessed as
            // atomic words, but by unsafe code.
            each(unsafe { AtomicU64::from_ptr(word) }, skip, done..done + n);
            done += n;
        }
    }

    /// Writes what has changed in a range to the file and waits for the device; `..` is all of it. A region that
    /// is no file's has nothing to wait for.
    ///
    /// # Errors
    /// `InvalidInput` if the range reaches beyond the region; the system's.
    pub fn flush(&self, range: impl RangeBounds<u64>) -> io::Result<()> {
        let (start, end) = resolve(range, self.len() as u64)?;
        self.map.flush_range(start as usize, (end - start) as usize)
    }

    /// Begins to write what has changed in a range to the file; does not wait.
    ///
    /// # Errors
    /// As for [`flush`](Self::flush).
    pub fn flush_async(&self, range: impl RangeBounds<u64>) -> io::Result<()> {
        let (start, end) = resolve(range, self.len() as u64)?;
        self.map.flush_async_range(start as usize, (end - start) as usize)
    }

    /// Tells the system how the region will be used. It changes speed, never what is read.
    ///
    /// # Errors
    /// The system's.
    pub fn advise(&self, advice: RegionAdvice) -> io::Result<()> {
        self.map.advise(match advice {
            RegionAdvice::Normal => Advice::Normal,
            RegionAdvice::Sequential => Advice::Sequential,
            RegionAdvice::Random => Advice::Random,
            RegionAdvice::WillNeed => Advice::WillNeed,
        })
    }

    /// The size of a page of memory in bytes.
    #[doc(alias = "get_page_size")]
    pub fn page_size() -> usize {
        memory::page_size()
    }
}

/// The first byte of a range and the one behind its last, both in `0..=len`.
fn resolve(range: impl RangeBounds<u64>, len: u64) -> io::Result<(u64, u64)> {
    let start = match range.start_bound() {
        Bound::Included(&n) => Some(n),
        Bound::Excluded(&n) => n.checked_add(1),
        Bound::Unbounded => Some(0),
    };
    let end = match range.end_bound() {
        Bound::Included(&n) => n.checked_add(1),
        Bound::Excluded(&n) => Some(n),
        Bound::Unbounded => Some(len),
    };
    match (start, end) {
        (Some(start), Some(end)) if start <= end && end <= len => Ok((start, end)),
        _ => Err(io::Error::new(io::ErrorKind::InvalidInput, "the range reaches beyond the end")),
    }
}
