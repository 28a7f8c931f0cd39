//! `typed_errors`: what the library says, word for word.

mod common;

use common::{example, run};

#[test]
fn every_mistake_is_told_in_its_own_words() {
    let name = format!("shmem-test-errors-{}", std::process::id());
    let outcome = run(example("typed_errors").arg(&name));
    assert_eq!(outcome.code(), 0, "{}", outcome.stderr);
    let file = std::env::temp_dir().join(&name);
    let expected = [
        format!("a missing segment: segment `{name}` does not exist"),
        "a name with a slash: `a/b` is not a valid segment name: it has a `/` behind the first character".into(),
        format!(
            "a foreign file: `{}` is not a shmem segment: it is too short, and does not begin with the magic number",
            file.display()
        ),
        format!("a segment that exists: segment `{name}` exists already"),
        "another type: `account` holds a `Account`, not a `Account`; they differ at Account.balance: stored i64, \
         expected u64"
            .into(),
        "a name that is taken: an object named `account` exists already".into(),
        "a slice for one value: `numbers` holds a slice of 3, not one value".into(),
        "an empty name: a name of 0 bytes: names have 1 to 1024 bytes".into(),
        "a missing object: no error, but `None`".into(),
        // How much was wanted and how much is left depends on the heap.
        "a full segment: the segment is out of memory: N bytes wanted, largest free run N bytes".into(),
        "the list is whole: true; the segment is sound: true".into(),
    ];
    let digits = |word: &str| word.bytes().all(|b| b.is_ascii_digit());
    let found: Vec<_> = outcome
        .text()
        .lines()
        .map(|line| match line.starts_with("a full segment") {
            false => line.to_owned(),
            true => line
                .split(' ')
                .map(|word| if digits(word) { "N" } else { word })
                .collect::<Vec<_>>()
                .join(" "),
        })
        .collect();
    assert_eq!(found, expected);
    assert!(
        !file.exists() && !std::path::Path::new("/dev/shm").join(&name).exists(),
        "something was left behind"
    );
}
