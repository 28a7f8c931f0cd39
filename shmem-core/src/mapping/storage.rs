//! [`Storage`]: a segment's open file: memory behind its bytes, and the locks on its bytes.

use super::commit::Commit;
use crate::error::AllocError;
use crate::sys::{Errno, file, lock};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Mutex;

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

/// The smallest piece an interrupted commit is cut into.
const SMALLEST_PIECE: u64 = 64 << 10;

/// A segment's open file.
///
/// # Invariants
/// 1. The open file description belongs to this process alone once [`renew`](Self::renew) has run in it, and to
///    no other `Storage`.
#[derive(Debug)]
pub(crate) struct Storage {
    fd: OwnedFd,
    writable: bool,
}

impl Storage {
    pub(super) fn new(fd: OwnedFd, writable: bool) -> Self {
        Storage { fd, writable }
    }

    /// Its descriptor.
    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// The length of the file in bytes. One system call.
    pub(crate) fn len(&self) -> io::Result<u64> {
        Ok(file::status(&self.fd)?.len)
    }

    /// Locks byte `index` for this open file description if no other one holds it; whether it did. The kernel
    /// drops it when the last process that has the description is dead or has closed it. One system call; never
    /// waits.
    ///
    /// # Errors
    /// The system's, as for a read-only mapping.
    pub(crate) fn lock_byte(&self, index: u64) -> io::Result<bool> {
        lock::try_exclusive(&self.fd, at(index)?)
    }

    /// Gives byte `index` up.
    pub(crate) fn unlock_byte(&self, index: u64) -> io::Result<()> {
        lock::unlock(&self.fd, at(index)?)
    }

    /// Whether another open file description, in this process or another, holds byte `index`. One system call.
    pub(crate) fn byte_is_locked(&self, index: u64) -> io::Result<bool> {
        lock::held_elsewhere(&self.fd, at(index)?)
    }

    /// Opens the file anew under the same descriptor number, so that the open file description and its byte locks
    /// are this process's own: for the child of a fork, which else shares its parent's. It holds no byte
    /// afterwards, and its parent's are its parent's alone. Allocates no descriptor for good; safe to call between
    /// `fork` and `exec` but for the allocation of one path.
    ///
    /// # Errors
    /// The system's: `/proc` is not mounted, or the permissions have changed.
    pub(crate) fn renew(&self) -> io::Result<()> {
        let own = file::reopen(&self.fd, self.writable)?;
        Ok(file::replace(self.fd.as_fd(), &own)?)
    }

    /// The same file through an open file description of its own.
    ///
    /// # Errors
    /// As [`renew`](Self::renew).
    pub(crate) fn reopened(&self) -> io::Result<Storage> {
        Ok(Storage::new(file::reopen(&self.fd, self.writable)?, self.writable))
    }

    /// Makes `own`'s open file description, with the bytes it has locked, this one's too.
    ///
    /// # Errors
    /// The system's; never for a descriptor that is open.
    pub(crate) fn adopt(&self, own: &Storage) -> io::Result<()> {
        Ok(file::replace(self.fd.as_fd(), &own.fd)?)
    }

    fn allocate(&self, offset: u64, len: u64) -> Result<(), Errno> {
        let (mut at, end, mut piece) = (offset, offset + len, len);
        while at < end {
            let len = piece.min(end - at);
            match file::allocate(&self.fd, at, len) {
                Ok(()) => at += len,
                // A process with a fast timer would never finish a long call: the kernel starts it over.
                Err(Errno::INTR) => piece = (len / 2).next_multiple_of(SMALLEST_PIECE).max(SMALLEST_PIECE),
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    /// [`allocate`](Self::allocate) for file systems that cannot: fills holes with zeros. Nobody uses a hole (its
    /// bytes are not committed), and one process at a time fills.
    fn fill_holes(&self, offset: u64, end: u64) -> io::Result<()> {
        // The byte excludes other descriptions, so other processes; the mutex the threads of this one.
        static FILLING: Mutex<()> = Mutex::new(());
        let _filling = FILLING.lock().unwrap_or_else(|e| e.into_inner());
        lock::wait_exclusive(&self.fd, lock_byte::COMMIT)?;
        let filled = self.fill_holes_locked(offset, end);
        lock::unlock(&self.fd, lock_byte::COMMIT)?;
        Ok(filled?)
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
        let start = offset.max(old_len);
        file::write_zeros(&self.fd, start, end)?;
        // A file system that leaves a hole here but shows none would not let it be found when its bytes are
        // committed: leave none there.
        if start > old_len && file::next_hole(&self.fd, old_len, start)?.is_none() {
            file::write_zeros(&self.fd, old_len, start)?;
        }
        Ok(())
    }
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
        let end = offset + len;
        // Beyond the limit the kernel sends SIGXFSZ. A file that is long enough already is not concerned.
        let limit_bytes = file::file_size_limit();
        if end > limit_bytes && self.len().map_or(0, |len| len) < end {
            return Err(AllocError::FileSizeLimit { limit_bytes });
        }
        let done = match self.allocate(offset, len) {
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => {
                self.fill_holes(offset, end).map_err(|e| Errno::from_io_error(&e).unwrap_or(Errno::IO))
            }
            other => other,
        };
        done.map_err(|e| match e {
            Errno::NOSPC | Errno::DQUOT => AllocError::NoSpace { wanted_bytes: len },
            e => AllocError::Os { errno: e.raw_os_error() },
        })
    }
}
