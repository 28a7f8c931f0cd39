//! A mapped segment, put together from the layers below, and [`Segment`], the handle to it.
//!
//! This file needs `unsafe`: it vouches for mapped memory to the layers that use it.

use super::builder::SegmentBuilder;
use super::directory::{Directory, Key, ObjectInfo, Shape, build_slice};
use super::fork;
use super::handle::{Owned, Root};
use crate::access::{Access, Context, SegmentId};
#[cfg(doc)]
use crate::error::NameError;
use crate::error::{Corrupt, OpenError, Result};
use crate::heap::{Heap, HeapStats};
use crate::layout::{Init, ShmSafe, StoredType};
use crate::mapping::registry::{self, Registration};
use crate::mapping::{CreateSpec, HeldByte, LockedByte, MappedFile, Place, Want, remove};
use crate::participant::{Participants, SegmentFile, current_owner};
use crate::primitive::Ordering;
use crate::sync::LOCK_KINDS;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::PathBuf;
use std::ptr::NonNull;
use std::sync::Arc;

/// A mapped file, which this keeps mapped, as the participants see it.
struct OfParticipants(Arc<MappedFile>);

impl SegmentFile for OfParticipants {
    fn hold(&self, index: u32) -> io::Result<Option<HeldByte>> {
        self.0.storage().hold_byte(index.into())
    }
    fn lock_for_child(&self, index: u32) -> io::Result<Option<LockedByte>> {
        self.0.storage().lock_for_child(index.into())
    }
    fn is_held(&self, index: u32) -> io::Result<bool> {
        self.0.storage().byte_is_held(index.into())
    }
    fn len(&self) -> io::Result<u64> {
        self.0.storage().len()
    }
    fn word(&self, offset: u64) -> io::Result<u32> {
        self.0.storage().word(offset)
    }
    fn map(&self, offset: u64, len: usize) -> io::Result<NonNull<u8>> {
        self.0.storage().map(offset, len)
    }
}

/// The most that a new segment's heap commits at first.
const FIRST_HEAP_BYTES: u64 = 128 << 10;

/// One mapping of a segment: dropped with the last handle.
pub(crate) struct Inner {
    // Dropped first: before anything is unmapped, no look-up may find it.
    _registration: Registration,
    pub(super) directory: Arc<Directory>,
    pub(super) context: Arc<Context>,
    pub(super) participants: Arc<Participants>,
    pub(super) heap: Arc<Heap>,
    pub(super) file: Arc<MappedFile>,
}

impl Inner {
    /// Formats what a new segment needs beyond its header, before anybody can see it.
    pub(super) fn format(file: &MappedFile, spec: &CreateSpec) -> Result<(), OpenError> {
        let commit = file.committer();
        // SAFETY: the file is new: its metadata is mapped, committed and zeroed, and nobody else has it.
        let formatted = unsafe { Heap::format(file.base(), file.header(), &*commit, spec.commit_all) };
        // How long the file would have become: its tables stand, sparse, before its pages.
        let wanted = if spec.commit_all { spec.capacity } else { spec.capacity.min(FIRST_HEAP_BYTES) };
        formatted.map_err(|e| file.commit_error(e, file.header().data_at + wanted))
    }

    /// Puts a mapped file together; `checked` as [`SegmentBuilder::checked`].
    pub(super) fn assemble(file: MappedFile, checked: bool) -> Result<Segment, OpenError> {
        fork::install();
        let damaged = |file: &MappedFile, source| OpenError::Damaged { name: file.name(), source };
        let header = *file.header();
        committed_bytes(&file)?;
        // SAFETY: the file is mapped whole, validated, and as long as what is committed; nothing else is touched.
        let heap = unsafe { Heap::attach(file.base(), header, file.committer()) };
        let heap = Arc::new(heap.map_err(|e| damaged(&file, e))?.with_checks(checked));
        let file = Arc::new(file);
        // SAFETY: mapped writable as long as `OfParticipants` keeps the file.
        let participants =
            unsafe { Participants::new(file.base(), header, Box::new(OfParticipants(file.clone()))) };
        let participants = Arc::new(participants);
        let settler = Arc::downgrade(&heap);
        participants.set_settle(Box::new(move |slot| {
            if let Some(heap) = settler.upgrade() {
                heap.settle(slot);
            }
        }));
        let id = SegmentId(header.segment_id);
        // SAFETY: mapped while `file` lives, which `participants` keeps; page-aligned; the heap serves it.
        let context = unsafe {
            Context::new(
                file.base(),
                file.reserved_bytes(),
                id,
                header.hash_seed,
                heap.clone(),
                Box::new(participants.clone()),
            )
        };
        let context = Arc::new(context);
        let directory = Directory::new(context.clone(), participants.clone(), &header);
        let directory = Arc::new(directory.map_err(|e| damaged(&file, e))?);
        let recoverer = Arc::downgrade(&directory);
        let recover = move |dead| recoverer.upgrade().is_some_and(|directory| directory.recover(dead));
        participants.set_steps(&LOCK_KINDS, vec![Box::new(recover)]);
        let of_parting = Arc::downgrade(&heap);
        participants.set_parting(Box::new(move |slot| {
            if let Some(heap) = of_parting.upgrade() {
                heap.empty_cache(slot);
            }
        }));
        heap.set_participants(&participants);
        let Some(registration) = registry::register(&context) else {
            // The kernel gave out a range that is mapped already: not possible while the registry is right.
            return Err(OpenError::NoAddressSpace { name: file.name(), wanted_bytes: header.end });
        };
        let inner =
            Arc::new(Inner { _registration: registration, directory, context, participants, heap, file });
        fork::watch(&inner);
        Ok(Segment { inner })
    }
}

/// How much of the file the heap has committed, from its start.
///
/// # Errors
/// [`OpenError::Damaged`], and [`OpenError::Truncated`] if the file is shorter.
pub(super) fn committed_bytes(file: &MappedFile) -> Result<u64, OpenError> {
    // SAFETY: the first page is mapped, and the header validated.
    let committed = unsafe { Heap::required_file_bytes(file.base(), file.header()) };
    let expected_bytes = committed.map_err(|source| OpenError::Damaged { name: file.name(), source })?;
    let found_bytes = file.file_len().map_err(|source| OpenError::Io {
        action: "examine",
        path: file.name().into(),
        source,
    })?;
    if found_bytes < expected_bytes {
        return Err(OpenError::Truncated { name: file.name(), found_bytes, expected_bytes });
    }
    Ok(expected_bytes)
}

/// Memory that several processes share, holding ordinary mutable data structures at typed, named roots.
///
/// A cheap handle: clones share one mapping, which lives as long as any of them or any [`Root`] taken from it. The
/// memory itself is a file: it lives in `/dev/shm` until [removed](Segment::remove) ([`shared`](Segment::shared)),
/// on a disk ([`file`](Segment::file)), or as long as anybody has it mapped ([`anonymous`](Segment::anonymous)).
///
/// ```
/// use shmem_core::{RemoveOnDrop, Segment, ShmMutex};
/// # fn main() -> shmem_core::Result<()> {
/// let name = format!("shmem-doc-{}", std::process::id());
/// let _remove = RemoveOnDrop::shared(&name)?;
/// let segment = Segment::shared(&name).size(1 << 20).open_or_create()?;
/// let counter = segment.find_or_construct::<ShmMutex<u64>>("counter", ShmMutex::new(0))?;
/// *counter.lock()? += 1;
/// # Ok(())
/// # }
/// ```
#[doc(alias = "managed_shared_memory")]
#[doc(alias = "managed_mapped_file")]
#[derive(Clone)]
pub struct Segment {
    pub(super) inner: Arc<Inner>,
}

impl Segment {
    /// Named shared memory: an object in `/dev/shm`, which lives until it is removed or the system restarts. The
    /// name has 1 to 255 bytes without `/`; one leading `/` is optional.
    pub fn shared(name: &str) -> SegmentBuilder {
        SegmentBuilder::new(Place::shared(name))
    }

    /// A file, which lives until it is deleted.
    pub fn file(path: impl Into<PathBuf>) -> SegmentBuilder {
        SegmentBuilder::new(Place::file(path))
    }

    /// Memory without a name, which lives as long as a process has it: children of a `fork` do, and whoever is sent
    /// its descriptor ([`as_fd`](AsFd::as_fd), [`from_fd`](Segment::from_fd)).
    #[doc(alias = "anonymous_shared_memory")]
    pub fn anonymous() -> SegmentBuilder {
        SegmentBuilder::new(Ok(Place::Anonymous))
    }

    /// Opens the segment behind a descriptor that was inherited or received.
    ///
    /// # Errors
    /// As [`SegmentBuilder::open`].
    pub fn from_fd(fd: impl AsFd) -> Result<Segment> {
        Ok(Inner::assemble(MappedFile::open_fd(fd, Want::ReadWrite)?, false)?)
    }

    /// Removes the name of a shared memory segment; whether there was one. Processes that have it open go on
    /// undisturbed.
    ///
    /// # Errors
    /// [`OpenError::InvalidName`], [`OpenError::PermissionDenied`], [`OpenError::NotAFile`], [`OpenError::Io`].
    pub fn remove(name: &str) -> Result<bool> {
        Ok(remove(&Place::shared(name)?)?)
    }

    /// Deletes a segment's file; whether there was one. Processes that have it open go on undisturbed.
    ///
    /// # Errors
    /// As [`remove`](Segment::remove).
    pub fn remove_file(path: impl Into<PathBuf>) -> Result<bool> {
        Ok(remove(&Place::file(path)?)?)
    }

    /// Whether this handle's `create` or `open_or_create` made the segment (else it was there).
    pub fn created(&self) -> bool {
        self.inner.file.created()
    }

    /// The name or path it was opened by.
    pub fn name(&self) -> String {
        self.inner.file.name()
    }

    /// What identifies the segment wherever it is mapped.
    pub fn id(&self) -> SegmentId {
        self.inner.context.id()
    }

    /// Access to the heap, for initialisers and views made by hand. A block that is allocated through it and that no object
    /// owns counts as leaked: see [`recover_leaks`](Self::recover_leaks). Attaches this process to the segment.
    pub fn access(&self) -> Access<'_> {
        // Who allocates must not come in while leaks are recovered. If there is no record for it, it is as before.
        let _ = self.inner.participants.process();
        Access::new(&self.inner.context)
    }

    // ---- objects -------------------------------------------------------------------------------------

    /// Builds an object under `name`.
    ///
    /// No lock is held while `init` runs: it may construct other objects. If it fails or panics, there is no object.
    ///
    /// # Errors
    /// [`NameError::AlreadyExists`], [`NameError::InvalidName`], [`NameError::Recursive`] inside the initialiser of
    /// the same name, [`NameError::Circular`] inside one that its initialiser waits for; [`AllocError`](crate::AllocError);
    /// whatever `init` fails with.
    ///
    /// # Crash safety
    /// If this process dies inside, there is no object; the next `construct` of the name succeeds.
    pub fn construct<T: ShmSafe + Sync>(&self, name: &str, init: impl Init<T>) -> Result<Root<T>> {
        self.construct_one(&Key::named(name)?, true, init).map(|(root, _)| root)
    }

    /// The object called `name`, if there is one. Takes no lock. Waits while it is being [migrated](Self::migrate).
    ///
    /// # Errors
    /// [`NameError::VersionMismatch`] if its type, or one inside it, is stored in another version;
    /// [`NameError::TypeMismatch`] if it is of another type, naming the first difference;
    /// [`NameError::CountMismatch`] if it is a slice; [`NameError::InvalidName`]; [`NameError::Recursive`] inside a
    /// conversion of it, [`NameError::Circular`] inside what its conversion waits for.
    // Always: handle and error, returned through memory, would be pieced together there at some cost.
    #[inline(always)]
    pub fn find<T: ShmSafe + Sync>(&self, name: &str) -> Result<Option<Root<T>>> {
        self.find_one(&Key::named(name)?)
    }

    /// The object called `name`; built by `init` if it is not there. Of several processes that race, exactly one
    /// builds, and the others wait for it.
    ///
    /// # Errors
    /// As [`find`](Self::find) and [`construct`](Self::construct), but for `AlreadyExists`.
    #[inline(always)]
    pub fn find_or_construct<T: ShmSafe + Sync>(&self, name: &str, init: impl Init<T>) -> Result<Root<T>> {
        let key = Key::named(name)?;
        match self.find_one(&key)? {
            Some(root) => Ok(root),
            None => self.construct_one(&key, false, init).map(|(root, _)| root),
        }
    }

    /// Removes the object called `name`; whether there was one. The name goes at once, the object with the last
    /// handle to it: as `unlink` does to files.
    ///
    /// # Errors
    /// [`NameError::TypeMismatch`], [`NameError::InvalidName`].
    pub fn destroy<T: ShmSafe>(&self, name: &str) -> Result<bool> {
        self.inner.directory.destroy::<T>(&Key::named(name)?)
    }

    /// Builds a slice of `n` values under `name`, the `i`th by `each(i)`.
    ///
    /// # Errors
    /// As [`construct`](Self::construct). If an element fails, those before it are dropped.
    #[doc(alias = "construct_it")]
    pub fn construct_slice<T: ShmSafe + Sync, I: Init<T>>(
        &self,
        name: &str,
        n: usize,
        each: impl FnMut(usize) -> I,
    ) -> Result<Root<[T]>> {
        self.construct_many(&Key::named(name)?, n, true, each)
    }

    /// The slice called `name`, if there is one; a single value counts as a slice of one.
    ///
    /// # Errors
    /// [`NameError::TypeMismatch`], [`NameError::InvalidName`].
    pub fn find_slice<T: ShmSafe + Sync>(&self, name: &str) -> Result<Option<Root<[T]>>> {
        self.find_many(&Key::named(name)?, None)
    }

    /// The slice called `name`, which must have `n` elements; built if it is not there.
    ///
    /// # Errors
    /// As [`find_slice`](Self::find_slice) and [`construct_slice`](Self::construct_slice), and
    /// [`NameError::CountMismatch`] if it has another length.
    pub fn find_or_construct_slice<T: ShmSafe + Sync, I: Init<T>>(
        &self,
        name: &str,
        n: usize,
        each: impl FnMut(usize) -> I,
    ) -> Result<Root<[T]>> {
        self.construct_many(&Key::named(name)?, n, false, each)
    }

    /// Builds the one object of type `T`, which is found by its type.
    ///
    /// # Errors
    /// As [`construct`](Self::construct).
    #[doc(alias = "unique_instance")]
    pub fn construct_unique<T: ShmSafe + Sync>(&self, init: impl Init<T>) -> Result<Root<T>> {
        self.construct_one(&Key::unique(&unique_name::<T>())?, true, init).map(|(root, _)| root)
    }

    /// The one object of type `T`, if there is one.
    ///
    /// # Errors
    /// [`NameError::TypeMismatch`] if the type of that name has another layout.
    pub fn find_unique<T: ShmSafe + Sync>(&self) -> Result<Option<Root<T>>> {
        self.find_one(&Key::unique(&unique_name::<T>())?)
    }

    /// The one object of type `T`; built if it is not there.
    ///
    /// # Errors
    /// As [`find_unique`](Self::find_unique) and [`construct`](Self::construct), but for `AlreadyExists`.
    pub fn find_or_construct_unique<T: ShmSafe + Sync>(&self, init: impl Init<T>) -> Result<Root<T>> {
        self.construct_one(&Key::unique(&unique_name::<T>())?, false, init).map(|(root, _)| root)
    }

    /// Removes the one object of type `T`; whether there was one.
    ///
    /// # Errors
    /// [`NameError::TypeMismatch`] if the type of that name has another layout.
    pub fn destroy_unique<T: ShmSafe>(&self) -> Result<bool> {
        self.inner.directory.destroy::<T>(&Key::unique(&unique_name::<T>())?)
    }

    /// Builds an object that has no name and goes with the returned handle (or with this process).
    ///
    /// # Errors
    /// As [`construct`](Self::construct).
    #[doc(alias = "anonymous_instance")]
    pub fn construct_anonymous<T: ShmSafe + Sync>(&self, init: impl Init<T>) -> Result<Owned<T>> {
        self.construct_one(&Key::anonymous(), true, init).map(|(root, _)| Owned::new(root))
    }

    #[inline(always)]
    pub(super) fn find_one<T: ShmSafe>(&self, key: &Key<'_>) -> Result<Option<Root<T>>> {
        let found = self.inner.directory.find::<T>(key, Shape::One)?;
        // SAFETY: the directory found the object to be one `T` and pinned it for this handle.
        Ok(found.map(|pinned| unsafe { Root::one(&self.inner, pinned) }))
    }

    /// A slice of `n` values, or of any number.
    pub(super) fn find_many<T: ShmSafe>(&self, key: &Key<'_>, n: Option<u64>) -> Result<Option<Root<[T]>>> {
        let found = self.inner.directory.find::<T>(key, Shape::Slice(n))?;
        // SAFETY: the directory found the object to be of type `T` and pinned it for this handle.
        Ok(found.map(|pinned| unsafe { Root::slice(&self.inner, pinned) }))
    }

    pub(super) fn construct_one<T: ShmSafe>(
        &self,
        key: &Key<'_>,
        exclusive: bool,
        init: impl Init<T>,
    ) -> Result<(Root<T>, bool)> {
        // SAFETY: the directory passes a fresh place for one `T`.
        let build = |slot: *mut T, access: Access<'_>| unsafe { init.init(slot, access) };
        let (pinned, built) = self.inner.directory.construct::<T>(key, Shape::One, exclusive, build)?;
        // SAFETY: the directory built or found one `T` and pinned it for this handle.
        Ok((unsafe { Root::one(&self.inner, pinned) }, built))
    }

    pub(super) fn construct_many<T: ShmSafe, I: Init<T>>(
        &self,
        key: &Key<'_>,
        n: usize,
        exclusive: bool,
        each: impl FnMut(usize) -> I,
    ) -> Result<Root<[T]>> {
        let shape = Shape::Slice(Some(n as u64));
        // SAFETY: the directory passes a fresh place for `n` elements.
        let build = |first: *mut T, access: Access<'_>| unsafe { build_slice(first, n, each, access) };
        let (pinned, _) = self.inner.directory.construct::<T>(key, shape, exclusive, build)?;
        // SAFETY: the directory built or found a slice of `T` and pinned it for this handle.
        Ok(unsafe { Root::slice(&self.inner, pinned) })
    }

    /// Every object of the segment: names, types, sizes. Takes the directory's lock for the time of the copy.
    ///
    /// # Errors
    /// [`Corrupt`] if the directory is damaged; [`LockError`](crate::LockError) if this thread gets no slot.
    pub fn objects(&self) -> Result<Vec<ObjectInfo>> {
        self.inner.directory.objects()
    }

    /// How many objects the segment has.
    #[doc(alias = "get_num_named_objects")]
    pub fn object_count(&self) -> usize {
        self.inner.directory.count()
    }

    /// The descriptions of the types that were ever constructed here, as stored: see FORMAT.md, "Type records".
    pub fn stored_types(&self) -> Vec<StoredType> {
        self.inner.directory.stored_types()
    }

    // ---- memory --------------------------------------------------------------------------------------

    /// The capacity in bytes.
    #[doc(alias = "get_size")]
    pub fn size(&self) -> u64 {
        self.inner.file.state().capacity.load(Ordering::Acquire)
    }

    /// The capacity it may grow to.
    pub fn max_size(&self) -> u64 {
        self.inner.file.header().max_capacity
    }

    /// Bytes of the capacity that are free.
    #[doc(alias = "get_free_memory")]
    pub fn free_memory(&self) -> u64 {
        self.inner.heap.stats().free_bytes
    }

    /// Bytes of the capacity that are in use, by objects and by the library.
    pub fn used(&self) -> u64 {
        self.inner.heap.stats().used_bytes
    }

    /// Bytes of the capacity that the operating system has given memory for.
    pub fn committed(&self) -> u64 {
        self.inner.heap.stats().committed_bytes
    }

    /// All of these at once, with figures for each size class; displays as a table. O(pages).
    pub fn memory(&self) -> HeapStats {
        self.inner.heap.stats()
    }

    /// Raises the capacity by `extra` bytes (rounded up to heap pages) while everybody keeps working; gives the new
    /// one. Nothing is remapped: the address space was reserved at creation.
    ///
    /// # Errors
    /// [`OpenError::InvalidSize`] beyond [`max_size`](Self::max_size); nothing was changed.
    pub fn grow(&self, extra: u64) -> Result<u64> {
        let (page, max) = (1 << self.inner.file.header().heap_page_shift, self.max_size());
        let capacity = &self.inner.file.state().capacity;
        let raise =
            |now: u64| now.checked_add(extra)?.checked_next_multiple_of(page).filter(|raised| *raised <= max);
        match capacity.fetch_update(Ordering::AcqRel, Ordering::Acquire, raise) {
            Ok(before) => Ok(raise(before).unwrap_or(max)),
            Err(now) => Err(OpenError::InvalidSize {
                asked_bytes: now.saturating_add(extra),
                why: "it is beyond the segment's `max_size`",
            }
            .into()),
        }
    }

    /// Gives the memory of all free pages back to the operating system; how many bytes. Any process may, while others work;
    /// the capacity stays, and memory is asked for again when it is needed. 0 where the file system has no holes (tmpfs,
    /// ext4, XFS and Btrfs do). A few system calls for each run of free pages.
    ///
    /// # Errors
    /// [`AllocError::Os`](crate::AllocError::Os) if the system fails; [`LockError`](crate::LockError) if this thread gets
    /// no slot.
    ///
    /// # Crash safety
    /// If this process dies inside, pages it had in hand count as given back; recovery puts them in order.
    #[doc(alias = "shrink_to_fit")]
    pub fn trim(&self) -> Result<u64> {
        // The thread gets a slot, so that its death would leave nothing undone.
        current_owner(self.inner.file.base().as_ptr())?;
        Ok(self.inner.heap.trim()?)
    }

    /// Writes the segment's pages to its file; returns when they are there. For shared memory, nothing to do.
    ///
    /// # Errors
    /// [`OpenError::Io`].
    pub fn flush(&self) -> Result<()> {
        let file = &self.inner.file;
        file.flush(0..committed_bytes(file)?)
            .map_err(|source| OpenError::Io { action: "flush", path: file.name().into(), source }.into())
    }

    /// Looks for damage in the heap and the directory; an empty list is a sound segment. Others may be working
    /// meanwhile: what they have half done is no damage. What objects hold is not looked at: see [`verify`](Self::verify).
    #[doc(alias = "check_sanity")]
    pub fn check(&self) -> Vec<Corrupt> {
        let mut found = self.inner.heap.check();
        found.extend(self.inner.directory.check());
        found
    }

    /// The process ids of those attached, as they know themselves (in their own PID namespaces).
    pub fn attached_pids(&self) -> Vec<u32> {
        self.inner.participants.attached_processes().into_iter().map(|(_, pid)| pid).collect()
    }

    /// Cleans up after processes that died; how many there were. It also happens by itself, where something of
    /// theirs is in the way.
    pub fn recover(&self) -> usize {
        self.inner.participants.recover_all()
    }
}

impl AsFd for Segment {
    /// The descriptor of the segment's file, to be sent to another process.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inner.file.fd()
    }
}

impl std::fmt::Debug for Segment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Segment")
            .field("name", &self.name())
            .field("id", &self.id())
            .field("size", &self.size())
            .finish_non_exhaustive()
    }
}

/// What the unique object of `T` is called: its name and path, not its layout, so that a type with another layout is
/// found to differ.
pub(super) fn unique_name<T: ShmSafe>() -> String {
    let info = T::type_info();
    match info.origin {
        crate::layout::Origin::Module(path) => format!("{path}::{info}"),
        crate::layout::Origin::Named(name) => format!("\"{name}\""),
        _ => info.to_string(),
    }
}
