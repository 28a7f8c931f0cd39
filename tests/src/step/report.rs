//! What came of the kills of one operation.

use std::fmt;
use std::time::Duration;

/// A state that a death must not leave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bad {
    /// After how many instructions the child died.
    pub after: usize,
    /// The function and line of the instruction that it did not execute any more.
    pub at: String,
    /// What is wrong.
    pub what: String,
}

/// What came of the kills of one operation.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// Which.
    pub operation: String,
    /// How many instructions it has.
    pub instructions: usize,
    /// How many children were killed.
    pub kills: usize,
    /// How many of them elsewhere than was meant.
    pub strayed: usize,
    /// From which instruction on it had taken effect, among those tried, and the function and line there.
    pub effect: Option<(usize, String)>,
    /// Every bad state.
    pub bad: Vec<Bad>,
    /// How long all of it took.
    pub took: Duration,
}

impl Report {
    /// Panics with the report if there is a bad state, or nothing was tried.
    #[track_caller]
    pub fn assert_good(&self) {
        assert!(self.kills > 0 && self.bad.is_empty(), "{self}");
    }

    /// What a table of reports has above.
    pub fn heading() -> String {
        format!(
            "{:<26} {:>12} {:>7} {:>7} {:>4} {:>8}  takes effect",
            "operation", "instructions", "kills", "strayed", "bad", "seconds"
        )
    }
}

impl fmt::Display for Report {
    /// A row of the table, and below it the bad states: those with one message that follow each other as one line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:<26} {:>12} {:>7} {:>7} {:>4} {:>8.1}  ",
            self.operation,
            self.instructions,
            self.kills,
            self.strayed,
            self.bad.len(),
            self.took.as_secs_f64()
        )?;
        match &self.effect {
            Some((after, at)) => write!(f, "{after}: {at}")?,
            None => write!(f, "–")?,
        }
        for run in self.bad.chunk_by(|one, next| one.what == next.what) {
            let (first, last) = (&run[0], &run[run.len() - 1]);
            write!(f, "\n  after {}", first.after)?;
            if run.len() > 1 {
                write!(f, "–{} ({} kills)", last.after, run.len())?;
            }
            write!(f, ", before {}", first.at)?;
            if last.at != first.at {
                write!(f, " … {}", last.at)?;
            }
            write!(f, ":\n    {}", first.what)?;
        }
        Ok(())
    }
}
