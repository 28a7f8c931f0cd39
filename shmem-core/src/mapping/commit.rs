//! [`Commit`]: how the heap gets memory behind its addresses, and gives it back, without knowing the operating system.

use crate::error::AllocError;

/// Gives address ranges of one segment real memory.
pub(crate) trait Commit: Send + Sync {
    /// Makes `len` bytes from `offset` (both multiples of 4096, inside the reservation) usable by every process
    /// that maps the segment, zeroed where they were not committed before; idempotent, and safe to call from
    /// several processes at once. Two system calls. The file ends up at least `offset + len` bytes long.
    ///
    /// # Errors
    /// [`AllocError::NoSpace`], [`AllocError::FileSizeLimit`] or [`AllocError::Os`]: never a signal.
    fn commit(&self, offset: u64, len: u64) -> Result<(), AllocError>;

    /// Gives the memory of `len` bytes from `offset` (both multiples of 4096, committed) back to the system: they must not
    /// be touched until they are committed again. Whether it could; if not, nothing has changed. Two system calls. The
    /// file keeps its length.
    ///
    /// # Errors
    /// [`AllocError::Os`]; a part of the memory may be gone.
    fn decommit(&self, offset: u64, len: u64) -> Result<bool, AllocError>;

    /// Copies bytes without touching the memory behind them: where there is none, they are zeros. Whether it could.
    fn read(&self, offset: u64, into: &mut [u8]) -> bool;
}
