//! The parent's end of a worker process, and how much other programs disturbed it.

use crate::Result;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

/// How long one run may take before the worker counts as hung.
const WATCHDOG: Duration = Duration::from_secs(180);

/// A worker process.
pub struct Worker {
    child: Child,
    requests: Option<ChildStdin>,
    answers: Receiver<String>,
}

impl Worker {
    /// Starts one.
    pub fn start(command: &mut Command) -> Result<Self> {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let requests = child.stdin.take();
        let stdout = child.stdout.take().ok_or("no standard output")?;
        let (sender, answers) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(|line| line.ok()) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        Ok(Worker { child, requests, answers })
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends a line and waits for the answer. A worker that hangs or dies answers nothing any more.
    pub fn ask(&mut self, line: &str) -> Result<String> {
        let requests = self.requests.as_mut().ok_or("the worker has died")?;
        let answer = writeln!(requests, "{line}")
            .and_then(|()| requests.flush())
            .map_err(|e| e.to_string())
            .and_then(|()| self.answers.recv_timeout(WATCHDOG).map_err(|e| e.to_string()));
        match answer {
            Ok(answer) => match answer.strip_prefix("error ") {
                None => Ok(answer),
                Some(e) => Err(e.into()),
            },
            Err(e) => {
                self.requests = None;
                let _ = self.child.kill();
                let status = self.child.wait().map_or_else(|e| e.to_string(), |s| s.to_string());
                Err(format!("the worker gave no answer ({e}; {status})").into())
            }
        }
    }

    /// Runs a case once: nanoseconds per operation, and whether other programs used the CPUs meanwhile.
    pub fn run(&mut self, subject: &str, case: &str) -> Result<(f64, bool)> {
        let before = Usage::now(self.child.id());
        let answer = self.ask(&format!("run {subject} {case}"))?;
        let disturbed = before.disturbed(&Usage::now(self.child.id()));
        let (ns, ops) = answer.split_once(' ').ok_or_else(|| format!("unexpected answer `{answer}`"))?;
        let (ns, ops): (u64, u64) = (ns.parse()?, ops.parse()?);
        if ops == 0 || ns == 0 {
            return Err(format!("{ops} operations in {ns} ns").into());
        }
        Ok((ns as f64 / ops as f64, disturbed))
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // The end of its input ends it; what does not end is ended.
        self.requests = None;
        let start = Instant::now();
        while start.elapsed() < Duration::from_secs(10) {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// CPU time used so far, in nanoseconds.
struct Usage {
    at: Instant,
    machine: u64,
    ours: u64,
}

/// The kernel's clock tick in `/proc`: 1/100 s on every Linux port this runs on.
pub const TICK_NS: u64 = 10_000_000;

impl Usage {
    fn now(worker: u32) -> Self {
        // user, nice, system, irq, softirq of the whole machine.
        let stat = std::fs::read_to_string("/proc/stat").unwrap_or_default();
        let cpu: Vec<u64> = stat.split_whitespace().skip(1).take(7).filter_map(|f| f.parse().ok()).collect();
        let machine = if cpu.len() < 7 { 0 } else { cpu[0] + cpu[1] + cpu[2] + cpu[5] + cpu[6] };
        let ours: u64 = [worker, std::process::id()].iter().map(|pid| process_ticks(*pid).unwrap_or(0)).sum();
        Usage { at: Instant::now(), machine: machine * TICK_NS, ours: ours * TICK_NS }
    }

    /// Whether others used more than 5 % of a CPU; 30 ms are free, since times count in ticks of 10 ms.
    fn disturbed(&self, later: &Usage) -> bool {
        let foreign = (later.machine - self.machine) as f64 - later.ours.saturating_sub(self.ours) as f64;
        foreign > 0.05 * (later.at - self.at).as_nanos() as f64 + 30e6
    }
}

/// CPU time of a process with its threads and the children it has waited for.
pub fn process_ticks(pid: u32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name, in parentheses, may hold anything. Fields 14 to 17: utime, stime, cutime, cstime.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    fields.get(11..15)?.iter().map(|f| f.parse::<u64>().ok()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_cpu_time_counts() {
        let before = process_ticks(std::process::id()).unwrap();
        let start = Instant::now();
        while start.elapsed() < Duration::from_millis(100) {
            std::hint::spin_loop();
        }
        assert!(process_ticks(std::process::id()).unwrap() > before);
    }

    #[test]
    fn a_worker_that_ends_is_an_error() {
        let mut worker = Worker::start(&mut Command::new("true")).unwrap();
        assert!(worker.ask("run x y").is_err());
        assert!(worker.ask("run x y").is_err());
    }
}
