//! Groups of roots (`#[derive(ShmRoots)]`): one process, several that open one group at once, and one that dies.

use shmem_core::{
    AllocError, Error, Init, MAX_OBJECT_NAME, NameError, Result, Root, Segment, ShmHashMap, ShmMutex,
    ShmRoots, ShmSafe, ShmString, ShmVec, init,
};
use shmem_tests::*;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};

roles! { opener, dying }

const LONG: &str = "a text that is too long to stand inline";

#[derive(ShmSafe)]
#[repr(C)]
struct Config {
    name: ShmString,
    threads: u64,
}

#[derive(ShmRoots)]
struct Roots {
    accounts: Root<ShmMutex<ShmHashMap<u64, ShmString>>>,
    #[shm(name = "hits", init = AtomicU64::new(7))]
    counter: Root<AtomicU64>,
    #[shm(len = 16)]
    shards: Root<[ShmMutex<ShmVec<u64>>]>,
    #[shm(len = 3, init = |i| format!("{LONG} {i}"))]
    texts: Root<[ShmString]>,
    #[shm(unique, init = ConfigInit { name: LONG, threads: 4 })]
    config: Root<Config>,
    notes: Option<Root<ShmVec<u64>>>,
    #[shm(name = "more notes")]
    more: Option<Root<[u32]>>,
}

fn segment() -> Segment {
    Segment::anonymous().size(1 << 20).create().unwrap()
}

/// Makes the types of the roots known, which takes memory for good; gives what is in use.
fn warm_up<T>(
    segment: &Segment,
    create: fn(&Segment) -> Result<T>,
    destroy: fn(&Segment) -> Result<usize>,
) -> u64 {
    drop(create(segment).unwrap());
    assert!(destroy(segment).unwrap() > 0);
    assert_eq!(segment.object_count(), 0);
    segment.used()
}

#[track_caller]
fn name_error<T>(result: Result<T>) -> NameError {
    match result.map(drop) {
        Err(Error::Name(e)) => *e,
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_is_opened_is_what_was_created() {
    let segment = segment();
    let roots = Roots::open_or_create(&segment).unwrap();
    assert!(roots.accounts.lock().unwrap().is_empty());
    assert_eq!(roots.counter.fetch_add(1, Ordering::Relaxed), 7);
    assert!(roots.shards.len() == 16 && roots.shards.iter().all(|shard| shard.lock().unwrap().is_empty()));
    assert!(roots.texts.iter().enumerate().all(|(i, text)| *text == format!("{LONG} {i}")));
    assert_eq!((&*roots.config.name, roots.config.threads), (LONG, 4));
    assert!(roots.notes.is_none() && roots.more.is_none());
    roots.accounts.lock().unwrap().view().insert(1, LONG).unwrap();
    // By hand, under the same names.
    assert_eq!(segment.find::<AtomicU64>("hits").unwrap().unwrap().offset(), roots.counter.offset());
    assert_eq!(segment.find_unique::<Config>().unwrap().unwrap().offset(), roots.config.offset());
    assert_eq!(Roots::NAMES, ["accounts", "hits", "shards", "texts", "notes", "more notes"]);
    // Again, either way: nothing is initialised twice.
    for again in [Roots::open(&segment).unwrap(), Roots::open_or_create(&segment).unwrap()] {
        assert_eq!(again.counter.load(Ordering::Relaxed), 8);
        assert_eq!(again.accounts.lock().unwrap()[&1], *LONG);
        assert_eq!(again.shards.offset(), roots.shards.offset());
    }
    assert_eq!(segment.object_count(), 5);
    sound(&segment);
}

#[test]
fn an_optional_root_is_found_if_it_is_there() {
    let segment = segment();
    segment.construct::<ShmVec<u64>>("notes", [1, 2]).unwrap();
    let roots = Roots::create(&segment).unwrap();
    assert_eq!(roots.notes.as_deref().map(|notes| &notes[..]), Some(&[1, 2][..]));
    assert!(roots.more.is_none());
    segment.construct_slice::<u32, _>("more notes", 5, |i| i as u32).unwrap();
    for again in [Roots::open(&segment).unwrap(), Roots::open_or_create(&segment).unwrap()] {
        assert_eq!(again.more.as_deref(), Some(&[0, 1, 2, 3, 4][..]));
    }
    // It is destroyed with the others.
    assert_eq!(Roots::destroy(&segment).unwrap(), 7);
    assert_eq!(segment.object_count(), 0);
    sound(&segment);
}

#[test]
fn what_is_not_there_is_named() {
    let segment = segment();
    let missing = |name: &str| match name_error(Roots::open(&segment)) {
        NameError::NotFound { name: missing } => assert!(missing.ends_with(name), "{missing}"),
        other => panic!("{other}"),
    };
    missing("accounts");
    Roots::create(&segment).unwrap();
    assert!(segment.destroy::<AtomicU64>("hits").unwrap());
    missing("hits");
    assert!(segment.destroy::<ShmMutex<ShmVec<u64>>>("shards").unwrap());
    missing("hits");
    segment.construct::<AtomicU64>("hits", AtomicU64::new(0)).unwrap();
    missing("shards");
    Roots::open_or_create(&segment).unwrap();
    assert!(segment.destroy_unique::<Config>().unwrap());
    missing("::Config");
    assert_eq!(segment.object_count(), 4, "`open` makes nothing");
}

#[test]
fn what_is_there_already_is_named() {
    let segment = segment();
    segment.construct::<u8>("accounts", 1).unwrap();
    segment.destroy::<u8>("accounts").unwrap();
    let used = warm_up(&segment, Roots::create, Roots::destroy);
    let there = |name: &str| match name_error(Roots::create(&segment)) {
        NameError::AlreadyExists { name: there } => assert!(there.ends_with(name), "{there}"),
        other => panic!("{other}"),
    };
    segment.construct_unique::<Config>(ConfigInit { name: "other", threads: 1 }).unwrap();
    there("::Config");
    assert_eq!(segment.object_count(), 1, "those before it are gone again");
    segment.construct_slice::<ShmString, _>("texts", 9, |_| "other").unwrap();
    there("texts");
    segment.construct::<u8>("accounts", 1).unwrap();
    there("accounts");
    assert_eq!(segment.object_count(), 3);
    assert_eq!(&*segment.find_unique::<Config>().unwrap().unwrap().name, "other");
    segment.destroy_unique::<Config>().unwrap();
    segment.destroy::<ShmString>("texts").unwrap();
    segment.destroy::<u8>("accounts").unwrap();
    assert_eq!(segment.used(), used);
    Roots::create(&segment).unwrap();
    sound(&segment);
}

#[test]
fn another_type_or_length_names_the_root() {
    let segment = segment();
    segment.construct::<u64>("hits", 1).unwrap();
    let other_type = |result| match name_error::<Roots>(result) {
        NameError::TypeMismatch { name, stored, expected, .. } => {
            assert_eq!((&*name, &*stored, &*expected), ("hits", "u64", "AtomicU64"));
        }
        other => panic!("{other}"),
    };
    other_type(Roots::open_or_create(&segment));
    assert_eq!(segment.object_count(), 2, "what stands before it stays");
    other_type(Roots::open(&segment));
    assert!(
        matches!(name_error(Roots::destroy(&segment)), NameError::TypeMismatch { name, .. } if name == "hits")
    );
    segment.destroy::<u64>("hits").unwrap();

    segment
        .construct_slice::<ShmMutex<ShmVec<u64>>, _>("shards", 15, |_| ShmMutex::new(ShmVec::new()))
        .unwrap();
    let other_length = |result| match name_error::<Roots>(result) {
        NameError::CountMismatch { name, stored, expected } => {
            assert_eq!((&*name, &*stored, &*expected), ("shards", "a slice of 15", "a slice of 16"));
        }
        other => panic!("{other}"),
    };
    other_length(Roots::open_or_create(&segment));
    other_length(Roots::open(&segment));
    segment.destroy::<ShmMutex<ShmVec<u64>>>("shards").unwrap();
    segment.construct::<ShmMutex<u64>>("notes", ShmMutex::new(1)).unwrap();
    assert!(
        matches!(name_error(Roots::open_or_create(&segment)), NameError::TypeMismatch { name, .. } if name == "notes")
    );
    sound(&segment);
}

#[test]
fn destroying_counts_what_was_there() {
    let segment = segment();
    let used = warm_up(&segment, Roots::create, Roots::destroy);
    assert_eq!(Roots::destroy(&segment).unwrap(), 0);
    let roots = Roots::create(&segment).unwrap();
    segment.destroy::<AtomicU64>("hits").unwrap();
    assert_eq!(Roots::destroy(&segment).unwrap(), 4);
    assert_eq!(segment.object_count(), 0);
    // The names are gone, the objects held.
    assert!(segment.used() > used);
    assert_eq!(&*roots.texts[2], &*format!("{LONG} 2"));
    let next = Roots::create(&segment).unwrap();
    assert_ne!(next.texts.offset(), roots.texts.offset());
    drop((roots, next));
    assert_eq!(Roots::destroy(&segment).unwrap(), 5);
    assert_eq!(segment.used(), used);
    sound(&segment);
}

/// What the initialiser of [`Fragile::last`] does.
#[derive(Clone, Copy)]
enum Fate {
    Succeed,
    Fail,
    Panic,
    /// Replaces the first root by another of its name, and fails.
    Replace,
}

thread_local! {
    static FATE: Cell<Fate> = const { Cell::new(Fate::Succeed) };
    static HERE: Cell<Option<Segment>> = const { Cell::new(None) };
}

fn fateful() -> impl Init<ShmString> {
    init::with(|slot| {
        match FATE.get() {
            Fate::Succeed => {}
            Fate::Fail => return Err(Error::init("no")),
            Fate::Panic => panic!("no"),
            Fate::Replace => {
                let segment = HERE.take().unwrap();
                assert!(segment.destroy::<ShmVec<u64>>("f/first").unwrap());
                segment.construct::<ShmVec<u64>>("f/first", [7]).unwrap();
                return Err(Error::init("no"));
            }
        }
        slot.fill(LONG)
    })
}

#[derive(ShmRoots)]
#[shm(prefix = "f/")]
struct Fragile {
    #[shm(init = [1, 2, 3])]
    first: Root<ShmVec<u64>>,
    #[shm(unique, init = ConfigInit { name: LONG, threads: 0 })]
    config: Root<Config>,
    #[shm(len = 2, init = |_| LONG)]
    texts: Root<[ShmString]>,
    #[shm(init = fateful())]
    last: Root<ShmString>,
}

#[test]
fn what_was_created_before_a_failure_is_destroyed_again() {
    let segment = segment();
    let used = warm_up(&segment, Fragile::create, Fragile::destroy);
    FATE.set(Fate::Fail);
    assert!(matches!(Fragile::create(&segment).map(drop), Err(Error::Init(_))));
    assert_eq!((segment.object_count(), segment.used()), (0, used));
    FATE.set(Fate::Panic);
    assert!(catch_unwind(AssertUnwindSafe(|| Fragile::create(&segment).map(drop))).is_err());
    assert_eq!((segment.object_count(), segment.used()), (0, used));
    FATE.set(Fate::Succeed);
    let roots = Fragile::create(&segment).unwrap();
    assert_eq!((roots.first.len(), roots.config.threads, roots.texts.len(), &**roots.last), (3, 0, 2, LONG));
    assert_eq!(segment.object_count(), 4, "nothing is taken back after a success");
    sound(&segment);
}

#[test]
fn what_somebody_else_made_meanwhile_is_left_alone() {
    let segment = segment();
    warm_up(&segment, Fragile::create, Fragile::destroy);
    FATE.set(Fate::Replace);
    HERE.set(Some(segment.clone()));
    assert!(matches!(Fragile::create(&segment).map(drop), Err(Error::Init(_))));
    assert_eq!(segment.find::<ShmVec<u64>>("f/first").unwrap().unwrap()[..], [7]);
    assert_eq!(segment.object_count(), 1);
    sound(&segment);
}

#[test]
fn what_was_constructed_before_a_failure_is_found_the_next_time() {
    let segment = segment();
    FATE.set(Fate::Fail);
    assert!(matches!(Fragile::open_or_create(&segment).map(drop), Err(Error::Init(_))));
    assert_eq!(segment.object_count(), 3);
    let first = segment.find::<ShmVec<u64>>("f/first").unwrap().unwrap();
    FATE.set(Fate::Succeed);
    let roots = Fragile::open_or_create(&segment).unwrap();
    assert_eq!((roots.first.offset(), segment.object_count()), (first.offset(), 4));
    // What is found is not initialised: neither fails nor panics.
    FATE.set(Fate::Panic);
    Fragile::open(&segment).unwrap();
    Fragile::open_or_create(&segment).unwrap();
    sound(&segment);
}

#[derive(ShmRoots)]
struct Large {
    #[shm(len = 4)]
    small: Root<[u64]>,
    large: Root<[u8; 100 << 20]>,
}

#[test]
fn a_group_that_does_not_fit_leaves_nothing() {
    let segment = segment();
    assert!(matches!(
        Large::create(&segment).map(|roots| roots.small.len() + roots.large.len()),
        Err(Error::Alloc(AllocError::OutOfMemory { wanted_bytes, .. })) if wanted_bytes >= 100 << 20
    ));
    assert_eq!(segment.object_count(), 0);
    sound(&segment);
}

/// How many roots this process has built.
static BUILT: AtomicU64 = AtomicU64::new(0);

/// Builds slowly enough for others to come.
fn counted<T: ShmSafe>(init: impl Init<T>) -> impl Init<T> {
    init::with(move |slot| {
        BUILT.fetch_add(1, Ordering::Relaxed);
        std::thread::sleep(std::time::Duration::from_micros(200));
        slot.fill(init)
    })
}

fn own_id() -> AtomicU64 {
    AtomicU64::new(std::process::id().into())
}

#[derive(ShmRoots)]
struct Contested {
    #[shm(init = counted(own_id()))]
    one: Root<AtomicU64>,
    #[shm(len = 3, init = |_| counted(ShmMutex::new(ShmVec::new())))]
    list: Root<[ShmMutex<ShmVec<u64>>]>,
    #[shm(unique, init = counted(ConfigInit { name: LONG, threads: u64::from(std::process::id()) }))]
    config: Root<Config>,
    #[shm(init = counted(own_id()))]
    two: Root<AtomicU64>,
    optional: Option<Root<u64>>,
}

const ROUNDS: u64 = 50;

fn opener() {
    let segment = Segment::shared(&argument::<String>(0)).open().unwrap();
    report("ready");
    while let Some(go) = hear().filter(|line| line == "go") {
        BUILT.store(0, Ordering::Relaxed);
        let roots = Contested::open_or_create(&segment).unwrap();
        assert!(roots.optional.is_none());
        roots.list[1].lock().unwrap().view().push(1).unwrap();
        let seen = [&*roots.one, &*roots.two].map(|root| root.load(Ordering::Relaxed));
        drop(go);
        report(format!("{} {} {} {}", BUILT.load(Ordering::Relaxed), seen[0], seen[1], roots.config.threads));
    }
}

#[test]
fn each_root_is_built_by_one_of_the_processes_that_open_the_group_at_once() {
    let _watchdog = Watchdog::test("contested roots");
    let name = TempName::new("contested");
    let segment = name.segment().size(1 << 20).create().unwrap();
    let used = warm_up(&segment, Contested::create, Contested::destroy);
    let mut workers: Vec<_> = (0..4).map(|_| Worker::spawn("opener", &[&name])).collect();
    workers.iter_mut().for_each(|worker| worker.expect("ready"));
    for round in 0..ROUNDS {
        workers.iter_mut().for_each(|worker| worker.tell("go"));
        let mut built = 0;
        let mut seen = Vec::new();
        for worker in &mut workers {
            let line = worker.hear();
            let numbers: Vec<u64> = line.split(' ').map(|number| number.parse().unwrap()).collect();
            built += numbers[0];
            seen.push(numbers[1..].to_vec());
        }
        assert_eq!(built, 6, "round {round}: one, two, config and three of the list");
        assert!(seen.iter().all(|numbers| *numbers == seen[0]), "round {round}: {seen:?}");
        assert!(
            seen[0].iter().all(|id| workers.iter().any(|worker| u64::from(worker.pid()) == *id)),
            "{seen:?}"
        );
        let roots = Contested::open(&segment).unwrap();
        assert_eq!(roots.list[1].lock().unwrap()[..], [1; 4], "round {round}: all have the same");
        drop(roots);
        assert_eq!(Contested::destroy(&segment).unwrap(), 4);
    }
    workers.into_iter().for_each(Worker::finish);
    assert_eq!((segment.object_count(), segment.used()), (0, used));
    sound(&segment);
}

/// Reports, and waits to be killed.
fn fatal() -> impl Init<u64> {
    init::with(|slot| {
        if arguments().len() > 1 {
            report("half-way");
            hear();
        }
        slot.fill(1)
    })
}

#[derive(ShmRoots)]
struct Dying {
    #[shm(init = [LONG])]
    first: Root<ShmVec<ShmString>>,
    #[shm(init = fatal())]
    second: Root<u64>,
    third: Root<ShmString>,
}

fn dying() {
    let segment = Segment::shared(&argument::<String>(0)).open().unwrap();
    let _ = match &*argument::<String>(1) {
        "create" => Dying::create(&segment),
        _ => Dying::open_or_create(&segment),
    };
    unreachable!("the test kills this process");
}

#[test]
fn a_death_half_way_leaves_what_was_whole() {
    let _watchdog = Watchdog::test("death half-way");
    for how in ["create", "open_or_create"] {
        let name = TempName::new("dying");
        let segment = name.segment().size(1 << 20).create().unwrap();
        let mut worker = Worker::spawn("dying", &[&name, &how]);
        worker.expect("half-way");
        assert!(
            matches!(name_error(Dying::open(&segment)), NameError::NotFound { name } if name == "second")
        );
        worker.kill();
        let there = name_error(Dying::create(&segment));
        assert!(matches!(there, NameError::AlreadyExists { name } if name == "first"), "{how}");
        let roots = Dying::open_or_create(&segment).unwrap();
        assert_eq!((&*roots.first[0], *roots.second, &**roots.third), (LONG, 1, ""), "{how}");
        assert_eq!(Dying::destroy(&segment).unwrap(), 3);
        sound(&segment);
    }
}

#[test]
fn groups_may_share_roots() {
    #[derive(ShmRoots)]
    struct One {
        shared: Root<u64>,
    }
    #[derive(ShmRoots)]
    struct Other {
        #[shm(name = "shared", init = 9)]
        number: Root<u64>,
        own: Root<u64>,
    }
    // One value counts as a slice of one, as for `Segment::find_slice`.
    #[derive(ShmRoots)]
    struct Slice {
        #[shm(len = 1)]
        shared: Root<[u64]>,
    }
    let segment = segment();
    let one = One::create(&segment).unwrap();
    let other = Other::open_or_create(&segment).unwrap();
    assert_eq!((*other.number, other.number.offset()), (0, one.shared.offset()));
    assert_eq!(Slice::open(&segment).unwrap().shared.offset(), one.shared.offset());
    assert_eq!(One::destroy(&segment).unwrap(), 1);
    assert_eq!(Other::destroy(&segment).unwrap(), 1);
    assert_eq!(*other.own, 0);
}

/// The derive knows the directory's limit.
#[test]
fn a_name_may_have_1024_bytes() {
    #[derive(ShmRoots)]
    #[shm(
        prefix = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\
              aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\
              aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\
              aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\
              aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\
              aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\
              aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\
              aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\
              aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\
              aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
    )]
    struct Longest {
        last: Root<u64>,
    }
    assert_eq!((MAX_OBJECT_NAME, Longest::NAMES[0].len()), (1024, 1024));
    let segment = segment();
    assert_eq!(*Longest::create(&segment).unwrap().last, 0);
    assert_eq!(*segment.find::<u64>(Longest::NAMES[0]).unwrap().unwrap(), 0);
}
