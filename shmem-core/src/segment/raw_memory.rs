//! Memory as bytes: blocks that the program asks for by size, passes on by handle, and gives back itself.
//!
//! This file needs `unsafe`: it writes zeros to fresh blocks, and its functions that free are unsafe.

use super::inner::Segment;
use crate::access::BlockInfo;
use crate::error::{AllocError, Result};
use crate::layout::BlockHandle;
use std::alloc::Layout;
use std::ptr::NonNull;

/// # Memory as bytes
/// For data whose form is the program's own. A block belongs to no process and no object: it is there until somebody, in
/// whatever process, gives it [back](Segment::deallocate), also if all processes end. What is allocated by these functions
/// is *raw*: [`recover_leaks`](Segment::recover_leaks) keeps it, and never asks what is in it; it is freed by these functions
/// only, and nothing else is.
///
/// Others find a block by its [handle](Segment::handle_of), which can be stored in the segment:
/// ```
/// use shmem_core::{BlockHandle, Segment, ShmMutex};
/// use std::alloc::Layout;
///
/// # fn main() -> shmem_core::Result<()> {
/// let segment = Segment::anonymous().size(1 << 20).create()?;
/// let layout = Layout::array::<u64>(1000).unwrap();
///
/// let block = segment.allocate_zeroed(layout)?;
/// let handle = segment.handle_of(block.cast::<u8>().as_ptr()).expect("it stands in this segment");
/// segment.construct::<ShmMutex<BlockHandle>>("samples", ShmMutex::new(handle))?;
///
/// // In another process, where the segment stands elsewhere:
/// # let segment = Segment::from_fd(&segment)?;
/// let handle = *segment.find::<ShmMutex<BlockHandle>>("samples")?.unwrap().lock()?;
/// let samples = segment.address_of(handle).expect("it stands in this segment").cast::<u64>();
/// // SAFETY: the block is live, zeroed, and nobody else uses it.
/// assert!(unsafe { std::slice::from_raw_parts(samples.as_ptr(), 1000) }.iter().all(|n| *n == 0));
/// // SAFETY: as it was allocated; nobody uses it any more.
/// unsafe { segment.deallocate(samples.cast(), layout) };
/// # Ok(())
/// # }
/// ```
///
/// Every request is rounded up to a [size class](crate::HeapStats::classes), or to whole pages above half a page; all of it may be used.
/// Alignments up to 4096 cost no more than that: a block of a fitting size is taken, none is made larger to move within it.
/// The smallest block has 32 bytes; a size of 0 gets one. Nothing here waits for a lock, or makes a system call unless memory must be
/// committed. Blocks are not part of transactions: what these functions do is done.
impl Segment {
    /// A block of at least `layout.size()` bytes, aligned to `layout.align()`. The slice's length is what may be used. Its
    /// bytes are whatever its last user left.
    ///
    /// # Errors
    /// [`AllocError::OutOfMemory`], with the largest block that could be had; [`AllocError::TooLarge`] for an alignment above
    /// 4096; [`AllocError::NoSpace`], [`AllocError::FileSizeLimit`], [`AllocError::Os`] if more memory had to be committed;
    /// [`Error::TooManyProcesses`](crate::Error::TooManyProcesses) if this process cannot attach. Nothing was allocated.
    ///
    /// # Crash safety
    /// If this process dies inside, the block is free, or unreachable until leaks are recovered.
    /// Once it is allocated, it stays until it is freed.
    ///
    /// # Examples
    /// ```
    /// # use shmem_core::Segment;
    /// # use std::alloc::Layout;
    /// # fn main() -> shmem_core::Result<()> {
    /// # let segment = Segment::anonymous().size(1 << 20).create()?;
    /// let layout = Layout::from_size_align(100, 64).unwrap();
    /// let block = segment.allocate(layout)?;
    /// assert!(block.len() >= 100 && block.cast::<u8>().addr().get() % 64 == 0);
    /// // SAFETY: allocated with this layout; all of the block may be written.
    /// unsafe {
    ///     block.cast::<u8>().write_bytes(7, block.len());
    ///     segment.deallocate(block.cast(), layout);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    #[doc(alias = "allocate_aligned")]
    pub fn allocate(&self, layout: Layout) -> Result<NonNull<[u8]>> {
        self.attach()?;
        Ok(self.inner.heap.allocate_raw(layout)?)
    }

    /// As [`allocate`](Self::allocate); all bytes of the slice are 0.
    ///
    /// # Errors
    /// As [`allocate`](Self::allocate).
    pub fn allocate_zeroed(&self, layout: Layout) -> Result<NonNull<[u8]>> {
        let block = self.allocate(layout)?;
        // SAFETY: fresh and ours, to its whole length.
        unsafe { block.cast::<u8>().write_bytes(0, block.len()) };
        Ok(block)
    }

    /// Gives a block back, whichever process allocated it.
    ///
    /// What is no live block of [`allocate`](Self::allocate) with this layout (it was freed before, it lies outside the
    /// segment or inside a block, it is an object's, it has another size or alignment) is left alone, counted
    /// ([`HeapStats::bad_frees`](crate::HeapStats::bad_frees)) and told to the [hook](crate::set_bad_free_hook). A second free
    /// goes unnoticed only if the block was allocated, as bytes, again.
    ///
    /// # Safety
    /// 1. `block` is the address, in this mapping of the segment, of a block that one of the functions here allocated in it, in
    ///    any process, and that was not freed since.
    /// 2. `layout` has the alignment that the block was asked with, and a size from what was asked to what is usable.
    /// 3. Nobody uses the block any more.
    ///
    /// # Crash safety
    /// If this process dies inside, the block is live, free, or unreachable until leaks are recovered.
    pub unsafe fn deallocate(&self, block: NonNull<u8>, layout: Layout) {
        // If there is no record for this process, it is as before.
        let _ = self.attach();
        // SAFETY: 1 to 3.
        unsafe { self.inner.heap.free_raw(block, layout) }
    }

    /// `n` blocks, each of `layout` and each freed by itself, or by [`deallocate_many`](Self::deallocate_many); all of them
    /// or none.
    ///
    /// # Errors
    /// As [`allocate`](Self::allocate), with the sum of the sizes as what was wanted.
    ///
    /// # Crash safety
    /// If this process dies inside, those that it had allocated stay.
    ///
    /// # Examples
    /// ```
    /// # use shmem_core::Segment;
    /// # use std::alloc::Layout;
    /// # fn main() -> shmem_core::Result<()> {
    /// # let segment = Segment::anonymous().size(1 << 20).create()?;
    /// let layout = Layout::new::<[u64; 8]>();
    /// let nodes = segment.allocate_many(layout, 100)?;
    /// assert_eq!(nodes.len(), 100);
    /// // SAFETY: allocated with this layout, and not used.
    /// unsafe { segment.deallocate_many(nodes.into_iter().map(|node| (node.cast(), layout))) };
    /// # Ok(())
    /// # }
    /// ```
    pub fn allocate_many(&self, layout: Layout, n: usize) -> Result<Vec<NonNull<[u8]>>> {
        let wanted_bytes = (layout.size().max(1) as u64).saturating_mul(n as u64);
        self.allocate_all(wanted_bytes, std::iter::repeat_n(layout, n))
    }

    /// A block for each layout, in their order; all of them or none. As [`allocate_many`](Self::allocate_many), for
    /// different sizes and alignments.
    ///
    /// # Errors
    /// As [`allocate_many`](Self::allocate_many).
    #[doc(alias = "allocate_many")]
    pub fn allocate_each(&self, layouts: &[Layout]) -> Result<Vec<NonNull<[u8]>>> {
        let wanted_bytes = layouts.iter().fold(0u64, |sum, layout| sum.saturating_add(layout.size() as u64));
        self.allocate_all(wanted_bytes, layouts.iter().copied())
    }

    fn allocate_all(
        &self,
        wanted_bytes: u64,
        layouts: impl Iterator<Item = Layout> + Clone,
    ) -> Result<Vec<NonNull<[u8]>>> {
        self.attach()?;
        let refused = |error| match error {
            AllocError::OutOfMemory { .. } => {
                let largest_free_bytes = self.inner.heap.stats().largest_free_bytes;
                AllocError::OutOfMemory { wanted_bytes, largest_free_bytes }
            }
            error => error,
        };
        // What cannot be is not tried block by block.
        if wanted_bytes > self.size() {
            return Err(refused(AllocError::OutOfMemory { wanted_bytes, largest_free_bytes: 0 }).into());
        }
        let mut blocks = Vec::new();
        for layout in layouts.clone() {
            match self.inner.heap.allocate_raw(layout) {
                Ok(block) => blocks.push(block),
                Err(error) => {
                    // SAFETY: allocated above with these layouts, and seen by nobody.
                    unsafe { self.deallocate_many(blocks.into_iter().map(NonNull::cast).zip(layouts)) };
                    return Err(refused(error).into());
                }
            }
        }
        Ok(blocks)
    }

    /// Gives many blocks back: as [`deallocate`](Self::deallocate) for each.
    ///
    /// # Safety
    /// As for [`deallocate`](Self::deallocate), for each block with its layout.
    pub unsafe fn deallocate_many(&self, blocks: impl IntoIterator<Item = (NonNull<u8>, Layout)>) {
        for (block, layout) in blocks {
            // SAFETY: by the caller.
            unsafe { self.deallocate(block, layout) }
        }
    }

    /// Makes a block longer where it stands: to at least `preferred` bytes if there is room for so many, else as far as there
    /// is, but no less than `least`. Gives the block with what may be used of it now; what stood in it stays.
    ///
    /// Blocks up to half a page have the room of their size class; larger ones take the free pages behind them.
    ///
    /// # Errors
    /// [`AllocError::CannotExpand`], with the longest that is possible here; nothing was changed.
    ///
    /// # Safety
    /// As 1 and 2 of [`deallocate`](Self::deallocate). On success the layout to free it with has a size up to the new usable
    /// size.
    ///
    /// # Crash safety
    /// If this process dies inside, the block is as before or longer. If there was no [slot](crate::LockError::NoSlot) for this
    /// thread, pages behind it may be unreachable until leaks are recovered.
    ///
    /// # Examples
    /// ```
    /// # use shmem_core::Segment;
    /// # use std::alloc::Layout;
    /// # fn main() -> shmem_core::Result<()> {
    /// # let segment = Segment::anonymous().size(8 << 20).create()?;
    /// let layout = Layout::from_size_align(100_000, 8).unwrap();
    /// let block = segment.allocate(layout)?;
    /// // SAFETY: live, with this layout.
    /// let longer = unsafe { segment.try_expand(block.cast(), layout, 200_000, 1_000_000)? };
    /// assert!(longer.cast::<u8>() == block.cast() && longer.len() >= 1_000_000);
    /// # unsafe { segment.deallocate(longer.cast(), layout) };
    /// # Ok(())
    /// # }
    /// ```
    #[doc(alias = "allocation_command")]
    #[doc(alias = "expand_fwd")]
    #[doc(alias = "grow_in_place")]
    pub unsafe fn try_expand(
        &self,
        block: NonNull<u8>,
        layout: Layout,
        least: usize,
        preferred: usize,
    ) -> Result<NonNull<[u8]>> {
        self.attach()?;
        // SAFETY: 1 and 2.
        let usable = unsafe { self.inner.heap.expand_raw(block, layout, least, preferred) }?;
        Ok(NonNull::slice_from_raw_parts(block, usable))
    }

    /// Makes a block longer by the free pages *before* it: to at least `preferred` bytes if there are so many, else as far as
    /// there are, but to no less than `least`. Gives the longer block, which begins at a lower address. What stood in it stays
    /// where it is, and is now at the longer block's end; whoever knew the block by its [handle](Self::handle_of) must learn
    /// the new one.
    ///
    /// Only blocks of whole pages (above half a page) get longer.
    ///
    /// # Errors
    /// [`AllocError::CannotExpand`], with the longest that is possible here, also if there is no
    /// [slot](crate::LockError::NoSlot) to spare for this thread; nothing was changed.
    ///
    /// # Safety
    /// As 1 and 2 of [`deallocate`](Self::deallocate). On success, `block` is none any more; the layout to free the longer one
    /// with has a size from `least` up to its length.
    ///
    /// # Crash safety
    /// If this process dies inside, the block is as before, or longer: [`raw_blocks`](Self::raw_blocks) tells.
    ///
    /// # Examples
    /// ```
    /// # use shmem_core::Segment;
    /// # use std::alloc::Layout;
    /// # fn main() -> shmem_core::Result<()> {
    /// # let segment = Segment::anonymous().size(8 << 20).create()?;
    /// let layout = Layout::from_size_align(1 << 20, 8).unwrap();
    /// let (before, block) = (segment.allocate(layout)?, segment.allocate(layout)?);
    /// // SAFETY: live, each with this layout; the first is not used any more.
    /// let longer = unsafe {
    ///     segment.deallocate(before.cast(), layout);
    ///     segment.try_expand_backward(block.cast(), layout, 2 << 20, 2 << 20)?
    /// };
    /// assert_eq!(longer.cast::<u8>(), before.cast());
    /// assert_eq!(longer.len(), 2 << 20);
    /// # unsafe { segment.deallocate(longer.cast(), Layout::from_size_align(2 << 20, 8).unwrap()) };
    /// # Ok(())
    /// # }
    /// ```
    #[doc(alias = "allocation_command")]
    #[doc(alias = "expand_bwd")]
    pub unsafe fn try_expand_backward(
        &self,
        block: NonNull<u8>,
        layout: Layout,
        least: usize,
        preferred: usize,
    ) -> Result<NonNull<[u8]>> {
        self.attach()?;
        // SAFETY: by the caller.
        Ok(unsafe { self.inner.heap.expand_raw_backward(block, layout, least, preferred) }?)
    }

    /// Gives the pages of a block back that `new_size` bytes do not need; gives how many bytes of it may be used from now on.
    /// What stands in these stays. Blocks up to half a page keep the length of their size class, and larger ones stay
    /// blocks of whole pages. `None` if there is no such block.
    ///
    /// # Safety
    /// As 1 and 2 of [`deallocate`](Self::deallocate); nobody uses what is behind the first `new_size` bytes. From now on the
    /// layout to free the block with has the size that is returned.
    ///
    /// # Crash safety
    /// If this process dies inside, the block is as before or shorter.
    #[doc(alias = "shrink_in_place")]
    pub unsafe fn try_shrink(&self, block: NonNull<u8>, layout: Layout, new_size: usize) -> Option<usize> {
        let _ = self.attach();
        // SAFETY: by the caller.
        unsafe { self.inner.heap.shrink_raw(block, layout, new_size) }
    }

    /// Every raw block: where it stands, and how many bytes of it may be used. For a program that looks for blocks which its
    /// dead processes have lost: leak recovery keeps whatever is raw. Exact while nobody allocates or frees; O(memory committed).
    pub fn raw_blocks(&self) -> Vec<(BlockHandle, usize)> {
        let mut found = Vec::new();
        self.inner.heap.for_each_raw_block(&mut |block| {
            found.push((BlockHandle::from_offset(block.offset), block.size_bytes as usize));
        });
        found
    }

    /// How many bytes of the block at `block` may be used; `None` if no live block of [`allocate`](Self::allocate) begins
    /// there. Looks at the heap's tables only, so any address may be asked about.
    #[doc(alias = "size")]
    #[doc(alias = "malloc_usable_size")]
    pub fn usable_size(&self, block: NonNull<u8>) -> Option<usize> {
        self.inner.heap.raw_size(block).map(|bytes| bytes as usize)
    }

    // ---- addresses -----------------------------------------------------------------------------------

    /// Whether `address` lies in this segment, by this handle's mapping: where blocks and objects stand, live or not, not in
    /// the tables before them, nor where there is no memory yet. (The same segment may be mapped more than once, at other
    /// addresses.)
    #[doc(alias = "belongs_to_segment")]
    pub fn contains_address<T: ?Sized>(&self, address: *const T) -> bool {
        self.handle_of(address).is_some()
    }

    /// What tells other processes where `address` is; `None` unless the segment [contains](Self::contains_address) it. The
    /// address of a raw block has one, of an object, and of any part of them.
    #[doc(alias = "get_handle_from_address")]
    pub fn handle_of<T: ?Sized>(&self, address: *const T) -> Option<BlockHandle> {
        let offset = self.inner.context.offset_of(address.cast())?;
        self.inner.heap.has_page(offset).then_some(BlockHandle::from_offset(offset))
    }

    /// Where what `handle` names stands in this process; `None` if the segment has no memory there. What is there, and
    /// whether it still is, the caller must know.
    #[doc(alias = "get_address_from_handle")]
    pub fn address_of(&self, handle: BlockHandle) -> Option<NonNull<u8>> {
        let offset = handle.offset();
        let address = self.inner.context.base().wrapping_add(offset as usize);
        self.inner.heap.has_page(offset).then(|| NonNull::new(address))?
    }

    // ---- all of it -----------------------------------------------------------------------------------

    /// Overwrites with zeros all memory that is no live block's, so that what was freed cannot be read any more and a
    /// file compresses well; gives the number of bytes. Blocks are left alone to their usable size, memory that is not committed is
    /// not touched.
    ///
    /// What other threads have at hand in their caches is left as it is, until they give it back (this thread's is given back
    /// first). Others may go on meanwhile: each free block and page is allocated for the moment in which it is overwritten. So an
    /// allocation that needs the very last free block may be refused meanwhile. What is freed meanwhile may not be overwritten.
    /// O(memory committed).
    ///
    /// # Crash safety
    /// If this process dies inside, the block or page in hand is unreachable until leaks are recovered.
    ///
    /// # Examples
    /// ```
    /// # use shmem_core::Segment;
    /// # use std::alloc::Layout;
    /// # fn main() -> shmem_core::Result<()> {
    /// # let segment = Segment::anonymous().size(1 << 20).create()?;
    /// let layout = Layout::new::<[u8; 256]>();
    /// let secret = segment.allocate(layout)?;
    /// // SAFETY: ours, and as it was allocated.
    /// unsafe {
    ///     secret.cast::<u8>().write_bytes(b'x', secret.len());
    ///     segment.deallocate(secret.cast(), layout);
    /// }
    /// assert!(segment.zero_free_memory() > 0);
    /// # Ok(())
    /// # }
    /// ```
    pub fn zero_free_memory(&self) -> u64 {
        let _ = self.attach();
        self.inner.heap.zero_free()
    }

    /// Who changes what is allocated must not come in while somebody is [alone](Self::recover_leaks).
    #[inline]
    fn attach(&self) -> Result<()> {
        self.inner.participants.process().map(drop)
    }

    /// Whether nothing is allocated but what the library keeps of names and types: no object, no raw block, no leak. Exact
    /// while nobody allocates or frees. O(memory committed).
    pub fn all_memory_deallocated(&self) -> bool {
        let own = self.inner.directory.own_blocks();
        let is_all = |own: Vec<BlockInfo>| self.used() == own.iter().map(|block| block.size_bytes).sum();
        self.object_count() == 0 && own.is_ok_and(is_all)
    }
}
