//! `mirror`: what several processes made of the shared twin is what one process makes of the ordinary value.

mod common;

use common::{example, run};

#[test]
fn the_shared_shop_is_the_ordinary_one() {
    let outcome = run(&mut example("mirror"));
    assert_eq!(outcome.code(), 0, "{}", outcome.stderr);
    let default = outcome.text().to_owned();
    assert!(default.contains("orders settled for") && default.contains("refused"), "{default}");
    for workers in ["1", "2", "7"] {
        let outcome = run(example("mirror").args(["--workers", workers]));
        assert_eq!((outcome.code(), outcome.text()), (0, &*default), "{}", outcome.stderr);
    }
    for orders in ["0", "1", "1000"] {
        let outcome = run(example("mirror").args(["--orders", orders]));
        assert_eq!(outcome.code(), 0, "{}", outcome.stderr);
    }
}

#[test]
fn a_wrong_command_line_is_told() {
    for args in [&["--workers", "0"][..], &["--orders"], &["7"]] {
        assert_eq!(run(example("mirror").args(args)).code(), 2, "{args:?}");
    }
}
