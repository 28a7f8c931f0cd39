//! The only layer that calls the operating system (Linux): thin wrappers, no policy. This file: `mmap`, `madvise`.
//!
//! This file needs `unsafe`: system calls take raw memory.

pub(crate) mod clock;
pub(crate) mod file;
pub(crate) mod futex;
pub(crate) mod lock;
pub(crate) mod memory;
pub(crate) mod process;
pub(crate) mod robust;

pub(crate) use rustix::io::Errno;

use std::io;
use std::ptr::NonNull;

/// A zeroed page that the kernel zeroes again in the child of a fork (`MADV_WIPEONFORK`); never unmapped.
pub(crate) fn wiped_on_fork_page() -> io::Result<NonNull<u8>> {
    use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap_anonymous};
    // SAFETY: a fresh private mapping that is never unmapped.
    let page = unsafe {
        mmap_anonymous(std::ptr::null_mut(), 4096, ProtFlags::READ | ProtFlags::WRITE, MapFlags::PRIVATE)?
    };
    // SAFETY: the page is ours and holds nothing yet.
    unsafe { madvise(page, 4096, Advice::LinuxWipeOnFork)? };
    NonNull::new(page.cast()).ok_or_else(|| io::ErrorKind::OutOfMemory.into())
}
