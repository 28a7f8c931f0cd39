//! `compare`: rounds that visit ours and every peer in turn.

use crate::catalogue::{AREAS, Area, Case, Host};
use crate::process::Worker;
use crate::report::{self, Row, median};
use crate::targets::Targets;
use crate::worker::{NOT_BUILT, OURS, Side};
use crate::{Result, cpp, machine, measure};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The options of `compare`.
#[derive(clap::Args)]
pub struct Options {
    /// Areas to run; all by default.
    areas: Vec<String>,
    /// Writes the rows as a JSON array.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Measured rounds; one more warms up.
    #[arg(long, default_value_t = 7, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// A smoke run: one round of small workloads, whose figures say nothing.
    #[arg(long)]
    quick: bool,
    /// Writes the figures into PERFORMANCE.md.
    #[arg(long, conflicts_with = "quick")]
    record: bool,
}

/// How often a round that other programs disturbed is run, the first time included.
const TRIES: u32 = 3;

/// What became of one contestant in one case.
enum Outcome {
    /// Its median, and whether a round stayed disturbed.
    Measured(f64, bool),
    /// It cannot run here.
    Skipped(String),
    /// It should have run.
    Failed(String),
}

/// Runs the comparison; `false` if a contestant failed.
pub fn run(options: &Options) -> Result<bool> {
    if let Some(unknown) = options.areas.iter().find(|name| AREAS.iter().all(|area| area.name != **name)) {
        return Err(format!("there is no area `{unknown}`; see `list`").into());
    }
    if cfg!(debug_assertions) && !options.quick {
        return Err("this is a debug build; run it with --release".into());
    }
    let targets = Targets::read()?;
    let (mut rows, mut well, mut boost) = (Vec::new(), true, None);
    for area in
        AREAS.iter().filter(|area| options.areas.is_empty() || options.areas.iter().any(|a| a == area.name))
    {
        let mut contest = Contest::new(area, options)?;
        boost = contest.version().or(boost);
        println!("\n{}: {}", area.name, area.about);
        report::print_head();
        for case in area.cases {
            for (row, failed) in contest.run(case, &targets, options)? {
                report::print(&row);
                well &= !failed;
                rows.push(row);
            }
            std::io::stdout().flush()?;
        }
    }
    let machine = machine::describe(boost.as_deref());
    println!("\n{machine}\nmedians of {} rounds", if options.quick { 1 } else { options.rounds });
    if let Some(path) = &options.json {
        let all: Vec<_> = rows.iter().map(Row::json).collect();
        std::fs::write(path, serde_json::to_string_pretty(&all)? + "\n")
            .map_err(|e| format!("{}: {e}", path.display()))?;
    }
    if options.record {
        targets.record(&rows, &machine)?;
    }
    Ok(well)
}

/// The processes of an area.
struct Contest {
    area: &'static Area,
    ours: Worker,
    /// A second one of ours, for other workloads of this library as peers.
    ours_as_peer: Worker,
    rust: Worker,
    cpp: Result<Worker, String>,
}

/// The folder that cargo builds in: two above this program.
fn target_folder() -> Result<PathBuf> {
    let program = std::env::current_exe()?;
    Ok(program.parent().and_then(Path::parent).ok_or("no target folder")?.to_path_buf())
}

impl Contest {
    fn new(area: &'static Area, options: &Options) -> Result<Self> {
        let target = target_folder()?;
        let directory = target.join("peers").join("data");
        std::fs::create_dir_all(&directory)?;
        let start = |side: Side| {
            let mut command = Command::new(std::env::current_exe()?);
            command.args(["worker", side.name(), area.name, "--directory"]).arg(&directory);
            if options.quick {
                command.arg("--quick");
            }
            Worker::start(&mut command)
        };
        let cpp = cpp::build(area.name, &target).and_then(|program| {
            let mut command = Command::new(program);
            command.env("SHMEM_BENCHES_DIR", &directory);
            if options.quick {
                command.arg("--quick");
            }
            Worker::start(&mut command).map_err(|e| e.to_string())
        });
        let (ours, ours_as_peer, rust) = (start(Side::Ours)?, start(Side::Ours)?, start(Side::Rust)?);
        Ok(Contest { area, ours, ours_as_peer, rust, cpp })
    }

    /// The version of Boost that the C++ peers were built with.
    fn version(&mut self) -> Option<String> {
        self.cpp.as_mut().ok()?.ask("version").ok()
    }

    /// Runs one case once.
    fn ask(&mut self, host: Option<Host>, subject: &str, case: &str) -> Result<(f64, bool), Outcome> {
        let worker = match host {
            None => &mut self.ours,
            Some(Host::Ours) => &mut self.ours_as_peer,
            Some(Host::Rust) => &mut self.rust,
            Some(Host::Cpp) => self.cpp.as_mut().map_err(|why| Outcome::Skipped(why.clone()))?,
        };
        worker.run(subject, case).map_err(|e| match e.to_string() {
            why if why == NOT_BUILT => Outcome::Skipped(why),
            why => Outcome::Failed(why),
        })
    }

    /// Runs one case of everyone, in turns; gives a row a peer and whether something failed.
    fn run(&mut self, case: &'static Case, targets: &Targets, options: &Options) -> Result<Vec<(Row, bool)>> {
        let contestants: Vec<(Option<Host>, &str)> = std::iter::once((None, OURS))
            .chain(case.peers.iter().map(|peer| (Some(peer.host), peer.subject)))
            .collect();
        let mut outcomes: Vec<Result<(Vec<f64>, bool), Outcome>> =
            contestants.iter().map(|_| Ok((Vec::new(), false))).collect();
        if measure::cpus() < case.cpus {
            outcomes.iter_mut().for_each(|o| *o = Err(Outcome::Skipped(format!("needs {} CPUs", case.cpus))));
        }
        let rounds = if options.quick { 1 } else { options.rounds };
        for round in 0..=rounds {
            for (&(host, subject), outcome) in contestants.iter().zip(&mut outcomes) {
                let Ok((values, disturbed)) = outcome else { continue };
                let mut tries = if round == 0 || options.quick { 1 } else { TRIES };
                let result = loop {
                    let result = self.ask(host, subject, case.name);
                    tries -= 1;
                    if tries == 0 || !matches!(result, Ok((_, true))) {
                        break result;
                    }
                };
                match result {
                    Ok(_) if round == 0 => {} // the warm-up
                    Ok((value, still_disturbed)) => {
                        values.push(value);
                        *disturbed |= still_disturbed;
                    }
                    Err(e) => *outcome = Err(e),
                }
            }
        }
        let mut outcomes = outcomes.into_iter().map(|outcome| match outcome {
            Ok((values, disturbed)) => Outcome::Measured(median(values), disturbed),
            Err(e) => e,
        });
        let ours = outcomes.next().ok_or("no contestant")?;
        case.peers
            .iter()
            .zip(outcomes)
            .map(|(peer, theirs)| {
                let mut row = Row {
                    area: self.area.name,
                    case: case.name,
                    peer: peer.name,
                    unit: case.unit,
                    ours: None,
                    peer_value: None,
                    target: targets.find(self.area.name, case.name, peer.name)?,
                    skipped: None,
                    disturbed: false,
                    quick: options.quick,
                };
                let mut failed = false;
                for (who, outcome, value) in
                    [("shmem", &ours, &mut row.ours), (peer.name, &theirs, &mut row.peer_value)]
                {
                    match outcome {
                        Outcome::Measured(median, disturbed) => {
                            *value = Some(*median);
                            row.disturbed |= disturbed;
                        }
                        Outcome::Skipped(why) => row.skipped = Some(format!("{who}: {why}")),
                        Outcome::Failed(why) => {
                            row.skipped = Some(format!("{who} failed: {why}"));
                            failed = true;
                        }
                    }
                }
                Ok((row, failed))
            })
            .collect()
    }
}
