//! Changes of containers under a lock, which the death of the holder poisons.

use super::super::{BOUND, Check, Effect, Operation, Scene, region};
use super::{BY_DEATH, PLAIN, TEXT, found};
use shmem_core::{Root, Segment, ShmHashMap, ShmMutex, ShmString, ShmVec};
use std::collections::BTreeMap;

/// All of them.
pub const ALL: &[Operation] = &[
    Operation { name: "push-grow", child: push, arrange: arrange_push, ..PLAIN_LIST },
    Operation { name: "insert-grow", child: insert, arrange: arrange_insert, ..PLAIN_MAP },
    Operation { name: "remove", child: remove, arrange: arrange_remove, ..PLAIN_MAP },
];

const PLAIN_LIST: Operation = Operation { build: Some(full_list), ..PLAIN };
const PLAIN_MAP: Operation = Operation { build: Some(full_map), ..PLAIN };

type List = ShmMutex<ShmVec<ShmString>>;
type Map = ShmMutex<ShmHashMap<u64, ShmString>>;

/// A list without room, and another behind it, so that it cannot grow where it stands.
fn full_list(segment: &Segment) {
    for name in ["list", "behind"] {
        let list = segment.construct::<List>(name, ShmMutex::new(ShmVec::new())).expect("a list");
        let mut guard = list.lock().expect("it is free");
        let mut view = guard.view();
        view.push(TEXT).expect("there is room");
        while view.spare_capacity() > 0 {
            view.push(TEXT).expect("there is room");
        }
        drop(segment.find_or_construct::<u64>("len", guard.len() as u64).expect("a number"));
    }
}

fn push(scene: &Scene) {
    let list = found::<List>(&scene.open(), "list");
    let mut guard = list.lock().expect("it is free");
    let mut view = guard.view();
    region(|| view.push(TEXT))
}

fn arrange_push(scene: &Scene) -> Check {
    let list = found::<List>(scene.segment(), "list");
    let before = len_before(scene);
    Box::new(move |_| {
        assert_eq!(list.lock_timeout(BOUND).map(|_| ()), Err(BY_DEATH));
        let mut guard = list.lock_poisoned().expect("the value is sound");
        assert!(guard.iter().all(|text| *text == *TEXT));
        let effect = effect(guard.len(), before, before + 1);
        guard.view().push(TEXT).expect("there is room");
        guard.view().clear();
        guard.view().shrink_to_fit().expect("it needs no room");
        guard.clear_poison();
        effect
    })
}

#[track_caller]
fn effect(found: usize, before: usize, after: usize) -> Effect {
    assert!(found == before || found == after, "{before} elements became {found}, not {after}");
    if found == before { Effect::Nothing } else { Effect::Whole }
}

/// A map that has to grow for one more.
fn full_map(segment: &Segment) {
    let map = segment.construct::<Map>("map", ShmMutex::new(ShmHashMap::new())).expect("a map");
    let mut guard = map.lock().expect("it is free");
    let mut view = guard.view();
    view.insert(0, TEXT).expect("there is room");
    for key in 1..view.capacity() as u64 {
        view.insert(key, TEXT).expect("there is room");
    }
    segment.construct::<u64>("len", guard.len() as u64).expect("a number");
}

/// How many elements there are before; the child holds the lock.
fn len_before(scene: &Scene) -> usize {
    *found::<u64>(scene.segment(), "len") as usize
}

fn map(segment: &Segment) -> Root<Map> {
    found(segment, "map")
}

fn insert(scene: &Scene) {
    let map = map(&scene.open());
    let mut guard = map.lock().expect("it is free");
    let new = guard.len() as u64;
    let mut view = guard.view();
    region(|| view.insert(new, TEXT))
}

fn arrange_insert(scene: &Scene) -> Check {
    arrange_map(scene, 1)
}

/// The last one.
fn remove(scene: &Scene) {
    let map = map(&scene.open());
    let mut guard = map.lock().expect("it is free");
    let last = guard.len() as u64 - 1;
    let mut view = guard.view();
    region(|| view.remove(&last))
}

fn arrange_remove(scene: &Scene) -> Check {
    arrange_map(scene, -1)
}

fn arrange_map(scene: &Scene, change: isize) -> Check {
    let map = map(scene.segment());
    let before = len_before(scene);
    Box::new(move |_| {
        assert_eq!(map.lock_timeout(BOUND).map(|_| ()), Err(BY_DEATH));
        let mut guard = map.lock_poisoned().expect("the value is sound");
        let found: BTreeMap<u64, &ShmString> = guard.iter().map(|(key, text)| (*key, text)).collect();
        assert!(found.values().all(|text| ***text == *TEXT));
        assert!(found.keys().copied().eq(0..guard.len() as u64), "the keys are {:?}", found.keys());
        let keys: Vec<u64> = found.into_keys().collect();
        // Until the next operation that may write, a look-up may pass one over: see `vacate`.
        assert!(!guard.view().remove(&u64::MAX));
        assert!(keys.iter().all(|key| guard.contains_key(key)));
        let effect = effect(guard.len(), before, before.strict_add_signed(change));
        let mut view = guard.view();
        view.insert(u64::MAX, TEXT).expect("there is room");
        view.clear();
        guard.clear_poison();
        effect
    })
}
