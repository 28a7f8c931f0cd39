//! Tests of [`ShmString`].

use super::{INLINE, ShmString, StringMut};
use crate::container::test_kit::*;
use crate::error::Result;
use crate::layout::hash_one;
use crate::layout::init::{Init, from_iter};
use crate::testing::TestSegment;
use proptest::collection::vec;
use proptest::prelude::*;
use std::borrow::Cow;
use std::fmt::Write;

type Op = (u8, usize, usize, String);

fn apply(view: &mut StringMut<'_>, model: &mut String, (op, a, b, text): Op) -> Result<()> {
    let boundary = |n: usize| (0..=n % (model.len() + 1)).rev().find(|i| model.is_char_boundary(*i)).unwrap();
    let (i, j) = (boundary(a), boundary(b));
    let (low, high) = (i.min(j), i.max(j));
    match op % 14 {
        0 | 1 => {
            view.push_str(&text)?;
            model.push_str(&text);
        }
        2 => {
            view.push('é')?;
            model.push('é');
        }
        3 => assert_eq!(view.pop(), model.pop()),
        4 => {
            view.insert_str(i, &text)?;
            model.insert_str(i, &text);
        }
        5 => {
            view.insert(i, '€')?;
            model.insert(i, '€');
        }
        6 if i < model.len() => assert_eq!(view.remove(i), model.remove(i)),
        7 => {
            view.truncate(i);
            model.truncate(i);
        }
        8 => {
            view.replace_range(low..high, &text)?;
            model.replace_range(low..high, &text);
        }
        9 => {
            view.retain(|c| c != 'a');
            model.retain(|c| c != 'a');
        }
        10 => {
            view.set(&text)?;
            model.clone_from(&text);
        }
        11 => view.shrink_to_fit()?,
        12 => {
            view.make_ascii_uppercase();
            model.make_ascii_uppercase();
        }
        13 => {
            view.extend(text.chars())?;
            model.push_str(&text);
        }
        _ => view.reserve(a)?,
    }
    Ok(())
}

#[test]
fn model_of_a_string() {
    let text = || "[a-cé€]{0,4}|[a-z]{15,40}";
    let ops = |n| vec((any::<u8>(), 0usize..60, 0usize..60, text()), 0..n);
    let config = ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() };
    proptest!(config, |(initial in text(), first in ops(50), second in ops(12))| {
        let segment = TestSegment::new();
        let mut value = segment.build::<ShmString>(&initial).unwrap();
        let mut native = initial;
        for op in first {
            apply(&mut value.view(), &mut native, op).unwrap();
            prop_assert_eq!(value.get(), &native);
            prop_assert_eq!(value.elsewhere(), &native);
        }
        value.check();
        value.undone(
            |s| s.to_string(),
            |v| second.into_iter().for_each(|op| apply(&mut v.view(), &mut native, op).unwrap()),
        );
        drop(value);
        prop_assert!(segment.live_blocks().is_empty());
    });
}

const LONG: &str = "a string that is too long to be inline";

#[test]
fn every_operation_is_undone_and_stands_running_out_of_memory() {
    for initial in ["", "short", "exactly twenty-three by", LONG] {
        let run = |change: fn(StringMut<'_>) -> Result<()>| {
            exercise(|| initial, |s: &ShmString| s.to_string(), change);
        };
        let undo = |change: fn(StringMut<'_>) -> Result<()>| {
            undone(|| initial, |s: &ShmString| s.to_string(), change);
        };
        run(|mut s| s.push_str(LONG));
        run(|mut s| s.push_str("x"));
        run(|mut s| s.push('é'));
        run(|mut s| s.insert_str(0, LONG));
        run(|mut s| s.insert(0, 'é'));
        run(|mut s| s.set(LONG));
        run(|mut s| s.set("x"));
        run(|mut s| s.set(&LONG.repeat(5)));
        run(|mut s| s.replace_range(.., LONG));
        run(|mut s| s.extend([LONG, "x", LONG]));
        run(|mut s| s.reserve(200));
        run(|mut s| s.shrink_to_fit());
        undo(|mut s| {
            s.truncate(0);
            s.shrink_to_fit()
        });
        undo(|mut s| {
            s.clear();
            s.push_str("abc")
        });
        undo(|mut s| {
            s.pop();
            s.push('y')
        });
        run(|mut s| {
            s.make_ascii_uppercase();
            s.retain(|c| c != 'T');
            s.make_ascii_lowercase();
            Ok(())
        });
        undo(|mut s| write!(s, "{}{:?}", 1, LONG).map_err(|_| crate::AllocError::NoSegment.into()));
    }
}

#[test]
fn short_strings_take_no_block() {
    let segment = TestSegment::new();
    for len in 0..=30 {
        let text = "x".repeat(len);
        let mut value = segment.build::<ShmString>(text.as_str()).unwrap();
        assert_eq!(value.get().is_inline(), len <= INLINE);
        assert_eq!(segment.live_blocks().len(), 1 + usize::from(len > INLINE));
        assert_eq!(*value.elsewhere(), text);
        value.check();
        value.view().push_str("yz").unwrap();
        assert_eq!(*value.elsewhere(), text.clone() + "yz");
        value.view().truncate(len);
        value.view().shrink_to_fit().unwrap();
        assert_eq!(value.get().is_inline(), len <= INLINE);
        value.check();
    }
}

#[test]
fn initialisers() {
    let segment = TestSegment::new();
    fn same<I: Init<ShmString>>(segment: &TestSegment, init: I, expected: &str) {
        let value = segment.build(init).unwrap();
        assert_eq!(value.elsewhere().as_str(), expected);
    }
    let other = segment.build::<ShmString>(LONG).unwrap();
    same(&segment, other.get(), LONG);
    same(&segment, LONG, LONG);
    same(&segment, LONG.to_string(), LONG);
    let owned = LONG.to_string();
    same(&segment, &owned, LONG);
    same(&segment, Cow::Borrowed(LONG), LONG);
    same(&segment, 'é', "é");
    same(&segment, from_iter(LONG.chars()), LONG);
    same(&segment, from_iter(LONG.split_inclusive(' ')), LONG);
    same(&segment, from_iter(["a".to_string(), "b".into()]), "ab");
    same(&segment, ShmString::new(), "");
    drop(other);
    let empty = segment.build::<ShmString>(ShmString::with_capacity(100)).unwrap();
    assert!(empty.get().is_empty() && empty.get().capacity() >= 100);
    empty.check();
    drop(empty);
    for n in 0..3 {
        segment.fail_after(Some(1 + n));
        let failed = segment.build::<ShmString>(from_iter([LONG; 20]));
        segment.fail_after(None);
        assert!(failed.is_err() && segment.live_blocks().is_empty());
    }
}

#[test]
fn reads_like_a_str() {
    let segment = TestSegment::new();
    let value = segment.build::<ShmString>(LONG).unwrap();
    let s = value.get();
    let owned = LONG.to_string();
    assert_eq!(*s, owned);
    assert_eq!(owned, *s);
    assert_eq!(*s, LONG);
    assert_eq!(LONG, *s);
    assert_eq!(*s, *LONG);
    assert_eq!(*LONG, *s);
    assert_eq!((&s[2..8], s.len(), format!("{s} {s:?}")), ("string", LONG.len(), format!("{LONG} {LONG:?}")));
    assert_eq!(hash_one(s, 3), hash_one(LONG, 3));
    assert!(std::collections::BTreeSet::from([LONG]).contains(&**s));
    fn shared<T: Send + Sync>(_: &T) {}
    shared(s);
}

#[test]
fn misuse_panics_and_changes_nothing() {
    let segment = TestSegment::new();
    let mut value = segment.build::<ShmString>("aé€").unwrap();
    panics(|| value.view().truncate(2));
    panics(|| value.view().insert(2, 'x').unwrap());
    panics(|| value.view().remove(6));
    panics(|| value.view().replace_range(0..2, "").unwrap());
    panics(|| value.view().replace_range(0..60, "").unwrap());
    panics(|| value.view().retain(|c| if c == '€' { panic!() } else { false }));
    assert_eq!(*value.get(), "aé€");
    assert!(value.view().reserve(usize::MAX).unwrap_err().is_out_of_memory());
    value.check();
}

#[test]
fn visit_finds_damage() {
    let segment = TestSegment::new();
    let mut short = segment.build::<ShmString>("short").unwrap();
    assert_eq!(findings(&segment, &mut short, |b| b[1] = 0xff), 1);
    assert_eq!(findings(&segment, &mut short, |b| b[23] = 0x80 | 24), 1);
    assert_eq!(findings(&segment, &mut short, |b| b.fill(0)), 1);
    assert!(findings(&segment, &mut short, |b| b[23] = 0) > 0);
    drop(short);
    let mut long = segment.build::<ShmString>(LONG).unwrap();
    assert_eq!(findings(&segment, &mut long, |b| b[9] = 1), 1);
    assert_eq!(findings(&segment, &mut long, |b| b[17] = 1), 1);
    assert_eq!(findings(&segment, &mut long, |b| b[0] ^= 1), 1);
    assert_eq!(findings(&segment, &mut long, |b| b[5] ^= 1), 1);
}
