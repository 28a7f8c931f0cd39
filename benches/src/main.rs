//! The benchmarks of shmem against its peers, in one run and as ratios: see PERFORMANCE.md.
//!
//! ```text
//! cargo run --release -p shmem-benches -- compare [AREA…] [--json FILE] [--rounds N] [--quick] [--record]
//! cargo run --release -p shmem-benches -- list
//! cargo run --release -p shmem-benches -- build-cost [--types N] [--rounds R] [--json FILE] [--no-enums] [--quick]
//! cargo run --release -p shmem-benches -- hand-over [--rounds R] [--json FILE] [--quick]
//! ```
//!
//! Every contestant runs in a process of its own (this program as `worker`, and the C++ programs of `peers/`)
//! that keeps its data set up and runs one case once when asked to, so that ours and theirs alternate; `build-cost`
//! starts cargo instead, and `hand-over` processes of ours, to kill them.

mod blocks;
mod build_cost;
mod catalogue;
mod compare;
mod cpp;
mod hand_over;
mod machine;
mod measure;
mod ours;
mod parties;
mod process;
mod report;
mod rust;
mod targets;
mod worker;

use clap::{Parser, Subcommand};
use std::path::PathBuf;
use std::process::ExitCode;

/// What went wrong, for a person to read.
type Result<T, E = Box<dyn std::error::Error>> = std::result::Result<T, E>;

/// Compares shmem with its peers.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Runs ours and the peers alternately and prints a table of medians and ratios.
    Compare(compare::Options),
    /// Builds crates of derived types and prints a table of what the derive costs, with serde's beside it.
    BuildCost(build_cost::Options),
    /// Kills processes that hold a lock and prints how long it takes until the next one has it.
    HandOver(hand_over::Options),
    /// Lists the areas, their cases and the peers of each.
    List,
    /// Runs cases when asked to on standard input (started by `compare`).
    #[command(hide = true)]
    Worker {
        /// Whose cases: `ours` or `rust`.
        side: worker::Side,
        /// The area.
        area: String,
        /// Shrinks every workload.
        #[arg(long)]
        quick: bool,
        /// Where to make files.
        #[arg(long)]
        directory: PathBuf,
    },
    /// Holds or waits for a lock when asked to on standard input (started by `hand-over`).
    #[command(hide = true)]
    Party(hand_over::Party),
}

fn main() -> ExitCode {
    let done = match Arguments::parse().command {
        Command::Compare(options) => compare::run(&options),
        Command::BuildCost(options) => build_cost::run(&options),
        Command::HandOver(options) => hand_over::run(&options),
        Command::Party(party) => hand_over::serve(&party).map(|()| true),
        Command::List => {
            catalogue::print();
            Ok(true)
        }
        Command::Worker { side, area, quick, directory } => {
            worker::serve(side, &area, measure::Setup { quick, directory }).map(|()| true)
        }
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(e) => {
            eprintln!("shmem-benches: {e}");
            ExitCode::from(2)
        }
    }
}
