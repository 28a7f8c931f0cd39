//! `getpid`, `geteuid`, `sched_getaffinity`, `/proc/PID/stat`, `pthread_atfork`.
//!
//! This file needs `unsafe`: `pthread_atfork` takes C functions.

use std::io;
use std::sync::OnceLock;

/// This process, in its own PID namespace.
pub(crate) fn pid() -> u32 {
    rustix::process::getpid().as_raw_pid() as u32
}

/// The user whose rights this process has.
pub(crate) fn effective_user() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// When a process was started, in clock ticks since the machine was: together with the PID it names the process
/// for good.
///
/// # Errors
/// `NotFound` if no such process is visible here.
pub(crate) fn start_time(pid: u32) -> io::Result<u64> {
    let stat = std::fs::read(format!("/proc/{pid}/stat"))?;
    parse_start_time(&stat).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// When this process was started; see [`start_time`].
pub(crate) fn own_start_time() -> io::Result<u64> {
    let stat = std::fs::read("/proc/self/stat")?;
    parse_start_time(&stat).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// Field 22. Field 2 is the program's name in parentheses and may hold anything, parentheses and spaces too, so
/// fields are counted from the last `)`.
fn parse_start_time(stat: &[u8]) -> Option<u64> {
    let name_end = stat.iter().rposition(|&b| b == b')')?;
    let rest = std::str::from_utf8(&stat[name_end + 1..]).ok()?;
    rest.split_ascii_whitespace().nth(22 - 3)?.parse().ok()
}

/// How many CPUs this process may run on; asked once.
pub(crate) fn cpus() -> usize {
    static CPUS: OnceLock<usize> = OnceLock::new();
    *CPUS.get_or_init(|| std::thread::available_parallelism().map_or(1, |n| n.get()))
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
    fn start_time_is_field_22_whatever_the_name() {
        let stat = |name: &str| {
            format!("17 ({name}) S 1 17 17 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 987654 1000 200 18446")
        };
        for name in ["cat", "a b", ") S 1 (", "((", "", ")))"] {
            assert_eq!(parse_start_time(stat(name).as_bytes()), Some(987_654), "{name}");
        }
        let mut bytes = stat("x").into_bytes();
        bytes[4] = 0xFF;
        assert_eq!(parse_start_time(&bytes), Some(987_654), "names need not be UTF-8");
        for bad in ["", "17 (cat", "17 (cat) S 1", "17 (cat) S 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 x 1"] {
            assert_eq!(parse_start_time(bad.as_bytes()), None);
        }
    }

    #[test]
    fn a_live_process_has_a_start_time() {
        assert_eq!(start_time(pid()).unwrap(), own_start_time().unwrap());
        assert_eq!(start_time(u32::MAX).unwrap_err().kind(), io::ErrorKind::NotFound);
        assert!(cpus() >= 1);
    }

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
