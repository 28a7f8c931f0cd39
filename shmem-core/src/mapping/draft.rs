//! [`Draft`]: a file that nobody can find yet, to be published whole or to vanish with its creator.
//!
//! Where the file system can make unnamed files, the draft is one, and publishing it links it: a creator that
//! dies leaves nothing. Elsewhere it is a file beside its place called `.NAME.shmem-RANDOM`, whose creator holds
//! the byte [`lock_byte::CREATOR`]: one whose byte is free is a dead creator's, and the next creator removes it.

use super::place::Place;
use super::storage::lock_byte;
use crate::crash::crash_point;
use crate::error::OpenError;
use crate::sys::{Errno, file, lock};
use std::borrow::Cow;
use std::ffi::{OsStr, OsString};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

/// How a draft is kept out of sight.
#[derive(Debug)]
enum Hidden {
    /// Memory, which is never published.
    Memory,
    /// Without a name.
    Unnamed,
    /// Under a name that says what it is.
    Temporary(PathBuf),
}

/// A file being built.
#[derive(Debug)]
pub(super) struct Draft {
    hidden: Hidden,
}

/// Why a draft was not published.
pub(super) enum Unpublished {
    /// An unnamed file cannot be linked here (no `/proc`): try with a temporary one.
    Unlinkable,
    Failed(OpenError),
}

impl Draft {
    /// An empty file with exactly the permission bits `mode` (of owner, group and others). `named` asks for a temporary file even where
    /// unnamed ones are to be had.
    pub(super) fn new(place: &Place, mode: u32, named: bool) -> Result<(Self, OwnedFd), OpenError> {
        let mode = mode & 0o777;
        let failed = |errno| place.error("create", errno);
        let (hidden, fd) = match place.path() {
            None => (Hidden::Memory, file::create_memory(mode & 0o111 != 0).map_err(failed)?),
            Some(path) => {
                let unnamed =
                    if named { Err(Errno::OPNOTSUPP) } else { file::create_unnamed(directory(&path)) };
                match unnamed {
                    Ok(fd) => {
                        crash_point!("draft.unnamed");
                        (Hidden::Unnamed, fd)
                    }
                    // EISDIR and ENOENT are what kernels and file systems say that do not know O_TMPFILE.
                    Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::INVAL | Errno::NOENT | Errno::NOSYS) => {
                        let (at, fd) = create_temporary(&path).map_err(failed)?;
                        (Hidden::Temporary(at), fd)
                    }
                    Err(e) => return Err(failed(e)),
                }
            }
        };
        let draft = Draft { hidden };
        file::set_mode(&fd, mode).map_err(failed)?;
        crash_point!("draft.mode");
        Ok((draft, fd))
    }

    /// Gives the whole file its place, if nothing stands there: one atomic step.
    pub(super) fn publish(mut self, place: &Place, fd: BorrowedFd<'_>) -> Result<(), Unpublished> {
        let Some(path) = place.path() else { return Ok(()) };
        let published = match &self.hidden {
            Hidden::Memory => Ok(()),
            Hidden::Unnamed => match file::link_unnamed(fd, &path) {
                Err(Errno::NOENT) => return Err(Unpublished::Unlinkable),
                other => other,
            },
            Hidden::Temporary(at) => file::rename_new(at, &path),
        };
        // CRASH publish: between the two steps of `rename_new` on an old file system the file has both names, and
        // the next creator removes the temporary one.
        published.map_err(|e| Unpublished::Failed(place.error("publish", e)))?;
        if let Hidden::Unnamed = self.hidden {
            crash_point!("publish.linked");
        }
        if let Hidden::Temporary(_) = std::mem::replace(&mut self.hidden, Hidden::Memory) {
            crash_point!("publish.renamed");
            // A lock that stayed would only keep a left-over second name from being removed.
            let _ = lock::unlock(fd, lock_byte::CREATOR);
            crash_point!("publish.unlocked");
        }
        Ok(())
    }
}

impl Drop for Draft {
    /// Removes what was not published.
    fn drop(&mut self) {
        if let Hidden::Temporary(at) = &self.hidden {
            let _ = file::unlink(at);
        }
    }
}

fn directory(path: &Path) -> &Path {
    path.parent().filter(|d| !d.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// What the names of the temporary files for `path` begin with. The name is cut so that they stay legal; a
/// prefix shared by two names does no harm, since the lock tells whose creator is dead.
fn temporary_prefix(path: &Path) -> OsString {
    let name = path.file_name().map_or(Cow::Borrowed(&b""[..]), |n| Cow::Borrowed(n.as_bytes()));
    let mut prefix = b".".to_vec();
    prefix.extend_from_slice(&name[..name.len().min(200)]);
    prefix.extend_from_slice(b".shmem-");
    OsString::from_vec(prefix)
}

/// A new temporary file for `path`, its byte held, after those of dead creators were removed.
fn create_temporary(path: &Path) -> Result<(PathBuf, OwnedFd), Errno> {
    let (directory, prefix) = (directory(path), temporary_prefix(path));
    remove_stale(directory, &prefix);
    loop {
        let mut name = prefix.clone();
        name.push(format!("{:016x}", getrandom::u64().map_err(|_| Errno::IO)?));
        let at = directory.join(name);
        let fd = match file::create_new(&at) {
            Err(Errno::EXIST) => continue,
            other => other?,
        };
        crash_point!("draft.temporary");
        // Before the byte is ours another creator may take the file for a dead one's and remove it; afterwards
        // nobody does.
        let errno = |e: std::io::Error| Errno::from_io_error(&e).unwrap_or(Errno::IO);
        let ours = match lock::try_exclusive(&fd, lock_byte::CREATOR).map_err(errno) {
            Ok(locked) => locked && file::status(&fd)?.named,
            Err(e) => {
                let _ = file::unlink(&at);
                return Err(e);
            }
        };
        if ours {
            crash_point!("draft.locked");
            return Ok((at, fd));
        }
    }
}

/// Removes the temporary files whose creators are dead. What cannot be opened is not ours to remove.
fn remove_stale(directory: &Path, prefix: &OsStr) {
    let mut stale = Vec::new();
    let _ = file::names_in(directory, |name| {
        let bytes = name.as_bytes();
        let random = bytes.strip_prefix(prefix.as_bytes());
        if random.is_some_and(|r| r.len() == 16 && r.iter().all(u8::is_ascii_hexdigit)) {
            stale.push(directory.join(name));
        }
    });
    for path in stale {
        let Ok(fd) = file::open(&path, true) else { continue };
        if file::status(&fd).is_ok_and(|s| s.special().is_none())
            && matches!(lock::try_exclusive(&fd, lock_byte::CREATOR), Ok(true))
        {
            crash_point!("stale.found");
            let _ = file::unlink(&path);
            crash_point!("stale.removed");
        }
    }
}
