//! Every type, written through one mapping of a segment and read through a second at another address, in one process
//! and in another; and written there, and read here.

use bytemuck::{Pod, Zeroable};
use shmem_core::{Root, Segment, ShmBox, ShmBoxSlice, ShmHashMap, ShmHashSet, ShmMutex, ShmOption, ShmPod};
use shmem_core::{ShmSafe, ShmString, ShmVec};
use shmem_tests::*;
use std::marker::PhantomData;
use std::num::*;
use std::sync::atomic::{Ordering::SeqCst, *};

roles! { other_process }

/// One type: built in one mapping, looked at in every other, changed in each, looked at again.
trait Case {
    fn build(&self, segment: &Segment);
    fn look(&self, segment: &Segment, round: u64);
    fn change(&self, segment: &Segment, round: u64);
}

struct Of<T, B, L, C> {
    name: &'static str,
    build: B,
    look: L,
    change: C,
    _type: PhantomData<fn() -> T>,
}

impl<T, B, L, C> Case for Of<T, B, L, C>
where
    T: ShmSafe + Sync,
    B: Fn(&Segment, &str) -> Root<T>,
    L: Fn(&T, u64),
    C: Fn(&Root<T>, u64),
{
    fn build(&self, segment: &Segment) {
        (self.build)(segment, self.name);
    }

    fn look(&self, segment: &Segment, round: u64) {
        let root = segment.find::<T>(self.name).unwrap().unwrap_or_else(|| panic!("no {}", self.name));
        (self.look)(&root, round);
    }

    fn change(&self, segment: &Segment, round: u64) {
        (self.change)(&segment.find::<T>(self.name).unwrap().unwrap(), round);
    }
}

/// Tell the compiler a closure's arguments.
fn looks_at<T, F: Fn(&T, u64)>(look: F) -> F {
    look
}
fn changes<T: ShmSafe, F: Fn(&Root<T>, u64)>(change: F) -> F {
    change
}

fn of<R>(value: impl Fn(u64) -> R, round: u64) -> R {
    value(round)
}

macro_rules! case {
    ($name:literal: $type:ty = $init:expr, look $look:expr, change $change:expr) => {
        Box::new(Of::<$type, _, _, _> {
            name: $name,
            build: |segment: &Segment, name: &str| segment.construct::<$type>(name, $init).unwrap(),
            look: looks_at::<$type, _>($look),
            change: changes::<$type, _>($change),
            _type: PhantomData,
        }) as Box<dyn Case>
    };
}

/// A plain value, changed from one of a kind to the next by its view.
macro_rules! plain {
    ($($name:literal: $type:ty, $of:expr);+ $(;)?) => {
        vec![$(case!($name: $type = of($of, 0),
            look |value: &$type, round| assert_eq!(*value, of($of, round), $name),
            change |root: &Root<$type>, round| {
                // SAFETY: the rounds take turns; nobody else has the object.
                *unsafe { root.view_unchecked() } = of($of, round);
            })),+]
    };
}

macro_rules! atomic {
    ($($name:literal: $type:ty, $of:expr);+ $(;)?) => {
        vec![$(case!($name: $type = <$type>::new(of($of, 0)),
            look |value: &$type, round| assert_eq!(value.load(SeqCst), of($of, round), $name),
            change |root: &Root<$type>, round| root.store(of($of, round), SeqCst))),+]
    };
}

#[derive(Clone, Copy, Debug, PartialEq, Pod, Zeroable)]
#[repr(C)]
struct Sample {
    x: f64,
    y: [i16; 4],
}

#[derive(ShmSafe, Debug, PartialEq)]
#[repr(C)]
struct Inner<T, const N: usize> {
    label: ShmString,
    values: [T; N],
    _kind: PhantomData<T>,
}

#[derive(ShmSafe)]
#[repr(transparent)]
struct Wrapped(ShmVec<ShmString>);

#[derive(ShmSafe)]
#[repr(C)]
struct Outer {
    id: u128,
    inner: Inner<u16, 3>,
    list: ShmVec<Inner<u16, 3>>,
    map: ShmHashMap<ShmString, ShmVec<u64>>,
    maybe: ShmOption<ShmBox<Inner<u16, 3>>>,
    wrapped: Wrapped,
    lock: ShmMutex<ShmVec<ShmString>>,
    nothing: (),
}

fn inner(n: u64) -> InnerInit<String, [u16; 3], PhantomData<u16>> {
    InnerInit {
        label: format!("{n} with a label too long to be inline"),
        values: [n as u16; 3],
        _kind: PhantomData,
    }
}

fn is_inner(value: &Inner<u16, 3>, n: u64) -> bool {
    value.label.starts_with(&n.to_string()) && value.values == [n as u16; 3]
}

fn long(n: u64) -> String {
    format!("{n} and more than goes into a string that stands inline")
}

fn signed(n: u64) -> i64 {
    -(n as i64) - 1
}

fn cases() -> Vec<Box<dyn Case>> {
    let mut cases = plain! {
        "u8": u8, |n| n as u8 + 200; "u16": u16, |n| n as u16 + 60_000; "u32": u32, |n| n as u32 + (1 << 31);
        "u64": u64, |n| n + (1 << 63); "u128": u128, |n| u128::from(n) + (1 << 100);
        "usize": usize, |n| n as usize + (1 << 40);
        "i8": i8, |n| signed(n) as i8; "i16": i16, |n| signed(n) as i16; "i32": i32, |n| signed(n) as i32;
        "i64": i64, signed; "i128": i128, |n| i128::from(signed(n)) << 70;
        "isize": isize, |n| signed(n) as isize;
        "f32": f32, |n| n as f32 + 0.5; "f64": f64, |n| n as f64 + 0.25;
        "bool": bool, |n| n % 2 == 1; "char": char, |n| char::from_u32('α' as u32 + n as u32).unwrap();
        "NonZeroU8": NonZeroU8, |n| NonZeroU8::new(n as u8 + 1).unwrap();
        "NonZeroU16": NonZeroU16, |n| NonZeroU16::new(n as u16 + 1).unwrap();
        "NonZeroU32": NonZeroU32, |n| NonZeroU32::new(n as u32 + 1).unwrap();
        "NonZeroU64": NonZeroU64, |n| NonZeroU64::new(n + 1).unwrap();
        "NonZeroU128": NonZeroU128, |n| NonZeroU128::new(u128::from(n) + 1).unwrap();
        "NonZeroUsize": NonZeroUsize, |n| NonZeroUsize::new(n as usize + 1).unwrap();
        "NonZeroI8": NonZeroI8, |n| NonZeroI8::new(signed(n) as i8).unwrap();
        "NonZeroI16": NonZeroI16, |n| NonZeroI16::new(signed(n) as i16).unwrap();
        "NonZeroI32": NonZeroI32, |n| NonZeroI32::new(signed(n) as i32).unwrap();
        "NonZeroI64": NonZeroI64, |n| NonZeroI64::new(signed(n)).unwrap();
        "NonZeroI128": NonZeroI128, |n| NonZeroI128::new(signed(n).into()).unwrap();
        "NonZeroIsize": NonZeroIsize, |n| NonZeroIsize::new(signed(n) as isize).unwrap();
        "unit": (), |_| ();
        "PhantomData": PhantomData<u64>, |_| PhantomData;
        "ShmPod": ShmPod<Sample>, |n| ShmPod(Sample { x: n as f64, y: [n as i16; 4] });
    };
    cases.extend(atomic! {
        "AtomicU8": AtomicU8, |n| n as u8; "AtomicU16": AtomicU16, |n| n as u16; "AtomicU32": AtomicU32, |n| n as u32;
        "AtomicU64": AtomicU64, |n| n; "AtomicUsize": AtomicUsize, |n| n as usize;
        "AtomicI8": AtomicI8, |n| signed(n) as i8; "AtomicI16": AtomicI16, |n| signed(n) as i16;
        "AtomicI32": AtomicI32, |n| signed(n) as i32; "AtomicI64": AtomicI64, signed;
        "AtomicIsize": AtomicIsize, |n| signed(n) as isize; "AtomicBool": AtomicBool, |n| n % 2 == 1;
    });
    // SAFETY (of every `view_unchecked` below): the rounds take turns; nobody else has the object.
    cases.extend([
        case!("array": [u64; 5] = [0; 5],
            look |array: &[u64; 5], round| assert_eq!(*array, [round; 5]),
            change |root, round| {
                // SAFETY: see above.
                let mut view = unsafe { root.view_unchecked() };
                (0..5).for_each(|i| view[i] = round);
            }),
        case!("array of strings": [ShmString; 2] = shmem_core::init::array([long(0), long(0)]),
            look |array: &[ShmString; 2], round| assert!(array.iter().all(|text| *text == *long(round))),
            change |root, round| {
                // SAFETY: see above.
                let mut view = unsafe { root.view_unchecked() };
                (0..2).for_each(|i| view.get_mut(i).unwrap().set(&long(round)).unwrap());
            }),
        case!("ShmString": ShmString = long(0),
            look |text: &ShmString, round| assert_eq!(**text, *long(round)),
            // SAFETY: see above.
            change |root, round| unsafe { root.view_unchecked() }.set(&long(round)).unwrap()),
        case!("short ShmString": ShmString = "0",
            look |text: &ShmString, round| assert!(**text == *round.to_string() && text.is_inline()),
            // SAFETY: see above.
            change |root, round| unsafe { root.view_unchecked() }.set(&round.to_string()).unwrap()),
        case!("ShmVec": ShmVec<u64> = [0u64; 100],
            look |list: &ShmVec<u64>, round| {
                assert_eq!(list.len() as u64, 100 * (round + 1));
                assert!(list.iter().enumerate().all(|(i, n)| *n == i as u64 / 100));
            },
            // SAFETY: see above.
            change |root, round| unsafe { root.view_unchecked() }.extend([round; 100]).unwrap()),
        case!("ShmVec of vecs": ShmVec<ShmVec<ShmString>> = ShmVec::new(),
            look |lists: &ShmVec<ShmVec<ShmString>>, round| {
                assert_eq!(lists.len() as u64, round);
                assert!(lists.iter().zip(1..).all(|(list, n)| list.iter().all(|text| *text == *long(n))));
            },
            // SAFETY: see above.
            change |root, round| unsafe { root.view_unchecked() }.push([long(round), long(round)]).unwrap()),
        case!("ShmBox": ShmBox<ShmString> = ShmBox::new(long(0)),
            look |boxed: &ShmBox<ShmString>, round| assert_eq!(***boxed, *long(round)),
            // SAFETY: see above.
            change |root, round| unsafe { root.view_unchecked() }.set(long(round)).unwrap()),
        case!("ShmBoxSlice": ShmBoxSlice<ShmString> = [long(0), long(0)],
            look |texts: &ShmBoxSlice<ShmString>, round| assert!(texts.iter().all(|text| *text == *long(round))),
            change |root, round| {
                // SAFETY: see above.
                let mut view = unsafe { root.view_unchecked() };
                (0..2).for_each(|i| view.set(i, long(round)).unwrap());
            }),
        case!("ShmOption": ShmOption<ShmString> = ShmOption::none(),
            look |option: &ShmOption<ShmString>, round| match round % 2 {
                0 => assert!(option.is_none()),
                _ => assert_eq!(**option.as_ref().unwrap(), *long(round)),
            },
            change |root, round| {
                // SAFETY: see above.
                let mut view = unsafe { root.view_unchecked() };
                match round % 2 {
                    0 => assert!(view.clear()),
                    _ => view.set(long(round)).unwrap(),
                }
            }),
        case!("ShmHashMap": ShmHashMap<ShmString, ShmVec<u64>> = ShmHashMap::new(),
            look |map: &ShmHashMap<ShmString, ShmVec<u64>>, round| {
                assert_eq!(map.len() as u64, 50 * round);
                (0..50 * round).for_each(|n| assert_eq!(**map.get(&*n.to_string()).unwrap(), [n / 50]));
                assert_eq!(map.iter().count() as u64, 50 * round);
            },
            change |root, round| {
                // SAFETY: see above.
                let mut view = unsafe { root.view_unchecked() };
                for n in 50 * (round - 1)..50 * round {
                    assert!(view.insert(n.to_string(), [n / 50]).unwrap());
                }
            }),
        case!("ShmHashSet": ShmHashSet<u64> = ShmHashSet::new(),
            look |set: &ShmHashSet<u64>, round| assert!(set.len() as u64 == round && (1..=round).all(|n| set.contains(&n))),
            // SAFETY: see above.
            change |root, round| assert!(unsafe { root.view_unchecked() }.insert(round).unwrap())),
        case!("ShmMutex": ShmMutex<u64> = ShmMutex::new(0),
            look |counter: &ShmMutex<u64>, round| assert_eq!(*counter.lock().unwrap(), round),
            change |root, _| *root.lock().unwrap() += 1),
        case!("derived": Outer = OuterInit {
                id: 0, inner: inner(0), list: ShmVec::new(), map: ShmHashMap::new(), maybe: ShmOption::none(),
                wrapped: WrappedInit(ShmVec::new()), lock: ShmMutex::new(ShmVec::new()), nothing: (),
            },
            look |outer: &Outer, round| {
                assert!(outer.id == round.into() && is_inner(&outer.inner, round));
                assert!(outer.list.iter().zip(1..).all(|(value, n)| is_inner(value, n)));
                assert!((1..=round).all(|n| *outer.map.get(&*long(n)).unwrap() == [n, n]));
                assert!(outer.maybe.as_ref().map_or(round == 0, |value| is_inner(value, round)));
                assert!(outer.wrapped.0.iter().zip(1..).all(|(text, n)| *text == *long(n)));
                let lengths = [outer.list.len(), outer.map.len(), outer.wrapped.0.len(), outer.lock.lock().unwrap().len()];
                assert_eq!(lengths, [round as usize; 4]);
            },
            change |root, round| {
                root.lock.lock().unwrap().view().push(long(round)).unwrap();
                // SAFETY: see above.
                let mut view = unsafe { root.view_unchecked() };
                *view.id = round.into();
                view.inner.label.set(&long(round)).unwrap();
                (0..3).for_each(|i| view.inner.values[i] = round as u16);
                view.list.push(inner(round)).unwrap();
                view.map.insert(long(round), [round, round]).unwrap();
                view.maybe.set(ShmBox::new(inner(round))).unwrap();
                view.wrapped.0.push(long(round)).unwrap();
            }),
    ]);
    cases
}

fn other_process() {
    let segment = Segment::shared(&argument::<String>(0)).open().unwrap();
    let cases = cases();
    while let Some(line) = hear() {
        let round: u64 = line.parse().unwrap();
        cases.iter().for_each(|case| case.look(&segment, round - 1));
        cases.iter().for_each(|case| case.change(&segment, round));
        report(round);
    }
}

#[test]
fn every_type_at_two_addresses_and_in_two_processes() {
    let _watchdog = Watchdog::test("two mappings");
    let name = TempName::new("two");
    let one = name.segment().size(4 << 20).create().unwrap();
    let two = name.segment().open().unwrap();
    let mut other = Worker::spawn("other_process", &[&name]);
    let cases = cases();
    assert!(cases.len() > 50);
    cases.iter().for_each(|case| case.build(&one));
    let addresses = [&one, &two].map(|s| (&raw const *s.find::<u64>("u64").unwrap().unwrap()).addr());
    assert_ne!(addresses[0], addresses[1]);
    let mut round = 0;
    for _ in 0..3 {
        for writer in [Some(&one), Some(&two), None] {
            round += 1;
            match writer {
                Some(segment) => cases.iter().for_each(|case| case.change(segment, round)),
                None => {
                    other.tell(round);
                    other.expect(&round.to_string());
                }
            }
            for segment in [&one, &two] {
                cases.iter().for_each(|case| case.look(segment, round));
            }
        }
    }
    sound(&one);
    sound(&two);
    drop(one);
    assert_eq!(two.object_count(), cases.len());
    other.finish();
}
