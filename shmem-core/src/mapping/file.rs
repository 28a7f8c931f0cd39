//! [`MappedFile`]: a segment's file, created or opened, checked and mapped.
//!
//! This file needs `unsafe`: it gives out mapped memory.

use super::commit::Commit;
use super::draft::{Draft, Unpublished};
use super::place::Place;
use super::storage::Storage;
use super::superblock::{
    DESCRIPTOR_BYTES, FixedHeader, MAGIC, MAX_RESERVED, MIN_CAPACITY, OS_PAGE, READY, STATE_AT, State,
    bitmap_bytes,
};
use crate::crash::crash_point;
use crate::error::{AllocError, Corrupt, OpenError};
use crate::primitive::Ordering;
use crate::sys::{Errno, file, memory, process};
use std::io;
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::ptr::{self, NonNull};
use std::sync::Arc;

/// How often `open_or_create` may find the name taken when it creates and free when it opens: a file system on
/// which that stays so (a stale network cache) must not hang it.
const OPEN_OR_CREATE_ROUNDS: u32 = 10_000;

/// What a new segment shall be.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CreateSpec {
    /// Bytes of heap to begin with; rounded up to heap pages and to [`MIN_CAPACITY`].
    pub(crate) capacity: u64,
    /// Bytes of heap the segment may grow to; rounded likewise.
    pub(crate) max_capacity: u64,
    /// The permission bits, exactly: no umask is applied.
    pub(crate) mode: u32,
    /// Whether all of `capacity`, and the heap's tables for it, is committed at once.
    pub(crate) commit_all: bool,
}

/// The access an open asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Want {
    ReadWrite,
    ReadOnly,
}

impl Want {
    fn writable(self) -> bool {
        self == Want::ReadWrite
    }
}

/// Formats what the layers above keep in a new segment, before anybody else can see it.
pub(crate) type Build<'a> = &'a mut dyn FnMut(&MappedFile) -> Result<(), OpenError>;

/// A segment's file, mapped once as a whole: all the address space it may ever grow to.
///
/// # Invariants
/// 1. `base` is a shared mapping of `header.end` bytes of `storage`'s file, writable iff `writable`, until the
///    value is dropped.
/// 2. The first `header.metadata_bytes()` bytes of the file exist, and in a file made here they are committed.
/// 3. `header` passed [`FixedHeader::validate`].
#[derive(Debug)]
pub(crate) struct MappedFile {
    storage: Arc<Storage>,
    base: NonNull<u8>,
    header: FixedHeader,
    #[cfg_attr(not(test), expect(dead_code, reason = "tests ask"))]
    writable: bool,
    created: bool,
    place: Place,
}

// SAFETY: the mapping belongs to the process, not to a thread; its bytes are reached through atomics or unsafe code.
unsafe impl Send for MappedFile {}
// SAFETY: as above.
unsafe impl Sync for MappedFile {}

impl MappedFile {
    /// Creates a segment at `place`. The file is built out of sight, with what `build` does to it, and gets its
    /// name whole.
    ///
    /// # Errors
    /// [`OpenError::AlreadyExists`], [`OpenError::InvalidSize`], [`OpenError::NoSpace`],
    /// [`OpenError::FileSizeLimit`], [`OpenError::NoAddressSpace`], [`OpenError::PermissionDenied`],
    /// [`OpenError::Io`], and what `build` returns. Nothing is left then.
    ///
    /// # Crash safety
    /// A creator that dies leaves no name. Where the file system has no unnamed files it leaves a temporary one,
    /// which the next creator of the same name removes.
    pub(crate) fn create(place: Place, spec: &CreateSpec, build: Build<'_>) -> Result<Self, OpenError> {
        match Self::try_create(&place, spec, build, false) {
            Err(Unpublished::Unlinkable) => match Self::try_create(&place, spec, build, true) {
                Err(Unpublished::Unlinkable) => Err(place.io("publish", Errno::NOENT)),
                Err(Unpublished::Failed(e)) => Err(e),
                Ok(file) => Ok(file),
            },
            Err(Unpublished::Failed(e)) => Err(e),
            Ok(file) => Ok(file),
        }
    }

    fn try_create(
        place: &Place,
        spec: &CreateSpec,
        build: Build<'_>,
        named: bool,
    ) -> Result<Self, Unpublished> {
        let header = spec.header(place).map_err(Unpublished::Failed)?;
        let (draft, fd) = Draft::new(place, spec.mode, named).map_err(Unpublished::Failed)?;
        let file = Self::format(place, spec, header, fd, build).map_err(Unpublished::Failed)?;
        // CRASH create: dead before this, the creator leaves no name; dead behind it, a whole segment.
        draft.publish(place, file.storage.fd())?;
        Ok(file)
    }

    /// Makes an empty file that only we know a segment.
    fn format(
        place: &Place,
        spec: &CreateSpec,
        header: FixedHeader,
        fd: OwnedFd,
        build: Build<'_>,
    ) -> Result<Self, OpenError> {
        let storage = Storage::new(fd, true);
        let commit = |Range { start, end }: Range<u64>| {
            storage.commit(start, end - start).map_err(|e| place.commit_error(e, end))
        };
        commit(0..header.metadata_bytes())?;
        let capacity = spec.rounded_capacity(&header);
        if spec.commit_all {
            let pages = capacity >> header.heap_page_shift;
            let table = |at: u64, len: u64| at..(at + len.next_multiple_of(OS_PAGE));
            commit(table(header.descriptors_at, pages * DESCRIPTOR_BYTES))?;
            commit(table(header.bitmaps_at, pages * bitmap_bytes(header.heap_page_shift)))?;
            commit(header.data_at..header.data_at + capacity)?;
        }
        crash_point!("create.committed");
        let mut file = Self::map(place.clone(), storage, header, true)?;
        crash_point!("create.mapped");
        if let Place::File(_) = place {
            // Else the first touch of each page would read, and zero, megabytes of holes around it.
            // SAFETY: mapped just now.
            unsafe { memory::expect_nothing_to_read(file.base, file.reserved_bytes()) };
        }
        file.created = true;
        // SAFETY: the page is committed and nobody else knows the file.
        unsafe { ptr::copy_nonoverlapping(ptr::from_ref(&header), file.base.as_ptr().cast(), 1) };
        file.state().capacity.store(capacity, Ordering::Relaxed);
        crash_point!("create.header");
        build(&file)?;
        crash_point!("create.formatted");
        // SYNC ready: Release, so that whoever sees READY sees a whole segment; pairs with the load in `check_state`.
        file.state().ready.store(READY, Ordering::Release);
        crash_point!("create.ready");
        Ok(file)
    }

    /// Opens the segment at `place`. At once: it waits for nobody.
    ///
    /// # Errors
    /// By what stands there: [`OpenError::NotFound`], [`OpenError::NotAFile`], [`OpenError::SymbolicLink`],
    /// [`OpenError::WrongOwner`], [`OpenError::PermissionDenied`], [`OpenError::NotASegment`],
    /// [`OpenError::Truncated`], [`OpenError::Incompatible`], [`OpenError::FormatVersion`],
    /// [`OpenError::Damaged`]; and [`OpenError::NoAddressSpace`], [`OpenError::Io`].
    pub(crate) fn open(place: Place, want: Want) -> Result<Self, OpenError> {
        let Some(path) = place.path() else {
            return Err(OpenError::NotFound { name: place.display() });
        };
        if let Place::File(path) = &place {
            // Opening a device may do something to it.
            let status = file::status_at(path).map_err(|e| place.error("open", e))?;
            if let Some(kind) = status.special().filter(|_| !status.is_symlink()) {
                return Err(OpenError::NotAFile { name: place.display(), kind });
            }
        }
        let fd = file::open(&path, want.writable()).map_err(|e| place.error("open", e))?;
        drop(path);
        Self::open_checked(place, fd, want)
    }

    /// Opens the segment at `place`, or creates it if there is none. Of any number of processes that do so at the
    /// same time exactly one creates it. ([`create`](Self::create) always makes anonymous memory.)
    ///
    /// # Errors
    /// As for [`open`](Self::open) and [`create`](Self::create), but not `NotFound`, and `AlreadyExists` only if
    /// others create and remove the segment as fast as this process can look.
    pub(crate) fn open_or_create(
        place: Place,
        spec: &CreateSpec,
        build: Build<'_>,
    ) -> Result<Self, OpenError> {
        let mut rounds = 0;
        loop {
            match Self::open(place.clone(), Want::ReadWrite) {
                Err(OpenError::NotFound { .. }) => {}
                other => return other,
            }
            match Self::create(place.clone(), spec, build) {
                // Another creator was faster; if its segment is removed before we open it, we create again.
                Err(OpenError::AlreadyExists { .. }) if rounds < OPEN_OR_CREATE_ROUNDS => rounds += 1,
                other => return other,
            }
        }
    }

    /// Opens the segment in an inherited or received descriptor, under an open file description of its own.
    ///
    /// # Errors
    /// As for [`open`](Self::open). The permission bits of the file are asked anew, and `/proc` must be mounted.
    pub(crate) fn open_fd(fd: impl AsFd, want: Want) -> Result<Self, OpenError> {
        let place = Place::Anonymous;
        let failed = |e| place.error("open", e);
        // A device or a FIFO is not opened a second time.
        if let Some(kind) = file::status(&fd).map_err(failed)?.special() {
            return Err(OpenError::NotAFile { name: place.display(), kind });
        }
        let own = match file::reopen(&fd, want.writable()) {
            Err(Errno::NOENT) => return Err(place.io("open", Errno::NOENT)),
            other => other.map_err(failed)?,
        };
        Self::open_checked(place, own, want)
    }

    /// Checks everything that can be checked before the file is mapped, so by reads that cannot fault.
    fn open_checked(place: Place, fd: OwnedFd, want: Want) -> Result<Self, OpenError> {
        let name = || place.display();
        let status = file::status(&fd).map_err(|e| place.error("inspect", e))?;
        if let Some(kind) = status.special() {
            return Err(OpenError::NotAFile { name: name(), kind });
        }
        // The superuser may look at everybody's segments: it can read and change them anyway.
        let expected = process::effective_user();
        if status.owner != expected && expected != 0 {
            return Err(OpenError::WrongOwner { name: name(), owner: status.owner, expected });
        }
        let mut bytes = [0; size_of::<FixedHeader>()];
        let read = file::read_at(&fd, &mut bytes, 0).map_err(|e| place.error("read", e))?;
        let not_a_segment = |why| Err(OpenError::NotASegment { name: name(), why });
        let truncated = |expected_bytes| {
            Err(OpenError::Truncated { name: name(), found_bytes: status.len, expected_bytes })
        };
        if read == 0 {
            return not_a_segment("it is empty");
        }
        if bytes[..read].iter().all(|&b| b == 0) {
            return not_a_segment("it begins with zeros");
        }
        if read < bytes.len() {
            let known = read.min(MAGIC.len());
            return match bytes[..known] == MAGIC[..known] {
                true => truncated(OS_PAGE),
                false => not_a_segment("it is too short, and does not begin with the magic number"),
            };
        }
        let header: FixedHeader = bytemuck::pod_read_unaligned(&bytes);
        header.validate(&name())?;
        if status.len < header.metadata_bytes() {
            return truncated(header.metadata_bytes());
        }
        let writable = want.writable();
        let file = Self::map(place.clone(), Storage::new(fd, writable), header, writable)?;
        file.check_state()?;
        Ok(file)
    }

    /// Checks the mutable state, through the mapping: it is read as atomics.
    fn check_state(&self) -> Result<(), OpenError> {
        let (state, header) = (self.state(), &self.header);
        // SYNC ready: pairs with the store in `format`.
        match state.ready.load(Ordering::Acquire) {
            READY => {}
            0 => {
                let why = "its creation was never finished";
                return Err(OpenError::NotASegment { name: self.name(), why });
            }
            _ => return Err(self.damaged(STATE_AT, "the state word is neither 0 nor READY")),
        }
        let capacity = state.capacity.load(Ordering::Acquire);
        if !(MIN_CAPACITY..=header.max_capacity).contains(&capacity)
            || !capacity.is_multiple_of(1 << header.heap_page_shift)
        {
            let at = STATE_AT + std::mem::offset_of!(State, capacity) as u64;
            return Err(self.damaged(at, "the capacity makes no sense"));
        }
        Ok(())
    }

    fn damaged(&self, at: u64, what: &'static str) -> OpenError {
        OpenError::Damaged { name: self.name(), source: Corrupt { at, what } }
    }

    fn map(place: Place, storage: Storage, header: FixedHeader, writable: bool) -> Result<Self, OpenError> {
        let base = memory::map_shared(storage.fd(), header.end as usize, writable).map_err(|e| match e {
            Errno::NOMEM | Errno::AGAIN => {
                OpenError::NoAddressSpace { name: place.display(), wanted_bytes: header.end }
            }
            e => place.error("map", e),
        })?;
        Ok(MappedFile { storage: Arc::new(storage), base, header, writable, created: false, place })
    }

    /// The mapping's first byte; its provenance is exposed.
    pub(crate) fn base(&self) -> NonNull<u8> {
        self.base
    }

    /// What was fixed when the segment was created, as it was checked: not read from shared memory again.
    pub(crate) fn header(&self) -> &FixedHeader {
        &self.header
    }

    /// The segment's mutable state. In a read-only mapping it must not be written.
    pub(crate) fn state(&self) -> &State {
        // SAFETY: the first page is mapped and exists (1, 2); it holds atomics, valid whatever their bits, and is
        // aligned.
        unsafe { self.base.add(STATE_AT as usize).cast().as_ref() }
    }

    /// Whether this value created the segment, rather than opened it.
    pub(crate) fn created(&self) -> bool {
        self.created
    }

    /// The file.
    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.storage.fd()
    }

    /// What errors call the segment.
    pub(crate) fn name(&self) -> String {
        self.place.display()
    }

    /// The bytes of address space the mapping takes.
    pub(crate) fn reserved_bytes(&self) -> usize {
        self.header.end as usize
    }

    /// The length of the file now: no byte behind it may be touched. One system call.
    pub(crate) fn file_len(&self) -> io::Result<u64> {
        self.storage.len()
    }

    /// The file, with its commits and byte locks; it outlives the mapping.
    pub(crate) fn storage(&self) -> &Arc<Storage> {
        &self.storage
    }

    /// What gives the segment memory; it outlives the mapping.
    pub(crate) fn committer(&self) -> Arc<dyn Commit> {
        self.storage.clone()
    }

    /// What the failure to commit memory means to somebody who creates or opens this segment; `end` is where the
    /// commit would have ended.
    pub(crate) fn commit_error(&self, error: AllocError, end: u64) -> OpenError {
        self.place.commit_error(error, end)
    }

    /// Writes what has changed in a range of the segment to its file and waits for the device; memory that is no
    /// file on a device has none to wait for. The range is widened to pages and cut at the end of the mapping.
    ///
    /// # Errors
    /// The system's.
    pub(crate) fn flush(&self, range: Range<u64>) -> io::Result<()> {
        let start = range.start / OS_PAGE * OS_PAGE;
        let end = range.end.min(self.header.end);
        if start >= end {
            return Ok(());
        }
        // SAFETY: inside the mapping (1), from a page's first byte.
        unsafe { memory::sync(self.base.add(start as usize), (end - start) as usize) }
            .map_err(io::Error::from)
    }
}

impl Drop for MappedFile {
    /// Takes the mapping away. The layers above have taken it out of the registry before.
    fn drop(&mut self) {
        // SAFETY: 1; whoever hands out references into the mapping keeps this value.
        unsafe { memory::unmap(self.base, self.header.end as usize) };
    }
}

impl CreateSpec {
    fn header(&self, place: &Place) -> Result<FixedHeader, OpenError> {
        let invalid = |asked_bytes, why| Err(OpenError::InvalidSize { asked_bytes, why });
        if self.capacity == 0 {
            return invalid(0, "a segment cannot be empty");
        }
        if self.max_capacity < self.capacity {
            return invalid(self.max_capacity, "the largest size is below the first one");
        }
        if self.max_capacity > MAX_RESERVED {
            return invalid(self.max_capacity, "no segment can be larger than 16 TiB");
        }
        let mut random = [0; 24];
        getrandom::fill(&mut random).map_err(|e| OpenError::Io {
            action: "get random bytes for",
            path: place.display().into(),
            source: io::Error::other(e),
        })?;
        let (id, seed) = random.split_at(16);
        let id = id.try_into().expect("16 bytes");
        let seed = u64::from_le_bytes(seed.try_into().expect("8 bytes"));
        Ok(FixedHeader::new(self.max_capacity.max(MIN_CAPACITY), id, seed))
    }

    fn rounded_capacity(&self, header: &FixedHeader) -> u64 {
        self.capacity.max(MIN_CAPACITY).next_multiple_of(1 << header.heap_page_shift)
    }
}

impl Place {
    #[cold]
    fn commit_error(&self, error: AllocError, end: u64) -> OpenError {
        match error {
            AllocError::NoSpace { wanted_bytes } => OpenError::NoSpace { name: self.display(), wanted_bytes },
            AllocError::FileSizeLimit { limit_bytes } => {
                OpenError::FileSizeLimit { name: self.display(), wanted_bytes: end, limit_bytes }
            }
            AllocError::Os { errno } => self.io("commit memory for", Errno::from_raw_os_error(errno)),
            other => OpenError::Io {
                action: "commit memory for",
                path: self.display().into(),
                source: io::Error::other(other),
            },
        }
    }
}

#[cfg(test)]
mod tests;
