//! `counter`: nobody's addition is lost.

mod common;

use common::{example, run};

#[test]
fn n_workers_that_count_m_times_give_n_times_m() {
    let outcome = run(&mut example("counter"));
    assert_eq!((outcome.code(), outcome.text()), (0, "400000\n"), "{}", outcome.stderr);
    for (workers, times) in [(1, 0), (1, 10), (2, 50_000), (16, 1000)] {
        let args = ["--workers".into(), workers.to_string(), "--times".into(), times.to_string()];
        let outcome = run(example("counter").args(args));
        assert_eq!(outcome.code(), 0, "{}", outcome.stderr);
        assert_eq!(outcome.text(), format!("{}\n", workers * times));
    }
}

#[test]
fn a_wrong_command_line_is_told() {
    for args in [&["--workers", "0"][..], &["--times"], &["7"]] {
        assert_eq!(run(example("counter").args(args)).code(), 2, "{args:?}");
    }
}
