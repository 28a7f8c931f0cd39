//! Migrations in one process: every outcome, races of threads, deaths behind each step, memory that runs out.

use super::directory::test_support::{converted_by, is_moving};
use super::directory::{Step, at};
use super::tests::{Account, segment, sound, unique};
use super::*;
use crate::error::{Error, NameError, Result};
use crate::layout::init;
use crate::sync::ShmMutex;
use crate::{Init, RemoveOnDrop, ShmDrop, ShmSafe, ShmString, ShmVec};
use std::alloc::Layout;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

mod v1 {
    use super::*;
    #[derive(ShmSafe)]
    #[repr(C)]
    #[shm(version = 1)]
    pub(super) struct Notes {
        pub id: u32,
        pub notes: ShmVec<ShmString>,
    }

    #[derive(ShmSafe, Clone, Copy)]
    #[repr(C)]
    #[shm(version = 1)]
    pub(super) struct Plain {
        pub id: u32,
    }
}

mod v2 {
    use super::*;
    #[derive(ShmSafe)]
    #[repr(C)]
    #[shm(version = 2)]
    pub(super) struct Notes {
        pub notes: ShmVec<ShmString>,
        pub wide_id: u64,
    }

    #[derive(ShmSafe, Clone, Copy)]
    #[repr(C)]
    #[shm(version = 2)]
    pub(super) struct Plain {
        pub wide_id: u64,
    }
}

const LONG: &str = "a text that is too long to stand inline in its string";

fn texts(n: usize) -> Vec<String> {
    (0..n).map(|i| format!("{i}: {LONG}")).collect()
}

fn old(id: u32) -> v1::NotesInit<u32, Vec<String>> {
    v1::NotesInit { id, notes: texts(5) }
}

fn up(old: &v1::Notes) -> impl Init<v2::Notes> + use<> {
    let notes: Vec<String> = old.notes.iter().map(|note| note.to_string()).collect();
    v2::NotesInit { notes, wide_id: u64::from(old.id) }
}

fn down(new: &v2::Notes) -> impl Init<v1::Notes> + use<> {
    let notes: Vec<String> = new.notes.iter().map(|note| note.to_string()).collect();
    v1::NotesInit { id: new.wide_id as u32, notes }
}

/// Panics, but quietly: a fork of another test while a message is being written would keep the lock on that for ever.
pub(super) fn give_up() -> ! {
    std::panic::resume_unwind(Box::new(()))
}

#[track_caller]
fn is_new(notes: &v2::Notes, id: u64) {
    assert_eq!(notes.wide_id, id);
    assert_eq!(notes.notes.iter().map(|note| note.to_string()).collect::<Vec<_>>(), texts(5));
}

#[track_caller]
pub(super) fn name_error<T>(result: Result<T>) -> NameError {
    match result {
        Err(Error::Name(e)) => *e,
        Err(e) => panic!("{e}"),
        Ok(_) => panic!("no error"),
    }
}

/// Migrates, also while a child that another test forks holds what this one held at that time.
fn patiently<T: Object + ?Sized>(migrate: impl Fn() -> Result<Root<T>>) -> Root<T> {
    for _ in 0..500 {
        match migrate() {
            Err(Error::Name(e)) if matches!(*e, NameError::InUse { .. }) => {}
            result => return result.unwrap_or_else(|e| panic!("{e}")),
        }
    }
    panic!("it is held for ever");
}

/// Runs `body` in a process in which no other test is running, since it forks.
fn alone(test: &str, body: impl FnOnce()) {
    alone_in(module_path!(), test, body);
}

/// As [`alone`], for a test of this module.
pub(super) fn alone_in(module: &str, test: &str, body: impl FnOnce()) {
    const ALONE: &str = "SHMEM_UNIT_ALONE";
    if std::env::var(ALONE).is_ok_and(|alone| alone == test) {
        return body();
    }
    let path = format!("{}::{test}", module.split_once("::").unwrap().1);
    let mut command = std::process::Command::new(std::env::current_exe().unwrap());
    let output = command.args([&*path, "--exact", "--test-threads=1"]).env(ALONE, test).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
}

/// A segment that knows both types, so that what is in use then depends on its objects only.
fn prepared() -> Segment {
    let s = segment();
    drop(s.construct::<v1::Notes>("warm", old(0)).unwrap());
    drop(patiently(|| s.migrate::<v1::Notes, v2::Notes, _>("warm", up)));
    s.destroy::<v2::Notes>("warm").unwrap();
    s
}

#[test]
fn another_version_is_told_apart() {
    let s = segment();
    s.construct::<v1::Notes>("notes", old(7)).unwrap();
    let e = name_error(s.find::<v2::Notes>("notes"));
    assert!(
        matches!(&e, NameError::VersionMismatch { name, stored, path, type_name, stored_version: 1, expected_version: 2 }
            if [name, stored, path, type_name] == ["notes", "Notes", "Notes", "Notes"])
    );
    assert_eq!(
        e.to_string(),
        "`notes` holds a `Notes` of another version: at Notes, the stored `Notes` is version 1, this program's is \
         version 2; the stored one is older, and `Segment::migrate` brings it up to date"
    );
    let e = name_error(s.find_or_construct::<v2::Notes>("notes", init::with(|_| unreachable!())));
    assert!(matches!(e, NameError::VersionMismatch { .. }));
    assert!(matches!(name_error(s.destroy::<v2::Notes>("notes")), NameError::VersionMismatch { .. }));

    // Inside something else.
    s.construct::<ShmMutex<ShmVec<v2::Notes>>>("list", ShmMutex::new(ShmVec::new())).unwrap();
    let e = name_error(s.find::<ShmMutex<ShmVec<v1::Notes>>>("list"));
    assert_eq!(
        e.to_string(),
        "`list` holds a `ShmMutex<ShmVec<Notes>>` of another version: at ShmMutex[][], the stored `Notes` is version \
         2, this program's is version 1; the stored one is newer: this program is the older one"
    );
    // Another type is another type, whatever its version.
    let e = name_error(s.find::<v2::Plain>("notes"));
    assert!(matches!(e, NameError::TypeMismatch { .. }));
    sound(&s);
}

#[test]
fn a_migration_takes_what_is_there_along_and_leaves_nothing_behind() {
    let s = prepared();
    let used = s.used();
    let name =
        "a name that is too long to stand in its entry, so that there are two blocks with names for a while";
    for round in 0..20 {
        drop(s.construct::<v1::Notes>(name, old(round)).unwrap());
        let one = s.used();
        is_new(&patiently(|| s.migrate::<v1::Notes, v2::Notes, _>(name, up)), round.into());
        is_new(&s.find::<v2::Notes>(name).unwrap().unwrap(), round.into());
        assert_eq!((s.object_count(), s.objects().unwrap().len()), (1, 1));
        assert!(matches!(name_error(s.find::<v1::Notes>(name)), NameError::VersionMismatch { .. }));
        let mut account = Account::of(&s);
        account.object::<v2::Notes>(name);
        account.balances();
        // And back.
        drop(patiently(|| s.migrate::<v2::Notes, v1::Notes, _>(name, down)));
        assert_eq!(s.used(), one);
        assert!(s.destroy::<v1::Notes>(name).unwrap());
        assert_eq!((s.used(), s.object_count()), (used, 0));
        sound(&s);
    }
}

#[test]
fn what_is_migrated_already_is_given() {
    let s = prepared();
    assert!(
        matches!(name_error(s.migrate::<v1::Notes, v2::Notes, _>("no", up)), NameError::NotFound { name } if name == "no")
    );
    drop(s.construct::<v1::Notes>("notes", old(7)).unwrap());
    drop(patiently(|| s.migrate::<v1::Notes, v2::Notes, _>("notes", up)));
    let held = s.find::<v2::Notes>("notes").unwrap().unwrap();
    for _ in 0..3 {
        let again = s.migrate_with::<v1::Notes, v2::Notes>("notes", |_, _| unreachable!()).unwrap();
        assert_eq!(again.offset(), held.offset());
    }
    // To itself: nothing to do.
    let same = s.migrate_with::<v2::Notes, v2::Notes>("notes", |_, _| unreachable!()).unwrap();
    assert_eq!(same.offset(), held.offset());

    s.construct::<u64>("other", 5).unwrap();
    let e = name_error(s.migrate::<v1::Notes, v2::Notes, _>("other", up));
    assert!(matches!(e, NameError::TypeMismatch { expected, .. } if expected == "Notes"));
    // Neither of both, but a version of one.
    let e = name_error(s.migrate::<u64, v1::Notes, _>("notes", |_| old(1)));
    assert!(matches!(e, NameError::VersionMismatch { stored_version: 2, expected_version: 1, .. }));
    s.construct_slice::<u64, _>("slice", 3, |i| i as u64).unwrap();
    let e = name_error(s.migrate::<u64, u32, _>("slice", |n| *n as u32));
    assert!(matches!(e, NameError::CountMismatch { .. }));
    let e = name_error(s.migrate::<u64, u32, _>("", |n| *n as u32));
    assert!(matches!(e, NameError::InvalidName { .. }));
    sound(&s);
}

#[test]
fn what_is_held_is_not_migrated() {
    let s = prepared();
    let held = s.construct::<v1::Notes>("notes", old(7)).unwrap();
    let other = Segment::from_fd(&s).unwrap();
    let too = other.find::<v1::Notes>("notes").unwrap();
    let attempt = || s.migrate::<v1::Notes, v2::Notes, _>("notes", up);
    let e = name_error(attempt());
    assert!(matches!(&e, NameError::InUse { name, holders: 2.. } if name == "notes"), "{e}");
    assert!(e.to_string().contains("process(es) hold it"));
    drop(too);
    assert!(matches!(name_error(attempt()), NameError::InUse { holders: 1.., .. }));
    assert_eq!(held.id, 7);
    let again = held.clone();
    drop(held);
    assert!(matches!(name_error(attempt()), NameError::InUse { holders: 1.., .. }));
    drop(again);
    is_new(&patiently(attempt), 7);
    sound(&s);
}

#[test]
fn its_own_name_is_not_to_be_had_in_a_conversion() {
    let s = prepared();
    drop(s.construct::<v1::Notes>("notes", old(7)).unwrap());
    let inner = s.clone();
    let new = s.migrate::<v1::Notes, v2::Notes, _>("notes", |notes| {
        let recursive = |e| assert!(matches!(e, NameError::Recursive { name } if name == "notes"));
        recursive(name_error(inner.find::<v1::Notes>("notes")));
        recursive(name_error(inner.find::<v2::Notes>("notes")));
        recursive(name_error(inner.find_or_construct::<v2::Notes>("notes", up(notes))));
        recursive(name_error(inner.construct::<v1::Notes>("notes", old(1))));
        recursive(name_error(inner.migrate::<v1::Notes, v2::Notes, _>("notes", up)));
        recursive(name_error(inner.destroy::<v1::Notes>("notes")));
        // Others are.
        inner.construct::<u64>("beside", 1).unwrap();
        assert_eq!((inner.object_count(), inner.objects().unwrap().len()), (2, 2));
        sound(&inner);
        up(notes)
    });
    is_new(&new.unwrap(), 7);
    assert!(s.find::<u64>("beside").unwrap().is_some());
    sound(&s);
}

#[test]
fn a_conversion_that_fails_or_panics_changes_nothing() {
    let s = prepared();
    drop(s.construct::<v1::Notes>("notes", old(7)).unwrap());
    let used = s.used();
    for round in 0..50 {
        let failing = s.migrate_with::<v1::Notes, v2::Notes>("notes", |_, _| Err(Error::init("no")));
        assert!(matches!(failing, Err(Error::Init(_))));
        // Built, and not returned.
        let filled = s.migrate_with::<v1::Notes, v2::Notes>("notes", |old, slot| {
            drop(slot.fill(up(old))?);
            Err(Error::init("no"))
        });
        assert!(matches!(filled, Err(Error::Init(_))));
        let panicking = || {
            s.migrate_with::<v1::Notes, v2::Notes>("notes", |old, slot| {
                let _half = slot.fill(up(old))?;
                give_up()
            })
        };
        assert!(catch_unwind(AssertUnwindSafe(panicking)).is_err());
        assert_eq!(s.find::<v1::Notes>("notes").unwrap().unwrap().notes.len(), 5);
        assert_eq!((s.used(), s.object_count()), (used, 1), "round {round}");
    }
    sound(&s);
    is_new(&patiently(|| s.migrate::<v1::Notes, v2::Notes, _>("notes", up)), 7);
    sound(&s);
}

#[test]
fn memory_that_runs_out_anywhere_changes_nothing() {
    let s = Segment::anonymous().size(256 << 10).create().unwrap();
    // The new types' records and the room for names are missing at first, too.
    drop(s.construct::<v1::Notes>("notes", old(7)).unwrap());
    let mut ballast = Vec::new();
    for size in [4096, 512, 64, 16] {
        let fill = |i: usize| s.construct_anonymous::<ShmVec<u8>>(vec![i as u8; size]);
        ballast.extend(std::iter::from_fn(|| fill(0).ok()));
    }
    // Every block that is left, each by itself.
    let layout = Layout::new::<[u64; 8]>();
    let mut crumbs: Vec<_> = std::iter::from_fn(|| s.allocate(layout).ok()).collect();
    let attempt = || s.migrate::<v1::Notes, v2::Notes, _>("notes", up);
    let mut failures = 0;
    let new = loop {
        match attempt() {
            Ok(new) => break new,
            Err(e) => assert!(e.is_out_of_memory(), "{e}"),
        }
        assert_eq!(s.find::<v1::Notes>("notes").unwrap().unwrap().notes.len(), 5);
        sound(&s);
        // Type records and room for entries and names may have been had; beyond that nothing stays.
        let used = s.used();
        assert!(attempt().is_err_and(|e| e.is_out_of_memory()));
        assert_eq!(s.used(), used);
        failures += 1;
        match crumbs.pop() {
            // SAFETY: allocated raw above, with this layout.
            Some(crumb) => unsafe { s.deallocate(crumb.cast(), layout) },
            None => assert!(ballast.pop().is_some(), "with all memory free it succeeds"),
        }
    };
    is_new(&new, 7);
    assert!(failures > 5, "{failures}");
    drop((new, ballast));
    // SAFETY: allocated raw above, with this layout.
    crumbs.into_iter().for_each(|crumb| unsafe { s.deallocate(crumb.cast(), layout) });
    let mut account = Account::of(&s);
    account.object::<v2::Notes>("notes");
    account.balances();
    sound(&s);
}

#[test]
fn a_lock_inside_is_held_while_the_new_value_is_built() {
    type Old = ShmMutex<ShmVec<ShmString>>;
    type New = ShmMutex<v2::Notes>;
    let s = segment();
    drop(s.construct::<Old>("list", ShmMutex::<ShmVec<ShmString>>::new(texts(5))).unwrap());
    let convert = || {
        s.migrate_with::<Old, New>("list", |old, slot| {
            let list = old.lock()?;
            let notes = init::from_iter(list.iter().map(|text| &**text));
            slot.fill(ShmMutex::<v2::Notes>::new(v2::NotesInit { notes, wide_id: list.len() as u64 }))
        })
    };
    is_new(&convert().unwrap().lock().unwrap(), 5);
    // Its conversion leaks the guard: what it locked cannot be dropped, and stays behind.
    drop(s.construct::<Old>("leaked", ShmMutex::<ShmVec<ShmString>>::new(texts(5))).unwrap());
    let used = s.used();
    let leaking = s.migrate::<Old, u64, _>("leaked", |old| {
        let guard = old.lock().unwrap();
        let len = guard.len() as u64;
        std::mem::forget(guard);
        len
    });
    assert_eq!(*leaking.unwrap(), 5);
    assert!(s.used() >= used);
    sound(&s);
}

#[test]
fn slices_and_unique_objects() {
    let s = segment();
    drop(s.construct_slice::<v1::Notes, _>("slice", 4, |i| old(i as u32)).unwrap());
    let e = s.migrate_slice::<v1::Notes, v2::Notes, _>("slice", |old| {
        let n = old.id;
        let built = up(old);
        init::with(move |slot| if n < 2 { slot.fill(built) } else { Err(Error::init("no")) })
    });
    assert!(matches!(e, Err(Error::Init(_))));
    assert_eq!(s.find_slice::<v1::Notes>("slice").unwrap().unwrap().len(), 4);
    let new = patiently(|| s.migrate_slice::<v1::Notes, v2::Notes, _>("slice", up));
    assert_eq!(new.len(), 4);
    (0..4).for_each(|i| is_new(&new[i], i as u64));
    assert!(matches!(name_error(s.find::<v2::Notes>("slice")), NameError::CountMismatch { .. }));
    let never = |_: &v1::Notes| -> v2::NotesInit<[&str; 0], u64> { unreachable!() };
    assert_eq!(s.migrate_slice::<_, v2::Notes, _>("slice", never).unwrap().offset(), new.offset());
    drop(s.construct_slice::<u64, _>("empty", 0, |_| 0).unwrap());
    assert!(s.migrate_slice::<u64, u32, u32>("empty", |_| unreachable!()).unwrap().is_empty());

    // Two versions share a name ...
    drop(s.construct_unique::<v1::Notes>(old(3)).unwrap());
    let count = s.object_count();
    is_new(&s.migrate_unique::<v1::Notes, v2::Notes, _>(up).unwrap(), 3);
    is_new(&s.migrate_unique::<v1::Notes, v2::Notes, _>(up).unwrap(), 3);
    is_new(&s.find_unique::<v2::Notes>().unwrap().unwrap(), 3);
    // ... two types do not.
    drop(s.construct_unique::<u64>(9).unwrap());
    let new = s.migrate_unique::<u64, u32, _>(|n| {
        assert!(s.find_unique::<u32>().unwrap().is_none(), "not there yet");
        *n as u32
    });
    assert_eq!(*new.unwrap(), 9);
    assert!(s.find_unique::<u64>().unwrap().is_none());
    assert_eq!(*s.migrate_unique::<u64, u32, u32>(|_| unreachable!()).unwrap(), 9);
    assert_eq!(s.object_count(), count + 1);
    assert!(matches!(name_error(s.migrate_unique::<i8, i16, i16>(|_| 0)), NameError::NotFound { .. }));
    sound(&s);
}

#[test]
fn the_old_name_counts_wherever_the_new_one_stands_in_the_index() {
    let s = prepared();
    let before = ["one", "two", "three"];
    before.iter().for_each(|name| drop(s.construct::<u64>(name, 1).unwrap()));
    drop(s.construct::<v1::Notes>("notes", old(7)).unwrap());
    // The new object gets an entry before the old one's ...
    before.iter().for_each(|name| assert!(s.destroy::<u64>(name).unwrap()));
    for fails in [true, false] {
        let new = s.migrate_with::<v1::Notes, v2::Notes>("notes", |old, slot| {
            // ... and when the index grows, names are entered in the order of entries.
            for i in 0..40 {
                drop(s.construct::<u64>(&format!("{fails} {i}"), i)?);
            }
            assert!(matches!(name_error(s.find::<v1::Notes>("notes")), NameError::Recursive { .. }));
            assert!(matches!(name_error(s.destroy::<v1::Notes>("notes")), NameError::Recursive { .. }));
            sound(&s);
            if fails { Err(Error::init("no")) } else { slot.fill(up(old)) }
        });
        assert_eq!(new.is_err(), fails);
        assert_eq!(s.find::<v1::Notes>("notes").is_err(), !fails);
        sound(&s);
    }
    is_new(&s.find::<v2::Notes>("notes").unwrap().unwrap(), 7);
}

#[test]
fn a_pin_between_the_two_looks_is_seen() {
    let s = prepared();
    drop(s.construct::<v1::Notes>("notes", old(7)).unwrap());
    let (other, held) = (s.clone(), std::rc::Rc::new(std::cell::Cell::new(None)));
    let keep = held.clone();
    at(Step::Unpinned, move || keep.set(other.find::<v1::Notes>("notes").unwrap()));
    let e = name_error(s.migrate::<v1::Notes, v2::Notes, _>("notes", up));
    assert!(matches!(e, NameError::InUse { holders: 1.., .. }));
    assert_eq!(held.take().expect("it was found").id, 7);
    is_new(&patiently(|| s.migrate::<v1::Notes, v2::Notes, _>("notes", up)), 7);
    sound(&s);
}

#[test]
fn who_meets_an_object_that_is_then_converted_waits_for_what_becomes_of_it() {
    for fails in [false, true] {
        let s = prepared();
        drop(s.construct::<v1::Notes>("notes", old(7)).unwrap());
        let (migrator, (tell, told)) = (s.clone(), std::sync::mpsc::channel());
        at(Step::Met, move || {
            std::thread::spawn(move || {
                let new = migrator.migrate_with::<v1::Notes, v2::Notes>("notes", |old, slot| {
                    tell.send(()).unwrap();
                    std::thread::sleep(std::time::Duration::from_millis(30));
                    if fails { Err(Error::init("no")) } else { slot.fill(up(old)) }
                });
                assert_eq!(new.is_err(), fails);
            });
            told.recv().unwrap();
        });
        // It asks for the new type, so the quick look-up leaves it to the thorough one.
        match s.find::<v2::Notes>("notes") {
            Ok(new) => is_new(&new.expect("never none"), 7),
            Err(e) => assert!(fails && e.to_string().contains("version"), "{e}"),
        }
        sound(&s);
    }
}

#[test]
fn readers_are_sent_to_the_lock_while_the_name_passes_on() {
    let s = prepared();
    for (step, moving) in [
        (Step::Built, false),
        (Step::Committed, true),
        (Step::Unlinked, true),
        (Step::Removed, false),
        (Step::Settled, false),
    ] {
        drop(s.construct::<v1::Notes>("notes", old(7)).unwrap());
        let (other, came) = (s.clone(), std::rc::Rc::new(std::cell::Cell::new(false)));
        let come = came.clone();
        at(step, move || come.set(is_moving(&other.inner.directory) == moving));
        is_new(&patiently(|| s.migrate::<v1::Notes, v2::Notes, _>("notes", up)), 7);
        assert!(came.get(), "{step:?}");
        assert!(s.destroy::<v2::Notes>("notes").unwrap());
    }
    sound(&s);
}

#[test]
fn a_damaged_state_is_not_waited_for() {
    let s = segment();
    let own = s.inner.participants.process().unwrap();
    for (name, agent) in [("nobody", None), ("us", Some(own)), ("no process", Some(200))] {
        // By another thread: what this one is constructing or converting it must not ask for.
        let construct = || s.construct::<u64>(name, 1).unwrap().number();
        let number = std::thread::scope(|scope| scope.spawn(construct).join().unwrap());
        converted_by(&s.inner.directory, number, agent);
        assert!(matches!(s.find::<u64>(name), Err(Error::Corrupt(_))));
        assert!(matches!(s.migrate::<u64, u32, _>(name, |n| *n as u32), Err(Error::Corrupt(_))));
        assert!(matches!(s.destroy::<u64>(name), Err(Error::Corrupt(_))));
    }
    assert_eq!(s.check().len(), 1, "{:?}", s.check());
}

static DROPPED: AtomicU64 = AtomicU64::new(0);

#[derive(ShmSafe)]
#[repr(C)]
#[shm(drop)]
struct Panicking {
    notes: ShmVec<ShmString>,
}

impl ShmDrop for Panicking {
    fn drop(_: PanickingMut<'_>) {
        DROPPED.fetch_add(1, Ordering::Relaxed);
        give_up()
    }
}

#[test]
fn the_new_object_stays_if_the_old_ones_drop_panics() {
    let s = prepared();
    drop(s.construct::<Panicking>("notes", PanickingInit { notes: texts(5) }).unwrap());
    let migrate = || {
        s.migrate::<Panicking, v2::Notes, _>("notes", |old| {
            let notes: Vec<String> = old.notes.iter().map(|note| note.to_string()).collect();
            v2::NotesInit { notes, wide_id: 8 }
        })
    };
    assert!(catch_unwind(AssertUnwindSafe(migrate)).is_err());
    assert_eq!(DROPPED.load(Ordering::Relaxed), 1);
    is_new(&migrate().unwrap(), 8);
    assert_eq!(s.object_count(), 1);
    // Nobody holds it any more, so it can be migrated on.
    drop(patiently(|| s.migrate::<v2::Notes, v1::Notes, _>("notes", down)));
    sound(&s);
}

#[test]
fn one_thread_converts_whatever_the_race() {
    let s = prepared();
    let used = s.used();
    for round in 0..200 {
        let converted = AtomicU64::new(0);
        drop(s.construct::<v1::Notes>("raced", old(round)).unwrap());
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let counted = |old: &v1::Notes| {
                        converted.fetch_add(1, Ordering::Relaxed);
                        up(old)
                    };
                    let new = patiently(|| s.migrate::<v1::Notes, v2::Notes, _>("raced", counted));
                    is_new(&new, round.into());
                });
            }
        });
        assert_eq!(converted.into_inner(), 1);
        assert!(s.destroy::<v2::Notes>("raced").unwrap());
        assert_eq!(s.used(), used);
    }
    sound(&s);
}

/// Holds the object for moments, so that some migrations are refused and others are not.
fn visit(s: &Segment, done: &AtomicBool) -> u64 {
    let mut added = 0;
    while !done.load(Ordering::Relaxed) {
        let one = s.find::<ShmMutex<u64>>("counter");
        match one {
            Ok(Some(counter)) => {
                *counter.lock().unwrap() += 1;
                added += 1;
            }
            Ok(None) => panic!("the name is gone"),
            Err(e) => assert!(e.to_string().contains("i64"), "{e}"),
        }
        let other = s.find::<ShmMutex<i64>>("counter");
        match other {
            Ok(Some(counter)) => {
                *counter.lock().unwrap() += 1;
                added += 1;
            }
            Ok(None) => panic!("the name is gone"),
            Err(e) => assert!(e.to_string().contains("u64"), "{e}"),
        }
    }
    added
}

#[test]
fn nothing_that_is_done_meanwhile_is_lost() {
    let s = segment();
    let other = Segment::from_fd(&s).unwrap();
    drop(s.construct::<ShmMutex<u64>>("counter", ShmMutex::new(0)).unwrap());
    let done = &AtomicBool::new(false);
    let is_refused = |e: Error| matches!(e, Error::Name(e) if matches!(*e, NameError::InUse { .. }));
    let (mut migrated, mut refused) = (0, 0);
    let added: u64 = std::thread::scope(|scope| {
        let visitors = [&s, &s, &other].map(|s| scope.spawn(move || visit(s, done)));
        for _ in 0..120 {
            let to_signed = s.migrate_with::<ShmMutex<u64>, ShmMutex<i64>>("counter", |old, slot| {
                let n = *old.lock()? as i64;
                std::thread::yield_now();
                slot.fill(ShmMutex::new(n))
            });
            let to_unsigned = s.migrate_with::<ShmMutex<i64>, ShmMutex<u64>>("counter", |old, slot| {
                let n = *old.lock()? as u64;
                std::thread::yield_now();
                slot.fill(ShmMutex::new(n))
            });
            for e in [to_signed.err(), to_unsigned.err()] {
                match e {
                    None => migrated += 1,
                    // The first was refused, so the second finds what it is to make, or the other way round.
                    Some(e) => refused += u32::from(is_refused(e)),
                }
            }
        }
        done.store(true, Ordering::Relaxed);
        visitors.into_iter().map(|visitor| visitor.join().unwrap()).sum()
    });
    assert!(migrated > 10, "{migrated} {refused}");
    let counter = patiently(|| {
        s.migrate_with::<ShmMutex<i64>, ShmMutex<u64>>("counter", |old, slot| {
            let n = *old.lock()? as u64;
            slot.fill(ShmMutex::new(n))
        })
    });
    let n = *counter.lock().unwrap();
    assert_eq!(n, added, "{migrated} migrations, {refused} refused");
    assert_eq!(s.object_count(), 1);
    sound(&s);
}

#[test]
#[cfg_attr(
    shmem_poison,
    ignore = "a copy without a pin may read what was freed meanwhile, and then throws it away"
)]
fn a_reader_that_cannot_lock_sees_one_of_both() {
    let name = unique("migrate-read");
    let _remove = RemoveOnDrop::shared(&name).unwrap();
    let s = Segment::shared(&name).size(1 << 20).create().unwrap();
    drop(s.construct::<v1::Plain>("plain", v1::Plain { id: 7 }).unwrap());
    let reader = Segment::shared(&name).open_read_only().unwrap();
    let done = &AtomicBool::new(false);
    std::thread::scope(|scope| {
        let reading = scope.spawn(|| {
            let mut seen = [0; 2];
            while !done.load(Ordering::Relaxed) {
                let is_other = |e: Error| assert!(e.to_string().contains("version"), "{e}");
                match reader.read::<v1::Plain>("plain") {
                    Ok(plain) => seen[0] += plain.expect("one of both").id / 7,
                    Err(e) => is_other(e),
                }
                match reader.read::<v2::Plain>("plain") {
                    Ok(plain) => seen[1] += plain.expect("one of both").wide_id as u32 / 7,
                    Err(e) => is_other(e),
                }
            }
            seen
        });
        for _ in 0..2000 {
            let up = |old: &v1::Plain| v2::Plain { wide_id: old.id.into() };
            let down = |new: &v2::Plain| v1::Plain { id: new.wide_id as u32 };
            drop(patiently(|| s.migrate::<v1::Plain, v2::Plain, _>("plain", up)));
            drop(patiently(|| s.migrate::<v2::Plain, v1::Plain, _>("plain", down)));
        }
        done.store(true, Ordering::Relaxed);
        let seen = reading.join().unwrap();
        assert!(seen[0] > 0, "{seen:?}");
    });
    sound(&s);
}

/// Migrates in a child that dies behind `step`.
fn die_behind(s: &Segment, step: Step) {
    // SAFETY: the child migrates and exits.
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        // SAFETY: ends the child, as a kill does.
        at(step, || unsafe { libc::_exit(0) });
        // Whichever of both it is.
        let _ = s.migrate::<v1::Notes, v2::Notes, _>("notes", up);
        let _ = s.migrate::<v1::Plain, v2::Plain, _>("notes", |old| v2::Plain { wide_id: old.id.into() });
        // SAFETY: ends the child; it should not have come here.
        unsafe { libc::_exit(1) };
    }
    let mut status = -1;
    // SAFETY: the child just forked.
    assert_eq!(unsafe { libc::waitpid(pid, &raw mut status, 0) }, pid);
    assert_eq!(status, 0, "it came past {step:?}");
}

const STEPS: [(Step, bool); 7] = [
    (Step::Marked, false),
    (Step::Reserved, false),
    (Step::Built, false),
    (Step::Committed, true),
    (Step::Unlinked, true),
    (Step::Removed, true),
    (Step::Settled, true),
];

#[test]
#[cfg_attr(shmem_poison, ignore = "the table of poison does not survive a fork")]
fn a_death_behind_any_step_leaves_one_of_both() {
    alone("a_death_behind_any_step_leaves_one_of_both", || {
        for (step, committed) in STEPS {
            for first in 0..4 {
                let s = prepared();
                let other = Segment::from_fd(&s).unwrap();
                drop(s.construct::<v1::Notes>("notes", old(7)).unwrap());
                die_behind(&s, step);
                let found = |result: Result<Option<bool>>| match result {
                    Ok(found) => found.expect("never none"),
                    Err(e) => panic!("{step:?}: {e}"),
                };
                let is_old = |s: &Segment| match s.find::<v1::Notes>("notes") {
                    Ok(old) => Ok(old.map(|old| old.notes.len() == 5)),
                    Err(Error::Name(e)) if matches!(*e, NameError::VersionMismatch { .. }) => Ok(Some(false)),
                    Err(e) => Err(e),
                };
                // Whoever comes first, and whether or not it recovers.
                match first {
                    0 => assert_eq!(s.recover(), 1),
                    1 => assert_eq!(found(is_old(&s)), !committed, "{step:?}"),
                    2 => assert_eq!(found(is_old(&other)), !committed, "{step:?}"),
                    _ => sound(&s),
                }
                s.recover();
                assert_eq!(found(is_old(&s)), !committed, "{step:?}");
                assert_eq!((s.object_count(), s.objects().unwrap().len()), (1, 1), "{step:?}");
                sound(&s);
                is_new(&s.migrate::<v1::Notes, v2::Notes, _>("notes", up).unwrap(), 7);
                sound(&s);
                // The orphan was swept; leaked is what a value owned that was built and not published.
                if step != Step::Built {
                    let mut account = Account::of(&s);
                    account.object::<v2::Notes>("notes");
                    account.balances();
                }
            }
        }
    });
}

#[test]
#[cfg_attr(shmem_poison, ignore = "the table of poison does not survive a fork")]
fn a_reader_that_cannot_lock_sees_one_of_both_after_a_death() {
    alone("a_reader_that_cannot_lock_sees_one_of_both_after_a_death", || {
        for (step, committed) in STEPS {
            let name = unique("migrate-dead");
            let _remove = RemoveOnDrop::shared(&name).unwrap();
            let s = Segment::shared(&name).size(1 << 20).create().unwrap();
            drop(s.construct::<v1::Plain>("notes", v1::Plain { id: 7 }).unwrap());
            let reader = Segment::shared(&name).open_read_only().unwrap();
            die_behind(&s, step);
            for _ in 0..3 {
                let (one, two) = (reader.read::<v1::Plain>("notes"), reader.read::<v2::Plain>("notes"));
                if committed {
                    assert_eq!(two.unwrap().unwrap().wide_id, 7, "{step:?}");
                    assert!(matches!(name_error(one), NameError::VersionMismatch { .. }));
                } else {
                    assert_eq!(one.unwrap().unwrap().id, 7, "{step:?}");
                    assert!(matches!(name_error(two), NameError::VersionMismatch { .. }));
                }
            }
            s.recover();
            sound(&s);
        }
    });
}

#[test]
#[cfg_attr(shmem_poison, ignore = "the table of poison does not survive a fork")]
fn the_dead_do_not_hold() {
    alone("the_dead_do_not_hold", || {
        let s = prepared();
        drop(s.construct::<v1::Notes>("notes", old(7)).unwrap());
        // SAFETY: the child takes a handle and exits.
        let pid = unsafe { libc::fork() };
        if pid == 0 {
            let held = s.find::<v1::Notes>("notes");
            // SAFETY: ends the child.
            unsafe { libc::_exit(i32::from(!matches!(held, Ok(Some(_))))) };
        }
        let mut status = -1;
        // SAFETY: the child just forked.
        assert_eq!(unsafe { libc::waitpid(pid, &raw mut status, 0) }, pid);
        assert_eq!(status, 0);
        assert_eq!(s.objects().unwrap()[0].holders, 1);
        is_new(&s.migrate::<v1::Notes, v2::Notes, _>("notes", up).unwrap(), 7);
        sound(&s);
    });
}

#[test]
#[cfg_attr(shmem_poison, ignore = "the table of poison does not survive a fork")]
fn a_conversion_that_forks_is_the_parents() {
    alone("a_conversion_that_forks_is_the_parents", || {
        let s = prepared();
        drop(s.construct::<v1::Notes>("notes", old(7)).unwrap());
        let parent = std::process::id();
        let mut pid = 0;
        let migrate = || {
            s.migrate::<v1::Notes, v2::Notes, _>("notes", |old| {
                // SAFETY: the child returns from here, to the `catch_unwind` below, and exits.
                pid = unsafe { libc::fork() };
                up(old)
            })
        };
        let new = catch_unwind(AssertUnwindSafe(migrate));
        if std::process::id() != parent {
            // SAFETY: ends the child.
            unsafe { libc::_exit(i32::from(new.is_ok())) };
        }
        let mut status = -1;
        // SAFETY: the child just forked.
        assert_eq!(unsafe { libc::waitpid(pid, &raw mut status, 0) }, pid);
        assert_eq!(status, 0, "the child panics, and gives nothing back");
        is_new(&new.unwrap().unwrap(), 7);
        s.recover();
        is_new(&s.find::<v2::Notes>("notes").unwrap().unwrap(), 7);
        sound(&s);
    });
}
