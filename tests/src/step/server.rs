//! The stepper: hears from the tester what to fork and how far to step it.
//!
//! | the tester says | the stepper does | and reports |
//! |---|---|---|
//! | `measure SCENE FILE` | forks a child | `ready` at the mark |
//! | `go` | steps it to the end, writes the place of each instruction | `measuring` now and then, `measured N` |
//! | `kill SCENE ADDRESS HITS STEPS` | forks a child | `ready` at the mark |
//! | `go` | lets it go that way, kills and reaps it | `killed PLACE` |
//! | `explain ADDRESS …` | looks each of them up | `at …` for each |
//!
//! Or it reports `failed …`. A place is an address and the stack pointer there: by these two it is seen whether a child is
//! where it was meant to be. What children do is to be the same each time, and so their heaps must begin the same: the
//! stepper itself allocates nothing, except when it fails.

use super::child::{Child, Place, Stop, end_address, stay_on_one_processor};
use super::explain::explain;
use super::route::Way;
use super::{Operation, Scene};
use crate::system::tie_lifelines;
use crate::{argument, report};
use std::fmt;
use std::fs::File;
use std::hash::RandomState;
use std::io::Write;

/// How long it waits for the tester, and the tester may let a child run.
const LIFE_SECONDS: u32 = 60;

/// More instructions than this nobody wants to step.
const MOST: usize = 4_000_000;
/// So many take a moment.
const SOME: usize = 10_000;

/// The role of a stepper: `fn stepper() { step::serve(&operations) }`.
pub fn serve(operations: &[Operation]) {
    let name: String = argument(0);
    let operation = operations.iter().find(|operation| operation.name == name).expect("a known operation");
    stay_on_one_processor();
    // The children's hash maps have the keys that this thread drew.
    let _ = RandomState::new();
    let mut ears = Ears(String::with_capacity(1 << 16));
    report("there");
    while ears.listen() {
        tie_lifelines(LIFE_SECONDS);
        match obey(operation, &mut ears) {
            Ok(answer) => report(answer),
            Err(why) => report(format!("failed {why}").replace('\n', " ")),
        }
    }
}

/// The line that was heard last.
struct Ears(String);

impl Ears {
    /// Hears a line, if there is one more.
    fn listen(&mut self) -> bool {
        self.0.clear();
        std::io::stdin().read_line(&mut self.0).is_ok_and(|bytes| bytes > 0)
    }

    fn words(&self) -> impl Iterator<Item = &str> + Clone {
        self.0.trim_end().split(' ')
    }

    fn word(&self, i: usize) -> Result<&str, String> {
        self.words().nth(i).ok_or_else(|| format!("there is no word {i}: {}", self.0))
    }

    fn number<T: std::str::FromStr>(&self, i: usize) -> Result<T, String> {
        number(self.word(i)?)
    }
}

enum Answer {
    Measured(usize),
    Killed(Place),
    Explained,
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Answer::Measured(instructions) => write!(f, "measured {instructions}"),
            Answer::Killed(place) => write!(f, "killed {} {}", place.address, place.stack),
            Answer::Explained => f.write_str("explained"),
        }
    }
}

fn obey(operation: &Operation, ears: &mut Ears) -> Result<Answer, String> {
    match ears.word(0)? {
        "measure" => {
            let file = File::create(ears.word(2)?).map_err(|e| e.to_string())?;
            measure(child(operation, ears)?, file).map(Answer::Measured)
        }
        "kill" => {
            let way = Way { address: ears.number(2)?, hits: ears.number(3)?, steps: ears.number(4)? };
            kill(child(operation, ears)?, way).map(Answer::Killed)
        }
        "explain" => {
            let addresses = ears.words().skip(1).map_while(|word| number(word).ok());
            Child::run(|| addresses.for_each(|address| report(format_args!("at {}", explain(address)))))?;
            Ok(Answer::Explained)
        }
        _ => Err(format!("unknown: {}", ears.0)),
    }
}

/// A child that stands at the mark, and is let go on.
fn child(operation: &Operation, ears: &mut Ears) -> Result<Child, String> {
    let name = ears.word(1)?;
    let scene = || Scene { name: name.to_owned(), segment: None };
    if let Some(victim) = operation.victim {
        Child::run(|| victim(&scene()))?;
    }
    let child = Child::start(|| (operation.child)(&scene()))?;
    report("ready");
    if ears.listen() && ears.word(0)? == "go" {
        Ok(child)
    } else {
        Err("told something else than `go`".to_owned())
    }
}

/// How many instructions there are; their places go to the file.
fn measure(mut child: Child, mut file: File) -> Result<usize, String> {
    let (mut place, end) = (child.place()?, end_address());
    let mut instructions = 0;
    loop {
        for word in [place.address, place.stack] {
            file.write_all(&word.to_le_bytes()).map_err(|e| e.to_string())?;
        }
        if place.address == end {
            return Ok(instructions);
        }
        place = match child.step()? {
            Stop::At(place) => place,
            Stop::ThreadEnded => Place { address: end, stack: 0 },
        };
        instructions += 1;
        if instructions % SOME == 0 {
            tie_lifelines(LIFE_SECONDS);
            report("measuring");
        }
        if instructions > MOST {
            return Err(format!("there are more than {MOST} instructions"));
        }
    }
}

fn kill(mut child: Child, way: Way) -> Result<Place, String> {
    let stop = child.go(way)?;
    child.kill();
    let end = end_address();
    Ok(match stop {
        // The breakpoint at the end was executed.
        Stop::At(place) if place.address == end + 1 => Place { address: end, ..place },
        Stop::At(place) => place,
        Stop::ThreadEnded => Place { address: end, stack: 0 },
    })
}

fn number<T: std::str::FromStr>(word: &str) -> Result<T, String> {
    word.parse().map_err(|_| format!("not a number: {word}"))
}
