//! Worker processes: the test binary, started again in a role.
//!
//! A worker reports lines to its test and hears lines from it. It dies with the thread that started it, and after two
//! minutes in any case.

use crate::{PATIENCE, ends, system};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

const ROLE: &str = "SHMEM_TEST_ROLE";
const ARGUMENTS: &str = "SHMEM_TEST_ARGUMENTS";
/// Set for a worker that is to run in a PID namespace of its own.
const NAMESPACE: &str = "SHMEM_TEST_NAMESPACE";
const OUTER: &str = "outer";
const SEPARATOR: char = '\x1f';
/// What a worker's reports begin with; the rest of its output is libtest's.
pub(crate) const MARK: &str = "@ ";

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
    match std::env::var(NAMESPACE).as_deref() {
        Ok(OUTER) => std::process::exit(run_in_pid_namespace()),
        // Not before the outer one has reported this one's id.
        Ok(_) => drop(hear()),
        Err(_) => {}
    }
    body();
    std::process::exit(0);
}

/// Starts this worker again as the first process of a new PID namespace, reports its id, and ends with it.
fn run_in_pid_namespace() -> i32 {
    let own = std::env::current_exe().expect("the path of this binary");
    let mut inner = Command::new(own);
    inner.args(std::env::args().skip(1)).env(NAMESPACE, "inner").stdin(Stdio::piped());
    let (sender, to_inner) = channel::<ChildStdin>();
    // Not after the ids are unshared: the kernel makes no thread then.
    std::thread::spawn(move || {
        let Ok(mut to_inner) = to_inner.recv() else { return };
        // If it is dead, its exit status says so.
        let _ = writeln!(to_inner).and_then(|()| std::io::copy(&mut std::io::stdin(), &mut to_inner));
    });
    ends::unshare_pids().expect("the superuser may");
    let mut inner = inner.spawn().expect("a worker");
    // It may have begun a line meanwhile: on a line of its own, in one piece.
    write(&format!("\n{MARK}{}\n", inner.id()));
    let _ = sender.send(inner.stdin.take().expect("piped"));
    inner.wait().expect("our own child").code().unwrap_or(1)
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
    write(&format!("{MARK}{line}\n"));
}

fn write(lines: &str) {
    let mut out = std::io::stdout().lock();
    out.write_all(lines.as_bytes()).and_then(|()| out.flush()).expect("the test listens");
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
    /// Where the worker is not this child itself, but that one's child.
    inner: Option<u32>,
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

    /// Starts it as the first process of a new PID namespace, which needs the superuser. It sees the outer `/proc`.
    pub fn spawn_in_pid_namespace(role: &str, arguments: &[&dyn std::fmt::Display]) -> Self {
        let own = std::env::current_exe().expect("the path of this binary");
        let mut worker = Self::start_with(Command::new(own), role, arguments, Some(OUTER));
        worker.inner = Some(worker.hear().parse().expect("a process id"));
        worker
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
            .env_remove(NAMESPACE)
            .env(ARGUMENTS, arguments.join(&SEPARATOR.to_string()))
    }

    fn start(command: Command, role: &str, arguments: &[&dyn std::fmt::Display]) -> Self {
        Self::start_with(command, role, arguments, None)
    }

    fn start_with(
        mut command: Command,
        role: &str,
        arguments: &[&dyn std::fmt::Display],
        namespace: Option<&str>,
    ) -> Self {
        let mut child = Self::prepare(&mut command, role, arguments)
            .envs(namespace.map(|namespace| (NAMESPACE, namespace)))
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
        Worker { role: role.to_owned(), stdin: child.stdin.take(), child, inner: None, lines }
    }

    /// Its process id, as this process sees it.
    pub fn pid(&self) -> u32 {
        self.inner.unwrap_or(self.child.id())
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
        match self.inner {
            // Not after it was reaped: the id may be another's.
            Some(inner) if matches!(self.child.try_wait(), Ok(None)) => system::signal(inner, libc::SIGKILL),
            _ => drop(self.child.kill()),
        }
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
