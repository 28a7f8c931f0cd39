//! How Boost.Interprocess fails its users, and what happens here instead: creation, types, names, and one thing each of
//! the crash rows. A test is called after what Boost does.

use shmem_core::{Error, NameError, OpenError, Segment, SegmentBuilder, ShmMutex, ShmSafe, ShmVec};
use shmem_tests::torture::number;
use shmem_tests::*;
use std::time::{Duration, Instant};

roles! { allocator, creator }

fn segment() -> Segment {
    Segment::anonymous().size(1 << 20).create().unwrap()
}

#[derive(ShmSafe, Debug)]
#[repr(C)]
struct Big {
    words: [u64; 8],
}

fn name_error<T>(result: shmem_core::Result<T>) -> NameError {
    match result {
        Err(Error::Name(e)) => *e,
        Err(e) => panic!("{e}"),
        Ok(_) => panic!("it was accepted"),
    }
}

// ---- 3.1: crashes ---------------------------------------------------------------------------------------

fn allocator() {
    let segment = Segment::shared(&argument::<String>(0)).open().unwrap();
    report("running");
    for i in 0u64.. {
        let name = format!("{} {}", std::process::id(), i % 10);
        drop(segment.construct::<ShmVec<u64>>(&name, vec![i; (i % 500) as usize]).unwrap());
        segment.destroy::<ShmVec<u64>>(&name).unwrap();
    }
}

/// Boost: every later allocation throws `not_recoverable`, for good.
#[test]
fn a_kill_inside_allocate_makes_the_segment_unusable() {
    let _watchdog = Watchdog::test("kills in the allocator");
    let name = TempName::new("allocator");
    let segment = name.segment().size(1 << 20).create().unwrap();
    let mut random = Random::new(Random::fresh_seed("kills in the allocator"));
    for _ in 0..if long() { 500 } else { 25 } {
        let mut workers: Vec<_> = (0..2).map(|_| Worker::spawn("allocator", &[&name])).collect();
        workers.iter_mut().for_each(|worker| worker.expect("running"));
        std::thread::sleep(Duration::from_micros(random.below(10_000)));
        workers.iter_mut().for_each(Worker::kill);
        let list = segment.construct::<ShmVec<u64>>("mine", vec![1; 1000]).unwrap();
        assert!(segment.destroy::<ShmVec<u64>>("mine").unwrap());
        assert!(list.iter().all(|n| *n == 1));
        segment.recover();
        sound(&segment);
    }
    assert!(segment.used() < 400 << 10, "what a kill costs is little: {}", segment.used());
}

/// Boost: the first of them is enough, and whoever else uses the segment gets exceptions, or hangs. Here one process uses
/// it all along, and never notices.
#[test]
fn kills_in_a_loop_of_allocations_stop_everybody() {
    let _watchdog = Watchdog::test("kills in a loop of allocations");
    let kills = if long() { "10000" } else { "200" };
    let mut torture = std::process::Command::new(env!("CARGO_BIN_EXE_torture"));
    let output = torture.args(["allocate-loop", "--kills", kills]).output().unwrap();
    let report = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{report}");
    for nothing in ["corrupt", "stuck", "double"] {
        assert_eq!(number(&report, nothing), 0, "{report}");
    }
    assert!(number(&report, "kills") >= kills.parse().unwrap(), "{report}");
    assert!(number(&report, "operations of the process that never dies") > 0, "{report}");
}

fn creator() {
    let base: String = argument(0);
    report("running");
    for i in 0.. {
        Segment::shared(&format!("{base}-{}", i % 3))
            .size(16 << 20)
            .commit_all(true)
            .open_or_create()
            .unwrap();
        Segment::remove(&format!("{base}-{}", i % 3)).unwrap();
    }
}

/// Boost: `open` waits 300 s, then calls it corrupted; nobody takes over.
#[test]
fn a_creator_killed_in_initialisation_stalls_everybody() {
    let _watchdog = Watchdog::test("killed creators");
    let base = TempName::new("creator");
    let names = || (0..3).map(|i| format!("{base}-{i}"));
    for round in 0..20 {
        let mut worker = Worker::spawn("creator", &[&base]);
        worker.expect("running");
        std::thread::sleep(Duration::from_micros(round * 700));
        worker.kill();
        for name in names() {
            let start = Instant::now();
            let segment = Segment::shared(&name).size(16 << 20).open_or_create().unwrap();
            assert!(start.elapsed() < Duration::from_secs(10));
            assert_eq!(*segment.find_or_construct::<u64>("it", 1).unwrap(), 1);
            sound(&segment);
            assert!(Segment::remove(&name).unwrap());
        }
        assert_eq!(leftovers(&base), [""; 0]);
    }
}

// ---- 3.2: validation and types --------------------------------------------------------------------------

/// Boost: `find<float>` of an `int` returns it.
#[test]
fn another_type_of_the_same_size_is_found() {
    let segment = segment();
    segment.construct::<i32>("x", 7).unwrap();
    match name_error(segment.find::<f32>("x")) {
        NameError::TypeMismatch { name, stored, expected, .. } => {
            assert_eq!((&*name, &*stored, &*expected), ("x", "i32", "f32"));
        }
        e => panic!("{e}"),
    }
    assert!(matches!(name_error(segment.find::<u32>("x")), NameError::TypeMismatch { .. }));
    assert_eq!(*segment.find::<i32>("x").unwrap().unwrap(), 7);
}

/// Boost: non-null, with a count of 0; and `find_or_construct` gives a pointer to 4 bytes.
#[test]
fn a_larger_type_is_found_in_a_smaller_object() {
    let segment = segment();
    segment.construct::<i32>("x", 7).unwrap();
    assert!(matches!(name_error(segment.find::<Big>("x")), NameError::TypeMismatch { .. }));
    let big = || BigInit { words: [1; 8] };
    assert!(matches!(
        name_error(segment.find_or_construct::<Big>("x", big())),
        NameError::TypeMismatch { .. }
    ));
    assert!(matches!(name_error(segment.find_slice::<Big>("x")), NameError::TypeMismatch { .. }));
    assert!(matches!(name_error(segment.construct::<Big>("x", big())), NameError::AlreadyExists { .. }));
    let slice = segment.find_or_construct_slice::<i32, _>("x", 16, |_| 0);
    assert!(matches!(name_error(slice), NameError::CountMismatch { .. }), "one value is no slice of 16");
    sound(&segment);
}

/// Boost: `true`, and the object's destructor is another type's.
#[test]
fn destroy_of_another_type_succeeds() {
    let segment = segment();
    segment.construct::<ShmVec<u64>>("x", [1, 2, 3]).unwrap();
    assert!(matches!(name_error(segment.destroy::<f64>("x")), NameError::TypeMismatch { .. }));
    assert!(matches!(name_error(segment.destroy::<ShmVec<i64>>("x")), NameError::TypeMismatch { .. }));
    assert_eq!(**segment.find::<ShmVec<u64>>("x").unwrap().unwrap(), [1, 2, 3]);
    assert!(segment.destroy::<ShmVec<u64>>("x").unwrap());
}

mod other {
    use shmem_core::ShmSafe;

    #[derive(ShmSafe, Debug)]
    #[repr(C)]
    pub(crate) struct Big {
        pub(crate) words: [u64; 9],
    }
}

/// Boost: unique objects are keyed by `typeid().name()`, which depends on the compiler.
#[test]
fn unique_objects_go_by_the_compilers_name() {
    let segment = segment();
    let one = segment.construct_unique::<Big>(BigInit { words: [1; 8] }).unwrap();
    assert!(segment.find_unique::<u64>().unwrap().is_none());
    assert!(segment.find::<Big>("Big").unwrap().is_none(), "it has no name");
    // A type of that name with another layout is another type, or an error, and never that object.
    match segment.find_unique::<other::Big>() {
        Ok(None) => {}
        found => assert!(matches!(name_error(found), NameError::TypeMismatch { .. })),
    }
    assert_eq!(one.words, [1; 8]);
    assert!(segment.destroy_unique::<Big>().unwrap());
}

fn refused_at_once(builder: SegmentBuilder) -> OpenError {
    let _watchdog = Watchdog::new("opening garbage", Duration::from_secs(20));
    match builder.open() {
        Err(Error::Open(e)) => *e,
        other => panic!("{other:?}"),
    }
}

/// Boost: `open_only` spins for 300 s.
#[test]
fn zeros_are_waited_for() {
    let name = TempName::new("zeros");
    std::fs::write(name.path(), vec![0; 64 << 10]).unwrap();
    assert!(matches!(refused_at_once(name.segment()), OpenError::NotASegment { .. }));
}

/// Boost: opens well, and has a size of 6.5e18.
#[test]
fn garbage_that_begins_with_two_is_opened() {
    let name = TempName::new("garbage");
    let mut bytes = vec![0x5A; 64 << 10];
    bytes[..4].copy_from_slice(&2u32.to_le_bytes());
    std::fs::write(name.path(), bytes).unwrap();
    assert!(matches!(refused_at_once(name.segment()), OpenError::NotASegment { .. }));
}

/// Boost: versions and word sizes are not told apart; programs lock up or read nonsense.
#[test]
fn another_version_is_not_noticed() {
    let name = TempName::new("version");
    name.segment().size(64 << 10).create().unwrap();
    let mut bytes = std::fs::read(name.path()).unwrap();
    let mut with = |at: usize, value: u32| {
        let before = bytes[at..][..4].to_vec();
        bytes[at..][..4].copy_from_slice(&value.to_le_bytes());
        Segment::remove(&name).unwrap();
        std::fs::write(name.path(), &bytes).unwrap();
        bytes[at..][..4].copy_from_slice(&before);
        refused_at_once(name.segment())
    };
    assert!(matches!(with(8, 2), OpenError::FormatVersion { found: 2, .. }));
    assert!(matches!(with(16, 32), OpenError::Incompatible { found: 32, expected: 64, .. }));
    assert!(matches!(with(12, 0x0403_0201), OpenError::Incompatible { .. }));
}

/// Boost: a name of 70,000 characters is not found, and its first 4,464 are.
#[test]
fn long_names_are_cut() {
    let segment = segment();
    let longest = "n".repeat(1024);
    segment.construct::<u64>(&longest, 1).unwrap();
    assert_eq!(*segment.find::<u64>(&longest).unwrap().unwrap(), 1);
    assert!(segment.find::<u64>(&longest[..1023]).unwrap().is_none());
    for len in [1025, 4464, 65_536, 70_000] {
        let name = "n".repeat(len);
        for error in [
            name_error(segment.construct::<u64>(&name, 1)),
            name_error(segment.find::<u64>(&name)),
            name_error(segment.find_or_construct::<u64>(&name, 1)),
            name_error(segment.destroy::<u64>(&name)),
        ] {
            assert!(matches!(error, NameError::InvalidName { max: 1024, .. }), "{error}");
        }
    }
    assert!(matches!(name_error(segment.find::<u64>("")), NameError::InvalidName { len: 0, .. }));
    assert_eq!(segment.object_count(), 1);
}

/// Boost: undefined; "a crash is quite sure". Here no safe function links two segments.
#[test]
fn swapping_between_segments_crashes() {
    let (one, two) = (segment(), segment());
    let a = one.construct::<ShmMutex<ShmVec<u64>>>("list", ShmMutex::<ShmVec<_>>::new([1, 2])).unwrap();
    let b = two.construct::<ShmMutex<ShmVec<u64>>>("list", ShmMutex::<ShmVec<_>>::new([3, 4])).unwrap();
    let (mut a, mut b) = (a.lock().unwrap(), b.lock().unwrap());
    assert!(matches!(a.view().append(&mut b.view()), Err(Error::OtherSegment)));
    assert!(matches!(a.view().split_off(1, &mut b.view()), Err(Error::OtherSegment)));
    assert_eq!((a.as_slice(), b.as_slice()), (&[1, 2][..], &[3, 4][..]), "as they were");
    sound(&one);
    sound(&two);
}

// ---- 3.3, 3.4: creation ---------------------------------------------------------------------------------

/// Boost: a process that is attached gets SIGSEGV from the memory that was added.
#[test]
fn growing_while_attached_crashes() {
    let name = TempName::new("grow");
    let one = name.segment().size(1 << 20).max_size(8 << 20).create().unwrap();
    let two = name.segment().open().unwrap();
    assert_eq!(one.grow(3 << 20).unwrap(), 4 << 20);
    let large = two.construct_slice::<u64, _>("large", 300_000, |i| i as u64).unwrap();
    let seen = one.find_slice::<u64>("large").unwrap().unwrap();
    assert!(seen.iter().zip(large.iter()).all(|(a, b)| a == b));
    assert!(one.grow(5 << 20).is_err());
    assert_eq!(two.size(), 4 << 20);
    sound(&one);
}

/// Boost: creates a junk object and waits.
#[test]
fn opening_what_is_missing_creates_it() {
    let name = TempName::new("missing");
    assert!(matches!(refused_at_once(name.segment()), OpenError::NotFound { .. }));
    assert!(name.segment().open_read_only().is_err());
    assert_eq!(leftovers(&name), [""; 0]);
}

/// Boost: half of the free memory at most.
#[test]
fn large_alignments_need_twice_the_memory() {
    #[derive(ShmSafe)]
    #[repr(C, align(64))]
    struct Line {
        bytes: [u8; 64],
    }
    #[derive(ShmSafe)]
    #[repr(C, align(4096))]
    struct Page {
        bytes: [u8; 4096],
    }
    let segment = segment();
    let n = segment.free_memory() as usize / 64 * 9 / 10;
    let lines = segment.construct_slice::<Line, _>("lines", n, |_| LineInit { bytes: [0; 64] }).unwrap();
    assert!((&raw const lines[0]).addr().is_multiple_of(64));
    drop(lines);
    segment.destroy::<Line>("lines").unwrap();
    let page = segment.construct::<Page>("page", PageInit { bytes: [0; 4096] }).unwrap();
    assert!((&raw const *page).addr().is_multiple_of(4096));
}

/// Boost: the names of programs that crashed stay, and tutorials begin with `remove`.
#[test]
fn whether_it_was_created_is_not_told() {
    let name = TempName::new("created");
    assert!(name.segment().open_or_create().unwrap().created());
    assert!(!name.segment().open_or_create().unwrap().created());
    assert!(!name.segment().open().unwrap().created());
}

/// Boost: 0644, less the umask.
#[test]
fn permissions_are_not_what_was_asked_for() {
    use std::os::unix::fs::PermissionsExt;
    for mode in [0o600, 0o640, 0o666, 0o777] {
        let name = TempName::new("mode");
        name.segment().size(64 << 10).mode(mode).create().unwrap();
        assert_eq!(std::fs::metadata(name.path()).unwrap().permissions().mode() & 0o7777, mode);
    }
}

/// Boost: 64 MiB of memory are taken for a segment of 64 MiB; or none, and a full disk is SIGBUS.
#[test]
fn all_memory_is_taken_at_creation_or_none_is_sure() {
    let segment = Segment::anonymous().size(64 << 20).create().unwrap();
    assert!(segment.committed() <= 1 << 20, "{}", segment.committed());
    segment.construct_slice::<u8, _>("some", 4 << 20, |_| 1).unwrap();
    assert!((4 << 20..64 << 20).contains(&segment.committed()));
    let whole = Segment::anonymous().size(16 << 20).commit_all(true).create().unwrap();
    assert_eq!(whole.committed(), 16 << 20);
}
