//! `mmap`, `munmap`, `msync`, `madvise` of shared files; the page size.
//!
//! This file needs `unsafe`: it maps memory.

use super::Errno;
use rustix::mm::{Advice, MapFlags, MsyncFlags, ProtFlags};
use std::os::fd::AsFd;
use std::ptr::{self, NonNull};

/// Maps the first `len` bytes of a file, shared, without reserving memory; left out of core dumps and with its
/// provenance exposed. The range may reach beyond the end of the file: those bytes must not be touched until
/// the file is that long.
pub(crate) fn map_shared(fd: impl AsFd, len: usize, writable: bool) -> Result<NonNull<u8>, Errno> {
    let mut protection = ProtFlags::READ;
    protection.set(ProtFlags::WRITE, writable);
    let flags = MapFlags::SHARED | MapFlags::NORESERVE;
    // SAFETY: the kernel chooses a range that nothing uses.
    let base = unsafe { rustix::mm::mmap(ptr::null_mut(), len, protection, flags, fd, 0)? };
    let base = NonNull::new(base.cast::<u8>()).ok_or(Errno::NOMEM)?;
    // A dump would walk every page of the reservation, and locks are handed over only when it is written.
    // SAFETY: the range was mapped just now. The call changes no bytes; that it may fail does not matter.
    let _ = unsafe { rustix::mm::madvise(base.as_ptr().cast(), len, Advice::LinuxDontDump) };
    base.as_ptr().expose_provenance();
    Ok(base)
}

/// Maps `len` bytes of a file from `offset` on, shared and writable, not for children of a fork, with its provenance
/// exposed. Nothing behind them is read ahead.
pub(crate) fn map_part(fd: impl AsFd, offset: u64, len: usize) -> Result<NonNull<u8>, Errno> {
    let base = map_for_this_process(fd, offset, len, ProtFlags::READ | ProtFlags::WRITE)?;
    // SAFETY: mapped just now.
    unsafe { expect_nothing_to_read(base, len) };
    Ok(base)
}

/// Maps one page of a file only for the sake of its open file description, which so lives as long as the memory of this
/// process does: no child of a fork gets the mapping. It must never be touched.
pub(crate) fn map_anchor(fd: impl AsFd) -> Result<NonNull<u8>, Errno> {
    map_for_this_process(fd, 0, ANCHOR_BYTES, ProtFlags::empty())
}

/// The length of a [`map_anchor`].
pub(crate) const ANCHOR_BYTES: usize = 4096;

fn map_for_this_process(
    fd: impl AsFd,
    offset: u64,
    len: usize,
    protection: ProtFlags,
) -> Result<NonNull<u8>, Errno> {
    // SAFETY: the kernel chooses a range that nothing uses.
    let base = unsafe { rustix::mm::mmap(ptr::null_mut(), len, protection, MapFlags::SHARED, fd, offset)? };
    let base = NonNull::new(base.cast::<u8>()).ok_or(Errno::NOMEM)?;
    // SAFETY: the range was mapped just now. The call changes no bytes.
    if let Err(e) = unsafe { rustix::mm::madvise(base.as_ptr().cast(), len, Advice::LinuxDontFork) } {
        // SAFETY: likewise; nothing refers to it.
        unsafe { unmap(base, len) };
        return Err(e);
    }
    base.as_ptr().expose_provenance();
    Ok(base)
}

/// Puts zeroed private memory in the place of a mapping, in one step: the file is let go, the addresses stay taken.
///
/// # Safety
/// 1. `base` and `len` are those of a mapping made here, and no reference leads there.
pub(crate) unsafe fn blank(base: NonNull<u8>, len: usize) -> Result<(), Errno> {
    let (protection, flags) = (ProtFlags::READ | ProtFlags::WRITE, MapFlags::PRIVATE | MapFlags::FIXED);
    // SAFETY: 1.
    unsafe { rustix::mm::mmap_anonymous(base.as_ptr().cast(), len, protection, flags) }.map(drop)
}

/// Says that nothing behind a mapping is worth reading ahead: its file is new.
///
/// # Safety
/// 1. The range is mapped.
pub(crate) unsafe fn expect_nothing_to_read(base: NonNull<u8>, len: usize) {
    // SAFETY: 1. The call changes no bytes; that it may fail does not matter.
    let _ = unsafe { rustix::mm::madvise(base.as_ptr().cast(), len, Advice::Random) };
}

/// Takes a mapping away.
///
/// # Safety
/// 1. `base` and `len` are those of a mapping made here, and nothing refers to the range any more.
pub(crate) unsafe fn unmap(base: NonNull<u8>, len: usize) {
    // SAFETY: 1. It fails only for a range that is no mapping.
    let _ = unsafe { rustix::mm::munmap(base.as_ptr().cast(), len) };
}

/// Writes the changed pages of a range to the file and waits for the device.
///
/// # Safety
/// 1. The range is mapped; `base` is page-aligned.
pub(crate) unsafe fn sync(base: NonNull<u8>, len: usize) -> Result<(), Errno> {
    // SAFETY: 1; no byte of the process changes.
    rustix::io::retry_on_intr(|| unsafe { rustix::mm::msync(base.as_ptr().cast(), len, MsyncFlags::SYNC) })
}

/// The size of a page of memory.
pub(crate) fn page_size() -> usize {
    rustix::param::page_size()
}
