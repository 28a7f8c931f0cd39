//! A worker process of this program: it runs one case once for each line it reads. The C++ peers speak the same
//! protocol (see `peers/bench.hpp`).

use crate::measure::{Sample, Setup, Workload, pin};
use crate::{Result, ours, rust};
use std::collections::HashMap;
use std::io::{BufRead, Write};

/// Whose cases a worker runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub enum Side {
    /// This library.
    Ours,
    /// What Rust programs use inside one process, and bare system calls.
    Rust,
}

impl Side {
    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Side::Ours => "ours",
            Side::Rust => "rust",
        }
    }
}

/// The subject of ours in every case. Others of this library's name a workload that ours is compared with.
pub const OURS: &str = "shmem";

/// The answer to a case that this build does not hold.
pub const NOT_BUILT: &str = "not in this build";

/// Sets a case up.
fn workload(side: Side, area: &str, subject: &str, case: &str, setup: &Setup) -> Result<Workload> {
    let found = match side {
        Side::Ours => ours::workload(area, subject, case, setup)?,
        Side::Rust => rust::workload(area, subject, case, setup)?,
    };
    found.ok_or_else(|| NOT_BUILT.into())
}

/// Serves requests until the end of input.
pub fn serve(side: Side, area: &str, setup: Setup) -> Result<()> {
    if side == Side::Rust {
        rust::keep_freed_memory();
    }
    pin(0);
    // The contestants of one case at a time: the next one needs the memory.
    let mut live: HashMap<String, Workload> = HashMap::new();
    let mut current = String::new();
    let mut run = |line: &str| -> Result<Sample> {
        let request = line.strip_prefix("run ").and_then(|key| key.split_once(' '));
        let (subject, case) = request.ok_or("not understood")?;
        if current != case {
            live.clear();
            current = case.to_string();
        }
        if !live.contains_key(subject) {
            live.insert(subject.to_string(), workload(side, area, subject, case, &setup)?);
        }
        live.get_mut(subject).ok_or("no such subject")?()
    };
    for line in std::io::stdin().lock().lines() {
        let answer = match run(&line?) {
            Ok(Sample { ns, ops }) => format!("{ns} {ops}"),
            Err(e) => format!("error {}", e.to_string().replace('\n', " ")),
        };
        let mut out = std::io::stdout().lock();
        writeln!(out, "{answer}")?;
        out.flush()?;
    }
    Ok(())
}
