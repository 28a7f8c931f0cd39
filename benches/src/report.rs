//! A row of the comparison, as a line of the table, of PERFORMANCE.md and as JSON.

use crate::catalogue::Unit;
use crate::targets::Target;
use serde_json::{Value, json};

/// One case against one peer. Figures are medians.
pub struct Row {
    /// The area.
    pub area: &'static str,
    /// The case.
    pub case: &'static str,
    /// The peer.
    pub peer: &'static str,
    /// What the figures are.
    pub unit: Unit,
    /// Our median.
    pub ours: Option<f64>,
    /// The peer's median.
    pub peer_value: Option<f64>,
    /// What is to be reached.
    pub target: Option<Target>,
    /// Why a figure is missing.
    pub skipped: Option<String>,
    /// Whether a round stayed disturbed by other programs.
    pub disturbed: bool,
    /// Whether this was a smoke run, whose figures say nothing.
    pub quick: bool,
}

impl Row {
    /// Ours / peer's.
    fn ratio(&self) -> Option<f64> {
        Some(self.ours? / self.peer_value?)
    }

    /// Whether the target is met, if there is one and it was measured.
    pub fn met(&self) -> Option<bool> {
        if self.quick {
            return None;
        }
        Some(self.target.as_ref()?.met(self.ours?, self.peer_value?))
    }

    /// Ours, the peer's, their ratio and the verdict, as text.
    pub fn figures(&self) -> [String; 4] {
        let missing = || "–".to_string();
        [
            self.ours.map_or_else(|| "not measured yet".into(), |value| figure(value, self.unit)),
            self.peer_value.map_or_else(missing, |value| figure(value, self.unit)),
            self.ratio().map_or_else(missing, |ratio| format!("{ratio:.2}")),
            self.met().map_or_else(missing, |met| if met { "yes" } else { "NO" }.into()),
        ]
    }

    /// The object of the JSON array.
    pub fn json(&self) -> Value {
        let round = |value: f64| (value * 1000.0).round() / 1000.0;
        let (unit, better) = match self.unit {
            Unit::Time => ("ns", "lower"),
            Unit::Share => ("1", "higher"),
        };
        json!({
            "area": self.area,
            "case": self.case,
            "unit": unit,
            "better": better,
            "ours": self.ours.map(round),
            "peer": self.peer,
            "peer_value": self.peer_value.map(round),
            "ratio": self.ratio().map(|ratio| (ratio * 1e5).round() / 1e5),
            "target": self.target.as_ref().map(|target| &target.text),
            "met": self.met(),
            "skipped": self.skipped,
        })
    }
}

/// A figure for a person to read.
fn figure(value: f64, unit: Unit) -> String {
    match unit {
        Unit::Time => time(value),
        Unit::Share => format!("{:.1} %", value * 100.0),
    }
}

/// Nanoseconds for a person to read, with three digits.
fn time(ns: f64) -> String {
    let (value, unit) = match ns {
        _ if ns < 1e3 => (ns, "ns"),
        _ if ns < 1e6 => (ns / 1e3, "µs"),
        _ => (ns / 1e6, "ms"),
    };
    let digits = if value < 10.0 { 2 } else { usize::from(value < 100.0) };
    format!("{value:.digits$} {unit}")
}

/// The median.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.len() % 2 == 1 { values[middle] } else { (values[middle - 1] + values[middle]) / 2.0 }
}

/// Prints the head of the table.
pub fn print_head() {
    println!(
        "{:<28} {:<30} {:>9} {:>9} {:>7}  {:<22} met",
        "case", "peer", "ours", "peer's", "ratio", "target"
    );
}

/// Prints a row.
pub fn print(row: &Row) {
    let [ours, peer, ratio, met] = row.figures();
    let ours = if row.ours.is_some() { ours } else { "–".into() };
    let target = row.target.as_ref().map_or("–", |target| &target.text);
    let skipped = row.skipped.as_ref().map_or_else(String::new, |why| format!("  skipped: {why}"));
    let disturbed = if row.disturbed { "  (disturbed by other programs)" } else { "" };
    println!(
        "{:<28} {:<30} {ours:>9} {peer:>9} {ratio:>7}  {target:<22} {met}{skipped}{disturbed}",
        row.case, row.peer
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_and_times() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]), 2.5);
        assert_eq!(time(1.234), "1.23 ns");
        assert_eq!(time(12.34), "12.3 ns");
        assert_eq!(time(123.4), "123 ns");
        assert_eq!(time(6_700_000.0), "6.70 ms");
        assert_eq!(figure(0.8849, Unit::Share), "88.5 %");
        assert_eq!(figure(0.8849, Unit::Time), "0.88 ns");
    }

    #[test]
    fn a_row_as_json() {
        let mut row = Row {
            area: "mutex",
            case: "free",
            peer: "Boost",
            unit: Unit::Time,
            ours: Some(5.0),
            peer_value: Some(10.0),
            target: None,
            skipped: None,
            disturbed: false,
            quick: false,
        };
        let fields = [
            "area",
            "better",
            "case",
            "met",
            "ours",
            "peer",
            "peer_value",
            "ratio",
            "skipped",
            "target",
            "unit",
        ];
        let mut keys: Vec<String> = row.json().as_object().unwrap().keys().cloned().collect();
        keys.sort();
        assert_eq!(keys, fields);
        assert_eq!(row.json()["ratio"], 0.5);
        assert_eq!(row.json()["met"], Value::Null);
        assert_eq!(row.json()["better"], "lower");
        row.unit = Unit::Share;
        assert_eq!(row.json()["better"], "higher");
        row.ours = None;
        row.skipped = Some("why".into());
        assert_eq!(row.json()["ratio"], Value::Null);
        assert_eq!(row.json()["skipped"], "why");
    }
}
