//! ATTACKS.md, held against the tree: each test and each case that it names is there.

use std::fs;
use std::path::{Path, PathBuf};

fn sources(folder: &Path, into: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        match entry.path() {
            path if path.is_dir() => sources(&path, into),
            path if path.extension().is_some_and(|extension| extension == "rs") => into.push(path),
            _ => {}
        }
    }
}

#[test]
fn what_the_page_names_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut core = Vec::new();
    sources(&root.join("../shmem-core/src"), &mut core);
    let core: String = core.iter().map(|path| fs::read_to_string(path).unwrap()).collect();
    let page = include_str!("../ATTACKS.md");
    let rows = page.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| attack"));
    let mut named = 0;
    for row in rows {
        let shown_by = row.trim_end_matches(" |").rsplit(" | ").next().unwrap();
        let names: Vec<_> = shown_by.split('`').skip(1).step_by(2).collect();
        assert!(!names.is_empty(), "{row}");
        named += names.len();
        for name in names {
            let found = match name.split_once("::") {
                Some(("core", test)) => core.contains(&format!("fn {test}()")),
                Some((file, test)) => fs::read_to_string(root.join(format!("tests/{file}.rs")))
                    .is_ok_and(|text| text.contains(&format!("fn {test}()"))),
                None => {
                    let case = name.strip_prefix("ui/").expect("a case or a test");
                    root.join(format!("ui/fail/{case}.stderr")).exists()
                }
            };
            assert!(found, "there is no `{name}`");
        }
    }
    assert!(named > 60, "{named} names");
}
