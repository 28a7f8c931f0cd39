//! A child process under ptrace: forked, stepped, killed; and the marks it stops at.
//!
//! This file needs `unsafe`: it makes system calls and forks.

use super::route::Way;
use crate::system::tie_lifelines;
use libc::{c_int, pid_t};
use std::io;
use std::mem::{MaybeUninit, offset_of};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// How long a child may exist.
const LIFE_SECONDS: u32 = 60;
/// How a child ends that did not reach the end of its region.
const NO_REGION: c_int = 70;

#[unsafe(naked)]
extern "C" fn begin_mark() {
    std::arch::naked_asm!("int3", "ret")
}

/// Nobody passes it.
#[unsafe(naked)]
extern "C" fn end_mark() -> ! {
    std::arch::naked_asm!("2:", "int3", "jmp 2b")
}

/// Where the region ends.
pub(super) fn end_address() -> u64 {
    (end_mark as *const ()).addr() as u64
}

/// Runs the operation, from mark to mark.
pub fn region<T>(operation: impl FnOnce() -> T) -> ! {
    begin();
    let _kept = std::mem::ManuallyDrop::new(operation());
    end()
}

/// The mark where the region begins, on the thread that is to be stepped. Where it ends by [`end`] or with that thread.
pub fn begin() {
    // SAFETY: asks to be traced by the parent.
    let asked = unsafe { libc::ptrace(libc::PTRACE_TRACEME, 0, 0, 0) };
    assert_eq!(asked, 0, "ptrace: {}", io::Error::last_os_error());
    begin_mark();
}

/// The mark where the region ends.
pub fn end() -> ! {
    end_mark()
}

/// An instruction, and the stack pointer before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) address: u64,
    pub(super) stack: u64,
}

/// Where a child stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stop {
    /// At an instruction.
    At(Place),
    /// Its thread has ended.
    ThreadEnded,
}

/// A child. Killed and reaped when dropped.
#[derive(Debug)]
pub(super) struct Child {
    pid: pid_t,
    /// The thread that is stepped.
    thread: pid_t,
    reaped: bool,
}

impl Child {
    /// Forks a child that runs `body`, and waits until it stands at the mark.
    ///
    /// # Errors
    /// What it did instead.
    pub(super) fn start(body: impl FnOnce()) -> Result<Self, String> {
        let mut child = Self::fork(body)?;
        let (thread, status) = wait(-1)?;
        child.thread = thread;
        if !libc::WIFSTOPPED(status) || libc::WSTOPSIG(status) != libc::SIGTRAP {
            child.reaped = !libc::WIFSTOPPED(status);
            return Err(format!("the child does not reach the mark: {}", describe(status)));
        }
        ptrace(libc::PTRACE_SETOPTIONS, thread, 0, libc::PTRACE_O_EXITKILL as u64)?;
        Ok(child)
    }

    /// Runs `body` in a child, which dies at its end, or inside.
    ///
    /// # Errors
    /// How else it ended.
    pub(super) fn run(body: impl FnOnce()) -> Result<(), String> {
        let mut child = Self::fork(body)?;
        let (_, status) = wait(child.pid)?;
        child.reaped = true;
        let died = libc::WIFSIGNALED(status) && libc::WTERMSIG(status) == libc::SIGKILL;
        let ended = libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == NO_REGION;
        if died || ended { Ok(()) } else { Err(format!("another process: {}", describe(status))) }
    }

    fn fork(body: impl FnOnce()) -> Result<Self, String> {
        // SAFETY: this process has one thread that matters: libtest's, if there is one, only waits for it.
        match unsafe { libc::fork() } {
            -1 => Err(format!("fork: {}", io::Error::last_os_error())),
            0 => {
                tie_lifelines(LIFE_SECONDS);
                let ended = catch_unwind(AssertUnwindSafe(body));
                // SAFETY: ends the child without running anything of the parent's.
                unsafe { libc::_exit(if ended.is_ok() { NO_REGION } else { 101 }) }
            }
            pid => Ok(Child { pid, thread: pid, reaped: false }),
        }
    }

    /// Where its next instruction is.
    pub(super) fn place(&self) -> Result<Place, String> {
        let mut registers = MaybeUninit::<libc::user_regs_struct>::uninit();
        let none = std::ptr::null_mut::<libc::c_void>();
        // SAFETY: the request fills the registers in.
        if unsafe { libc::ptrace(libc::PTRACE_GETREGS, self.thread, none, registers.as_mut_ptr()) } == -1 {
            return Err(format!("its registers: {}", io::Error::last_os_error()));
        }
        // SAFETY: filled in.
        let registers = unsafe { registers.assume_init() };
        Ok(Place { address: registers.rip, stack: registers.rsp })
    }

    /// Executes one instruction.
    ///
    /// # Errors
    /// A signal, or the end of the process.
    pub(super) fn step(&mut self) -> Result<Stop, String> {
        ptrace(libc::PTRACE_SINGLESTEP, self.thread, 0, 0)?;
        self.stopped()
    }

    /// Goes the way; stops early where its thread ends.
    ///
    /// # Errors
    /// As [`step`](Self::step).
    pub(super) fn go(&mut self, way: Way) -> Result<Stop, String> {
        let mut stop = Stop::At(self.place()?);
        if way.hits > 0 {
            self.set_debug_register(0, way.address)?;
            // Breakpoint 0, this thread's, on execution.
            self.set_debug_register(7, 1)?;
            for _ in 0..way.hits {
                ptrace(libc::PTRACE_CONT, self.thread, 0, 0)?;
                stop = self.stopped()?;
                // Elsewhere: it has come to the end another way.
                if !matches!(stop, Stop::At(place) if place.address == way.address) {
                    return Ok(stop);
                }
            }
            self.set_debug_register(7, 0)?;
        }
        for _ in 0..way.steps {
            stop = self.step()?;
            if stop == Stop::ThreadEnded {
                return Ok(stop);
            }
        }
        Ok(stop)
    }

    fn set_debug_register(&self, register: usize, value: u64) -> Result<(), String> {
        let at = offset_of!(libc::user, u_debugreg) + register * size_of::<u64>();
        ptrace(libc::PTRACE_POKEUSER, self.thread, at as u64, value)
    }

    fn stopped(&mut self) -> Result<Stop, String> {
        let (who, status) = wait(-1)?;
        if who == self.thread && who != self.pid && !libc::WIFSTOPPED(status) {
            return Ok(Stop::ThreadEnded);
        }
        if who == self.pid && !libc::WIFSTOPPED(status) {
            self.reaped = true;
            return Err(format!("the child ended: {}", describe(status)));
        }
        if libc::WSTOPSIG(status) != libc::SIGTRAP {
            return Err(format!("the child got a signal: {}", describe(status)));
        }
        Ok(Stop::At(self.place()?))
    }

    /// Kills it; returns when it is gone.
    pub(super) fn kill(&mut self) {
        if self.reaped {
            return;
        }
        // SAFETY: our own child, not reaped yet.
        unsafe { libc::kill(self.pid, libc::SIGKILL) };
        while let Ok((who, status)) = wait(-1) {
            if who == self.pid && !libc::WIFSTOPPED(status) {
                break;
            }
        }
        self.reaped = true;
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Waits for a child, or for any of them and their threads. The tester kills a stepper in which this takes too long.
fn wait(pid: pid_t) -> Result<(pid_t, c_int), String> {
    let mut status = 0;
    // SAFETY: a valid place for the status.
    match unsafe { libc::waitpid(pid, &mut status, libc::__WALL) } {
        -1 => Err(format!("waitpid: {}", io::Error::last_os_error())),
        who => Ok((who, status)),
    }
}

fn ptrace(request: libc::c_uint, thread: pid_t, address: u64, data: u64) -> Result<(), String> {
    // SAFETY: a request that writes nothing to this process.
    match unsafe { libc::ptrace(request, thread, address, data) } {
        -1 => Err(format!("ptrace request {request}: {}", io::Error::last_os_error())),
        _ => Ok(()),
    }
}

fn describe(status: c_int) -> String {
    if libc::WIFEXITED(status) {
        return match libc::WEXITSTATUS(status) {
            NO_REGION => "it ended without a mark".to_owned(),
            code => format!("exit status {code}"),
        };
    }
    let stopped = libc::WIFSTOPPED(status);
    let signal = if stopped { libc::WSTOPSIG(status) } else { libc::WTERMSIG(status) };
    format!("signal {signal}")
}

/// Keeps this process, and its children, on the processor it is on: the stepper and the stepped always take turns, and
/// waking each other up on another one costs five times as much.
pub(super) fn stay_on_one_processor() {
    // SAFETY: a set of processors is plain bits; the one this thread is on is valid.
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(libc::sched_getcpu().max(0) as usize, &mut set);
        libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &set);
    }
}
