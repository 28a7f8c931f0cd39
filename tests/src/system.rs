//! `fork`, `kill`, `signal`, `clock_gettime`, `prctl`, `alarm`, `setrlimit`, `unshare`, `mount`, `mkfifo`, `chown`.
//!
//! This file needs `unsafe`: it calls the C library.

use std::ffi::CString;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::FromRawFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::{Duration, Instant};

fn c_path(path: &Path) -> CString {
    CString::new(path.as_os_str().as_bytes()).expect("a path without zero bytes")
}

fn done(result: libc::c_int) -> io::Result<()> {
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Whether this process may do what only the superuser may.
pub fn is_root() -> bool {
    // SAFETY: no preconditions.
    unsafe { libc::geteuid() == 0 }
}

/// Sends a signal to a process that the test started.
pub fn signal(pid: u32, signal: libc::c_int) {
    // SAFETY: no preconditions.
    unsafe { libc::kill(pid as libc::pid_t, signal) };
}

/// How long this thread has run on a processor.
pub fn thread_time() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: a structure to be written.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) };
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// Has `handler`, which may do only what a signal handler may, called for a signal.
pub(crate) fn handle(signal: libc::c_int, handler: extern "C" fn(libc::c_int)) {
    // SAFETY: the handler is for ever, and takes what signal handlers take.
    unsafe { libc::signal(signal, handler as *const () as libc::sighandler_t) };
}

/// Has this process die with the thread that started it, and in any case within `seconds`.
pub(crate) fn tie_lifelines(seconds: u32) {
    // SAFETY: no preconditions.
    unsafe {
        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
        libc::alarm(seconds);
    }
}

/// Lets this process outlive the one that started it, for a minute.
pub fn cut_lifelines() {
    // SAFETY: no preconditions.
    unsafe {
        libc::prctl(libc::PR_SET_PDEATHSIG, 0);
        libc::alarm(60);
    }
}

/// Limits the size of files that this process writes.
pub fn limit_file_size(bytes: Option<u64>) -> io::Result<()> {
    let limit =
        libc::rlimit { rlim_cur: bytes.unwrap_or(libc::RLIM_INFINITY), rlim_max: libc::RLIM_INFINITY };
    // SAFETY: a valid structure.
    done(unsafe { libc::setrlimit(libc::RLIMIT_FSIZE, &limit) })
}

/// Mounts a tmpfs of so many bytes at `at`, in a mount namespace that only the calling thread is in.
pub fn mount_tmpfs(at: &Path, bytes: u64) -> io::Result<()> {
    let (at, options) = (c_path(at), CString::new(format!("size={bytes},mode=1777")).expect("digits"));
    let none = std::ptr::null();
    // SAFETY: zero-terminated strings; the calling process runs one test in one thread.
    unsafe {
        done(libc::unshare(libc::CLONE_NEWNS))?;
        done(libc::mount(none, c"/".as_ptr(), none, libc::MS_REC | libc::MS_PRIVATE, none.cast()))?;
        let kind = c"tmpfs".as_ptr();
        done(libc::mount(kind, at.as_ptr(), kind, 0, options.as_ptr().cast()))
    }
}

/// Makes a FIFO.
pub fn make_fifo(at: &Path) -> io::Result<()> {
    // SAFETY: a zero-terminated string.
    done(unsafe { libc::mkfifo(c_path(at).as_ptr(), 0o666) })
}

/// Gives a file to another user.
pub fn set_owner(at: &Path, user: u32) -> io::Result<()> {
    // SAFETY: a zero-terminated string.
    done(unsafe { libc::lchown(c_path(at).as_ptr(), user, user) })
}

/// The child of a [`fork`].
#[derive(Debug)]
pub struct Forked {
    /// Its process id.
    pub pid: u32,
    report: File,
    reaped: bool,
}

impl Forked {
    /// What it reported. Panics if that takes too long.
    #[track_caller]
    pub fn report(&mut self) -> String {
        let mut text = String::new();
        let mut byte = [0];
        let start = Instant::now();
        loop {
            assert!(
                start.elapsed() < Duration::from_secs(30),
                "a forked child reports nothing more than {text:?}"
            );
            match self.report.read(&mut byte) {
                Ok(1) if byte[0] != b'\n' => text.push(byte[0] as char),
                Ok(_) => return text,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                    std::thread::sleep(Duration::from_millis(1));
                }
                Err(e) => panic!("the pipe of a forked child: {e}"),
            }
        }
    }

    /// Ends it.
    pub fn kill(&mut self) {
        if !self.reaped {
            signal(self.pid, libc::SIGKILL);
            // SAFETY: our own child, not reaped yet.
            unsafe { libc::waitpid(self.pid as libc::pid_t, std::ptr::null_mut(), 0) };
            self.reaped = true;
        }
    }
}

impl Drop for Forked {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Forks. The child runs `body`, which may report lines to the file it is given, and ends: with it, nothing of the
/// parent's is dropped. If `body` panics, the child reports that.
///
/// # Safety
/// 1. The process has one thread, or `body` is content with what a child of a process with threads may do.
pub unsafe fn fork(body: impl FnOnce(&mut File)) -> io::Result<Forked> {
    let mut ends = [0; 2];
    // SAFETY: room for two descriptors.
    done(unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC) })?;
    // SAFETY: new descriptors, each owned once.
    let (report, mut write) = unsafe { (File::from_raw_fd(ends[0]), File::from_raw_fd(ends[1])) };
    // SAFETY: 1.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => {
            tie_lifelines(60);
            let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| body(&mut write)));
            if result.is_err() {
                let _ = writeln!(write, "panicked");
            }
            // SAFETY: ends the child without running anything of the parent's.
            unsafe { libc::_exit(0) }
        }
        pid => {
            drop(write);
            // SAFETY: our own descriptor.
            unsafe { libc::fcntl(std::os::fd::AsRawFd::as_raw_fd(&report), libc::F_SETFL, libc::O_NONBLOCK) };
            Ok(Forked { pid: pid as u32, report, reaped: false })
        }
    }
}
