//! Several processes count in one place.
//!
//! ```text
//! counter [--workers N] [--times M]
//! ```
//! The program makes named shared memory with a counter in it and starts N copies of itself (4). Each opens the
//! memory by its name, finds the counter, and adds one to it M times (100000), locking it each time. The program
//! then prints the counter's value, which is N × M.

use shmem_core::{RemoveOnDrop, Segment, ShmMutex};
use shmem_examples::workers::{MOST_WORKERS, complain};
use shmem_examples::{FAILED, USAGE, number};
use std::error::Error;
use std::process::{Command, ExitCode};

/// What a copy of the program is started with: this, the segment's name, and how often it is to count.
const WORKER: &str = "--internal-worker";

fn count(name: &str, times: u64) -> Result<(), Box<dyn Error>> {
    let segment = Segment::shared(name).open()?;
    let counter = segment.find::<ShmMutex<u64>>("counter")?.ok_or("there is no counter")?;
    for _ in 0..times {
        *counter.lock()? += 1;
    }
    Ok(())
}

fn run(workers: u64, times: u64) -> Result<u64, Box<dyn Error>> {
    let name = format!("shmem-counter-{}", std::process::id());
    let _remove = RemoveOnDrop::shared(&name)?;
    let segment = Segment::shared(&name).size(1 << 20).create()?;
    let counter = segment.construct::<ShmMutex<u64>>("counter", ShmMutex::new(0))?;

    let program = std::env::current_exe()?;
    let start = |_| Command::new(&program).args([WORKER, &name, &times.to_string()]).spawn();
    let children: Vec<_> = (0..workers).map(start).collect();
    let mut failure = None;
    for child in children {
        match child.and_then(|mut child| child.wait()) {
            Ok(status) if status.success() => {}
            Ok(status) => failure = Some(format!("a worker failed: {status}")),
            Err(e) => failure = Some(format!("a worker cannot be started: {e}")),
        }
    }
    match failure {
        Some(failure) => Err(failure.into()),
        None => Ok(*counter.lock()?),
    }
}

fn parse(args: &[std::ffi::OsString]) -> Result<(u64, u64), String> {
    let (mut workers, mut times) = (4, 100_000);
    for pair in args.chunks(2) {
        let value = pair.get(1).map(|value| &**value);
        match pair[0].to_str() {
            Some("--workers") => workers = number("--workers", value, 1..=MOST_WORKERS)?,
            Some("--times") => times = number("--times", value, 0..=1 << 40)?,
            _ => return Err(format!("unknown option {:?}", pair[0])),
        }
    }
    Ok((workers, times))
}

fn main() -> ExitCode {
    let args: Vec<_> = std::env::args_os().skip(1).collect();
    let result = match args.iter().map(|arg| arg.to_str()).collect::<Vec<_>>()[..] {
        [Some(WORKER), Some(name), Some(times)] => match times.parse() {
            Ok(times) => count(name, times),
            Err(e) => Err(e.into()),
        },
        _ => match parse(&args) {
            Ok((workers, times)) => run(workers, times).map(|value| println!("{value}")),
            Err(e) => {
                complain("counter", e);
                eprintln!("usage: counter [--workers N] [--times M]");
                return ExitCode::from(USAGE);
            }
        },
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            complain("counter", e);
            ExitCode::from(FAILED)
        }
    }
}
