//! Tests of [`ShmVec`].

use super::{ShmVec, VecMut};
use crate::container::ShmString;
use crate::container::test_kit::*;
use crate::error::{Error, Result};
use crate::layout::init::{Init, from_iter};
use crate::layout::{ShmPod, ShmSafe, hash_one};
use crate::testing::TestSegment;
use proptest::collection::vec;
use proptest::prelude::*;
use std::fmt::Debug;

/// One random operation: which, two numbers, and elements to use.
type Op<N> = (u8, usize, usize, Vec<N>);

fn apply<T, N>(view: &mut VecMut<'_, T>, model: &mut Vec<N>, (op, a, b, items): Op<N>) -> Result<()>
where
    T: ShmSafe + PartialEq<N> + Ord,
    N: Init<T> + Clone + Ord,
{
    let len = model.len();
    let at = |n: usize| if len == 0 { 0 } else { n % len };
    let (i, j) = (at(a), at(b));
    let item = items.first().cloned();
    match (op % 20, item) {
        (0 | 1, Some(item)) => {
            view.push(item.clone())?;
            model.push(item);
        }
        (2, Some(item)) => {
            let i = a % (len + 1);
            view.insert(i, item.clone())?;
            model.insert(i, item);
        }
        (3, _) => {
            view.extend(items.clone())?;
            model.extend(items);
        }
        (4, Some(item)) => {
            view.resize(a % 40, item.clone())?;
            model.resize(a % 40, item);
        }
        (5, _) => assert_eq!(view.pop_drop(), model.pop().is_some()),
        (6, _) => {
            view.truncate(a);
            model.truncate(a);
        }
        (7, _) if b.is_multiple_of(8) => {
            view.clear();
            model.clear();
        }
        (8, _) => {
            view.remove_range(i.min(j)..i.max(j))?;
            model.drain(i.min(j)..i.max(j));
        }
        (9, _) => {
            view.retain(|element| model.iter().take(i).any(|m| element == m))?;
            let some = model[..i].to_vec();
            model.retain(|m| some.contains(m));
        }
        (10, _) => {
            view.dedup()?;
            model.dedup();
        }
        (11, _) => {
            view.reverse()?;
            model.reverse();
        }
        (12, _) => {
            view.rotate_left(i)?;
            model.rotate_left(i);
        }
        (13, _) => {
            view.rotate_right(i)?;
            model.rotate_right(i);
        }
        (14, _) => {
            view.sort()?;
            model.sort();
        }
        (15, _) => view.shrink_to_fit()?,
        (16, _) => view.reserve(a)?,
        (17, Some(item)) if len > 0 => {
            view.set(i, item.clone())?;
            model[i] = item;
        }
        (18, _) if len > 0 => {
            view.swap(i, j)?;
            model.swap(i, j);
        }
        (19, _) if len > 0 && b.is_multiple_of(2) => {
            view.remove_drop(i)?;
            model.remove(i);
        }
        (19, _) if len > 0 => {
            view.swap_remove_drop(i)?;
            model.swap_remove(i);
        }
        _ => {}
    }
    Ok(())
}

/// Random operations against `Vec`, written through one mapping and read through the other, then some more that are
/// recorded and taken back.
fn model<T, N>(items: impl Strategy<Value = N> + Clone)
where
    T: ShmSafe + PartialEq<N> + Ord + Debug,
    N: Init<T> + Clone + Ord + Debug,
{
    let ops = |n| vec((any::<u8>(), 0usize..50, 0usize..50, vec(items.clone(), 0..4)), 0..n);
    let config = ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() };
    proptest!(config, |(initial in vec(items.clone(), 0..8), first in ops(50), second in ops(12))| {
        let segment = TestSegment::new();
        let mut value = segment.build::<ShmVec<T>>(initial.clone()).unwrap();
        let mut native = initial;
        for op in first {
            apply(&mut value.view(), &mut native, op).unwrap();
            prop_assert!(*value.get() == native);
            prop_assert!(*value.elsewhere() == native);
        }
        value.check();
        value.undone(
            |v| format!("{v:?}"),
            |v| second.into_iter().for_each(|op| apply(&mut v.view(), &mut native, op).unwrap()),
        );
        drop(value);
        prop_assert!(segment.live_blocks().is_empty());
    });
}

#[test]
fn model_of_bytes() {
    model::<u8, u8>(any::<u8>());
}

#[test]
fn model_of_words() {
    model::<u64, u64>(0u64..20);
}

#[test]
fn model_of_units() {
    model::<(), ()>(Just(()));
}

#[test]
fn model_of_arrays() {
    model::<[u64; 3], [u64; 3]>(any::<[u64; 3]>());
}

#[test]
fn model_of_strings() {
    model::<ShmString, String>("[a-c]{0,3}|[a-z]{20,40}");
}

#[test]
fn model_of_vectors_of_strings() {
    model::<ShmVec<ShmString>, Vec<String>>(vec("[a-c]{0,3}|[a-z]{20,40}", 0..4));
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C, align(256))]
struct Wide([u64; 32]);

#[test]
fn model_of_over_aligned_values() {
    type Element = ShmPod<Wide, 1>;
    model::<Element, Element>((0u64..9).prop_map(|n| ShmPod(Wide([n; 32]))));
}

fn texts(v: &ShmVec<ShmString>) -> Vec<String> {
    v.iter().map(|s| s.to_string()).collect()
}

const LONG: &str = "a string that is too long to be inline";

#[test]
fn every_operation_is_undone_and_stands_running_out_of_memory() {
    let initial = || [LONG, "b", "", LONG, "b", "b"];
    type V<'v> = VecMut<'v, ShmString>;
    let run = |change: fn(V<'_>) -> Result<()>| exercise(initial, texts, change);
    let undo = |change: fn(V<'_>) -> Result<()>| undone(initial, texts, change);
    run(|mut v| v.push(LONG));
    run(|mut v| v.insert(2, LONG));
    run(|mut v| v.insert(6, LONG));
    run(|mut v| v.set(3, LONG));
    run(|mut v| v.extend([LONG; 40]));
    run(|mut v| v.extend(["", LONG]));
    run(|mut v| v.resize(30, LONG));
    run(|mut v| v.resize(2, LONG));
    run(|mut v| v.resize_with(9, || LONG));
    run(|mut v| v.reserve(100));
    run(|mut v| v.reserve_exact(100));
    run(|mut v| v.shrink_to_fit());
    run(|mut v| v.sort());
    run(|mut v| v.sort_by_key(|s| std::cmp::Reverse(s.len())));
    run(|mut v| v.reverse());
    run(|mut v| v.rotate_left(2));
    run(|mut v| v.rotate_right(2));
    run(|mut v| v.swap(0, 4));
    run(|mut v| v.dedup());
    run(|mut v| v.dedup_by_key(|s| s.len()));
    run(|mut v| v.retain(|s| s != "b"));
    run(|mut v| v.remove_drop(0));
    run(|mut v| v.swap_remove_drop(0));
    run(|mut v| v.remove_range(1..=3));
    undo(|mut v| {
        v.truncate(2);
        v.pop_drop();
        v.push(LONG)
    });
    undo(|mut v| {
        v.clear();
        v.push("other")?;
        v.shrink_to_fit()
    });
    run(|mut v| {
        let mut last = v.last_mut().unwrap();
        last.push_str(LONG)
    });
    run(|mut v| v.iter_mut().next_back().unwrap().set(LONG));
}

#[test]
fn every_operation_on_movable_elements_is_undone() {
    let native = |v: &ShmVec<u64>| v.to_vec();
    let run = |change: fn(VecMut<'_, u64>)| {
        exercise(
            || [5, 3, 9, 9, 1],
            native,
            |v| {
                change(v);
                Ok(())
            },
        )
    };
    run(|mut v| assert_eq!(v.pop(), Some(1)));
    run(|mut v| assert_eq!(v.remove(1), 3));
    run(|mut v| assert_eq!(v.swap_remove(0), 5));
    run(|mut v| assert_eq!(v.drain(1..3).collect::<Vec<_>>(), [3, 9]));
    run(|mut v| v[2] = 7);
    run(|mut v| v[1..].fill(7));
    run(|mut v| v.as_mut_slice().sort());
    run(|mut v| v.iter_mut().for_each(|n| *n += 1));
    run(|mut v| *v.first_mut().unwrap() = 2);
    run(|mut v| {
        v.pop();
        v.push(4).unwrap();
    });
    exercise(|| [5, 3], native, |mut v: VecMut<'_, u64>| v.extend_from_slice(&[7; 100]));
    exercise(|| [5, 3], native, |mut v: VecMut<'_, u64>| v.extend_from_slice(&[7; 2]));
}

#[test]
fn initialisers() {
    let segment = TestSegment::new();
    fn same<I: Init<ShmVec<u64>>>(segment: &TestSegment, init: I) {
        let value = segment.build(init).unwrap();
        value.check();
        assert_eq!(*value.elsewhere(), [1, 2, 3]);
    }
    let other = segment.build::<ShmVec<u64>>([1, 2, 3]).unwrap();
    // `check` wants every live block to be the value's own, so the copy is compared only.
    assert_eq!(*segment.build::<ShmVec<u64>>(other.get()).unwrap().get(), *other.get());
    drop(other);
    same(&segment, [1, 2, 3]);
    same(&segment, vec![1, 2, 3]);
    same(&segment, &[1, 2, 3][..]);
    let (array, vector) = (&[1, 2, 3], &vec![1, 2, 3]);
    same(&segment, array);
    same(&segment, vector);
    same(&segment, ShmVec::from_slice(&[1, 2, 3]));
    same(&segment, from_iter(1..4));
    let empty = segment.build::<ShmVec<u64>>(ShmVec::with_capacity(10)).unwrap();
    assert!(empty.get().is_empty() && empty.get().capacity() >= 10);
    empty.check();
    drop(empty);
    let nested = segment.build::<ShmVec<ShmVec<ShmString>>>([["a", LONG], ["", LONG]]).unwrap();
    nested.check();
    assert_eq!(nested.elsewhere()[1], ["", LONG]);
    drop(nested);
    assert!(segment.live_blocks().is_empty());
}

/// An iterator that lies about its length and may panic.
struct Wild(u64, usize, Option<usize>);

impl Iterator for Wild {
    type Item = Track;
    fn next(&mut self) -> Option<Track> {
        self.0 += 1;
        if Some(self.0 as usize) == self.2 {
            panic!("iterator");
        }
        (self.0 <= 9).then_some(Track(self.0))
    }
    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.1, Some(self.1))
    }
}

#[test]
fn iterators_are_not_trusted() {
    let segment = TestSegment::new();
    for hint in [0, 3, 9, 1000, usize::MAX] {
        let value = segment.build::<ShmVec<Tracked>>(from_iter(Wild(0, hint, None))).unwrap();
        assert_eq!(value.get().len(), 9);
        value.check();
        drop(value);
        panics(|| drop(segment.build::<ShmVec<Tracked>>(from_iter(Wild(0, hint, Some(6))))));
        // The block of the value itself is the test's, not freed by the panic.
        assert_eq!(segment.live_blocks().len(), 1);
        let (at, _) = segment.live_blocks()[0];
        let block = segment.access().context().base().wrapping_add(at as usize).cast::<ShmVec<Tracked>>();
        // SAFETY: allocated by `build`, whose panic left it.
        unsafe { segment.access().deallocate_array(std::ptr::NonNull::new(block).unwrap(), 1) };
    }
    let mut value = segment.build::<ShmVec<Tracked>>([Track(0)]).unwrap();
    panics(|| value.view().extend(Wild(0, 2, Some(8))).unwrap());
    assert_eq!(value.get().len(), 1);
    value.check();
}

#[test]
fn panicking_closures_change_nothing() {
    let segment = TestSegment::new();
    let mut value = segment.build::<ShmVec<ShmString>>(["c", LONG, "a", "b"]).unwrap();
    let before = texts(value.get());
    let mut asked = 0u32;
    let mut third = || {
        asked += 1;
        assert!(!asked.is_multiple_of(3), "third");
        false
    };
    panics(|| value.view().retain(|_| third()).unwrap());
    panics(|| value.view().dedup_by(|_, _| third()).unwrap());
    panics(|| {
        value
            .view()
            .sort_by(|a, b| {
                third();
                a.cmp(b)
            })
            .unwrap();
    });
    assert_eq!(texts(value.get()), before);
    value.check();
}

#[test]
fn a_panicking_destructor_loses_nothing_else() {
    let make = || from_iter((0..8).map(Track));
    let ids = |v: &ShmVec<Tracked>| v.iter().map(|t| t.id).collect::<Vec<_>>();
    let segment = TestSegment::new();
    let run = |change: fn(VecMut<'_, Tracked>), left: &[u64]| {
        let mut value = segment.build::<ShmVec<Tracked>>(make()).unwrap();
        PANIC_AT.set(3);
        panics(|| change(value.view()));
        PANIC_AT.set(u64::MAX);
        assert_eq!(ids(value.get()), left);
        value.check();
    };
    run(|mut v| v.remove_drop(3).unwrap(), &[0, 1, 2, 4, 5, 6, 7]);
    run(|mut v| v.swap_remove_drop(3).unwrap(), &[0, 1, 2, 7, 4, 5, 6]);
    run(|mut v| v.remove_range(2..5).unwrap(), &[0, 1, 5, 6, 7]);
    run(|mut v| v.truncate(2), &[0, 1]);
    run(|mut v| v.retain(|t| t.id.is_multiple_of(2)).unwrap(), &[0, 2, 4, 6]);
    let before = DROPPED.get();
    PANIC_AT.set(3);
    let value = segment.build::<ShmVec<Tracked>>(make()).unwrap();
    let whole = std::mem::ManuallyDrop::new(value);
    let at = std::ptr::from_ref(whole.get()).cast_mut();
    // SAFETY: dropped once, here; the value's own block is freed below.
    panics(|| unsafe { at.drop_in_place() });
    PANIC_AT.set(u64::MAX);
    assert_eq!(DROPPED.get() - before, 8, "the other elements are destroyed too");
    // SAFETY: allocated by `build`.
    unsafe { segment.access().deallocate_array(std::ptr::NonNull::new(at).unwrap(), 1) };
    assert!(segment.live_blocks().is_empty());
}

#[test]
fn held_locks_are_neither_moved_nor_dropped() {
    let segment = TestSegment::new();
    let mut value = segment.build::<ShmVec<FakeLock>>([NewLock(0); 4]).unwrap();
    *value.view().get_mut(2).unwrap() = 1;
    let words = |v: &ShmVec<FakeLock>| v.iter().map(|l| l.word).collect::<Vec<_>>();
    let refused = |result: Result<()>| assert!(matches!(result, Err(Error::LockHeld)), "{result:?}");
    let room = value.get().spare_capacity();
    let mut v = value.view();
    refused(v.reserve(100 + room));
    refused(v.insert(0, NewLock(0)));
    refused(v.remove_drop(0));
    refused(v.remove_drop(2));
    refused(v.remove_range(1..3));
    refused(v.swap(0, 2));
    refused(v.swap_remove_drop(2));
    refused(v.set(2, NewLock(0)));
    refused(v.sort_by_key(|l| l.word));
    refused(v.reverse());
    refused(v.retain(|l| l.word == 1));
    panics(|| v.clear());
    panics(|| v.truncate(2));
    assert_eq!(words(value.get()), [0, 0, 1, 0]);
    let mut v = value.view();
    assert!(v.pop_drop());
    v.swap(0, 1).unwrap();
    value.check();
    drop(value);
    assert_eq!(segment.live_blocks().len(), 1, "the block is leaked");
}

#[test]
fn elements_move_between_vectors_of_one_segment_only() {
    let (segment, stranger) = (TestSegment::new(), TestSegment::new());
    let mut pair =
        segment.build::<[ShmVec<ShmString>; 2]>(crate::init::array([["a", LONG], [LONG, "d"]])).unwrap();
    let mut foreign = stranger.build::<ShmVec<ShmString>>([LONG]).unwrap();
    let both = |p: &[ShmVec<ShmString>; 2]| [texts(&p[0]), texts(&p[1])];
    let before = both(pair.get());
    // Each view through another mapping of the segment.
    let join = |value: &mut crate::testing::Value<'_, [ShmVec<ShmString>; 2]>, at: usize| {
        let offset = value.offset();
        let elsewhere = segment.two.context.base().wrapping_add(offset as usize).cast::<ShmVec<ShmString>>();
        let here = segment.one.context.base().wrapping_add(offset as usize).cast::<ShmVec<ShmString>>();
        // SAFETY: two different vectors, exclusively ours through `value`.
        let (mut a, mut b) = unsafe {
            (
                ShmVec::view(std::ptr::NonNull::new(elsewhere).unwrap(), segment.two.access()),
                ShmVec::view(std::ptr::NonNull::new(here.add(1)).unwrap(), segment.one.access()),
            )
        };
        a.split_off(at, &mut b).unwrap();
    };
    join(&mut pair, 1);
    assert_eq!(both(pair.get()), [vec!["a".to_string()], vec![LONG.into(), "d".into(), LONG.into()]]);
    pair.check();
    join(&mut pair, 0);
    assert_eq!(pair.get()[1].len(), 4);
    pair.check();
    drop(pair);
    let mut pair =
        segment.build::<[ShmVec<ShmString>; 2]>(crate::init::array([["a", LONG], [LONG, "d"]])).unwrap();
    let mut view = pair.view();
    let refused = view.get_mut(0).unwrap().append(&mut foreign.view());
    assert!(matches!(refused, Err(Error::OtherSegment)));
    assert_eq!(both(pair.get()), before);
    assert_eq!(*foreign.get(), [LONG]);
}

#[test]
fn reads_like_a_slice() {
    let segment = TestSegment::new();
    let value = segment.build::<ShmVec<u64>>([1, 2, 3]).unwrap();
    let v = value.get();
    assert_eq!((v[0], &v[1..], v.len(), v.iter().sum::<u64>()), (1, &[2, 3][..], 3, 6));
    assert_eq!(*v, [1, 2, 3]);
    assert_eq!([1, 2, 3], *v);
    assert_eq!(*v, vec![1, 2, 3]);
    assert_eq!(vec![1, 2, 3], *v);
    assert_eq!(*v, [1, 2, 3][..]);
    assert_eq!(*v, &[1, 2, 3][..]);
    assert_eq!(format!("{v:?}"), "[1, 2, 3]");
    assert_eq!(hash_one(v, 7), hash_one(&[1u64, 2, 3][..], 7));
    assert!(v.into_iter().eq(&[1, 2, 3]) && v > segment.build::<ShmVec<u64>>([1, 1]).unwrap().get());
    fn shared<T: Send + Sync>(_: &T) {}
    shared(v);
}

#[test]
fn values_without_size_take_no_memory() {
    let segment = TestSegment::new();
    let mut value = segment.build::<ShmVec<()>>(ShmVec::with_capacity(usize::MAX)).unwrap();
    let mut v = value.view();
    v.resize(1000, ()).unwrap_or_else(|e| panic!("{e}"));
    v.truncate(3);
    v.push(()).unwrap();
    assert_eq!((v.len(), v.capacity(), v.pop()), (4, usize::MAX, Some(())));
    value.check();
    assert_eq!(segment.live_blocks().len(), 1);
}

#[test]
fn sizes_beyond_memory_are_errors() {
    let segment = TestSegment::new();
    let mut value = segment.build::<ShmVec<u64>>([1]).unwrap();
    for n in [usize::MAX, usize::MAX / 8, usize::MAX / 8 + 1, isize::MAX as usize, 1 << 40] {
        assert!(value.view().reserve(n).unwrap_err().is_out_of_memory());
        assert!(value.view().reserve_exact(n).unwrap_err().is_out_of_memory());
        assert!(segment.build::<ShmVec<u64>>(ShmVec::with_capacity(n)).is_err());
    }
    value.check();
}

#[test]
fn visit_finds_damage() {
    let segment = TestSegment::new();
    let mut value = segment.build::<ShmVec<ShmString>>(["a", LONG]).unwrap();
    let word =
        |i: usize, n: u64| move |bytes: &mut [u8]| bytes[i * 8..][..8].copy_from_slice(&n.to_le_bytes());
    for n in [0, 1, 3, 1 << 20, 1 << 62, u64::MAX] {
        assert!(findings(&segment, &mut value, word(0, n)) > 0, "pointer {n}");
    }
    let cap = value.get().capacity() as u64;
    for n in [cap + 1, 1 << 40, u64::MAX] {
        assert!(findings(&segment, &mut value, word(1, n)) > 0, "length {n}");
        assert!(findings(&segment, &mut value, word(2, n)) > 0, "capacity {n}");
    }
    assert!(findings(&segment, &mut value, word(2, 0)) > 0);
    assert!(findings(&segment, &mut value, word(2, 1)) > 0);
}

/// Stores what relocation stores, one store less each time, over a valid old value.
#[test]
fn relocation_over_an_old_value_is_whole_at_every_store() {
    let segment = TestSegment::new();
    let mut pair =
        segment.build::<[ShmVec<u64>; 2]>(crate::init::array([vec![1, 2, 3], vec![9; 50]])).unwrap();
    let (from, to) = (&raw const pair.get()[0], (&raw const pair.get()[1]).cast_mut());
    let (blocks, words) = (segment.live_blocks(), to.cast::<[u64; 3]>());
    // SAFETY: two valid vectors in the segment, exclusively ours; what relocation overwrites is put back.
    unsafe {
        let old = words.read();
        let (len, cap) = ((*from).len, (*from).cap);
        for stores in 0..=5 {
            let steps: [&dyn Fn(); 5] = [
                &|| super::store(&raw mut (*to).len, 0),
                &|| super::store(&raw mut (*to).cap, 0),
                &|| crate::OffsetPtr::store(&raw mut (*to).ptr, (*from).ptr.as_ptr()),
                &|| super::store(&raw mut (*to).cap, cap),
                &|| super::store(&raw mut (*to).len, len),
            ];
            steps[..stores].iter().for_each(|step| step());
            let mut visitor = crate::Visitor::new(segment.access());
            visitor.walk(to, 1);
            assert!(visitor.is_clean(), "after {stores} stores: {:?}", visitor.findings());
            assert!((*to).iter().all(|n| *n == 9) || *to == [1, 2, 3]);
            if stores == 5 {
                let by_hand = words.read();
                words.write(old);
                ShmVec::relocate(from.cast_mut(), to);
                assert_eq!(words.read(), by_hand, "the steps above are what relocation does");
            }
            words.write(old);
        }
    }
    assert_eq!(segment.live_blocks(), blocks);
    pair.view().set(1, [4, 5]).unwrap();
    assert_eq!(pair.get()[1], [4, 5]);
    pair.check();
}
