//! The targets of PERFORMANCE.md: read from its table, and the last figures written back into it.

use crate::Result;
use crate::report::Row;
use std::path::PathBuf;

/// The table's head: how it is found, and what its columns are.
const HEAD: [&str; 8] = ["area", "case", "peer", "target", "ours", "peer's", "ratio", "met"];

/// The line that says on what the figures were measured.
const MACHINE: &str = "Measured on: ";

/// One condition on a row.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Condition {
    /// ours / peer is at most this.
    Ratio(f64),
    /// ours is at most this many nanoseconds.
    Nanoseconds(f64),
    /// ours is at least this part of the whole.
    Share(f64),
}

/// What a row is to reach: all of some conditions, such as `≤ 1.2 ×`, `≥ 40 × faster`, `≤ 2.5 ns`, `≥ 88 %`.
#[derive(Clone, Debug, PartialEq)]
pub struct Target {
    /// As written.
    pub text: String,
    conditions: Vec<Condition>,
}

impl Target {
    /// Reads a cell; `–` is no target.
    fn parse(cell: &str) -> Result<Option<Self>> {
        if cell == "–" {
            return Ok(None);
        }
        let conditions: Result<Vec<_>> =
            cell.split(" and ").map(|part| Self::condition(part.trim())).collect();
        Ok(Some(Target { text: cell.into(), conditions: conditions? }))
    }

    fn condition(text: &str) -> Result<Condition> {
        let words: Vec<&str> = text.split_whitespace().collect();
        let number = |word: &str| word.parse::<f64>().map_err(|_| format!("`{text}` is not a target"));
        match words[..] {
            ["≤", n, "×"] => Ok(Condition::Ratio(number(n)?)),
            ["≥", n, "×", "faster"] => Ok(Condition::Ratio(1.0 / number(n)?)),
            ["≤", n, "ns"] => Ok(Condition::Nanoseconds(number(n)?)),
            ["≤", n, "µs"] => Ok(Condition::Nanoseconds(number(n)? * 1e3)),
            ["≥", n, "%"] => Ok(Condition::Share(number(n)? / 100.0)),
            _ => Err(format!("`{text}` is not a target").into()),
        }
    }

    /// Whether the figures reach it.
    pub fn met(&self, ours: f64, peer: f64) -> bool {
        self.conditions.iter().all(|condition| match *condition {
            Condition::Ratio(most) => ours / peer <= most,
            Condition::Nanoseconds(most) => ours <= most,
            Condition::Share(least) => ours >= least,
        })
    }
}

/// The table of PERFORMANCE.md.
pub struct Targets {
    text: String,
}

fn path() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../PERFORMANCE.md")
}

/// The cells of a line of a table.
fn cells(line: &str) -> Option<Vec<&str>> {
    let inner = line.trim().strip_prefix('|')?.strip_suffix('|')?;
    Some(inner.split('|').map(str::trim).collect())
}

impl Targets {
    /// Reads PERFORMANCE.md.
    pub fn read() -> Result<Self> {
        let path = path();
        let text = std::fs::read_to_string(&path).map_err(|e| format!("{}: {e}", path.display()))?;
        Ok(Targets { text })
    }

    /// Its rows: line number and cells.
    fn rows(&self) -> impl Iterator<Item = (usize, Vec<&str>)> {
        let rows =
            self.text.lines().enumerate().skip_while(|(_, line)| cells(line).as_deref() != Some(&HEAD));
        rows.skip(2)
            .map_while(|(at, line)| Some((at, cells(line)?)))
            .filter(|(_, cells)| cells.len() == HEAD.len())
    }

    /// The target of a row; `None` if it has none.
    pub fn find(&self, area: &str, case: &str, peer: &str) -> Result<Option<Target>> {
        for (_, cells) in self.rows() {
            if cells[..3] == [area, case, peer] {
                return Target::parse(cells[3]);
            }
        }
        Err(format!("PERFORMANCE.md has no row for {area}, {case}, {peer}").into())
    }

    /// Writes what was measured into PERFORMANCE.md.
    pub fn record(&self, rows: &[Row], machine: &str) -> Result<()> {
        Ok(std::fs::write(path(), self.with_figures(rows, machine))?)
    }

    /// The text with the figures of `rows` in its table; rows that were not measured keep what they had.
    fn with_figures(&self, rows: &[Row], machine: &str) -> String {
        let mut lines: Vec<String> = self.text.lines().map(str::to_string).collect();
        for (at, cells) in self.rows() {
            let measured =
                |row: &&Row| row.peer_value.is_some() && cells[..3] == [row.area, row.case, row.peer];
            if let Some(row) = rows.iter().find(measured) {
                let [ours, peer, ratio, met] = row.figures();
                let [area, case, name, target] = [cells[0], cells[1], cells[2], cells[3]];
                lines[at] =
                    format!("| {area} | {case} | {name} | {target} | {ours} | {peer} | {ratio} | {met} |");
            }
        }
        if let Some(line) = lines.iter_mut().find(|line| line.starts_with(MACHINE)) {
            *line = format!("{MACHINE}{machine}.");
        }
        lines.join("\n") + "\n"
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalogue::{AREAS, Unit};

    #[test]
    fn targets_are_read_and_judged() {
        let target = |text| Target::parse(text).unwrap().unwrap();
        assert!(Target::parse("–").unwrap().is_none());
        assert!(target("≤ 1.05 ×").met(1.05, 1.0));
        assert!(!target("≤ 1.05 ×").met(1.06, 1.0));
        assert!(target("≥ 40 × faster").met(1.0, 40.0));
        assert!(!target("≥ 40 × faster").met(1.0, 39.0));
        assert!(target("≤ 1 × and ≤ 2.5 ns").met(2.5, 2.5));
        assert!(!target("≤ 1 × and ≤ 2.5 ns").met(2.6, 3.0));
        assert!(target("≤ 1 µs").met(1000.0, 1.0));
        assert!(target("≥ 88 %").met(0.88, 1.0));
        assert!(!target("≥ 88 %").met(0.87, 0.1));
        assert!(Target::parse("fast").is_err());
    }

    #[test]
    fn every_case_has_one_row_and_every_row_a_case() {
        let targets = Targets::read().unwrap();
        let mut known = Vec::new();
        for area in AREAS {
            for case in area.cases {
                for peer in case.peers {
                    targets.find(area.name, case.name, peer.name).unwrap();
                    known.push([area.name, case.name, peer.name]);
                }
            }
        }
        let rows: Vec<[&str; 3]> = targets.rows().map(|(_, c)| [c[0], c[1], c[2]]).collect();
        assert_eq!(rows, known);
    }

    #[test]
    fn figures_are_written_into_the_table() {
        let targets = Targets::read().unwrap();
        let row = Row {
            area: "vector",
            case: "iterate",
            peer: "Rust Vec",
            unit: Unit::Time,
            ours: Some(1.05),
            peer_value: Some(1.0),
            target: targets.find("vector", "iterate", "Rust Vec").unwrap(),
            skipped: None,
            disturbed: false,
            quick: false,
        };
        let text = targets.with_figures(&[row], "a test");
        assert!(
            text.contains("| vector | iterate | Rust Vec | ≤ 1.05 × | 1.05 ns | 1.00 ns | 1.05 | yes |\n")
        );
        assert!(text.contains("\nMeasured on: a test.\n"));
        assert_eq!(text.lines().count(), targets.text.lines().count());
        let unchanged = |text: &str| {
            text.lines().filter(|line| line.starts_with("| hashmap")).map(String::from).collect::<Vec<_>>()
        };
        assert_eq!(unchanged(&text), unchanged(&targets.text));
    }
}
