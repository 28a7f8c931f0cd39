//! [`Storage`]: a segment's open file: memory behind its bytes, and the locks on its bytes.
//!
//! No process-local lock is held anywhere here: a fork copies them locked.
//!
//! This file needs `unsafe`: it keeps a descriptor as a number.

use super::commit::Commit;
use crate::error::AllocError;
use crate::sys::{Errno, file, lock};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};

/// The bytes that are locked, far behind every byte that is stored. FORMAT.md, "File locks".
pub(crate) mod lock_byte {
    /// The byte of index 0 of [`Storage::lock_byte`](super::Storage::lock_byte); process records follow.
    pub(crate) const FIRST: u64 = 1 << 62;
    /// Held by whoever creates the file, where it has a temporary name meanwhile.
    pub(crate) const CREATOR: u64 = FIRST + (1 << 32);
    /// Held while zeros are written, where the file system cannot allocate.
    pub(crate) const COMMIT: u64 = CREATOR + 1;
    /// The indices that [`Storage::lock_byte`](super::Storage::lock_byte) takes.
    pub(crate) const INDICES: u64 = CREATOR - FIRST;
}

/// The description that will hold the byte locks of a process that does not exist yet.
#[derive(Debug)]
pub(crate) struct ChildLocks(OwnedFd);

impl ChildLocks {
    /// Locks byte `index` if nobody else holds it; whether it did.
    ///
    /// # Errors
    /// The system's.
    pub(crate) fn lock_byte(&self, index: u64) -> io::Result<bool> {
        lock::try_exclusive(&self.0, at(index)?)
    }

    /// Gives byte `index` up.
    ///
    /// # Errors
    /// The system's.
    pub(crate) fn unlock_byte(&self, index: u64) -> io::Result<()> {
        lock::unlock(&self.0, at(index)?)
    }

    /// Whether somebody else holds byte `index`.
    ///
    /// # Errors
    /// The system's.
    pub(crate) fn byte_is_locked(&self, index: u64) -> io::Result<bool> {
        lock::held_elsewhere(&self.0, at(index)?)
    }
}

/// The smallest piece an interrupted commit is cut into.
const SMALLEST_PIECE: u64 = 64 << 10;

/// What [`Storage::locks`] holds before its first use.
const NOT_OPEN: i32 = -1;

/// A segment's open file.
///
/// # Invariants
/// 1. `fd` is the open file description that is mapped. No byte is locked through it once the segment is
///    published: a mapping keeps its description, and so its locks, as long as the mapping is inherited by
///    some child of a fork.
/// 2. `locks`, once open, is the number of another description of the file, which is never mapped; it stays open
///    until the value is dropped. It belongs to this process alone once
///    [`renew`](Self::renew) has run in it, or `shared` is set.
#[derive(Debug)]
pub(crate) struct Storage {
    fd: OwnedFd,
    /// Its number, or [`NOT_OPEN`].
    locks: AtomicI32,
    /// The child of a fork could not get a description of its own.
    shared: AtomicBool,
    writable: bool,
}

impl Storage {
    pub(super) fn new(fd: OwnedFd, writable: bool) -> Self {
        Storage { fd, locks: AtomicI32::new(NOT_OPEN), shared: AtomicBool::new(false), writable }
    }

    /// Its descriptor.
    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// The description that holds the byte locks, if it is open.
    fn open_locks(&self) -> Option<BorrowedFd<'_>> {
        match self.locks.load(Ordering::Acquire) {
            NOT_OPEN => None,
            // SAFETY: open until the value is dropped (2).
            number => Some(unsafe { BorrowedFd::borrow_raw(number) }),
        }
    }

    /// The description that holds the byte locks, opened by the first use.
    fn locks(&self) -> io::Result<BorrowedFd<'_>> {
        if self.shared.load(Ordering::Relaxed) {
            return Err(io::Error::other("the segment's file could not be opened again after a fork"));
        }
        if let Some(locks) = self.open_locks() {
            return Ok(locks);
        }
        let own = file::reopen(&self.fd, self.writable)?.into_raw_fd();
        // SYNC locks: AcqRel orders nothing but the number itself; of two threads, one's description is kept.
        let kept = match self.locks.compare_exchange(NOT_OPEN, own, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => own,
            Err(first) => {
                // SAFETY: opened above, named nowhere else.
                drop(unsafe { OwnedFd::from_raw_fd(own) });
                first
            }
        };
        // SAFETY: open until the value is dropped (2).
        Ok(unsafe { BorrowedFd::borrow_raw(kept) })
    }

    /// The length of the file in bytes. One system call.
    pub(crate) fn len(&self) -> io::Result<u64> {
        Ok(file::status(&self.fd)?.len)
    }

    /// Locks byte `index` for this value if nobody else holds it; whether it did. The kernel drops it when this
    /// process is dead, whatever children it has forked, if they have called [`renew`](Self::renew); until then
    /// they hold it too. One system call, the first time three more; never waits.
    ///
    /// # Errors
    /// The system's: the mapping is read-only, or (the first time) `/proc` is not mounted, or the permissions of
    /// the file or the rights of the process have changed.
    pub(crate) fn lock_byte(&self, index: u64) -> io::Result<bool> {
        lock::try_exclusive(self.locks()?, at(index)?)
    }

    /// Gives byte `index` up.
    ///
    /// # Errors
    /// As for [`lock_byte`](Self::lock_byte).
    pub(crate) fn unlock_byte(&self, index: u64) -> io::Result<()> {
        lock::unlock(self.locks()?, at(index)?)
    }

    /// Whether somebody else, in this process or another, holds byte `index`. One system call.
    ///
    /// # Errors
    /// The system's; none is to be expected.
    pub(crate) fn byte_is_locked(&self, index: u64) -> io::Result<bool> {
        // Without a description for locks nothing is locked here, so any description will do.
        lock::held_elsewhere(self.open_locks().unwrap_or(self.fd()), at(index)?)
    }

    /// Leaves the open file description, shared with the parent, that holds its byte locks: for the child of a
    /// fork, as early as can be. Until then the parent's bytes stay locked when the parent dies. This value holds
    /// no byte afterwards. Three system calls if any byte was ever locked or asked for, else none; allocates
    /// nothing and takes no lock, so it may be called between `fork` and `exec`.
    ///
    /// # Errors
    /// The system's: see [`lock_byte`](Self::lock_byte). The parent's description is left all the same, and no
    /// byte can be locked through this value any more.
    pub(crate) fn renew(&self) -> io::Result<()> {
        let Some(locks) = self.open_locks() else { return Ok(()) };
        match file::reopen(&self.fd, self.writable) {
            Ok(own) => Ok(file::replace(locks, &own)?),
            Err(e) => {
                self.shared.store(true, Ordering::Relaxed);
                file::replace(locks, &self.fd)?;
                Err(e.into())
            }
        }
    }

    /// A description for the child of a fork that is about to be: locks taken through it before the fork are the
    /// child's once it has [adopted](Self::adopt) it and the parent has closed it.
    ///
    /// # Errors
    /// As for [`lock_byte`](Self::lock_byte), the first time.
    pub(crate) fn for_child(&self) -> io::Result<ChildLocks> {
        Ok(ChildLocks(file::reopen(&self.fd, self.writable)?))
    }

    /// In the child of a fork: leaves the parent's description for `own`, with the bytes that has locked.
    ///
    /// # Errors
    /// The system's; none is to be expected.
    pub(crate) fn adopt(&self, own: &ChildLocks) -> io::Result<()> {
        match self.open_locks() {
            Some(locks) => Ok(file::replace(locks, &own.0)?),
            None => Err(io::Error::other("no byte was locked before the fork")),
        }
    }

    /// [`allocate`] for file systems that cannot: fills holes with zeros. Nobody uses a hole (its
    /// bytes are not committed), and one thread of one process at a time fills.
    fn fill_holes(&self, offset: u64, end: u64) -> Result<(), Errno> {
        // A description for this call alone excludes the threads of this process too.
        let own = file::reopen(&self.fd, self.writable)?;
        // CRASH fill: the lock goes with the process, and zeros in a part of the range are what was there.
        let errno = |e: io::Error| Errno::from_io_error(&e).unwrap_or(Errno::IO);
        lock::wait_exclusive(&own, lock_byte::COMMIT).map_err(errno)?;
        let filled = self.fill_holes_locked(offset, end);
        // Not left to closing: a child forked meanwhile has the description.
        let _ = lock::unlock(&own, lock_byte::COMMIT);
        filled
    }

    fn fill_holes_locked(&self, offset: u64, end: u64) -> Result<(), Errno> {
        let old_len = file::status(&self.fd)?.len;
        let mut at = offset;
        while let Some((hole, hole_end)) = file::next_hole(&self.fd, at, end.min(old_len))? {
            file::write_zeros(&self.fd, hole, hole_end)?;
            at = hole_end;
        }
        if end <= old_len {
            return Ok(());
        }
        let extended = self.extend(old_len, offset.max(old_len), end);
        // A hole that the file system does not show must not stay: its bytes would count as committed. Nobody
        // uses a byte behind the old end yet.
        if extended.is_err() && file::status(&self.fd)?.len <= end {
            let _ = file::truncate(&self.fd, old_len);
        }
        extended
    }

    /// Makes a file of `old_len` bytes one of `end`, real from `start` on.
    fn extend(&self, old_len: u64, start: u64, end: u64) -> Result<(), Errno> {
        // CRASH extend: dead between the two writes, on a file system that has holes but does not show them, the
        // first range stays a hole that nobody finds; its bytes read as zeros, and are at risk on a full disk only.
        file::write_zeros(&self.fd, start, end)?;
        match start > old_len && file::next_hole(&self.fd, old_len, start)?.is_none() {
            true => file::write_zeros(&self.fd, old_len, start),
            false => Ok(()),
        }
    }
}

impl Drop for Storage {
    fn drop(&mut self) {
        let number = *self.locks.get_mut();
        if number != NOT_OPEN {
            // SAFETY: opened by this value (2), which is going.
            drop(unsafe { OwnedFd::from_raw_fd(number) });
        }
    }
}

/// Makes a range of a file real, however many signals come meanwhile. The caller has asked for the file-size limit.
pub(super) fn allocate(fd: impl AsFd, offset: u64, len: u64) -> Result<(), Errno> {
    let (mut at, end, mut piece) = (offset, offset.saturating_add(len), len);
    while at < end {
        let len = piece.min(end - at);
        match file::allocate(&fd, at, len) {
            Ok(()) => at += len,
            // A process with a fast timer would never finish a long call: the kernel starts it over.
            Err(Errno::INTR) => piece = (len / 2).next_multiple_of(SMALLEST_PIECE).max(SMALLEST_PIECE),
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

fn at(index: u64) -> io::Result<u64> {
    match index < lock_byte::INDICES {
        true => Ok(lock_byte::FIRST + index),
        false => Err(io::ErrorKind::InvalidInput.into()),
    }
}

impl Commit for Storage {
    fn commit(&self, offset: u64, len: u64) -> Result<(), AllocError> {
        debug_assert!(offset.is_multiple_of(4096) && len.is_multiple_of(4096));
        if len == 0 {
            return Ok(());
        }
        let end = offset.saturating_add(len);
        // Beyond the limit the kernel sends SIGXFSZ. A file that is long enough already is not concerned.
        let limit_bytes = file::file_size_limit();
        if end > limit_bytes && self.len().map_or(0, |len| len) < end {
            return Err(AllocError::FileSizeLimit { limit_bytes });
        }
        let done = match allocate(&self.fd, offset, len) {
            Err(Errno::OPNOTSUPP) => self.fill_holes(offset, end),
            other => other,
        };
        done.map_err(|e| match e {
            Errno::NOSPC | Errno::DQUOT => AllocError::NoSpace { wanted_bytes: len },
            e => AllocError::Os { errno: e.raw_os_error() },
        })
    }
}
