//! Memory: used up a hundred times over, refused by the segment, by a full file system, by a limit; nothing is lost.

use shmem_core::{AllocError, Error, OpenError, Owned, Root, Segment, SegmentBuilder, init};
use shmem_core::{ShmBox, ShmBoxSlice, ShmHashMap, ShmMutex, ShmOption, ShmString, ShmVec};
use shmem_tests::*;
use std::path::{Path, PathBuf};

roles! { user, on_full_file_system, under_limit }

type List = ShmMutex<ShmVec<u64>>;
type Map = ShmMutex<ShmHashMap<u64, ShmString>>;
type Text = ShmMutex<ShmString>;

const CAPACITY: u64 = 2 << 20;

/// Something that owns memory.
enum Thing {
    List(Owned<List>),
    Map(Owned<Map>),
    Text(Owned<Text>),
    Named(Root<[u64]>, String),
}

fn new_thing(segment: &Segment, random: &mut Random, nth: u64) -> Result<Thing, Error> {
    Ok(match random.below(4) {
        0 => Thing::List(segment.construct_anonymous::<List>(ShmMutex::new(ShmVec::new()))?),
        1 => Thing::Map(segment.construct_anonymous::<Map>(ShmMutex::new(ShmHashMap::new()))?),
        2 => Thing::Text(segment.construct_anonymous::<Text>(ShmMutex::new("short"))?),
        _ => {
            let name = format!("{} {}", std::process::id(), nth);
            let n = random.size(1000) as usize;
            Thing::Named(segment.construct_slice::<u64, _>(&name, n, |_| nth)?, name)
        }
    })
}

/// Makes it larger or smaller; how many bytes were asked for.
fn change(thing: &Thing, random: &mut Random) -> Result<u64, Error> {
    match thing {
        Thing::List(list) => {
            let mut guard = list.lock()?;
            let n = random.size(8192);
            if random.below(4) == 0 {
                guard.view().clear();
                guard.view().shrink_to_fit()?;
                return Ok(0);
            }
            guard.view().reserve(n as usize)?;
            guard.view().push(n)?;
            Ok(8 * n)
        }
        Thing::Map(map) => {
            let mut guard = map.lock()?;
            let (key, len) = (random.below(200), random.size(500) as usize);
            if random.below(3) == 0 {
                guard.view().remove(&key);
                return Ok(0);
            }
            guard.view().insert(key, "x".repeat(len).as_str())?;
            Ok(len as u64)
        }
        Thing::Text(text) => {
            let len = random.size(20_000) as usize;
            text.lock()?.view().set(&"y".repeat(len))?;
            Ok(len as u64)
        }
        Thing::Named(slice, _) => {
            assert!(slice.iter().all(|word| *word == slice[0]));
            Ok(0)
        }
    }
}

/// Asks for so many bytes, in all sizes, and gives them all back.
fn use_memory(segment: &Segment, seed: u64, bytes: u64) {
    let mut random = Random::new(seed);
    let mut things: Vec<Thing> = Vec::new();
    let (mut asked, mut nth, mut refused) = (0, 0, 0);
    while asked < bytes {
        nth += 1;
        let outcome = match things.len() as u64 {
            n if n < 4 || n < 24 && random.below(4) == 0 => {
                new_thing(segment, &mut random, nth).map(|thing| {
                    things.push(thing);
                    64
                })
            }
            n => change(&things[random.below(n) as usize], &mut random),
        };
        match outcome {
            Ok(n) => asked += n,
            Err(e) => {
                assert!(e.is_out_of_memory(), "{e}");
                refused += 1;
            }
        }
        if random.below(20) == 0 || outcome_was_refused(refused, nth) {
            let n = things.len().max(1) as u64;
            if let Some(thing) = (!things.is_empty()).then(|| things.swap_remove(random.below(n) as usize)) {
                give_back(segment, thing);
            }
        }
    }
    things.into_iter().for_each(|thing| give_back(segment, thing));
}

fn outcome_was_refused(refused: u64, nth: u64) -> bool {
    refused * 10 > nth
}

fn give_back(segment: &Segment, thing: Thing) {
    if let Thing::Named(slice, name) = thing {
        assert!(segment.destroy::<u64>(&name).unwrap());
        assert!(slice.iter().all(|word| *word == slice[0]));
    }
}

fn user() {
    let segment = Segment::shared(&argument::<String>(0)).open().unwrap();
    use_memory(&segment, argument(1), argument(2));
}

#[test]
fn a_hundred_times_the_capacity_from_four_processes() {
    let _watchdog = Watchdog::test("a hundred times the capacity");
    let name = TempName::new("hundred");
    let segment = name.segment().size(CAPACITY).create().unwrap();
    let seed = Random::fresh_seed("a hundred times the capacity");
    // The directory keeps the room it once needed for entries and types.
    let warm: Vec<_> = (0..150).map(|i| segment.construct_anonymous::<u64>(i).unwrap()).collect();
    drop(warm);
    for i in 0..150 {
        segment.construct::<u64>(&format!("{i}"), i).unwrap();
    }
    (0..150).for_each(|i| assert!(segment.destroy::<u64>(&format!("{i}")).unwrap()));
    use_memory(&segment, seed, 1 << 20);
    let free = segment.free_memory();
    let each = (if long() { 2000 } else { 100 }) * CAPACITY;
    let workers: Vec<_> = (1..=4).map(|i| Worker::spawn("user", &[&name, &(seed + i), &each])).collect();
    workers.into_iter().for_each(Worker::finish);
    assert_eq!(segment.recover(), 0);
    assert_eq!((segment.object_count(), segment.free_memory()), (0, free));
    assert_eq!(segment.memory().bad_frees, 0);
    sound(&segment);
}

/// Takes what is left, down to the smallest block.
fn fill(segment: &Segment) -> Vec<Owned<ShmBoxSlice<u8>>> {
    let mut all = Vec::new();
    for size in [16 << 10, 4 << 10, 1 << 10, 256, 64, 16, 1] {
        while let Ok(block) =
            segment.construct_anonymous::<ShmBoxSlice<u8>>(ShmBoxSlice::from_fn(size, |_| 0xFF))
        {
            all.push(block);
        }
    }
    all
}

fn refused<T>(result: Result<T, Error>) {
    match result {
        Err(Error::Alloc(AllocError::OutOfMemory { wanted_bytes, .. })) => assert!(wanted_bytes > 0),
        Err(e) => panic!("{e}"),
        Ok(_) => panic!("there was room"),
    }
}

#[test]
fn out_of_memory_in_every_operation() {
    let segment = Segment::anonymous().size(128 << 10).create().unwrap();
    let long = "a text that is too long to stand inline";
    let vec = segment.construct::<ShmVec<ShmString>>("vec", [long, long]).unwrap();
    let text = segment.construct::<ShmString>("text", long).unwrap();
    let map = segment.construct::<ShmHashMap<u64, ShmString>>("map", ShmHashMap::new()).unwrap();
    let boxed = segment.construct::<ShmBox<ShmString>>("box", ShmBox::new(long)).unwrap();
    let option = segment.construct::<ShmOption<ShmString>>("option", ShmOption::none()).unwrap();
    // SAFETY: this test alone uses the segment, one view at a time.
    unsafe {
        (0..7).for_each(|i| assert!(map.view_unchecked().insert(i, long).unwrap()));
    }
    // What the directory keeps of types and entries is no leak.
    let warm = (fill(&segment), segment.construct_anonymous::<ShmBox<[u8; 40]>>(ShmBox::new([0; 40])));
    drop(warm);
    drop(segment.construct_anonymous::<[u64; 4096]>([1; 4096]).unwrap());
    drop(segment.construct_anonymous::<ShmVec<u64>>([1]).unwrap());
    let before = segment.used();
    let hog = fill(&segment);
    // There may be room for one string, in a block of a class that the hog did not come by.
    let mut crumbs = Vec::new();
    while let Ok(crumb) = segment.construct_anonymous::<ShmBox<[u8; 40]>>(ShmBox::new([0; 40])) {
        crumbs.push(crumb);
    }
    let huge = "z".repeat(30_000);
    refused(segment.construct::<[u64; 4096]>("large", [1; 4096]));
    refused(segment.construct_slice::<u64, _>("large", 4096, |_| 1));
    refused(segment.construct::<ShmString>("large", &*huge));
    refused(segment.construct_unique::<[u64; 4096]>([1; 4096]));
    refused(segment.construct_anonymous::<[u64; 4096]>([1; 4096]));
    refused(segment.find_or_construct::<ShmVec<u64>>("large", vec![1; 4096]));
    assert!(segment.find_slice::<u64>("large").unwrap().is_none());
    // SAFETY: as above.
    unsafe {
        refused(vec.view_unchecked().push(&*huge));
        refused(vec.view_unchecked().extend((0..1000).map(|_| long)));
        refused(vec.view_unchecked().reserve(4096));
        refused(vec.view_unchecked().insert(0, &*huge));
        refused(vec.view_unchecked().set(1, &*huge));
        refused(vec.view_unchecked().resize(3000, long));
        refused(text.view_unchecked().push_str(&huge));
        refused(text.view_unchecked().set(&huge));
        refused(text.view_unchecked().insert_str(3, &huge));
        refused(text.view_unchecked().reserve(30_000));
        refused(map.view_unchecked().insert(99, &*huge));
        refused(map.view_unchecked().insert(3, &*huge));
        refused(map.view_unchecked().reserve(5000));
        refused(map.view_unchecked().extend((100..5000).map(|i| (i, "short"))));
        refused(boxed.view_unchecked().set(&*huge));
        refused(option.view_unchecked().set(&*huge).map(drop));
        refused(option.view_unchecked().insert(&*huge).map(drop));
    }
    sound(&segment);
    assert_eq!(&**boxed, &**text);
    assert_eq!((text.as_str(), option.is_none()), (long, true));
    assert!(vec.iter().all(|text| *text == long), "what was there is there");
    (0..7).for_each(|i| assert!(map[&i] == *long));
    drop((hog, crumbs));
    // What extend had put in before it failed stays, as in std; nothing else is held.
    // SAFETY: as above.
    unsafe {
        vec.view_unchecked().truncate(2);
        vec.view_unchecked().shrink_to_fit().unwrap();
        map.view_unchecked().retain(|key, _| *key < 7);
    }
    assert_eq!(segment.used(), before);
    // SAFETY: as above.
    unsafe {
        vec.view_unchecked().push(&*huge).unwrap();
        text.view_unchecked().push_str(&huge).unwrap();
    }
    sound(&segment);
}

#[test]
fn a_failing_element_leaves_nothing() {
    let segment = Segment::anonymous().size(128 << 10).create().unwrap();
    drop(segment.construct_slice::<ShmString, _>("all", 1, |_| "").unwrap());
    segment.destroy::<ShmString>("all").unwrap();
    let used = segment.used();
    let text = "x".repeat(1000);
    // 1000 strings of 1000 bytes do not go into 128 KiB.
    refused(segment.construct_slice::<ShmString, _>("all", 1000, |_| &*text));
    refused(segment.construct::<ShmVec<ShmString>>("all", init::from_iter((0..1000).map(|_| &*text))));
    assert_eq!(segment.object_count(), 0);
    assert!(segment.used() <= used + 4096, "{} {used}: at most a new type's record", segment.used());
    sound(&segment);
}

/// Fills a list until memory is refused; gives the refusal.
fn push_until_refused(list: &Root<List>) -> Error {
    let mut guard = list.lock().unwrap();
    loop {
        let next = guard.len() as u64;
        if let Err(e) = guard.view().push(next) {
            assert!(guard.iter().enumerate().all(|(i, n)| *n == i as u64));
            return e;
        }
    }
}

/// With `ballast` filling the file system: everything is refused; without it, work goes on.
fn run_out_of_space(builder: impl Fn(&str) -> SegmentBuilder, ballast: &Path) {
    let make_ballast = |bytes: usize| std::fs::write(ballast, vec![1u8; bytes]);
    make_ballast(300 << 10).unwrap();
    let segment = builder("it").size(8 << 20).create().unwrap();
    let list = segment.construct::<List>("list", ShmMutex::new(ShmVec::new())).unwrap();
    let blocks = segment.construct::<ShmMutex<ShmVec<ShmBoxSlice<u64>>>>("b", ShmMutex::new(ShmVec::new()));
    let blocks = blocks.unwrap();
    match push_until_refused(&list) {
        Error::Alloc(AllocError::NoSpace { .. }) => {}
        e => panic!("{e}"),
    }
    // Down to the last page.
    let refused = loop {
        let block = ShmBoxSlice::from_fn(64, |i| i as u64);
        if let Err(e) = blocks.lock().unwrap().view().push(block) {
            break e;
        }
    };
    assert!(matches!(refused, Error::Alloc(AllocError::NoSpace { .. })), "{refused}");
    sound(&segment);
    let crumbs = ballast.with_extension("crumbs");
    let mut file = std::fs::File::create(&crumbs).unwrap();
    while std::io::Write::write_all(&mut file, &[1; 4096]).is_ok() {}
    drop(file);
    // Another segment does not fit, and leaves nothing.
    match builder("other").size(1 << 20).create() {
        Err(Error::Open(e)) if matches!(*e, OpenError::NoSpace { .. }) => {}
        other => panic!("{other:?}"),
    }
    match builder("other").size(1 << 20).open_or_create() {
        Err(Error::Open(e)) if matches!(*e, OpenError::NoSpace { .. }) => {}
        other => panic!("{other:?}"),
    }
    assert!(builder("other").open().is_err());
    // Everything that was there can be used, and what is given back in the segment is had again.
    let before = list.lock().unwrap().len();
    assert!(blocks.lock().unwrap().iter().all(|block| block.len() == 64 && block[63] == 63));
    let half = blocks.lock().unwrap().len() / 2;
    blocks.lock().unwrap().view().truncate(half);
    for _ in 0..half / 2 {
        blocks.lock().unwrap().view().push(ShmBoxSlice::from_fn(64, |i| i as u64)).unwrap();
    }
    // Space is made: work goes on.
    std::fs::remove_file(ballast).unwrap();
    std::fs::remove_file(crumbs).unwrap();
    match push_until_refused(&list) {
        Error::Alloc(AllocError::NoSpace { .. }) => {}
        e => panic!("{e}"),
    }
    assert!(list.lock().unwrap().len() >= before);
    list.lock().unwrap().view().clear();
    list.lock().unwrap().view().shrink_to_fit().unwrap();
    let n = segment.construct_slice::<u8, _>("more", 60 << 10, |i| i as u8).unwrap();
    assert_eq!(n[255], 255);
    sound(&segment);
}

/// On a tmpfs of 1 MiB, in a mount namespace of its own: as `/dev/shm`, or in a directory.
fn on_full_file_system() {
    let at: PathBuf = argument(0);
    let name: String = argument(1);
    if let Err(e) = mount_tmpfs(&at, 1 << 20) {
        report(format!("skipped: {e}"));
        return;
    }
    match name.is_empty() {
        true => run_out_of_space(|which| Segment::file(at.join(which)), &at.join("ballast")),
        false => run_out_of_space(|which| Segment::shared(&format!("{name}{which}")), &at.join("ballast")),
    }
    let mut left: Vec<_> = std::fs::read_dir(&at).unwrap().map(|e| e.unwrap().file_name()).collect();
    left.retain(|entry| !entry.to_str().unwrap().ends_with("it"));
    assert_eq!(left, [""; 0]);
    report("done");
}

fn full(at: &Path, name: &str) {
    let _watchdog = Watchdog::test("full file system");
    let mut worker = Worker::spawn("on_full_file_system", &[&at.display(), &name]);
    let outcome = worker.hear();
    if outcome.starts_with("skipped") {
        println!("{outcome}");
    } else {
        assert_eq!(outcome, "done");
    }
    worker.finish();
}

#[test]
fn a_full_dev_shm_is_an_error() {
    full(Path::new("/dev/shm"), "full-");
}

#[test]
fn a_full_disk_is_an_error() {
    full(TempDir::new("full").path(), "");
}

fn under_limit() {
    let dir = PathBuf::from(arguments().remove(0));
    limit_file_size(Some(512 << 10)).unwrap();
    for builder in [Segment::file(dir.join("all")), Segment::anonymous()] {
        match builder.size(1 << 20).commit_all(true).create() {
            Err(Error::Open(e)) => match *e {
                OpenError::FileSizeLimit { wanted_bytes, limit_bytes, .. } => {
                    assert!(wanted_bytes > limit_bytes && limit_bytes == 512 << 10);
                }
                e => panic!("{e}"),
            },
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(std::fs::read_dir(&dir).unwrap().count(), 0);
    let segment = Segment::file(dir.join("it")).size(4 << 20).max_size(4 << 20).create().unwrap();
    let list = segment.construct::<List>("list", ShmMutex::new(ShmVec::new())).unwrap();
    for limit in [512 << 10, 1 << 20] {
        limit_file_size(Some(limit)).unwrap();
        match push_until_refused(&list) {
            Error::Alloc(AllocError::FileSizeLimit { limit_bytes }) => assert_eq!(limit_bytes, limit),
            e => panic!("{e}"),
        }
        sound(&segment);
    }
    limit_file_size(None).unwrap();
    (0..10_000).for_each(|i| list.lock().unwrap().view().push(i).unwrap());
    sound(&segment);
    report("done");
}

#[test]
fn a_file_size_limit_is_an_error() {
    let _watchdog = Watchdog::test("file-size limit");
    let dir = TempDir::new("limit");
    let mut worker = Worker::spawn("under_limit", &[&dir.path().display()]);
    worker.expect("done");
    worker.finish();
}
