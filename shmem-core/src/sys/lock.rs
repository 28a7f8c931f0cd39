//! `fcntl(F_OFD_SETLK)`, `fcntl(F_OFD_SETLKW)`, `fcntl(F_OFD_GETLK)`: locks on single bytes of a file, held by an
//! open file description and dropped by the kernel with its last descriptor.
//!
//! This file needs `unsafe`: `fcntl` takes a raw structure. (rustix lacks these commands.)

use std::io;
use std::os::fd::{AsFd, AsRawFd};

fn record(kind: libc::c_int, byte: u64) -> io::Result<libc::flock> {
    let start = byte.try_into().map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    Ok(libc::flock {
        l_type: kind as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: start,
        l_len: 1,
        l_pid: 0,
    })
}

fn call(fd: impl AsFd, command: libc::c_int, record: &mut libc::flock) -> io::Result<()> {
    loop {
        // SAFETY: the descriptor is open; these commands read and write one `flock`.
        let done = unsafe { libc::fcntl(fd.as_fd().as_raw_fd(), command, &raw mut *record) };
        if done == 0 {
            return Ok(());
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}

fn try_call(fd: impl AsFd, kind: libc::c_int, byte: u64) -> io::Result<bool> {
    match call(fd, libc::F_OFD_SETLK, &mut record(kind, byte)?) {
        Ok(()) => Ok(true),
        Err(e) if matches!(e.raw_os_error(), Some(libc::EAGAIN | libc::EACCES)) => Ok(false),
        Err(e) => Err(e),
    }
}

/// Locks a byte exclusively if no other description holds it; whether it did. The file must be open for writing.
pub(crate) fn try_exclusive(fd: impl AsFd, byte: u64) -> io::Result<bool> {
    try_call(fd, libc::F_WRLCK, byte)
}

/// Locks a byte exclusively, waiting for its holder.
pub(crate) fn wait_exclusive(fd: impl AsFd, byte: u64) -> io::Result<()> {
    call(fd, libc::F_OFD_SETLKW, &mut record(libc::F_WRLCK, byte)?)
}

/// Gives a byte up, however it was locked; no error if it was not.
pub(crate) fn unlock(fd: impl AsFd, byte: u64) -> io::Result<()> {
    call(fd, libc::F_OFD_SETLK, &mut record(libc::F_UNLCK, byte)?)
}

/// Whether another open file description holds the byte, in whatever way.
pub(crate) fn held_elsewhere(fd: impl AsFd, byte: u64) -> io::Result<bool> {
    let mut found = record(libc::F_WRLCK, byte)?;
    call(fd, libc::F_OFD_GETLK, &mut found)?;
    Ok(found.l_type != libc::F_UNLCK as libc::c_short)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::{MemfdFlags, memfd_create};

    #[test]
    fn a_byte_belongs_to_a_description_and_goes_with_it() {
        let one = memfd_create(c"shmem-unit-lock", MemfdFlags::CLOEXEC).unwrap();
        let two = super::super::file::reopen(&one, true).unwrap();
        let far = (1 << 62) + 7;
        assert!(try_exclusive(&one, far).unwrap());
        assert!(try_exclusive(&one, far).unwrap(), "a description does not exclude itself");
        assert!(!held_elsewhere(&one, far).unwrap());
        assert!(held_elsewhere(&two, far).unwrap());
        assert!(!try_exclusive(&two, far).unwrap());
        assert!(try_exclusive(&two, far + 1).unwrap(), "the next byte is another lock");
        let copy = one.try_clone().unwrap();
        drop(one);
        assert!(held_elsewhere(&two, far).unwrap(), "a duplicate keeps the description");
        drop(copy);
        // A child that another test spawns has every description until it executes its program.
        let start = std::time::Instant::now();
        while held_elsewhere(&two, far).unwrap() {
            assert!(start.elapsed().as_secs() < 20);
            std::thread::yield_now();
        }
        assert!(try_exclusive(&two, far).unwrap());
        unlock(&two, far).unwrap();
        unlock(&two, far).unwrap();
        wait_exclusive(&two, far).unwrap();
        assert!(try_exclusive(&two, u64::MAX).is_err());
    }
}
