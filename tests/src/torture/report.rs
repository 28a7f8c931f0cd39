//! [`Report`]: what a run came to.

use super::ledger::{Ledger, word};
use std::fmt;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

/// What a run came to; its text ends with the verdict.
#[derive(Debug, Clone)]
pub struct Report {
    pub(super) suite: &'static str,
    pub(super) seed: u64,
    pub(super) took: Duration,
    pub(super) rounds: u64,
    pub(super) operations: u64,
    pub(super) kills: u64,
    pub(super) corrupt: u64,
    pub(super) stuck: u64,
    pub(super) double: u64,
    pub(super) leaked: u64,
    pub(super) counts: Vec<(&'static str, u64)>,
    pub(super) interrupted: bool,
}

impl Report {
    /// The numbers that stand in the ledger now.
    pub(super) fn of(ledger: &Ledger, suite: &dyn super::Suite) -> Self {
        let at = |word: usize| ledger.at(word).load(SeqCst);
        let counts = suite.counts().iter().enumerate();
        Report {
            suite: suite.name(),
            seed: 0,
            took: Duration::ZERO,
            rounds: 0,
            operations: at(word::OPERATIONS),
            kills: at(word::KILLS),
            corrupt: at(word::CORRUPT),
            stuck: at(word::STUCK),
            double: at(word::DOUBLE),
            leaked: at(word::LEAKED),
            counts: counts.map(|(i, name)| (*name, ledger.count(i).load(SeqCst))).collect(),
            interrupted: false,
        }
    }

    /// Whether nothing was found; and something was done, and somebody killed, or it shows nothing.
    pub fn is_clean(&self) -> bool {
        let found = self.corrupt + self.stuck + self.double;
        found == 0 && self.operations > 0 && self.kills > 0 && !self.interrupted
    }
}

/// The number in the line of a report called `name`.
#[track_caller]
pub fn number(report: &str, name: &str) -> u64 {
    let line = report.lines().find_map(|line| line.trim_start().split_once("  ").filter(|(_, n)| *n == name));
    let (number, _) = line.unwrap_or_else(|| panic!("no line `{name}` in:\n{report}"));
    number.parse().expect("a number")
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.took.as_secs_f64();
        writeln!(f, "torture {}: {seconds:.1} s, --seed {}", self.suite, self.seed)?;
        writeln!(f, "pid {}", std::process::id())?;
        let common = [
            ("rounds", self.rounds),
            ("operations", self.operations),
            ("kills", self.kills),
            ("corrupt", self.corrupt),
            ("stuck", self.stuck),
            ("double", self.double),
            ("leaked", self.leaked),
        ];
        for (name, number) in common.iter().chain(&self.counts) {
            writeln!(f, "{number:>12}  {name}")?;
        }
        let verdict = match (self.is_clean(), self.interrupted) {
            (true, _) => "clean",
            (_, true) => "interrupted",
            _ if self.corrupt + self.stuck + self.double == 0 => "FAILED: nothing was done, or nobody killed",
            _ => "FAILED",
        };
        writeln!(f, "{verdict}")
    }
}
