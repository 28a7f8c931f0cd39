//! Kills a process after every instruction of an operation, and checks what each death leaves.

use clap::Parser;
use shmem_tests::step::{self, Choice, Report, operations};
use std::process::ExitCode;

/// Kills a process after every instruction of an operation, and checks what each death leaves.
#[derive(Debug, Parser)]
struct Arguments {
    /// Which operations; all of them, if none is named.
    operations: Vec<String>,
    /// The first instruction to die after.
    #[arg(long, default_value_t = 0)]
    from: usize,
    /// The last.
    #[arg(long)]
    to: Option<usize>,
    /// How many instructions apart.
    #[arg(long, default_value_t = 1)]
    every: usize,
    /// Prints the names of the operations.
    #[arg(long)]
    list: bool,
}

fn stepper() {
    step::serve(&operations::all());
}

fn main() -> ExitCode {
    shmem_tests::enter(&[("stepper", stepper)]);
    let arguments = Arguments::parse();
    let all = operations::all();
    if arguments.list {
        all.iter().for_each(|operation| println!("{}", operation.name));
        return ExitCode::SUCCESS;
    }
    let named =
        |name: &String| all.iter().find(|operation| operation.name == name).ok_or_else(|| name.clone());
    let chosen = match arguments.operations.iter().map(named).collect::<Result<Vec<_>, _>>() {
        Ok(chosen) if chosen.is_empty() => all.iter().collect(),
        Ok(chosen) => chosen,
        Err(name) => {
            eprintln!("no operation is called `{name}`; --list names them");
            return ExitCode::FAILURE;
        }
    };
    let Arguments { from, to, every, .. } = arguments;
    println!("{}", Report::heading());
    let mut good = true;
    for operation in chosen {
        let report = step::run(operation, Choice::Range { from, to, every });
        good &= report.kills > 0 && report.bad.is_empty();
        println!("{report}");
    }
    if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
