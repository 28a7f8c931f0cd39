//! `word_count` against `tr | sort | uniq -c`, and against a map in this process.

mod common;

use common::{Folder, example, finish, run, wait_for};
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What `--all` must print, by counting in this process.
fn expected(text: &[u8]) -> String {
    let mut counts = BTreeMap::<String, u64>::new();
    for word in text.split(|b| !b.is_ascii_alphabetic()).filter(|word| !word.is_empty()) {
        *counts.entry(String::from_utf8(word.to_ascii_lowercase()).unwrap()).or_default() += 1;
    }
    let mut counts: Vec<_> = counts.into_iter().collect();
    counts.sort_by(|(a, m), (b, n)| n.cmp(m).then(a.cmp(b)));
    counts.into_iter().map(|(word, n)| format!("{n} {word}\n")).collect()
}

/// What the shell's tools say, as sorted lines `COUNT WORD`.
fn by_shell(files: &[PathBuf]) -> Vec<String> {
    let script = r#"cat -- "$@" | LC_ALL=C tr A-Z a-z | LC_ALL=C tr -cs a-z '\n' | LC_ALL=C sort | uniq -c"#;
    let output = Command::new("sh").args(["-c", script, "sh"]).args(files).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let mut lines: Vec<_> = text
        .lines()
        .filter_map(|line| line.trim().split_once(' '))
        .map(|(n, w)| format!("{n} {w}"))
        .collect();
    lines.sort();
    lines
}

fn sorted(text: &str) -> Vec<String> {
    let mut lines: Vec<_> = text.lines().map(str::to_owned).collect();
    lines.sort();
    lines
}

/// Bytes that look random, always the same: letters, separators, and bytes that are neither.
fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed | 1;
    let mut next = || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        state >> 33
    };
    (0..len)
        .map(|_| match next() % 20 {
            0..13 => b'a' + (next() % 5) as u8,
            13..15 => b'A' + (next() % 5) as u8,
            15..18 => b' ',
            _ => next() as u8,
        })
        .collect()
}

#[test]
fn generated_files_give_what_one_process_and_the_shell_count() {
    let folder = Folder::new("generated");
    let contents = [
        b"the end is a let".to_vec(),
        Vec::new(),
        b"ter that goes on".to_vec(),
        noise(1, 3 << 20),
        b"zzz".repeat(1 << 20), // One word longer than a chunk.
        b"!".to_vec(),
        noise(2, (1 << 20) + 1),
        noise(3, 1 << 20),
        vec![0; 100],
        b"last".to_vec(),
    ];
    let name = |i: usize| match i {
        3 => OsStr::from_bytes(b"not \xff utf-8").to_owned(),
        i => format!("file {i}").into(),
    };
    let files: Vec<_> = contents.iter().enumerate().map(|(i, bytes)| folder.file(name(i), bytes)).collect();
    let expected = expected(&contents.concat());
    for workers in ["1", "2", "7"] {
        let outcome = run(example("word_count").args(["--all", "--workers", workers]).args(&files));
        assert_eq!(outcome.code(), 0, "{}", outcome.stderr);
        assert!(outcome.text() == expected, "with {workers} workers");
        assert!(outcome.stderr.contains("10 files, "), "{}", outcome.stderr);
    }
    assert!(sorted(&expected) == by_shell(&files));

    let top = run(example("word_count").args(["--top", "3"]).args(&files));
    assert_eq!(top.text().lines().collect::<Vec<_>>(), expected.lines().take(3).collect::<Vec<_>>());
    let ten = run(example("word_count").args(&files));
    assert_eq!(ten.text().lines().collect::<Vec<_>>(), expected.lines().take(10).collect::<Vec<_>>());
}

#[test]
fn the_licences_give_what_the_shell_counts() {
    let folder = Path::new("/usr/share/common-licenses");
    let Ok(entries) = std::fs::read_dir(folder) else {
        return println!("skipped: there is no {}", folder.display());
    };
    let mut files: Vec<_> =
        entries.map(|entry| entry.unwrap().path()).filter(|path| path.is_file()).collect();
    files.sort();
    let outcome = run(example("word_count").arg("--all").args(&files));
    assert_eq!(outcome.code(), 0, "{}", outcome.stderr);
    assert!(sorted(outcome.text()) == by_shell(&files));
}

#[test]
fn an_unreadable_file_is_told_and_the_rest_counted() {
    let folder = Folder::new("unreadable");
    let (good, missing) = (folder.file("good", b"one two two"), folder.0.join("missing"));
    let outcome = run(example("word_count").args([&missing, &good, &folder.0]));
    assert_eq!(outcome.code(), 1);
    assert_eq!(outcome.text(), "2 two\n1 one\n");
    assert!(outcome.stderr.contains(missing.to_str().unwrap()), "{}", outcome.stderr);
    assert!(outcome.stderr.contains("is a directory"), "{}", outcome.stderr);

    let nothing = run(example("word_count").arg(&missing));
    assert_eq!((nothing.code(), nothing.text()), (1, ""));
}

#[test]
fn standard_input_and_files_of_unknown_length_are_read_to_their_end() {
    let mut child = example("word_count")
        .args(["-", "/proc/version"])
        .args(["--top=1000"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), b"zebra zebra ").unwrap();
    let outcome = finish(child);
    assert_eq!(outcome.code(), 0, "{}", outcome.stderr);
    let version = std::fs::read("/proc/version").unwrap();
    assert_eq!(outcome.text(), expected(&[b"zebra zebra ", &version[..]].concat()));
}

#[test]
fn a_wrong_command_line_is_told() {
    for args in [
        &["--workers"][..],
        &["--workers", "0"],
        &["--workers", "251"],
        &["--workers", "x"],
        &["--top", "-1"],
        &["--al"],
        &["--all=1"],
    ] {
        let outcome = run(example("word_count").args(args));
        assert_eq!((outcome.code(), outcome.text()), (2, ""), "{args:?}");
        assert!(outcome.stderr.contains("usage: word_count"), "{}", outcome.stderr);
    }
    assert_eq!(run(example("word_count").arg("--help")).code(), 0);
    let folder = Folder::new("dashes");
    folder.file("--top", b"word");
    let outcome = run(example("word_count").current_dir(&folder.0).args(["--", "--top"]));
    assert_eq!((outcome.code(), outcome.text()), (0, "1 word\n"));
}

#[test]
fn a_killed_worker_is_told_and_ends_the_count() {
    let folder = Folder::new("killed");
    let pipe = folder.0.join("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let child = example("word_count")
        .args(["--workers", "1"])
        .arg(&pipe)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // Nobody writes to the pipe: the worker waits for ever.
    let children = format!("/proc/{0}/task/{0}/children", child.id());
    let worker = wait_for(|| {
        let children = std::fs::read_to_string(&children).unwrap();
        Some(children.split_whitespace().next()?.to_owned())
    });
    assert!(Command::new("kill").args(["-9", &worker]).status().unwrap().success());
    let outcome = finish(child);
    assert_eq!((outcome.code(), outcome.text()), (3, ""));
    assert!(outcome.stderr.contains(&format!("worker {worker} failed: signal: 9")), "{}", outcome.stderr);
}
