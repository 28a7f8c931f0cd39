//! `hand-over`: how long after the death of a process the next one has its lock, beside how long the kernel takes to clear
//! the process away.

mod party;

use crate::process::Worker;
use crate::report::median;
use crate::{Result, machine, measure};
use party::{BALLAST, Ballast, LOCK, Lock, PIECE, now_ns};
pub use party::{Party, serve};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};
use serde_json::{Value, json};
use shmem_core::{RemoveOnDrop, Segment, ShmMutex, ShmVec};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

/// The options of `hand-over`.
#[derive(clap::Args)]
pub struct Options {
    /// Deaths of each case.
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Writes the rows as a JSON array.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// A smoke run: three deaths of each small case, whose figures say nothing.
    #[arg(long, conflicts_with = "rounds")]
    quick: bool,
}

const MIB: usize = 1 << 20;

/// Memory that the dead process has touched.
#[derive(Clone, Copy, Debug)]
enum Touched {
    Private(usize),
    Segment(usize),
}

impl Touched {
    const ALL: [Touched; 4] = [
        Touched::Private(16 * MIB),
        Touched::Segment(16 * MIB),
        Touched::Private(1024 * MIB),
        Touched::Segment(1024 * MIB),
    ];

    fn bytes(self) -> usize {
        match self {
            Touched::Private(bytes) | Touched::Segment(bytes) => bytes,
        }
    }

    fn text(self) -> String {
        let (Touched::Private(bytes) | Touched::Segment(bytes)) = self;
        let kind = if let Touched::Private(_) = self { "its own" } else { "the segment" };
        match bytes / MIB {
            1024 => format!("1 GiB of {kind}"),
            mib => format!("{mib} MiB of {kind}"),
        }
    }
}

/// How deaths are noticed, and how long that may take beyond the kernel's clearing away.
const WAYS: [(&str, bool, f64); 2] = [("all witnesses", false, 10.0), ("without the cell", true, 100.0)];

/// One death, in milliseconds from just before the kill.
#[derive(Clone, Copy, Debug)]
struct Death {
    owned: f64,
    cleared_away: f64,
}

/// A row of the table: times in milliseconds.
#[derive(Debug)]
struct Row {
    case: String,
    deaths: Vec<Death>,
    target: f64,
}

/// A figure of all deaths of a row.
fn figures(deaths: &[Death], of: impl Fn(&Death) -> f64) -> [f64; 2] {
    let all: Vec<f64> = deaths.iter().map(of).collect();
    let worst = all.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    [median(all), worst]
}

impl Row {
    fn owned(&self) -> [f64; 2] {
        figures(&self.deaths, |death| death.owned)
    }

    fn cleared_away(&self) -> [f64; 2] {
        figures(&self.deaths, |death| death.cleared_away)
    }

    /// Each death's own difference; negative where the lock came first.
    fn beyond(&self) -> [f64; 2] {
        figures(&self.deaths, |death| death.owned - death.cleared_away)
    }

    fn met(&self, quick: bool) -> Option<bool> {
        (!quick).then(|| self.beyond().iter().all(|ms| *ms <= self.target))
    }

    fn json(&self, quick: bool) -> Value {
        let [owned, cleared_away, beyond] = [self.owned(), self.cleared_away(), self.beyond()];
        json!({
            "case": self.case,
            "unit": "ms",
            "hand_over": { "median": owned[0], "worst": owned[1] },
            "cleared_away": { "median": cleared_away[0], "worst": cleared_away[1] },
            "beyond": { "median": beyond[0], "worst": beyond[1] },
            "target": self.target,
            "met": self.met(quick),
        })
    }

    /// A line of PERFORMANCE.md's table.
    fn line(&self, quick: bool) -> String {
        let pair = |[median, worst]: [f64; 2]| format!("{median:.2} / {worst:.2}");
        let met = self.met(quick).map_or("–", |met| if met { "yes" } else { "NO" });
        let [owned, cleared_away, beyond] = [self.owned(), self.cleared_away(), self.beyond()].map(pair);
        format!("| {} | ≤ {} ms | {beyond} | {owned} | {cleared_away} | {met} |", self.case, self.target)
    }
}

/// The head of the table.
const HEAD: &str = "| case | target | beyond | hand-over | cleared away | met |\n|---|---|---|---|---|---|";

/// Measures; `Err` if a lock is not handed over.
pub fn run(options: &Options) -> Result<bool> {
    let rounds = if options.quick { 3 } else { options.rounds };
    let mut rows = Vec::new();
    for (way, without_cell, target) in WAYS {
        for touched in Touched::ALL {
            if options.quick && touched.bytes() > 16 * MIB {
                continue;
            }
            let case = format!("{way}, {}", touched.text());
            eprintln!("{case}");
            let deaths = deaths(touched, without_cell, rounds)?;
            rows.push(Row { case, deaths, target });
        }
    }
    println!("{HEAD}");
    rows.iter().for_each(|row| println!("{}", row.line(options.quick)));
    println!("\n{}\nmedian / worst of {rounds} deaths, in ms", machine::describe(None));
    if let Some(path) = &options.json {
        let all: Vec<_> = rows.iter().map(|row| row.json(options.quick)).collect();
        std::fs::write(path, serde_json::to_string_pretty(&all)? + "\n")
            .map_err(|e| format!("{}: {e}", path.display()))?;
    }
    Ok(true)
}

/// All deaths of a case.
fn deaths(touched: Touched, without_cell: bool, rounds: u32) -> Result<Vec<Death>> {
    let name = measure::own_name("hand-over");
    let _remove = RemoveOnDrop::shared(&name)?;
    let ballast = if let Touched::Segment(bytes) = touched { bytes } else { 0 };
    let segment = Segment::shared(&name).size((ballast + 64 * MIB) as u64).create()?;
    segment.construct::<Lock>(LOCK, ShmMutex::new(0))?;
    let pieces = (0..ballast / PIECE).map(|_| [0; PIECE]);
    segment.construct::<Ballast>(BALLAST, ShmMutex::<ShmVec<_>>::new(shmem_core::init::from_iter(pieces)))?;

    let own = std::env::current_exe()?;
    let party = |part: &str| {
        let mut command = Command::new(&own);
        command.args(["party", part, &name]);
        if without_cell {
            command.arg("--without-cell");
        }
        command
    };
    let mut waiter = Worker::start(&mut party("waiter"))?;
    let mut deaths = Vec::new();
    for round in 0..rounds {
        let mut command = party("holder");
        match touched {
            Touched::Private(bytes) => command.args(["--private-bytes", &bytes.to_string()]),
            Touched::Segment(_) => command.arg("--ballast"),
        };
        let mut holder = Worker::start(&mut command)?;
        holder.ask("hold")?;
        waiter.ask("wait")?;
        // It sleeps, and has slept for so long that it looks as seldom as it ever does; each time at another point of that.
        std::thread::sleep(Duration::from_millis(200 + u64::from(round) * 37 % 80));
        deaths.push(kill(&holder, &mut waiter)?);
    }
    drop(waiter);
    segment.recover();
    match segment.check().first() {
        None => Ok(deaths),
        Some(damage) => Err(format!("the segment is damaged: {damage}").into()),
    }
}

fn kill(holder: &Worker, waiter: &mut Worker) -> Result<Death> {
    let pid = i32::try_from(holder.id()).ok().and_then(Pid::from_raw).ok_or("no process id")?;
    let killed_at = now_ns();
    kill_process(pid, Signal::KILL)?;
    // Left for `Worker` to reap.
    waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT)?;
    let cleared_away_at = now_ns();
    let owned_at: u64 = waiter.ask("when")?.parse()?;
    let since = |at: u64| (at as f64 - killed_at as f64) / 1e6;
    Ok(Death { owned: since(owned_at), cleared_away: since(cleared_away_at) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(deaths: &[(f64, f64)]) -> Row {
        let deaths = deaths.iter().map(|&(owned, cleared_away)| Death { owned, cleared_away });
        Row { case: "x".into(), deaths: deaths.collect(), target: 10.0 }
    }

    /// What counts is each death's own difference, not the difference of the medians.
    #[test]
    fn deaths_are_judged_one_by_one() {
        let good = row(&[(101.0, 100.0), (2.0, 1.0), (3.0, 5.0)]);
        assert_eq!(good.beyond(), [1.0, 1.0]);
        assert_eq!(good.met(false), Some(true));
        assert_eq!(good.met(true), None);
        assert_eq!(good.line(false), "| x | ≤ 10 ms | 1.00 / 1.00 | 3.00 / 101.00 | 5.00 / 100.00 | yes |");
        let one_late = row(&[(1.0, 1.0), (1.0, 1.0), (111.0, 100.0)]);
        assert_eq!(one_late.met(false), Some(false));
        assert_eq!(one_late.json(false)["beyond"]["worst"], 11.0);
    }
}
