//! `geteuid`, `gettid`, `kill`, `pthread_atfork`; what `/proc` tells of processes.
//!
//! This file needs `unsafe`: `pthread_atfork` takes C functions.

use rustix::process::{Pid, test_kill_process};
use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt;
use std::{fs, io};

/// The id of this thread in its PID namespace.
pub(crate) fn thread_id() -> u32 {
    rustix::thread::gettid().as_raw_nonzero().get() as u32
}

/// What tells a process from every other that this one could see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Identity {
    /// Its id in its own PID namespace.
    pub(crate) pid: u32,
    /// The numbers of its PID namespace (below) and of its time namespace.
    pub(crate) namespaces: u64,
    /// When it was started, in clock ticks since the machine was (as its time namespace counts them).
    pub(crate) started: u64,
}

/// The namespaces whose members see the same ids, and the same times. (The kernel numbers namespaces with 32 bits.)
/// `None` also where `/proc` is that of another PID namespace, and so tells of other processes by the same ids.
fn namespaces() -> Option<u64> {
    // The ids of this process in the namespace of `/proc`, and in each from there down to its own.
    let status = fs::read_to_string("/proc/thread-self/status").ok()?;
    let ids = status.lines().find_map(|line| line.strip_prefix("NSpid:"));
    if ids.is_some_and(|ids| ids.split_whitespace().count() != 1) {
        return None;
    }
    let number = |kind| fs::metadata(format!("/proc/thread-self/ns/{kind}")).ok()?.ino().try_into().ok();
    let pid: u32 = number("pid")?;
    // A kernel without time namespaces has one for all.
    let time: u32 = number("time").unwrap_or(0);
    Some(u64::from(time) << 32 | u64::from(pid))
}

/// This process's identity, if `/proc` tells it.
pub(crate) fn identity() -> Option<Identity> {
    let pid = std::process::id();
    Some(Identity { pid, namespaces: namespaces()?, started: start_of(pid)? })
}

/// When a process of this PID namespace was started.
fn start_of(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is the program's name, which may hold anything.
    stat.rsplit_once(") ")?.1.split(' ').nth(19)?.parse().ok()
}

/// Whether `/proc` proves that no thread of the process has its memory any more. `false` where it cannot tell: the
/// process is of another namespace, or hidden. A few system calls for each thread.
pub(crate) fn has_left_its_memory(process: &Identity) -> bool {
    if namespaces() != Some(process.namespaces) {
        return false;
    }
    let Some(pid) = i32::try_from(process.pid).ok().and_then(Pid::from_raw) else { return false };
    if test_kill_process(pid) == Err(rustix::io::Errno::SRCH) {
        return true;
    }
    match start_of(process.pid) {
        Some(started) if started == process.started => {}
        // The id is another's by now.
        Some(_) => return true,
        None => return false,
    }
    // A thread that is about to go may have made another meanwhile, so the same ones must be found twice.
    let first = threads_without_memory(process.pid);
    first.is_some() && first == threads_without_memory(process.pid)
}

/// The threads of a process, if none of them has memory.
fn threads_without_memory(pid: u32) -> Option<BTreeSet<u32>> {
    let mut threads = BTreeSet::new();
    for thread in fs::read_dir(format!("/proc/{pid}/task")).ok()? {
        let thread: u32 = thread.ok()?.file_name().to_str()?.parse().ok()?;
        match fs::read_to_string(format!("/proc/{pid}/task/{thread}/statm")) {
            Ok(pages) if pages.starts_with("0 ") => {}
            // It has ended since the directory was read.
            Err(e) if e.raw_os_error() == Some(libc::ESRCH) || e.kind() == io::ErrorKind::NotFound => {}
            _ => return None,
        }
        threads.insert(thread);
    }
    Some(threads)
}

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
    fn a_process_has_its_memory_until_it_ends() {
        let own = identity().unwrap();
        assert!(!has_left_its_memory(&own));
        assert!(has_left_its_memory(&Identity { started: own.started + 1, ..own }), "the id was used again");
        assert!(!has_left_its_memory(&Identity { namespaces: 1, ..own }), "not for us to tell");
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let pid = child.id();
        let of_child = Identity { pid, started: start_of(pid).unwrap(), ..own };
        let before = has_left_its_memory(&of_child);
        child.kill().unwrap();
        let start = std::time::Instant::now();
        // A zombie, for nobody has waited for it yet.
        let mut after = false;
        while !after && start.elapsed().as_secs() < 20 {
            after = has_left_its_memory(&of_child);
        }
        child.wait().unwrap();
        assert!(!before && after && has_left_its_memory(&of_child));
    }

    /// Runs `body` in a child of a fork; what that gave.
    fn in_child(body: impl FnOnce() -> i32) -> i32 {
        // SAFETY: the child runs `body` alone, and ends without running anything of the test's.
        let pid = unsafe { libc::fork() };
        if pid == 0 {
            let given = std::panic::catch_unwind(std::panic::AssertUnwindSafe(body)).unwrap_or(99);
            // SAFETY: as above.
            unsafe { libc::_exit(given) };
        }
        let mut status = 0;
        // SAFETY: waits for the child just forked.
        assert_eq!(unsafe { libc::waitpid(pid, &raw mut status, 0) }, pid);
        if libc::WIFEXITED(status) { libc::WEXITSTATUS(status) } else { 98 }
    }

    #[test]
    fn proc_of_another_namespace_is_not_believed() {
        const NOT_ALLOWED: i32 = 2;
        let outcome = in_child(|| {
            // SAFETY: this process has one thread; its children get a namespace of ids, and `/proc` stays.
            let alone = unsafe {
                libc::unshare(libc::CLONE_NEWPID) == 0
                    || libc::unshare(libc::CLONE_NEWUSER | libc::CLONE_NEWPID) == 0
            };
            if !alone {
                return NOT_ALLOWED;
            }
            in_child(|| i32::from(identity().is_some()))
        });
        assert!(outcome == 0 || outcome == NOT_ALLOWED, "{outcome}");
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
