//! `geteuid`, `kill`, `pthread_atfork`.
//!
//! This file needs `unsafe`: `pthread_atfork` takes C functions.

use std::io;

/// The user whose rights this process has.
pub(crate) fn effective_user() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// Has the system kill this process, at once and for good.
#[cfg(shmem_crash)]
pub(crate) fn die() -> ! {
    let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
    loop {
        // Where a sibling thread got the signal first, this one goes on for a moment, and must do nothing.
        std::hint::spin_loop();
    }
}

/// Runs `prepare` in the parent before each later `fork`, and then `parent` and `child` each in its process, all
/// in the thread that forks. The functions must not panic; `child` may call only what is safe after a fork of a
/// process with threads. There is no way to take them back.
pub(crate) fn at_fork(
    prepare: extern "C" fn(),
    parent: extern "C" fn(),
    child: extern "C" fn(),
) -> io::Result<()> {
    // SAFETY: the functions are safe, and stay loaded: the C library drops handlers of an unloaded object itself.
    match unsafe { libc::pthread_atfork(Some(prepare), Some(parent), Some(child)) } {
        0 => Ok(()),
        errno => Err(io::Error::from_raw_os_error(errno)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn handlers_run_around_a_fork() {
        use std::sync::atomic::{AtomicU32, Ordering};
        static STEPS: AtomicU32 = AtomicU32::new(0);
        // Other tests may fork too, so each handler only leaves its mark.
        extern "C" fn prepare() {
            STEPS.fetch_or(1, Ordering::Relaxed);
        }
        extern "C" fn parent() {
            STEPS.fetch_or(2, Ordering::Relaxed);
        }
        extern "C" fn child() {
            STEPS.fetch_or(4, Ordering::Relaxed);
        }
        at_fork(prepare, parent, child).unwrap();
        // SAFETY: the child only reads an atomic and exits.
        let pid = unsafe { libc::fork() };
        if pid == 0 {
            // SAFETY: ends the child without running anything of the test's.
            unsafe { libc::_exit(STEPS.load(Ordering::Relaxed) as i32) };
        }
        let mut status = 0;
        // SAFETY: waits for the child just forked.
        assert_eq!(unsafe { libc::waitpid(pid, &raw mut status, 0) }, pid);
        assert_eq!(libc::WEXITSTATUS(status) & 5, 5);
        assert_eq!(STEPS.load(Ordering::Relaxed), 3);
    }
}
