//! What is found, what is kept, and what is given back, whatever was left by whom.

use super::types::Types;
use super::walk::{By, Walker};
use crate::access::BlockInfo;
use crate::error::{AuditError, Error};
use crate::layout::{BlockHandle, Fingerprint, ShmPod, Visitor, init};
use crate::segment::abandon::{killed, killed_at};
use crate::segment::directory::test_support;
use crate::segment::tests::{segment, sound};
use crate::segment::{LeakReport, Owned, Root, Segment};
use crate::{
    ShmBox, ShmBoxSlice, ShmHashMap, ShmHashSet, ShmMutex, ShmOption, ShmSafe, ShmString, ShmTuple2, ShmVec,
};
use std::alloc::Layout;
use std::collections::BTreeSet;
use std::marker::PhantomData;
use std::num::NonZeroU32;
use std::sync::atomic::AtomicU64;
use std::thread;
use std::time::Duration;

/// Some of everything.
#[derive(ShmSafe)]
#[repr(C)]
pub(super) struct Everything {
    flag: bool,
    letter: char,
    number: NonZeroU32,
    counter: AtomicU64,
    pod: ShmPod<[f32; 3], 7>,
    nothing: PhantomData<u64>,
    place: BlockHandle,
    text: ShmString,
    texts: [ShmString; 3],
    wide: ShmVec<Wide>,
    nested: ShmVec<ShmVec<ShmBox<ShmString>>>,
    slice: ShmBoxSlice<ShmOption<ShmString>>,
    map: ShmHashMap<ShmString, ShmMutex<ShmVec<u16>>>,
    set: ShmHashSet<u128>,
    states: ShmVec<State>,
    list: ShmOption<ShmBox<Node>>,
    units: ShmVec<()>,
    pairs: ShmVec<ShmTuple2<u8, ShmString>>,
}

#[derive(ShmSafe)]
#[repr(C, align(128))]
struct Wide {
    small: u8,
    text: ShmString,
}

#[derive(ShmSafe)]
#[repr(C, i16)]
enum State {
    Idle = -3,
    Named(u8, ShmString),
    Many { all: ShmVec<ShmString>, flag: bool } = 1000,
}

#[derive(ShmSafe)]
#[repr(C)]
struct Node {
    name: ShmString,
    next: ShmOption<ShmBox<Node>>,
}

fn long(i: usize) -> String {
    format!("text number {i}, which is too long to stand inline")
}

fn everything() -> impl init::Init<Everything> {
    EverythingInit {
        flag: true,
        letter: 'ß',
        number: NonZeroU32::new(7).unwrap(),
        counter: AtomicU64::new(3),
        pod: ShmPod([1.0; 3]),
        nothing: PhantomData,
        // Nobody asks whether something is there.
        place: BlockHandle::from_offset(u64::MAX),
        text: long(0),
        texts: init::array([long(1), "inline".to_string(), long(2)]),
        wide: (0..5).map(|i| WideInit { small: i, text: long(3) }).collect::<Vec<_>>(),
        nested: vec![vec![ShmBox::new(long(4)), ShmBox::new(long(5))], vec![], vec![ShmBox::new(long(6))]],
        slice: [ShmOption::some(long(7)), ShmOption::some(long(8))],
        map: (0..20).map(|i| (long(i), ShmMutex::new(vec![1u16, 2]))).collect::<Vec<_>>(),
        set: (0..40u128).collect::<Vec<_>>(),
        states: ShmVec::<State>::new(),
        list: ShmOption::none(),
        units: vec![(); 9],
        pairs: vec![(1u8, long(9)), (2, "short".to_string())],
    }
}

/// Builds one, with what no initialiser is convenient for.
fn build(segment: &Segment, name: &str) -> Root<ShmMutex<Everything>> {
    let root = segment.construct::<ShmMutex<Everything>>(name, ShmMutex::new(everything())).unwrap();
    let mut guard = root.lock().unwrap();
    let mut view = guard.view();
    view.states.push(State::init_idle()).unwrap();
    view.states.push(StateNamedInit(1u8, long(10))).unwrap();
    view.states.push(StateManyInit { all: [long(11), long(12)], flag: true }).unwrap();
    view.states.push(State::init_idle()).unwrap();
    drop(guard);
    root
}

fn audit(error: Error) -> AuditError {
    match error {
        Error::Audit(error) => *error,
        other => panic!("{other}"),
    }
}

/// The blocks that an object owns, and what is wrong with it, by its type's code and by its description.
fn walked<T: ShmSafe>(segment: &Segment, root: &Root<T>) -> [(BTreeSet<(u64, u64)>, usize); 2] {
    let at: *const T = &raw const **root;
    let mut visitor = Visitor::new(segment.access());
    visitor.claim(root.offset());
    // SAFETY: a live object of the type, which nobody changes.
    unsafe { visitor.walk(at, 1) };
    let by_code = (visitor.blocks().collect(), visitor.findings().len());

    let types = Types::new(&segment.stored_types());
    let mut blocks = BTreeSet::new();
    let mut note = |block: BlockInfo| blocks.insert((block.offset, block.size_bytes));
    let mut walker = Walker::new(segment.access(), &types, By::Description, &mut note);
    let objects = segment.inner.directory.inventory();
    let object = objects.iter().find(|object| object.fingerprint == Fingerprint::of::<T>()).unwrap();
    // SAFETY: as above.
    let found = unsafe { walker.walk(object) };
    assert!(found.is_known);
    [by_code, (blocks, found.findings.len())]
}

#[test]
fn a_description_leads_where_the_types_code_does() {
    let s = segment();
    let root = build(&s, "everything");
    let [by_code, by_description] = walked(&s, &root);
    assert_eq!(by_code, by_description);
    assert!(by_code.0.len() > 60 && by_code.1 == 0, "{} blocks", by_code.0.len());
}

#[derive(ShmSafe)]
#[repr(C)]
struct Chain {
    list: ShmOption<ShmBox<Node>>,
    spare: ShmOption<ShmBox<Node>>,
}

#[test]
fn a_long_list_is_walked_in_constant_stack() {
    let mut s = Segment::anonymous().size(64 << 20).create().unwrap();
    let none = ChainInit { list: ShmOption::none(), spare: ShmOption::none() };
    let root = s.construct::<ShmMutex<Chain>>("list", ShmMutex::new(none)).unwrap();
    let mut guard = root.lock().unwrap();
    for _ in 0..50_000 {
        let mut view = guard.view();
        let node = NodeInit { name: "n", next: ShmOption::none() };
        view.spare.set(ShmBox::new(node)).unwrap();
        view.spare.as_mut().unwrap().get().next.move_from(&mut view.list).unwrap();
        view.list.move_from(&mut view.spare).unwrap();
    }
    drop(guard);
    drop(root);
    let used = s.used();
    let report = s.recover_leaks().unwrap();
    assert!(report.live_blocks > 50_000 && report.swept_blocks() == 0, "{report}");
    assert_eq!((s.used(), report.live_bytes), (used, used));
    assert!(s.verify().unwrap().is_sound());
}

/// What must be there still, whatever was swept.
fn stock(s: &Segment) {
    build(s, "kept");
    s.construct::<ShmVec<u64>>("long", (0..10_000).collect::<Vec<_>>()).unwrap();
    s.construct_slice::<ShmString, _>("slice", 20, long).unwrap();
    s.construct_unique::<ShmBox<u64>>(ShmBox::new(7)).unwrap();
    s.construct::<u64>(&"a long name ".repeat(30), 3).unwrap();
}

#[track_caller]
fn is_stocked(s: &Segment) {
    let kept = s.find::<ShmMutex<Everything>>("kept").unwrap().unwrap();
    {
        let kept = kept.lock().unwrap();
        assert_eq!((&*kept.text, &*kept.texts[2]), (&*long(0), &*long(2)));
        assert!(kept.wide.iter().all(|wide| *wide.text == *long(3)));
        assert_eq!(&**kept.nested[0][1], &*long(5));
        let in_slice: Vec<&str> = kept.slice.iter().map(|o| &**o.as_ref().unwrap()).collect();
        assert_eq!(in_slice, [long(7), long(8)]);
        assert!((0..20).all(|i| *kept.map[&*long(i)].lock().unwrap() == [1, 2]));
        assert!((0..40u128).all(|n| kept.set.contains(&n)));
        let State::Many { all, flag: true } = &kept.states[2] else { panic!("another variant") };
        assert_eq!(&*all[1], &*long(12));
        assert_eq!(&*kept.pairs[0].1, &*long(9));
    }
    let counts = s.find::<ShmVec<u64>>("long").unwrap().unwrap();
    assert!(counts.iter().copied().eq(0..10_000));
    let slice = s.find_slice::<ShmString>("slice").unwrap().unwrap();
    assert!(slice.iter().enumerate().all(|(i, text)| **text == *long(i)));
    assert_eq!(**s.find_unique::<ShmBox<u64>>().unwrap().unwrap(), 7);
    assert_eq!(*s.find::<u64>(&"a long name ".repeat(30)).unwrap().unwrap(), 3);
    sound(s);
}

type Victim = ShmMutex<ShmVec<ShmVec<u64>>>;

fn victim() -> String {
    "victim ".repeat(20)
}

/// Constructs, grows, changes and destroys.
fn work(s: &Segment) {
    s.destroy::<Victim>(&victim()).unwrap();
    let root = s.construct::<Victim>(&victim(), ShmMutex::new(vec![vec![1; 5_000], vec![2]])).unwrap();
    {
        let mut guard = root.lock().unwrap();
        for i in 1..6 {
            guard.view().push(vec![7; i * 9000]).unwrap();
        }
        guard.view().clear();
        guard.view().push([4, 5, 6]).unwrap();
    }
    drop(s.construct_anonymous::<ShmVec<ShmString>>((0..9).map(long).collect::<Vec<_>>()).unwrap());
    s.destroy::<Victim>(&victim()).unwrap();
}

/// Somebody dies at every place where that leaves something, and all of it comes back.
#[test]
fn what_the_dead_have_left_comes_back_to_the_last_byte() {
    const POINTS: &[(&str, u64)] = &[
        ("reserve.name", 1),
        ("reserve.written", 1),
        ("reserve.pinned", 1),
        ("name.allocated", 1),
        ("construct.reserved", 1),
        ("construct.allocated", 1),
        ("construct.named", 1),
        ("construct.built", 1),
        ("construct.built", 2),
        ("construct.live", 1),
        ("construct.live", 2),
        ("unlink.unlinked", 1),
        ("unlink.unlocked", 1),
        ("reap.freeing", 1),
        ("reap.freeing", 2),
        ("reap.dropped", 1),
        ("reap.unnamed", 1),
        ("reap.freed", 2),
        ("release.unnamed", 1),
        ("release.nameless", 1),
        ("raw.taken", 3),
        ("raw.released", 3),
        ("intent.noted", 1),
        ("intent.done", 3),
        ("span.claimed", 1),
        ("span.claimed", 3),
        ("span.body", 1),
        ("span.body", 4),
        ("span.unclaimed", 1),
        ("span.unclaimed", 3),
        ("span.unbody", 1),
        ("span.unbody", 4),
        ("span.free", 1),
    ];
    let mut leaked = 0;
    for (point, nth) in POINTS {
        let mut s = segment();
        stock(&s);
        work(&s);
        let used = s.used();
        eprintln!("killed at {point}, {nth}");
        killed_at(&s, point, *nth, |s| work(&s));
        let before = s.used();
        s.recover();
        let after = s.used();
        let report = s.recover_leaks().unwrap_or_else(|e| panic!("{point}: {e}"));
        assert_eq!(after - s.used(), report.swept_bytes(), "{point}");
        assert_eq!(s.used(), report.live_bytes, "{point}");
        leaked += u64::from(before > used);
        // What it had finished is there.
        s.destroy::<Victim>(&victim()).unwrap();
        // What waits for somebody who knows its type gets that.
        work(&s);
        assert_eq!(s.used(), used, "{point}, {nth}: {report}");
        let again = s.recover_leaks().unwrap();
        assert_eq!((again.swept_bytes(), again.processes_recovered), (0, 0), "{point}: {again}");
        is_stocked(&s);
        assert!(s.verify().unwrap().is_sound(), "{point}");
        work(&s);
        assert_eq!(s.used(), used);
    }
    assert!(leaked > 15, "{leaked}");
}

/// A dead process's work: stock, leaks of every kind, and spans half made.
fn littered() -> Segment {
    let s = segment();
    killed(&s, |s, death| {
        stock(&s);
        work(&s);
        for size in [16, 24, 24, 24, 40, 100, 1000, 5000, 8000] {
            s.access().allocate(Layout::from_size_align(size, 8).unwrap()).unwrap();
        }
        for size in [50_000, 200_000] {
            s.access().allocate(Layout::from_size_align(size, 8).unwrap()).unwrap();
        }
        death.strike()
    });
    // Threads without a slot, and so without an intent.
    for (point, nth) in [("span.claimed", 1), ("span.body", 2), ("span.unbody", 1)] {
        killed_at(&s, point, nth, |s| {
            s.inner.heap.pretend_slot(u32::MAX);
            let (access, layout) = (s.access(), Layout::from_size_align(200_000, 8).unwrap());
            let block = access.allocate(layout).unwrap();
            // SAFETY: just allocated with this layout.
            unsafe { access.deallocate(block.cast(), layout) };
        });
    }
    killed_at(&s, "punch.punched", 1, |s| {
        s.inner.heap.pretend_slot(u32::MAX);
        s.inner.heap.trim().unwrap();
    });
    s
}

#[test]
fn whoever_recovers_leaks_may_die_in_it_and_another_begins_again() {
    let (clean, in_all) = {
        let mut s = littered();
        let report = s.verify().unwrap();
        assert!(report.is_sound() && report.left_by_the_dead > 3, "{report}");
        assert!(report.to_string().contains("as the dead have left them"), "{report}");
        let report = s.recover_leaks().unwrap();
        assert_eq!(s.verify().unwrap().left_by_the_dead, 0);
        assert!(report.spans >= 2 && report.stray_bytes > 0 && report.classes.len() > 5, "{report}");
        let text = report.to_string();
        assert!(
            text.contains(" given back\n  1 block of 16 bytes\n") && text.contains("half made"),
            "{text}"
        );
        (s.used(), report.swept_bytes())
    };
    let points = [
        ("leaks.alone", 1),
        ("leaks.marked", 1),
        ("sweep.blocks", 1),
        ("sweep.blocks", 4),
        ("sweep.claim", 1),
        ("sweep.body", 1),
        ("sweep.body", 2),
        ("sweep.punching", 1),
        ("intent.noted", 1),
        ("span.unclaimed", 1),
        ("span.unbody", 1),
        ("span.unbody", 2),
        ("sweep.swept", 1),
        ("leaks.done", 1),
    ];
    for (point, nth) in points {
        let mut s = littered();
        eprintln!("killed at {point}, {nth}");
        killed_at(&s, point, nth, |s| {
            // SAFETY: 1: nobody else has this mapping. 2: the blocks are a dead process's.
            unsafe { s.recover_leaks_unchecked() }.unwrap();
        });
        let report = s.recover_leaks().unwrap();
        assert_eq!(s.used(), clean, "{point}, {nth}: {report}");
        assert!(report.swept_bytes() <= in_all);
        is_stocked(&s);
    }
}

#[test]
fn others_and_other_handles_are_in_the_way() {
    let mut s = segment();
    let kept = s.construct::<ShmString>("kept", long(1)).unwrap();
    let leak = s.access().allocate(Layout::new::<[u64; 9]>()).unwrap();
    let used = s.used();
    assert_eq!(audit(s.recover_leaks().unwrap_err()), AuditError::Handles { handles: 1 });
    assert_eq!(audit(s.verify().unwrap_err()), AuditError::Handles { handles: 1 });
    let clone = s.clone();
    assert_eq!(
        s.recover_leaks().unwrap_err().to_string(),
        "this process has 2 other handle(s) to the segment"
    );
    drop((kept, clone));

    let other = Segment::from_fd(&s).unwrap();
    assert!(s.verify().unwrap().is_sound(), "who has done nothing yet is not in the way");
    let held = other.find::<ShmString>("kept").unwrap().unwrap();
    let pid = std::process::id();
    assert_eq!(audit(s.recover_leaks().unwrap_err()), AuditError::InUse { processes: vec![pid] });
    assert_eq!(
        s.verify().unwrap_err().to_string(),
        format!("others are attached to the segment: process {pid}")
    );
    assert_eq!(s.used(), used, "nothing was swept");
    drop(held);
    drop(other);
    assert_eq!(s.recover_leaks().unwrap().swept_blocks(), 1);
    let _ = leak;

    // The gate is somebody's.
    let gate = s.inner.file.storage().hold_byte(512).unwrap().unwrap();
    assert_eq!(audit(s.recover_leaks().unwrap_err()), AuditError::Underway);
    drop(gate);
    assert_eq!(s.recover_leaks().unwrap().swept_blocks(), 0);
    assert_eq!(&**s.find::<ShmString>("kept").unwrap().unwrap(), &*long(1));
}

/// Whether the thread has come to its end.
fn ends_within<T>(thread: &thread::JoinHandle<T>, time: Duration) -> bool {
    let start = std::time::Instant::now();
    while !thread.is_finished() && start.elapsed() < time {
        thread::sleep(Duration::from_millis(1));
    }
    thread.is_finished()
}

#[test]
fn who_comes_meanwhile_waits_and_no_dead_one_keeps_anybody_out() {
    let s = segment();
    let alone = s.alone().unwrap();
    let other = Segment::from_fd(&s).unwrap();
    let comes = thread::spawn(move || *other.construct::<u64>("new", 7).unwrap());
    assert!(!ends_within(&comes, Duration::from_millis(60)), "it gets in");
    assert_eq!(s.attached_pids().len(), 1);
    drop(alone);
    assert!(ends_within(&comes, Duration::from_secs(60)), "it does not get in");
    assert_eq!(comes.join().unwrap(), 7);

    let s = segment();
    killed(&s, |s, death| {
        let _alone = s.alone().unwrap();
        death.strike()
    });
    s.construct::<u64>("new", 7).unwrap();
    // As where a child of the dead one keeps the byte.
    let s = segment();
    let gate = s.inner.file.storage().hold_byte(512).unwrap().unwrap();
    s.construct::<u64>("new", 7).unwrap();
    let other = Segment::from_fd(&s).unwrap();
    let comes = thread::spawn(move || drop(other.construct::<u64>("newer", 8).unwrap()));
    assert!(!ends_within(&comes, Duration::from_millis(60)), "somebody lives who may have closed it");
    drop(gate);
    assert!(ends_within(&comes, Duration::from_secs(60)));
    comes.join().unwrap();
    sound(&s);
}

#[test]
fn what_handles_hold_stays() {
    let s = segment();
    let kept = build(&s, "kept");
    let gone = s.construct::<ShmVec<ShmString>>("gone", [long(1), long(2)]).unwrap();
    s.destroy::<ShmVec<ShmString>>("gone").unwrap();
    let anonymous: Owned<ShmBox<ShmString>> = s.construct_anonymous(ShmBox::new(long(3))).unwrap();
    let used = s.used();
    s.access().allocate(Layout::new::<[u8; 50_000]>()).unwrap();
    // SAFETY: 1: one thread, which only looks. 2: the block is used by nobody.
    let report: LeakReport = unsafe { s.recover_leaks_unchecked() }.unwrap();
    assert_eq!((report.spans, report.swept_blocks(), report.objects), (1, 1, 3));
    assert_eq!(report.classes, []);
    assert_eq!((s.used(), report.live_bytes), (used, used));
    assert_eq!(&*gone[1], &*long(2));
    assert_eq!(&***anonymous, &*long(3));
    assert_eq!(kept.lock().unwrap().map.len(), 20);
    // SAFETY: 1: as above.
    let report = unsafe { s.verify_unchecked() }.unwrap();
    assert!(report.is_sound() && report.objects == 3 && report.unknown.is_empty(), "{report}");
    drop((gone, anonymous));
    assert!(s.used() < used);
    sound(&s);
}

#[test]
fn an_object_that_waits_for_its_type_stays() {
    let mut s = segment();
    killed(&s, |s, death| {
        let root = s.construct::<ShmVec<ShmString>>("orphan", [long(1), long(2)]).unwrap();
        s.destroy::<ShmVec<ShmString>>("orphan").unwrap();
        std::mem::forget(root);
        death.strike()
    });
    let report = s.recover_leaks().unwrap();
    assert_eq!(test_support::orphans(&s.inner.directory).0, 1);
    assert_eq!((report.objects, report.swept_blocks()), (1, 0), "{report}");
    let used = s.used();
    // Whoever next works with the type frees it.
    drop(s.construct::<ShmVec<ShmString>>("another", [""; 0]).unwrap());
    assert!(s.used() < used);
    assert_eq!(s.recover_leaks().unwrap().swept_blocks(), 0);
}

#[test]
fn what_is_half_built_is_in_the_way() {
    let s = segment();
    let inside = s.clone();
    let outcome = s.construct::<ShmVec<u64>>(
        "half",
        init::with(move |_| {
            let block = inside.access().allocate(Layout::new::<[u64; 100]>())?;
            let used = inside.used();
            // SAFETY: 1 is broken by the initialiser, which is found out before anything is changed.
            let refused = audit(unsafe { inside.recover_leaks_unchecked() }.unwrap_err());
            let objects = vec!["`half` (ShmVec<u64>)".to_owned()];
            assert_eq!(refused, AuditError::UnderConstruction { objects: objects.clone() });
            assert_eq!(inside.used(), used);
            // SAFETY: likewise.
            let report = unsafe { inside.verify_unchecked() }.unwrap();
            assert_eq!((report.objects, report.under_construction), (0, objects));
            // SAFETY: allocated above.
            unsafe { inside.access().deallocate(block.cast(), Layout::new::<[u64; 100]>()) };
            Err(Error::OtherSegment)
        }),
    );
    assert!(matches!(outcome, Err(Error::OtherSegment)));
}

/// Has the first 24 bytes of an object changed while `f` runs.
fn damaged<T: ShmSafe, R>(root: &Root<T>, damage: impl FnOnce(&mut [u64; 3]), f: impl FnOnce() -> R) -> R {
    let at = (&raw const **root).cast_mut().cast::<[u64; 3]>();
    // SAFETY: the object's first bytes, which nobody else uses.
    unsafe {
        let before = at.read();
        damage(&mut *at);
        let result = f();
        at.write(before);
        result
    }
}

#[test]
fn damage_is_found_and_nothing_is_swept() {
    let s = segment();
    let list = s.construct::<ShmVec<u64>>("list", [1, 2, 3]).unwrap();
    let other = s.construct::<ShmVec<u64>>("other", [1, 2, 3]).unwrap();
    let flag = s.construct::<ShmTuple2<bool, [u64; 3]>>("flag", (true, [0; 3])).unwrap();
    let text = s.construct::<ShmString>("text", long(1)).unwrap();
    s.access().allocate(Layout::new::<[u64; 50]>()).unwrap();
    let used = s.used();
    let expect = |object: &str, what: &str| {
        for by_sweep in [false, true] {
            let findings = if by_sweep {
                // SAFETY: 1: nobody else uses it.
                match audit(unsafe { s.recover_leaks_unchecked() }.unwrap_err()) {
                    AuditError::Damaged { findings } => findings,
                    other => panic!("{other}"),
                }
            } else {
                // SAFETY: likewise.
                let report = unsafe { s.verify_unchecked() }.unwrap();
                assert_eq!(report.objects, 4);
                let text = report.to_string();
                assert!(text.starts_with("1 finding: 4 objects walked") && text.contains(what), "{text}");
                report.findings
            };
            let [finding] = &findings[..] else { panic!("{findings:?}") };
            assert_eq!((finding.object.as_deref(), finding.corrupt.what), (Some(object), what));
            assert_eq!(s.used(), used, "nothing is swept");
        }
    };
    let (list_name, flag_name) = ("`list` (ShmVec<u64>)", "`flag` (ShmTuple2<bool, [u64; 3]>)");
    damaged(
        &list,
        |words| words[1] = 1000,
        || {
            expect(list_name, "a length larger than the capacity, or a capacity beyond memory");
        },
    );
    damaged(&list, |words| words[2] = 1000, || expect(list_name, "a block smaller than its contents"));
    damaged(&list, |words| words[0] += 8, || expect(list_name, "a pointer to no block's start"));
    damaged(&list, |words| words[0] = 1 << 40, || expect(list_name, "a pointer to no live block"));
    damaged(
        &list,
        |words| words[2] = 0,
        || {
            expect(list_name, "a vector whose capacity does not fit its length or type");
        },
    );
    damaged(&flag, |words| words[0] = 2, || expect(flag_name, "a bool that is neither 0 nor 1"));
    damaged(
        &text,
        |words| words[1] = u64::MAX >> 1,
        || {
            expect("`text` (ShmString)", "a string's length larger than its capacity");
        },
    );
    // Two owners of one block.
    let distance = other.offset() - list.offset();
    damaged(
        &other,
        |words| words[0] = list_word(&list).wrapping_sub(distance),
        || {
            expect("`other` (ShmVec<u64>)", "a block owned twice");
        },
    );
    // SAFETY: 1: nobody else uses it. 2: nor the block.
    assert_eq!(unsafe { s.recover_leaks_unchecked() }.unwrap().swept_blocks(), 1);
    assert_eq!((&list[..], &other[..], flag.0), (&[1, 2, 3][..], &[1, 2, 3][..], true));
}

/// The first word of a vector.
fn list_word(list: &Root<ShmVec<u64>>) -> u64 {
    // SAFETY: the vector's first bytes.
    unsafe { (&raw const **list).cast::<u64>().read() }
}

#[test]
#[cfg_attr(shmem_poison, ignore = "it damages the ends of blocks, too, for which nobody has asked")]
fn no_damage_makes_a_walk_panic_or_go_on_for_ever() {
    let s = segment();
    let root = build(&s, "everything");
    let [(blocks, _), _] = walked(&s, &root);
    let base = s.access().context().base();
    let mut random = 0x9E37_79B9_7F4A_7C15u64;
    let mut next = |below: u64| {
        random = random.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (random >> 33) % below
    };
    let blocks: Vec<(u64, u64)> = blocks.into_iter().collect();
    let mut found = 0;
    for _ in 0..600 {
        let (at, size) = blocks[next(blocks.len() as u64) as usize];
        let byte = base.wrapping_add((at + next(size.min(900))) as usize);
        // SAFETY: inside a live block, which nobody else uses.
        unsafe {
            let before = byte.read();
            byte.write(next(256) as u8);
            for by in [By::Code, By::Description] {
                let types = Types::new(&s.stored_types());
                let mut reached = s.inner.heap.none_reached();
                let mut note = |block| reached.insert(block);
                let mut walker = Walker::new(s.access(), &types, by, &mut note);
                for object in s.inner.directory.inventory() {
                    found += walker.walk(&object).findings.len();
                }
            }
            byte.write(before);
        }
    }
    assert!(found > 50, "{found}");
    // SAFETY: 1: nobody else uses it.
    assert!(unsafe { s.verify_unchecked() }.unwrap().is_sound());
}

#[derive(ShmSafe)]
#[shm(validate = Even::check)]
#[repr(C)]
struct Even {
    number: u64,
    text: ShmString,
}

impl Even {
    fn check(&self) -> Result<(), &'static str> {
        if self.number.is_multiple_of(2) { Ok(()) } else { Err("an odd number") }
    }
}

#[test]
fn types_are_asked_by_a_verification_and_not_by_a_sweep() {
    let mut s = segment();
    drop(s.construct_slice::<Even, _>("even", 3, |i| EvenInit { number: i as u64, text: long(i) }).unwrap());
    let report = s.verify().unwrap();
    assert_eq!(report.findings.len(), 1, "{report}");
    assert_eq!(report.findings[0].corrupt.what, "an odd number");
    assert_eq!(s.recover_leaks().unwrap().objects, 1);
}

#[test]
fn damaged_descriptions_make_no_walk_go_astray() {
    let s = segment();
    build(&s, "everything");
    let stored = s.stored_types();
    let objects = s.inner.directory.inventory();
    let mut opaque = 0;
    for i in 0..stored.len() {
        for at in 0..stored[i].record.len() {
            for flip in [1, 0x80] {
                let mut damaged = stored.clone();
                damaged[i].record[at] ^= flip;
                let types = Types::new(&damaged);
                let mut reached = s.inner.heap.none_reached();
                let mut note = |block| reached.insert(block);
                let mut walker = Walker::new(s.access(), &types, By::Description, &mut note);
                for object in &objects {
                    // SAFETY: 1: nobody else uses it.
                    let walked = unsafe { walker.walk(object) };
                    opaque += usize::from(!walked.is_known);
                }
            }
        }
    }
    assert!(opaque > 100, "{opaque}");
}

#[test]
fn a_type_that_contains_itself_is_taken_for_unknown() {
    let fingerprint = Fingerprint([7; 16]);
    let mut record = vec![2, 0, 0, 1, 0, b'A', 0, 0, 0, 0];
    record.extend(8u64.to_le_bytes());
    record.extend(8u32.to_le_bytes());
    record.extend([1, 1, 0, 1, 0, b'x']);
    record.extend(0u64.to_le_bytes());
    record.push(0);
    record.extend(fingerprint.0);
    record.extend([0, 0]);
    let types = Types::new(&[crate::layout::StoredType { fingerprint, record }]);
    let number = types.number(fingerprint);
    assert!(matches!(types.get(number).shape, super::types::Shape::Opaque));
    assert_eq!(types.get(number).layout, Layout::new::<u64>());
}

#[test]
fn blocks_in_magazines_are_no_leaks_and_stay_where_they_are() {
    let layout = Layout::from_size_align(64, 8).unwrap();
    let take = move |s: &Segment, n: usize| -> Vec<_> {
        (0..n).map(|_| s.access().allocate(layout).unwrap().cast::<u8>()).collect()
    };
    let give = move |s: &Segment, blocks: Vec<std::ptr::NonNull<u8>>| {
        // SAFETY: just allocated with this layout.
        blocks.into_iter().for_each(|block| unsafe { s.access().deallocate(block, layout) });
    };
    let mut s = Segment::anonymous().size(64 << 20).create().unwrap();
    stock(&s);
    give(&s, take(&s, 100));
    let (at_hand, used) = (s.inner.heap.cached(), s.used());
    assert!(at_hand.len() > 5);
    // Who dies has blocks at hand, and 50 that nothing leads to.
    killed(&s, move |s, death| {
        let lost = take(&s, 50);
        give(&s, take(&s, 100));
        assert!(s.inner.heap.cached().len() > at_hand.len() && lost.len() == 50);
        death.strike()
    });
    let report = s.recover_leaks().unwrap();
    assert_eq!((report.swept_blocks(), report.swept_bytes(), report.processes_recovered), (50, 3200, 1));
    assert_eq!((s.used(), report.live_bytes), (used, used));
    let at_hand = s.inner.heap.cached();
    assert!(at_hand.len() > 5, "what this thread has at hand it keeps");
    assert_eq!(s.check(), []);
    is_stocked(&s);
    let all: std::collections::HashSet<_> = take(&s, 5000).into_iter().collect();
    assert_eq!(all.len(), 5000, "none is handed out twice");
    assert_eq!(s.recover_leaks().unwrap().swept_blocks(), 5000);

    // Nor is a damaged magazine swept around.
    let twice = at_hand[0];
    s.inner.heap.damage_magazines(|i| if i == 1 { 2 } else { twice });
    assert!(!s.verify().unwrap().is_sound());
    assert!(matches!(audit(s.recover_leaks().unwrap_err()), AuditError::Damaged { .. }));
    s.inner.heap.damage_magazines(|_| 0);

    // An object that owns a block which is in a magazine is damage, and nothing is swept.
    let list = s.construct::<ShmVec<u64>>("list", vec![7; 8]).unwrap();
    let block = s.inner.context.offset_of(list.as_ptr().cast()).unwrap();
    drop(list);
    give(&s, vec![std::ptr::NonNull::new(s.inner.context.base().wrapping_add(block as usize)).unwrap()]);
    assert!(s.inner.heap.cached().contains(&block));
    assert!(matches!(audit(s.recover_leaks().unwrap_err()), AuditError::Damaged { .. }));
}
