//! Tests of [`ShmOption`].

use super::{OptionMut, ShmOption};
use crate::container::test_kit::*;
use crate::container::{ShmString, ShmVec};
use crate::error::{Error, Result};
use crate::layout::hash_one;
use crate::testing::TestSegment;
use proptest::prelude::*;

const LONG: &str = "a string that is too long to be inline";

#[test]
fn every_operation_is_undone_and_stands_running_out_of_memory() {
    for initial in [None, Some("x"), Some(LONG)] {
        let native = |o: &ShmOption<ShmString>| o.as_ref().map(|s| s.to_string());
        let run = |change: fn(OptionMut<'_, ShmString>) -> Result<()>| exercise(|| initial, native, change);
        run(|mut o| o.set(LONG));
        run(|mut o| o.insert("y").map(drop));
        run(|mut o| o.get_or_insert(LONG).map(drop));
        run(|mut o| o.get_or_insert_with(|| "y").map(drop));
        run(|mut o| {
            o.clear();
            Ok(())
        });
        run(|mut o| o.as_mut().map_or(Ok(()), |mut s| s.push_str(LONG)));
    }
    let native = |o: &ShmOption<u64>| o.as_ref().copied();
    exercise(
        || Some(3),
        native,
        |mut o: OptionMut<'_, u64>| {
            assert_eq!(o.take(), Some(3).filter(|_| o.is_none()));
            assert_eq!(o.replace(5)?, None);
            assert_eq!(o.replace(6)?, Some(5));
            o.set(3)
        },
    );
}

#[test]
fn options_of_movable_values_are_movable() {
    let segment = TestSegment::new();
    let mut value = segment.build::<ShmVec<ShmOption<u64>>>([Some(1), None]).unwrap();
    value.check();
    let mut v = value.view();
    v[1] = Some(5).into();
    *v[0].as_mut().unwrap() += 1;
    assert_eq!(v.pop().and_then(ShmOption::into_option), Some(5));
    assert!(v[0] == Some(2) && v[0] != None::<u64>);
    assert_eq!(format!("{v:?}"), "[Some(2)]");
    assert_ne!(hash_one(&v[0], 1), hash_one(&ShmOption::<u64>::from(None), 1));
    let none = ShmOption::<u64>::from(None);
    assert!(v[0] > none);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn model_of_an_option(ops in proptest::collection::vec((0u8..6, "[a-c]{0,3}|[a-z]{24,30}"), 0..40)) {
        let segment = TestSegment::new();
        let mut value = segment.build::<ShmOption<ShmString>>(ShmOption::none()).unwrap();
        let mut model = None::<String>;
        for (op, text) in ops {
            let mut view = value.view();
            match op {
                0 | 1 => {
                    view.set(&text).unwrap();
                    model = Some(text);
                }
                2 => prop_assert_eq!(view.clear(), model.take().is_some()),
                3 => {
                    view.get_or_insert(&text).unwrap().push('x').unwrap();
                    model.get_or_insert(text).push('x');
                }
                4 => {
                    let mut other = segment.build::<ShmOption<ShmString>>(Some(&text)).unwrap();
                    view.move_from(&mut other.view()).unwrap();
                    prop_assert!(other.get().is_none());
                    model = Some(text);
                }
                _ => {
                    let mut other = segment.build::<ShmOption<ShmString>>(ShmOption::none()).unwrap();
                    other.view().move_from(&mut view).unwrap();
                    prop_assert_eq!(other.get().as_ref().map(|s| s.to_string()), model.take());
                }
            }
            prop_assert!(*value.elsewhere() == model);
            value.check();
        }
        drop(value);
        prop_assert!(segment.live_blocks().is_empty());
    }
}

#[test]
fn values_do_not_move_between_segments() {
    let (one, two) = (TestSegment::new(), TestSegment::new());
    let mut a = one.build::<ShmOption<ShmString>>(Some(LONG)).unwrap();
    let mut b = two.build::<ShmOption<ShmString>>(ShmOption::none()).unwrap();
    assert!(matches!(b.view().move_from(&mut a.view()), Err(Error::OtherSegment)));
    assert!(*a.get() == Some(LONG) && b.get().is_none());
}

#[test]
fn held_locks_stay() {
    let segment = TestSegment::new();
    let mut value = segment.build::<ShmOption<FakeLock>>(Some(NewLock(0))).unwrap();
    *value.view().as_mut().unwrap() = 1;
    assert!(matches!(value.view().set(NewLock(0)), Err(Error::LockHeld)));
    panics(|| value.view().clear());
    assert!(value.get().is_some());
    *value.view().as_mut().unwrap() = 0;
    value.view().set(NewLock(2)).unwrap();
}

#[test]
fn visit_finds_damage() {
    let segment = TestSegment::new();
    let mut value = segment.build::<ShmOption<ShmString>>(Some(LONG)).unwrap();
    assert_eq!(findings(&segment, &mut value, |b| b[0] = 2), 1);
    assert_eq!(findings(&segment, &mut value, |b| b[8] ^= 1), 1);
    value.view().clear();
    assert_eq!(findings(&segment, &mut value, |b| b[8..].fill(7)), 0);
}
