//! [`ReadOnlySegment`]: a segment through a mapping that cannot be written.
//!
//! Objects are pinned through a second, writable mapping of the file, which the user never sees; a process that may not
//! open the file for writing can only have copies.
//!
//! This file needs `unsafe`: it shows pinned objects through the read-only mapping.

use super::directory::{Directory, Key, ObjectInfo};
use super::handle::{Object, Root};
use super::inner::{Inner, Segment, committed_bytes};
use crate::access::{Allocate, BlockInfo, Context, SegmentId};
use crate::error::{AllocError, OpenError, Result};
use crate::heap::Heap;
use crate::layout::{Frozen, ShmSafe};
use crate::mapping::{HeldByte, LockedByte, MappedFile, Place, Want};
use crate::participant::{Participants, SegmentFile};
use std::alloc::Layout;
use std::fmt;
use std::io;
use std::ops::Deref;
use std::ptr::NonNull;
use std::sync::Arc;

/// A segment that this process reads and cannot write: a stray store is caught by the processor.
///
/// Only objects that nothing can change through a shared reference ([`Frozen`]: no locks, no atomics, not even behind
/// pointers) can be looked at in place; the compiler rejects others.
///
/// ```
/// use shmem_core::{RemoveOnDrop, Segment, ShmString};
/// # fn main() -> shmem_core::Result<()> {
/// let name = format!("shmem-doc-ro-{}", std::process::id());
/// let _remove = RemoveOnDrop::shared(&name)?;
/// let segment = Segment::shared(&name).size(1 << 20).create()?;
/// segment.construct::<ShmString>("motto", "look, do not touch")?;
///
/// let reader = Segment::shared(&name).open_read_only()?;
/// assert_eq!(&**reader.find::<ShmString>("motto")?.unwrap(), "look, do not touch");
/// # Ok(())
/// # }
/// ```
///
/// ```compile_fail
/// # use shmem_core::{Segment, ShmMutex};
/// # fn main() -> shmem_core::Result<()> {
/// let reader = Segment::shared("bank").open_read_only()?;
/// reader.find::<ShmMutex<u64>>("counter")?; // a lock cannot be locked through a read-only mapping
/// # Ok(())
/// # }
/// ```
#[doc(alias = "open_read_only")]
#[derive(Clone)]
pub struct ReadOnlySegment {
    view: Arc<View>,
    /// The writable mapping that pins go through, where this process may have one.
    writable: Option<Segment>,
}

/// The read-only mapping.
struct View {
    directory: Directory,
    file: Arc<MappedFile>,
}

/// The heap of a read-only mapping: it tells what is live, and gives nothing.
struct LookOnly(Heap);

// SAFETY: it hands out no block.
unsafe impl Allocate for LookOnly {
    fn allocate(&self, _: Layout) -> Result<NonNull<[u8]>, AllocError> {
        Err(AllocError::NoSegment)
    }
    unsafe fn deallocate(&self, _: NonNull<u8>, _: Layout) {}
    unsafe fn grow_in_place(&self, _: NonNull<u8>, _: Layout, _: usize) -> Option<usize> {
        None
    }
    fn block_at(&self, offset: u64) -> Option<BlockInfo> {
        self.0.block_at(offset)
    }
    fn peek(&self, offset: u64, into: &mut [u8]) -> bool {
        self.0.peek(offset, into)
    }
}

/// A file that cannot be locked, as the participants see it. It keeps the file mapped.
struct LooksOn(#[expect(dead_code, reason = "held for its mapping")] Arc<MappedFile>);

impl SegmentFile for LooksOn {
    fn hold(&self, _: u32) -> io::Result<Option<HeldByte>> {
        Err(io::ErrorKind::PermissionDenied.into())
    }
    fn lock_for_child(&self, _: u32) -> io::Result<Option<LockedByte>> {
        Err(io::ErrorKind::PermissionDenied.into())
    }
    fn is_held(&self, _: u32) -> io::Result<bool> {
        Ok(true)
    }
    fn len(&self) -> io::Result<u64> {
        Ok(0)
    }
    fn word(&self, _: u64) -> io::Result<u32> {
        Err(io::ErrorKind::PermissionDenied.into())
    }
    fn map(&self, _: u64, _: usize) -> io::Result<NonNull<u8>> {
        Err(io::ErrorKind::PermissionDenied.into())
    }
}

impl ReadOnlySegment {
    pub(super) fn open(place: Place) -> Result<Self> {
        let writable = match MappedFile::open(place.clone(), Want::ReadWrite) {
            Ok(file) => Some(Inner::assemble(file, false)?),
            Err(OpenError::PermissionDenied { .. }) => None,
            Err(e) => return Err(e.into()),
        };
        let file = match &writable {
            // The same file, whatever its name means by now.
            Some(segment) => MappedFile::open_fd(segment, Want::ReadOnly)?,
            None => MappedFile::open(place, Want::ReadOnly)?,
        };
        let header = *file.header();
        let damaged = |source| OpenError::Damaged { name: file.name(), source };
        committed_bytes(&file)?;
        // SAFETY: the file is mapped whole, validated, and as long as what is committed; `LookOnly` never has it
        // written.
        let heap = unsafe { Heap::attach(file.base(), header, file.committer()) }.map_err(damaged)?;
        let file = Arc::new(file);
        // SAFETY: the tables are mapped; they are never written, since `LooksOn` gives no record.
        let participants = unsafe { Participants::new(file.base(), header, Box::new(LooksOn(file.clone()))) };
        let id = SegmentId(header.segment_id);
        // SAFETY: mapped while `file` lives, which `participants` keeps; the heap gives nothing.
        let context = unsafe {
            let heap = Arc::new(LookOnly(heap));
            Context::new(file.base(), file.reserved_bytes(), id, header.hash_seed, heap, Box::new(()))
        };
        let directory = Directory::new(Arc::new(context), Arc::new(participants), &header);
        let directory = directory.map_err(|source| OpenError::Damaged { name: file.name(), source })?;
        Ok(ReadOnlySegment { view: Arc::new(View { directory, file }), writable })
    }

    fn pinning(&self) -> Result<&Segment> {
        let denied = || OpenError::PermissionDenied { name: self.view.file.name() };
        Ok(self.writable.as_ref().ok_or_else(denied)?)
    }

    /// The object called `name`, if there is one, held until the handle is dropped.
    ///
    /// # Errors
    /// As [`Segment::find`]; [`OpenError::PermissionDenied`] if this process may not write the file, and so cannot
    /// hold anything in it: see [`read`](Self::read).
    pub fn find<T: ShmSafe + Sync + Frozen>(&self, name: &str) -> Result<Option<ReadRoot<T>>> {
        let Some(pin) = self.pinning()?.find::<T>(name)? else { return Ok(None) };
        let at = self.in_view(pin.offset(), NonNull::from(&*pin)).cast();
        Ok(Some(ReadRoot { at, pin, view: self.view.clone() }))
    }

    /// The slice called `name`, if there is one: as [`find`](Self::find).
    ///
    /// # Errors
    /// As [`Segment::find_slice`], and as [`find`](Self::find).
    pub fn find_slice<T: ShmSafe + Sync + Frozen>(&self, name: &str) -> Result<Option<ReadRoot<[T]>>> {
        let Some(pin) = self.pinning()?.find_slice::<T>(name)? else { return Ok(None) };
        let first = self.in_view(pin.offset(), NonNull::from(&*pin).cast::<T>());
        let at = NonNull::slice_from_raw_parts(first, pin.len());
        Ok(Some(ReadRoot { at, pin, view: self.view.clone() }))
    }

    /// The place in the read-only mapping of what stands at `offset`; `elsewhere` if it has no bytes.
    fn in_view<T>(&self, offset: u64, elsewhere: NonNull<T>) -> NonNull<T> {
        if offset == 0 || size_of::<T>() == 0 {
            return elsewhere;
        }
        // SAFETY: an offset valid in one mapping of the segment is valid in the other.
        unsafe { self.view.file.base().add(offset as usize).cast() }
    }

    /// A copy of the object called `name`, if there is one. Needs nothing but read permission.
    ///
    /// # Errors
    /// As [`Segment::find`].
    pub fn read<T: ShmSafe + Frozen + Copy>(&self, name: &str) -> Result<Option<T>> {
        self.view.directory.copy::<T>(&Key::named(name)?)
    }

    /// Every object of the segment.
    ///
    /// # Errors
    /// As [`Segment::objects`]; [`OpenError::PermissionDenied`] if this process may not write the file.
    pub fn objects(&self) -> Result<Vec<ObjectInfo>> {
        self.pinning()?.objects()
    }

    /// Whether objects can be held, so that [`find`](Self::find) works.
    pub fn can_hold(&self) -> bool {
        self.writable.is_some()
    }

    /// The name or path it was opened by.
    pub fn name(&self) -> String {
        self.view.file.name()
    }
}

impl fmt::Debug for ReadOnlySegment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReadOnlySegment").field("name", &self.name()).finish_non_exhaustive()
    }
}

/// A handle to an object in a [`ReadOnlySegment`]. The object lives until it is dropped.
pub struct ReadRoot<T: Object + ?Sized> {
    at: NonNull<T>,
    pin: Root<T>,
    view: Arc<View>,
}

// SAFETY: it gives `&T`, and may drop the object where it is dropped.
unsafe impl<T: Object + ?Sized + Send + Sync> Send for ReadRoot<T> {}
// SAFETY: likewise.
unsafe impl<T: Object + ?Sized + Send + Sync> Sync for ReadRoot<T> {}

impl<T: Object + ?Sized> Clone for ReadRoot<T> {
    fn clone(&self) -> Self {
        ReadRoot { at: self.at, pin: self.pin.clone(), view: self.view.clone() }
    }
}

impl<T: Object + ?Sized> Deref for ReadRoot<T> {
    type Target = T;
    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: a valid object, pinned while the handle lives, in a mapping that the handle keeps; nothing can change
        // it through a shared reference.
        unsafe { self.at.as_ref() }
    }
}

impl<T: Object + ?Sized + fmt::Debug> fmt::Debug for ReadRoot<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}
