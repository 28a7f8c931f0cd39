//! Tests of [`ShmBox`] and [`ShmBoxSlice`].

use super::{BoxMut, ShmBox, ShmBoxSlice};
use crate::access::Access;
use crate::container::test_kit::*;
use crate::container::{NoneInit, OptionMut, ShmOption, ShmString, ShmVec};
use crate::error::{Error, Result};
use crate::layout::init::{Init, from_iter};
use crate::layout::{ShmSafe, TypeInfo, Visitor};
use crate::testing::TestSegment;
use std::ptr::NonNull;

const LONG: &str = "a string that is too long to be inline";

#[test]
fn every_operation_is_undone_and_stands_running_out_of_memory() {
    let native = |b: &ShmBox<ShmString>| b.to_string();
    let run = |change: fn(BoxMut<'_, ShmString>) -> Result<()>| {
        exercise(|| ShmBox::new(LONG), native, change);
    };
    run(|mut b| b.set("x"));
    run(|mut b| b.set(LONG));
    run(|mut b| b.get().push_str(LONG));
    undone(
        || ShmBox::new(7u64),
        |b: &ShmBox<u64>| **b,
        |mut b: BoxMut<'_, u64>| {
            *b += 1;
            *b.get() += 1;
            b.set(*b + 1)
        },
    );
    undone(
        || [LONG, "b"],
        |s: &ShmBoxSlice<ShmString>| s.iter().map(|s| s.to_string()).collect::<Vec<_>>(),
        |mut s| {
            s.set(1, LONG)?;
            s.get_mut(0).unwrap().push_str(LONG)
        },
    );
}

#[test]
fn boxes_read_like_their_values() {
    let segment = TestSegment::new();
    let value = segment.build::<ShmBox<ShmVec<u64>>>(ShmBox::new([1, 2])).unwrap();
    assert_eq!((value.elsewhere().len(), format!("{:?}", value.get())), (2, "[1, 2]".into()));
    value.check();
    let unit = segment.build::<ShmBox<()>>(ShmBox::new(())).unwrap();
    assert_eq!(**unit.elsewhere(), ());
    fn shared<T: Send + Sync>(_: &T) {}
    shared(value.get());
}

#[test]
fn boxed_slices() {
    let segment = TestSegment::new();
    fn same<I: Init<ShmBoxSlice<u64>>>(segment: &TestSegment, init: I) {
        let mut value = segment.build(init).unwrap();
        assert_eq!(*value.elsewhere(), [0, 1, 2]);
        value.check();
        value.undone(|s| s.to_vec(), |v| v.view()[1..].fill(9));
    }
    same(&segment, [0, 1, 2]);
    same(&segment, vec![0, 1, 2]);
    same(&segment, &[0, 1, 2][..]);
    same(&segment, from_iter(0..3));
    same(&segment, ShmBoxSlice::from_fn(3, |i| i as u64));
    for n in 0..6 {
        segment.fail_after(Some(1 + n));
        let failed = segment.build::<ShmBoxSlice<ShmString>>(from_iter([LONG; 9]));
        segment.fail_after(None);
        assert!(failed.is_err() && segment.live_blocks().is_empty());
    }
    let empty = segment.build::<ShmBoxSlice<u64>>(from_iter(0..0)).unwrap();
    assert!(empty.get().is_empty());
    empty.check();
    let units = segment.build::<ShmBoxSlice<()>>([(), ()]).unwrap();
    assert_eq!(units.get().len(), 2);
}

#[test]
fn held_locks_are_neither_replaced_nor_dropped() {
    let segment = TestSegment::new();
    let mut value = segment.build::<ShmBox<FakeLock>>(ShmBox::new(NewLock(0))).unwrap();
    *value.view().get() = 1;
    assert!(matches!(value.view().set(NewLock(0)), Err(Error::LockHeld)));
    value.check();
    drop(value);
    assert_eq!(segment.live_blocks().len(), 1, "the block is leaked");
}

#[test]
fn visit_finds_damage() {
    let segment = TestSegment::new();
    let mut value = segment.build::<ShmBox<ShmString>>(ShmBox::new(LONG)).unwrap();
    for flip in [0, 1, 3, 6, 7] {
        assert!(findings(&segment, &mut value, |b| b[flip] ^= 1) > 0);
    }
    assert_eq!(findings(&segment, &mut value, |b| b.copy_from_slice(&1u64.to_le_bytes())), 1);
    drop(value);
    let mut slice = segment.build::<ShmBoxSlice<u64>>([1, 2]).unwrap();
    assert_eq!(findings(&segment, &mut slice, |b| b[12] = 1), 1);
    assert_eq!(findings(&segment, &mut slice, |b| b[15] = 0xff), 1);
}

/// A list node, as the derive would make it.
#[repr(C)]
struct Node {
    next: ShmOption<ShmBox<Node>>,
    kids: ShmVec<Node>,
    tracked: Tracked,
}

struct NewNode(u64);

// SAFETY: the part that can fail comes first.
unsafe impl Init<Node> for NewNode {
    unsafe fn init(self, slot: *mut Node, access: Access<'_>) -> Result<()> {
        // SAFETY: by the caller.
        unsafe {
            Track(self.0).init(&raw mut (*slot).tracked, access)?;
            let none: NoneInit<ShmBox<Node>> = ShmOption::none();
            none.init(&raw mut (*slot).next, access)?;
            ShmVec::new().init(&raw mut (*slot).kids, access)
        }
    }
}

struct NodeMut<'a> {
    next: OptionMut<'a, ShmBox<Node>>,
    kids: crate::container::VecMut<'a, Node>,
}

// SAFETY: field by field.
unsafe impl ShmSafe for Node {
    const PLAIN: bool = false;
    const ANY_BITS: bool = false;
    type Parts = ();
    type Mut<'a> = NodeMut<'a>;
    unsafe fn view<'a>(at: NonNull<Self>, access: Access<'a>) -> NodeMut<'a> {
        // SAFETY: by the caller.
        unsafe {
            NodeMut {
                next: ShmSafe::view(NonNull::new_unchecked(&raw mut (*at.as_ptr()).next), access),
                kids: ShmSafe::view(NonNull::new_unchecked(&raw mut (*at.as_ptr()).kids), access),
            }
        }
    }
    unsafe fn relocate(from: *mut Self, to: *mut Self) {
        // SAFETY: by the caller.
        unsafe {
            ShmSafe::relocate(&raw mut (*from).next, &raw mut (*to).next);
            ShmSafe::relocate(&raw mut (*from).kids, &raw mut (*to).kids);
            ShmSafe::relocate(&raw mut (*from).tracked, &raw mut (*to).tracked);
        }
    }
    fn type_info() -> &'static TypeInfo {
        builtin_info!(Node, "Node")
    }
    unsafe fn visit(this: *const Self, visitor: &mut Visitor<'_>) {
        // SAFETY: by the caller.
        unsafe {
            ShmSafe::visit(&raw const (*this).next, visitor);
            ShmSafe::visit(&raw const (*this).kids, visitor);
            ShmSafe::visit(&raw const (*this).tracked, visitor);
        }
    }
}

/// Deep enough to overflow the stack of [`on_a_small_stack`] many times if destruction recursed.
const DEEP: u64 = 3000;

fn on_a_small_stack(test: impl FnOnce() + Send) {
    std::thread::scope(|s| {
        std::thread::Builder::new().stack_size(128 << 10).spawn_scoped(s, test).unwrap().join().unwrap();
    });
}

#[test]
fn a_long_chain_of_boxes_is_dropped_in_constant_stack() {
    on_a_small_stack(|| {
        let segment = TestSegment::new();
        let mut value = segment.build::<ShmOption<ShmBox<Node>>>(ShmOption::none()).unwrap();
        for n in 0..DEEP {
            let mut new =
                segment.build::<ShmOption<ShmBox<Node>>>(ShmOption::some(ShmBox::new(NewNode(n)))).unwrap();
            new.view().as_mut().unwrap().get().next.move_from(&mut value.view()).unwrap();
            value.view().move_from(&mut new.view()).unwrap();
        }
        value.check();
        let before = DROPPED.get();
        assert!(value.view().clear());
        assert_eq!(DROPPED.get() - before, DEEP as usize);
        assert_eq!(segment.live_blocks().len(), 1);
    });
}

#[test]
fn vectors_in_vectors_are_dropped_in_constant_stack() {
    on_a_small_stack(|| {
        let segment = TestSegment::new();
        let mut value = segment.build::<ShmVec<Node>>([NewNode(0)]).unwrap();
        for n in 1..DEEP {
            let mut new = segment.build::<ShmVec<Node>>([NewNode(n)]).unwrap();
            new.view().first_mut().unwrap().kids.append(&mut value.view()).unwrap();
            value.view().append(&mut new.view()).unwrap();
        }
        value.check();
        let before = DROPPED.get();
        value.view().clear();
        assert_eq!(DROPPED.get() - before, DEEP as usize);
    });
}

#[test]
fn a_panic_in_a_chain_loses_nothing() {
    let segment = TestSegment::new();
    let mut value = segment.build::<ShmOption<ShmBox<Node>>>(ShmOption::none()).unwrap();
    for n in 0..9 {
        let mut new =
            segment.build::<ShmOption<ShmBox<Node>>>(ShmOption::some(ShmBox::new(NewNode(n)))).unwrap();
        new.view().as_mut().unwrap().get().next.move_from(&mut value.view()).unwrap();
        value.view().move_from(&mut new.view()).unwrap();
    }
    value.undone(|v| v.is_some(), |v| assert!(v.view().clear()));
    let before = DROPPED.get();
    PANIC_AT.set(5);
    panics(|| value.view().clear());
    PANIC_AT.set(u64::MAX);
    assert_eq!(DROPPED.get() - before, 9);
    value.check();
    assert_eq!(segment.live_blocks().len(), 1);
}
