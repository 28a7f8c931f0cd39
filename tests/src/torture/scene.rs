//! [`Scene`]: what a worker process knows of the run it is part of.

use super::ledger::{Desk, Ledger, THREADS, close_inherited, word};
use super::{SUITES, Suite};
use crate::{Random, system};
use std::os::fd::RawFd;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::process::ExitCode;
use std::sync::atomic::Ordering::SeqCst;

/// Under which a worker is told what it is.
pub(super) const VARIABLE: &str = "SHMEM_TORTURE";
const SEPARATOR: char = '\x1f';

/// What a process is started for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// [`Suite::prepare`].
    Prepare,
    /// [`Suite::work`].
    Work,
    /// [`Suite::watch`].
    Watch,
    /// [`Suite::recover`].
    Recover,
    /// [`Suite::audit`].
    Audit,
}

const ROLES: [(Role, &str); 5] = [
    (Role::Prepare, "prepare"),
    (Role::Work, "work"),
    (Role::Watch, "watch"),
    (Role::Recover, "recover"),
    (Role::Audit, "audit"),
];

/// What a worker knows.
#[derive(Debug, Clone)]
pub struct Scene {
    pub(super) ledger: Ledger,
    pub(super) worker: usize,
    pub(super) seed: u64,
    pub(super) base: String,
    pub(super) sabotage: String,
    /// Whether a life's last audit is this one.
    pub(super) last: bool,
    /// What this worker was given beyond that; see [`Runner::spawn`](super::Runner).
    pub(super) orders: String,
}

impl Scene {
    /// What the names of this life begin with.
    pub fn base(&self) -> &str {
        &self.base
    }

    /// Which of the workers this is.
    pub fn worker(&self) -> usize {
        self.worker
    }

    /// Whether this audit is the last of its life.
    pub fn is_last(&self) -> bool {
        self.last
    }

    /// What the runner told this worker alone.
    pub fn orders(&self) -> &str {
        &self.orders
    }

    /// The choices of a thread of this worker.
    pub fn random(&self, thread: usize) -> Random {
        Random::new(self.seed.wrapping_mul(THREADS as u64).wrapping_add(thread as u64))
    }

    /// The number of a thread's desk.
    pub fn seat(&self, thread: usize) -> usize {
        self.worker * THREADS + thread
    }

    /// The desk of a thread.
    pub fn desk(&self, thread: usize) -> Desk {
        self.ledger.desk(self.seat(thread))
    }

    /// The ledger.
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// Whether there is more to do.
    pub fn goes_on(&self) -> bool {
        self.ledger.at(word::STOP).load(SeqCst) == 0
    }

    /// Whether the run is to be broken in this way, now: one time in `odds`.
    pub fn sabotages(&self, how: &str, random: &mut Random, odds: u64) -> bool {
        self.sabotage == how && random.below(odds) == 0
    }

    /// A number that nobody else has, never 0.
    pub fn serial(&self) -> u64 {
        self.ledger.at(word::SERIAL).fetch_add(1, SeqCst) + 1
    }

    /// Raises one of the suite's own counts. (A worker with orders works for another suite, and counts nothing.)
    pub fn count(&self, i: usize, by: u64) {
        if self.orders.is_empty() {
            self.ledger.count(i).fetch_add(by, SeqCst);
        }
    }

    /// Whether this worker is to kill itself, one time in `odds`; `count` is where that is counted. Never one with orders:
    /// those say where it dies.
    pub fn dies(&self, random: &mut Random, odds: u64, count: usize) -> bool {
        let dies = random.below(odds) == 0 && self.orders.is_empty();
        self.count(count, dies.into());
        dies
    }

    /// Something is not as it must be.
    pub fn corrupt(&self, text: impl AsRef<str>) {
        self.ledger.find(word::CORRUPT, text.as_ref());
    }

    /// Something happened twice that must happen once.
    pub fn double(&self, text: impl AsRef<str>) {
        self.ledger.find(word::DOUBLE, text.as_ref());
    }

    /// What a killed process left unreachable.
    pub fn leaked(&self, how_many: u64) {
        self.ledger.at(word::LEAKED).fetch_add(how_many, SeqCst);
    }

    /// Compares what is there with what was, and with how often it was built and removed, at least and at most.
    pub fn balance(&self, what: &str, was: bool, now: bool, built: (u64, u64), removed: (u64, u64)) {
        let told = || {
            format!(
                "{what}: was there {was}, built {built:?} times, removed {removed:?} times, there now {now}"
            )
        };
        let (was, now) = (u64::from(was), u64::from(now));
        if was + built.1 < now + removed.0 {
            self.corrupt(told());
        } else if was + built.0 > now + removed.1 {
            self.double(told());
        }
    }

    /// What most suites have one process do: recover and check, in a fresh mapping each time, while others work.
    pub fn recover_on_and_on(&self, open: impl Fn() -> shmem_core::Segment + Sync) {
        self.threads(1, |_, desk| {
            while self.goes_on() {
                desk.doing("open", 0);
                let segment = open();
                desk.doing("recover", 0);
                segment.recover();
                desk.doing("check", 0);
                self.check(&segment, "while others work");
            }
        });
    }

    /// Notes everything that [`Segment::check`](shmem_core::Segment::check) finds.
    pub fn check(&self, segment: &shmem_core::Segment, when: &str) {
        for found in segment.check() {
            self.corrupt(format!("{when}: check() finds {found}"));
        }
    }

    /// Runs `body` in each of `n` threads of this process, this one among them, each at its desk.
    pub fn threads(&self, n: usize, body: impl Fn(usize, Desk) + Sync) {
        let one = |thread: usize| {
            let desk = self.desk(thread);
            desk.sit();
            body(thread, desk);
            desk.leave();
        };
        std::thread::scope(|scope| {
            (1..n.min(THREADS)).for_each(|thread| {
                let one = &one;
                scope.spawn(move || one(thread));
            });
            one(0);
        });
    }
}

/// The payload of a panic that belongs to the test.
#[derive(Debug)]
pub struct Intended;

impl Intended {
    /// Panics, without a message.
    pub fn panic() -> ! {
        resume_unwind(Box::new(Intended))
    }
}

/// Runs `body`, and catches a panic if it is an [`Intended`] one; whether there was one.
pub fn quietly<R>(body: impl FnOnce() -> R) -> Option<R> {
    match catch_unwind(AssertUnwindSafe(body)) {
        Ok(done) => Some(done),
        Err(payload) if payload.is::<Intended>() => None,
        Err(payload) => resume_unwind(payload),
    }
}

/// Kills this process.
pub fn die() -> ! {
    system::signal(std::process::id(), libc::SIGKILL);
    loop {
        std::thread::park();
    }
}

/// What the environment of a worker says.
pub(super) fn describe(scene: &Scene, suite: &str, role: Role) -> String {
    let (_, role) = ROLES.iter().find(|(r, _)| *r == role).expect("all roles are there");
    let worker = scene.worker.to_string();
    let (seed, fd) = (scene.seed.to_string(), scene.ledger.fd().to_string());
    let last = if scene.last { "last" } else { "" };
    [suite, role, &worker, &seed, &fd, &scene.base, &scene.sabotage, last, &scene.orders]
        .join(&SEPARATOR.to_string())
}

/// Works, if this process was started as a worker.
pub(super) fn become_worker() -> Option<ExitCode> {
    let told = std::env::var(VARIABLE).ok()?;
    let parts: Vec<&str> = told.split(SEPARATOR).collect();
    let [suite, role, worker, seed, fd, base, sabotage, last, orders] = parts[..] else {
        panic!("{VARIABLE}: {told:?}")
    };
    system::tie_lifelines(3600);
    let suite: &dyn Suite =
        *SUITES.iter().find(|known| known.name() == suite).expect("a suite of this program");
    let (role, _) = *ROLES.iter().find(|(_, name)| *name == role).expect("a role");
    let number = |text: &str| text.parse::<u64>().expect("a number");
    let fd = number(fd) as RawFd;
    let ledger = Ledger::inherited(fd).expect("the runner's ledger");
    close_inherited(fd);
    let scene = Scene {
        ledger,
        worker: number(worker) as usize,
        seed: number(seed),
        base: base.to_owned(),
        sabotage: sabotage.to_owned(),
        last: !last.is_empty(),
        orders: orders.to_owned(),
    };
    let finder = scene.clone();
    std::panic::set_hook(Box::new(move |panic| finder.corrupt(format!("worker {}: {panic}", finder.worker))));
    let work = || match role {
        Role::Prepare => suite.prepare(&scene),
        Role::Work => suite.work(&scene),
        Role::Watch => suite.watch(&scene),
        Role::Recover => suite.recover(&scene),
        Role::Audit => suite.audit(&scene),
    };
    let done = catch_unwind(AssertUnwindSafe(work));
    // A panic was noted by the hook.
    Some(if done.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
