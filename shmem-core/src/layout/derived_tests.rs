//! Views of derived structs and enums and of locks, under an undo log, with memory running out, and half-way through.
//!
//! This file needs `unsafe`: it looks into a lock without locking.

use crate::access::Access;
use crate::testing::TestSegment;
use crate::{Init, ShmMutex, ShmOption, ShmSafe, ShmString, ShmVec, TypeInfo, Visitor};
use std::cell::RefCell;
use std::marker::PhantomPinned;
use std::ptr::NonNull;

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

#[derive(ShmSafe)]
#[repr(u8)]
enum Job {
    Idle,
    Running { id: u64, name: ShmString },
    Many(ShmVec<Job>, Point),
}

#[derive(Debug, Clone, PartialEq)]
enum NativeJob {
    Idle,
    Running(u64, String),
    Many(Vec<NativeJob>, Point),
}

fn native_job(job: &Job) -> NativeJob {
    match job {
        Job::Idle => NativeJob::Idle,
        Job::Running { id, name } => NativeJob::Running(*id, name.to_string()),
        Job::Many(jobs, at) => NativeJob::Many(jobs.iter().map(native_job).collect(), *at),
    }
}

#[test]
fn every_write_through_the_view_of_an_enum_is_recorded() {
    let segment = TestSegment::new();
    let mut job = segment.build::<Job>(JobRunningInit { id: 1, name: LONG }).unwrap();
    job.undone(native_job, |j| j.view().set(Job::init_idle()).unwrap());
    job.undone(native_job, |j| j.view().set(JobRunningInit { id: 2, name: "short" }).unwrap());
    let many = || JobManyInit(vec![JobRunningInit { id: 3, name: LONG }], Point { x: 1, y: 2 });
    job.undone(native_job, |j| j.view().set(many()).unwrap());
    job.undone(native_job, |j| {
        let mut view = j.view();
        let JobVariantMut::Running { id, mut name } = view.get() else { panic!("another variant") };
        *id = 9;
        name.push_str(LONG).unwrap();
    });
    job.view().set(many()).unwrap();
    job.undone(native_job, |j| {
        let mut view = j.view();
        let JobVariantMut::Many(mut jobs, at) = view.get() else { panic!("another variant") };
        jobs.push(Job::init_idle()).unwrap();
        jobs.get_mut(0).unwrap().set(Job::init_idle()).unwrap();
        *at.x = 7;
    });
    assert_eq!(native_job(job.elsewhere()), native_job(job.get()));
    // Memory that runs out at any allocation of a replacement: the old value stays, nothing is leaked.
    let before = native_job(job.get());
    for n in 0.. {
        segment.fail_after(Some(n));
        let outcome = job.view().set(many());
        segment.fail_after(None);
        job.check();
        match outcome {
            Err(e) => assert!(e.is_out_of_memory() && native_job(job.get()) == before),
            Ok(()) => break,
        }
    }
}

/// Every byte of the segment's live blocks.
fn bytes_of(segment: &TestSegment) -> Vec<Vec<u8>> {
    let at = |offset: u64| segment.access().context().base().wrapping_add(offset as usize);
    let copy = |(offset, size): (u64, u64)| {
        // SAFETY: a live block; its bytes were all written once, by the test segment.
        unsafe { std::slice::from_raw_parts(at(offset), size as usize) }.to_vec()
    };
    segment.live_blocks().into_iter().map(copy).collect()
}

/// Neither what is moved, nor anything it owns or that stands beside it, changes: until the new place is published, the
/// old value is whole.
#[test]
fn relocation_writes_nothing_but_its_target() {
    fn relocated<T: ShmSafe>(init: impl Init<T>) {
        let segment = TestSegment::new();
        let value = segment.build::<T>(init).unwrap();
        let (from, mut to) = (std::ptr::from_ref(value.get()).cast_mut(), Box::<T>::new_uninit());
        let before = bytes_of(&segment);
        assert!(!before.is_empty());
        // SAFETY: valid; the copy is forgotten.
        unsafe { T::relocate(from, to.as_mut_ptr()) };
        assert!(before == bytes_of(&segment), "{}", T::type_info());
    }
    relocated::<Record>(record());
    relocated::<Job>(JobRunningInit { id: 1, name: LONG });
    relocated::<Job>(JobManyInit(vec![JobRunningInit { id: 3, name: LONG }], Point { x: 1, y: 2 }));
    relocated::<[ShmOption<ShmString>; 2]>(crate::init::array([Some(LONG), None]));
    relocated::<crate::ShmHashMap<ShmString, crate::ShmBox<Job>>>([(
        LONG,
        crate::ShmBox::new(Job::init_idle()),
    )]);
    relocated::<crate::ShmBoxSlice<Job>>([Job::init_idle()]);
}

thread_local! {
    /// What a [`Watched`] calls when it is relocated.
    static ON_RELOCATE: RefCell<Option<Box<dyn Fn()>>> = const { RefCell::new(None) };
}

/// Tells when it is relocated, before and after.
#[repr(C)]
struct Watched(u32, PhantomPinned);

// SAFETY: a number.
unsafe impl ShmSafe for Watched {
    const PLAIN: bool = false;
    const ANY_BITS: bool = true;
    type Parts = ();
    type Mut<'a> = ();
    unsafe fn view<'a>(_: NonNull<Self>, _: Access<'a>) {}
    unsafe fn relocate(from: *mut Self, to: *mut Self) {
        let tell = || ON_RELOCATE.with_borrow(|tell| tell.as_ref().map(|tell| tell()));
        tell();
        // SAFETY: both valid by the caller.
        unsafe { to.cast::<u32>().write(from.cast::<u32>().read()) };
        tell();
    }
    fn type_info() -> &'static TypeInfo {
        u32::type_info()
    }
    unsafe fn visit(_: *const Self, _: &mut Visitor<'_>) {}
}

struct Watch(u32);

// SAFETY: the slot is written whole, and nothing else.
unsafe impl Init<Watched> for Watch {
    unsafe fn init(self, slot: *mut Watched, _: Access<'_>) -> crate::Result<()> {
        // SAFETY: valid for writes by the caller.
        unsafe { slot.write(Watched(self.0, PhantomPinned)) };
        Ok(())
    }
}

#[derive(ShmSafe)]
#[repr(u8)]
enum Flags {
    Numbers(Watched, u8, u8, Watched),
    Bools(Watched, bool, bool, Watched),
    None,
}

#[derive(ShmSafe)]
#[repr(u8)]
enum Full {
    Numbers(Watched, u8, u8, Watched),
    Bools(Watched, bool, bool, Watched),
}

/// Whatever instruction a replacement is stopped at, the enum shows no fields that are not there: it is without fields, or
/// its tag is no variant's, which a walk reports.
#[test]
fn an_enum_half_replaced_shows_no_fields() {
    /// Replaces `old` by `new`; gives, for each time it was looked at, whether a walk found it sound.
    fn looks<T: ShmSafe>(old: impl Init<T>, new: impl Init<T>, tag: u8) -> Vec<bool> {
        let segment = TestSegment::new();
        let mut value = segment.build::<T>(old).unwrap();
        let at = NonNull::from(value.get());
        let seen = std::rc::Rc::new(RefCell::new(Vec::new()));
        let (log, access) = (seen.clone(), crate::access::Access::detached());
        ON_RELOCATE.set(Some(Box::new(move || {
            let mut visitor = Visitor::new(access);
            // SAFETY: readable; nobody else is there.
            unsafe { visitor.walk(at.as_ptr().cast_const(), 1) };
            // SAFETY: the tag of the value.
            let now = unsafe { at.cast::<u8>().read() };
            log.borrow_mut().push((now, visitor.is_clean()));
        })));
        // SAFETY: valid, and ours alone.
        unsafe { crate::layout::init::replace(at, new, segment.access()).unwrap() };
        ON_RELOCATE.set(None);
        let _ = value.view();
        // The old value is moved away first; then the new one comes, from its first field on.
        let seen = seen.take();
        assert_eq!(seen.len(), 8);
        assert!(seen[..4].iter().all(|look| *look == (0, true)), "{seen:?}");
        assert!(seen[4..].iter().all(|(now, _)| *now == tag), "{seen:?}");
        seen[4..].iter().map(|(_, clean)| *clean).collect()
    }
    let none = looks::<Flags>(
        FlagsNumbersInit(Watch(1), 7, 7, Watch(2)),
        FlagsBoolsInit(Watch(3), true, false, Watch(4)),
        2,
    );
    assert_eq!(none, [true; 4]);
    let vacant = looks::<Full>(
        FullNumbersInit(Watch(1), 7, 7, Watch(2)),
        FullBoolsInit(Watch(3), true, false, Watch(4)),
        2,
    );
    assert_eq!(vacant, [false; 4]);
}

/// An ordinary type and what it is in a segment.
#[derive(ShmSafe, Debug, Clone, PartialEq)]
#[shm(mirror = ShmDocument)]
struct Document {
    title: String,
    lines: Vec<Option<String>>,
    next: Option<Box<Document>>,
    counts: std::collections::HashMap<String, (u32, bool)>,
}

#[test]
fn a_twin_that_runs_out_of_memory_leaves_nothing() {
    let document = |next| Document {
        title: LONG.into(),
        lines: vec![Some(LONG.into()), None, Some("short".into())],
        next,
        counts: [("one".to_string(), (1, true)), (LONG.to_string(), (2, false))].into(),
    };
    let document = document(Some(Box::new(document(None))));
    let segment = TestSegment::new();
    for n in 0.. {
        segment.fail_after(Some(n));
        let outcome = segment.build::<ShmDocument>(&document);
        segment.fail_after(None);
        match outcome {
            Ok(value) => {
                value.check();
                assert_eq!(value.elsewhere().to_native(), document);
                break;
            }
            Err(e) => assert!(e.is_out_of_memory(), "{e}"),
        }
        assert_eq!(segment.live_blocks(), []);
    }
    assert_eq!(segment.live_blocks(), []);
}
