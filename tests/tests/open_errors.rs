//! What cannot be opened is a typed error at once: never a hang, a signal, or a segment that is none.

use shmem_core::{Error, OpenError, ReadOnlySegment, Segment, ShmString};
use shmem_tests::*;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

roles! { nobody }

/// Why `open` fails, and that it does so at once. Of three attempts the fastest counts: machines are busy.
#[track_caller]
fn why<T: std::fmt::Debug>(open: impl Fn() -> shmem_core::Result<T>) -> OpenError {
    let _watchdog = Watchdog::new("opening what cannot be opened", PATIENCE);
    let mut fastest = Duration::MAX;
    let mut last = None;
    for _ in 0..3 {
        let start = Instant::now();
        last = Some(open());
        fastest = fastest.min(start.elapsed());
    }
    assert!(fastest < Duration::from_millis(100), "{fastest:?}");
    match last.unwrap() {
        Err(Error::Open(e)) => {
            assert!(!e.to_string().is_empty());
            *e
        }
        other => panic!("{other:?}"),
    }
}

/// Why a file can be opened in no way; `open` and `open_read_only` and `open_or_create` agree.
#[track_caller]
fn file_error(path: &Path) -> OpenError {
    let error = why(|| Segment::file(path).open());
    let read_only = why(|| Segment::file(path).open_read_only());
    let or_create = why(|| Segment::file(path).size(64 << 10).open_or_create());
    for other in [&read_only, &or_create] {
        assert_eq!(std::mem::discriminant(&error), std::mem::discriminant(other), "{error} / {other}");
    }
    match why(|| Segment::file(path).create()) {
        OpenError::AlreadyExists { .. } => {}
        e => panic!("{e}"),
    }
    error
}

/// A whole segment with something in it, as bytes.
fn image(dir: &TempDir) -> Vec<u8> {
    let path = dir.join("image");
    let segment = Segment::file(&path).size(64 << 10).create().unwrap();
    segment.construct::<u64>("number", 7).unwrap();
    segment.construct::<ShmString>("text", "a text that is too long to stand inline").unwrap();
    drop(segment);
    std::fs::read(path).unwrap()
}

fn written(dir: &TempDir, bytes: &[u8]) -> PathBuf {
    let path = dir.join("it");
    std::fs::write(&path, bytes).unwrap();
    path
}

macro_rules! fails {
    ($error:expr, $kind:pat) => {
        match $error {
            $kind => {}
            e => panic!("{e:?} is not {}", stringify!($kind)),
        }
    };
}

#[test]
fn what_is_no_segment() {
    let dir = TempDir::new("none");
    let mut random = Random::new(Random::fresh_seed("what is no segment"));
    fails!(file_error(&written(&dir, &[])), OpenError::NotASegment { .. });
    fails!(file_error(&written(&dir, &[0; 64 << 10])), OpenError::NotASegment { .. });
    for _ in 0..20 {
        let bytes: Vec<u8> = (0..64 << 10).map(|_| random.word() as u8).collect();
        fails!(file_error(&written(&dir, &bytes)), OpenError::NotASegment { .. });
    }
    // What made Boost open garbage: a first word of 2.
    let mut bytes = vec![0xAA; 64 << 10];
    bytes[..4].copy_from_slice(&2u32.to_le_bytes());
    fails!(file_error(&written(&dir, &bytes)), OpenError::NotASegment { .. });
    fails!(file_error(&written(&dir, b"#!/bin/sh\n")), OpenError::NotASegment { .. });
}

#[test]
fn what_is_no_file() {
    let dir = TempDir::new("kinds");
    let at = |name: &str| dir.join(name);
    std::fs::create_dir(at("directory")).unwrap();
    fails!(file_error(&at("directory")), OpenError::NotAFile { kind: "directory", .. });
    make_fifo(&at("fifo")).unwrap();
    fails!(file_error(&at("fifo")), OpenError::NotAFile { .. });
    let _listener = std::os::unix::net::UnixListener::bind(at("socket")).unwrap();
    fails!(file_error(&at("socket")), OpenError::NotAFile { .. });
    fails!(file_error(Path::new("/dev/null")), OpenError::NotAFile { .. });
    Segment::file(at("real")).size(64 << 10).create().unwrap();
    for (link, target) in [("to a segment", at("real")), ("to nothing", at("nothing")), ("loop", at("loop"))]
    {
        std::os::unix::fs::symlink(target, at(link)).unwrap();
        fails!(file_error(&at(link)), OpenError::SymbolicLink { .. });
    }
    fails!(why(|| Segment::file(at("nothing")).open()), OpenError::NotFound { .. });
    fails!(why(|| Segment::file(at("nothing")).open_read_only()), OpenError::NotFound { .. });
    fails!(
        why(|| Segment::file(at("nothing/here")).create()),
        OpenError::NotFound { .. } | OpenError::Io { .. }
    );
    Segment::file(at("real")).open().unwrap();
}

#[test]
fn names() {
    for name in ["", "/", "a/b", "//a", ".", "..", "a\0b", &"x".repeat(256)] {
        fails!(why(|| Segment::shared(name).open()), OpenError::InvalidName { .. });
        fails!(why(|| Segment::shared(name).create()), OpenError::InvalidName { .. });
        fails!(why(|| Segment::shared(name).open_read_only()), OpenError::InvalidName { .. });
        fails!(why(|| Segment::remove(name)), OpenError::InvalidName { .. });
    }
    let name = TempName::new("names");
    fails!(why(|| name.segment().open()), OpenError::NotFound { .. });
    let segment = Segment::shared(&format!("/{name}")).size(64 << 10).create().unwrap();
    fails!(why(|| name.segment().create()), OpenError::AlreadyExists { .. });
    assert_eq!(name.segment().open().unwrap().id(), segment.id(), "a leading slash is the same name");
    assert!(Segment::remove(&name).unwrap() && !Segment::remove(&name).unwrap());
    fails!(why(|| name.segment().size(0).create()), OpenError::InvalidSize { .. });
    fails!(why(|| name.segment().size(1 << 20).max_size(1 << 10).create()), OpenError::InvalidSize { .. });
    fails!(why(|| name.segment().max_size(u64::MAX).create()), OpenError::InvalidSize { .. });
    fails!(why(|| name.segment().mode(0o4777).create()), OpenError::InvalidSize { .. });
    assert_eq!(leftovers(&name), [""; 0]);
}

#[test]
fn truncated_at_every_page() {
    let dir = TempDir::new("truncated");
    let whole = image(&dir);
    let pages = whole.len().div_ceil(4096);
    let mut opens_from = None;
    for len in
        (0..=pages).flat_map(|page| [page * 4096 - usize::from(page > 0), page * 4096, page * 4096 + 1])
    {
        let len = len.min(whole.len());
        let path = written(&dir, &whole[..len]);
        match Segment::file(&path).open() {
            Ok(segment) => {
                opens_from.get_or_insert(len);
                assert_eq!(*segment.find::<u64>("number").unwrap().unwrap(), 7);
                sound(&segment);
            }
            Err(_) => {
                assert_eq!(opens_from, None, "{len}");
                match file_error(&path) {
                    OpenError::NotASegment { .. } if len == 0 => {}
                    OpenError::Truncated { found_bytes, expected_bytes, .. } => {
                        assert_eq!(found_bytes, len as u64);
                        assert!(expected_bytes > found_bytes && expected_bytes <= whole.len() as u64);
                    }
                    e => panic!("{len}: {e}"),
                }
            }
        }
    }
    assert!(opens_from.is_some_and(|len| len > 5 * 4096), "{opens_from:?}");
}

#[test]
fn every_flipped_byte_of_the_header() {
    let dir = TempDir::new("flipped");
    let whole = image(&dir);
    for at in 0..256 {
        for flip in [0xFF, 1 << (at % 8)] {
            let mut bytes = whole.clone();
            bytes[at] ^= flip;
            let error = file_error(&written(&dir, &bytes));
            match (at, &error) {
                (0..8, OpenError::NotASegment { .. })
                | (8..12, OpenError::FormatVersion { expected: 1, .. })
                | (12..24, OpenError::Incompatible { .. })
                | (24.., OpenError::Damaged { .. }) => {}
                _ => panic!("byte {at}: {error:?}"),
            }
        }
    }
    let mut next = whole.clone();
    next[8..12].copy_from_slice(&2u32.to_le_bytes());
    fails!(file_error(&written(&dir, &next)), OpenError::FormatVersion { found: 2, expected: 1, .. });
    // A creation that the machine's failure cut short.
    let mut unfinished = whole.clone();
    unfinished[256..260].fill(0);
    fails!(file_error(&written(&dir, &unfinished)), OpenError::NotASegment { .. });
    let mut capacity = whole.clone();
    capacity[264..272].fill(0xFF);
    fails!(file_error(&written(&dir, &capacity)), OpenError::Damaged { .. });
    Segment::file(written(&dir, &whole)).open().unwrap();
}

/// What a user may do with segments of others, and with his own that he may only read.
fn nobody() {
    let shared = |i: usize| Segment::shared(&arguments()[i]).clone();
    match why(|| shared(0).open()) {
        OpenError::PermissionDenied { .. } => {}
        e => panic!("{e}"),
    }
    for error in [why(|| shared(1).open()), why(|| shared(1).open_read_only())] {
        match error {
            OpenError::WrongOwner { owner: 0, expected: 65534, .. } => {}
            e => panic!("{e}"),
        }
    }
    fails!(why(|| Segment::remove(&arguments()[1])), OpenError::PermissionDenied { .. });
    fails!(why(|| shared(2).open()), OpenError::PermissionDenied { .. });
    fails!(why(|| shared(2).open_or_create()), OpenError::PermissionDenied { .. });
    let reader: ReadOnlySegment = shared(2).open_read_only().unwrap();
    assert!(!reader.can_hold());
    assert_eq!(reader.read::<u64>("number").unwrap(), Some(7));
    assert_eq!(reader.read::<u64>("none").unwrap(), None);
    assert!(reader.read::<f64>("number").unwrap_err().to_string().contains("u64"));
    fails!(why(|| reader.find::<u64>("number")), OpenError::PermissionDenied { .. });
    fails!(why(|| reader.find::<ShmString>("text")), OpenError::PermissionDenied { .. });
    fails!(why(|| reader.objects()), OpenError::PermissionDenied { .. });
    report("one round");
    while let Some(line) = hear() {
        if line == "end" {
            return;
        }
        // The copy is of the value as it is, while others construct and destroy.
        for _ in 0..1000 {
            match reader.read::<[u64; 8]>("changing").unwrap() {
                None => {}
                Some(copy) => assert!(copy.iter().all(|word| *word == copy[0]), "{copy:?}"),
            }
        }
        report("read");
    }
}

#[test]
fn owners_and_permissions() {
    if !is_root() {
        println!("skipped: only root can become another user");
        return;
    }
    let _watchdog = Watchdog::test("permissions");
    let dir = TempDir::new("nobody");
    let [closed, open, readable] = ["closed", "open", "readable"].map(TempName::new);
    let make = |name: &TempName, mode| {
        let segment = name.segment().size(64 << 10).mode(mode).create().unwrap();
        segment.construct::<u64>("number", 7).unwrap();
        segment.construct::<ShmString>("text", "seven").unwrap();
        assert_eq!(std::fs::metadata(name.path()).unwrap().permissions().mode() & 0o777, mode);
        segment
    };
    make(&closed, 0o600);
    make(&open, 0o666);
    let segment = make(&readable, 0o600);
    set_owner(&readable.path(), 65534).unwrap();
    std::fs::set_permissions(readable.path(), PermissionsExt::from_mode(0o400)).unwrap();
    let mut worker = Worker::spawn_as_nobody("nobody", dir.path(), &[&closed, &open, &readable]);
    worker.expect("one round");
    for round in 0..5 {
        worker.tell("read");
        let done = std::cell::Cell::new(false);
        let mut i = round * 1_000_000u64;
        while !done.get() {
            i += 1;
            segment.construct::<[u64; 8]>("changing", [i; 8]).unwrap();
            segment.destroy::<[u64; 8]>("changing").unwrap();
            done.set(worker.reports_within(Duration::ZERO).is_some());
        }
    }
    worker.tell("end");
    worker.finish();
    // The superuser may open what is somebody else's.
    readable.segment().open().unwrap();
    sound(&segment);
}

#[test]
fn a_read_only_segment_is_read_in_place() {
    let name = TempName::new("read-only");
    let segment = name.segment().size(1 << 20).create().unwrap();
    segment.construct::<ShmString>("text", "a text that is too long to stand inline").unwrap();
    segment.construct_slice::<u64, _>("squares", 100, |i| (i * i) as u64).unwrap();
    let reader = name.segment().open_read_only().unwrap();
    assert!(reader.can_hold());
    let text = reader.find::<ShmString>("text").unwrap().unwrap();
    let squares = reader.find_slice::<u64>("squares").unwrap().unwrap();
    assert!(segment.destroy::<ShmString>("text").unwrap() && segment.destroy::<u64>("squares").unwrap());
    assert!(reader.find::<ShmString>("text").unwrap().is_none());
    assert!(text.starts_with("a text") && squares[99] == 99 * 99, "held through the reader");
    // It is another mapping, and one that cannot be written.
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let at = (&raw const *text).addr();
    let line = maps.lines().find(|line| {
        let range = line.split(' ').next().unwrap().split_once('-').unwrap();
        let [start, end] = [range.0, range.1].map(|hex| usize::from_str_radix(hex, 16).unwrap());
        (start..end).contains(&at)
    });
    assert!(line.unwrap().contains(" r--s "), "{line:?}");
    drop((text, squares));
    assert_eq!(segment.object_count(), 0);
    sound(&segment);
}
