//! Torture: workers that are killed at random instants and started again, and a ledger that knows what must be so.
//!
//! `cargo run --release -p shmem-tests --bin torture -- SUITE --seconds N` runs one [`Suite`]; CONTRIBUTING.md says how to
//! add one. A run has several *lives*, each with a segment of its own, and a life several *rounds*:
//!
//! | process | does | killed |
//! |---|---|---|
//! | [`prepare`](Suite::prepare) | makes what the workers share | never |
//! | [`work`](Suite::work), several at once | operations, until it is told to stop | all the time; stopped and continued too |
//! | `recover` | recovers what the dead left | often |
//! | [`watch`](Suite::watch), in some suites | uses the same segment all along | never |
//! | [`audit`](Suite::audit) | recovers, checks, and compares with the ledger; everybody else is gone | never |
//!
//! The runner itself never touches a segment, so no hang can reach it: each process says at its [`Desk`] what it is
//! about to do, and one that says nothing new for too long is *stuck*, and reported with that. What is counted:
//!
//! | count | meaning |
//! |---|---|
//! | corrupt | something is not as it must be: a check, a half-built object, a lost update, an unexpected error or signal |
//! | stuck | a wait that had no end |
//! | double | what must happen once happened twice: two holders, two constructions, two drops |
//! | leaked | what a killed process left unreachable: allowed, as far as it had it in hand |
//!
//! All choices come from the seed. What the kernel makes of them (who runs when) cannot be repeated.

pub mod allocate_loop;
pub mod counter;
pub mod creation;
pub mod directory;
pub mod heap;
pub mod ledger;
pub mod locks;
pub mod points;
mod report;
mod runner;
mod scene;

pub use ledger::{Desk, Ledger};
pub use report::{Report, number};
pub use runner::{Ended, Options, Runner};
pub use scene::{Intended, Scene, die, quietly};

use clap::Parser;
use std::process::ExitCode;
use std::time::Duration;

/// Every suite.
pub const SUITES: &[&dyn Suite] = &[
    &locks::Locks,
    &directory::Directory,
    &heap::Heap,
    &allocate_loop::AllocateLoop,
    &creation::Creation,
    &counter::Counter,
    &points::Points,
];

/// What is tortured, and how it is known to have stood it.
pub trait Suite: Sync {
    /// What it is called on the command line.
    fn name(&self) -> &'static str;

    /// One line for `--list`.
    fn about(&self) -> &'static str;

    /// What it counts beyond what every suite does; `Scene::count` takes a number's place in this list.
    fn counts(&self) -> &'static [&'static str] {
        &[]
    }

    /// Ways in which it can be told to break something on purpose, so that the run must fail.
    fn sabotages(&self) -> &'static [&'static str] {
        &[]
    }

    /// Makes what the workers share, under names that begin with `scene.base()`.
    fn prepare(&self, scene: &Scene);

    /// Works until `scene.goes_on()` says no. It may be killed at any instant, and is then started anew.
    fn work(&self, scene: &Scene);

    /// Uses the segment beside the workers, as a process that never dies, until `scene.goes_on()` says no.
    fn watch(&self, _: &Scene) {}

    /// Recovers what the dead left. It may be killed at any instant.
    fn recover(&self, scene: &Scene);

    /// Recovers and compares everything with the ledger. All others are gone. `scene.is_last()`: the life ends here.
    fn audit(&self, scene: &Scene);

    /// Removes every name that begins with `base`, whoever made it.
    fn remove(&self, base: &str) {
        let _ = shmem_core::Segment::remove(base);
    }

    /// How a run goes: rounds of kills, unless the suite has a way of its own.
    fn run(&self, runner: &mut Runner) {
        runner.rounds();
    }
}

/// Kills worker processes at random and compares what is left with a ledger.
#[derive(Debug, Parser)]
#[command(name = "torture")]
struct Arguments {
    /// Which suite; see --list.
    #[arg(required_unless_present = "list")]
    suite: Option<String>,
    /// Shows the suites.
    #[arg(long)]
    list: bool,
    /// How long to go on: 10 unless --kills says when to end.
    #[arg(long)]
    seconds: Option<f64>,
    /// Ends after so many kills.
    #[arg(long)]
    kills: Option<u64>,
    /// Repeats the choices of a run.
    #[arg(long)]
    seed: Option<u64>,
    /// After how many seconds without a sign a process is stuck.
    #[arg(long, default_value_t = 30.0)]
    patience: f64,
    /// Breaks something on purpose; the run must then fail.
    #[arg(long)]
    sabotage: Option<String>,
    /// For `points`: how often each point has to kill.
    #[arg(long, default_value_t = 100)]
    per_point: u64,
    /// For `points`: only those that begin so.
    #[arg(long, default_value = "")]
    only: String,
}

/// The program: a worker if it was started as one, else the runner.
pub fn main() -> ExitCode {
    if let Some(code) = scene::become_worker() {
        return code;
    }
    let arguments = Arguments::parse();
    if arguments.list {
        SUITES.iter().for_each(|suite| println!("{:<11}{}", suite.name(), suite.about()));
        return ExitCode::SUCCESS;
    }
    let wanted = arguments.suite.unwrap_or_default();
    let Some(suite) = SUITES.iter().copied().find(|suite| suite.name() == wanted) else {
        eprintln!("there is no suite `{wanted}`: see --list");
        return ExitCode::from(2);
    };
    let sabotage = arguments.sabotage.unwrap_or_default();
    if !sabotage.is_empty() && !suite.sabotages().contains(&&*sabotage) {
        eprintln!("`{wanted}` can be broken by {:?} only", suite.sabotages());
        return ExitCode::from(2);
    }
    let seconds = |of: f64| Duration::try_from_secs_f64(of).unwrap_or(Duration::MAX);
    let options = Options {
        limit: match (arguments.seconds, arguments.kills) {
            (Some(given), _) => seconds(given),
            (None, Some(_)) => Duration::MAX,
            (None, None) => Duration::from_secs(10),
        },
        kills: arguments.kills.unwrap_or(u64::MAX),
        seed: arguments.seed.unwrap_or_else(|| crate::Random::fresh_seed("torture")),
        patience: seconds(arguments.patience),
        sabotage,
        per_point: arguments.per_point,
        only: arguments.only,
    };
    match Runner::new(suite, options) {
        Ok(mut runner) => {
            suite.run(&mut runner);
            let report = runner.report();
            print!("{report}");
            if report.is_clean() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(e) => {
            eprintln!("cannot begin: {e}");
            ExitCode::from(2)
        }
    }
}
