//! Types that change: what a program with another declaration is told, and migrations between processes, in races
//! and under kills.

use shmem_core::{Error, Init, NameError, Result, Root, Segment, ShmMutex, ShmSafe, ShmString, ShmVec, init};
use shmem_tests::*;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::Duration;

roles! { swapped, shortened, upgraded, newer, enums_differ, enums_upgraded, migrator, back_and_forth, holder }

/// One account type in the declarations of several programs.
macro_rules! program {
    ($module:ident, $version:literal { $($field:ident: $type:ty),+ }) => {
        mod $module {
            use super::*;
            #[derive(ShmSafe)]
            #[repr(C)]
            #[shm(version = $version)]
            pub struct Account {
                $(pub $field: $type),+
            }
        }
    };
}

program!(v1, 1 { owner: ShmString, balance: u32, notes: ShmVec<ShmString> });
program!(v1_swapped, 1 { balance: u32, owner: ShmString, notes: ShmVec<ShmString> });
program!(v1_shortened, 1 { owner: ShmString, balance: u32 });
program!(v2, 2 { notes: ShmVec<ShmString>, owner: ShmString, cents: u64 });

type Accounts<T> = ShmMutex<ShmVec<T>>;

const LONG: &str = "a text that is too long to stand inline in its string";

fn notes(n: u64) -> Vec<String> {
    (0..n).map(|i| format!("{i}: {LONG}")).collect()
}

fn account(balance: u32) -> impl Init<v1::Account> {
    v1::AccountInit { owner: "Ada", balance, notes: notes(5) }
}

fn up(old: &v1::Account) -> impl Init<v2::Account> + use<> {
    v2::AccountInit {
        notes: old.notes.iter().map(|note| note.to_string()).collect::<Vec<_>>(),
        owner: old.owner.to_string(),
        cents: u64::from(old.balance) * 100,
    }
}

fn down(new: &v2::Account) -> impl Init<v1::Account> + use<> {
    v1::AccountInit {
        owner: new.owner.to_string(),
        balance: (new.cents / 100) as u32,
        notes: new.notes.iter().map(|note| note.to_string()).collect::<Vec<_>>(),
    }
}

#[track_caller]
fn is_whole(owner: &str, found: &[ShmString]) {
    assert_eq!(owner, "Ada");
    assert!(found.iter().map(|note| note.to_string()).eq(notes(5)));
}

fn in_role() -> Segment {
    Segment::shared(&argument::<String>(0)).open().unwrap()
}

#[track_caller]
fn name_error<T>(result: Result<T>) -> NameError {
    match result {
        Err(Error::Name(e)) => *e,
        Err(e) => panic!("{e}"),
        Ok(_) => panic!("no error"),
    }
}

fn swapped() {
    let segment = in_role();
    report(name_error(segment.find::<Accounts<v1_swapped::Account>>("accounts")));
    report(name_error(segment.find::<v1_swapped::Account>("one")));
}

fn shortened() {
    let segment = in_role();
    report(name_error(segment.find::<Accounts<v1_shortened::Account>>("accounts")));
    report(name_error(
        segment.find_or_construct::<v1_shortened::Account>("one", init::with(|_| unreachable!())),
    ));
}

fn upgraded() {
    let segment = in_role();
    let e = name_error(segment.find::<Accounts<v2::Account>>("accounts"));
    assert!(matches!(e, NameError::VersionMismatch { stored_version: 1, expected_version: 2, .. }));
    report(e);
    for _ in 0..2 {
        let accounts =
            segment.migrate_with::<Accounts<v1::Account>, Accounts<v2::Account>>("accounts", |old, slot| {
                let old = old.lock()?;
                slot.fill(ShmMutex::<ShmVec<v2::Account>>::new(init::from_iter(old.iter().map(up))))
            });
        let accounts = accounts.unwrap();
        let guard = accounts.lock().unwrap();
        assert_eq!(guard.iter().map(|account| account.cents).collect::<Vec<_>>(), [0, 100, 200]);
        guard.iter().for_each(|account| is_whole(&account.owner, &account.notes));
    }
    let one = segment.migrate::<v1::Account, v2::Account, _>("one", up).unwrap();
    is_whole(&one.owner, &one.notes);
    sound(&segment);
    report("migrated");
}

/// The older program, after the newer one was there.
fn newer() {
    let segment = in_role();
    report(name_error(segment.find::<Accounts<v1::Account>>("accounts")));
}

#[test]
fn programs_that_disagree_are_told_where() {
    let _watchdog = Watchdog::test("programs");
    let name = TempName::new("programs");
    let segment = name.segment().size(1 << 20).create().unwrap();
    let list = init::from_iter((0..3).map(account));
    segment
        .construct::<Accounts<v1::Account>>("accounts", ShmMutex::<ShmVec<v1::Account>>::new(list))
        .unwrap();
    drop(segment.construct::<v1::Account>("one", account(7)).unwrap());
    let ask = |role: &str| Worker::spawn(role, &[&name]).finish_reports();

    let told = ask("swapped");
    let both = "`ShmMutex<ShmVec<Account>>`, not a `ShmMutex<ShmVec<Account>>`; they differ at ShmMutex[][].balance: \
                stored field `owner: ShmString`, expected field `balance: u32`";
    assert_eq!(told[0], format!("`accounts` holds a {both}"));
    assert_eq!(
        told[1],
        "`one` holds a `Account`, not a `Account`; they differ at Account.balance: stored field `owner: ShmString`, \
         expected field `balance: u32`"
    );
    let told = ask("shortened");
    assert_eq!(
        told[1],
        "`one` holds a `Account`, not a `Account`; they differ at Account.notes: stored field `notes: \
         ShmVec<ShmString>`, expected no such field"
    );
    assert!(told[0].contains("they differ at ShmMutex[][].notes: stored field `notes"), "{}", told[0]);

    let version = "`accounts` holds a `ShmMutex<ShmVec<Account>>` of another version: at ShmMutex[][], the stored `Account` is";
    let told = ask("upgraded");
    assert_eq!(
        told,
        [
            format!(
                "{version} version 1, this program's is version 2; the stored one is older, and `Segment::migrate` \
                 brings it up to date"
            ),
            "migrated".into()
        ]
    );
    assert_eq!(
        ask("newer"),
        [format!(
            "{version} version 2, this program's is version 1; the stored one is newer: this program is the older one"
        )]
    );
    segment.recover();
    sound(&segment);
}

/// One enum in the declarations of several programs.
macro_rules! enum_program {
    ($module:ident, $version:literal { $($variant:tt)+ }) => {
        mod $module {
            use super::*;
            #[allow(dead_code)]
            #[derive(ShmSafe)]
            #[repr(u8)]
            #[shm(version = $version)]
            pub enum Event { $($variant)+ }
        }
    };
}

enum_program!(event, 0 { Quit, Text(ShmString), Trade { price: f64, quantity: u32 } });
enum_program!(event_payload, 0 { Quit, Text(ShmString), Trade { price: f64, quantity: u64 } });
enum_program!(event_swapped, 0 { Quit, Text(ShmString), Trade { quantity: u32, price: f64 } });
enum_program!(event_missing, 0 { Quit, Text(ShmString) });
enum_program!(event_order, 0 { Text(ShmString), Quit, Trade { price: f64, quantity: u32 } });
enum_program!(event_tag, 0 { Quit, Text(ShmString) = 4, Trade { price: f64, quantity: u32 } });
enum_program!(event_next, 1 { Quit, Text { text: ShmString, urgent: bool }, Trade { price: f64, quantity: u64 } });

type Events<T> = ShmMutex<ShmVec<T>>;

fn enums_differ() {
    let segment = in_role();
    report(name_error(segment.find::<Events<event_payload::Event>>("events")));
    report(name_error(segment.find::<Events<event_swapped::Event>>("events")));
    report(name_error(segment.find::<Events<event_missing::Event>>("events")));
    report(name_error(segment.find::<Events<event_order::Event>>("events")));
    report(name_error(segment.find::<Events<event_tag::Event>>("events")));
    report(name_error(segment.find::<Events<event_next::Event>>("events")));
}

/// What the events of the older program become.
fn next(old: &event::Event) -> impl Init<event_next::Event> + '_ {
    init::with(move |slot| match old {
        event::Event::Quit => slot.fill(event_next::Event::init_quit()),
        event::Event::Text(text) => slot.fill(event_next::EventTextInit { text, urgent: false }),
        event::Event::Trade { price, quantity } => {
            slot.fill(event_next::EventTradeInit { price: *price, quantity: u64::from(*quantity) })
        }
    })
}

fn enums_upgraded() {
    let segment = in_role();
    let events =
        segment.migrate_with::<Events<event::Event>, Events<event_next::Event>>("events", |old, slot| {
            let old = old.lock()?;
            slot.fill(ShmMutex::<ShmVec<event_next::Event>>::new(init::from_iter(old.iter().map(next))))
        });
    let events = events.unwrap();
    let guard = events.lock().unwrap();
    use event_next::Event;
    assert!(matches!(&guard[0], Event::Quit));
    assert!(matches!(&guard[1], Event::Text { text, urgent: false } if text == LONG));
    assert!(matches!(&guard[2], Event::Trade { price: 1.5, quantity: 7 }));
    report("migrated");
}

#[test]
fn programs_whose_enums_disagree_are_told_where() {
    let _watchdog = Watchdog::test("enums");
    let name = TempName::new("enums");
    let segment = name.segment().size(1 << 20).create().unwrap();
    let events = segment.construct::<Events<event::Event>>("events", ShmMutex::new(ShmVec::new())).unwrap();
    {
        let mut guard = events.lock().unwrap();
        let mut view = guard.view();
        view.push(event::Event::init_quit()).unwrap();
        view.push(event::EventTextInit(LONG)).unwrap();
        view.push(event::EventTradeInit { price: 1.5, quantity: 7 }).unwrap();
    }
    drop(events);
    let ask = |role: &str| Worker::spawn(role, &[&name]).finish_reports();
    let told: Vec<_> = ask("enums_differ")
        .into_iter()
        .map(|told| match told.split_once("they differ at ShmMutex[][]") {
            Some((_, place)) => place.to_owned(),
            None => told,
        })
        .collect();
    assert_eq!(
        told,
        [
            "::Trade.quantity: stored u32, expected u64",
            "::Trade.quantity: stored field `price: f64`, expected field `quantity: u32`",
            "::Trade: stored variant `Trade` = 2, expected no such variant",
            "::Text: stored variant `Quit` = 0, expected variant `Text` = 0",
            "::Text: stored variant `Text` = 1, expected variant `Text` = 4",
            "`events` holds a `ShmMutex<ShmVec<Event>>` of another version: at ShmMutex[][], the stored `Event` is version 0, \
             this program's is version 1; the stored one is older, and `Segment::migrate` brings it up to date",
        ]
    );
    assert_eq!(ask("enums_upgraded"), ["migrated"]);
    assert!(matches!(
        name_error(segment.find::<Events<event::Event>>("events")),
        NameError::VersionMismatch { stored_version: 1, expected_version: 0, .. }
    ));
    segment.recover();
    sound(&segment);
}

fn holder() {
    let segment = in_role();
    let held = segment.find::<v1::Account>("one").unwrap().unwrap();
    report("holding");
    hear();
    is_whole(&held.owner, &held.notes);
    drop(held);
    report("let go");
    hear();
}

#[test]
fn a_holder_is_in_the_way_until_it_lets_go_or_dies() {
    let _watchdog = Watchdog::test("holder");
    let name = TempName::new("holder");
    let segment = name.segment().size(1 << 20).create().unwrap();
    let migrate = || segment.migrate::<v1::Account, v2::Account, _>("one", up);
    for dies in [false, true] {
        drop(segment.construct::<v1::Account>("one", account(7)).unwrap());
        let mut worker = Worker::spawn("holder", &[&name]);
        worker.expect("holding");
        for _ in 0..3 {
            let e = name_error(migrate());
            assert!(matches!(&e, NameError::InUse { name, holders: 1 } if name == "one"), "{e}");
        }
        if dies {
            worker.kill();
        } else {
            worker.tell("let go");
            worker.expect("let go");
        }
        let new = migrate().unwrap();
        assert_eq!(new.cents, 700);
        is_whole(&new.owner, &new.notes);
        drop(new);
        worker.kill();
        assert!(segment.destroy::<v2::Account>("one").unwrap());
        segment.recover();
        sound(&segment);
    }
}

const RACERS: u64 = 8;
const ROUNDS: usize = 100;

fn counts(segment: &Segment, what: &str) -> Root<[AtomicU64]> {
    segment.find_or_construct_slice::<AtomicU64, _>(what, ROUNDS, |_| AtomicU64::new(0)).unwrap()
}

fn meet(place: &AtomicU64) {
    place.fetch_add(1, SeqCst);
    eventually("every racer is there", || place.load(SeqCst) >= RACERS);
}

fn migrator() {
    let segment = in_role();
    let [start, converted, end] = ["start", "converted", "end"].map(|what| counts(&segment, what));
    for round in 0..ROUNDS {
        let name = format!("raced {round}");
        meet(&start[round]);
        let new = segment.migrate::<v1::Account, v2::Account, _>(&name, |old| {
            converted[round].fetch_add(1, SeqCst);
            up(old)
        });
        let new = new.unwrap();
        assert_eq!(new.cents, round as u64 * 100);
        is_whole(&new.owner, &new.notes);
        drop(new);
        meet(&end[round]);
    }
}

#[test]
fn one_process_converts_in_every_round() {
    let _watchdog = Watchdog::test("migration race");
    let name = TempName::new("migration-race");
    let segment = name.segment().size(4 << 20).create().unwrap();
    // What types, names and entries take.
    drop(segment.construct::<v1::Account>("warm", account(0)).unwrap());
    drop(segment.migrate::<v1::Account, v2::Account, _>("warm", up).unwrap());
    for round in 0..ROUNDS {
        drop(segment.construct::<v1::Account>(&format!("raced {round}"), account(round as u32)).unwrap());
    }
    let workers: Vec<_> = (0..RACERS).map(|_| Worker::spawn("migrator", &[&name])).collect();
    workers.into_iter().for_each(Worker::finish);
    let converted = counts(&segment, "converted");
    assert!(converted.iter().all(|n| n.load(SeqCst) == 1), "{converted:?}");
    segment.recover();
    for round in 0..ROUNDS {
        let name = format!("raced {round}");
        let new = segment.find::<v2::Account>(&name).unwrap().unwrap();
        is_whole(&new.owner, &new.notes);
        drop(new);
        assert!(segment.destroy::<v2::Account>(&name).unwrap());
    }
    assert_eq!(segment.object_count(), 4, "the warm one and three tallies");
    sound(&segment);
}

/// Migrates there and back for ever, counting what it converts.
fn back_and_forth() {
    let segment = in_role();
    let moves = Segment::shared(&argument::<String>(1)).size(64 << 10).open_or_create().unwrap();
    let moves = moves.find_or_construct::<AtomicU64>("moves", AtomicU64::new(0)).unwrap();
    let passes = |result: Result<()>| match result {
        Ok(()) => {}
        // The test looks at it, or another worker has it for a moment before it migrates on.
        Err(Error::Name(e)) if matches!(*e, NameError::InUse { .. }) => {}
        Err(e) => panic!("{e}"),
    };
    report("running");
    loop {
        let counted = |old: &v1::Account| {
            moves.fetch_add(1, SeqCst);
            up(old)
        };
        // Whichever it is: the one direction finds nothing to do.
        passes(segment.migrate::<v1::Account, v2::Account, _>("one", counted).map(drop));
        passes(segment.migrate::<v2::Account, v1::Account, _>("one", down).map(drop));
    }
}

/// Which version the name holds, whole.
#[track_caller]
fn version(segment: &Segment) -> u32 {
    match segment.find::<v1::Account>("one") {
        Ok(old) => {
            let old = old.expect("never none");
            assert_eq!(old.balance, 7);
            is_whole(&old.owner, &old.notes);
            assert!(matches!(
                name_error(segment.find::<v2::Account>("one")),
                NameError::VersionMismatch { .. }
            ));
            1
        }
        Err(Error::Name(e)) if matches!(*e, NameError::VersionMismatch { .. }) => {
            let new = segment.find::<v2::Account>("one").unwrap().expect("never none");
            assert_eq!(new.cents, 700);
            is_whole(&new.owner, &new.notes);
            2
        }
        Err(e) => panic!("{e}"),
    }
}

fn one_object(segment: &Segment) {
    let objects = segment.objects().unwrap();
    assert!(objects.len() == 1 && segment.object_count() == 1, "{objects:?}");
    assert_eq!((&*objects[0].name, objects[0].holders), ("one", 0));
}

#[test]
fn a_kill_anywhere_leaves_one_of_both() {
    let kills: u64 = if long() { 3000 } else { 320 };
    let _watchdog = Watchdog::test("killed migrators");
    let (name, control) = (TempName::new("killed-migrator"), TempName::new("killed-moves"));
    let segment = name.segment().size(8 << 20).create().unwrap();
    let both_ways = || {
        drop(segment.migrate::<v1::Account, v2::Account, _>("one", up).unwrap());
        drop(segment.migrate::<v2::Account, v1::Account, _>("one", down).unwrap());
    };
    drop(segment.construct::<v1::Account>("one", account(7)).unwrap());
    both_ways();
    let used = segment.used();
    both_ways();
    assert_eq!(segment.used(), used);
    assert!(segment.destroy::<v1::Account>("one").unwrap());
    // What a kill may cost: what a half-built value owned, and the rest of a half-dropped one.
    let each = 2 * (used - segment.used());
    drop(segment.construct::<v1::Account>("one", account(7)).unwrap());

    let mut random = Random::new(Random::fresh_seed("migrations"));
    let mut seen = [0; 2];
    for kill in 0..kills {
        let mut worker = Worker::spawn("back_and_forth", &[&name, &control]);
        worker.expect("running");
        std::thread::sleep(Duration::from_micros(random.below(3000)));
        worker.kill();
        // Whoever comes first may recover by itself, or be told to.
        if kill % 2 == 0 {
            segment.recover();
        }
        seen[version(&segment) as usize - 1] += 1;
        segment.recover();
        one_object(&segment);
        sound(&segment);
        version(&segment);
        assert!(segment.used() <= used + (kill + 1) * each, "kill {kill}: {} bytes", segment.used());
    }
    assert!(seen.iter().all(|n| *n > 0), "{seen:?}");
    both_ways();
    version(&segment);
    one_object(&segment);
    sound(&segment);
    println!("{seen:?}; {} bytes leaked in {kills} kills", segment.used() - used);
}

#[test]
fn the_others_go_on_when_one_is_killed() {
    let _watchdog = Watchdog::test("killed among others");
    let (name, control) = (TempName::new("killed-among"), TempName::new("moves-among"));
    let segment = name.segment().size(8 << 20).create().unwrap();
    drop(segment.construct::<v1::Account>("one", account(7)).unwrap());
    let moves = control.segment().size(64 << 10).create().unwrap();
    let moves = moves.construct::<AtomicU64>("moves", AtomicU64::new(0)).unwrap();
    let spawn = || {
        let mut worker = Worker::spawn("back_and_forth", &[&name, &control]);
        worker.expect("running");
        worker
    };
    let mut random = Random::new(Random::fresh_seed("migrations among others"));
    let mut stays = spawn();
    for _ in 0..if long() { 1000 } else { 100 } {
        let mut worker = spawn();
        std::thread::sleep(Duration::from_micros(random.below(3000)));
        std::thread::scope(|scope| {
            scope.spawn(|| (0..20).for_each(|_| version_or_moving(&segment)));
            worker.kill();
        });
        let before = moves.load(SeqCst);
        eventually("the other one migrates", || moves.load(SeqCst) > before + 2);
        sound(&segment);
    }
    stays.kill();
    segment.recover();
    version(&segment);
    one_object(&segment);
    sound(&segment);
}

/// Looks the name up in both versions; between two look-ups it may have gone from one to the other.
fn version_or_moving(segment: &Segment) {
    let is_there = |found: Result<bool>| match found {
        Ok(there) => assert!(there, "never none"),
        Err(Error::Name(e)) if matches!(*e, NameError::VersionMismatch { .. }) => {}
        Err(e) => panic!("{e}"),
    };
    is_there(segment.find::<v1::Account>("one").map(|one| one.is_some()));
    is_there(segment.find::<v2::Account>("one").map(|one| one.is_some()));
}
