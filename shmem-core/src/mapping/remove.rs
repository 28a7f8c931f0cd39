//! [`RemoveOnDrop`]: a name that is removed before and after use.

use super::place::{Place, remove};
use crate::error::OpenError;
use std::path::PathBuf;

/// Removes a segment's name when it is made and again when it is dropped: for programs that want to start from
/// nothing and leave nothing behind.
///
/// A name that does not exist is no error. Processes that have the segment mapped go on undisturbed: as with
/// Unix files, the name goes at once, the memory with its last user. One system call each time.
///
/// # Crash safety
/// A process that dies leaves the name; the next `RemoveOnDrop` removes it.
///
/// # Examples
/// ```
/// use shmem_core::{RemoveOnDrop, SharedMemory};
///
/// let name = format!("doc-remove-{}", std::process::id());
/// {
///     let _remove = RemoveOnDrop::shared(&name)?;
///     SharedMemory::create(&name, 0o600)?;
/// }
/// assert!(SharedMemory::open(&name).is_err());
/// # Ok::<(), shmem_core::OpenError>(())
/// ```
#[doc(alias = "shm_remove")]
#[doc(alias = "remove_shared_memory_on_destroy")]
#[derive(Debug)]
#[must_use = "dropping it removes the name at once"]
pub struct RemoveOnDrop {
    place: Place,
}

impl RemoveOnDrop {
    /// Removes the shared memory called `name`, now and when dropped.
    ///
    /// # Errors
    /// [`OpenError::InvalidName`]; [`OpenError::PermissionDenied`], [`OpenError::NotAFile`] or [`OpenError::Io`]
    /// if the name exists and cannot be removed.
    pub fn shared(name: &str) -> Result<Self, OpenError> {
        Self::new(Place::shared(name)?)
    }

    /// Removes the file at `path`, now and when dropped.
    ///
    /// # Errors
    /// As for [`shared`](Self::shared).
    pub fn file(path: impl Into<PathBuf>) -> Result<Self, OpenError> {
        Self::new(Place::file(path)?)
    }

    fn new(place: Place) -> Result<Self, OpenError> {
        remove(&place)?;
        Ok(RemoveOnDrop { place })
    }

    /// Leaves the name in place after all.
    pub fn keep(mut self) {
        self.place = Place::Anonymous;
    }
}

impl Drop for RemoveOnDrop {
    /// Removes the name; failures are ignored.
    fn drop(&mut self) {
        let _ = remove(&self.place);
    }
}
