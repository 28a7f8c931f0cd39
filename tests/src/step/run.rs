//! All kills of one operation, and what is done when something hangs.

use super::trial::{Ground, Lost, Names, Outcome};
use super::{Bad, Effect, Operation, Report};
use crate::Random;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

/// How long a child may take.
const PATIENCE: Duration = Duration::from_secs(25);
/// After so many losses there is nothing to learn from going on.
const MOST_LOSSES: usize = 5;
/// So many addresses are looked up.
const MOST_EXPLAINED: usize = 1000;

/// Which instructions to kill after.
#[derive(Debug, Clone, Copy)]
pub enum Choice {
    /// Every `every`th of `from..=to`; to the end, if there is no `to`.
    Range {
        /// The first.
        from: usize,
        /// The last.
        to: Option<usize>,
        /// How many steps apart.
        every: usize,
    },
    /// About so many, evenly apart, the first at random; and the end.
    Sample {
        /// How many.
        kills: usize,
        /// Of the random number.
        seed: u64,
    },
}

impl Choice {
    /// Every instruction.
    pub const ALL: Choice = Choice::Range { from: 0, to: None, every: 1 };

    fn of(self, instructions: usize) -> Vec<usize> {
        match self {
            Choice::Range { from, to, every } => {
                (from..=to.unwrap_or(instructions).min(instructions)).step_by(every.max(1)).collect()
            }
            Choice::Sample { kills, seed } => {
                let stride = (instructions / kills.max(1)).max(1);
                let first = Random::new(seed).below(stride as u64) as usize;
                let mut all: Vec<usize> = (first..instructions).step_by(stride).collect();
                all.push(instructions);
                all
            }
        }
    }
}

/// What the thread that tries tells the one that waits.
enum Event {
    Measured(usize),
    Begun(usize, &'static str, u64),
    Done(Outcome),
    Lost(Lost),
    End,
}

/// Kills children of `operation` as chosen, and checks what each leaves.
///
/// The binary must have the role [`stepper`](super::serve).
///
/// # Panics
/// If the operation cannot be tried at all.
pub fn run(operation: &Operation, choice: Choice) -> Report {
    run_within(operation, choice, PATIENCE)
}

/// As [`run`], for an operation that hangs: a child may take as long as `patience`, and a check twice as long.
///
/// # Panics
/// As [`run`].
pub fn run_within(operation: &Operation, choice: Choice, patience: Duration) -> Report {
    let start = Instant::now();
    let names = Names::new(operation);
    let ground = Arc::new(Ground::new(operation, &names, patience));
    let report = Report { operation: operation.name.to_owned(), ..Report::default() };
    let mut tally = Tally { report, effects: Vec::new(), bad: Vec::new() };
    let mut from = 0;
    for _ in 0..MOST_LOSSES {
        let lost = tally.series(&ground, choice, from);
        tally.explain(&ground);
        let Some(next) = lost else { break };
        from = next;
        ground.replace_stepper();
    }
    ground.dismiss_stepper();
    tally.report.took = start.elapsed();
    tally.report
}

/// What is counted while one stepper lives.
struct Tally {
    report: Report,
    effects: Vec<(usize, Effect, u64)>,
    /// After which instruction, before which address, what is wrong.
    bad: Vec<(usize, u64, String)>,
}

impl Tally {
    /// Tries from number `from` of the choice on, on a thread of its own, because it may hang; where to go on if the
    /// stepper, or that thread, is lost.
    fn series(&mut self, ground: &Arc<Ground>, choice: Choice, from: usize) -> Option<usize> {
        let (tell, events) = channel();
        let grounds = ground.clone();
        std::thread::Builder::new()
            .name("single-step".into())
            .spawn(move || trials(&grounds, choice, from, &tell))
            .expect("a thread");
        let (mut after, mut phase, mut address, mut done) = (0, "measuring", 0, from);
        let lost = loop {
            match events.recv_timeout(2 * ground.patience) {
                Ok(Event::Measured(instructions)) => self.report.instructions = instructions,
                Ok(Event::Begun(next, what, at)) => (after, phase, address) = (next, what, at),
                Ok(Event::Done(outcome)) => {
                    done += 1;
                    self.count(outcome);
                }
                Ok(Event::End) => return None,
                Ok(Event::Lost(Lost(why))) => break why,
                Err(RecvTimeoutError::Timeout) => break "it hangs".to_owned(),
                Err(RecvTimeoutError::Disconnected) => break "the kit panicked, as said above".to_owned(),
            }
        };
        self.bad.push((after, address, format!("{phase}: {lost}")));
        // Without a route there is nothing to go on with.
        (phase != "measuring").then_some(done + 1)
    }

    fn count(&mut self, outcome: Outcome) {
        self.report.kills += 1;
        self.report.strayed += usize::from(outcome.strayed);
        let after = outcome.death.after;
        match outcome.effect {
            Ok(effect) if !outcome.strayed => self.effects.push((after, effect, outcome.address)),
            Ok(_) => {}
            Err(what) => self.bad.push((after, outcome.address, what)),
        }
    }

    /// Judges the effects, and puts what is bad into the report, with functions and lines for addresses: while the
    /// stepper lives whose they are.
    fn explain(&mut self, ground: &Ground) {
        self.effects.sort_by_key(|(after, ..)| *after);
        let whole = self.effects.iter().find(|(_, effect, _)| *effect == Effect::Whole).copied();
        let earlier = self.report.effect.as_ref().map(|(after, _)| *after);
        let whole = whole.filter(|(after, ..)| earlier.is_none_or(|earlier| *after < earlier));
        if let Some(first) = whole.map(|(after, ..)| after).or(earlier) {
            // That it has taken effect is never untrue again.
            for (after, effect, address) in self.effects.drain(..) {
                if after > first && effect == Effect::Nothing {
                    let what = format!("it has no effect, though it had after instruction {first}");
                    self.bad.push((after, address, what));
                }
            }
        }
        self.effects.clear();
        let wanted =
            self.bad.iter().map(|(_, address, _)| *address).chain(whole.map(|(.., address)| address));
        let wanted: Vec<u64> = wanted.collect::<BTreeSet<u64>>().into_iter().take(MOST_EXPLAINED).collect();
        let explained = if wanted.is_empty() { Vec::new() } else { ground.explain(&wanted) };
        let explained: HashMap<u64, String> = wanted.into_iter().zip(explained).collect();
        let place = |address: u64| explained.get(&address).cloned().unwrap_or_else(|| hex(address));
        if let Some((after, _, address)) = whole {
            self.report.effect = Some((after, place(address)));
        }
        let bad = self.bad.drain(..).map(|(after, address, what)| Bad { after, at: place(address), what });
        self.report.bad.extend(bad);
        self.report.bad.sort_by_key(|bad| bad.after);
    }
}

fn hex(address: u64) -> String {
    if address == 0 { "the mark".to_owned() } else { format!("{address:#x}") }
}

/// Tries until nobody listens any more: whoever hung and goes on must not disturb who came after.
fn trials(ground: &Ground, choice: Choice, from: usize, tell: &Sender<Event>) {
    let say = |event| tell.send(event);
    let alive = || _ = say(Event::Begun(0, "measuring", 0));
    let tried = ground.measure(&alive).and_then(|route| {
        let mut heard = say(Event::Measured(route.len()));
        let mut rest = choice.of(route.len()).into_iter().skip(from);
        while let Some(after) = rest.next().filter(|_| heard.is_ok()) {
            let begin = |phase, address| _ = say(Event::Begun(after, phase, address));
            heard = say(Event::Done(ground.kill(after, &route, &begin)?));
        }
        Ok(())
    });
    let _ = say(tried.map_or_else(Event::Lost, |()| Event::End));
}
