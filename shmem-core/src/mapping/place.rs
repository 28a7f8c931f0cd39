//! [`Place`]: where a segment's file stands, the rules for names, and what the system's errors mean there.

use crate::error::OpenError;
use crate::sys::{Errno, file};
use std::borrow::Cow;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Where named shared memory stands: a tmpfs on every Linux system.
const SHARED_DIRECTORY: &str = "/dev/shm";

/// The longest name a directory entry may have.
const NAME_MAX: usize = 255;

/// Where a segment's file stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    /// Named shared memory; the name without its leading `/`.
    Shared(String),
    /// A file on some file system.
    File(PathBuf),
    /// Nowhere: memory that lives as long as a descriptor or a mapping of it.
    Anonymous,
}

impl Place {
    /// The shared memory object called `name`; one leading `/` is optional.
    ///
    /// # Errors
    /// [`OpenError::InvalidName`].
    pub(crate) fn shared(name: &str) -> Result<Place, OpenError> {
        let bare = name.strip_prefix('/').unwrap_or(name);
        let why = match bare {
            "" => "it is empty",
            "." | ".." => "it names a directory",
            _ if bare.len() > NAME_MAX => "it is longer than 255 bytes",
            _ if bare.contains('/') => "it has a `/` behind the first character",
            _ if bare.contains('\0') => "it has a NUL character",
            _ => return Ok(Place::Shared(bare.to_owned())),
        };
        Err(OpenError::InvalidName { name: name.to_owned(), why })
    }

    /// The file at `path`; relative to the working directory of the moment of each use.
    ///
    /// # Errors
    /// [`OpenError::InvalidName`].
    pub(crate) fn file(path: impl Into<PathBuf>) -> Result<Place, OpenError> {
        let path = path.into();
        let bytes = path.as_os_str().as_bytes();
        let why = match path.file_name() {
            _ if bytes.is_empty() => "it is empty",
            _ if bytes.contains(&0) => "it has a NUL character",
            None => "it names a directory",
            Some(_) if bytes.ends_with(b"/") => "it ends in `/`",
            Some(name) if name.len() > NAME_MAX => "its last component is longer than 255 bytes",
            Some(_) => return Ok(Place::File(path)),
        };
        Err(OpenError::InvalidName { name: path.display().to_string(), why })
    }

    /// What errors and listings call it.
    pub(crate) fn display(&self) -> String {
        match self {
            Place::Shared(name) => name.clone(),
            Place::File(path) => path.display().to_string(),
            Place::Anonymous => "(anonymous)".to_owned(),
        }
    }

    /// The path of its file; `None` if it has none.
    pub(super) fn path(&self) -> Option<Cow<'_, Path>> {
        match self {
            Place::Shared(name) => Some(Cow::Owned(Path::new(SHARED_DIRECTORY).join(name))),
            Place::File(path) => Some(Cow::Borrowed(path)),
            Place::Anonymous => None,
        }
    }

    /// What a failure to do `action` here means.
    #[cold]
    pub(super) fn error(&self, action: &'static str, errno: Errno) -> OpenError {
        let path = self.path();
        let status = || file::status_at(path.as_deref()?).ok();
        match errno {
            Errno::NOENT if action == "open" => OpenError::NotFound { name: self.display() },
            Errno::EXIST => OpenError::AlreadyExists { name: self.display() },
            Errno::ACCESS | Errno::PERM => OpenError::PermissionDenied { name: self.display() },
            Errno::LOOP if status().is_some_and(|s| s.is_symlink()) => {
                OpenError::SymbolicLink { name: self.display() }
            }
            Errno::ISDIR => OpenError::NotAFile { name: self.display(), kind: "directory" },
            // A socket, or a device without a driver.
            Errno::NXIO | Errno::NODEV => match status().and_then(|s| s.special()) {
                Some(kind) => OpenError::NotAFile { name: self.display(), kind },
                None => self.io(action, errno),
            },
            Errno::NAMETOOLONG => {
                OpenError::InvalidName { name: self.display(), why: "the path is too long" }
            }
            _ => self.io(action, errno),
        }
    }

    #[cold]
    pub(super) fn io(&self, action: &'static str, errno: Errno) -> OpenError {
        let path = self.path().map_or_else(|| PathBuf::from(self.display()), Cow::into_owned);
        OpenError::Io { action, path, source: errno.into() }
    }
}

/// Takes a segment's name away; whether there was one. Whoever has it mapped goes on undisturbed.
///
/// # Errors
/// [`OpenError::PermissionDenied`], [`OpenError::NotAFile`] for a directory, [`OpenError::Io`].
pub(crate) fn remove(place: &Place) -> Result<bool, OpenError> {
    let Some(path) = place.path() else { return Ok(false) };
    match file::unlink(&path) {
        Ok(()) => Ok(true),
        Err(Errno::NOENT) => Ok(false),
        Err(e) => Err(place.error("remove", e)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shared_names_follow_the_rules() {
        let name = |name: &str| match Place::shared(name) {
            Ok(Place::Shared(bare)) => Ok(bare),
            Ok(other) => panic!("{other:?}"),
            Err(OpenError::InvalidName { name: shown, why }) => {
                assert_eq!(shown, name);
                Err(why)
            }
            Err(e) => panic!("{e}"),
        };
        assert_eq!(name("bank"), name("/bank"));
        assert_eq!(name("/bank").unwrap(), "bank");
        assert_eq!(name(&"n".repeat(255)).unwrap().len(), 255);
        assert_eq!(name(&format!("/{}", "n".repeat(255))).unwrap().len(), 255);
        assert!(name(".hidden").is_ok() && name("...").is_ok() && name("ä b\n").is_ok());
        assert_eq!(name(&"n".repeat(256)), Err("it is longer than 255 bytes"));
        assert_eq!(name(""), Err("it is empty"));
        assert_eq!(name("/"), Err("it is empty"));
        assert_eq!(name("."), Err("it names a directory"));
        assert_eq!(name("/.."), Err("it names a directory"));
        assert_eq!(name("a/b"), Err("it has a `/` behind the first character"));
        assert_eq!(name("//a"), Err("it has a `/` behind the first character"));
        assert_eq!(name("a\0b"), Err("it has a NUL character"));
    }

    #[test]
    fn paths_follow_the_rules() {
        for bad in ["", "/", "..", "a/..", "a\0b", "a/", &format!("d/{}", "n".repeat(256))] {
            assert!(matches!(Place::file(bad), Err(OpenError::InvalidName { .. })), "{bad}");
        }
        assert_eq!(Place::file("a/b").unwrap().display(), "a/b");
    }
}
