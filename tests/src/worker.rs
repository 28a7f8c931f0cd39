//! Worker processes: the test binary, started again in a role.
//!
//! A worker reports lines to its test and hears lines from it. It dies with the thread that started it, and after two
//! minutes in any case.

use crate::{PATIENCE, system};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

const ROLE: &str = "SHMEM_TEST_ROLE";
const ARGUMENTS: &str = "SHMEM_TEST_ARGUMENTS";
const SEPARATOR: char = '\x1f';
/// What a worker's reports begin with; the rest of its output is libtest's.
const MARK: &str = "@ ";

/// Declares the roles of a suite: `roles! { racer, killer }` for functions `fn racer()`.
#[macro_export]
macro_rules! roles {
    ($($role:ident),+ $(,)?) => {
        /// Not a test: the entrance for workers.
        #[test]
        fn role() {
            $crate::enter(&[$((stringify!($role), $role as fn())),+]);
        }
    };
}

/// Becomes the worker that the environment asks for, if it asks for one; then does not return.
pub fn enter(roles: &[(&str, fn())]) {
    let Ok(wanted) = std::env::var(ROLE) else { return };
    let (_, body) = roles.iter().find(|(name, _)| *name == wanted).expect("a role of this suite");
    system::tie_lifelines(if crate::long() { 1800 } else { 120 });
    // libtest has begun a line.
    println!();
    body();
    std::process::exit(0);
}

/// The arguments of this worker.
pub fn arguments() -> Vec<String> {
    std::env::var(ARGUMENTS).unwrap_or_default().split(SEPARATOR).map(str::to_owned).collect()
}

/// Argument `i` of this worker, parsed.
pub fn argument<T: std::str::FromStr>(i: usize) -> T {
    let all = arguments();
    all[i].parse().unwrap_or_else(|_| panic!("argument {i}: {:?}", all[i]))
}

/// Reports a line to the test.
pub fn report(line: impl std::fmt::Display) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{MARK}{line}").and_then(|()| out.flush()).expect("the test listens");
}

/// The next line from the test; `None` once it has nothing more to say.
pub fn hear() -> Option<String> {
    let mut line = String::new();
    let read = std::io::stdin().read_line(&mut line).expect("the test speaks UTF-8");
    (read > 0).then(|| line.trim_end().to_owned())
}

/// A worker, seen from its test. Killed and reaped when dropped.
#[derive(Debug)]
pub struct Worker {
    role: String,
    child: Child,
    stdin: Option<ChildStdin>,
    lines: Receiver<String>,
}

impl Worker {
    /// Starts this binary in a role.
    pub fn spawn(role: &str, arguments: &[&dyn std::fmt::Display]) -> Self {
        let own = std::env::current_exe().expect("the path of this binary");
        Self::start(Command::new(own), role, arguments)
    }

    /// Starts it as user 65534. It runs a copy of this binary in `dir`, because that user may not be let to this one.
    pub fn spawn_as_nobody(role: &str, dir: &Path, arguments: &[&dyn std::fmt::Display]) -> Self {
        let copy = dir.join("binary");
        if !copy.exists() {
            std::fs::copy(std::env::current_exe().expect("the path of this binary"), &copy).expect("a copy");
        }
        let mut command = Command::new(copy);
        std::os::unix::process::CommandExt::uid(&mut command, 65534);
        std::os::unix::process::CommandExt::gid(&mut command, 65534);
        command.current_dir("/");
        Self::start(command, role, arguments)
    }

    /// Runs this binary in a role that is to fail; gives how it ended and what it wrote to stderr.
    pub fn run_to_failure(role: &str) -> (ExitStatus, String) {
        let own = std::env::current_exe().expect("the path of this binary");
        let output = Self::prepare(&mut Command::new(own), role, &[]).output().expect("a worker");
        (output.status, String::from_utf8_lossy(&output.stderr).into_owned())
    }

    fn prepare<'c>(
        command: &'c mut Command,
        role: &str,
        arguments: &[&dyn std::fmt::Display],
    ) -> &'c mut Command {
        let arguments: Vec<String> = arguments.iter().map(|argument| argument.to_string()).collect();
        command
            .args(["role", "--exact", "--nocapture", "--test-threads=1", "--include-ignored"])
            .env(ROLE, role)
            .env(ARGUMENTS, arguments.join(&SEPARATOR.to_string()))
    }

    fn start(mut command: Command, role: &str, arguments: &[&dyn std::fmt::Display]) -> Self {
        let mut child = Self::prepare(&mut command, role, arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a worker");
        let stdout = BufReader::new(child.stdout.take().expect("piped"));
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                if let Some(report) = line.strip_prefix(MARK)
                    && sender.send(report.to_owned()).is_err()
                {
                    return;
                }
            }
        });
        Worker { role: role.to_owned(), stdin: child.stdin.take(), child, lines }
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Its next report. Panics if there is none in time, or if it ends first.
    #[track_caller]
    pub fn hear(&mut self) -> String {
        match self.lines.recv_timeout(PATIENCE) {
            Ok(line) => line,
            Err(RecvTimeoutError::Timeout) => panic!("worker `{}` reports nothing", self.role),
            Err(RecvTimeoutError::Disconnected) => {
                let status = self.end();
                panic!("worker `{}` ended ({status}) instead of reporting", self.role)
            }
        }
    }

    /// Its next report; `doing` is what it said last, for the message if it ends or hangs instead.
    #[track_caller]
    pub fn hear_while(&mut self, doing: &str) -> String {
        match self.lines.recv_timeout(PATIENCE) {
            Ok(line) => line,
            Err(RecvTimeoutError::Timeout) => panic!("worker `{}` hangs in `{doing}`", self.role),
            Err(RecvTimeoutError::Disconnected) => {
                let status = self.end();
                panic!("worker `{}` ended ({status}) in `{doing}`", self.role)
            }
        }
    }

    /// Waits for the report `wanted`.
    #[track_caller]
    pub fn expect(&mut self, wanted: &str) {
        assert_eq!(self.hear(), wanted, "the report of worker `{}`", self.role);
    }

    /// Every report that is there already.
    pub fn reports(&mut self) -> Vec<String> {
        self.lines.try_iter().collect()
    }

    /// Whether it reports something within `time`.
    pub fn reports_within(&mut self, time: Duration) -> Option<String> {
        self.lines.recv_timeout(time).ok()
    }

    /// Tells it a line.
    pub fn tell(&mut self, line: impl std::fmt::Display) {
        // If it is dead, the next wait says so.
        let _ = self.stdin.as_mut().map(|stdin| writeln!(stdin, "{line}"));
    }

    /// Sends it a signal.
    pub fn signal(&self, number: libc::c_int) {
        system::signal(self.pid(), number);
    }

    /// Kills it and waits until it is gone.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// How it ended. Panics if that takes too long.
    #[track_caller]
    pub fn end(&mut self) -> ExitStatus {
        self.stdin = None;
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("our own child") {
                return status;
            }
            let limit = if crate::long() { Duration::from_secs(1800) } else { 2 * PATIENCE };
            assert!(start.elapsed() < limit, "worker `{}` does not end", self.role);
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Waits until it ends, and panics if it did not end well.
    #[track_caller]
    pub fn finish(mut self) {
        let status = self.end();
        assert!(status.success(), "worker `{}`: {status}", self.role);
    }

    /// As [`finish`](Self::finish); gives what it reported and was not taken.
    #[track_caller]
    pub fn finish_reports(mut self) -> Vec<String> {
        let status = self.end();
        assert!(status.success(), "worker `{}`: {status}", self.role);
        self.lines.iter().collect()
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.kill();
    }
}
