//! The torture kit itself: each suite for a moment, and proof that each can fail.

use shmem_tests::torture::number;
use shmem_tests::*;
use std::process::{Command, Output};

fn torture(arguments: &[&str]) -> (Output, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_torture")).args(arguments).output().expect("the program");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    (output, text)
}

/// How long each suite is run.
fn seconds() -> &'static str {
    if long() { "60" } else { "1" }
}

#[track_caller]
fn is_clean(suite: &str) {
    let _watchdog = Watchdog::test(suite);
    let (output, report) = torture(&[suite, "--seconds", seconds()]);
    assert!(output.status.success(), "{report}");
    for nothing in ["corrupt", "stuck", "double"] {
        assert_eq!(number(&report, nothing), 0, "{report}");
    }
    assert!(number(&report, "operations") > 0 && number(&report, "kills") > 0, "{report}");
    leaves_nothing(suite, &report);
}

/// No name is left of the run whose report this is.
#[track_caller]
fn leaves_nothing(suite: &str, report: &str) {
    let pid = report.lines().find_map(|line| line.strip_prefix("pid ")).expect("the runner's pid");
    assert_eq!(leftovers(&format!("shmem-torture-{suite}-{pid}-")), [""; 0]);
}

/// A run that is sabotaged fails, and counts what was broken under `count`.
#[track_caller]
fn fails(suite: &str, sabotage: &str, count: &str) {
    fails_by(suite, sabotage, &[count]);
}

/// As [`fails`]; it depends on who comes first under which of `counts`.
#[track_caller]
fn fails_by(suite: &str, sabotage: &str, counts: &[&str]) {
    let _watchdog = Watchdog::test(sabotage);
    let arguments = [suite, "--seconds", "20", "--patience", "2", "--sabotage", sabotage];
    let (output, report) = torture(&arguments);
    assert_eq!(output.status.code(), Some(1), "{suite} with {sabotage}:\n{report}");
    assert!(counts.iter().any(|count| number(&report, count) > 0), "{suite} with {sabotage}:\n{report}");
    assert!(report.contains("finding after"), "{report}");
    leaves_nothing(suite, &report);
}

#[test]
fn locks() {
    is_clean("locks");
}

#[test]
fn directory() {
    is_clean("directory");
}

#[test]
fn heap() {
    is_clean("heap");
}

#[test]
fn allocate_loop() {
    is_clean("allocate-loop");
}

#[test]
fn creation() {
    is_clean("creation");
}

#[test]
fn counter() {
    is_clean("counter");
}

#[test]
fn broken_locks_are_reported() {
    fails("locks", "lost", "corrupt");
    fails("locks", "torn", "corrupt");
    fails("locks", "double", "double");
}

#[test]
fn a_hang_is_reported_with_what_it_waits_for() {
    let (_, report) = torture(&["locks", "--seconds", "20", "--patience", "2", "--sabotage", "hang"]);
    // Whoever is found first: the one who sleeps, or one of those who wait for what it holds.
    let named = ["sleep with a mutex held", "lock "].map(|doing| format!("is stuck in `{doing}"));
    assert!(named.iter().any(|named| report.contains(named)), "{report}");
    fails("locks", "hang", "stuck");
}

#[test]
fn broken_blocks_are_reported() {
    fails("heap", "twice", "double");
    // Found not to be live, or with what the next owner wrote.
    fails_by("heap", "free", &["corrupt", "double"]);
    fails("allocate-loop", "twice", "double");
    fails("allocate-loop", "keep", "corrupt");
    fails("allocate-loop", "wait", "stuck");
}

#[test]
fn a_broken_ledger_is_reported() {
    fails("directory", "half", "corrupt");
    fails("directory", "removal", "corrupt");
    fails("creation", "removal", "corrupt");
    fails("counter", "ledger", "corrupt");
}

#[test]
fn the_seed_is_printed_and_a_wrong_order_refused() {
    let (output, report) = torture(&["counter", "--seconds", "0.5", "--seed", "12345"]);
    assert!(output.status.success() && report.contains("--seed 12345"), "{report}");
    let (output, report) = torture(&["--list"]);
    assert!(output.status.success());
    for suite in ["locks", "directory", "heap", "allocate-loop", "creation", "counter", "points"] {
        assert!(report.lines().any(|line| line.starts_with(suite)), "{report}");
    }
    for wrong in [&["no-such-suite"][..], &["locks", "--sabotage", "nothing"], &[]] {
        assert_eq!(torture(wrong).0.status.code(), Some(2), "{wrong:?}");
    }
    if cfg!(not(shmem_crash)) {
        let (output, report) = torture(&["points"]);
        assert_eq!(output.status.code(), Some(1));
        assert!(report.contains("are they compiled in"), "{report}");
    }
}

/// A few deaths at each crash point, where they are compiled in.
#[test]
#[cfg(shmem_crash)]
fn points() {
    let _watchdog = Watchdog::new("points", std::time::Duration::from_secs(1800));
    let per_point = if long() { "100" } else { "2" };
    let (output, report) = torture(&["points", "--per-point", per_point]);
    assert!(output.status.success(), "{report}");
}
