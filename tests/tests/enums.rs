//! What the code that `#[derive(ShmSafe)]` writes for enums does when it runs: here, at a second mapping, and when the
//! process dies.
//!
//! This file needs `unsafe`: it calls the contract's functions as the library does, and damages tags.

use bytemuck::{Pod, Zeroable};
use shmem_core::{
    Error, Fingerprint, Init, Kind, LockError, Origin, PoisonedLockError, Result, Segment, ShmBox, ShmDrop,
    ShmHash, ShmHashMap, ShmHasher, ShmMutex, ShmOption, ShmSafe, ShmString, ShmVec, Visitor,
};
use shmem_tests::placed::{Place, Placed, Slot, events, note};
use shmem_tests::*;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

roles! { damager, setter, changer }

use Place::{Fail, Number, Panic};

const NO_VARIANT: &str = "the tag of an enum that is none of its variants'";

/// Has a variant without fields.
#[derive(ShmSafe)]
#[repr(u8)]
enum Job {
    Idle,
    Two { first: Placed, flag: bool, second: Placed },
    One(Placed),
}

/// Has none, so a vacant tag of its own.
#[derive(ShmSafe)]
#[repr(u8)]
enum Full {
    One(Placed),
    Two(Placed, Placed),
}

fn two(first: Place, second: Place) -> Result<Slot<Job>> {
    Slot::build(JobTwoInit { first, flag: true, second })
}

#[test]
fn an_initialiser_builds_its_variant_in_place() {
    let built = two(Number(1), Number(2)).unwrap();
    let Job::Two { first, flag: true, second } = built.get() else { panic!("the other variant") };
    first.check();
    second.check();
    assert_eq!(events(), ["build 1", "build 2"]);
    drop(built);
    assert_eq!(events(), ["drop 1", "drop 2"]);
    assert!(matches!(Slot::<Job>::build(Job::init_idle()).unwrap().get(), Job::Idle));
    assert!(events().is_empty());
}

#[test]
fn an_initialiser_that_fails_half_way_drops_what_was_built() {
    assert!(two(Fail, Number(2)).is_err());
    assert!(events().is_empty());
    assert!(two(Number(1), Fail).is_err());
    assert_eq!(events(), ["build 1", "drop 1"]);
    assert!(catch_unwind(|| two(Number(1), Panic).is_ok()).is_err());
    assert_eq!(events(), ["build 1", "drop 1"]);

    #[derive(ShmSafe)]
    #[repr(C)]
    enum Outer {
        Nested(Placed, Full, [Job; 2]),
    }
    let outer = |last| {
        OuterNestedInit(
            Number(0),
            FullTwoInit(Number(1), Number(2)),
            shmem_core::init::array([JobOneInit(Number(3)), last]),
        )
    };
    assert!(Slot::<Outer>::build(outer(JobOneInit(Fail))).is_err());
    assert_eq!(
        events(),
        ["build 0", "build 1", "build 2", "build 3", "drop 3", "drop 1", "drop 2", "drop 0"]
    );
    drop(Slot::<Outer>::build(outer(JobOneInit(Number(4)))).unwrap());
    assert_eq!(events()[5..], ["drop 0", "drop 1", "drop 2", "drop 3", "drop 4"]);
}

#[test]
fn relocation_keeps_the_variant_and_relocates_its_fields() {
    const { assert!(!Job::PLAIN && !Job::ANY_BITS && !Job::HAS_LOCKS) };
    let mut moved = two(Number(1), Number(2)).unwrap().relocated().relocated();
    assert_eq!(events(), ["build 1", "build 2"], "moving builds and drops nothing");
    let Job::Two { first, flag: true, second } = moved.get() else { panic!("the other variant") };
    first.check();
    second.check();
    let mut view = moved.view();
    let JobVariantMut::Two { first, flag, .. } = view.get() else { panic!("the other variant") };
    first.0.number = 10;
    *flag = false;
    drop(moved.relocated());
    assert_eq!(events(), ["drop 10", "drop 2"]);
    assert!(matches!(Slot::<Job>::build(Job::init_idle()).unwrap().relocated().get(), Job::Idle));
    let full = Slot::<Full>::build(FullOneInit(Number(3))).unwrap().relocated();
    let Full::One(placed) = full.get() else { panic!("the other variant") };
    placed.check();
}

#[test]
fn visiting_goes_by_the_tag() {
    let mut value = two(Number(1), Number(2)).unwrap();
    events();
    assert!(value.findings().is_empty());
    assert_eq!(events(), ["visit 1", "visit 2"]);
    value.with_tag(2, |value| {
        assert!(value.findings().is_empty());
        assert_eq!(events(), ["visit 1"], "the fields of the variant `One`");
    });
    value.with_tag(0, |value| assert!(value.findings().is_empty() && events().is_empty()));
    for tag in 3..=255 {
        value.with_tag(tag, |value| assert_eq!(value.findings(), [NO_VARIANT]));
    }
    assert!(events().is_empty(), "nothing is looked at behind a tag that is none");
    let mut view = value.view();
    let JobVariantMut::Two { second, .. } = view.get() else { panic!("the other variant") };
    second.0.number = u64::MAX;
    assert_eq!(value.findings(), ["the largest number"]);
}

#[test]
fn set_destroys_the_old_value_last() {
    let mut value = two(Number(1), Number(2)).unwrap();
    events();
    value.view().set(JobOneInit(Number(3))).unwrap();
    assert_eq!(events(), ["build 3", "drop 1", "drop 2"]);
    // What fails leaves the old value.
    for failing in [Fail, Panic] {
        let set = || value.view().set(JobTwoInit { first: Number(4), flag: true, second: failing }).is_ok();
        assert!(!catch_unwind(AssertUnwindSafe(set)).unwrap_or(false));
        assert_eq!(events(), ["build 4", "drop 4"]);
        let Job::One(placed) = value.get() else { panic!("the old value is gone") };
        placed.check();
        assert_eq!(placed.number, 3);
    }
    value.view().set(Job::init_idle()).unwrap();
    assert_eq!(events(), ["drop 3"]);
    assert!(matches!(value.get(), Job::Idle));
    let mut full = Slot::<Full>::build(FullOneInit(Number(1))).unwrap();
    full.view().set(FullTwoInit(Number(2), Number(3))).unwrap();
    assert_eq!(events(), ["build 1", "build 2", "build 3", "drop 1"]);
    drop(full);
    assert_eq!(events(), ["drop 2", "drop 3"]);
}

#[derive(ShmSafe)]
#[repr(u8)]
enum Locked {
    Nothing,
    Lock { lock: ShmMutex<u64>, name: ShmString },
}

#[test]
fn set_refuses_while_a_lock_inside_is_held() {
    const { assert!(Locked::HAS_LOCKS) };
    let segment = Segment::anonymous().size(1 << 20).create().unwrap();
    let init = LockedLockInit { lock: ShmMutex::new(7), name: "before" };
    let value = segment.construct::<Locked>("value", init).unwrap();
    let Locked::Lock { lock, .. } = &*value else { panic!("the other variant") };
    // A leaked guard holds the lock without borrowing anything.
    std::thread::scope(|scope| {
        let (leaked, wait) = std::sync::mpsc::channel();
        let (go_on, told) = std::sync::mpsc::channel();
        scope.spawn(move || {
            let guard = lock.lock().unwrap();
            leaked.send(()).unwrap();
            told.recv().unwrap();
            drop(guard);
        });
        wait.recv().unwrap();
        // SAFETY: the other thread does nothing until it is told to.
        let refused = unsafe { value.set_unchecked(Locked::init_nothing()) };
        assert!(matches!(refused, Err(Error::LockHeld)), "{refused:?}");
        // SAFETY: likewise.
        let refused = unsafe { value.view_unchecked() }.set(Locked::init_nothing());
        assert!(matches!(refused, Err(Error::LockHeld)), "{refused:?}");
        go_on.send(()).unwrap();
    });
    let Locked::Lock { name, .. } = &*value else { panic!("the old value is gone") };
    assert_eq!(*name, "before");
    // SAFETY: nobody else has the object.
    let mut view = unsafe { value.view_unchecked() };
    view.set(Locked::init_nothing()).unwrap();
    view.set(LockedLockInit { lock: ShmMutex::new(8), name: "after" }).unwrap();
    let Locked::Lock { lock, .. } = &*value else { panic!("not set") };
    assert_eq!(*lock.lock().unwrap(), 8);
    sound(&segment);
}

#[derive(ShmSafe)]
#[shm(drop)]
#[repr(u16)]
enum Closing {
    Nothing,
    Open { id: u64, placed: Placed },
}

impl ShmDrop for Closing {
    fn drop(mut this: ClosingMut<'_>) {
        match this.get() {
            ClosingVariantMut::Nothing => note("close nothing"),
            ClosingVariantMut::Open { id, placed } => {
                note(format!("close {id}"));
                placed.0.number += 100;
                assert_ne!(*id, 13, "a destructor that panics");
            }
        }
    }
}

#[test]
fn shm_drop_runs_before_the_fields_are_dropped() {
    let open = |id| ClosingOpenInit { id, placed: Number(2) };
    let mut value = Slot::<Closing>::build(open(1)).unwrap();
    value.view().set(Closing::init_nothing()).unwrap();
    assert_eq!(events(), ["build 2", "close 1", "drop 102"]);
    drop(value);
    assert_eq!(events(), ["close nothing"]);
    assert!(Slot::<Closing>::build(ClosingOpenInit { id: 1, placed: Fail }).is_err());
    assert!(events().is_empty(), "what never came to be is not closed");
    let bad = Slot::<Closing>::build(open(13)).unwrap();
    assert!(catch_unwind(AssertUnwindSafe(|| drop(bad))).is_err());
    assert_eq!(events(), ["build 2", "close 13", "drop 102"], "the fields are dropped all the same");
}

/// An enum in a repr, beside what RFC 2195 says that it is.
macro_rules! laid_out {
    ($($name:ident: $tag:ty, $($repr:ident),+ $(align $align:literal)?;)*) => { $(
        #[allow(dead_code)]
        mod $name {
            #[derive(shmem_core::ShmSafe)]
            #[repr($($repr),+ $(, align($align))?)]
            pub enum It { Unit, A(u8, u64, u16), B { x: u16, y: [u8; 3] }, C(()) }

            #[repr(C)]
            pub struct A { pub tag: $tag, pub x: u8, pub y: u64, pub z: u16 }
            #[repr(C)]
            pub struct B { pub tag: $tag, pub x: u16, pub y: [u8; 3] }

            /// Without `C`: each variant is a struct that begins with the tag.
            pub fn expected() -> super::Layout {
                use std::mem::offset_of;
                let tag = size_of::<$tag>();
                let a = vec![offset_of!(A, x), offset_of!(A, y), offset_of!(A, z)];
                let b = vec![offset_of!(B, x), offset_of!(B, y)];
                let variants = vec![("Unit", 0, vec![]), ("A", 1, a), ("B", 2, b), ("C", 3, vec![tag])];
                (size_of::<It>(), align_of::<It>(), tag as u8, variants)
            }
        }
    )* };
}
laid_out! {
    in_u8: u8, u8;
    in_u16: u16, u16;
    in_u32: u32, u32;
    in_u64: u64, u64;
    in_i8: i8, i8;
    in_i16: i16, i16;
    in_i32: i32, i32;
    in_i64: i64, i64;
    in_usize: usize, usize;
    in_isize: isize, isize;
    in_c: i32, C;
    in_c_u8: u8, C, u8;
    in_c_i64: i64, C, i64;
    aligned: u8, u8 align 64;
    c_aligned: i32, C align 32;
}

/// Size, alignment, size of the tag, and for each variant its name, tag and the places of its fields.
type Layout = (usize, usize, u8, Vec<(&'static str, i128, Vec<usize>)>);

fn layout_of<T: ShmSafe>() -> Layout {
    let info = T::type_info();
    let Kind::Enum { tag_size, variants } = &info.kind else { panic!("no enum") };
    let variants = variants.iter().map(|variant| {
        let places = variant.fields.iter().map(|field| field.offset).collect();
        (variant.name, variant.tag, places)
    });
    (info.size, info.align, *tag_size, variants.collect())
}

#[test]
fn every_repr_is_described_as_the_language_lays_it_out() {
    macro_rules! check {
        ($($name:ident)*) => { $(
            assert_eq!(layout_of::<$name::It>(), $name::expected(), stringify!($name));
        )* };
    }
    check!(in_u8 in_u16 in_u32 in_u64 in_i8 in_i16 in_i32 in_i64 in_usize in_isize aligned);
    // With `C` the fields stand in a union behind the tag, aligned to the most aligned field of all.
    let behind = |size, align, tag: u8| {
        let variants =
            vec![("Unit", 0, vec![]), ("A", 1, vec![8, 16, 24]), ("B", 2, vec![8, 10]), ("C", 3, vec![8])];
        (size, align, tag, variants)
    };
    assert_eq!(layout_of::<in_c::It>(), behind(32, 8, 4));
    assert_eq!(layout_of::<in_c_u8::It>(), behind(32, 8, 1));
    assert_eq!(layout_of::<in_c_i64::It>(), behind(32, 8, 8));
    assert_eq!(layout_of::<c_aligned::It>(), behind(32, 32, 4));
}

/// For its record.
#[derive(ShmSafe)]
#[shm(version = 3)]
#[repr(C, i16)]
pub enum Recorded {
    /// Nothing.
    Nothing = -2,
    /// Two fields.
    Pair(u8, u64),
    /// One.
    #[shm(rename = "one")]
    Single {
        /// It.
        #[shm(rename = "number")]
        x: u16,
    },
}

#[test]
fn a_stored_record_is_what_the_format_says() {
    let segment = Segment::anonymous().size(1 << 20).create().unwrap();
    segment.construct::<Recorded>("recorded", RecordedPairInit(1, 2)).unwrap();
    let stored = segment.stored_types();
    let stored = stored.iter().find(|ty| ty.fingerprint == Fingerprint::of::<Recorded>()).unwrap();
    let mut record = vec![2]; // Its shape is its identity.
    let text = |record: &mut Vec<u8>, text: &str| {
        record.extend((text.len() as u16).to_le_bytes());
        record.extend(text.as_bytes());
    };
    text(&mut record, "");
    text(&mut record, "Recorded");
    record.extend(3u32.to_le_bytes());
    record.extend(24u64.to_le_bytes());
    record.extend(8u32.to_le_bytes());
    record.extend([2, 2]);
    record.extend(3u16.to_le_bytes());
    let reference = |fingerprint: Fingerprint| [&[0][..], &fingerprint.0].concat();
    let [u8s, u64s, u16s] = [Fingerprint::of::<u8>(), Fingerprint::of::<u64>(), Fingerprint::of::<u16>()];
    let mut variant = |name: &str, tag: i128, fields: &[(&str, u64, Fingerprint)]| {
        text(&mut record, name);
        record.extend(tag.to_le_bytes());
        record.extend((fields.len() as u16).to_le_bytes());
        for (name, offset, ty) in fields {
            text(&mut record, name);
            record.extend(offset.to_le_bytes());
            record.extend(reference(*ty));
        }
    };
    variant("Nothing", -2, &[]);
    variant("Pair", -1, &[("0", 8, u8s), ("1", 16, u64s)]);
    variant("one", 0, &[("number", 8, u16s)]);
    record.extend(0u16.to_le_bytes());
    assert_eq!(stored.record, record);
}

#[test]
fn hashing_feeds_the_tag_and_then_the_fields() {
    #[derive(ShmSafe)]
    #[shm(hash)]
    #[repr(i8)]
    enum Key {
        Less = -1,
        Number(u32, [u8; 2]),
        Unit(()),
    }
    #[derive(ShmSafe)]
    #[shm(hash)]
    #[repr(u16)]
    enum Side {
        Buy = 500,
        Sell,
    }
    let hash = |key: &dyn Fn(&mut ShmHasher)| {
        let mut hasher = ShmHasher::new(7);
        key(&mut hasher);
        hasher.finish()
    };
    let of = |key: Key| hash(&|h| key.shm_hash(h));
    assert_eq!(of(Key::Less), hash(&|h| h.write_u64(-1i64 as u64)));
    let fed = hash(&|h| {
        h.write_u64(0);
        5u32.shm_hash(h);
        [6u8, 7].shm_hash(h);
    });
    assert_eq!(of(Key::Number(5, [6, 7])), fed);
    assert_ne!(of(Key::Number(5, [7, 6])), fed);
    assert_eq!(of(Key::Unit(())), hash(&|h| (h.write_u64(1), ().shm_hash(h)).1));
    assert_eq!(hash(&|h| Side::Sell.shm_hash(h)), hash(&|h| h.write_u64(501)));
    assert_ne!(hash(&|h| Side::Buy.shm_hash(h)), hash(&|h| Side::Sell.shm_hash(h)));
}

#[derive(ShmSafe, Clone, Copy)]
#[shm(validate = check_level)]
#[repr(u8)]
enum Level {
    Of(u8),
    Worst,
}

const TOO_HIGH: &str = "a level is at most 100";

fn check_level(level: &Level) -> Result<(), &'static str> {
    match level {
        Level::Of(101..=200) => Err(TOO_HIGH),
        Level::Of(201..) => panic!("a check that panics"),
        _ => Ok(()),
    }
}

/// What a walk over the value finds wrong.
fn wrong<T: ShmSafe>(segment: &Segment, value: &T) -> Vec<&'static str> {
    let mut visitor = Visitor::new(segment.access());
    // SAFETY: readable, and nobody changes it.
    unsafe { visitor.walk(value, 1) };
    visitor.findings().iter().map(|found| found.what).collect()
}

fn wrong_once_built<T: ShmSafe + Sync>(segment: &Segment, init: impl Init<T>) -> Vec<&'static str> {
    wrong(segment, &*segment.construct_anonymous::<T>(init).unwrap())
}

#[test]
fn a_types_own_check_is_asked_wherever_it_stands() {
    let segment = Segment::anonymous().size(1 << 20).create().unwrap();
    let (good, high) = (Level::Of(100), Level::Of(101));
    assert!(wrong_once_built::<Level>(&segment, good).is_empty());
    assert!(wrong_once_built::<Level>(&segment, Level::Worst).is_empty());
    assert_eq!(wrong_once_built::<Level>(&segment, high), [TOO_HIGH]);
    assert_eq!(wrong_once_built::<[Level; 3]>(&segment, [high, good, high]), [TOO_HIGH; 2]);
    assert_eq!(wrong_once_built::<ShmVec<Level>>(&segment, [good, high]), [TOO_HIGH]);
    assert_eq!(wrong_once_built::<ShmOption<Level>>(&segment, ShmOption::some(high)), [TOO_HIGH]);
    assert!(wrong_once_built::<ShmOption<Level>>(&segment, ShmOption::none()).is_empty());
    let in_map = [(1, good), (2, high), (3, Level::Worst)];
    assert_eq!(wrong_once_built::<ShmHashMap<u64, Level>>(&segment, in_map), [TOO_HIGH]);
    assert_eq!(
        wrong_once_built::<ShmBox<ShmMutex<Level>>>(&segment, ShmBox::new(ShmMutex::new(high))),
        [TOO_HIGH]
    );
    assert_eq!(wrong_once_built::<Level>(&segment, Level::Of(201)), ["its type's check panicked"]);
    assert_eq!(
        wrong_once_built::<[Level; 2]>(&segment, [Level::Of(255), high]),
        [TOO_HIGH, "its type's check panicked"],
        "all are asked, the last one first"
    );
    const { assert!(!Level::ANY_BITS) };
}

#[test]
fn a_types_own_check_sees_only_what_is_sound() {
    let segment = Segment::anonymous().size(1 << 20).create().unwrap();
    let levels = segment.construct_anonymous::<[Level; 2]>([Level::Of(101), Level::Worst]).unwrap();
    let second = (&raw const levels[1]).cast::<u8>().cast_mut();
    // SAFETY: the byte is this test's; nobody looks at it as a tag but the walk.
    let tag = unsafe { second.replace(9) };
    assert_eq!(wrong(&segment, &*levels), [NO_VARIANT]);
    // SAFETY: as above.
    unsafe { second.write(tag) };
    assert_eq!(wrong(&segment, &*levels), [TOO_HIGH]);
}

#[test]
fn a_plain_old_data_type_is_its_bytes() {
    /// No `ShmSafe`.
    #[derive(Clone, Copy, Zeroable, Pod, PartialEq, Debug)]
    #[repr(C)]
    struct Inner([u16; 2]);
    #[derive(ShmSafe, Clone, Copy, Zeroable, Pod, PartialEq, Debug)]
    #[shm(pod, version = 2)]
    #[repr(C)]
    struct Sample(f32, Inner);
    const { assert!(Sample::PLAIN && Sample::ANY_BITS && !Sample::HAS_LOCKS) };
    let info = Sample::type_info();
    assert_eq!((info.name, info.version, info.size, info.align), ("Sample", 2, 8, 4));
    assert!(matches!(info.kind, Kind::Primitive));
    let segment = Segment::anonymous().size(1 << 20).create().unwrap();
    let list = segment.construct::<ShmMutex<ShmVec<Sample>>>("list", ShmMutex::new(ShmVec::new())).unwrap();
    let mut guard = list.lock().unwrap();
    guard.view().push(Sample(1.0, Inner([2, 3]))).unwrap();
    guard.view().get_mut(0).unwrap().1.0[1] = 4;
    assert_eq!(guard[..], [Sample(1.0, Inner([2, 4]))]);
}

/// One enum in a module of its own.
macro_rules! declared {
    ($($module:ident: { $($item:tt)* })*) => { $(
        #[allow(dead_code)]
        mod $module {
            #[derive(shmem_core::ShmSafe)]
            #[repr(u8)]
            $($item)*
        }
    )* };
}
declared! {
    original: { pub enum Job { Idle, Running { id: u64 } } }
    same: { pub enum Job { Idle, Running { id: u64 } } }
    other_order: { pub enum Job { Running { id: u64 }, Idle } }
    other_variant: { pub enum Job { Rest, Running { id: u64 } } }
    renamed_variant: { pub enum Job { #[shm(rename = "Rest")] Idle, Running { id: u64 } } }
    kept_variant: { pub enum Job { #[shm(rename = "Idle")] Rest, Running { id: u64 } } }
    renamed_field: { pub enum Job { Idle, Running { #[shm(rename = "n")] id: u64 } } }
    kept_field: { pub enum Job { Idle, Running { #[shm(rename = "id")] n: u64 } } }
    other_tag: { pub enum Job { Idle = 1, Running { id: u64 } = 0 } }
    other_type: { pub enum Job { Idle, Running { id: i64 } } }
    more: { pub enum Job { Idle, Running { id: u64 }, Failed } }
    closed: { #[non_exhaustive] pub enum Job { Idle, Running { id: u64 } } }
    closed_too: { #[non_exhaustive] pub enum Job { Idle, Running { id: u64 } } }
    one_closed: { pub enum Job { Idle, #[non_exhaustive] Running { id: u64 } } }
    moved: { #[shm(unsafe(module = "enums::closed"))] #[non_exhaustive] pub enum Job { Idle, Running { id: u64 } } }
    moved_elsewhere: { #[shm(unsafe(module = "elsewhere"))] pub enum Job { Idle, Running { id: u64 } } }
    unit: { pub enum Side { Buy, Sell } }
    unit_renamed: { pub enum Side { Buy, #[shm(rename = "Buy2")] Sell } }
    unit_kept: { pub enum Side { Buy, #[shm(rename = "Sell")] Other } }
}

#[test]
fn fingerprints_tell_enums_apart() {
    let original = Fingerprint::of::<original::Job>();
    for (same, name) in [
        (Fingerprint::of::<same::Job>(), "the same"),
        (Fingerprint::of::<kept_variant::Job>(), "another Rust name, the variant's name kept"),
        (Fingerprint::of::<kept_field::Job>(), "another Rust name, the field's name kept"),
    ] {
        assert_eq!(same, original, "{name}");
    }
    let all = [
        original,
        Fingerprint::of::<other_order::Job>(),
        Fingerprint::of::<other_variant::Job>(),
        Fingerprint::of::<renamed_field::Job>(),
        Fingerprint::of::<other_tag::Job>(),
        Fingerprint::of::<other_type::Job>(),
        Fingerprint::of::<more::Job>(),
        Fingerprint::of::<closed::Job>(),
        Fingerprint::of::<closed_too::Job>(),
        Fingerprint::of::<one_closed::Job>(),
        Fingerprint::of::<moved_elsewhere::Job>(),
        Fingerprint::of::<unit::Side>(),
        Fingerprint::of::<unit_renamed::Side>(),
    ];
    for (i, one) in all.iter().enumerate() {
        assert!(!all[..i].contains(one), "enum {i} is taken for another");
    }
    assert_eq!(Fingerprint::of::<renamed_variant::Job>(), Fingerprint::of::<other_variant::Job>());
    assert_eq!(Fingerprint::of::<unit::Side>(), Fingerprint::of::<unit_kept::Side>());
    assert_eq!(closed::Job::type_info().origin, Origin::Module("enums::closed"));
    assert_eq!(Fingerprint::of::<moved::Job>(), Fingerprint::of::<closed::Job>());
}

/// What two processes share: no variant without fields, so there is a tag for "nothing".
#[derive(ShmSafe, Debug)]
#[repr(u8)]
enum Shared {
    Short(ShmString),
    Long { texts: ShmVec<ShmString>, number: u64 },
}

const LONG: &str = "a text that is too long to stand inline";

impl Shared {
    /// Whether it is a value that somebody set, whole.
    fn is_whole(&self) -> bool {
        match self {
            Shared::Short(text) => text.as_str() == LONG,
            Shared::Long { texts, number } => {
                texts.len() as u64 == *number && texts.iter().all(|text| text.as_str() == LONG)
            }
        }
    }
}

fn long(n: usize) -> impl Init<Shared> {
    SharedLongInit { texts: vec![LONG; n], number: n as u64 }
}

type Guarded = ShmMutex<Shared>;

#[test]
fn relocation_in_a_segment_re_bases_and_a_second_mapping_reads_the_same() {
    let name = TempName::new("enums");
    let segment = name.segment().size(1 << 20).create().unwrap();
    let list = segment.construct::<ShmMutex<ShmVec<Shared>>>("list", ShmMutex::new(ShmVec::new())).unwrap();
    let other = name.segment().open().unwrap();
    let elsewhere = other.find::<ShmMutex<ShmVec<Shared>>>("list").unwrap().unwrap();
    assert_ne!((&raw const *list).addr(), (&raw const *elsewhere).addr());
    // Growing moves every element several times.
    for n in 0..100 {
        let mut guard = if n % 4 < 2 { list.lock().unwrap() } else { elsewhere.lock().unwrap() };
        let mut view = guard.view();
        match n % 2 {
            0 => view.push(SharedShortInit(LONG)).unwrap(),
            _ => view.push(long(n)).unwrap(),
        }
    }
    for root in [&list, &elsewhere] {
        let mut guard = root.lock().unwrap();
        assert!(guard.iter().all(Shared::is_whole));
        assert!(guard.iter().enumerate().all(|(n, value)| matches!(value, Shared::Short(_)) == (n % 2 == 0)));
        let mut view = guard.view();
        let mut first = view.get_mut(1).unwrap();
        let SharedVariantMut::Long { mut texts, number } = first.get() else { panic!("the other variant") };
        texts.push(LONG).unwrap();
        *number += 1;
    }
    assert!(matches!(&list.lock().unwrap()[1], Shared::Long { number: 3, .. }));
    sound(&segment);
    let mut worker = Worker::spawn("changer", &[&name]);
    worker.expect("changed");
    worker.finish();
    let guard = list.lock().unwrap();
    assert!(
        guard.len() == 50
            && guard.iter().all(|v| matches!(v, Shared::Long { number: 2, .. }) && v.is_whole())
    );
}

/// Reads what another process built, and changes each variant into the other.
fn changer() {
    let segment = Segment::shared(&argument::<String>(0)).open().unwrap();
    let list = segment.find::<ShmMutex<ShmVec<Shared>>>("list").unwrap().unwrap();
    let mut guard = list.lock().unwrap();
    assert!(guard.len() == 100 && guard.iter().all(Shared::is_whole));
    let mut view = guard.view();
    for i in 0..100 {
        let mut one = view.get_mut(i).unwrap();
        match i % 2 {
            0 => one.set(long(2)).unwrap(),
            _ => one.set(SharedShortInit(LONG)).unwrap(),
        }
    }
    for i in (1..100).rev().step_by(2) {
        view.remove_drop(i).unwrap();
    }
    drop(guard);
    sound(&segment);
    report("changed");
}

/// Dies with a tag that is no variant's in the value it holds.
fn damager() {
    let segment = Segment::shared(&argument::<String>(0)).open().unwrap();
    let value = segment.find::<Guarded>("value").unwrap().unwrap();
    let guard = value.lock().unwrap();
    // SAFETY: the lock is held; nobody reads the value before its process is dead and it was walked.
    unsafe { (&raw const *guard).cast::<u8>().cast_mut().write(argument::<u8>(1)) };
    report("damaged");
    hear();
    std::mem::forget(guard);
}

const BY_DEATH: LockError = LockError::Poisoned { by_death: true };

#[test]
fn who_comes_after_a_death_gets_no_value_without_a_variant() {
    let _watchdog = Watchdog::test("damaged tag");
    let name = TempName::new("damaged");
    let segment = name.segment().size(1 << 20).create().unwrap();
    let value = segment.construct::<Guarded>("value", ShmMutex::new(SharedShortInit(LONG))).unwrap();
    for tag in [2u8, 255] {
        let mut worker = Worker::spawn("damager", &[&name, &tag]);
        worker.expect("damaged");
        worker.kill();
        assert_eq!(value.lock_timeout(PATIENCE).unwrap_err(), BY_DEATH);
        for _ in 0..2 {
            match value.lock_poisoned() {
                Err(PoisonedLockError::Corrupt(guard)) => assert_eq!(guard.found().what, NO_VARIANT),
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(value.lock().unwrap_err(), BY_DEATH, "looking repairs nothing");
        let Err(PoisonedLockError::Corrupt(guard)) = value.lock_poisoned() else { panic!("it was repaired") };
        let failing = SharedShortInit(shmem_core::init::with(|_| Err(Error::OtherSegment)));
        let (guard, _) = guard.replace(failing).unwrap_err();
        let guard = guard.replace(long(3)).map_err(|(_, e)| e).unwrap();
        assert!(guard.is_whole());
        drop(guard);
        assert!(value.lock().unwrap().is_whole());
    }
    segment.recover();
    sound(&segment);
}

fn setter() {
    let segment = Segment::shared(&argument::<String>(0)).open().unwrap();
    let value = segment.find::<Guarded>("value").unwrap().unwrap();
    let mut guard = value.lock().unwrap();
    report("setting");
    loop {
        guard.view().set(long(2)).unwrap();
        guard.view().set(SharedShortInit(LONG)).unwrap();
        guard.set(long(1)).unwrap();
    }
}

#[test]
fn a_hundred_processes_killed_while_they_set() {
    let _watchdog = Watchdog::test("killed setters");
    let name = TempName::new("setters");
    let segment = name.segment().size(4 << 20).create().unwrap();
    let value = segment.construct::<Guarded>("value", ShmMutex::new(SharedShortInit(LONG))).unwrap();
    let seed = Random::fresh_seed("setters");
    let mut random = Random::new(seed);
    let (mut whole, mut corrupt) = (0, 0);
    for _ in 0..100 {
        let mut worker = Worker::spawn("setter", &[&name]);
        worker.expect("setting");
        std::thread::sleep(Duration::from_micros(random.below(3000)));
        worker.kill();
        assert_eq!(value.lock_timeout(PATIENCE).unwrap_err(), BY_DEATH);
        let mut guard = match value.lock_poisoned() {
            Ok(guard) => {
                assert!(guard.is_whole(), "as before or as after: {:?}", &*guard);
                whole += 1;
                guard
            }
            Err(PoisonedLockError::Corrupt(guard)) => {
                assert_eq!(guard.found().what, NO_VARIANT);
                corrupt += 1;
                guard.replace(SharedShortInit(LONG)).map_err(|(_, e)| e).unwrap()
            }
            Err(e) => panic!("{e}"),
        };
        guard.clear_poison();
        guard.view().set(long(1)).unwrap();
    }
    println!("{whole} whole, {corrupt} without a variant");
    segment.recover();
    sound(&segment);
}
