//! Constructing, finding, destroying and migrating objects.

use super::super::{Check, Death, Effect, Operation, Scene, region};
use super::{PLAIN, Pair, TEXT, begins_anew, found, is_whole, pair};
use shmem_core::{Error, Init, NameError, Segment, ShmSafe, ShmString};

/// All of them.
pub const ALL: &[Operation] = &[
    Operation { name: "construct-first", child: construct_first, arrange: arrange_construct, ..PLAIN },
    Operation {
        name: "construct",
        build: Some(one_other),
        child: construct,
        arrange: arrange_construct,
        ..PLAIN
    },
    Operation {
        name: "construct-long-name",
        build: Some(one_other),
        child: construct_long,
        arrange: arrange_long,
        ..PLAIN
    },
    Operation { name: "find", build: Some(one_pair), child: find, arrange: arrange_find, ..PLAIN },
    Operation {
        name: "destroy-last",
        build: Some(one_pair),
        child: destroy,
        arrange: arrange_destroy,
        ..PLAIN
    },
    Operation {
        name: "destroy-held",
        build: Some(one_pair),
        child: destroy,
        arrange: arrange_destroy_held,
        ..PLAIN
    },
    Operation {
        name: "migrate",
        build: Some(old_account),
        child: migrate,
        arrange: arrange_migrate,
        ..PLAIN
    },
];

fn long_name() -> String {
    "a name that is too long to stand in its entry, ".repeat(8)
}

fn one_other(segment: &Segment) {
    segment.construct::<Pair>("other", pair()).expect("an object");
}

pub(super) fn one_pair(segment: &Segment) {
    segment.construct::<Pair>("pair", pair()).expect("an object");
}

/// The first object of all, with the type's record, by a process that is not attached yet.
fn construct_first(scene: &Scene) {
    let segment = scene.open();
    region(|| segment.construct::<Pair>("pair", pair()))
}

/// A further object of a type, by a process that has seen one.
fn construct(scene: &Scene) {
    let segment = scene.open();
    let _other = found::<Pair>(&segment, "other");
    region(|| segment.construct::<Pair>("pair", pair()))
}

fn construct_long(scene: &Scene) {
    let segment = scene.open();
    let _other = found::<Pair>(&segment, "other");
    let name = long_name();
    region(|| segment.construct::<Pair>(&name, pair()))
}

fn arrange_construct(scene: &Scene) -> Check {
    constructed(scene, "pair".to_owned())
}

fn arrange_long(scene: &Scene) -> Check {
    constructed(scene, long_name())
}

fn constructed(scene: &Scene, name: String) -> Check {
    let segment = scene.segment().clone();
    let others = segment.object_count();
    Box::new(move |death: &Death| {
        let found = segment.find::<Pair>(&name).expect("it works");
        let effect = if found.is_some() { Effect::Whole } else { Effect::Nothing };
        match found {
            Some(there) => {
                is_whole(&there);
                let again = segment.construct::<Pair>(&name, pair());
                assert!(
                    matches!(again, Err(Error::Name(e)) if matches!(*e, NameError::AlreadyExists { .. }))
                );
            }
            None if death.recovered => assert_eq!(segment.object_count(), others),
            None => {}
        }
        begins_anew(&segment, &name);
        effect
    })
}

fn find(scene: &Scene) {
    let segment = scene.open();
    // The process's record is there.
    drop(found::<Pair>(&segment, "pair"));
    region(|| segment.find::<Pair>("pair"))
}

pub(super) fn arrange_find(scene: &Scene) -> Check {
    let segment = scene.segment().clone();
    let used = segment.used();
    Box::new(move |_| {
        segment.recover();
        assert_eq!(segment.used(), used, "bytes in use");
        is_whole(&found::<Pair>(&segment, "pair"));
        begins_anew(&segment, "pair");
        Effect::Unseen
    })
}

fn destroy(scene: &Scene) {
    let segment = scene.open();
    drop(found::<Pair>(&segment, "pair"));
    region(|| segment.destroy::<Pair>("pair"))
}

fn arrange_destroy(scene: &Scene) -> Check {
    let segment = scene.segment().clone();
    let used = segment.used();
    Box::new(move |death: &Death| {
        let found = segment.find::<Pair>("pair").expect("it works");
        let effect = if found.is_some() { Effect::Nothing } else { Effect::Whole };
        if let Some(pair) = found {
            is_whole(&pair);
        }
        if death.finished {
            assert!(segment.used() < used, "the object is freed");
        }
        begins_anew(&segment, "pair");
        effect
    })
}

/// Whoever holds the object can still read it.
fn arrange_destroy_held(scene: &Scene) -> Check {
    let segment = scene.segment().clone();
    let held = found::<Pair>(&segment, "pair");
    Box::new(move |death: &Death| {
        is_whole(&held);
        let found = segment.find::<Pair>("pair").expect("it works");
        let effect = if found.is_some() { Effect::Nothing } else { Effect::Whole };
        drop(found);
        // Takes the place of it, if it were free.
        let other = segment.construct::<Pair>("another", pair()).expect("there is room");
        is_whole(&held);
        drop(held);
        assert!(segment.destroy::<Pair>("another").expect("it works"));
        drop(other);
        assert!(effect == Effect::Whole || !death.finished);
        begins_anew(&segment, "pair");
        effect
    })
}

mod v1 {
    use super::*;

    #[derive(ShmSafe)]
    #[repr(C)]
    #[shm(version = 1)]
    pub struct Account {
        pub owner: ShmString,
        pub balance: u32,
    }
}

mod v2 {
    use super::*;

    #[derive(ShmSafe)]
    #[repr(C)]
    #[shm(version = 2)]
    pub struct Account {
        pub owner: ShmString,
        pub cents: u64,
    }
}

fn old_account(segment: &Segment) {
    segment.construct::<v1::Account>("ada", v1::AccountInit { owner: TEXT, balance: 7 }).expect("an object");
}

fn up(old: &v1::Account) -> impl Init<v2::Account> + use<> {
    v2::AccountInit { owner: old.owner.to_string(), cents: u64::from(old.balance) * 100 }
}

fn migrate(scene: &Scene) {
    let segment = scene.open();
    drop(found::<v1::Account>(&segment, "ada"));
    region(|| segment.migrate::<v1::Account, v2::Account, _>("ada", up))
}

/// There is the old one or the new one, whole; never none or both.
fn arrange_migrate(scene: &Scene) -> Check {
    let segment = scene.segment().clone();
    Box::new(move |_| {
        let effect = match segment.find::<v2::Account>("ada") {
            Ok(new) => {
                is_new(&new.expect("never none"));
                Effect::Whole
            }
            Err(Error::Name(e)) if matches!(*e, NameError::VersionMismatch { stored_version: 1, .. }) => {
                let old = found::<v1::Account>(&segment, "ada");
                assert_eq!((&*old.owner, old.balance), (TEXT, 7));
                Effect::Nothing
            }
            Err(error) => panic!("{error}"),
        };
        is_new(&segment.migrate::<v1::Account, v2::Account, _>("ada", up).expect("it can be migrated"));
        let objects = segment.objects().expect("the directory can be read");
        assert_eq!(objects.iter().filter(|object| object.name == "ada").count(), 1);
        assert!(segment.destroy::<v2::Account>("ada").expect("it works"));
        assert!(segment.find::<v1::Account>("ada").expect("it works").is_none(), "the old one is back");
        old_account(&segment);
        effect
    })
}

#[track_caller]
fn is_new(account: &v2::Account) {
    assert_eq!((&*account.owner, account.cents), (TEXT, 700));
}
