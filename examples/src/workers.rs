//! Worker processes: copies of this program in a hidden role, which inherit a segment.
//!
//! The segment is an anonymous one: it has no name that could be left behind, whatever kills whom, and goes with
//! the last process that has it. A worker is handed its descriptor as its standard output, which is thus not to be
//! printed to; standard input and standard error are the parent's.

use shmem_core::Segment;
use std::ffi::{OsStr, OsString};
use std::fmt::Display;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::process::parent_id;
use std::process::{Child, Command, Stdio};

/// The most workers that a program of these may start: a segment has room for 256 processes.
pub const MOST_WORKERS: u64 = 250;

/// The first argument of a worker; its parent, its role and its number follow.
const WORKER: &str = "--internal-worker";

/// What a worker is to do.
#[derive(Debug)]
pub struct Task {
    /// Which of the program's roles it plays.
    pub role: String,
    /// Its number, from 0.
    pub index: usize,
    parent: u32,
}

impl Task {
    /// What this process was started for, if it is a worker.
    pub fn of_this_process() -> Option<Task> {
        let mut args = std::env::args_os().skip(1);
        if args.next()? != WORKER {
            return None;
        }
        let mut text = || args.next()?.into_string().ok();
        let (parent, role, index) = (text()?, text()?, text()?);
        Some(Task { role, index: index.parse().ok()?, parent: parent.parse().ok()? })
    }

    /// The segment that the parent made.
    ///
    /// # Errors
    /// As [`Segment::from_fd`].
    pub fn segment(&self) -> shmem_core::Result<Segment> {
        Segment::from_fd(io::stdout().as_fd())
    }

    /// Whether the parent is gone, so that nobody wants the result.
    pub fn is_orphaned(&self) -> bool {
        parent_id() != self.parent
    }
}

/// The running workers; those that still run when this is dropped are killed.
#[derive(Debug, Default)]
pub struct Workers {
    children: Vec<Child>,
}

impl Workers {
    /// Starts `count` workers in `role` on `segment`.
    ///
    /// # Errors
    /// What the system says; those that were started are killed.
    pub fn start(segment: &Segment, role: &str, count: usize) -> io::Result<Workers> {
        let mut workers = Workers::default();
        workers.add(segment, role, count)?;
        Ok(workers)
    }

    /// Starts `count` more.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub fn add(&mut self, segment: &Segment, role: &str, count: usize) -> io::Result<()> {
        let program = std::env::current_exe()?;
        for index in 0..count {
            let args: [OsString; 4] =
                [WORKER.into(), std::process::id().to_string().into(), role.into(), index.to_string().into()];
            let stdout = Stdio::from(segment.as_fd().try_clone_to_owned()?);
            self.children.push(Command::new(&program).args(args).stdout(stdout).spawn()?);
        }
        Ok(())
    }

    /// Waits until all have ended; a message for each that failed. `failed` is called as soon as the first one has.
    pub fn wait(mut self, failed: impl Fn() + Sync) -> Vec<String> {
        let failed = &failed;
        let outcomes = std::thread::scope(|scope| {
            let wait = |child: &'_ mut Child| {
                let pid = child.id();
                match child.wait() {
                    Ok(status) if status.success() => None,
                    Ok(status) => Some(format!("worker {pid} failed: {status}")),
                    Err(e) => Some(format!("cannot wait for worker {pid}: {e}")),
                }
                .inspect(|_| failed())
            };
            let threads: Vec<_> =
                self.children.iter_mut().map(|child| scope.spawn(move || wait(child))).collect();
            threads.into_iter().map(|thread| thread.join()).collect::<Vec<_>>()
        });
        self.children.clear();
        outcomes.into_iter().filter_map(|outcome| outcome.unwrap_or(None)).collect()
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        for child in &mut self.children {
            // One that has ended already is no failure.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Prints a message of the program called `program` to standard error.
pub fn complain(program: &str, message: impl Display) {
    eprintln!("{program}: {message}");
}

/// The name this program was called by, without its folder.
pub fn program_name() -> String {
    let first = std::env::args_os().next().unwrap_or_default();
    let name = std::path::Path::new(&first).file_name().unwrap_or(OsStr::new("example"));
    name.to_string_lossy().into_owned()
}
