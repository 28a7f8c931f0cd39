//! [`HeldByte`]: a lock on one byte of a segment's file that lives exactly as long as this process's memory.
//!
//! The lock is an open file description's (`F_OFD_SETLK`), and the kernel drops it with the last reference to that. A
//! descriptor is a reference that children of a fork inherit and that `closefrom` takes away; a *mapping* is one that
//! goes when the last thread of the process has left its memory, and that no child gets (`MADV_DONTFORK`). So the
//! description is mapped, in a page that nobody touches, and its descriptor closed. Then the byte is free as soon as no
//! thread of the process can write any more, and no sooner.
//!
//! On some file systems a mapping does not refer to the description that was mapped (overlayfs maps the file below). So
//! this is done only on those that are known to; elsewhere the descriptor is kept, and the byte is not *exact*.
//!
//! While the descriptor is open no fork of this process begins: its child would keep the lock. (A raw `fork` or `clone`
//! system call is not held up.)
//!
//! This file needs `unsafe`: it takes mappings away.

use super::registry;
use crate::sys::file::file_system;
use crate::sys::{file, lock, memory};
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::{Mutex, MutexGuard};

/// A byte locked through a description that a descriptor keeps: what a child of a fork inherits.
#[derive(Debug)]
pub(crate) struct LockedByte {
    description: OwnedFd,
    byte: u64,
}

/// A byte held by this process: see the [module](self). The child of a fork does not hold it; its copy, when dropped,
/// does nothing.
#[derive(Debug)]
pub(crate) struct HeldByte {
    anchor: Anchor,
    fork_generation: u64,
}

#[derive(Debug)]
enum Anchor {
    /// A mapping of the description.
    Page(NonNull<u8>),
    /// The descriptor itself, and the byte.
    Descriptor(OwnedFd, u64),
    /// Nothing: for tests without a file.
    #[cfg(test)]
    Nothing,
}

// SAFETY: the page is only ever unmapped, once.
unsafe impl Send for HeldByte {}
// SAFETY: likewise.
unsafe impl Sync for HeldByte {}

/// Held while a description that is to be a process's alone has a descriptor, and by a fork.
static OPEN: Mutex<()> = Mutex::new(());

/// Keeps other threads from having such a descriptor open, across a fork.
pub(crate) fn hold() -> MutexGuard<'static, ()> {
    OPEN.lock().unwrap_or_else(|e| e.into_inner())
}

/// Holds a byte of the file, if nobody else does.
pub(super) fn hold_byte(file: BorrowedFd<'_>, byte: u64) -> io::Result<Option<HeldByte>> {
    let _no_fork = hold();
    Ok(LockedByte::lock_now(file, byte)?.map(LockedByte::hold))
}

impl LockedByte {
    /// Locks a byte of the file for the child of a fork that is about to be, if nobody else holds it.
    pub(super) fn lock(file: BorrowedFd<'_>, byte: u64) -> io::Result<Option<Self>> {
        let _no_fork = hold();
        Self::lock_now(file, byte)
    }

    fn lock_now(file: BorrowedFd<'_>, byte: u64) -> io::Result<Option<Self>> {
        let description = file::reopen(file, true)?;
        Ok(lock::try_exclusive(&description, byte)?.then_some(LockedByte { description, byte }))
    }

    fn hold(self) -> HeldByte {
        let LockedByte { description, byte } = self;
        let fork_generation = registry::fork_generation();
        let page = file_system(&description)
            .is_ok_and(keeps_what_is_mapped)
            .then(|| memory::map_anchor(&description));
        let anchor = match page {
            Some(Ok(page)) => Anchor::Page(page),
            _ => Anchor::Descriptor(description, byte),
        };
        HeldByte { anchor, fork_generation }
    }

    /// In the child of a fork: holds the byte that the parent locked for it; the parent then drops its own copy.
    pub(crate) fn adopt(&self) -> io::Result<HeldByte> {
        Ok(LockedByte { description: self.description.try_clone()?, byte: self.byte }.hold())
    }
}

/// Whether mappings of files of this file system (`statfs`) keep the description they were made of.
fn keeps_what_is_mapped(file_system: u64) -> bool {
    const TMPFS: u64 = 0x0102_1994;
    const RAMFS: u64 = 0x8584_58F6;
    const HUGETLBFS: u64 = 0x9584_58F6;
    const EXT: u64 = 0xEF53;
    const XFS: u64 = 0x5846_5342;
    const BTRFS: u64 = 0x9123_683E;
    const F2FS: u64 = 0xF2F5_2010;
    matches!(file_system, TMPFS | RAMFS | HUGETLBFS | EXT | XFS | BTRFS | F2FS)
}

impl HeldByte {
    /// Whether the byte is free as soon as the process has left its memory, and no sooner, whatever it does.
    pub(crate) fn is_exact(&self) -> bool {
        matches!(self.anchor, Anchor::Page(_))
    }

    /// For tests: holds nothing.
    #[cfg(test)]
    pub(crate) fn nothing() -> Self {
        HeldByte { anchor: Anchor::Nothing, fork_generation: registry::fork_generation() }
    }
}

impl Drop for HeldByte {
    fn drop(&mut self) {
        // In the child of a fork nothing is mapped there, or something else by now; and the lock is the parent's.
        if self.fork_generation != registry::fork_generation() {
            return;
        }
        match &self.anchor {
            // SAFETY: mapped by `hold`, in this process, and used by nobody.
            Anchor::Page(page) => unsafe { memory::unmap(*page, memory::ANCHOR_BYTES) },
            // Not left to closing: a child may have the descriptor.
            Anchor::Descriptor(description, byte) => drop(lock::unlock(description, *byte)),
            #[cfg(test)]
            Anchor::Nothing => {}
        }
    }
}
