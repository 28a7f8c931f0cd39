//! [`FileMapping`], [`SharedMemory`]: files of plain bytes, shared, without a segment's structure.

use super::place::{Place, remove};
use super::region::{MapMode, MappedRegion};
use super::storage;
use crate::error::OpenError;
use crate::sys::{Errno, file};
use std::fs::File;
use std::io;
use std::ops::RangeBounds;
use std::path::Path;

/// An existing file that can be mapped: the lowest level, without names, types or checks.
///
/// [`Segment`](crate) gives structure and safety; this gives bytes. Symbolic links are followed and any owner is
/// accepted, as with [`File`]; a file that is no regular file is refused.
///
/// # Examples
/// ```
/// use shmem_core::{FileMapping, MapMode};
///
/// # let path = std::env::temp_dir().join(format!("shmem-doc-file-{}", std::process::id()));
/// std::fs::write(&path, vec![0; 1 << 20])?;
/// let mapping = FileMapping::open(&path, MapMode::ReadWrite)?;
/// let region = mapping.map(.., MapMode::ReadWrite)?;
/// region.write_at(500, b"hello")?;
/// region.flush(..)?;
/// assert_eq!(&std::fs::read(&path)?[500..505], b"hello");
/// # std::fs::remove_file(&path)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[doc(alias = "file_mapping")]
#[derive(Debug)]
pub struct FileMapping {
    file: File,
    name: String,
}

impl FileMapping {
    /// Opens the file at `path`, for writing too if `mode` is [`MapMode::ReadWrite`]. Two system calls.
    ///
    /// # Errors
    /// [`OpenError::NotFound`], [`OpenError::NotAFile`], [`OpenError::PermissionDenied`],
    /// [`OpenError::InvalidName`], [`OpenError::Io`].
    pub fn open(path: impl AsRef<Path>, mode: MapMode) -> Result<Self, OpenError> {
        let path = path.as_ref();
        let place = Place::file(path)?;
        let fd =
            file::open_following(path, mode == MapMode::ReadWrite).map_err(|e| place.error("open", e))?;
        refuse_special(&place, &fd)?;
        Ok(FileMapping { file: fd.into(), name: place.display() })
    }

    /// The path it was opened with.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The length of the file in bytes now. One system call.
    ///
    /// # Errors
    /// The system's.
    pub fn len(&self) -> io::Result<u64> {
        Ok(file::status(&self.file)?.len)
    }

    /// Whether the file is empty now. One system call.
    ///
    /// # Errors
    /// The system's.
    pub fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }

    /// Maps a range of the file's bytes; `..` is the whole file. The range need not begin at a page. The region
    /// lives on when this value is dropped. Two system calls.
    ///
    /// # Errors
    /// `InvalidInput` for an empty range and for one that reaches beyond the end of the file;
    /// `PermissionDenied` for [`MapMode::ReadWrite`] of a file that was opened read-only.
    pub fn map(&self, range: impl RangeBounds<u64>, mode: MapMode) -> io::Result<MappedRegion> {
        MappedRegion::map(&self.file, range, mode)
    }

    /// The file itself.
    pub fn as_file(&self) -> &File {
        &self.file
    }

    /// Removes the file at `path`; whether there was one. Whoever has it mapped goes on undisturbed.
    ///
    /// # Errors
    /// [`OpenError::PermissionDenied`], [`OpenError::NotAFile`], [`OpenError::InvalidName`], [`OpenError::Io`].
    pub fn remove(path: impl AsRef<Path>) -> Result<bool, OpenError> {
        remove(&Place::file(path.as_ref())?)
    }
}

/// A named piece of shared memory as plain bytes: `shm_open` in a safe form.
///
/// A new one is empty; [`set_len`](Self::set_len) gives it its size. Dropping the value closes it; the name stays
/// until it is [removed](Self::remove). Another user's object can be opened if its permission bits allow it:
/// look at [`owner`](Self::owner) before you believe what it holds.
///
/// # Examples
/// ```
/// use shmem_core::{MapMode, RemoveOnDrop, SharedMemory};
///
/// let name = format!("doc-shared-{}", std::process::id());
/// let _remove = RemoveOnDrop::shared(&name)?;
/// let memory = SharedMemory::create(&name, 0o600)?;
/// memory.set_len(4096)?;
/// memory.map(.., MapMode::ReadWrite)?.write_at(0, b"ping")?;
///
/// let region = SharedMemory::open_read_only(&name)?.map(..4, MapMode::ReadOnly)?;
/// assert_eq!(region.to_vec(), b"ping");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[doc(alias = "shared_memory_object")]
#[doc(alias = "shm_open")]
#[derive(Debug)]
pub struct SharedMemory {
    file: File,
    name: String,
}

impl SharedMemory {
    /// Creates an empty object with exactly the permission bits `mode`: no umask is applied.
    ///
    /// # Errors
    /// [`OpenError::AlreadyExists`], [`OpenError::InvalidName`], [`OpenError::PermissionDenied`],
    /// [`OpenError::Io`].
    ///
    /// # Crash safety
    /// A process that dies inside may leave an empty object with the bits 0600.
    #[doc(alias = "create_only")]
    pub fn create(name: &str, mode: u32) -> Result<Self, OpenError> {
        let place = Place::shared(name)?;
        Self::create_at(&place, mode)
    }

    fn create_at(place: &Place, mode: u32) -> Result<Self, OpenError> {
        let path = place.path().expect("a shared place has a path");
        let fd = file::create_new(&path).map_err(|e| place.error("create", e))?;
        if let Err(e) = file::set_mode(&fd, mode) {
            let _ = file::unlink(&path);
            return Err(place.error("set the mode of", e));
        }
        Ok(SharedMemory { file: fd.into(), name: place.display() })
    }

    /// Opens an object for reading and writing.
    ///
    /// # Errors
    /// [`OpenError::NotFound`], [`OpenError::InvalidName`], [`OpenError::PermissionDenied`],
    /// [`OpenError::SymbolicLink`], [`OpenError::NotAFile`], [`OpenError::Io`].
    #[doc(alias = "open_only")]
    pub fn open(name: &str) -> Result<Self, OpenError> {
        Self::open_at(&Place::shared(name)?, true)
    }

    /// Opens an object for reading.
    ///
    /// # Errors
    /// As for [`open`](Self::open).
    pub fn open_read_only(name: &str) -> Result<Self, OpenError> {
        Self::open_at(&Place::shared(name)?, false)
    }

    fn open_at(place: &Place, writable: bool) -> Result<Self, OpenError> {
        let path = place.path().expect("a shared place has a path");
        let fd = file::open(&path, writable).map_err(|e| place.error("open", e))?;
        refuse_special(place, &fd)?;
        Ok(SharedMemory { file: fd.into(), name: place.display() })
    }

    /// Opens an object, or creates an empty one.
    ///
    /// # Errors
    /// As for [`open`](Self::open) and [`create`](Self::create), but neither `NotFound` nor `AlreadyExists`.
    pub fn open_or_create(name: &str, mode: u32) -> Result<Self, OpenError> {
        let place = Place::shared(name)?;
        loop {
            match Self::open_at(&place, true) {
                Err(OpenError::NotFound { .. }) => {}
                other => return other,
            }
            match Self::create_at(&place, mode) {
                Err(OpenError::AlreadyExists { .. }) => {}
                other => return other,
            }
        }
    }

    /// Its name, without the leading `/`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its length in bytes now. One system call.
    ///
    /// # Errors
    /// The system's.
    #[doc(alias = "get_size")]
    pub fn len(&self) -> io::Result<u64> {
        Ok(file::status(&self.file)?.len)
    }

    /// Whether it is empty now. One system call.
    ///
    /// # Errors
    /// The system's.
    pub fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }

    /// The user it belongs to. One system call.
    ///
    /// # Errors
    /// The system's.
    pub fn owner(&self) -> io::Result<u32> {
        Ok(file::status(&self.file)?.owner)
    }

    /// Its permission bits. One system call.
    ///
    /// # Errors
    /// The system's.
    pub fn mode(&self) -> io::Result<u32> {
        Ok(file::status(&self.file)?.mode)
    }

    /// Makes it `len` bytes long. What is added is real memory, zeroed: touching it later cannot fail. What is
    /// cut off is lost, and touching it through a region is SIGBUS, in every process.
    ///
    /// # Errors
    /// [`OpenError::NoSpace`], [`OpenError::FileSizeLimit`], [`OpenError::Io`]; the length is as before then, or, if
    /// signals came meanwhile, between the two.
    #[doc(alias = "truncate")]
    pub fn set_len(&self, len: u64) -> Result<(), OpenError> {
        let place = Place::Shared(self.name.clone());
        let old = file::status(&self.file).map_err(|e| place.error("inspect", e))?.len;
        let limit_bytes = file::file_size_limit();
        if len > old && len > limit_bytes {
            return Err(OpenError::FileSizeLimit { name: self.name.clone(), wanted_bytes: len, limit_bytes });
        }
        let done = match len > old {
            true => storage::allocate(&self.file, old, len - old),
            false => file::truncate(&self.file, len),
        };
        done.map_err(|e| match e {
            Errno::NOSPC => OpenError::NoSpace { name: self.name.clone(), wanted_bytes: len - old },
            e => place.io("set the length of", e),
        })
    }

    /// Maps a range of its bytes; `..` is all of it. The region lives on when this value is dropped and when the
    /// name is removed. Two system calls.
    ///
    /// # Errors
    /// As for [`FileMapping::map`].
    pub fn map(&self, range: impl RangeBounds<u64>, mode: MapMode) -> io::Result<MappedRegion> {
        MappedRegion::map(&self.file, range, mode)
    }

    /// The object as a file.
    pub fn as_file(&self) -> &File {
        &self.file
    }

    /// Removes the name; whether there was one. Whoever has the object open goes on undisturbed, and the name can
    /// be used again at once.
    ///
    /// # Errors
    /// [`OpenError::InvalidName`], [`OpenError::PermissionDenied`], [`OpenError::NotAFile`], [`OpenError::Io`].
    pub fn remove(name: &str) -> Result<bool, OpenError> {
        remove(&Place::shared(name)?)
    }
}

fn refuse_special(place: &Place, fd: impl std::os::fd::AsFd) -> Result<(), OpenError> {
    match file::status(fd).map_err(|e| place.error("inspect", e))?.special() {
        Some(kind) => Err(OpenError::NotAFile { name: place.display(), kind }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests;
