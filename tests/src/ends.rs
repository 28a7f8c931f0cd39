//! How processes and threads end, or only seem to: what is done to the workers of the suites about liveness.
//!
//! This file needs `unsafe`: it calls the C library.

use std::ffi::{CStr, CString};
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Has this process leave no core file, whatever ends it.
pub fn no_core_dump() {
    let none = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: a valid structure.
    unsafe { libc::setrlimit(libc::RLIMIT_CORE, &none) };
}

/// Writes where nothing may be written.
pub fn fault() -> ! {
    // SAFETY: a new mapping of the kernel's choice.
    let page = unsafe {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        libc::mmap(std::ptr::null_mut(), 4096, libc::PROT_NONE, flags, -1, 0)
    };
    assert_ne!(page, libc::MAP_FAILED);
    // SAFETY: none: the fault is what this is for. The page is ours, so nobody else's memory can be hit.
    unsafe { page.cast::<u8>().write_volatile(1) };
    unreachable!("a page without rights was written");
}

/// Ends the process, and runs nothing first.
pub fn exit_at_once() -> ! {
    // SAFETY: no preconditions.
    unsafe { libc::_exit(0) }
}

/// Becomes another program, which sleeps for a minute.
pub fn become_another_program() -> ! {
    let program: &CStr = c"/bin/sleep";
    let arguments = [program.as_ptr(), c"60".as_ptr(), std::ptr::null()];
    // SAFETY: zero-terminated strings, and a list of them that ends with null.
    unsafe { libc::execv(program.as_ptr(), arguments.as_ptr()) };
    panic!("no {program:?}: {}", io::Error::last_os_error());
}

/// Closes every descriptor but standard input, output and error, as daemons do.
pub fn close_descriptors() {
    // SAFETY: closes descriptors of which the caller's process will not mind; reaches no memory.
    let done = unsafe { libc::syscall(libc::SYS_close_range, 3, u32::MAX, 0) };
    assert_eq!(done, 0, "{}", io::Error::last_os_error());
}

/// Makes a child by the bare system call: no handler runs. It sleeps for a minute, whatever becomes of its parent.
pub fn raw_fork() -> u32 {
    // SAFETY: the child makes only system calls.
    let pid = unsafe { libc::syscall(libc::SYS_clone, libc::SIGCHLD, 0, 0, 0, 0) };
    assert!(pid >= 0, "{}", io::Error::last_os_error());
    if pid == 0 {
        // SAFETY: no preconditions.
        unsafe { libc::alarm(60) };
        loop {
            // SAFETY: no preconditions.
            unsafe { libc::pause() };
        }
    }
    pid as u32
}

/// Makes a process that has this one's memory, and lives on when this one is killed. It sleeps for a minute.
pub fn share_memory() -> u32 {
    extern "C" fn sleep(_: *mut libc::c_void) -> libc::c_int {
        // SAFETY: no preconditions.
        unsafe { libc::alarm(60) };
        loop {
            // SAFETY: no preconditions.
            unsafe { libc::pause() };
        }
    }
    // For as long as anybody has this memory.
    let stack = vec![0_u128; 4096].leak().as_mut_ptr_range().end;
    // SAFETY: the other process uses this one's memory but for its own stack in no way.
    let pid =
        unsafe { libc::clone(sleep, stack.cast(), libc::CLONE_VM | libc::SIGCHLD, std::ptr::null_mut()) };
    assert!(pid >= 0, "{}", io::Error::last_os_error());
    pid as u32
}

/// Ends, when it is dropped, a process that is nobody's child here.
#[derive(Debug)]
pub struct Orphan(pub u32);

impl Drop for Orphan {
    fn drop(&mut self) {
        crate::signal(self.0, libc::SIGKILL);
    }
}

extern "C" fn vanish(_: libc::c_int) {
    // SAFETY: ends this thread alone; nothing of it runs any more.
    unsafe { libc::syscall(libc::SYS_exit, 0) };
}

/// Lets threads of this process be made to [vanish](make_vanish).
pub fn threads_can_vanish() {
    let handler: extern "C" fn(libc::c_int) = vanish;
    // SAFETY: the handler makes one system call.
    unsafe { libc::signal(libc::SIGUSR1, handler as libc::sighandler_t) };
}

/// Ends the first thread of this process, which is another one than this.
pub fn first_thread_vanishes() {
    make_vanish(std::process::id() as i32);
}

/// The id of this thread.
pub fn thread_id() -> i32 {
    // SAFETY: no preconditions.
    unsafe { libc::gettid() }
}

/// Ends a thread of this process wherever it is: no destructor of it runs, and what it holds it holds. The memory
/// allocator's lock may be among that, so this allocates nothing from then on, and neither may the caller.
pub fn make_vanish(thread: i32) {
    let stat = format!("/proc/{}/task/{thread}/stat", std::process::id());
    // SAFETY: no preconditions.
    unsafe { libc::syscall(libc::SYS_tgkill, libc::getpid(), thread, libc::SIGUSR1) };
    crate::eventually("the thread is gone", || {
        let mut text = [0; 512];
        let Ok(read) = File::open(&stat).and_then(|mut stat| stat.read(&mut text)) else { return true };
        // The first thread of a process stays, as a zombie, until the others are gone.
        text[..read].windows(3).any(|part| part == b") Z")
    });
}

/// As [`report`](crate::report), without any lock or allocation, for a process of which a thread has vanished.
pub fn report_bare(line: &str) {
    let parts = [crate::worker::MARK, line, "\n"]
        .map(|part| libc::iovec { iov_base: part.as_ptr().cast_mut().cast(), iov_len: part.len() });
    // SAFETY: the parts are valid, and only read.
    let written = unsafe { libc::writev(1, parts.as_ptr(), parts.len() as libc::c_int) };
    assert!(written > 0, "the test listens");
}

/// Sleeps until it is killed.
pub fn sleep_for_ever() -> ! {
    loop {
        std::thread::sleep(Duration::from_secs(1));
    }
}

/// Whether a process is stopped.
pub fn is_stopped(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('T'))
}

/// Whether a process has ended, reaped or not, or runs another program than this one.
pub fn has_ended(pid: u32) -> bool {
    // A process that has ended has no program.
    let program = |pid| std::fs::read_link(format!("/proc/{pid}/exe")).ok();
    program(pid.to_string()) != program("self".to_owned())
}

/// Puts the children that this thread starts from now on into a PID namespace of their own.
pub(crate) fn unshare_pids() -> io::Result<()> {
    // SAFETY: no preconditions.
    match unsafe { libc::unshare(libc::CLONE_NEWPID) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Gives this thread, and what it starts, a `/proc` that shows the PID namespace this process is in.
pub fn mount_own_proc() -> io::Result<()> {
    // SAFETY: zero-terminated strings; the calling process has one thread that matters.
    let done = unsafe {
        let none = std::ptr::null();
        libc::unshare(libc::CLONE_NEWNS) == 0
            && libc::mount(none, c"/".as_ptr(), none, libc::MS_REC | libc::MS_PRIVATE, none.cast()) == 0
            && libc::mount(c"proc".as_ptr(), c"/proc".as_ptr(), c"proc".as_ptr(), 0, none.cast()) == 0
    };
    if done { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Mounts an overlayfs below `dir`, in a mount namespace that only the calling thread is in, and what it starts; gives where it
/// is. All that is written there is in memory, and gone with the namespace.
pub fn mount_overlay(dir: &Path) -> io::Result<PathBuf> {
    crate::mount_tmpfs(dir, 16 << 20)?;
    let [lower, upper, work, merged] = ["lower", "upper", "work", "merged"].map(|name| dir.join(name));
    for dir in [&lower, &upper, &work, &merged] {
        std::fs::create_dir(dir)?;
    }
    let options =
        format!("lowerdir={},upperdir={},workdir={}", lower.display(), upper.display(), work.display());
    let (options, at) = (CString::new(options)?, CString::new(merged.as_os_str().as_bytes())?);
    let kind = c"overlay".as_ptr();
    // SAFETY: zero-terminated strings.
    match unsafe { libc::mount(kind, at.as_ptr(), kind, 0, options.as_ptr().cast()) } {
        0 => Ok(merged),
        _ => Err(io::Error::last_os_error()),
    }
}

/// From now on the kernel ends this process (with SIGSYS) when it sleeps on a futex until a time of day.
pub fn forbid_sleeping_by_the_time_of_day() {
    const LOAD: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
    const EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
    const ANY_BIT: u16 = (libc::BPF_JMP | libc::BPF_JSET | libc::BPF_K) as u16;
    const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;
    // In `struct seccomp_data`: the number of the call, and the lower half of argument `i`.
    let argument = |i: u32| 16 + 8 * i;
    let step = |code, jt, jf, k| libc::sock_filter { code, jt, jf, k };
    let mut filter = [
        step(LOAD, 0, 0, 0),
        step(EQUAL, 0, 2, libc::SYS_futex as u32),
        step(LOAD, 0, 0, argument(1)),
        step(ANY_BIT, 4, 3, libc::FUTEX_CLOCK_REALTIME as u32),
        step(EQUAL, 0, 2, libc::SYS_futex_waitv as u32),
        step(LOAD, 0, 0, argument(4)),
        step(EQUAL, 1, 0, libc::CLOCK_REALTIME as u32),
        step(RETURN, 0, 0, libc::SECCOMP_RET_ALLOW),
        step(RETURN, 0, 0, libc::SECCOMP_RET_KILL_PROCESS),
    ];
    let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_mut_ptr() };
    // SAFETY: a valid program, which the kernel copies.
    let done = unsafe {
        libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
            && libc::syscall(
                libc::SYS_seccomp,
                libc::SECCOMP_SET_MODE_FILTER,
                libc::SECCOMP_FILTER_FLAG_TSYNC,
                &raw const program,
            ) == 0
    };
    assert!(done, "{}", io::Error::last_os_error());
}

/// Sleeps on a futex until a time of day that has passed.
pub fn sleep_by_the_time_of_day() {
    let (word, past) = (0_u32, libc::timespec { tv_sec: 1, tv_nsec: 0 });
    let operation = libc::FUTEX_WAIT_BITSET | libc::FUTEX_CLOCK_REALTIME;
    // SAFETY: the word and the time are valid.
    unsafe { libc::syscall(libc::SYS_futex, &raw const word, operation, 0, &raw const past, 0, u32::MAX) };
}
