//! `build-cost`: what `#[derive(ShmSafe)]` costs at compile time, against serde's two derives on the same types.

mod generate;
mod scratch;
mod source;

use crate::report::median;
use crate::{Result, machine};
use generate::Mix;
use scratch::{Action, Scratch, Took};
use serde_json::{Value, json};
use source::{SIDES, Side};
use std::path::{Path, PathBuf};

/// The options of `build-cost`.
#[derive(clap::Args)]
pub struct Options {
    /// How many types derive.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..))]
    types: u32,
    /// Measured rounds; one more builds the dependencies.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Makes structs only.
    #[arg(long)]
    no_enums: bool,
    /// Writes the rows as a JSON array.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// A smoke run: one round with 10 types, whose figures say nothing.
    #[arg(long, conflicts_with_all = ["types", "rounds"])]
    quick: bool,
}

/// How many types the program uses, if there are as many.
const USED: usize = 20;

/// How many of a hundred types are enums.
const ENUMS_PERCENT: usize = 25;

/// What the derive may add, over what serde's derives add.
const TARGET: f64 = 1.5;

/// What is timed: the action, its name and whether it has the target.
const TIMED: [(Action, &str, bool); 3] = [
    (Action::Check, "cargo check", true),
    (Action::Build, "cargo build", true),
    (Action::BuildProgram, "program", false),
];

/// One figure of each side.
#[derive(Debug, PartialEq)]
struct Row {
    case: String,
    unit: &'static str,
    /// In the order of [`SIDES`].
    values: Option<[f64; SIDES.len()]>,
    /// What the derive may add at most, as a multiple of what serde's add; `None` for no target.
    target: Option<f64>,
    skipped: Option<String>,
}

impl Row {
    /// What the derives add to the types without any: ours, serde's.
    fn added(&self) -> Option<[f64; 2]> {
        let [ours, serde, bare] = self.values?;
        Some([ours - bare, serde - bare])
    }

    /// Ours / serde's, of what they add. None where serde's add nothing that can be told from noise.
    fn ratio(&self) -> Option<f64> {
        let [ours, serde] = self.added()?;
        (serde > 0.0).then(|| ours / serde)
    }

    /// The object of the JSON array; `met` unless this was a smoke run.
    fn json(&self, quick: bool) -> Value {
        let at = |place: usize| self.values.map(|values| values[place]);
        json!({
            "case": self.case,
            "unit": self.unit,
            "ours": at(0),
            "serde": at(1),
            "bare": at(2),
            "ratio": self.ratio(),
            "target": self.target,
            "met": self.met(quick),
            "skipped": self.skipped,
        })
    }

    fn met(&self, quick: bool) -> Option<bool> {
        let target = self.target.filter(|_| !quick)?;
        Some(self.ratio()? <= target)
    }

    /// A line of PERFORMANCE.md's table.
    fn line(&self, quick: bool) -> String {
        let figure = |value: f64| match self.unit {
            "ms" => format!("{value:.0} ms"),
            _ => format!("{value:.1}"),
        };
        let missing = || String::from("–");
        let [ours, serde, bare] =
            self.values.map_or_else(|| [missing(), missing(), missing()], |values| values.map(figure));
        let [ours_added, serde_added] =
            self.added().map_or_else(|| [missing(), missing()], |added| added.map(figure));
        let ratio = self.ratio().map_or_else(missing, |ratio| format!("{ratio:.2}"));
        let target = self.target.map_or_else(missing, |target| format!("≤ {target} ×"));
        let met = self.met(quick).map_or("–", |met| if met { "yes" } else { "NO" });
        format!(
            "| {} | {target} | {ours} | {serde} | {bare} | {ours_added} | {serde_added} | {ratio} | {met} |",
            self.case
        )
    }
}

/// The head of the table.
const HEAD: &str = "| case | target | shmem | serde | no derive | shmem adds | serde adds | ratio | met |\n\
                    |---|---|---|---|---|---|---|---|---|";

/// The folder of the crates: beside the profile's, where this program stands.
fn folder() -> Result<PathBuf> {
    let program = std::env::current_exe()?;
    let target = program.parent().and_then(Path::parent).ok_or("no target folder")?;
    Ok(target.join("build-cost"))
}

/// Measures; `Err` if something does not build.
pub fn run(options: &Options) -> Result<bool> {
    let (count, rounds) = if options.quick { (10, 1) } else { (options.types as usize, options.rounds) };
    let enums_percent = if options.no_enums { 0 } else { ENUMS_PERCENT };
    let types = generate::types(Mix { types: count, enums_percent });
    let used = generate::some(&types, USED);
    let mut scratch = Scratch::create(folder()?, &types, &used)?;

    let mut rows = Vec::new();
    for (action, name, judged) in TIMED {
        eprintln!("{name}: building what it depends on");
        let mut took: [Vec<Took>; SIDES.len()] = [const { Vec::new() }; SIDES.len()];
        for round in 0..=rounds {
            for (side, took) in SIDES.into_iter().zip(&mut took) {
                let this = scratch.time(side, action)?;
                if round > 0 {
                    took.push(this);
                }
            }
        }
        let figures =
            |of: fn(&Took) -> f64| took.each_ref().map(|all| median(all.iter().map(of).collect()) / 1e6);
        let case = match action {
            Action::BuildProgram => format!("cargo build, {name} that uses {} of them", used.len()),
            Action::Check | Action::Build => format!("{name}, {count} types"),
        };
        let target = judged.then_some(TARGET);
        rows.push(Row {
            case: case.clone(),
            unit: "ms",
            values: Some(figures(|took| took.wall)),
            target,
            skipped: None,
        });
        rows.push(Row {
            case: format!("{case}: CPU time"),
            unit: "ms",
            values: Some(figures(|took| took.cpu)),
            target: None,
            skipped: None,
        });
    }
    let printed: Result<Vec<_>> = SIDES.iter().map(|&side| scratch.run(side)).collect();
    let printed = printed?;
    if printed.iter().any(|one| *one != printed[0]) {
        return Err(format!("the programs of {SIDES:?} found different contents: {printed:?}").into());
    }
    rows.push(lines(&scratch, count));

    println!("{HEAD}");
    rows.iter().for_each(|row| println!("{}", row.line(options.quick)));
    rows.iter().filter_map(|row| row.skipped.as_ref()).for_each(|why| println!("skipped: {why}"));
    println!("\n{}\nmedians of {rounds} rounds", machine::describe(None));
    if let Some(path) = &options.json {
        let all: Vec<_> = rows.iter().map(|row| row.json(options.quick)).collect();
        std::fs::write(path, serde_json::to_string_pretty(&all)? + "\n")
            .map_err(|e| format!("{}: {e}", path.display()))?;
    }
    Ok(true)
}

/// The row of expanded lines; skipped where the compiler cannot print them.
fn lines(scratch: &Scratch, count: usize) -> Row {
    let of = |side: Side| scratch.expanded_lines(side).map(|lines| lines as f64 / count as f64);
    let values: Result<Vec<_>> = SIDES.into_iter().map(of).collect();
    let (values, skipped) = match values {
        Ok(values) => (values.try_into().ok(), None),
        Err(e) => (None, Some(format!("expanded lines: {e}"))),
    };
    Row { case: "expanded lines of a type".into(), unit: "lines", values, target: Some(TARGET), skipped }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row() -> Row {
        let values = Some([400.0, 300.0, 100.0]);
        Row { case: "x".into(), unit: "ms", values, target: Some(1.5), skipped: None }
    }

    /// The target is on what the derives add: the types' own cost would hide a difference.
    #[test]
    fn what_is_there_without_a_derive_does_not_count() {
        assert_eq!(row().ratio(), Some(1.5));
        assert_eq!(row().met(false), Some(true));
        assert_eq!(row().met(true), None);
        assert_eq!(
            row().line(false),
            "| x | ≤ 1.5 × | 400 ms | 300 ms | 100 ms | 300 ms | 200 ms | 1.50 | yes |"
        );
        let slower = Row { values: Some([401.0, 300.0, 100.0]), ..row() };
        assert_eq!(slower.met(false), Some(false));
        let noise = Row { values: Some([401.0, 90.0, 100.0]), ..row() };
        assert_eq!((noise.ratio(), noise.met(false)), (None, None));
    }

    #[test]
    fn a_figure_that_is_missing_is_told() {
        let missing = Row { values: None, skipped: Some("why".into()), ..row() };
        assert_eq!(missing.line(false), "| x | ≤ 1.5 × | – | – | – | – | – | – | – |");
        assert_eq!(missing.json(false)["skipped"], "why");
        assert_eq!(missing.json(false)["ours"], Value::Null);
    }
}
