//! [`HeldByte`]: a lock on one byte of a segment's file that lives exactly as long as this process's memory.
//!
//! The lock is an open file description's (`F_OFD_SETLK`), and the kernel drops it with the last reference to that. A
//! descriptor is a reference that children of a fork inherit and that `closefrom` takes away; a *mapping* is one that
//! goes when the last thread of the process has left its memory, and that no child gets (`MADV_DONTFORK`). So the
//! description is mapped, in a page that nobody touches, and its descriptor closed. Then the byte is free as soon as no
//! thread of the process can write any more, and no sooner.
//!
//! On a file system whose mappings do not refer to the description that was mapped (overlayfs maps the file below), the
//! lock is gone with the descriptor. Whoever makes a `HeldByte` looks whether it is, and there keeps the descriptor.
//!
//! This file needs `unsafe`: it takes mappings away.

use super::registry;
use crate::sys::{file, lock, memory};
use std::io;
use std::os::fd::OwnedFd;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};

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
    /// The descriptor itself.
    Descriptor(#[expect(dead_code, reason = "held for its lock")] OwnedFd),
    /// Nothing: for tests without a file.
    #[cfg(test)]
    Nothing,
}

// SAFETY: the page is only ever unmapped, once.
unsafe impl Send for HeldByte {}
// SAFETY: likewise.
unsafe impl Sync for HeldByte {}

/// The last device on which mappings were seen to keep descriptions; 0 before the first.
static MAPPINGS_KEEP: AtomicU64 = AtomicU64::new(0);

impl LockedByte {
    /// Locks a byte through `description`, if nobody else holds it.
    pub(super) fn lock(description: OwnedFd, byte: u64) -> io::Result<Option<Self>> {
        Ok(lock::try_exclusive(&description, byte)?.then_some(LockedByte { description, byte }))
    }

    /// Holds the byte for this process.
    pub(crate) fn hold(self) -> io::Result<HeldByte> {
        let LockedByte { description, byte } = self;
        let fork_generation = registry::fork_generation();
        // Without such a mapping, for want of memory or of the kernel's support, the descriptor has to do.
        let Ok(page) = memory::map_anchor(&description) else {
            return Ok(HeldByte { anchor: Anchor::Descriptor(description), fork_generation });
        };
        let held = HeldByte { anchor: Anchor::Page(page), fork_generation };
        let (device, _) = file::status(&description)?.identity;
        if MAPPINGS_KEEP.load(Ordering::Relaxed) == device {
            return Ok(held);
        }
        // Another description, to look from.
        let other = file::reopen(&description, true)?;
        drop(description);
        if lock::held_elsewhere(&other, byte)? {
            MAPPINGS_KEEP.store(device, Ordering::Relaxed);
            return Ok(held);
        }
        drop(held);
        match lock::try_exclusive(&other, byte)? {
            true => Ok(HeldByte { anchor: Anchor::Descriptor(other), fork_generation }),
            false => {
                Err(io::Error::other("the lock on a byte of the segment's file was lost to another process"))
            }
        }
    }

    /// In the child of a fork: holds the byte that the parent locked for it; the parent then drops its own copy.
    pub(crate) fn adopt(&self) -> io::Result<HeldByte> {
        LockedByte { description: self.description.try_clone()?, byte: self.byte }.hold()
    }
}

impl HeldByte {
    /// For tests: holds nothing.
    #[cfg(test)]
    pub(crate) fn nothing() -> Self {
        HeldByte { anchor: Anchor::Nothing, fork_generation: registry::fork_generation() }
    }
}

impl Drop for HeldByte {
    fn drop(&mut self) {
        match self.anchor {
            // In the child of a fork nothing is mapped there, or something else by now.
            Anchor::Page(page) if self.fork_generation == registry::fork_generation() => {
                // SAFETY: mapped by `hold`, in this process, and used by nobody.
                unsafe { memory::unmap(page, memory::ANCHOR_BYTES) };
            }
            _ => {}
        }
    }
}
