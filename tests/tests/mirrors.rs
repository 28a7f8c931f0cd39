//! Ordinary types with twins in shared memory: built in one process, read and changed in another, equal in both.

use shmem_core::{
    Error, Fingerprint, Frozen, Init, Kind, Mirror, MirrorType, Origin, Result, Segment, ShmBox, ShmBoxSlice,
    ShmDrop, ShmHash, ShmHashMap, ShmHashSet, ShmMutex, ShmOption, ShmSafe, ShmString, ShmTuple2, ShmVec,
};
use shmem_tests::*;
use std::any::Any;
use std::cell::Cell;
use std::collections::{HashMap, HashSet};
use std::fmt::Debug;
use std::marker::PhantomData;
use std::num::{NonZeroI128, NonZeroU8};
use std::time::Duration;

roles! { trader, reader }

/// A type that is shared itself, and its own twin.
#[derive(ShmSafe, Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
#[shm(hash)]
#[repr(u8)]
enum Side {
    #[default]
    Buy,
    Sell,
}

#[derive(ShmSafe, Clone, Debug, PartialEq, Default)]
#[shm(mirror = ShmFill)]
struct Fill {
    price: f64,
    quantity: u32,
    venue: String,
}

/// An application's type, as it was before it was shared.
#[derive(ShmSafe, Clone, Debug, PartialEq, Default)]
#[shm(mirror = ShmOrder, version = 2)]
struct Order {
    id: u64,
    side: Side,
    symbol: String,
    #[shm(rename = "executions")]
    fills: Vec<Fill>,
    next: Option<Box<Order>>,
    place: (f64, f64),
    labels: HashMap<String, Vec<u32>>,
    #[shm(skip)]
    cache: Option<Vec<u8>>,
    #[shm(with = nanoseconds)]
    took: Duration,
    state: State,
}

#[derive(ShmSafe, Clone, Debug, PartialEq, Default)]
#[shm(mirror = ShmState)]
enum State {
    #[default]
    New,
    Rejected(String),
    Working {
        left: u64,
        parents: Vec<State>,
    },
}

mod nanoseconds {
    use std::time::Duration;

    pub type Shm = u64;

    pub fn init(took: &Duration) -> u64 {
        took.as_nanos() as u64
    }

    pub fn to_native(shm: &u64) -> Duration {
        Duration::from_nanos(*shm)
    }
}

const LONG: &str = "a text that is too long to stand inline";

fn order() -> Order {
    let fill = |n: u32| Fill { price: f64::from(n), quantity: n, venue: format!("{LONG} {n}") };
    let first = Order {
        id: 1,
        side: Side::Sell,
        symbol: "AAPL".into(),
        fills: (0..20).map(fill).collect(),
        next: None,
        place: (1.5, -2.5),
        labels: HashMap::from([("a".into(), vec![1, 2]), (LONG.into(), vec![]), (String::new(), vec![3])]),
        cache: None,
        took: Duration::new(3, 4),
        state: State::Working { left: 5, parents: vec![State::New, State::Rejected(LONG.into())] },
    };
    Order { id: 2, next: Some(Box::new(first.clone())), ..first }
}

/// What the other process makes of it.
fn changed() -> Order {
    let mut order = order();
    order.symbol = format!("{LONG}, changed");
    order.side = Side::Buy;
    order.fills.push(Fill::default());
    order.fills[0].venue.push_str(LONG);
    order.next.as_mut().unwrap().fills.truncate(3);
    order.place.0 = 7.0;
    order.labels.remove(LONG);
    order.labels.insert("new".into(), vec![9; 100]);
    order.took = Duration::from_nanos(8);
    order.state = State::Rejected("no".into());
    order
}

type Shared = ShmMutex<ShmOrder>;

/// Has what the test wrote, changes it by its views.
fn trader() {
    let segment = Segment::shared(&argument::<String>(0)).open().unwrap();
    let shared = segment.find::<Shared>("order").unwrap().unwrap();
    let mut guard = shared.lock().unwrap();
    assert_eq!(guard.to_native(), order());
    let mut view = guard.view();
    view.symbol.set(&format!("{LONG}, changed")).unwrap();
    *view.side = Side::Buy;
    view.fills.push(Fill::default()).unwrap();
    view.fills.get_mut(0).unwrap().venue.push_str(LONG).unwrap();
    let mut next = view.next.as_mut().unwrap();
    next.get().fills.truncate(3);
    *view.place.0 = 7.0;
    view.labels.remove(LONG);
    view.labels.insert("new", vec![9; 100]).unwrap();
    *view.took = 8;
    view.state.set(ShmStateRejectedInit("no")).unwrap();
    assert_eq!(guard.to_native(), changed());
    drop(guard);
    sound(&segment);
    report("changed");
    // A whole ordinary value, from here.
    assert_eq!(hear().as_deref(), Some("replace"));
    shared.lock().unwrap().set(Order { next: Some(Box::new(changed())), ..order() }).unwrap();
    report("replaced");
}

#[test]
fn an_applications_type_is_shared_with_one_attribute() {
    let _watchdog = Watchdog::test("an application's type");
    let name = TempName::new("mirrors");
    let segment = name.segment().size(1 << 20).create().unwrap();
    let shared = segment.construct::<Shared>("order", ShmMutex::new(&order())).unwrap();
    let mut worker = Worker::spawn("trader", &[&name]);
    worker.expect("changed");
    assert_eq!(shared.lock().unwrap().to_native(), changed());
    worker.tell("replace");
    worker.expect("replaced");
    worker.finish();
    let native = shared.lock().unwrap().to_native();
    assert_eq!(native, Order { next: Some(Box::new(changed())), ..order() });
    sound(&segment);
    drop(shared);
    assert!(segment.destroy::<Shared>("order").unwrap());
    sound(&segment);
}

/// Every type that has a twin, with values that try its edges.
fn every_type(visit: &mut impl Visit) {
    macro_rules! numbers {
        ($($name:ident)*) => { $( visit.one(stringify!($name), &[$name::MIN, $name::MAX, 1 as $name]); )* };
    }
    numbers!(u8 u16 u32 u64 u128 usize i8 i16 i32 i64 i128 isize f32 f64);
    visit.one("bool", &[true, false]);
    visit.one("char", &['a', '\0', char::MAX]);
    visit.one("unit", &[()]);
    visit.one("NonZeroU8", &[NonZeroU8::MIN, NonZeroU8::MAX]);
    visit.one("NonZeroI128", &[NonZeroI128::MIN]);
    visit.one("PhantomData", &[PhantomData::<String>]);
    visit.one("String", &[String::new(), "short".into(), LONG.into(), "ä\0€𝄞".into()]);
    visit.one::<Box<str>>("Box<str>", &["".into(), "short".into(), LONG.into()]);
    visit.one("Vec", &[vec![], vec![String::from(LONG); 3]]);
    visit.one("Vec of Vec", &[vec![vec![1u8], vec![], vec![2; 1000]]]);
    visit.one("Box", &[Box::new(7u64)]);
    visit.one("Box of Box", &[Box::new(Box::new(String::from(LONG)))]);
    visit.one::<Box<[String]>>("Box<[T]>", &[Box::new([]), Box::new(["a".into(), LONG.into()])]);
    visit.one("Option", &[None, Some(String::from(LONG))]);
    visit.one("Option of Option", &[None, Some(None), Some(Some(1u8))]);
    visit.one("array", &[[String::from("a"), LONG.into()]]);
    visit.one("empty array", &[[0u64; 0]]);
    let map = |n: u64| (0..n).map(|i| (format!("{LONG} {i}"), vec![i])).collect::<HashMap<_, _>>();
    visit.one("HashMap", &[map(0), map(1), map(200)]);
    let keys = HashMap::from([((1u8, Some(Side::Sell)), 'x'), ((2, None), 'y')]);
    visit.one("HashMap of tuples", &[keys]);
    visit.one("HashSet", &[HashSet::new(), HashSet::from([[1u32, 2], [3, 4]])]);
    visit.one("HashSet of texts", &[HashSet::from([String::from(LONG), String::new()])]);
    let text = || String::from(LONG);
    visit.one("tuple of 1", &[(text(),)]);
    visit.one("tuple of 2", &[(1u8, text())]);
    visit.one("tuple of 3", &[(text(), (1u8, (2u64, text())), [Some(true)])]);
    visit.one("tuple of 12", &[(1u8, 2u16, 3u32, 4u64, 5i8, 6i16, 7i32, 8i64, 'n', true, text(), [11.0f64])]);
    visit.one("shared", &[Side::Buy, Side::Sell]);
    visit.one("struct", &[order(), Order::default()]);
    visit.one("enum", &[State::New, State::Rejected(text()), order().state]);
    visit.one("all of it", &[vec![Some(Box::new((order(), HashMap::from([(1u64, vec![order().state])]))))]]);
}

trait Visit {
    fn one<T: Mirror + PartialEq + Debug>(&mut self, name: &str, values: &[T])
    where
        T::Shm: Sync;
}

/// Builds every value.
struct Build<'s>(&'s Segment);

impl Visit for Build<'_> {
    fn one<T: Mirror + PartialEq + Debug>(&mut self, name: &str, values: &[T])
    where
        T::Shm: Sync,
    {
        for (i, value) in values.iter().enumerate() {
            self.0.construct::<T::Shm>(&format!("{name} {i}"), value.mirror()).unwrap();
        }
    }
}

/// Finds every value, and compares it as an ordinary one.
struct Compare<'s>(&'s Segment, usize);

impl Visit for Compare<'_> {
    fn one<T: Mirror + PartialEq + Debug>(&mut self, name: &str, values: &[T])
    where
        T::Shm: Sync,
    {
        for (i, value) in values.iter().enumerate() {
            let name = format!("{name} {i}");
            let found = self.0.find::<T::Shm>(&name).unwrap().unwrap_or_else(|| panic!("no {name}"));
            assert_eq!(T::to_native(&found), *value, "{name}");
            self.1 += 1;
        }
    }
}

/// Destroys every value.
struct Destroy<'s>(&'s Segment);

impl Visit for Destroy<'_> {
    fn one<T: Mirror + PartialEq + Debug>(&mut self, name: &str, values: &[T])
    where
        T::Shm: Sync,
    {
        for i in 0..values.len() {
            assert!(self.0.destroy::<T::Shm>(&format!("{name} {i}")).unwrap());
        }
    }
}

fn reader() {
    let segment = Segment::shared(&argument::<String>(0)).open().unwrap();
    let mut compare = Compare(&segment, 0);
    every_type(&mut compare);
    report(compare.1);
}

#[test]
fn every_std_type_with_a_twin_comes_back_as_it_was() {
    let _watchdog = Watchdog::test("every std type");
    let name = TempName::new("every-type");
    let segment = name.segment().size(4 << 20).create().unwrap();
    // What stays when all of it is gone: the tables, and the records of the types.
    every_type(&mut Build(&segment));
    every_type(&mut Destroy(&segment));
    let empty = segment.used();
    every_type(&mut Build(&segment));
    sound(&segment);
    let elsewhere = name.segment().open().unwrap();
    let mut counts = [Compare(&segment, 0), Compare(&elsewhere, 0)];
    counts.iter_mut().for_each(every_type);
    assert!(counts[0].1 > 80 && counts[0].1 == counts[1].1, "{}", counts[0].1);
    let mut worker = Worker::spawn("reader", &[&name]);
    worker.expect(&counts[0].1.to_string());
    worker.finish();
    every_type(&mut Destroy(&elsewhere));
    segment.recover();
    assert_eq!(segment.used(), empty, "nothing is left");
    sound(&segment);
}

#[test]
fn the_twins_are_the_types_that_the_documentation_names() {
    fn twin<T: MirrorType<Shm = S>, S: ShmSafe>() {}
    twin::<Box<str>, ShmString>();
    twin::<Vec<Vec<String>>, ShmVec<ShmVec<ShmString>>>();
    twin::<Box<Option<u8>>, ShmBox<ShmOption<u8>>>();
    twin::<Box<[String]>, ShmBoxSlice<ShmString>>();
    twin::<HashMap<String, Box<[u8]>>, ShmHashMap<ShmString, ShmBoxSlice<u8>>>();
    twin::<HashSet<(u8, String)>, ShmHashSet<ShmTuple2<u8, ShmString>>>();
    twin::<[PhantomData<String>; 2], [PhantomData<ShmString>; 2]>();
    twin::<Order, ShmOrder>();
    twin::<Side, Side>();
    twin::<Wrap<String, 2>, ShmWrap<ShmString, 2>>();
}

#[derive(ShmSafe, Clone, Debug, PartialEq)]
#[shm(mirror = ShmWrap)]
struct Wrap<T: Clone, const N: usize>
where
    T: Debug,
{
    items: Vec<T>,
    array: [Option<T>; N],
    pair: Pair<T, u8>,
    inner: Option<Box<Wrap<T, N>>>,
}

#[derive(ShmSafe, Clone, Debug, PartialEq)]
#[shm(mirror = ShmPair)]
enum Pair<A, B = A> {
    None,
    Both(A, B),
    Left { left: A },
}

#[test]
fn generic_types_have_generic_twins() {
    let segment = Segment::anonymous().size(1 << 20).create().unwrap();
    fn round_trip<T>(segment: &Segment, value: T)
    where
        T: Mirror<Shm: Sync> + Init<T::Shm> + Clone + PartialEq + Debug,
        for<'a> &'a T: Init<T::Shm>,
    {
        let by_reference = segment.construct_anonymous::<T::Shm>(&value).unwrap();
        let by_value = segment.construct_anonymous::<T::Shm>(value.clone()).unwrap();
        assert_eq!(T::to_native(&by_reference), value);
        assert_eq!(T::to_native(&by_value), value);
    }
    let wrap = |inner| Wrap {
        items: vec![LONG.to_string(), "b".into()],
        array: [None, Some("c".to_string())],
        pair: Pair::Both("d".to_string(), 5),
        inner,
    };
    round_trip(&segment, wrap(Some(Box::new(wrap(None)))));
    let numbers = Wrap { items: vec![1.5], array: [], pair: Pair::Left { left: 2.5 }, inner: None };
    round_trip::<Wrap<f64, 0>>(&segment, numbers);
    round_trip(&segment, Pair::<Order, Vec<State>>::Both(order(), vec![order().state]));
    round_trip(&segment, Pair::<Box<str>>::None);
    // One twin, several ordinary types: the caller says which.
    let shared = segment.construct_anonymous::<ShmPair<ShmString, u8>>(ShmPairBothInit("x", 1)).unwrap();
    let text: Pair<String, u8> = shared.to_native();
    let boxed: Pair<Box<str>, u8> = shared.to_native();
    assert_eq!((text, boxed), (Pair::Both("x".to_string(), 1), Pair::Both("x".into(), 1)));
    assert_ne!(Fingerprint::of::<ShmPair<u8, u16>>(), Fingerprint::of::<ShmPair<u16, u8>>());
    sound(&segment);
}

#[test]
fn what_is_skipped_is_made_anew_and_what_is_converted_is_described_as_converted() {
    thread_local! {
        static MADE: Cell<u32> = const { Cell::new(0) };
    }
    /// Counts.
    #[derive(Debug)]
    struct Cache(u32);
    impl Default for Cache {
        fn default() -> Self {
            MADE.set(MADE.get() + 1);
            Cache(MADE.get())
        }
    }
    #[derive(ShmSafe, Debug)]
    #[shm(mirror = ShmSkipping)]
    struct Skipping(#[shm(skip)] Cache, u8, #[shm(skip)] Option<fn()>, #[shm(with = nanoseconds)] Duration);
    impl Default for Skipping {
        fn default() -> Self {
            Skipping(Cache(0), 1, None, Duration::from_secs(1))
        }
    }
    #[derive(ShmSafe, Debug)]
    #[shm(mirror = ShmSkippingToo)]
    enum SkippingToo {
        Both(#[shm(skip)] Cache, String),
        Named {
            #[shm(with = nanoseconds)]
            took: Duration,
            #[shm(skip)]
            cache: Cache,
        },
    }
    let segment = Segment::anonymous().size(1 << 20).create().unwrap();
    let both = SkippingToo::Both(Cache(100), LONG.into());
    let shared = segment.construct_anonymous::<ShmSkippingToo>(&both).unwrap();
    assert_eq!(MADE.get(), 0, "nothing is made to build the twin");
    let native = [shared.to_native(), shared.to_native()];
    assert!(
        matches!(&native, [SkippingToo::Both(Cache(1), text), SkippingToo::Both(Cache(2), _)] if text == LONG)
    );
    let named = SkippingToo::Named { took: Duration::from_micros(5), cache: Cache(100) };
    let shared = segment.construct_anonymous::<ShmSkippingToo>(named).unwrap();
    let native = shared.to_native();
    assert!(matches!(native, SkippingToo::Named { took, cache: Cache(3) } if took.as_nanos() == 5000));
    let Kind::Struct { fields } = &ShmSkipping::type_info().kind else { panic!("a struct") };
    let fields: Vec<_> = fields.iter().map(|f| (f.name, (f.ty)().name, f.offset)).collect();
    assert_eq!(fields, [("0", "u8", 0), ("1", "u64", 8)]);
    let Kind::Enum { variants, .. } = &ShmSkippingToo::type_info().kind else { panic!("an enum") };
    assert_eq!([variants[0].fields.len(), variants[1].fields.len()], [1, 1]);
    assert!(matches!(Skipping::default(), Skipping(Cache(0), 1, None, _)));
}

#[test]
fn attributes_are_the_twins() {
    thread_local! {
        static CLOSED: Cell<u32> = const { Cell::new(0) };
    }
    #[derive(ShmSafe, Clone, Debug, PartialEq, Eq, Hash)]
    #[shm(mirror = ShmKey, derive(Debug, PartialEq, Eq, PartialOrd), hash, drop, version = 7)]
    #[shm(unsafe(name = "com.example.Key"), validate = check)]
    struct Key {
        #[shm(rename = "number")]
        id: u64,
        name: String,
    }
    fn check(key: &ShmKey) -> std::result::Result<(), &'static str> {
        if key.id < 100 { Ok(()) } else { Err("a key's number is below 100") }
    }
    impl ShmDrop for ShmKey {
        fn drop(this: ShmKeyMut<'_>) {
            assert!(*this.id < 200);
            CLOSED.set(CLOSED.get() + 1);
        }
    }
    fn key<K: ShmHash + Eq + PartialOrd>() {}
    key::<ShmKey>();
    let info = ShmKey::type_info();
    assert_eq!((info.name, info.version), ("ShmKey", 7));
    assert_eq!(info.origin, Origin::Named("com.example.Key"));
    let Kind::Struct { fields } = &info.kind else { panic!("a struct") };
    assert!(fields.iter().map(|field| field.name).eq(["number", "name"]));
    let segment = Segment::anonymous().size(1 << 20).create().unwrap();
    let native = |id| Key { id, name: format!("{LONG} {id}") };
    let all: HashMap<Key, u64> = (90..110).map(|id| (native(id), id)).collect();
    let map = segment.construct_anonymous::<ShmHashMap<ShmKey, u64>>(all.mirror()).unwrap();
    assert_eq!(HashMap::<Key, u64>::to_native(&map), all);
    let mut visitor = shmem_core::Visitor::new(segment.access());
    // SAFETY: readable, and nobody changes it.
    unsafe { visitor.walk(&*map, 1) };
    assert_eq!(visitor.findings().len(), 10, "the type's own check is asked");
    drop(map);
    assert_eq!(CLOSED.get(), 20);
    // Private fields: the twin is its module's.
    assert!(matches!(ShmOrder::type_info().origin, Origin::Module(_)));
    assert_eq!(ShmOrder::type_info().version, 2);
    fn frozen<T: Frozen>() {}
    frozen::<ShmOrder>();
    sound(&segment);
}

/// Blocks of one size: as many, or as there is room for.
fn fill<const N: usize>(segment: &Segment, most: usize) -> Vec<Box<dyn Any>> {
    let blocks = (0..most).map_while(|_| segment.construct_anonymous::<[u8; N]>([N as u8; N]).ok());
    blocks.map(|block| Box::new(block) as Box<dyn Any>).collect()
}

#[test]
fn memory_that_runs_out_at_any_allocation_leaves_nothing() {
    let segment = Segment::anonymous().size(512 << 10).max_size(512 << 10).create().unwrap();
    let order = order();
    // The records of the types, which stay.
    drop(segment.construct_anonymous::<Shared>(ShmMutex::new(&order)).unwrap());
    let blocks = |segment: &Segment| segment.memory().classes.iter().map(|class| class.live).sum::<u64>();
    let without = blocks(&segment);
    let with = segment.construct_anonymous::<Shared>(ShmMutex::new(&order)).unwrap();
    let allocations = blocks(&segment) - without;
    drop(with);
    // Some of every size that the order needs, and large ones in the rest: then each block that is freed lets it come
    // one allocation further.
    let few = 70;
    let mut sizes = [
        fill::<16>(&segment, few),
        fill::<32>(&segment, few),
        fill::<48>(&segment, few),
        fill::<64>(&segment, few),
        fill::<96>(&segment, few),
        fill::<128>(&segment, few),
        fill::<256>(&segment, few),
        fill::<512>(&segment, few),
        fill::<1024>(&segment, few),
        fill::<2048>(&segment, few),
    ];
    let mut rest = fill::<4096>(&segment, usize::MAX);
    rest.extend(fill::<2048>(&segment, usize::MAX));
    rest.extend(fill::<1024>(&segment, usize::MAX));
    rest.extend(fill::<512>(&segment, usize::MAX));
    rest.extend(fill::<256>(&segment, usize::MAX));
    rest.extend(fill::<128>(&segment, usize::MAX));
    rest.extend(fill::<96>(&segment, usize::MAX));
    rest.extend(fill::<64>(&segment, usize::MAX));
    rest.extend(fill::<48>(&segment, usize::MAX));
    rest.extend(fill::<32>(&segment, usize::MAX));
    rest.extend(fill::<16>(&segment, usize::MAX));
    // And what objects cannot have: the directory has no room for more of them.
    let access = segment.access();
    let take_all = || std::iter::from_fn(|| Some(access.allocate_array::<u64>(2).ok()?.0));
    let mut crumbs: Vec<_> = take_all().collect();
    let mut failures = 0;
    loop {
        let before = segment.used();
        match segment.construct_anonymous::<Shared>(ShmMutex::new(&order)) {
            Ok(shared) => {
                assert_eq!(shared.lock().unwrap().to_native(), order);
                break;
            }
            Err(e) => assert!(e.is_out_of_memory(), "{e}"),
        }
        failures += 1;
        assert_eq!(segment.used(), before, "failure {failures} left something");
        sound(&segment);
        // Not two of one page: all of a page would have room for many.
        let size = failures % sizes.len();
        let size = &mut sizes[size];
        assert!(!size.is_empty(), "the order has room among these");
        drop(size.swap_remove(size.len() / 2));
    }
    // (In the end a page becomes free, with room for the rest.)
    assert!(allocations > 50 && failures as u64 * 2 > allocations, "{failures} of {allocations}");
    // Nor does it leave anything when it replaces a value.
    let small = segment.construct_anonymous::<Shared>(ShmMutex::new(&Order::default())).unwrap();
    crumbs.extend(take_all());
    let before = segment.used();
    let mut guard = small.lock().unwrap();
    let refused = guard.set(&order);
    assert!(refused.is_err_and(|e: Error| e.is_out_of_memory()));
    assert_eq!(guard.to_native(), Order::default());
    assert_eq!(segment.used(), before);
    drop(guard);
    // SAFETY: allocated above, as so many.
    crumbs.into_iter().for_each(|crumb| unsafe { access.deallocate_array(crumb, 2) });
    sound(&segment);
}

#[test]
fn an_initialiser_of_a_field_that_fails_leaves_nothing() {
    mod failing {
        use shmem_core::{Error, Init, ShmString, init};

        pub type Shm = ShmString;

        pub fn init(text: &str) -> impl Init<ShmString> {
            let text = text.to_owned();
            init::with(move |slot| match text.is_empty() {
                true => Err(Error::OtherSegment),
                false => slot.fill(text),
            })
        }

        pub fn to_native(shm: &ShmString) -> String {
            shm.to_string()
        }
    }
    #[derive(ShmSafe, Debug, PartialEq)]
    #[shm(mirror = ShmText)]
    struct Text {
        all: Vec<String>,
        #[shm(with = failing)]
        text: String,
    }
    let segment = Segment::anonymous().size(1 << 20).create().unwrap();
    let text = |text: &str| Text { all: vec![LONG.into(); 3], text: text.into() };
    let built = segment.construct_anonymous::<ShmText>(&text(LONG)).unwrap();
    assert_eq!(built.to_native(), text(LONG));
    let before = segment.used();
    let failed: Result<_> = segment.construct_anonymous::<ShmVec<ShmText>>(vec![text(LONG), text("")]);
    assert!(matches!(failed, Err(Error::OtherSegment)));
    // The record of the vector's type stays.
    let failed = segment.construct_anonymous::<ShmVec<ShmText>>(vec![text(LONG), text("")]).map(|_| ());
    assert!(failed.is_err() && segment.used() >= before);
    let with_record = segment.used();
    assert!(segment.construct_anonymous::<ShmVec<ShmText>>(vec![text("")]).is_err());
    assert_eq!(segment.used(), with_record);
    sound(&segment);
}
