//! [`Access`]: what a view, an initialiser or a destructor needs to work on a segment: its address range, its
//! heap, and the undo log of whatever transaction is open.
//!
//! This layer knows neither the heap nor the operating system: both come in through [`Allocate`].
//! This file needs `unsafe`: it hands out raw memory.

use crate::error::{AllocError, Corrupt, Error, Result};
use crate::ptr::OffsetPtr;
use std::alloc::Layout;
use std::any::Any;
use std::cell::Cell;
use std::ptr::{self, NonNull};
use std::sync::Arc;

/// The largest alignment a stored type may have: every mapping is at least this aligned, everywhere.
pub const MAX_ALIGN: usize = 4096;

/// What identifies a segment in whatever process and at whatever address it is mapped.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct SegmentId(pub(crate) [u8; 16]);

impl std::fmt::Debug for SegmentId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SegmentId({:032x})", u128::from_be_bytes(self.0))
    }
}

/// A block of the heap, as the heap's own tables show it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlockInfo {
    /// Its first byte, as an offset into the segment.
    pub offset: u64,
    /// Its usable size in bytes.
    pub size_bytes: u64,
}

/// A heap, as the layers below it see it.
///
/// # Safety
/// 1. A block handed out is valid for reads and writes of its length, aligned as asked, and overlaps no other
///    live block, until it is freed.
/// 2. Its memory belongs to the mapping the heap serves and has exposed provenance.
pub unsafe trait Allocate: Send + Sync {
    /// As [`allocate`](Self::allocate), if this thread has such a block at hand. (What fits into registers is faster by
    /// a third.)
    fn allocate_at_hand(&self, layout: Layout) -> Option<NonNull<[u8]>> {
        let _ = layout;
        None
    }

    /// A block of at least `layout.size()` bytes; the slice's length is the usable size.
    fn allocate(&self, layout: Layout) -> Result<NonNull<[u8]>, AllocError>;

    /// Gives a block back. A block that is not live is reported and otherwise ignored.
    ///
    /// # Safety
    /// 1. `block` was handed out by this segment's heap, in any process, and not freed since.
    /// 2. `layout` has the alignment it was asked with and a size from what was asked to what is usable.
    unsafe fn deallocate(&self, block: NonNull<u8>, layout: Layout);

    /// Makes a block usable up to at least `new_size` bytes where it stands; gives the new usable size.
    ///
    /// # Safety
    /// As for `deallocate`; on `Some`, the layout to free it with has a size up to the new usable size.
    unsafe fn grow_in_place(&self, block: NonNull<u8>, layout: Layout, new_size: usize) -> Option<usize>;

    /// Gives back what a block has beyond `new_size` bytes, if it can where it stands; gives the new usable size.
    /// `publish` is called with that before anything is given back, or not at all.
    ///
    /// # Safety
    /// As for `deallocate`; when `publish` has returned, nobody uses anything beyond its argument. On `Some`, the layout to
    /// free the block with has a size from `new_size` up to the new usable size.
    unsafe fn shrink_in_place(
        &self,
        _block: NonNull<u8>,
        _layout: Layout,
        _new_size: usize,
        _publish: &mut dyn FnMut(usize),
    ) -> Option<usize> {
        None
    }

    /// The live block that contains the byte at `offset`, if there is one.
    fn block_at(&self, offset: u64) -> Option<BlockInfo>;

    /// The bytes of this live block may be read even when it was freed long ago: their memory is never given back to the
    /// system.
    fn keep(&self, _: NonNull<u8>) {}

    /// Copies bytes that may not be live any more; whether it could. It does not touch their memory, which may have been
    /// given back to the system. One system call.
    fn peek(&self, _offset: u64, _into: &mut [u8]) -> bool {
        false
    }
}

/// A heap that is kept, and found without the steps from an `Arc` to what is in it: an allocation takes a fifth less time.
struct SharedHeap {
    at: NonNull<dyn Allocate>,
    _keeps: Arc<dyn Allocate>,
}

// SAFETY: a shared reference to what the `Arc` keeps, which may be sent and shared.
unsafe impl Send for SharedHeap {}
// SAFETY: likewise.
unsafe impl Sync for SharedHeap {}

impl SharedHeap {
    fn new(heap: Arc<dyn Allocate>) -> Self {
        SharedHeap { at: NonNull::from(&*heap), _keeps: heap }
    }

    #[inline(always)]
    fn get(&self) -> &dyn Allocate {
        // SAFETY: `_keeps` keeps it where it is.
        unsafe { self.at.as_ref() }
    }
}

/// One mapping of a segment in this process.
pub struct Context {
    base: usize,
    reserved_bytes: usize,
    id: SegmentId,
    hash_seed: u64,
    heap: SharedHeap,
    upper: Box<dyn Any + Send + Sync>,
}

impl Context {
    /// Describes the mapping of `reserved_bytes` bytes at `base`. `upper` is process-local state of the layers
    /// above, kept here so that whoever finds the mapping by an address finds it too.
    ///
    /// # Safety
    /// 1. The range is mapped, [`MAX_ALIGN`]-aligned and exposed, and stays so while the context lives.
    /// 2. `allocator` serves this mapping.
    pub(crate) unsafe fn new(
        base: NonNull<u8>,
        reserved_bytes: usize,
        id: SegmentId,
        hash_seed: u64,
        allocator: Arc<dyn Allocate>,
        upper: Box<dyn Any + Send + Sync>,
    ) -> Self {
        debug_assert!(base.addr().get().is_multiple_of(MAX_ALIGN));
        let (base, heap) = (base.as_ptr().expose_provenance(), SharedHeap::new(allocator));
        Context { base, reserved_bytes, id, hash_seed, heap, upper }
    }

    /// The mapping's first byte.
    #[inline]
    pub fn base(&self) -> *mut u8 {
        ptr::with_exposed_provenance_mut(self.base)
    }

    /// The bytes of address space the mapping takes.
    #[inline]
    pub fn reserved_bytes(&self) -> usize {
        self.reserved_bytes
    }

    /// Which segment is mapped here.
    #[inline]
    pub fn id(&self) -> SegmentId {
        self.id
    }

    /// The segment's random seed for hashing keys.
    #[inline]
    pub fn hash_seed(&self) -> u64 {
        self.hash_seed
    }

    /// The heap.
    #[inline(always)]
    pub(crate) fn allocator(&self) -> &dyn Allocate {
        self.heap.get()
    }

    /// State of an upper layer, if it is a `U`.
    pub(crate) fn upper<U: 'static>(&self) -> Option<&U> {
        self.upper.downcast_ref()
    }

    /// The offset of an address of this mapping.
    #[inline]
    pub fn offset_of(&self, at: *const u8) -> Option<u64> {
        let offset = at.addr().wrapping_sub(self.base);
        (offset < self.reserved_bytes).then_some(offset as u64)
    }
}

impl std::fmt::Debug for Context {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Context")
            .field("base", &format_args!("{:#x}", self.base))
            .field("reserved_bytes", &self.reserved_bytes)
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

/// The heap of a value that stands in no segment.
struct NoHeap;

// SAFETY: it never hands out a block.
unsafe impl Allocate for NoHeap {
    fn allocate(&self, _: Layout) -> Result<NonNull<[u8]>, AllocError> {
        Err(AllocError::NoSegment)
    }
    unsafe fn deallocate(&self, block: NonNull<u8>, _: Layout) {
        panic!("shmem: a block at {block:p} to be freed belongs to no mapped segment");
    }
    unsafe fn grow_in_place(&self, _: NonNull<u8>, _: Layout, _: usize) -> Option<usize> {
        None
    }
    fn block_at(&self, _: u64) -> Option<BlockInfo> {
        None
    }
}

/// The context of values that stand in no segment: it has no memory.
fn detached() -> &'static Context {
    static DETACHED: std::sync::OnceLock<Context> = std::sync::OnceLock::new();
    DETACHED.get_or_init(|| Context {
        base: 0,
        reserved_bytes: 0,
        id: SegmentId([0; 16]),
        hash_seed: 0,
        heap: SharedHeap::new(Arc::new(NoHeap)),
        upper: Box::new(()),
    })
}

/// Learns of every overwrite, allocation and free while it is in force, so that they can be taken back.
pub trait Undo: Send + Sync {
    /// The bytes at `at` are about to be overwritten.
    ///
    /// # Panics
    /// If they cannot be kept: the operation then unwinds before it has changed anything.
    ///
    /// # Safety
    /// 1. `len` bytes at `at` are valid for reads (as raw bytes; padding may be uninitialised).
    unsafe fn save(&self, at: NonNull<u8>, len: usize);

    /// A block was allocated.
    fn allocated(&self, block: NonNull<u8>, layout: Layout);

    /// A block is to be freed. The log keeps it, contents and all, until the outcome is known.
    fn freed(&self, block: NonNull<u8>, layout: Layout);
}

/// An [`Undo`] in force.
pub struct UndoLog {
    undo: Box<dyn Undo>,
}

impl UndoLog {
    /// Wraps a log.
    pub fn new(undo: impl Undo + 'static) -> Self {
        UndoLog { undo: Box::new(undo) }
    }
}

impl std::fmt::Debug for UndoLog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("UndoLog")
    }
}

thread_local! {
    /// The log in force on this thread and the segment it is for.
    static LOG: Cell<Option<(SegmentId, NonNull<UndoLog>)>> = const { Cell::new(None) };
}

/// Whether this thread has an undo log in force, for whatever segment.
#[inline]
pub(crate) fn undo_log_in_force() -> bool {
    LOG.with(|log| log.get().is_some())
}

/// Runs `body` with `log` in force on this thread for the segment `id`: every access context made meanwhile
/// carries it, destructors' included.
///
/// # Safety
/// 1. No access context, and so no view, that is made for that segment inside `body` is used after `log` is dropped. (Nothing
///    in the types says so: a view made inside from a guard taken outside may leave `body`.)
pub unsafe fn with_undo_log<R>(id: SegmentId, log: &UndoLog, body: impl FnOnce() -> R) -> R {
    struct Restore(Option<(SegmentId, NonNull<UndoLog>)>);
    impl Drop for Restore {
        fn drop(&mut self) {
            LOG.set(self.0);
        }
    }
    let _restore = Restore(LOG.replace(Some((id, NonNull::from(log)))));
    body()
}

/// The right to allocate from a segment and to overwrite its bytes: a cheap copyable handle that views,
/// initialisers and destructors carry. It holds no thread slot, so it may go to another thread.
#[derive(Clone, Copy)]
pub struct Access<'a> {
    context: &'a Context,
    log: Option<&'a UndoLog>,
}

impl<'a> Access<'a> {
    /// Access to the segment mapped by `context`, under this thread's undo log if one is in force.
    #[inline]
    pub fn new(context: &'a Context) -> Self {
        let log = match LOG.try_with(Cell::get) {
            // SAFETY: `with_undo_log` keeps the log alive while it stands in `LOG`; by its contract this access context is
            // not used after that.
            Ok(Some((id, log))) if id == context.id => Some(unsafe { log.as_ref() }),
            _ => None,
        };
        Access { context, log }
    }

    /// Access for the library's own bookkeeping, which no transaction undoes.
    pub(crate) fn without_log(context: &'a Context) -> Self {
        Access { context, log: None }
    }

    /// Access for a value that stands in no segment: every allocation is `Err`, every `save` a no-op.
    pub fn detached() -> Access<'static> {
        Access { context: detached(), log: None }
    }

    /// The mapping.
    #[inline]
    pub fn context(&self) -> &'a Context {
        self.context
    }

    /// The segment's random seed for hashing keys.
    #[inline]
    pub fn hash_seed(&self) -> u64 {
        self.context.hash_seed
    }

    /// Whether both work on one segment (mapped once or twice).
    #[inline]
    pub fn same_segment(&self, other: &Access<'_>) -> bool {
        self.context.id == other.context.id
    }

    /// Whether both are the same right: one mapping, one undo log (or none).
    #[inline]
    pub(crate) fn same_scope(&self, other: &Access<'_>) -> bool {
        let log = |access: &Access<'_>| access.log.map_or(ptr::null(), ptr::from_ref);
        ptr::eq(self.context, other.context) && ptr::eq(log(self), log(other))
    }

    /// Announces that `len` bytes at `at` are about to be overwritten, or that a `&mut` to them is about to be
    /// handed out. Call it before anything has changed. Without a transaction it is one predicted branch. Bytes
    /// outside the segment (a value still being built on the stack) are nobody's to restore and are not recorded.
    ///
    /// # Safety
    /// 1. `len` bytes at `at` are valid for reads.
    #[inline]
    pub unsafe fn save<T: ?Sized>(&self, at: *const T, len: usize) {
        if let Some(log) = self.log {
            cold();
            if self.context.offset_of(at.cast()).is_none() {
                return;
            }
            let at = NonNull::new(at.cast::<u8>().cast_mut()).expect("a place to save is never null");
            // SAFETY: 1.
            unsafe { log.undo.save(at, len) }
        }
    }

    /// As [`save`](Self::save), for one value.
    ///
    /// # Safety
    /// 1. `at` is valid for reads of a `T`'s bytes.
    #[inline]
    pub unsafe fn save_value<T>(&self, at: *const T) {
        // SAFETY: 1.
        unsafe { self.save(at, size_of::<T>()) }
    }

    /// A block of at least `layout.size()` bytes from the segment's heap; the slice's length is what is usable.
    /// A size of 0 gets a dangling block that must not be freed.
    ///
    /// # Errors
    /// [`AllocError`]; nothing was allocated.
    #[inline]
    pub fn allocate(&self, layout: Layout) -> Result<NonNull<[u8]>> {
        if layout.size() == 0 {
            let dangling = NonNull::new(ptr::without_provenance_mut(layout.align())).expect("never 0");
            return Ok(NonNull::slice_from_raw_parts(dangling, 0));
        }
        let block = match self.context.allocator().allocate_at_hand(layout) {
            Some(block) => block,
            None if layout.align() > MAX_ALIGN => return Err(too_large(layout).into()),
            None => self.context.allocator().allocate(layout)?,
        };
        if let Some(log) = self.log {
            cold();
            log.undo.allocated(block.cast(), layout);
        }
        Ok(block)
    }

    /// A block for `n` values of type `T`; gives it and how many values it has room for.
    ///
    /// # Errors
    /// [`AllocError`], also if `n * size_of::<T>()` overflows.
    #[inline]
    pub fn allocate_array<T>(&self, n: usize) -> Result<(NonNull<T>, usize)> {
        const { assert!(align_of::<T>() <= MAX_ALIGN, "the alignment of a stored type is at most 4096") };
        let Ok(layout) = Layout::array::<T>(n) else {
            return Err(AllocError::TooLarge { wanted_bytes: u64::MAX, align: align_of::<T>() as u32 }.into());
        };
        let block = self.allocate(layout)?;
        let room = if size_of::<T>() == 0 { usize::MAX } else { block.len() / size_of::<T>() };
        Ok((block.cast(), room))
    }

    /// Gives a block back to the heap; under an undo log, once the outcome is known.
    ///
    /// # Safety
    /// 1. `block` came from this segment's heap with `layout.align()` and a size of at most `layout.size()`,
    ///    which is at most its usable size; it was not freed since.
    /// 2. No stored pointer names it any more.
    #[inline]
    pub unsafe fn deallocate(&self, block: NonNull<u8>, layout: Layout) {
        if layout.size() == 0 {
            return;
        }
        match self.log {
            // SAFETY: 1 and 2.
            None => unsafe { self.context.allocator().deallocate(block, layout) },
            Some(log) => log.undo.freed(block, layout),
        }
    }

    /// As [`deallocate`](Self::deallocate), for an array of `n` values.
    ///
    /// # Safety
    /// As for `deallocate`, with the layout of `[T; n]`.
    #[inline]
    pub unsafe fn deallocate_array<T>(&self, block: NonNull<T>, n: usize) {
        // SAFETY: the array was allocated, so its layout does not overflow.
        let layout = unsafe { Layout::from_size_align_unchecked(n * size_of::<T>(), align_of::<T>()) };
        // SAFETY: by the caller.
        unsafe { self.deallocate(block.cast(), layout) }
    }

    /// Makes a block usable up to at least `new_size` bytes where it stands; gives the new usable size. Under an
    /// undo log it never does: the old size could not be restored.
    ///
    /// # Safety
    /// 1. As 1 of [`deallocate`](Self::deallocate).
    #[inline]
    pub unsafe fn grow_in_place(&self, block: NonNull<u8>, layout: Layout, new_size: usize) -> Option<usize> {
        if layout.size() == 0 || self.log.is_some() {
            return None;
        }
        // SAFETY: 1.
        unsafe { self.context.allocator().grow_in_place(block, layout, new_size) }
    }

    /// Gives back what a block has beyond `new_size` bytes, if it can where it stands; gives the new usable size, which its
    /// layout must not exceed from now on. `publish` is called with that before anything is given back, or not at all: it
    /// is to store it, so that a death at no time leaves a block that is shorter than what is stored. Only large blocks
    /// become smaller, by whole pages. Under an undo log it never does: the old size could not be restored.
    ///
    /// # Safety
    /// 1. As 1 of [`deallocate`](Self::deallocate).
    /// 2. When `publish` has returned, nothing stored says that there is room beyond its argument, and nobody uses any.
    #[inline]
    pub unsafe fn shrink_in_place(
        &self,
        block: NonNull<u8>,
        layout: Layout,
        new_size: usize,
        mut publish: impl FnMut(usize),
    ) -> Option<usize> {
        if layout.size() == 0 || new_size == 0 || self.log.is_some() {
            return None;
        }
        // SAFETY: 1 and 2.
        unsafe { self.context.allocator().shrink_in_place(block, layout, new_size, &mut publish) }
    }

    /// The live block at `at`'s address, by the heap's own tables.
    pub fn block_at(&self, at: *const u8) -> Option<BlockInfo> {
        self.context.allocator().block_at(self.context.offset_of(at)?)
    }

    /// Points `slot` at `to`, which may have been reached through another mapping of the same segment.
    ///
    /// # Errors
    /// [`Error::OtherSegment`] if `to` lies in `from`'s segment and that is another one; nothing was changed.
    ///
    /// # Safety
    /// 1. `slot` is valid for writes and will stand in this segment.
    /// 2. `to` is null or an address of `from`'s mapping.
    pub unsafe fn link<T>(&self, slot: *mut OffsetPtr<T>, to: *mut T, from: &Access<'_>) -> Result<()> {
        if !self.same_segment(from) {
            return Err(Error::OtherSegment);
        }
        let to = match from.context.offset_of(to.cast()) {
            None => to,
            // SAFETY: an offset valid in one mapping of the segment is valid in the other.
            Some(offset) => unsafe { self.context.base().add(offset as usize) }.cast(),
        };
        // SAFETY: slot by 1; `to` now lies in this mapping.
        unsafe { OffsetPtr::store(slot, to) };
        Ok(())
    }

    /// An error about the byte at `at`.
    pub fn corrupt(&self, at: *const u8, what: &'static str) -> Error {
        Corrupt { at: self.context.offset_of(at).unwrap_or(u64::MAX), what }.into()
    }
}

impl std::fmt::Debug for Access<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Access").field("context", &self.context).field("undo", &self.log.is_some()).finish()
    }
}

/// A place outside any segment where a value of one stands for a while.
struct StandIn {
    first: usize,
    len: usize,
    context: NonNull<Context>,
    outer: Option<NonNull<StandIn>>,
}

thread_local! {
    /// The innermost place of this thread.
    static STAND_INS: Cell<Option<NonNull<StandIn>>> = const { Cell::new(None) };
}

/// Runs `body` while a value of the segment of `access` stands at `at`, outside it: a destructor that runs there on
/// this thread finds the segment all the same (see [`stand_in_of`]). Without a destructor it costs nothing.
#[inline]
pub(crate) fn standing_in<T, R>(at: *const T, access: Access<'_>, body: impl FnOnce() -> R) -> R {
    if !std::mem::needs_drop::<T>() {
        return body();
    }
    struct Restore(Option<NonNull<StandIn>>);
    impl Drop for Restore {
        fn drop(&mut self) {
            STAND_INS.set(self.0);
        }
    }
    let outer = STAND_INS.get();
    let place =
        StandIn { first: at.addr(), len: size_of::<T>(), context: NonNull::from(access.context), outer };
    let _restore = Restore(outer);
    STAND_INS.set(Some(NonNull::from(&place)));
    body()
}

/// Access to the segment whose value stands at `at` for now, if [`standing_in`] says so.
///
/// # Safety
/// 1. The access is not used after the `standing_in` it comes from.
pub(crate) unsafe fn stand_in_of<'a>(at: *const u8) -> Option<Access<'a>> {
    let mut next = STAND_INS.try_with(Cell::get).ok().flatten();
    while let Some(place) = next {
        // SAFETY: `standing_in` keeps the place on its stack until it has taken it out of the list.
        let place = unsafe { place.as_ref() };
        if at.addr().wrapping_sub(place.first) < place.len {
            // SAFETY: 1; `standing_in` borrows the context meanwhile.
            return Some(Access::new(unsafe { place.context.as_ref() }));
        }
        next = place.outer;
    }
    None
}

/// Marks the branch it stands in as unlikely.
#[cold]
fn cold() {}

#[cold]
fn too_large(layout: Layout) -> AllocError {
    AllocError::TooLarge { wanted_bytes: layout.size() as u64, align: layout.align() as u32 }
}
