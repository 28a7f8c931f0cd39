//! [`Runner`]: starts the processes, kills them, and watches over every wait.

use super::ledger::{DESKS, Ledger, THREADS, word};
use super::scene::{Role, Scene, VARIABLE, describe};
use super::{Report, Suite};
use crate::{Random, system};
use std::fs;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::{Duration, Instant};

/// Rounds of a life, at most.
const ROUNDS: u64 = 6;
/// The worker that recovers, and the one that prepares and audits; the others work.
const RECOVERER: usize = DESKS / THREADS - 2;
const AUDITOR: usize = DESKS / THREADS - 1;
/// The fewest and the most that work at once.
const WORKERS: (u64, u64) = (4, 6);
/// Findings shown at most.
const SHOWN: u64 = 25;
/// Time between two looks at the workers.
const TICK: Duration = Duration::from_micros(500);

/// Set by SIGINT and SIGTERM: the runner then cleans up and ends.
static INTERRUPTED: AtomicBool = AtomicBool::new(false);

extern "C" fn interrupt(_: libc::c_int) {
    INTERRUPTED.store(true, SeqCst);
}

/// How a run is to go.
#[derive(Debug, Clone)]
pub struct Options {
    /// For how long.
    pub limit: Duration,
    /// After how many kills it ends.
    pub kills: u64,
    /// Where all choices come from.
    pub seed: u64,
    /// After how long without a sign a process is stuck.
    pub patience: Duration,
    /// What the suite is to break on purpose; empty for nothing.
    pub sabotage: String,
    /// For `points`: how often each point has to kill.
    pub per_point: u64,
    /// For `points`: what the names of the points begin with.
    pub only: String,
}

/// How a process ended that was waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// By itself, well.
    Well,
    /// It was killed.
    Killed,
    /// Otherwise; this was noted as a finding.
    Badly,
}

/// A process that was started.
struct Running {
    child: Child,
    role: Role,
    worker: usize,
    /// What each of its desks had last said, and when that was new.
    heard: [(u64, Instant); THREADS],
    stopped: bool,
}

/// Kills and reaps what it has when dropped.
pub struct Runner {
    suite: &'static dyn Suite,
    /// How the run is to go.
    pub options: Options,
    /// The choices of the runner.
    pub random: Random,
    ledger: Ledger,
    base: String,
    lives: u64,
    /// How often each worker was started: its choices are those of its seed, worker and start.
    started: [u64; DESKS / THREADS],
    rounds: u64,
    begun: Instant,
    shown: u64,
    running: Vec<Running>,
}

impl Runner {
    /// A run that has not begun.
    ///
    /// # Errors
    /// The ledger could not be made.
    pub fn new(suite: &'static dyn Suite, options: Options) -> io::Result<Self> {
        for signal in [libc::SIGINT, libc::SIGTERM] {
            let handler: extern "C" fn(libc::c_int) = interrupt;
            system::handle(signal, handler);
        }
        Ok(Runner {
            suite,
            random: Random::new(options.seed),
            options,
            ledger: Ledger::new()?,
            base: String::new(),
            lives: 0,
            started: [0; DESKS / THREADS],
            rounds: 0,
            begun: Instant::now(),
            shown: 0,
            running: Vec::new(),
        })
    }

    /// The ledger.
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// Whether the time is not up, and nobody has interrupted.
    pub fn goes_on(&self) -> bool {
        // One that is to fail has done so with the first finding.
        let shown = !self.options.sabotage.is_empty() && self.found() > 0;
        let kills = self.ledger.at(word::KILLS).load(SeqCst);
        let limits = self.begun.elapsed() < self.options.limit && kills < self.options.kills;
        limits && !shown && !self.is_interrupted()
    }

    /// Whether somebody wants the run to end.
    pub fn is_interrupted(&self) -> bool {
        INTERRUPTED.load(SeqCst)
    }

    /// What the run came to.
    pub fn report(&mut self) -> Report {
        self.end_life();
        self.show_findings();
        Report {
            seed: self.options.seed,
            took: self.begun.elapsed(),
            rounds: self.rounds,
            interrupted: self.is_interrupted(),
            ..Report::of(&self.ledger, self.suite)
        }
    }

    /// How much was found so far.
    pub fn found(&self) -> u64 {
        [word::CORRUPT, word::STUCK, word::DOUBLE].iter().map(|w| self.ledger.at(*w).load(SeqCst)).sum()
    }

    // ---- lives and rounds ----------------------------------------------------------------------------

    /// Begins a life: other names, an empty ledger. Whether it could be prepared.
    pub fn begin_life(&mut self, orders: &str) -> bool {
        self.end_life();
        self.lives += 1;
        self.base = format!("shmem-torture-{}-{}-{}", self.suite.name(), std::process::id(), self.lives);
        self.ledger.clear_suite().expect("the runner's own file");
        self.spawn(Role::Prepare, AUDITOR, orders, false);
        self.wait_for(AUDITOR) == Ended::Well
    }

    /// Ends it: nothing of it stays.
    pub fn end_life(&mut self) {
        self.kill_all();
        if !self.base.is_empty() {
            self.suite.remove(&self.base);
            self.base.clear();
        }
    }

    /// The rounds of most suites: see the [table](super).
    pub fn rounds(&mut self) {
        while self.goes_on() {
            let before = self.found();
            if !self.begin_life("") {
                continue;
            }
            let rounds = 1 + self.random.below(ROUNDS);
            for round in 1..=rounds {
                let last = round == rounds || !self.goes_on();
                self.round();
                self.ledger.at(word::STOP).store(0, SeqCst);
                if self.found() == before && self.random.below(3) == 0 {
                    self.spawn(Role::Recover, RECOVERER, "", false);
                    self.pause_within(Duration::from_millis(6));
                    self.kill(RECOVERER);
                }
                if self.found() == before {
                    self.audit(last);
                }
                self.rounds += 1;
                if last || self.found() != before {
                    // What was found would be found again and again.
                    break;
                }
            }
        }
    }

    /// One life, and one round: workers are killed one by one while they work, beside a process that never dies.
    pub fn beside_a_witness(&mut self) {
        let before = self.found();
        if !self.begin_life("") {
            return;
        }
        // Orders, or it would kill itself now and then.
        self.spawn(Role::Watch, RECOVERER, "live", false);
        while self.goes_on() && self.found() == before {
            self.start_workers(WORKERS.0 as usize);
            self.pause_within(Duration::from_millis(4));
            let at_work = |w: &usize| {
                let seats = *w * THREADS..(*w + 1) * THREADS;
                seats.into_iter().any(|seat| self.ledger.desk(seat).operations() > 0)
            };
            let victims: Vec<_> = (0..WORKERS.0 as usize).filter(at_work).collect();
            if !victims.is_empty() {
                let victim = *self.random.pick(&victims);
                self.kill(victim);
            }
            if !self.is_running(RECOVERER) && self.found() == before {
                self.ledger.find(word::CORRUPT, "the process that never dies has ended");
            }
        }
        (0..RECOVERER).for_each(|worker| self.kill(worker));
        self.ledger.at(word::STOP).store(1, SeqCst);
        while self.is_running(RECOVERER) {
            self.wait_for(RECOVERER);
        }
        self.ledger.at(word::STOP).store(0, SeqCst);
        if self.found() == before {
            self.audit(true);
        }
        self.rounds += 1;
    }

    /// Starts those of so many workers that do not run.
    fn start_workers(&mut self, workers: usize) {
        let missing: Vec<_> = (0..workers).filter(|w| !self.is_running(*w)).collect();
        missing.into_iter().for_each(|worker| self.spawn(Role::Work, worker, "", false));
    }

    /// An audit, to its end.
    fn audit(&mut self, last: bool) -> Ended {
        self.audit_with("", last)
    }

    /// Another round was done, by a suite with a way of its own.
    pub fn round_done(&mut self) {
        self.rounds += 1;
    }

    /// An audit with orders, to its end.
    pub fn audit_with(&mut self, orders: &str, last: bool) -> Ended {
        self.spawn(Role::Audit, AUDITOR, orders, last);
        self.wait_for(AUDITOR)
    }

    fn round(&mut self) {
        let workers = (WORKERS.0 + self.random.below(WORKERS.1 - WORKERS.0 + 1)) as usize;
        let before = self.found();
        let span = Duration::from_millis(100 + self.random.below(900));
        let begun = Instant::now();
        (0..workers).for_each(|worker| self.spawn(Role::Work, worker, "", false));
        while begun.elapsed() < span && self.goes_on() && self.found() == before {
            self.pause_within(Duration::from_millis(15));
            let victim = self.random.below(workers as u64) as usize;
            match self.random.below(12) {
                0 => self.stop_for_a_while(victim),
                1 => {
                    // Whoever recovers the first may be the second.
                    let second = self.random.below(workers as u64) as usize;
                    self.kill(victim);
                    self.pause_within(Duration::from_micros(800));
                    self.kill(second);
                }
                2 if !self.is_running(RECOVERER) => self.spawn(Role::Recover, RECOVERER, "", false),
                3 if self.is_running(RECOVERER) => self.kill(RECOVERER),
                _ => self.kill(victim),
            }
            self.start_workers(workers);
        }
        if self.random.below(2) == 0 {
            self.ledger.at(word::STOP).store(1, SeqCst);
            while !self.running.is_empty() {
                self.look_after();
                std::thread::sleep(TICK);
            }
        }
        self.kill_all();
    }

    // ---- processes -----------------------------------------------------------------------------------

    /// Starts a process.
    fn spawn(&mut self, role: Role, worker: usize, orders: &str, last: bool) {
        let start = &mut self.started[worker];
        *start += 1;
        let choices = *start << 8 | worker as u64;
        let scene = Scene {
            ledger: self.ledger,
            worker,
            seed: Random::new(self.options.seed ^ choices.rotate_left(32)).word(),
            base: self.base.clone(),
            sabotage: self.options.sabotage.clone(),
            last,
            orders: orders.to_owned(),
        };
        let child = Command::new(std::env::current_exe().expect("the path of this binary"))
            .env(VARIABLE, describe(&scene, self.suite.name(), role))
            .stdin(Stdio::null())
            .spawn()
            .expect("a process can be started");
        let heard = std::array::from_fn(|thread| {
            (self.ledger.desk(worker * THREADS + thread).steps(), Instant::now())
        });
        self.running.push(Running { child, role, worker, heard, stopped: false });
    }

    /// Starts a worker with orders of its own and waits until it has ended.
    pub fn send(&mut self, orders: &str) -> Ended {
        self.spawn(Role::Work, 0, orders, false);
        self.wait_for(0)
    }

    fn is_running(&self, worker: usize) -> bool {
        self.running.iter().any(|running| running.worker == worker)
    }

    /// Kills a worker, if it runs.
    fn kill(&mut self, worker: usize) {
        if let Some(i) = self.running.iter().position(|running| running.worker == worker) {
            let mut running = self.running.remove(i);
            let _ = running.child.kill();
            let status = running.child.wait();
            self.reaped(running, status.ok());
        }
    }

    fn kill_all(&mut self) {
        while let Some(worker) = self.running.first().map(|running| running.worker) {
            self.kill(worker);
        }
    }

    /// What looks like death and is none.
    fn stop_for_a_while(&mut self, worker: usize) {
        let signal_all = |running: &[Running], signal| {
            running.iter().filter(|r| r.worker == worker).for_each(|r| system::signal(r.child.id(), signal));
        };
        signal_all(&self.running, libc::SIGSTOP);
        self.running.iter_mut().filter(|r| r.worker == worker).for_each(|r| r.stopped = true);
        self.pause_within(Duration::from_millis(40));
        signal_all(&self.running, libc::SIGCONT);
        let now = Instant::now();
        for running in self.running.iter_mut().filter(|r| r.worker == worker) {
            running.stopped = false;
            running.heard.iter_mut().for_each(|(_, when)| *when = now);
        }
    }

    /// Waits for a random time, looking after the workers meanwhile.
    fn pause_within(&mut self, most: Duration) {
        let until = Instant::now() + Duration::from_nanos(self.random.below(most.as_nanos() as u64));
        loop {
            self.look_after();
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            std::thread::sleep(left.min(TICK));
        }
    }

    /// Waits until a process has ended, or is stuck.
    fn wait_for(&mut self, worker: usize) -> Ended {
        loop {
            if let Some(ended) = self.look_after().into_iter().find(|(w, _)| *w == worker) {
                return ended.1;
            }
            if !self.is_running(worker) {
                return Ended::Badly;
            }
            if self.is_interrupted() {
                self.kill(worker);
            }
            std::thread::sleep(TICK / 5);
        }
    }

    /// Reaps who has ended, and takes those for stuck that have said nothing new for too long.
    fn look_after(&mut self) -> Vec<(usize, Ended)> {
        let mut ended = Vec::new();
        let mut i = 0;
        while i < self.running.len() {
            match self.running[i].child.try_wait() {
                Ok(None) => i += 1,
                status => {
                    let running = self.running.remove(i);
                    let worker = running.worker;
                    ended.push((worker, self.reaped(running, status.ok().flatten())));
                }
            }
        }
        for i in 0..self.running.len() {
            let stuck = self.stuck(i);
            if let Some(text) = stuck {
                self.ledger.find(word::STUCK, &text);
                // It is ended at the next look.
                let _ = self.running[i].child.kill();
            }
        }
        self.show_findings();
        ended
    }

    /// What a process that seems to be stuck said last.
    fn stuck(&mut self, i: usize) -> Option<String> {
        let (ledger, patience) = (self.ledger, self.options.patience);
        let running = &mut self.running[i];
        if running.stopped {
            return None;
        }
        let (worker, pid) = (running.worker, running.child.id());
        for (thread, (steps, when)) in running.heard.iter_mut().enumerate() {
            let desk = ledger.desk(worker * THREADS + thread);
            // Its main thread must sit down some time; the others need not exist.
            let watched = desk.is_seated() || thread == 0;
            if !watched || desk.steps() != *steps {
                (*steps, *when) = (desk.steps(), Instant::now());
            } else if when.elapsed() > patience {
                *when = Instant::now();
                let said = if desk.is_seated() { desk.said() } else { "its beginning or end".into() };
                return Some(format!(
                    "{:?} {worker}, thread {thread}, is stuck in `{said}`; the kernel says {}",
                    running.role,
                    sleeps_in(pid)
                ));
            }
        }
        None
    }

    fn reaped(&mut self, running: Running, status: Option<ExitStatus>) -> Ended {
        let mut operations = 0;
        for thread in 0..THREADS {
            let desk = self.ledger.desk(running.worker * THREADS + thread);
            operations += desk.take_operations();
            desk.leave();
        }
        self.ledger.at(word::OPERATIONS).fetch_add(operations, SeqCst);
        let Some(status) = status else { return Ended::Badly };
        match (status.code(), status.signal()) {
            (Some(0), _) => Ended::Well,
            (_, Some(libc::SIGKILL)) => {
                self.ledger.at(word::KILLS).fetch_add(1, SeqCst);
                Ended::Killed
            }
            // It has noted why.
            (Some(1), _) => Ended::Badly,
            _ => {
                let said = self.ledger.desk(running.worker * THREADS).said();
                let text = format!("{:?} {} ended with {status} in `{said}`", running.role, running.worker);
                self.ledger.find(word::CORRUPT, &text);
                Ended::Badly
            }
        }
    }

    fn show_findings(&mut self) {
        while self.shown < SHOWN.min(self.ledger.at(word::FINDINGS).load(SeqCst)) {
            // One that a killed worker began is never whole.
            if let Some(text) = self.ledger.finding(self.shown as usize) {
                println!("finding after {:.1} s: {text}", self.begun.elapsed().as_secs_f64());
            } else if !self.running.is_empty() {
                return;
            }
            self.shown += 1;
        }
    }
}

impl Drop for Runner {
    fn drop(&mut self) {
        self.end_life();
    }
}

/// Where the threads of a process are, for people.
fn sleeps_in(pid: u32) -> String {
    let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else { return "nothing".into() };
    let read = |path: &std::path::Path, name: &str| {
        fs::read_to_string(path.join(name)).map(|text| text.trim().to_owned()).unwrap_or_default()
    };
    let of_thread = |entry: io::Result<fs::DirEntry>| {
        let path = entry.ok()?.path();
        let call = read(&path, "syscall");
        let state = read(&path, "stat").rsplit(')').next()?.trim().chars().next()?;
        Some(format!("{state} call {}", call.split(' ').next().unwrap_or_default()))
    };
    threads.filter_map(of_thread).collect::<Vec<_>>().join(", ")
}
