//! Views of derived structs and of locks, under an undo log and with memory running out.
//!
//! This file needs `unsafe`: it looks into a lock without locking.

use crate::testing::TestSegment;
use crate::{Init, ShmMutex, ShmOption, ShmSafe, ShmString, ShmVec};

#[derive(ShmSafe, Debug, Clone, Copy, PartialEq)]
#[repr(C)]
struct Point {
    x: i32,
    y: i32,
}

#[derive(ShmSafe)]
#[repr(C)]
struct Record {
    id: u64,
    name: ShmString,
    at: Point,
    list: ShmVec<Nested>,
    lock: ShmMutex<ShmVec<u64>>,
}

#[derive(ShmSafe)]
#[repr(C)]
struct Nested {
    label: ShmOption<ShmString>,
    flag: bool,
}

type Native = (u64, String, Point, Vec<(Option<String>, bool)>);

const LONG: &str = "a text that is too long to stand inline";

fn native(r: &Record) -> Native {
    let nested = |n: &Nested| (n.label.as_ref().map(|l| l.to_string()), n.flag);
    (r.id, r.name.to_string(), r.at, r.list.iter().map(nested).collect())
}

fn record() -> impl Init<Record> {
    RecordInit {
        id: 1,
        name: LONG,
        at: Point { x: 2, y: 3 },
        list: vec![NestedInit { label: ShmOption::some(LONG), flag: true }],
        lock: ShmMutex::new([1, 2, 3]),
    }
}

#[test]
fn every_write_through_a_derived_view_is_recorded() {
    let segment = TestSegment::new();
    let mut value = segment.build::<Record>(record()).unwrap();
    value.undone(native, |r| *r.view().id = 9);
    value.undone(native, |r| r.view().name.push_str(LONG).unwrap());
    value.undone(native, |r| r.view().name.clear());
    value.undone(native, |r| {
        let mut view = r.view();
        *view.at.x = 7;
        *view.at.y = 8;
        let mut first = view.list.get_mut(0).unwrap();
        *first.flag = false;
        first.label.clear();
    });
    value.undone(native, |r| {
        let new = NestedInit { label: ShmOption::some(LONG), flag: false };
        r.view().list.push(new).unwrap();
    });
    let inside = |r: &Record| -> Vec<u64> {
        // SAFETY: the test is alone, and no view is alive.
        unsafe { r.lock.debug_value().to_vec() }
    };
    value.undone(inside, |r| r.view().lock.get().unwrap().push(4).unwrap());
    value.undone(inside, |r| r.view().lock.set([9]).unwrap());
    assert_eq!(native(value.elsewhere()), native(value.get()));
}

#[test]
fn memory_that_runs_out_anywhere_leaves_nothing() {
    let segment = TestSegment::new();
    for n in 0.. {
        segment.fail_after(Some(n));
        let outcome = segment.build::<Record>(record());
        segment.fail_after(None);
        match outcome {
            Ok(value) => {
                value.check();
                break;
            }
            Err(e) => assert!(e.is_out_of_memory(), "{e}"),
        }
        assert_eq!(segment.live_blocks(), []);
    }
    assert_eq!(segment.live_blocks(), []);
}
