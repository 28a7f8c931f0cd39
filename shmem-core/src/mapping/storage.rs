//! [`Storage`]: a segment's open file: memory behind its bytes, and the locks on its bytes.
//!
//! No process-local lock is held anywhere here: a fork copies them locked.

use super::commit::Commit;
use super::held_byte::{self, HeldByte, LockedByte};
use crate::error::AllocError;
use crate::sys::{Errno, file, lock, memory};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::ptr::NonNull;

/// The bytes that are locked, far behind every byte that is stored. FORMAT.md, "File locks".
pub(crate) mod lock_byte {
    /// The byte of index 0 of [`Storage::hold_byte`](super::Storage::hold_byte); process records follow.
    pub(crate) const FIRST: u64 = 1 << 62;
    /// Held by whoever creates the file, where it has a temporary name meanwhile.
    pub(crate) const CREATOR: u64 = FIRST + (1 << 32);
    /// Held while zeros are written, where the file system cannot allocate.
    pub(crate) const COMMIT: u64 = CREATOR + 1;
    /// The indices that [`Storage::hold_byte`](super::Storage::hold_byte) takes.
    pub(crate) const INDICES: u64 = CREATOR - FIRST;
}

/// The smallest piece an interrupted commit is cut into.
const SMALLEST_PIECE: u64 = 64 << 10;

/// A segment's open file: the open file description that is mapped. No byte is locked through it once the segment is
/// published.
#[derive(Debug)]
pub(crate) struct Storage {
    fd: OwnedFd,
    writable: bool,
    /// What the descriptor led to when it was given: somebody may close descriptors that are not theirs.
    identity: Option<(u64, u64)>,
}

impl Storage {
    pub(super) fn new(fd: OwnedFd, writable: bool) -> Self {
        let identity = file::status(&fd).ok().map(|status| status.identity);
        Storage { fd, writable, identity }
    }

    /// Its descriptor.
    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// Its descriptor, which still leads to the segment's file. One system call.
    fn own_fd(&self) -> io::Result<BorrowedFd<'_>> {
        self.own_status().map(|_| self.fd())
    }

    fn own_status(&self) -> io::Result<file::Status> {
        let status = file::status(&self.fd)?;
        match self.identity {
            Some(identity) if status.identity == identity => Ok(status),
            _ => Err(io::Error::other("the descriptor of the segment's file was closed by somebody else")),
        }
    }

    /// The length of the file in bytes. One system call.
    pub(crate) fn len(&self) -> io::Result<u64> {
        Ok(self.own_status()?.len)
    }

    /// The number in the 4 bytes at `offset`, read without touching the memory behind them: 0 if there is none. Two system
    /// calls.
    ///
    /// # Errors
    /// The system's; somebody closed the segment's descriptor; the file is shorter.
    pub(crate) fn word(&self, offset: u64) -> io::Result<u32> {
        let mut bytes = [0; 4];
        match file::read_at(self.own_fd()?, &mut bytes, offset)? {
            4 => Ok(u32::from_ne_bytes(bytes)),
            _ => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }

    /// Locks byte `index` if nobody else holds it, in this process or another; `None` if somebody does. It stays locked
    /// until the value is dropped or the memory of this process is gone, whatever children it has forked. A few
    /// system calls; never waits.
    ///
    /// # Errors
    /// The system's: the mapping is read-only, or `/proc` is not mounted, or the permissions of the file or the rights
    /// of the process have changed.
    pub(crate) fn hold_byte(&self, index: u64) -> io::Result<Option<HeldByte>> {
        held_byte::hold_byte(self.lockable()?, at(index)?)
    }

    /// Locks byte `index` for the child of a fork that is about to be, as [`hold_byte`](Self::hold_byte) does.
    ///
    /// # Errors
    /// As for [`hold_byte`](Self::hold_byte).
    pub(crate) fn lock_for_child(&self, index: u64) -> io::Result<Option<LockedByte>> {
        LockedByte::lock(self.lockable()?, at(index)?)
    }

    /// The descriptor, of a file that may be locked: the kernel wants it to be writable.
    fn lockable(&self) -> io::Result<BorrowedFd<'_>> {
        if self.writable { self.own_fd() } else { Err(io::ErrorKind::PermissionDenied.into()) }
    }

    /// Whether anybody, this process too, holds byte `index`. Two system calls.
    ///
    /// # Errors
    /// The system's; somebody closed the segment's descriptor.
    pub(crate) fn byte_is_held(&self, index: u64) -> io::Result<bool> {
        lock::held_elsewhere(self.own_fd()?, at(index)?)
    }

    /// Maps a part of the file once more, writable, for this process alone. Three system calls.
    ///
    /// # Errors
    /// The system's; somebody closed the segment's descriptor.
    pub(crate) fn map(&self, offset: u64, len: usize) -> io::Result<NonNull<u8>> {
        Ok(memory::map_part(self.own_fd()?, offset, len)?)
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

/// Somebody closed the descriptor: what has its number now is left alone.
#[cold]
fn stranger(error: io::Error) -> AllocError {
    AllocError::Os { errno: error.raw_os_error().unwrap_or(Errno::BADF.raw_os_error()) }
}

impl Commit for Storage {
    fn commit(&self, offset: u64, len: u64) -> Result<(), AllocError> {
        debug_assert!(offset.is_multiple_of(4096) && len.is_multiple_of(4096));
        if len == 0 {
            return Ok(());
        }
        let end = offset.saturating_add(len);
        let status = self.own_status().map_err(stranger)?;
        // Beyond the limit the kernel sends SIGXFSZ. A file that is long enough already is not concerned.
        let limit_bytes = file::file_size_limit();
        if end > limit_bytes && status.len < end {
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

    fn read(&self, offset: u64, into: &mut [u8]) -> bool {
        self.own_fd().is_ok_and(|fd| file::read_at(fd, into, offset) == Ok(into.len()))
    }

    fn decommit(&self, offset: u64, len: u64) -> Result<bool, AllocError> {
        debug_assert!(offset.is_multiple_of(4096) && len.is_multiple_of(4096));
        match file::punch(self.own_fd().map_err(stranger)?, offset, len) {
            Ok(()) => Ok(true),
            // The file system cannot, or the memory was sealed: said before anything is done.
            Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::PERM) => Ok(false),
            Err(e) => Err(AllocError::Os { errno: e.raw_os_error() }),
        }
    }
}
