use super::*;
use crate::mapping::place::remove;
use crate::mapping::storage::lock_byte;
use crate::mapping::superblock::{DIRECTORY_AT, HEAP_AT};
use crate::sys::file::lacking;
use crate::sys::{lock, process};
use std::os::fd::AsRawFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

const SPEC: CreateSpec =
    CreateSpec { capacity: 1 << 20, max_capacity: 8 << 20, mode: 0o600, commit_all: false };

/// A place of this test's own, removed before and after.
struct Scratch(Place);

impl Scratch {
    fn shared(test: &str) -> Self {
        let scratch = Scratch(Place::shared(&format!("shmem-unit-{test}-{}", std::process::id())).unwrap());
        remove(&scratch.0).unwrap();
        scratch
    }

    fn place(&self) -> Place {
        self.0.clone()
    }

    fn path(&self) -> PathBuf {
        self.0.path().unwrap().into_owned()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = remove(&self.0);
        let _ = std::fs::remove_dir(self.path());
    }
}

/// A directory of this test's own, removed with all that is in it.
struct ScratchDir(PathBuf);

impl ScratchDir {
    fn new(test: &str) -> Self {
        let dir = std::env::temp_dir().join(format!("shmem-unit-{test}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&dir);
        std::fs::create_dir(&dir).unwrap();
        ScratchDir(dir)
    }

    fn place(&self, name: &str) -> Place {
        Place::file(self.0.join(name)).unwrap()
    }

    fn names(&self) -> Vec<String> {
        let mut names: Vec<_> = std::fs::read_dir(&self.0)
            .unwrap()
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }
}

impl Drop for ScratchDir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn nothing(_: &MappedFile) -> Result<(), OpenError> {
    Ok(())
}

fn create(place: Place) -> MappedFile {
    MappedFile::create(place, &SPEC, &mut nothing).unwrap()
}

fn word(file: &MappedFile, at: u64) -> &AtomicU64 {
    assert!(at + 8 <= file.header().metadata_bytes());
    // SAFETY: committed, aligned by the tests, only used as an atomic.
    unsafe { file.base().add(at as usize).cast().as_ref() }
}

/// Runs this test again in a process of its own with the variable `SHMEM_TEST_ROLE` set to the test's name.
fn in_child(test: &str, prepare: impl FnOnce(&mut Command)) -> std::process::Output {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", "--nocapture", "--test-threads=1", &format!("mapping::file::tests::{test}")])
        .env("SHMEM_TEST_ROLE", test);
    prepare(&mut command);
    command.output().unwrap()
}

fn is_child(test: &str) -> bool {
    std::env::var("SHMEM_TEST_ROLE").is_ok_and(|role| role == test)
}

#[track_caller]
fn eventually(condition: impl Fn() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < Duration::from_secs(20), "waited in vain");
        std::thread::yield_now();
    }
}

#[track_caller]
fn assert_passed(child: &std::process::Output) {
    let (out, err) = (String::from_utf8_lossy(&child.stdout), String::from_utf8_lossy(&child.stderr));
    assert_eq!(child.status.signal(), None, "killed by a signal\n{out}{err}");
    assert!(child.status.success() && out.contains("1 passed"), "{out}{err}");
}

#[test]
fn two_mappings_of_one_segment_see_each_other() {
    let at = Scratch::shared("two");
    let spec = CreateSpec { mode: 0o666, ..SPEC };
    let mut built = 0;
    let one = MappedFile::create(at.place(), &spec, &mut |file| {
        built += 1;
        assert!(matches!(MappedFile::open(at.place(), Want::ReadWrite), Err(OpenError::NotFound { .. })));
        assert_eq!(file.state().ready.load(Ordering::Relaxed), 0);
        word(file, HEAP_AT).store(77, Ordering::Relaxed);
        Ok(())
    })
    .unwrap();
    assert_eq!(built, 1);
    assert!(one.created() && one.writable);
    assert_eq!(file::status(one.fd()).unwrap().mode, 0o666, "no umask is applied");
    let two = MappedFile::open(at.place(), Want::ReadWrite).unwrap();
    let three = MappedFile::open(at.place(), Want::ReadOnly).unwrap();
    assert!(!two.created() && two.writable && !three.writable);
    assert!(two.base() != one.base() && two.header() == one.header());
    assert_eq!(two.state().capacity.load(Ordering::Relaxed), 1 << 20);
    assert_eq!(word(&three, HEAP_AT).load(Ordering::Relaxed), 77);
    word(&two, HEAP_AT).store(78, Ordering::Relaxed);
    assert_eq!(word(&three, HEAP_AT).load(Ordering::Relaxed), 78);
    assert_eq!(one.file_len().unwrap(), one.header().metadata_bytes());
    assert_eq!(one.reserved_bytes() as u64, one.header().end);

    let committer = two.committer();
    committer.commit(one.header().data_at, 1 << 16).unwrap();
    committer.commit(one.header().data_at, 1 << 16).unwrap();
    assert_eq!(three.file_len().unwrap(), one.header().data_at + (1 << 16));
    // SAFETY: committed just now.
    unsafe { two.base().add(two.header().data_at as usize).write(5) };
    // SAFETY: as above; nobody writes meanwhile.
    assert_eq!(unsafe { three.base().add(three.header().data_at as usize).read() }, 5);
    one.flush(0..1).unwrap();

    assert!(matches!(
        MappedFile::create(at.place(), &SPEC, &mut nothing),
        Err(OpenError::AlreadyExists { .. })
    ));
    assert!(remove(&at.0).unwrap() && !remove(&at.0).unwrap());
    assert!(matches!(MappedFile::open(at.place(), Want::ReadWrite), Err(OpenError::NotFound { .. })));
    let other = create(at.place());
    assert_ne!(other.header().segment_id, one.header().segment_id);
    assert_eq!(word(&one, HEAP_AT).load(Ordering::Relaxed), 78, "the removed segment goes on");
}

#[test]
fn anonymous_segments_travel_by_descriptor() {
    let one = create(Place::Anonymous);
    assert!(one.created());
    let two = MappedFile::open_fd(one.fd(), Want::ReadWrite).unwrap();
    assert!(!two.created() && two.header() == one.header());
    let _held = one.storage().hold_byte(3).unwrap().unwrap();
    assert!(two.storage().byte_is_held(3).unwrap());
    assert!(rustix::fs::ftruncate(one.fd(), 0).is_err(), "it cannot shrink");
    assert!(matches!(MappedFile::open(Place::Anonymous, Want::ReadWrite), Err(OpenError::NotFound { .. })));
    let (reader, _writer) = std::io::pipe().unwrap();
    assert!(matches!(
        MappedFile::open_fd(&reader, Want::ReadWrite),
        Err(OpenError::NotAFile { kind: "FIFO", .. })
    ));
}

#[test]
fn sizes_are_rounded_or_refused() {
    let sized = |capacity, max_capacity| {
        let spec = CreateSpec { capacity, max_capacity, ..SPEC };
        MappedFile::create(Place::Anonymous, &spec, &mut nothing).map(|file| {
            let capacity = file.state().capacity.load(Ordering::Relaxed);
            MappedFile::open_fd(file.fd(), Want::ReadWrite).expect("what was created opens");
            (capacity, file.header().max_capacity)
        })
    };
    assert_eq!(sized(1, 1).unwrap(), (MIN_CAPACITY, MIN_CAPACITY));
    assert_eq!(sized(100_001, 100_001).unwrap(), (102_400, 102_400));
    assert_eq!(sized((5 << 20) + 1, 64 << 20).unwrap(), ((5 << 20) + 65536, 64 << 20));
    assert!(matches!(sized(0, 1 << 20), Err(OpenError::InvalidSize { asked_bytes: 0, .. })));
    assert!(matches!(sized(2, 1), Err(OpenError::InvalidSize { asked_bytes: 1, .. })));
    assert!(matches!(sized(1, MAX_RESERVED + 1), Err(OpenError::InvalidSize { .. })));
    // The largest one of all fits into an address space, or says that it does not.
    assert!(matches!(sized(1, MAX_RESERVED), Ok(_) | Err(OpenError::NoAddressSpace { .. })));
}

#[test]
fn committing_all_leaves_no_hole_below_the_capacity() {
    let spec = CreateSpec { commit_all: true, max_capacity: 1 << 30, ..SPEC };
    let file = MappedFile::create(Place::Anonymous, &spec, &mut nothing).unwrap();
    let header = *file.header();
    assert_eq!(file.file_len().unwrap(), header.data_at + (1 << 20));
    let blocks = rustix::fs::fstat(file.fd()).unwrap().st_blocks as u64 * 512;
    assert!(blocks >= (1 << 20) + header.metadata_bytes(), "{blocks}");
    assert!(blocks < (2 << 20) + header.metadata_bytes(), "{blocks}: tables only as far as they are needed");
}

#[test]
fn a_failing_build_leaves_nothing() {
    for named in [false, true] {
        let dir = ScratchDir::new("build-fails");
        lacking::UNNAMED_FILES.set(named);
        let failed = MappedFile::create(dir.place("x"), &SPEC, &mut |file| {
            assert_eq!(dir.names().len(), usize::from(named));
            Err(file.commit_error(AllocError::NoSpace { wanted_bytes: 5 }, 9))
        });
        assert!(matches!(failed, Err(OpenError::NoSpace { wanted_bytes: 5, .. })));
        let unwound = std::panic::catch_unwind(|| {
            MappedFile::create(dir.place("x"), &SPEC, &mut |_| panic!("a build that panics"))
        });
        lacking::UNNAMED_FILES.set(false);
        assert!(unwound.is_err());
        assert_eq!(dir.names(), [""; 0]);
    }
}

#[test]
fn one_of_many_creators_wins() {
    for lacks in [false, true] {
        let dir = ScratchDir::new("race");
        for round in 0..40 {
            let place = dir.place(&format!("segment-{round}"));
            let files: Vec<MappedFile> = std::thread::scope(|s| {
                let open = || {
                    lacking::UNNAMED_FILES.set(lacks);
                    lacking::RENAME_NOREPLACE.set(lacks && round % 2 == 0);
                    MappedFile::open_or_create(place.clone(), &SPEC, &mut nothing).unwrap()
                };
                let threads: Vec<_> = (0..4).map(|_| s.spawn(open)).collect();
                threads.into_iter().map(|t| t.join().unwrap()).collect()
            });
            assert_eq!(files.iter().filter(|f| f.created()).count(), 1);
            assert!(files.iter().all(|f| f.header() == files[0].header()));
        }
        assert_eq!(dir.names().len(), 40, "no temporary file is left: {:?}", dir.names());
    }
}

#[test]
fn dead_creators_are_cleared_away_and_live_ones_are_not() {
    let dir = ScratchDir::new("stale");
    lacking::UNNAMED_FILES.set(true);
    // A name so long that its temporary files must have a shorter one.
    let long = "n".repeat(255);
    for name in ["x", long.as_str()] {
        let place = dir.place(name);
        let dead = dir.0.join(format!(".{}.shmem-00000000000000aa", &name[..name.len().min(200)]));
        let live = dir.0.join(format!(".{}.shmem-00000000000000bb", &name[..name.len().min(200)]));
        let foreign = dir.0.join(format!(".{}.shmem-notes", &name[..name.len().min(200)]));
        for path in [&dead, &live, &foreign] {
            std::fs::write(path, b"half").unwrap();
        }
        let holder = file::open(&live, true).unwrap();
        assert!(lock::try_exclusive(&holder, lock_byte::CREATOR).unwrap());
        let segment = create(place.clone());
        assert!(!dead.exists() && live.exists() && foreign.exists());
        assert!(
            !lock::held_elsewhere(file::open(&place.path().unwrap(), true).unwrap(), lock_byte::CREATOR)
                .unwrap()
        );
        drop(segment);
        MappedFile::open(place.clone(), Want::ReadWrite).unwrap();
        lock::unlock(&holder, lock_byte::CREATOR).unwrap();
        drop(holder);
        assert!(matches!(
            MappedFile::create(place, &SPEC, &mut nothing),
            Err(OpenError::AlreadyExists { .. })
        ));
        assert!(!live.exists(), "its creator is dead now");
        assert_eq!(file::status_at(&foreign).unwrap().len, 4);
    }
    lacking::UNNAMED_FILES.set(false);
}

#[test]
fn a_creator_killed_half_way_leaves_no_name() {
    const TEST: &str = "a_creator_killed_half_way_leaves_no_name";
    if is_child(TEST) {
        lacking::UNNAMED_FILES.set(std::env::var_os("SHMEM_TEST_NAMED").is_some());
        let place = Place::file(std::env::var_os("SHMEM_TEST_PLACE").unwrap()).unwrap();
        let _ = MappedFile::create(place, &SPEC, &mut |_| {
            let pid = rustix::process::getpid();
            rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
            unreachable!("killed")
        });
    }
    let dir = ScratchDir::new("killed");
    for named in [false, true] {
        let died = in_child(TEST, |c| {
            c.env("SHMEM_TEST_PLACE", dir.0.join("x"));
            if named {
                c.env("SHMEM_TEST_NAMED", "1");
            }
        });
        assert_eq!(died.status.signal(), Some(9));
        assert_eq!(dir.names().len(), usize::from(named), "a temporary file at most");
        assert!(matches!(MappedFile::open(dir.place("x"), Want::ReadWrite), Err(OpenError::NotFound { .. })));
    }
    lacking::UNNAMED_FILES.set(true);
    let taken_over = MappedFile::open_or_create(dir.place("x"), &SPEC, &mut nothing);
    lacking::UNNAMED_FILES.set(false);
    assert!(taken_over.unwrap().created());
    assert_eq!(dir.names(), ["x"]);
}

/// Opens, in both ways; the error must be there at once.
fn open_fails(place: &Place) -> OpenError {
    let start = Instant::now();
    let error = MappedFile::open(place.clone(), Want::ReadWrite).unwrap_err();
    let read_only = MappedFile::open(place.clone(), Want::ReadOnly).unwrap_err();
    assert_eq!(error.to_string(), read_only.to_string());
    assert!(start.elapsed() < Duration::from_secs(5), "an open waits for nothing");
    error
}

#[test]
fn what_is_no_segment_is_told_apart() {
    let dir = ScratchDir::new("kinds");
    let not_a_segment = |name: &str, bytes: &[u8]| {
        std::fs::write(dir.0.join(name), bytes).unwrap();
        match open_fails(&dir.place(name)) {
            OpenError::NotASegment { why, .. } => why,
            e => panic!("{name}: {e}"),
        }
    };
    assert_eq!(not_a_segment("empty", b""), "it is empty");
    assert_eq!(not_a_segment("zeros", &[0; 65536]), "it begins with zeros");
    assert_eq!(not_a_segment("noise", &[0xC3; 65536]), "it does not begin with the magic number");
    assert_eq!(not_a_segment("short", b"hi"), "it is too short, and does not begin with the magic number");
    let kind = |place: &Place| match open_fails(place) {
        OpenError::NotAFile { kind, .. } => kind,
        e => panic!("{e}"),
    };
    std::fs::create_dir(dir.0.join("directory")).unwrap();
    assert_eq!(kind(&dir.place("directory")), "directory");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        dir.0.join("fifo"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::from_raw_mode(0o600),
        0,
    )
    .unwrap();
    assert_eq!(kind(&dir.place("fifo")), "FIFO");
    let _socket = std::os::unix::net::UnixListener::bind(dir.0.join("socket")).unwrap();
    assert_eq!(kind(&dir.place("socket")), "socket");
    assert_eq!(kind(&Place::file("/dev/null").unwrap()), "character device");
    create(dir.place("real"));
    for (target, link) in [("real", "link"), ("nowhere", "dangling"), ("loop", "loop")] {
        std::os::unix::fs::symlink(target, dir.0.join(link)).unwrap();
        let place = dir.place(link);
        assert!(matches!(open_fails(&place), OpenError::SymbolicLink { .. }));
        let created = MappedFile::open_or_create(place.clone(), &SPEC, &mut nothing);
        assert!(matches!(created, Err(OpenError::SymbolicLink { .. })));
        let created = MappedFile::create(place, &SPEC, &mut nothing);
        assert!(matches!(created, Err(OpenError::AlreadyExists { .. })));
    }
    assert!(matches!(open_fails(&dir.place("nothing")), OpenError::NotFound { .. }));
    assert!(matches!(open_fails(&dir.place("no/directory")), OpenError::NotFound { .. }));
    assert!(MappedFile::create(dir.place("no/directory"), &SPEC, &mut nothing).is_err());
    assert!(matches!(open_fails(&dir.place("real/below")), OpenError::Io { .. }));
    // The same in shared memory, where nothing is asked before opening.
    let at = Scratch::shared("kinds");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        at.path(),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::from_raw_mode(0o600),
        0,
    )
    .unwrap();
    assert_eq!(kind(&at.0), "FIFO");
    remove(&at.0).unwrap();
    std::fs::create_dir(at.path()).unwrap();
    assert_eq!(kind(&at.0), "directory");
    assert!(matches!(remove(&at.0), Err(OpenError::NotAFile { kind: "directory", .. })));
}

#[test]
fn truncated_segments_are_errors_at_every_page() {
    let at = Scratch::shared("truncated");
    let whole = create(at.place());
    let metadata = whole.header().metadata_bytes();
    for page in 0..=metadata / OS_PAGE {
        for len in [(page * OS_PAGE).saturating_sub(1), page * OS_PAGE, page * OS_PAGE + 1] {
            if len >= metadata {
                continue;
            }
            let image = std::fs::read(at.path()).unwrap();
            file::truncate(whole.fd(), len).unwrap();
            let expected = match open_fails(&at.0) {
                OpenError::NotASegment { why, .. } if len == 0 => {
                    assert_eq!(why, "it is empty");
                    None
                }
                OpenError::Truncated { found_bytes, expected_bytes, .. } => {
                    assert_eq!(found_bytes, len);
                    Some(expected_bytes)
                }
                e => panic!("{len}: {e}"),
            };
            assert_eq!(expected, (len > 0).then_some(if len < 256 { OS_PAGE } else { metadata }));
            std::fs::write(at.path(), image).unwrap();
            MappedFile::open(at.place(), Want::ReadWrite).unwrap();
        }
    }
    for len in [1, 7, 8, 9, 255] {
        let image = std::fs::read(at.path()).unwrap();
        file::truncate(whole.fd(), len).unwrap();
        assert!(matches!(open_fails(&at.0), OpenError::Truncated { .. }));
        std::fs::write(at.path(), image).unwrap();
    }
}

#[test]
fn every_flipped_byte_of_the_header_is_an_error() {
    let dir = ScratchDir::new("flipped");
    let place = dir.place("x");
    drop(create(place.clone()));
    let image = std::fs::read(place.path().unwrap()).unwrap();
    let with = |at: usize, byte: u8| {
        let mut image = image.clone();
        image[at] = byte;
        std::fs::write(place.path().unwrap(), image).unwrap();
        open_fails(&place)
    };
    for (at, byte) in image[..256].iter().enumerate() {
        for flip in [0x01, 0x80, 0xFF] {
            let error = with(at, byte ^ flip);
            let fits = match at {
                0..8 => matches!(error, OpenError::NotASegment { .. }),
                8..12 => matches!(error, OpenError::FormatVersion { expected: 1, .. }),
                12..24 => matches!(error, OpenError::Incompatible { .. }),
                _ => matches!(error, OpenError::Damaged { .. }),
            };
            assert!(fits, "byte {at}: {error}");
        }
    }
    // The ready word.
    for (at, byte) in image.iter().enumerate().take(260).skip(256) {
        assert!(matches!(with(at, !byte), OpenError::Damaged { source: Corrupt { at: 256, .. }, .. }));
    }
    let with_state = |ready: u32, capacity: u64| {
        let mut image = image.clone();
        image[256..260].copy_from_slice(&ready.to_le_bytes());
        image[264..272].copy_from_slice(&capacity.to_le_bytes());
        std::fs::write(place.path().unwrap(), image).unwrap();
        open_fails(&place)
    };
    assert!(
        matches!(with_state(0, 1 << 20), OpenError::NotASegment { why, .. } if why.contains("never finished"))
    );
    for capacity in [0, 4096, (1 << 20) + 1, (8 << 20) + 65536, u64::MAX] {
        let error = with_state(READY, capacity);
        assert!(matches!(error, OpenError::Damaged { source: Corrupt { at: 264, .. }, .. }), "{capacity}");
    }
    // A right checksum over an impossible geometry.
    let mut header: FixedHeader = bytemuck::pod_read_unaligned(&image[..256]);
    header.data_at += 4096;
    let digest = <sha2::Sha256 as sha2::Digest>::digest(&bytemuck::bytes_of(&header)[..248]);
    header.checksum = digest[..8].try_into().unwrap();
    let mut forged = image.clone();
    forged[..256].copy_from_slice(bytemuck::bytes_of(&header));
    std::fs::write(place.path().unwrap(), forged).unwrap();
    assert!(open_fails(&place).to_string().contains("geometry"));
    std::fs::write(place.path().unwrap(), &image).unwrap();
    MappedFile::open(place, Want::ReadWrite).unwrap();
}

#[test]
fn owners_and_permissions_are_respected() {
    const TEST: &str = "owners_and_permissions_are_respected";
    if is_child(TEST) {
        let shared = |suffix: &str| {
            Place::shared(&format!("{}{suffix}", std::env::var("SHMEM_TEST_PLACE").unwrap())).unwrap()
        };
        assert!(matches!(open_fails(&shared("closed")), OpenError::PermissionDenied { .. }));
        match open_fails(&shared("open")) {
            OpenError::WrongOwner { owner: 0, expected: 65534, .. } => {}
            e => panic!("{e}"),
        }
        match MappedFile::open(shared("readable"), Want::ReadWrite) {
            Err(OpenError::PermissionDenied { .. }) => {}
            other => panic!("{other:?}"),
        }
        assert!(matches!(remove(&shared("open")), Err(OpenError::PermissionDenied { .. })));
        let own = shared("own");
        let created = create(own.clone());
        MappedFile::open(own.clone(), Want::ReadOnly).unwrap();
        MappedFile::open_fd(created.fd(), Want::ReadWrite).unwrap();
        file::set_mode(created.fd(), 0).unwrap();
        assert!(matches!(open_fails(&own), OpenError::PermissionDenied { .. }));
        remove(&own).unwrap();
        // Without privileges unnamed files are linked through /proc on older kernels; here both must work.
        drop(create(Place::Anonymous));
        return;
    }
    if process::effective_user() != 0 {
        println!("skipped: only root can become another user");
        return;
    }
    let at = Scratch::shared("owner");
    let name = at.0.display();
    let scratch: Vec<_> = [("closed", 0o600), ("open", 0o666), ("readable", 0o444), ("own", 0)]
        .map(|(suffix, mode)| {
            let scratch = Scratch(Place::shared(&format!("{name}{suffix}")).unwrap());
            remove(&scratch.0).unwrap();
            if mode != 0 {
                MappedFile::create(scratch.place(), &CreateSpec { mode, ..SPEC }, &mut nothing).unwrap();
            }
            scratch
        })
        .into();
    // The test binary may stand where the other user cannot go: run a copy.
    let dir = ScratchDir::new("owner");
    std::fs::set_permissions(&dir.0, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let copy = dir.0.join("test");
    std::fs::copy(std::env::current_exe().unwrap(), &copy).unwrap();
    let child = Command::new(&copy)
        .args(["--exact", "--nocapture", &format!("mapping::file::tests::{TEST}")])
        .env("SHMEM_TEST_ROLE", TEST)
        .env("SHMEM_TEST_PLACE", &name)
        .current_dir("/")
        .uid(65534)
        .gid(65534)
        .output()
        .unwrap();
    assert_passed(&child);
    assert_eq!(scratch.len(), 4);
}

#[test]
fn a_file_size_limit_is_an_error() {
    const TEST: &str = "a_file_size_limit_is_an_error";
    if !is_child(TEST) {
        assert_passed(&in_child(TEST, |_| {}));
        return;
    }
    let dir = ScratchDir::new("fsize");
    let limit = |bytes| {
        let limit = rustix::process::Rlimit { current: Some(bytes), maximum: None };
        rustix::process::setrlimit(rustix::process::Resource::Fsize, limit).unwrap();
    };
    limit(8192);
    for place in [dir.place("x"), Place::Anonymous] {
        match MappedFile::create(place, &SPEC, &mut nothing) {
            Err(OpenError::FileSizeLimit { limit_bytes: 8192, wanted_bytes, .. }) => {
                assert!(wanted_bytes > 8192);
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(dir.names(), [""; 0]);
    limit(1 << 20);
    for lacks in [false, true] {
        lacking::FALLOCATE.set(lacks);
        let file = create(dir.place(&format!("y{lacks}")));
        let commit = |offset, len| file.committer().commit(offset, len);
        assert_eq!(commit(1 << 20, 4096), Err(AllocError::FileSizeLimit { limit_bytes: 1 << 20 }));
        assert_eq!(commit((1 << 20) - 4096, 4096), Ok(()), "up to the limit");
        assert_eq!(file.file_len().unwrap(), 1 << 20);
        limit(4096);
        assert_eq!(commit((1 << 20) - 4096, 4096), Ok(()), "the file is that long already");
        limit(1 << 20);
    }
}

#[test]
fn a_full_file_system_is_an_error() {
    const TEST: &str = "a_full_file_system_is_an_error";
    if !is_child(TEST) {
        assert_passed(&in_child(TEST, |_| {}));
        return;
    }
    let dir = ScratchDir::new("full");
    if !mount_small_tmpfs(&dir.0) {
        println!("skipped: no right to mount a file system");
        return;
    }
    for (lacks_unnamed, lacks_fallocate) in [(false, false), (true, false), (false, true), (true, true)] {
        lacking::UNNAMED_FILES.set(lacks_unnamed);
        lacking::FALLOCATE.set(lacks_fallocate);
        let file = create(dir.place("x"));
        let data_at = file.header().data_at;
        // SAFETY: the test's byte, committed before.
        let byte = |at: u64| unsafe {
            &*file.base().add((data_at + at) as usize).cast::<std::sync::atomic::AtomicU8>().as_ptr()
        };
        file.committer().commit(data_at, 65536).unwrap();
        byte(70).store(9, Ordering::Relaxed);
        let refused = file.committer().commit(data_at, 4 << 20).unwrap_err();
        assert_eq!(refused, AllocError::NoSpace { wanted_bytes: 4 << 20 });
        assert_eq!(byte(70).load(Ordering::Relaxed), 9, "a refused commit changes nothing");
        // A hog takes what is left; creating fails and leaves nothing.
        let hog = file::create_new(&dir.0.join("hog")).unwrap();
        assert_eq!(file::write_zeros(&hog, 0, 2 << 20), Err(Errno::NOSPC));
        match MappedFile::create(dir.place("y"), &SPEC, &mut nothing) {
            Err(OpenError::NoSpace { .. }) => {}
            other => panic!("{other:?}"),
        }
        file::unlink(&dir.0.join("hog")).unwrap();
        drop(hog);
        assert_eq!(dir.names(), ["x"]);
        file.committer().commit(data_at, 131_072).expect("room again, work goes on");
        byte(131_071).store(1, Ordering::Relaxed);
        assert_eq!(byte(70).load(Ordering::Relaxed), 9);
        drop(file);
        assert!(remove(&dir.place("x")).unwrap());
    }
    lacking::UNNAMED_FILES.set(false);
    lacking::FALLOCATE.set(false);
    rustix::mount::unmount(&dir.0, rustix::mount::UnmountFlags::DETACH).unwrap();
}

/// Mounts a tmpfs of 1 MiB in a mount namespace that only this thread is in.
fn mount_small_tmpfs(at: &std::path::Path) -> bool {
    use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_change};
    // SAFETY: the thread shares no directory state that others rely on: the process runs one test.
    unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::NEWNS) }.is_ok()
        && mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC).is_ok()
        && mount("tmpfs", at, "tmpfs", MountFlags::empty(), Some(c"size=1m")).is_ok()
}

#[test]
#[cfg_attr(shmem_poison, ignore = "AddressSanitizer itself needs the address space")]
fn no_address_space_is_an_error() {
    const TEST: &str = "no_address_space_is_an_error";
    if !is_child(TEST) {
        assert_passed(&in_child(TEST, |_| {}));
        return;
    }
    let at = Scratch::shared("space");
    let spec = CreateSpec { max_capacity: 64 << 30, ..SPEC };
    drop(MappedFile::create(at.place(), &spec, &mut nothing).unwrap());
    let limit = rustix::process::Rlimit { current: Some(32 << 30), maximum: None };
    rustix::process::setrlimit(rustix::process::Resource::As, limit).unwrap();
    assert!(
        matches!(open_fails(&at.0), OpenError::NoAddressSpace { wanted_bytes, .. } if wanted_bytes > 64 << 30)
    );
    remove(&at.0).unwrap();
    let created = MappedFile::create(at.place(), &spec, &mut nothing);
    assert!(matches!(created, Err(OpenError::NoAddressSpace { .. })));
    assert!(!at.path().exists());
}

#[test]
fn filling_holes_spares_what_is_used() {
    for (holes_unknown, on_disk) in [(false, false), (true, false), (false, true), (true, true)] {
        let dir = ScratchDir::new("holes");
        let file = create(if on_disk { dir.place("x") } else { Place::Anonymous });
        lacking::FALLOCATE.set(true);
        lacking::HOLES.set(holes_unknown);
        let (data, committer) = (file.header().data_at, file.committer());
        // SAFETY: only committed words are used, as atomics.
        let word = |at: u64| unsafe { file.base().add((data + at) as usize).cast::<AtomicU64>().as_ref() };
        // Behind a hole, then into the hole beside what is used, then all of it.
        committer.commit(data + (1 << 20), 8192).unwrap();
        word(1 << 20).store(1, Ordering::Relaxed);
        committer.commit(data + 8192, 4096).unwrap();
        word(8192).store(2, Ordering::Relaxed);
        committer.commit(data, (1 << 20) + 16384).unwrap();
        assert_eq!((word(1 << 20).load(Ordering::Relaxed), word(8192).load(Ordering::Relaxed)), (1, 2));
        lacking::HOLES.set(false);
        let (start, end) = (data, data + (1 << 20) + 16384);
        assert_eq!(file::next_hole(file.fd(), start, end).unwrap(), None, "all of it is real");
        assert_eq!(file.file_len().unwrap(), end);
        assert!((0..end - data).step_by(4096).all(|at| matches!(word(at).load(Ordering::Relaxed), 0..=2)));
        lacking::FALLOCATE.set(false);
    }
}

#[test]
fn concurrent_commits_without_fallocate_lose_nothing() {
    let one = create(Place::Anonymous);
    let two = MappedFile::open_fd(one.fd(), Want::ReadWrite).unwrap();
    std::thread::scope(|s| {
        for (start, file) in [(0, &one), (1, &two), (2, &one), (3, &two)] {
            s.spawn(move || {
                lacking::FALLOCATE.set(true);
                for page in (start..200u64).step_by(2) {
                    let at = file.header().data_at + page * 4096;
                    file.committer().commit(at, 4096).unwrap();
                    // SAFETY: committed; only used as an atomic.
                    let count: &AtomicU64 = unsafe { file.base().add(at as usize).cast().as_ref() };
                    count.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
    });
    for page in 0..200u64 {
        // SAFETY: committed; only used as an atomic.
        let count: &AtomicU64 =
            unsafe { two.base().add((two.header().data_at + page * 4096) as usize).cast().as_ref() };
        let expected = 1 + u64::from(page >= 2);
        assert_eq!(count.load(Ordering::Relaxed), expected, "page {page}");
    }
}

#[test]
fn another_file_under_the_number_of_the_descriptor_is_left_alone() {
    let at = Scratch::shared("number");
    let file = create(at.place());
    let other = rustix::fs::memfd_create(c"shmem-unit-number", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
    rustix::fs::ftruncate(&other, 1 << 20).unwrap();
    // As `closefrom(3)` leaves it, once the program opens a file again.
    // SAFETY: the number is that of `file`'s own descriptor, which is not looked at in between.
    let number = unsafe { libc::dup2(other.as_raw_fd(), file.fd().as_raw_fd()) };
    assert_eq!(number, file.fd().as_raw_fd());
    assert!(file.storage().map(0, 4096).is_err());
    assert!(file.storage().hold_byte(7).is_err() && file.storage().byte_is_held(7).is_err());
}

#[test]
fn a_byte_is_held_until_its_value_is_dropped() {
    let at = Scratch::shared("locks");
    let one = create(at.place());
    let two = MappedFile::open(at.place(), Want::ReadWrite).unwrap();
    let held = one.storage().hold_byte(0).unwrap().unwrap();
    for storage in [one.storage(), two.storage()] {
        assert!(storage.byte_is_held(0).unwrap() && storage.hold_byte(0).unwrap().is_none());
    }
    // It does not depend on the mapping, nor on the descriptor, it was taken through.
    let other = two.storage().hold_byte(1).unwrap().unwrap();
    drop(two);
    assert!(one.storage().byte_is_held(1).unwrap());
    drop((held, other));
    assert!(!one.storage().byte_is_held(0).unwrap() && !one.storage().byte_is_held(1).unwrap());
    assert!(one.storage().hold_byte(lock_byte::INDICES).is_err());
    let last = one.storage().hold_byte(lock_byte::INDICES - 1).unwrap().unwrap();
    let reader = MappedFile::open(at.place(), Want::ReadOnly).unwrap();
    assert!(reader.storage().byte_is_held(lock_byte::INDICES - 1).unwrap());
    assert!(reader.storage().hold_byte(1).is_err(), "a reader cannot hold bytes");
    drop(last);
}

#[test]
fn a_child_gets_a_byte_and_its_parent_does_not_keep_it() {
    let at = Scratch::shared("adopt");
    let file = create(at.place());
    let locked = file.storage().lock_for_child(2).unwrap().unwrap();
    assert!(file.storage().lock_for_child(2).unwrap().is_none());
    let held = locked.adopt().unwrap();
    drop(locked);
    assert!(file.storage().byte_is_held(2).unwrap());
    drop(held);
    assert!(!file.storage().byte_is_held(2).unwrap());
}

/// What an inhabitant of a file holds goes with it: neither a child of a raw `fork` keeps it, nor does closing every
/// descriptor or executing another program let it go too early, or too late.
#[test]
fn a_byte_lives_as_long_as_the_memory_of_its_process() {
    const TEST: &str = "a_byte_lives_as_long_as_the_memory_of_its_process";
    if let Some(name) = std::env::var_os("SHMEM_TEST_PLACE").filter(|_| is_child(TEST)) {
        let file = match name.to_str().unwrap().strip_prefix("file:") {
            Some(path) => MappedFile::open(Place::file(path).unwrap(), Want::ReadWrite).unwrap(),
            None => {
                MappedFile::open(Place::shared(name.to_str().unwrap()).unwrap(), Want::ReadWrite).unwrap()
            }
        };
        let _held = file.storage().hold_byte(7).unwrap().unwrap();
        // SAFETY: the child only waits to be killed.
        let child = unsafe { libc::syscall(libc::SYS_clone, libc::SIGCHLD, 0, 0, 0, 0) };
        if child == 0 {
            loop {
                // SAFETY: waits for a signal; touches nothing.
                unsafe { libc::pause() };
            }
        }
        // SAFETY: closes what is not ours, as a program that becomes a daemon does.
        let closed = unsafe { libc::syscall(libc::SYS_close_range, 3, u32::MAX, 0) };
        assert_eq!(closed, 0);
        assert!(file.storage().byte_is_held(7).is_err(), "the descriptor is not ours any more");
        word(&file, DIRECTORY_AT).store(child as u64, Ordering::Release);
        loop {
            std::thread::park();
        }
    }
    let (shared, dir) = (Scratch::shared("life"), ScratchDir::new("life"));
    let on_disk = dir.place("life");
    for (place, prefix) in [(shared.place(), ""), (on_disk, "file:")] {
        let name = format!("{prefix}{}", place.display());
        let file = create(place);
        let mut command = Command::new(std::env::current_exe().unwrap());
        command
            .args(["--exact", "--nocapture", &format!("mapping::file::tests::{TEST}")])
            .env("SHMEM_TEST_ROLE", TEST)
            .env("SHMEM_TEST_PLACE", name)
            .stdout(std::process::Stdio::null());
        let mut process = command.spawn().unwrap();
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            eventually(|| word(&file, DIRECTORY_AT).load(Ordering::Acquire) != 0);
            assert!(file.storage().byte_is_held(7).unwrap(), "it has closed every descriptor");
        }));
        process.kill().unwrap();
        process.wait().unwrap();
        let child = word(&file, DIRECTORY_AT).load(Ordering::Acquire);
        let free = std::panic::catch_unwind(|| eventually(|| !file.storage().byte_is_held(7).unwrap()));
        if let Some(child) = rustix::process::Pid::from_raw(child as i32) {
            assert!(rustix::process::test_kill_process(child).is_ok());
            rustix::process::kill_process(child, rustix::process::Signal::KILL).unwrap();
        }
        outcome.unwrap();
        free.unwrap();
    }
}

/// A program closed descriptors that are not its own and opened others, and one has the number of the segment's.
#[test]
fn a_stranger_with_the_descriptor_s_number_is_left_alone() {
    const TEST: &str = "a_stranger_with_the_descriptor_s_number_is_left_alone";
    if !is_child(TEST) {
        assert_passed(&in_child(TEST, |_| {}));
        return;
    }
    let file = create(Place::Anonymous);
    let stranger = rustix::fs::memfd_create(c"stranger", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
    let contents = [7; 64 << 10];
    rustix::io::pwrite(&stranger, &contents, 0).unwrap();
    // SAFETY: dup2 onto the number: the misuse that is tried.
    assert!(unsafe { libc::dup2(stranger.as_raw_fd(), file.fd().as_raw_fd()) } >= 0);
    let (storage, mut bytes) = (file.storage(), [0; 8]);
    assert!(matches!(storage.commit(1 << 20, 1 << 20), Err(AllocError::Os { .. })));
    assert!(matches!(storage.decommit(0, 4096), Err(AllocError::Os { .. })));
    assert!(!storage.read(0, &mut bytes) && storage.word(0).is_err() && storage.len().is_err());
    assert!(storage.map(0, 4096).is_err());
    let status = rustix::fs::fstat(&stranger).unwrap();
    assert_eq!((status.st_size, status.st_blocks), (64 << 10, 128));
    let mut found = [0; 64 << 10];
    rustix::io::pread(&stranger, &mut found, 0).unwrap();
    assert!(found == contents);
}

#[test]
fn commits_finish_under_a_storm_of_signals() {
    const TEST: &str = "commits_finish_under_a_storm_of_signals";
    if !is_child(TEST) {
        assert_passed(&in_child(TEST, |_| {}));
        return;
    }
    extern "C" fn handler(_: libc::c_int) {}
    // SAFETY: a plain structure of integers, for which zeros are valid.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = handler as *const () as usize;
    let period = libc::timeval { tv_sec: 0, tv_usec: 200 };
    let timer = libc::itimerval { it_interval: period, it_value: period };
    // SAFETY: the handler does nothing; without SA_RESTART it interrupts every call.
    unsafe {
        assert_eq!(libc::sigaction(libc::SIGALRM, &raw const action, std::ptr::null_mut()), 0);
        assert_eq!(libc::setitimer(libc::ITIMER_REAL, &raw const timer, std::ptr::null_mut()), 0);
    }
    let spec = CreateSpec { capacity: 48 << 20, max_capacity: 48 << 20, commit_all: true, mode: 0o600 };
    for lacks in [false, true] {
        lacking::FALLOCATE.set(lacks);
        let file = MappedFile::create(Place::Anonymous, &spec, &mut nothing).unwrap();
        // (Memory that was allocated and never touched is shown as a hole, so the blocks are counted.)
        let blocks = rustix::fs::fstat(file.fd()).unwrap().st_blocks as u64 * 512;
        assert!(blocks >= spec.capacity, "{blocks}");
        assert_eq!(file.file_len().unwrap(), file.header().end);
    }
}
