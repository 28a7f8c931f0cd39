//! `openat`, `memfd_create`, `fstat`, `fstatfs`, `lstat`, `fchmod`, `linkat`, `renameat2`, `unlink`, `getdents64`, `pread64`,
//! `pwrite64`, `lseek`, `fallocate`, `ftruncate`, `fcntl(F_ADD_SEALS)`, `prlimit64`.

use super::Errno;
use crate::crash::crash_point;
use rustix::fs::{AtFlags, CWD, FallocateFlags, FileType, MemfdFlags, Mode, OFlags, SealFlags, SeekFrom};
use std::ffi::{CStr, OsStr};
use std::io::Write;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;

type Result<T> = std::result::Result<T, Errno>;

/// Switches by which a test makes this thread's file system lack a feature.
#[cfg(any(test, shmem_crash))]
pub(crate) mod lacking {
    use std::cell::Cell;
    thread_local! {
        /// `O_TMPFILE` fails with `EOPNOTSUPP`.
        pub(crate) static UNNAMED_FILES: Cell<bool> = const { Cell::new(false) };
        /// `renameat2` fails with `EINVAL`.
        pub(crate) static RENAME_NOREPLACE: Cell<bool> = const { Cell::new(false) };
    }
    #[cfg(test)]
    thread_local! {
        /// `fallocate` fails with `EOPNOTSUPP`.
        pub(crate) static FALLOCATE: Cell<bool> = const { Cell::new(false) };
        /// `SEEK_DATA` and `SEEK_HOLE` see no holes.
        pub(crate) static HOLES: Cell<bool> = const { Cell::new(false) };
    }
}

/// Repeats a call that a signal interrupted.
fn retry<T>(call: impl FnMut() -> Result<T>) -> Result<T> {
    rustix::io::retry_on_intr(call)
}

/// What [`status`] tells of a file.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Status {
    pub(crate) len: u64,
    pub(crate) owner: u32,
    /// Whether it has a name.
    pub(crate) named: bool,
    /// The permission bits.
    pub(crate) mode: u32,
    /// Device and number: no other file that exists has both.
    pub(crate) identity: (u64, u64),
    kind: FileType,
}

impl Status {
    /// What the file is, if it is no regular file.
    pub(crate) fn special(&self) -> Option<&'static str> {
        Some(match self.kind {
            FileType::RegularFile => return None,
            FileType::Directory => "directory",
            FileType::Fifo => "FIFO",
            FileType::Socket => "socket",
            FileType::CharacterDevice => "character device",
            FileType::BlockDevice => "block device",
            FileType::Symlink => "symbolic link",
            _ => "special file",
        })
    }

    pub(crate) fn is_symlink(&self) -> bool {
        self.kind == FileType::Symlink
    }
}

impl From<rustix::fs::Stat> for Status {
    fn from(stat: rustix::fs::Stat) -> Self {
        Status {
            len: stat.st_size.try_into().unwrap_or(0),
            owner: stat.st_uid,
            named: stat.st_nlink > 0,
            mode: stat.st_mode & 0o7777,
            identity: (stat.st_dev, stat.st_ino),
            kind: FileType::from_raw_mode(stat.st_mode),
        }
    }
}

pub(crate) fn status(fd: impl AsFd) -> Result<Status> {
    rustix::fs::fstat(fd).map(Status::from)
}

/// Which kind of file system a file is on (`f_type`). One system call.
pub(crate) fn file_system(fd: impl AsFd) -> Result<u64> {
    rustix::fs::fstatfs(fd).map(|stat| stat.f_type as u64)
}

/// The status of what stands at `path`, itself if it is a symbolic link.
pub(crate) fn status_at(path: &Path) -> Result<Status> {
    rustix::fs::lstat(path).map(Status::from)
}

fn access(writable: bool) -> OFlags {
    OFlags::CLOEXEC | if writable { OFlags::RDWR } else { OFlags::RDONLY }
}

/// Opens what exists at `path`: never blocks on a FIFO, never follows a symbolic link in the last component.
pub(crate) fn open(path: &Path, writable: bool) -> Result<OwnedFd> {
    let flags = access(writable) | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
    retry(|| rustix::fs::openat(CWD, path, flags, Mode::empty()))
}

/// Opens what exists at `path` and follows symbolic links; never blocks on a FIFO.
pub(crate) fn open_following(path: &Path, writable: bool) -> Result<OwnedFd> {
    let flags = access(writable) | OFlags::NONBLOCK | OFlags::NOCTTY;
    retry(|| rustix::fs::openat(CWD, path, flags, Mode::empty()))
}

/// Creates a file at `path`, which must not exist.
pub(crate) fn create_new(path: &Path) -> Result<OwnedFd> {
    let flags = access(true) | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW;
    retry(|| rustix::fs::openat(CWD, path, flags, Mode::RUSR | Mode::WUSR))
}

/// Creates a file without a name on the file system of `directory`, to be given one by [`link_unnamed`].
pub(crate) fn create_unnamed(directory: &Path) -> Result<OwnedFd> {
    #[cfg(any(test, shmem_crash))]
    if lacking::UNNAMED_FILES.get() {
        return Err(Errno::OPNOTSUPP);
    }
    let flags = access(true) | OFlags::TMPFILE;
    retry(|| rustix::fs::openat(CWD, directory, flags, Mode::RUSR | Mode::WUSR))
}

/// Creates memory that is a file without a name anywhere, can never shrink, and can be sealed no further.
pub(crate) fn create_memory(executable: bool) -> Result<OwnedFd> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let create = |flags| rustix::fs::memfd_create(c"shmem", flags);
    let fd = if executable {
        create(flags)?
    } else {
        match create(flags | MemfdFlags::NOEXEC_SEAL) {
            // Linux before 6.3.
            Err(Errno::INVAL) => create(flags)?,
            other => other?,
        }
    };
    rustix::fs::fcntl_add_seals(&fd, SealFlags::SHRINK | SealFlags::SEAL)?;
    Ok(fd)
}

/// The path of a descriptor, made without allocating: it is used in the child of a fork. By way of the thread: that of the
/// process leads nowhere once its first thread has ended.
fn proc_path(fd: impl AsFd) -> [u8; 32] {
    let mut path = [0; 32];
    let mut rest = &mut path[..31];
    write!(rest, "/proc/thread-self/fd/{}", fd.as_fd().as_raw_fd()).expect("21 and at most 10 bytes");
    path
}

/// [`proc_path`]'s bytes as a path.
fn as_path(bytes: &[u8; 32]) -> &CStr {
    CStr::from_bytes_until_nul(bytes).expect("the last byte is 0")
}

/// Names a file made by [`create_unnamed`], unless something stands at `path`.
pub(crate) fn link_unnamed(fd: impl AsFd, path: &Path) -> Result<()> {
    // By descriptor first: one path less to walk. Before Linux 6.10 it needs a capability, else it is ENOENT.
    match rustix::fs::linkat(fd.as_fd(), c"", CWD, path, AtFlags::EMPTY_PATH) {
        Err(Errno::NOENT | Errno::PERM | Errno::INVAL) => {
            rustix::fs::linkat(CWD, as_path(&proc_path(fd)), CWD, path, AtFlags::SYMLINK_FOLLOW)
        }
        other => other,
    }
}

/// Renames `from` to `to`, unless something stands there.
pub(crate) fn rename_new(from: &Path, to: &Path) -> Result<()> {
    #[cfg(any(test, shmem_crash))]
    let unsupported = lacking::RENAME_NOREPLACE.get();
    #[cfg(not(any(test, shmem_crash)))]
    let unsupported = false;
    let renamed = match unsupported {
        true => Err(Errno::INVAL),
        false => rustix::fs::renameat_with(CWD, from, CWD, to, rustix::fs::RenameFlags::NOREPLACE),
    };
    match renamed {
        Err(Errno::INVAL | Errno::NOSYS) => {
            rustix::fs::link(from, to)?;
            crash_point!("publish.second-name");
            // What is left if this fails, or is not reached, is a second name of a whole file, to be removed by
            // the next creator.
            let _ = rustix::fs::unlink(from);
            Ok(())
        }
        other => other,
    }
}

pub(crate) fn unlink(path: &Path) -> Result<()> {
    rustix::fs::unlink(path)
}

/// Calls `each` with every name in a directory.
pub(crate) fn names_in(directory: &Path, mut each: impl FnMut(&OsStr)) -> Result<()> {
    use std::os::unix::ffi::OsStrExt;
    let flags = access(false) | OFlags::DIRECTORY;
    let fd = retry(|| rustix::fs::openat(CWD, directory, flags, Mode::empty()))?;
    for entry in rustix::fs::Dir::new(fd)? {
        each(OsStr::from_bytes(entry?.file_name().to_bytes()));
    }
    Ok(())
}

/// Sets the permission bits exactly: no umask is applied.
pub(crate) fn set_mode(fd: impl AsFd, mode: u32) -> Result<()> {
    rustix::fs::fchmod(fd, Mode::from_raw_mode(mode))
}

/// The same file again, under an open file description of its own. Allocates nothing.
pub(crate) fn reopen(fd: impl AsFd, writable: bool) -> Result<OwnedFd> {
    let path = proc_path(fd);
    let flags = access(writable) | OFlags::NONBLOCK | OFlags::NOCTTY;
    retry(|| rustix::fs::openat(CWD, as_path(&path), flags, Mode::empty()))
}

/// Reads at `offset` until the buffer is full or the file ends; how many bytes were read.
pub(crate) fn read_at(fd: impl AsFd, into: &mut [u8], offset: u64) -> Result<usize> {
    let mut done = 0;
    while done < into.len() {
        match retry(|| rustix::io::pread(&fd, &mut into[done..], offset + done as u64))? {
            0 => break,
            n => done += n,
        }
    }
    Ok(done)
}

/// Writes zeros over a range. The caller has asked [`file_size_limit`].
pub(crate) fn write_zeros(fd: impl AsFd, mut offset: u64, end: u64) -> Result<()> {
    static ZEROS: [u8; 64 << 10] = [0; 64 << 10];
    while offset < end {
        let len = (end - offset).min(ZEROS.len() as u64) as usize;
        match retry(|| rustix::io::pwrite(&fd, &ZEROS[..len], offset))? {
            0 => return Err(Errno::NOSPC),
            n => offset += n as u64,
        }
    }
    Ok(())
}

/// The first hole at or behind `offset` and where it ends, both below `end`; `None` if there is none. File
/// systems that know no holes show none; others show what [`allocate`] gave and nobody touched as a hole too.
pub(crate) fn next_hole(fd: impl AsFd, offset: u64, end: u64) -> Result<Option<(u64, u64)>> {
    #[cfg(test)]
    if lacking::HOLES.get() {
        return Ok(None);
    }
    let start = match rustix::fs::seek(&fd, SeekFrom::Hole(offset)) {
        Ok(start) if start < end => start,
        // Behind the end of the file; or a file that cannot seek for holes.
        Ok(_) | Err(Errno::NXIO | Errno::INVAL) => return Ok(None),
        Err(e) => return Err(e),
    };
    match rustix::fs::seek(&fd, SeekFrom::Data(start)) {
        Ok(data) => Ok(Some((start, data.min(end)))),
        Err(Errno::NXIO) => Ok(Some((start, end))),
        Err(e) => Err(e),
    }
}

/// Gives a range of a file real storage, zeroed where there was none, and makes the file at least that long.
/// The caller has asked [`file_size_limit`]. `EINTR` is passed on: what was done may have been undone.
pub(crate) fn allocate(fd: impl AsFd, offset: u64, len: u64) -> Result<()> {
    #[cfg(test)]
    if lacking::FALLOCATE.get() {
        return Err(Errno::OPNOTSUPP);
    }
    rustix::fs::fallocate(fd, FallocateFlags::empty(), offset, len)
}

/// Takes the storage of a range away: it becomes a hole. The file keeps its length.
pub(crate) fn punch(fd: impl AsFd, offset: u64, len: u64) -> Result<()> {
    #[cfg(test)]
    if lacking::FALLOCATE.get() {
        return Err(Errno::OPNOTSUPP);
    }
    let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    retry(|| rustix::fs::fallocate(&fd, flags, offset, len))
}

/// Cuts a file.
pub(crate) fn truncate(fd: impl AsFd, len: u64) -> Result<()> {
    retry(|| rustix::fs::ftruncate(&fd, len))
}

/// The length no file of this process may exceed, lest the process get SIGXFSZ.
pub(crate) fn file_size_limit() -> u64 {
    rustix::process::getrlimit(rustix::process::Resource::Fsize).current.unwrap_or(u64::MAX)
}
