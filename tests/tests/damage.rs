//! Damaged metadata: whatever bytes a segment's tables hold, `open`, `find`, `objects`, `check` and `stored_types` end in
//! a typed error or give the answers they gave before; no signal, panic or hang.
//!
//! Workers damage copies of one image, so a signal shows as a dead worker; each names the seed of every case first.
//! User data is trusted, so only metadata is damaged, and objects are looked at only where that cannot have moved them.

use shmem_core::{Corrupt, Error, ObjectInfo, Segment, SegmentBuilder, ShmBox, ShmHashMap, ShmMutex};
use shmem_core::{ShmOption, ShmSafe, ShmString, ShmVec};
use shmem_tests::*;
use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;
use std::time::{Duration, Instant};

roles! { damager }

#[derive(ShmSafe, Debug, PartialEq)]
#[repr(C)]
struct Account {
    owner: ShmString,
    balance: i64,
    history: ShmVec<i64>,
}

/// Types that refer to each other.
#[derive(ShmSafe)]
#[repr(C)]
struct Tree {
    value: u64,
    branches: ShmVec<Branch>,
}

#[derive(ShmSafe)]
#[repr(C)]
struct Branch {
    name: ShmString,
    tree: ShmOption<ShmBox<Tree>>,
}

type Accounts = ShmMutex<ShmHashMap<u64, Account>>;

const LONG_NAME: &str =
    "a name that is too long to stand in its directory entry, and so has a block of its own";

fn builder(path: &Path) -> SegmentBuilder {
    Segment::file(path).size(128 << 10)
}

/// A segment with objects of several types, some of them gone again.
fn make_image(path: &Path) {
    let segment = builder(path).create().unwrap();
    segment.construct::<u64>("number", 42).unwrap();
    segment.construct::<ShmString>(LONG_NAME, "and a text that is too long to stand inline").unwrap();
    segment.construct_slice::<u32, _>("squares", 100, |i| (i * i) as u32).unwrap();
    segment.construct::<ShmBox<ShmVec<u16>>>("box", ShmBox::new([1, 2, 3])).unwrap();
    segment.construct_unique::<i128>(-1).unwrap();
    for i in 0..20 {
        segment.construct::<u8>(&format!("byte {i}"), i).unwrap();
    }
    (0..20).step_by(3).for_each(|i| assert!(segment.destroy::<u8>(&format!("byte {i}")).unwrap()));
    segment.construct_slice::<u64, _>("large", 2000, |i| i as u64).unwrap();
    let leaf = ShmBox::new(TreeInit { value: 2, branches: ShmVec::new() });
    let branch = BranchInit { name: "left", tree: ShmOption::some(leaf) };
    segment.construct::<Tree>("tree", TreeInit { value: 1, branches: [branch] }).unwrap();
    let accounts = segment.construct::<Accounts>("accounts", ShmMutex::new(ShmHashMap::new())).unwrap();
    let mut guard = accounts.lock().unwrap();
    for i in 0..30 {
        let account = AccountInit { owner: "somebody", balance: 5, history: [1, 2, 3] };
        guard.view().insert(i, account).unwrap();
    }
    drop(guard);
    sound(&segment);
}

/// What one look at a segment gave: an answer or a typed error for each question.
#[derive(Debug, PartialEq)]
struct Answers {
    found: BTreeMap<&'static str, Result<bool, String>>,
    objects: Result<Vec<ObjectInfo>, String>,
    types: usize,
    check: Vec<Corrupt>,
}

/// What an object must look like, if it may be looked at.
type Look<'l, T> = Option<&'l dyn Fn(&T) -> bool>;

fn ask<T: ShmSafe + Sync>(answers: &mut Answers, segment: &Segment, name: &'static str, look: Look<'_, T>) {
    let found = match segment.find::<T>(name) {
        Ok(None) => Ok(false),
        Ok(Some(root)) => {
            assert!(look.is_none_or(|look| look(&root)), "`{name}` is not what it was");
            Ok(true)
        }
        Err(e) => Err(typed(e)),
    };
    answers.found.insert(name, found);
}

fn ask_slice<T: ShmSafe + Sync>(
    answers: &mut Answers,
    segment: &Segment,
    name: &'static str,
    look: Look<'_, [T]>,
) {
    let found = match segment.find_slice::<T>(name) {
        Ok(None) => Ok(false),
        Ok(Some(root)) => {
            assert!(look.is_none_or(|look| look(&root)), "`{name}` is not what it was");
            Ok(true)
        }
        Err(e) => Err(typed(e)),
    };
    answers.found.insert(name, found);
}

fn typed(e: Error) -> String {
    assert!(!e.to_string().is_empty());
    format!("{e:?}")
}

/// Asks everything; looks at the objects themselves only if `entries` are as they were.
fn look(segment: &Segment, entries: bool) -> Answers {
    let mut answers =
        Answers { found: BTreeMap::new(), objects: Ok(Vec::new()), types: 0, check: Vec::new() };
    let a = &mut answers;
    fn when<T: ?Sized>(whole: bool, f: &dyn Fn(&T) -> bool) -> Look<'_, T> {
        whole.then_some(f)
    }
    ask::<u64>(a, segment, "number", when(entries, &|n| *n == 42));
    ask::<ShmString>(a, segment, LONG_NAME, when(entries, &|text| text.starts_with("and a text")));
    ask_slice::<u32>(a, segment, "squares", when(entries, &|all| all.len() == 100 && all[9] == 81));
    ask::<ShmBox<ShmVec<u16>>>(a, segment, "box", when(entries, &|list| ***list == [1, 2, 3]));
    ask::<u8>(a, segment, "byte 1", when(entries, &|n| *n == 1));
    ask::<u8>(a, segment, "byte 3", None);
    ask_slice::<u64>(a, segment, "large", when(entries, &|all| all.len() == 2000 && all[1999] == 1999));
    ask::<Accounts>(a, segment, "accounts", None);
    ask::<Tree>(
        a,
        segment,
        "tree",
        when(entries, &|tree| tree.branches[0].tree.as_deref().unwrap().value == 2),
    );
    ask::<f64>(a, segment, "no such name", None);
    let unique = segment.find_unique::<i128>().map(|found| found.is_some()).map_err(typed);
    a.found.insert("unique", unique);
    // Whether it holds is not asked of each other's answers: `holders` changes while we look.
    a.objects = segment.objects().map_err(typed).map(|mut all| {
        all.iter_mut().for_each(|object| object.holders = 0);
        all.sort_by(|a, b| a.name.cmp(&b.name));
        all
    });
    a.types = segment.stored_types().len();
    a.check = segment.check();
    answers
}

impl Answers {
    /// Whether anything says that the segment is damaged.
    fn tell_of_damage(&self) -> bool {
        self.found.values().any(Result::is_err) || self.objects.is_err() || !self.check.is_empty()
    }
}

/// Where metadata stands in an image, by what it is. The offsets are FORMAT.md's.
fn regions(image: &[u8]) -> Vec<(&'static str, Range<usize>)> {
    let word = |at: usize| u64::from_le_bytes(image[at..at + 8].try_into().unwrap()) as usize;
    let [slots, descriptors, bitmaps, data] = [72, 80, 88, 96].map(word);
    let pages = (image.len() - data) / 4096;
    let mut regions = vec![
        ("fixed header", 0..256),
        ("state", 256..272),
        ("heap header", 512..536),
        ("directory header", 1024..1024 + 64 + 23 * 8),
        ("process records", 4096..4096 + 4 * 64),
        ("all process records", 4096..slots),
        ("thread slots", slots..slots + 4 * 64),
        ("all thread slots", slots..descriptors),
        ("page descriptors", descriptors..descriptors + pages * 64),
        ("block bitmaps", bitmaps..bitmaps + pages * 32),
    ];
    let index = word(1032);
    let (at, log2) = (index & ((1 << 56) - 1), index >> 56);
    regions.push(("index", at..at + 8 + (8 << log2)));
    for chunk in 0..23 {
        let at = word(1024 + 64 + 8 * chunk);
        if at != 0 {
            let entries = at..at + (16 << chunk) * 192;
            regions.push(("entries", entries));
        }
    }
    let long_name = |at: &usize| image[*at..].starts_with(LONG_NAME.as_bytes());
    let at = (0..image.len()).find(long_name).expect("the name's block");
    regions.push(("long name", at..at + LONG_NAME.len()));
    let mut record = word(1048);
    while record != 0 {
        regions.push(("type record", record..record + 32 + word(record + 8)));
        record = word(record);
    }
    regions
}

/// Damages one place; says where.
fn damage(image: &mut [u8], regions: &[(&'static str, Range<usize>)], random: &mut Random) -> &'static str {
    let kinds: Vec<_> = {
        let mut kinds: Vec<_> = regions.iter().map(|(kind, _)| *kind).collect();
        kinds.dedup();
        kinds.sort();
        kinds.dedup();
        kinds
    };
    let kind = *random.pick(&kinds);
    let of_kind: Vec<_> = regions.iter().filter(|(k, _)| *k == kind).collect();
    let range = random.pick(&of_kind).1.clone();
    let at = range.start + random.below(range.len() as u64) as usize;
    let at_word = at & !7;
    let word = u64::from_le_bytes(image[at_word..at_word + 8].try_into().unwrap());
    let new = match random.below(10) {
        0..=2 => {
            image[at] ^= 1 << random.below(8);
            return kind;
        }
        3 => {
            image[at] = random.word() as u8;
            return kind;
        }
        4 => *random.pick(&[0, u64::MAX, 1, 1 << 63, 1 << 32, i64::MAX as u64]),
        5 => word.wrapping_add(*random.pick(&[1, u64::MAX, 8, 64, 4096])),
        6 => random.word() >> random.below(64),
        // Something that stands elsewhere: a plausible offset, state or count.
        7 => {
            let from = random.pick(regions).1.start & !7;
            u64::from_le_bytes(image[from..from + 8].try_into().unwrap())
        }
        8 => random.below(image.len() as u64) & !7,
        _ => {
            let end = range.end.min(at + 1 + random.below(64) as usize);
            image[at..end].iter_mut().for_each(|byte| *byte = random.word() as u8);
            return kind;
        }
    };
    let keep = range.start..range.end;
    for (i, byte) in new.to_le_bytes().into_iter().enumerate() {
        if keep.contains(&(at_word + i)) {
            image[at_word + i] = byte;
        }
    }
    kind
}

/// Damages copies of an image and looks at them: cases `first`, `first + 2`, … until told to stop.
fn damager() {
    let (path, own, seed): (String, String, u64) = (argument(0), argument(1), argument(2));
    let (first, end, seconds): (u64, u64, u64) = (argument(3), argument(4), argument(5));
    let image = std::fs::read(&path).unwrap();
    let regions = regions(&image);
    std::fs::write(&own, &image).unwrap();
    let whole = look(&builder(Path::new(&own)).open().unwrap(), true);
    assert!(!whole.tell_of_damage(), "{whole:?}");
    let start = Instant::now();
    let mut done = 0;
    for case in (first..end).step_by(2) {
        if start.elapsed() > Duration::from_secs(seconds) {
            break;
        }
        let seed = seed.wrapping_add(case);
        report(format!("case {seed}"));
        let mut random = Random::new(seed);
        let mut bytes = image.clone();
        let mut kinds = Vec::new();
        for _ in 0..*random.pick(&[1, 1, 1, 2, 4]) {
            kinds.push(damage(&mut bytes, &regions, &mut random));
        }
        std::fs::write(&own, &bytes).unwrap();
        let entries = regions.iter().filter(|(kind, _)| *kind == "entries");
        let entries_whole = entries.clone().all(|(_, range)| bytes[range.clone()] == image[range.clone()]);
        let watchdog = Watchdog::new(format!("case {seed}, damage to {kinds:?}"), Duration::from_secs(20));
        let looked = std::panic::catch_unwind(|| {
            builder(Path::new(&own)).open().map(|segment| look(&segment, entries_whole))
        });
        drop(watchdog);
        match looked {
            Err(_) => panic!("case {seed}, damage to {kinds:?}: a panic"),
            Ok(Err(e)) => drop(typed(e)),
            Ok(Ok(answers)) if answers.tell_of_damage() => {}
            // Bytes that no invariant ties down are somebody's truth: an object's length, or a free entry's.
            Ok(Ok(_)) if !entries_whole => {}
            Ok(Ok(answers)) if answers != whole => {
                // Two kinds of damage may mend each other: who finds the directory's lock poisoned makes the index anew.
                let again = builder(Path::new(&own)).open().map(|segment| look(&segment, true));
                if !again.is_ok_and(|again| again == whole) {
                    differ(seed, &kinds, &answers, &whole);
                }
            }
            Ok(Ok(_)) => {}
        }
        done += 1;
    }
    report(format!("done {done}"));
}

#[test]
fn ten_thousand_mutations_of_the_metadata() {
    let _watchdog = Watchdog::test("damage");
    let dir = TempDir::new("damage");
    let path = dir.join("image");
    make_image(&path);
    let seed = Random::fresh_seed("damage");
    let (cases, seconds) = if long() { (200_000, 900) } else { (10_000, 25) };
    let image = path.display();
    let mut workers: Vec<_> = (0..2)
        .map(|i| {
            let own = dir.join(&format!("copy-{i}"));
            Worker::spawn("damager", &[&image, &own.display(), &seed, &i, &cases, &seconds])
        })
        .collect();
    let mut done = 0;
    for worker in &mut workers {
        let mut last = String::new();
        loop {
            let line = worker.hear_while(&last);
            match line.strip_prefix("done ") {
                Some(n) => break done += n.parse::<u64>().unwrap(),
                None => last = line,
            }
        }
    }
    workers.into_iter().for_each(Worker::finish);
    println!("{done} cases");
    assert!(done >= 1000, "only {done} cases in {seconds} s");
}

#[track_caller]
fn differ(seed: u64, kinds: &[&str], now: &Answers, before: &Answers) -> ! {
    println!();
    for (name, answer) in &now.found {
        if before.found[name] != *answer {
            eprintln!("`{name}`: {answer:?}");
        }
    }
    if let (Ok(now), Ok(before)) = (&now.objects, &before.objects) {
        now.iter().filter(|object| !before.contains(object)).for_each(|object| eprintln!("{object:?}"));
        before.iter().filter(|object| !now.contains(object)).for_each(|object| eprintln!("lacks {object:?}"));
    }
    eprintln!("{} types, {} before", now.types, before.types);
    panic!("case {seed}, damage to {kinds:?}: other answers, and no error");
}
