//! [`Commit`]: how the heap gets memory behind its addresses without knowing the operating system.

use crate::error::AllocError;

/// Gives address ranges of one segment real memory.
pub(crate) trait Commit: Send + Sync {
    /// Makes `len` bytes from `offset` (both multiples of 4096, inside the reservation) usable by every process
    /// that maps the segment, zeroed where they were not committed before; idempotent, and safe to call from
    /// several processes at once. One system call. The file ends up at least `offset + len` bytes long.
    ///
    /// # Errors
    /// [`AllocError::NoSpace`], [`AllocError::FileSizeLimit`] or [`AllocError::Os`]: never a signal.
    fn commit(&self, offset: u64, len: u64) -> Result<(), AllocError>;
}
