//! Ordinary types with a twin: structs and enums, generic, recursive, nested, with every field attribute.
#![deny(warnings)]
use shmem_core::{Init, Mirror, Result, Segment, ShmMutex, ShmSafe, ShmString, ShmVec};
use std::collections::{HashMap, HashSet};
use std::fmt::Debug;

#[derive(ShmSafe, Clone, Copy, Debug, PartialEq)]
#[repr(u8)]
pub enum Side {
    Buy,
    Sell,
}

#[derive(ShmSafe, Clone, Debug, PartialEq, Default)]
#[shm(mirror = ShmFill, derive(Debug, PartialEq))]
pub struct Fill {
    pub price: f64,
    pub quantity: u32,
}

mod text_of_number {
    pub type Shm = shmem_core::ShmString;
    pub fn init(number: &u128) -> impl shmem_core::Init<Shm> {
        number.to_string()
    }
    pub fn to_native(shm: &Shm) -> u128 {
        shm.parse().unwrap_or(0)
    }
}

/// An order.
#[derive(ShmSafe, Clone, Debug, PartialEq)]
#[shm(mirror = ShmOrder, version = 3)]
struct Order {
    /// Its number.
    id: u64,
    side: Side,
    symbol: String,
    #[shm(rename = "executions")]
    fills: Vec<Fill>,
    next: Option<Box<Order>>,
    place: (f64, f64, (u8, String)),
    flags: [bool; 3],
    labels: HashMap<String, Vec<u32>>,
    seen: HashSet<u64>,
    bytes: Box<[u8]>,
    name: Box<str>,
    #[shm(skip)]
    cache: Vec<fn()>,
    #[shm(with = text_of_number)]
    number: u128,
}

#[derive(ShmSafe, Clone, Debug, PartialEq)]
#[shm(mirror = ShmEvent)]
enum Event {
    Quit,
    Text(String, #[shm(skip)] u8, u16),
    Move { x: i32, y: i32 },
    Many(Vec<Event>),
    Order(Box<Order>),
}

#[derive(ShmSafe, Clone, Copy, Debug, PartialEq)]
#[shm(mirror = ShmLevel)]
enum Level {
    Low = 1,
    High = -7,
}

#[derive(ShmSafe, Clone, Debug, PartialEq)]
#[shm(mirror = ShmWrap, derive(Debug))]
struct Wrap<T: Clone, const N: usize>
where
    T: Debug,
{
    items: Vec<T>,
    one: T,
    array: [Option<T>; N],
    pairs: HashMap<u32, (T, T)>,
    inner: Option<Box<Wrap<T, N>>>,
}

#[derive(ShmSafe, Clone, Debug, PartialEq)]
#[shm(mirror = ShmPair)]
struct Pair<A: Clone + Debug>(A, Wrap<A, 1>, #[shm(skip)] u8, Level);

#[derive(ShmSafe, Clone, Debug, PartialEq)]
#[shm(mirror = ShmUnit)]
struct Unit;

fn round_trip<T: Mirror + PartialEq + Debug>(segment: &Segment, value: T) -> Result<()>
where
    T::Shm: Sync,
    for<'a> &'a T: Init<T::Shm>,
{
    let shared = segment.construct_anonymous::<T::Shm>(&value)?;
    assert_eq!(T::to_native(&shared), value);
    Ok(())
}

fn main() -> Result<()> {
    let segment = Segment::anonymous().size(1 << 20).create()?;
    let order = Order {
        id: 1,
        side: Side::Sell,
        symbol: "AAPL".into(),
        fills: vec![Fill { price: 1.5, quantity: 2 }, Fill::default()],
        next: None,
        place: (1.0, 2.0, (3, "four".into())),
        flags: [true, false, true],
        labels: HashMap::from([("a".into(), vec![1, 2]), ("b".into(), vec![])]),
        seen: HashSet::from([5, 6]),
        bytes: Box::new([1, 2, 3]),
        name: "boxed".into(),
        cache: vec![],
        number: u128::MAX,
    };
    let order = Order { next: Some(Box::new(order.clone())), ..order };
    let shared = segment.construct::<ShmMutex<ShmOrder>>("order", ShmMutex::new(&order))?;
    let mut guard = shared.lock()?;
    assert_eq!(guard.to_native(), order);
    assert_eq!(guard.fills[1], ShmFill { price: 0.0, quantity: 0 });
    guard.view().symbol.set("MSFT")?;
    *guard.view().side = Side::Buy;
    guard.view().next.clear();
    assert_eq!(guard.to_native(), Order { symbol: "MSFT".into(), side: Side::Buy, next: None, ..order.clone() });
    guard.set(order.clone())?;
    drop(guard);

    round_trip(&segment, Event::Quit)?;
    round_trip(&segment, Event::Text("text".into(), 0, 7))?;
    round_trip(&segment, Event::Many(vec![Event::Move { x: 1, y: 2 }, Event::Order(Box::new(order))]))?;
    round_trip(&segment, Level::High)?;
    round_trip(&segment, Unit)?;
    let wrap = |inner| Wrap {
        items: vec!["a".to_string()],
        one: "b".to_string(),
        array: [Some("c".to_string())],
        pairs: HashMap::from([(1, ("d".to_string(), "e".to_string()))]),
        inner,
    };
    let pair = Pair("x".to_string(), wrap(Some(Box::new(wrap(None)))), 0, Level::Low);
    let shared = segment.construct_anonymous::<ShmPair<ShmString>>(&pair)?;
    let native: Pair<String> = shared.to_native();
    assert_eq!(native, pair);
    let other: Pair<Box<str>> = shared.to_native();
    assert_eq!(&*other.0, "x");
    let _: &ShmVec<ShmString> = &shared.1.items;
    assert_eq!(ShmOrder::type_info().version, 3);
    Ok(())
}
