//! [`FileMapping`], [`SharedMemory`], [`MappedRegion`]: plain bytes, shared, without a segment's structure.
//!
//! This file needs `unsafe`: it reads and writes mapped memory.

use super::place::{Place, remove};
use crate::error::OpenError;
use crate::sys::{Errno, file, memory};
use memmap2::{Advice, MmapOptions, MmapRaw};
use std::fs::File;
use std::io;
use std::ops::{Bound, RangeBounds};
use std::path::Path;
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

/// An existing file that can be mapped: the lowest level, without names, types or checks.
///
/// [`Segment`](crate) gives structure and safety; this gives bytes. Symbolic links are followed and any owner is
/// accepted, as with [`File`]; a file that is no regular file is refused.
///
/// # Examples
/// ```
/// use shmem_core::{FileMapping, MapMode};
///
/// # let path = std::env::temp_dir().join(format!("shmem-doc-file-{}", std::process::id()));
/// std::fs::write(&path, vec![0; 1 << 20])?;
/// let mapping = FileMapping::open(&path, MapMode::ReadWrite)?;
/// let region = mapping.map(.., MapMode::ReadWrite)?;
/// region.write_at(500, b"hello")?;
/// region.flush(..)?;
/// assert_eq!(&std::fs::read(&path)?[500..505], b"hello");
/// # std::fs::remove_file(&path)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[doc(alias = "file_mapping")]
#[derive(Debug)]
pub struct FileMapping {
    file: File,
    name: String,
}

impl FileMapping {
    /// Opens the file at `path`, for writing too if `mode` is [`MapMode::ReadWrite`]. Two system calls.
    ///
    /// # Errors
    /// [`OpenError::NotFound`], [`OpenError::NotAFile`], [`OpenError::PermissionDenied`],
    /// [`OpenError::InvalidName`], [`OpenError::Io`].
    pub fn open(path: impl AsRef<Path>, mode: MapMode) -> Result<Self, OpenError> {
        let path = path.as_ref();
        let place = Place::file(path)?;
        let fd =
            file::open_following(path, mode == MapMode::ReadWrite).map_err(|e| place.error("open", e))?;
        refuse_special(&place, &fd)?;
        Ok(FileMapping { file: fd.into(), name: place.display() })
    }

    /// The path it was opened with.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The length of the file in bytes now. One system call.
    ///
    /// # Errors
    /// The system's.
    pub fn len(&self) -> io::Result<u64> {
        Ok(file::status(&self.file)?.len)
    }

    /// Whether the file is empty now. One system call.
    ///
    /// # Errors
    /// The system's.
    pub fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }

    /// Maps a range of the file's bytes; `..` is the whole file. The range need not begin at a page. The region
    /// lives on when this value is dropped. Two system calls.
    ///
    /// # Errors
    /// `InvalidInput` for an empty range and for one that reaches beyond the end of the file;
    /// `PermissionDenied` for [`MapMode::ReadWrite`] of a file that was opened read-only.
    pub fn map(&self, range: impl RangeBounds<u64>, mode: MapMode) -> io::Result<MappedRegion> {
        MappedRegion::map(&self.file, range, mode)
    }

    /// The file itself.
    pub fn as_file(&self) -> &File {
        &self.file
    }

    /// Removes the file at `path`; whether there was one. Whoever has it mapped goes on undisturbed.
    ///
    /// # Errors
    /// [`OpenError::PermissionDenied`], [`OpenError::NotAFile`], [`OpenError::InvalidName`], [`OpenError::Io`].
    pub fn remove(path: impl AsRef<Path>) -> Result<bool, OpenError> {
        remove(&Place::file(path.as_ref())?)
    }
}

/// A named piece of shared memory as plain bytes: `shm_open` in a safe form.
///
/// A new one is empty; [`set_len`](Self::set_len) gives it its size. Dropping the value closes it; the name stays
/// until it is [removed](Self::remove). Another user's object can be opened if its permission bits allow it:
/// look at [`owner`](Self::owner) before you believe what it holds.
///
/// # Examples
/// ```
/// use shmem_core::{MapMode, RemoveOnDrop, SharedMemory};
///
/// let name = format!("doc-shared-{}", std::process::id());
/// let _remove = RemoveOnDrop::shared(&name)?;
/// let memory = SharedMemory::create(&name, 0o600)?;
/// memory.set_len(4096)?;
/// memory.map(.., MapMode::ReadWrite)?.write_at(0, b"ping")?;
///
/// let region = SharedMemory::open_read_only(&name)?.map(..4, MapMode::ReadOnly)?;
/// assert_eq!(region.to_vec(), b"ping");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[doc(alias = "shared_memory_object")]
#[doc(alias = "shm_open")]
#[derive(Debug)]
pub struct SharedMemory {
    file: File,
    name: String,
}

impl SharedMemory {
    /// Creates an empty object with exactly the permission bits `mode`: no umask is applied.
    ///
    /// # Errors
    /// [`OpenError::AlreadyExists`], [`OpenError::InvalidName`], [`OpenError::PermissionDenied`],
    /// [`OpenError::Io`].
    ///
    /// # Crash safety
    /// A process that dies inside may leave an empty object with the bits 0600.
    #[doc(alias = "create_only")]
    pub fn create(name: &str, mode: u32) -> Result<Self, OpenError> {
        let place = Place::shared(name)?;
        Self::create_at(&place, mode)
    }

    fn create_at(place: &Place, mode: u32) -> Result<Self, OpenError> {
        let path = place.path().expect("a shared place has a path");
        let fd = file::create_new(&path).map_err(|e| place.error("create", e))?;
        if let Err(e) = file::set_mode(&fd, mode) {
            let _ = file::unlink(&path);
            return Err(place.error("set the mode of", e));
        }
        Ok(SharedMemory { file: fd.into(), name: place.display() })
    }

    /// Opens an object for reading and writing.
    ///
    /// # Errors
    /// [`OpenError::NotFound`], [`OpenError::InvalidName`], [`OpenError::PermissionDenied`],
    /// [`OpenError::SymbolicLink`], [`OpenError::NotAFile`], [`OpenError::Io`].
    #[doc(alias = "open_only")]
    pub fn open(name: &str) -> Result<Self, OpenError> {
        Self::open_at(&Place::shared(name)?, true)
    }

    /// Opens an object for reading.
    ///
    /// # Errors
    /// As for [`open`](Self::open).
    pub fn open_read_only(name: &str) -> Result<Self, OpenError> {
        Self::open_at(&Place::shared(name)?, false)
    }

    fn open_at(place: &Place, writable: bool) -> Result<Self, OpenError> {
        let path = place.path().expect("a shared place has a path");
        let fd = file::open(&path, writable).map_err(|e| place.error("open", e))?;
        refuse_special(place, &fd)?;
        Ok(SharedMemory { file: fd.into(), name: place.display() })
    }

    /// Opens an object, or creates an empty one.
    ///
    /// # Errors
    /// As for [`open`](Self::open) and [`create`](Self::create), but neither `NotFound` nor `AlreadyExists`.
    pub fn open_or_create(name: &str, mode: u32) -> Result<Self, OpenError> {
        let place = Place::shared(name)?;
        loop {
            match Self::open_at(&place, true) {
                Err(OpenError::NotFound { .. }) => {}
                other => return other,
            }
            match Self::create_at(&place, mode) {
                Err(OpenError::AlreadyExists { .. }) => {}
                other => return other,
            }
        }
    }

    /// Its name, without the leading `/`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its length in bytes now. One system call.
    ///
    /// # Errors
    /// The system's.
    #[doc(alias = "get_size")]
    pub fn len(&self) -> io::Result<u64> {
        Ok(file::status(&self.file)?.len)
    }

    /// Whether it is empty now. One system call.
    ///
    /// # Errors
    /// The system's.
    pub fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }

    /// The user it belongs to. One system call.
    ///
    /// # Errors
    /// The system's.
    pub fn owner(&self) -> io::Result<u32> {
        Ok(file::status(&self.file)?.owner)
    }

    /// Its permission bits. One system call.
    ///
    /// # Errors
    /// The system's.
    pub fn mode(&self) -> io::Result<u32> {
        Ok(file::status(&self.file)?.mode)
    }

    /// Makes it `len` bytes long. What is added is real memory, zeroed: touching it later cannot fail. What is
    /// cut off is lost, and touching it through a region is SIGBUS, in every process.
    ///
    /// # Errors
    /// [`OpenError::NoSpace`], [`OpenError::FileSizeLimit`], [`OpenError::Io`]; the length is as before then.
    #[doc(alias = "truncate")]
    pub fn set_len(&self, len: u64) -> Result<(), OpenError> {
        let place = Place::Shared(self.name.clone());
        let old = file::status(&self.file).map_err(|e| place.error("inspect", e))?.len;
        let limit_bytes = file::file_size_limit();
        if len > old && len > limit_bytes {
            return Err(OpenError::FileSizeLimit { name: self.name.clone(), wanted_bytes: len, limit_bytes });
        }
        let done = loop {
            let done = match len > old {
                true => file::allocate(&self.file, old, len - old),
                false => file::truncate(&self.file, len),
            };
            if done != Err(Errno::INTR) {
                break done;
            }
        };
        done.map_err(|e| match e {
            Errno::NOSPC => OpenError::NoSpace { name: self.name.clone(), wanted_bytes: len - old },
            e => place.io("set the length of", e),
        })
    }

    /// Maps a range of its bytes; `..` is all of it. The region lives on when this value is dropped and when the
    /// name is removed. Two system calls.
    ///
    /// # Errors
    /// As for [`FileMapping::map`].
    pub fn map(&self, range: impl RangeBounds<u64>, mode: MapMode) -> io::Result<MappedRegion> {
        MappedRegion::map(&self.file, range, mode)
    }

    /// The object as a file.
    pub fn as_file(&self) -> &File {
        &self.file
    }

    /// Removes the name; whether there was one. Whoever has the object open goes on undisturbed, and the name can
    /// be used again at once.
    ///
    /// # Errors
    /// [`OpenError::InvalidName`], [`OpenError::PermissionDenied`], [`OpenError::NotAFile`], [`OpenError::Io`].
    pub fn remove(name: &str) -> Result<bool, OpenError> {
        remove(&Place::shared(name)?)
    }
}

fn refuse_special(place: &Place, fd: impl std::os::fd::AsFd) -> Result<(), OpenError> {
    match file::status(fd).map_err(|e| place.error("inspect", e))?.special() {
        Some(kind) => Err(OpenError::NotAFile { name: place.display(), kind }),
        None => Ok(()),
    }
}

/// Mapped bytes of a file, of shared memory, or of memory shared with later children.
///
/// Other processes may change the bytes at any time, so there are no slices but `unsafe` ones;
/// [`read_at`](Self::read_at) and [`write_at`](Self::write_at) copy by atomic words, which is no data race whatever
/// the others do (but may see half of what another is writing). Dropping the region unmaps it.
///
/// If somebody cuts the file off below the region, touching the lost pages is SIGBUS; so is writing to a hole of a
/// file on a full disk. [`SharedMemory::set_len`] leaves no holes.
#[doc(alias = "mapped_region")]
#[derive(Debug)]
pub struct MappedRegion {
    map: MmapRaw,
    mode: MapMode,
}

/// Bytes in the words by which regions are copied.
const WORD: usize = size_of::<u64>();

impl MappedRegion {
    fn map(file: &File, range: impl RangeBounds<u64>, mode: MapMode) -> io::Result<Self> {
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

#[cfg(test)]
mod tests;
