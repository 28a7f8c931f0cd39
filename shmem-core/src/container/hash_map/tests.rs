//! Tests of hash maps and sets.

use super::raw::{Header, Table};
use super::*;
use crate::error::{Error, Result};
use crate::layout::init::{self, Init};
use crate::layout::{ShmHasher, Visitor};
use crate::testing::{TestSegment, Value};
use proptest::prelude::*;
use std::cell::Cell;
use std::collections::{HashMap, HashSet};
use std::panic::{AssertUnwindSafe, catch_unwind};

// ---- deaths ------------------------------------------------------------------------------------------------------

thread_local! {
    static STORES_LEFT: Cell<Option<u32>> = const { Cell::new(None) };
}

/// Called before each publishing store of a table: unwinds once the test's number of stores is used up. What runs
/// from there on drops nothing of the table's, as in a killed process.
pub(super) fn step() {
    if let Some(left) = STORES_LEFT.get() {
        STORES_LEFT.set(left.checked_sub(1));
        if left == 0 {
            std::panic::resume_unwind(Box::new("killed"));
        }
    }
}

/// Runs `body` for at most `stores` publishing stores; whether it was cut short.
fn killed_after(stores: u32, body: impl FnOnce()) -> bool {
    STORES_LEFT.set(Some(stores));
    let result = catch_unwind(AssertUnwindSafe(body));
    STORES_LEFT.set(None);
    result.is_err()
}

// ---- types -------------------------------------------------------------------------------------------------------

/// A little string: an address-sensitive value that owns a block.
#[repr(C)]
struct Text {
    bytes: OffsetPtr<u8>,
    len: u64,
}

// SAFETY: it owns its block.
unsafe impl Send for Text {}

// SAFETY: 1: a self-relative pointer. 7: the pointer is stored before the length it goes with only into places that
// hold nothing. 8: through the visitor.
unsafe impl ShmSafe for Text {
    const PLAIN: bool = false;
    const ANY_BITS: bool = false;
    type Parts = ();
    type Mut<'a> = TextMut<'a>;
    unsafe fn view<'a>(at: NonNull<Self>, access: Access<'a>) -> TextMut<'a> {
        TextMut(at, access)
    }
    unsafe fn relocate(from: *mut Self, to: *mut Self) {
        // SAFETY: by the caller.
        unsafe {
            OffsetPtr::store(&raw mut (*to).bytes, (*from).bytes.as_ptr());
            (&raw mut (*to).len).write((*from).len);
        }
    }
    fn type_info() -> &'static TypeInfo {
        const {
            &TypeInfo {
                name: "Text",
                origin: Origin::Builtin,
                version: 0,
                size: 16,
                align: 8,
                kind: Kind::Builtin,
                args: &[],
                id: TypeId::of::<Text>(),
            }
        }
    }
    unsafe fn visit(this: *const Self, visitor: &mut Visitor<'_>) {
        // SAFETY: readable by the caller.
        unsafe { visitor.own(&raw const (*this).bytes, (*this).len as usize, (*this).len as usize) }
    }
}

struct TextMut<'a>(NonNull<Text>, Access<'a>);

impl TextMut<'_> {
    fn set(&mut self, text: &str) -> Result<()> {
        // SAFETY: valid and exclusively ours.
        unsafe { init::replace(self.0, text, self.1) }
    }
}

impl Text {
    fn as_str(&self) -> &str {
        match self.bytes.get() {
            // SAFETY: made from a `str`.
            Some(at) => unsafe {
                std::str::from_utf8_unchecked(std::slice::from_raw_parts(at.as_ptr(), self.len as usize))
            },
            None => "",
        }
    }
}

impl Drop for Text {
    fn drop(&mut self) {
        if let Some(at) = self.bytes.get() {
            // SAFETY: allocated in `init`, named nowhere else.
            unsafe { registry::access_of(at.as_ptr()).deallocate_array(at, self.len as usize) }
        }
    }
}

// SAFETY: 1: a copy of the text in a new block, or null for an empty one.
unsafe impl Init<Text> for &str {
    unsafe fn init(self, slot: *mut Text, access: Access<'_>) -> Result<()> {
        let mut at = std::ptr::null_mut();
        if !self.is_empty() {
            at = access.allocate_array::<u8>(self.len())?.0.as_ptr();
            // SAFETY: a new block.
            unsafe { at.copy_from_nonoverlapping(self.as_ptr(), self.len()) };
        }
        // SAFETY: the slot is valid for writes.
        unsafe {
            OffsetPtr::store(&raw mut (*slot).bytes, at);
            (&raw mut (*slot).len).write(self.len() as u64);
        }
        Ok(())
    }
}

// SAFETY: as for `&str`.
unsafe impl Init<Text> for String {
    unsafe fn init(self, slot: *mut Text, access: Access<'_>) -> Result<()> {
        // SAFETY: as the caller says.
        unsafe { self.as_str().init(slot, access) }
    }
}

impl Borrow<str> for Text {
    fn borrow(&self) -> &str {
        self.as_str()
    }
}

impl ShmHash for Text {
    fn shm_hash(&self, hasher: &mut ShmHasher) {
        self.as_str().shm_hash(hasher);
    }
}

impl PartialEq for Text {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for Text {}

impl PartialEq<String> for Text {
    fn eq(&self, other: &String) -> bool {
        self.as_str() == other
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_str().fmt(f)
    }
}

/// Declares a plain type of the test's.
macro_rules! plain {
    ($ty:ident, $held:expr) => {
        // SAFETY: numbers without padding that is ever read.
        unsafe impl ShmSafe for $ty {
            const PLAIN: bool = true;
            const ANY_BITS: bool = true;
            const HAS_LOCKS: bool = true;
            type Parts = ();
            type Mut<'a> = &'a mut $ty;
            unsafe fn view<'a>(mut at: NonNull<Self>, access: Access<'a>) -> &'a mut Self {
                // SAFETY: valid and exclusive by the caller.
                unsafe {
                    access.save_value(at.as_ptr());
                    at.as_mut()
                }
            }
            unsafe fn relocate(from: *mut Self, to: *mut Self) {
                // SAFETY: by the caller.
                unsafe { std::ptr::copy_nonoverlapping(from, to, 1) }
            }
            fn type_info() -> &'static TypeInfo {
                <u64 as ShmSafe>::type_info()
            }
            unsafe fn visit(_: *const Self, _: &mut Visitor<'_>) {}
            unsafe fn lock_held(this: *const Self) -> bool {
                let held: fn(&Self) -> bool = $held;
                // SAFETY: valid by the caller.
                held(unsafe { &*this })
            }
        }
    };
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Mood {
    Honest,
    Constant,
    PanicInHash,
    PanicInEq,
    NeverEqual,
    AlwaysEqual,
    RandomHash,
}

thread_local! {
    static MOOD: Cell<Mood> = const { Cell::new(Mood::Honest) };
    static RANDOM: Cell<u64> = const { Cell::new(1) };
}

/// A key whose `Hash` and `Eq` do what the test's mood says.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
struct Moody(u64);
plain!(Moody, |_| false);

impl ShmHash for Moody {
    fn shm_hash(&self, hasher: &mut ShmHasher) {
        match MOOD.get() {
            Mood::Constant => hasher.write_u64(7),
            Mood::PanicInHash => panic!("hash"),
            Mood::RandomHash => {
                RANDOM.set(RANDOM.get().wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(11));
                hasher.write_u64(RANDOM.get());
            }
            _ => hasher.write_u64(self.0),
        }
    }
}

impl PartialEq for Moody {
    fn eq(&self, other: &Self) -> bool {
        match MOOD.get() {
            Mood::PanicInEq => panic!("eq"),
            Mood::NeverEqual => false,
            Mood::AlwaysEqual => true,
            _ => self.0 == other.0,
        }
    }
}

impl Eq for Moody {}

/// A value with a lock, which is held where the number is odd; aligned for a cache line.
#[derive(Debug, PartialEq)]
#[repr(C, align(64))]
struct Lock(u64);
plain!(Lock, |lock| lock.0 % 2 == 1);

// ---- against std -------------------------------------------------------------------------------------------------

#[derive(Debug, Clone)]
enum Op {
    Insert(u16, u16),
    InsertRef(u16, u16),
    Entry(u16, u16),
    Abandon(u16),
    Change(u16, u16),
    ChangeAll,
    Remove(u16),
    Retain(u16),
    Clear,
    Reserve(u16),
    Shrink,
    Extend(Vec<(u16, u16)>),
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let key = || prop_oneof![0..8u16, 0..64u16, any::<u16>()];
    let op = prop_oneof![
        8 => (key(), any::<u16>()).prop_map(|(k, v)| Op::Insert(k, v)),
        4 => (key(), any::<u16>()).prop_map(|(k, v)| Op::InsertRef(k, v)),
        4 => (key(), any::<u16>()).prop_map(|(k, v)| Op::Entry(k, v)),
        1 => key().prop_map(Op::Abandon),
        3 => (key(), any::<u16>()).prop_map(|(k, v)| Op::Change(k, v)),
        1 => Just(Op::ChangeAll),
        6 => key().prop_map(Op::Remove),
        1 => any::<u16>().prop_map(Op::Retain),
        1 => Just(Op::Clear),
        1 => (0..100u16).prop_map(Op::Reserve),
        1 => Just(Op::Shrink),
        2 => proptest::collection::vec((key(), any::<u16>()), 0..40).prop_map(Op::Extend),
    ];
    proptest::collection::vec(op, 0..60)
}

/// How the test's numbers become keys and values, stored and native.
trait Case {
    type K: ShmSafe + ShmHash + Eq + PartialEq<Self::A> + fmt::Debug;
    type V: ShmSafe + PartialEq<Self::B> + fmt::Debug;
    type A: Init<Self::K> + ShmHash + Hash + Eq + Clone + fmt::Debug;
    type B: Init<Self::V> + Clone + PartialEq + fmt::Debug;
    fn key(n: u16) -> Self::A;
    fn value(n: u16) -> Self::B;
    fn native(k: &Self::K, v: &Self::V) -> (Self::A, Self::B);
    fn get<'m>(map: &'m ShmHashMap<Self::K, Self::V>, key: &Self::A) -> Option<&'m Self::V>;
    fn remove(map: &mut HashMapMut<'_, Self::K, Self::V>, key: &Self::A) -> bool;
    fn insert_ref(map: &mut HashMapMut<'_, Self::K, Self::V>, key: &Self::A, value: Self::B) -> Result<bool>;
    fn change(value: <Self::V as ShmSafe>::Mut<'_>, to: Self::B) -> Result<()>;
    fn get_mut<'m>(
        map: &'m mut HashMapMut<'_, Self::K, Self::V>,
        key: &Self::A,
    ) -> Option<<Self::V as ShmSafe>::Mut<'m>>;
}

macro_rules! case {
    ($name:ident, $k:ty, $v:ty, $a:ty, $b:ty, $key:expr, $value:expr, $native_k:expr, $native_v:expr,
     $borrow:expr, $change:expr, $insert_ref:expr) => {
        struct $name;
        impl Case for $name {
            type K = $k;
            type V = $v;
            type A = $a;
            type B = $b;
            fn key(n: u16) -> $a {
                $key(n)
            }
            fn value(n: u16) -> $b {
                $value(n)
            }
            fn native(k: &$k, v: &$v) -> ($a, $b) {
                ($native_k(k), $native_v(v))
            }
            fn get<'m>(map: &'m ShmHashMap<$k, $v>, key: &$a) -> Option<&'m $v> {
                map.get($borrow(key))
            }
            fn remove(map: &mut HashMapMut<'_, $k, $v>, key: &$a) -> bool {
                map.remove($borrow(key))
            }
            fn insert_ref(map: &mut HashMapMut<'_, $k, $v>, key: &$a, value: $b) -> Result<bool> {
                $insert_ref(map, key, value)
            }
            fn change(value: <$v as ShmSafe>::Mut<'_>, to: $b) -> Result<()> {
                $change(value, to)
            }
            fn get_mut<'m>(
                map: &'m mut HashMapMut<'_, $k, $v>,
                key: &$a,
            ) -> Option<<$v as ShmSafe>::Mut<'m>> {
                map.get_mut($borrow(key))
            }
        }
    };
}

fn text(n: u16) -> String {
    "x".repeat(n as usize % 40) + &n.to_string()
}

case!(
    Numbers,
    u64,
    u64,
    u64,
    u64,
    u64::from,
    u64::from,
    |k: &u64| *k,
    |v: &u64| *v,
    |k| k,
    |value: &mut u64, to| {
        *value = to;
        Ok(())
    },
    |map: &mut HashMapMut<'_, u64, u64>, key: &u64, value: u64| map.insert(*key, value)
);
case!(
    SmallRange,
    u8,
    Text,
    u8,
    String,
    |n| (n % 12) as u8,
    text,
    |k: &u8| *k,
    |v: &Text| v.as_str().to_owned(),
    |k| k,
    |mut value: TextMut<'_>, to: String| value.set(&to),
    |map: &mut HashMapMut<'_, u8, Text>, key: &u8, value: String| map.insert(*key, value)
);
case!(
    Texts,
    Text,
    u64,
    String,
    u64,
    text,
    u64::from,
    |k: &Text| k.as_str().to_owned(),
    |v: &u64| *v,
    String::as_str,
    |value: &mut u64, to| {
        *value = to;
        Ok(())
    },
    |map: &mut HashMapMut<'_, Text, u64>, key: &String, value: u64| map.insert_ref(key.as_str(), value)
);
case!(
    TextTexts,
    Text,
    Text,
    String,
    String,
    text,
    text,
    |k: &Text| k.as_str().to_owned(),
    |v: &Text| v.as_str().to_owned(),
    String::as_str,
    |mut value: TextMut<'_>, to: String| value.set(&to),
    |map: &mut HashMapMut<'_, Text, Text>, key: &String, value: String| map.insert_ref(key.as_str(), value)
);
case!(
    Bytes,
    [u8; 3],
    (),
    [u8; 3],
    (),
    |n: u16| [n as u8, (n >> 8) as u8, 5],
    |_| (),
    |k: &[u8; 3]| *k,
    |_: &()| (),
    |k| k,
    |_: &mut (), _| Ok(()),
    |map: &mut HashMapMut<'_, [u8; 3], ()>, key: &[u8; 3], value: ()| map.insert(*key, value)
);

type Map<C> = ShmHashMap<<C as Case>::K, <C as Case>::V>;
type Native<C> = HashMap<<C as Case>::A, <C as Case>::B>;

fn to_native<C: Case>(map: &Map<C>) -> Native<C> {
    assert_eq!(map.iter().len(), map.len());
    let native: Native<C> = map.iter().map(|(k, v)| C::native(k, v)).collect();
    assert_eq!(native.len(), map.len());
    native
}

/// Does `op` to the map.
fn apply<C: Case>(map: &mut HashMapMut<'_, C::K, C::V>, op: &Op) -> Result<()> {
    match op {
        Op::Insert(k, v) => map.insert(C::key(*k), C::value(*v)).map(drop),
        Op::InsertRef(k, v) => C::insert_ref(map, &C::key(*k), C::value(*v)).map(drop),
        Op::Entry(k, v) => {
            let value = map.entry(C::key(*k))?.or_insert_with(|| C::value(*v))?;
            C::change(value, C::value(*v))
        }
        Op::Abandon(k) => map.entry(C::key(*k)).map(drop),
        Op::Change(k, v) => {
            C::get_mut(map, &C::key(*k)).map_or(Ok(()), |value| C::change(value, C::value(*v)))
        }
        Op::ChangeAll => map.iter_mut().try_for_each(|(_, value)| C::change(value, C::value(77))),
        Op::Remove(k) => {
            C::remove(map, &C::key(*k));
            Ok(())
        }
        Op::Retain(n) => {
            let mut count = 0;
            map.retain(|_, _| {
                count += 1;
                count * 7 % 5 != n % 5
            });
            Ok(())
        }
        Op::Clear => {
            map.clear();
            Ok(())
        }
        Op::Reserve(n) => map.reserve(*n as usize),
        Op::Shrink => map.shrink_to_fit(),
        Op::Extend(pairs) => map.extend(pairs.iter().map(|(k, v)| (C::key(*k), C::value(*v)))),
    }
}

/// What `op` does to a native map; `None` for an operation whose choice depends on the order.
fn apply_native<C: Case>(map: &mut Native<C>, op: &Op) -> Option<()> {
    match op {
        Op::Insert(k, v) | Op::InsertRef(k, v) | Op::Entry(k, v) => {
            map.insert(C::key(*k), C::value(*v));
        }
        Op::Change(k, v) => {
            map.get_mut(&C::key(*k)).into_iter().for_each(|value| *value = C::value(*v));
        }
        Op::ChangeAll => map.values_mut().for_each(|value| *value = C::value(77)),
        Op::Remove(k) => {
            map.remove(&C::key(*k));
        }
        Op::Retain(_) => return None,
        Op::Clear => map.clear(),
        Op::Abandon(_) | Op::Reserve(_) | Op::Shrink => {}
        Op::Extend(pairs) => map.extend(pairs.iter().map(|(k, v)| (C::key(*k), C::value(*v)))),
    }
    Some(())
}

/// Runs `ops` on a map and on std's; each first under an undo log that takes it back, then with every allocation
/// failing in turn, then for good.
fn model<C: Case>(ops: &[Op]) {
    let segment = TestSegment::new();
    let mut map = segment.build::<Map<C>>(ShmHashMap::new()).unwrap();
    let mut native = Native::<C>::new();
    for op in ops {
        map.undone(to_native::<C>, |map| apply::<C>(&mut map.view(), op).unwrap());
        let all_or_nothing = !matches!(op, Op::Extend(_) | Op::ChangeAll | Op::Entry(..));
        for n in 0.. {
            segment.fail_after(Some(n));
            let result = apply::<C>(&mut map.view(), op);
            segment.fail_after(None);
            match result {
                Ok(()) => break,
                Err(e) => assert!(e.is_out_of_memory(), "{e}"),
            }
            map.check();
            if all_or_nothing {
                assert_eq!(to_native::<C>(map.get()), native, "{op:?}");
            }
        }
        if apply_native::<C>(&mut native, op).is_none() {
            let after = to_native::<C>(map.get());
            assert!(after.iter().all(|(k, v)| native.get(k) == Some(v)));
            native = after;
        }
        map.check();
        for map in [map.get(), map.elsewhere()] {
            assert_eq!(*map, native);
            assert_eq!(to_native::<C>(map), native);
            assert!(map.capacity() >= map.len());
            for n in 0..70 {
                let key = C::key(n);
                let (ours, theirs) = (C::get(map, &key), native.get(&key));
                assert!(ours.is_some() == theirs.is_some() && ours.zip(theirs).is_none_or(|(v, b)| v == b));
            }
        }
    }
    drop(map);
    assert!(segment.live_blocks().is_empty());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]
    #[test]
    fn numbers_behave_as_in_std(ops in ops()) { model::<Numbers>(&ops) }
    #[test]
    fn a_small_range_of_keys_behaves_as_in_std(ops in ops()) { model::<SmallRange>(&ops) }
    #[test]
    fn texts_behave_as_in_std(ops in ops()) { model::<Texts>(&ops) }
    #[test]
    fn texts_of_texts_behave_as_in_std(ops in ops()) { model::<TextTexts>(&ops) }
    #[test]
    fn keys_without_values_behave_as_in_std(ops in ops()) { model::<Bytes>(&ops) }
}

// ---- deaths, lies, damage ----------------------------------------------------------------------------------------

#[test]
fn every_prefix_of_stores_is_a_table() {
    let change = |map: &mut Value<'_, ShmHashMap<u64, u64>>, op: u32, key: u64| match op {
        0 => drop(map.view().insert(key, 1)),
        1 => drop(map.view().remove(&key)),
        _ => drop(map.view().entry(key).unwrap().or_insert(1)),
    };
    for items in [0u64, 1, 3, 6, 7, 12, 14, 20, 27, 200] {
        for op in 0..3 {
            for stores in 0..6 {
                let segment = TestSegment::new();
                let mut map = segment
                    .build::<ShmHashMap<u64, u64>>(init::from_iter((0..items).map(|k| (k, k))))
                    .unwrap();
                // A table full of deleted buckets too.
                for k in 1000..1000 + items % 13 {
                    map.view().insert(k, k).unwrap();
                }
                for k in 1000..1000 + items % 13 {
                    assert!(map.view().remove(&k));
                }
                map.view().reserve(1).unwrap();
                let before = to_native::<Numbers>(map.get());
                let key = if op == 1 { items / 2 } else { 5000 };
                let cut = killed_after(stores, || change(&mut map, op, key));
                // Whoever looks next finds it memory-safe, and the map as before or as after.
                map.check();
                let found = to_native::<Numbers>(map.elsewhere());
                let mut after = before.clone();
                if op == 1 {
                    after.remove(&key);
                } else {
                    after.insert(key, 1);
                }
                assert!(found == before || found == after, "{items} {op} {stores}");
                assert!(cut || found == after);
                // The next operation puts everything right, and the one cut short can be done again.
                change(&mut map, op, key);
                map.check();
                assert!(map.get().table().is_none_or(Table::is_settled));
                assert_eq!(to_native::<Numbers>(map.get()), after);
                for k in 0..items {
                    assert_eq!(map.get().get(&k).is_some(), after.contains_key(&k));
                }
            }
        }
    }
}

#[test]
fn keys_that_lie_or_panic_never_break_the_table() {
    let segment = TestSegment::new();
    let mut map = segment.build::<ShmHashMap<Moody, u64>>(ShmHashMap::new()).unwrap();
    let mut seed = 1u64;
    for round in 0..4000 {
        seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        let (key, op) = (Moody(seed >> 33 & 63), seed >> 50 & 7);
        use Mood::*;
        MOOD.set(
            [Honest, Constant, PanicInHash, PanicInEq, NeverEqual, AlwaysEqual, RandomHash][round / 7 % 7],
        );
        let before: Vec<(u64, u64)> = map.get().iter().map(|(k, v)| (k.0, *v)).collect();
        let result = catch_unwind(AssertUnwindSafe(|| match op {
            0..4 => drop(map.view().insert(key, seed)),
            4 => drop(map.view().remove(&key)),
            5 => drop(map.view().take(&key)),
            6 => drop(map.view().entry(key).map(|entry| entry.and_modify(|v| *v += 1))),
            _ if round % 50 == 0 => map.view().retain(|k, _| k.0 % 2 == 0),
            _ => drop(map.view().shrink_to_fit()),
        }));
        MOOD.set(Honest);
        map.check();
        assert!(map.get().table().is_none_or(Table::is_settled));
        if result.is_err() {
            let after: Vec<(u64, u64)> = map.get().iter().map(|(k, v)| (k.0, *v)).collect();
            assert_eq!(before, after);
        }
    }
}

#[test]
fn one_hash_for_all_keys_is_slow_but_right() {
    let segment = TestSegment::new();
    let mut map = segment.build::<ShmHashMap<Moody, u64>>(ShmHashMap::new()).unwrap();
    MOOD.set(Mood::Constant);
    for n in 0..300 {
        assert!(map.view().insert(Moody(n), n).unwrap());
    }
    for n in 0..300 {
        assert_eq!(map.get().get(&Moody(n)), Some(&n));
        assert!(map.get().get(&Moody(n + 300)).is_none());
    }
    for n in 0..300 {
        assert_eq!(map.view().take(&Moody(n)), Some(n));
    }
    MOOD.set(Mood::Honest);
    assert!(map.get().is_empty());
    map.check();
}

#[test]
fn an_initialiser_that_fails_or_panics_leaves_the_map_as_it_was() {
    let segment = TestSegment::new();
    let mut map = segment.build::<ShmHashMap<Text, Text>>([("a", "1"), ("b", "2")]).unwrap();
    let fail = || init::with(|_| Err(Error::init("no")));
    let panic = || init::with::<Text, _>(|_| panic!("no"));
    for key in ["a", "c"] {
        assert!(matches!(map.view().insert(key, fail()), Err(Error::Init(_))));
        assert!(map.view().entry(key).unwrap().or_insert(fail()).is_err() || key == "a");
        assert!(map.view().entry_ref(key).unwrap().or_insert(fail()).is_err() || key == "a");
        assert!(map.view().insert(fail(), key).is_err());
        assert!(catch_unwind(AssertUnwindSafe(|| map.view().insert(key, panic()))).is_err());
        assert!(catch_unwind(AssertUnwindSafe(|| map.view().insert(panic(), key))).is_err());
        assert!(
            key == "a" || catch_unwind(AssertUnwindSafe(|| map.view().insert_ref(key, panic()))).is_err()
        );
        assert!(catch_unwind(AssertUnwindSafe(|| map.view().retain(|_, _| panic!("no")))).is_err());
        let pairs = [(key, "x"), ("d", "y")];
        let result = catch_unwind(AssertUnwindSafe(|| {
            map.view().extend(pairs.iter().map(|_| -> (&str, &str) { panic!("no") }))
        }));
        assert!(result.is_err());
        map.check();
        assert_eq!(map.get().len(), 2);
        assert!(map.get()["a"].as_str() == "1" && map.get()["b"].as_str() == "2");
    }
    assert!(segment.build::<ShmHashMap<u64, Text>>(vec![(1, fail())]).is_err());
    map.check();
}

#[test]
fn deleted_buckets_do_not_make_a_table_grow() {
    let segment = TestSegment::new();
    let mut map = segment.build::<ShmHashMap<u64, u64>>(ShmHashMap::with_capacity(100)).unwrap();
    let buckets = map.get().table().unwrap().mask();
    for n in 0..20_000 {
        map.view().insert(n, n).unwrap();
        if n >= 50 {
            assert!(map.view().remove(&(n - 50)));
        }
    }
    assert!(map.get().table().unwrap().mask() <= buckets);
    assert_eq!(map.get().len(), 50);
    map.check();
    map.view().clear();
    assert_eq!(map.get().capacity(), 112);
    map.view().shrink_to_fit().unwrap();
    assert_eq!(map.get().capacity(), 0);
    map.check();
}

#[test]
fn held_locks_are_neither_moved_nor_dropped() {
    let segment = TestSegment::new();
    let mut map = segment.build::<ShmHashMap<u64, Lock>>([(1, Lock(2)), (2, Lock(4))]).unwrap();
    assert_eq!(map.get().table().unwrap().bucket(0).addr().get() % 64, 0);
    map.view().get_mut(&1).unwrap().0 = 3;
    assert!(matches!(map.view().reserve(100), Err(Error::LockHeld)));
    assert!(matches!(map.view().insert(1, Lock(0)), Err(Error::LockHeld)));
    assert!(map.view().insert(3, Lock(0)).unwrap());
    assert!(matches!(map.view().insert(4, Lock(0)), Err(Error::LockHeld)));
    assert!(catch_unwind(AssertUnwindSafe(|| map.view().remove(&1))).is_err());
    assert!(map.view().remove(&3));
    map.check();
    let blocks = segment.live_blocks().len();
    map.view().clear();
    assert!(map.get().is_empty() && segment.live_blocks().len() == blocks);
    map.view().insert(1, Lock(5)).unwrap();
    drop(map);
    assert_eq!(segment.live_blocks().len(), 2, "both tables with a held lock are leaked");
}

#[test]
fn a_damaged_table_is_reported_never_followed() {
    let segment = TestSegment::new();
    let mut map = segment
        .build::<ShmHashMap<Text, Text>>(init::from_iter((0..20).map(|n| (text(n), text(n)))))
        .unwrap();
    map.view().remove(text(3).as_str());
    map.check();
    let table = map.get().table().unwrap();
    let bytes = Table::<Text, Text>::layout(table.mask()).unwrap().size();
    let at = table.header().as_ptr().cast::<u8>();
    let walk = || {
        let mut visitor = Visitor::new(segment.access());
        // SAFETY: readable; nobody changes it.
        unsafe { visitor.walk(map.get(), 1) };
        visitor.is_clean()
    };
    let live: HashSet<usize> = table.live().map(|bucket| bucket.addr().get() - at.addr()).collect();
    for i in 0..bytes {
        // Dead buckets and padding may hold anything.
        let meant =
            i < size_of::<Header>() + table.mask() + 1 + 16 || live.iter().any(|b| (*b..b + 32).contains(&i));
        for flip in [0x01, 0x80, 0xFF] {
            // SAFETY: a byte of the table, which nobody uses meanwhile.
            let old = unsafe { at.add(i).read() };
            // SAFETY: as above.
            unsafe { at.add(i).write(old ^ flip) };
            // A text's length may stay within its block: only the block's size can be checked.
            let clean = walk();
            // A tag of seven other bits of hash only hides its key.
            let hidden = (48..48 + 48).contains(&i) && flip == 0x01;
            // A counter one too low is what a killed process leaves.
            let hidden = hidden || [24, 32, 40].contains(&i) && flip == 0x01;
            assert!(!meant || !clean || i >= 96 || hidden, "byte {i} ^ {flip:#x}");
            // SAFETY: as above.
            unsafe { at.add(i).write(old) };
        }
    }
    assert!(walk());
}

// ---- the rest ----------------------------------------------------------------------------------------------------

#[test]
fn std_traits_and_names() {
    let segment = TestSegment::new();
    let native = HashMap::from([("Ada".to_owned(), 36), ("Grace".to_owned(), 85)]);
    let mut map = segment.build::<ShmHashMap<Text, u64>>(native.clone()).unwrap();
    assert_eq!(*map.get(), native);
    assert_eq!(native, *map.get());
    assert_eq!(map.get()["Ada"], 36);
    assert!(catch_unwind(AssertUnwindSafe(|| map.get()["Bob"])).is_err());
    assert_eq!(map.get().get_key_value("Ada").map(|(k, v)| (k.as_str(), *v)), Some(("Ada", 36)));
    assert!(map.get().contains_key("Grace") && !map.get().contains_key("grace"));
    let mut keys: Vec<&str> = map.get().keys().map(Text::as_str).collect();
    keys.sort();
    assert_eq!(keys, ["Ada", "Grace"]);
    assert_eq!(map.get().values().sum::<u64>(), 121);
    assert_eq!(map.get().into_iter().size_hint(), (2, Some(2)));
    let debug = format!("{:?}", map.get());
    assert!([r#"{"Ada": 36, "Grace": 85}"#, r#"{"Grace": 85, "Ada": 36}"#].contains(&debug.as_str()));

    let mut view = map.view();
    view.values_mut().for_each(|v| *v += 1);
    assert_eq!(view.take("Ada"), Some(37));
    assert_eq!(view.take("Ada"), None);
    match view.entry("Ada").unwrap() {
        Entry::Vacant(entry) => assert_eq!(*entry.insert(5).unwrap(), 5),
        Entry::Occupied(_) => panic!("taken"),
    }
    match view.entry_ref("Ada").unwrap() {
        Entry::Occupied(mut entry) => {
            assert_eq!((entry.key().as_str(), *entry.get()), ("Ada", 5));
            entry.set(6).unwrap();
            *entry.get_mut() += 1;
            *entry.into_mut() += 1;
        }
        Entry::Vacant(_) => panic!("not there"),
    }
    assert_eq!(*view.entry("Ada").unwrap().and_modify(|v| *v *= 2).or_insert(0).unwrap(), 16);
    assert_eq!(*view.entry("Bob").unwrap().or_insert_with_key(|k| k.as_str().len() as u64).unwrap(), 3);
    match view.entry("Bob").unwrap() {
        Entry::Occupied(entry) => entry.remove(),
        Entry::Vacant(_) => panic!("not there"),
    }
    assert_eq!(view.len(), 2);
    map.check();
    drop(map);

    let one = segment.build::<ShmHashMap<u64, u64>>([(1, 2), (3, 4)]).unwrap();
    let mut two = segment.build::<ShmHashMap<u64, u64>>(vec![(3, 4), (1, 2)]).unwrap();
    assert_eq!(one.get(), two.get());
    assert_eq!(two.view().remove_entry(&3), Some((3, 4)));
    assert_ne!(one.get(), two.get());
}

#[test]
fn maps_in_maps_and_sets() {
    let segment = TestSegment::new();
    let mut map =
        segment.build::<ShmHashMap<u64, ShmHashMap<Text, ShmHashSet<u64>>>>(ShmHashMap::new()).unwrap();
    for n in 0..50u64 {
        let mut view = map.view();
        let mut inner = view.entry(n % 5).unwrap().or_insert(ShmHashMap::new()).unwrap();
        let mut set = inner.entry_ref(["even", "odd"][n as usize % 2]).unwrap().or_insert([n]).unwrap();
        assert_eq!(set.insert(n).unwrap(), set.len() > 1 && set.contains(&n) && n >= 10);
        assert!(set.contains(&n));
    }
    map.check();
    assert_eq!(
        map.elsewhere()[&3]["odd"].iter().copied().collect::<HashSet<_>>(),
        [3, 13, 23, 33, 43].into()
    );
    map.view().reserve(1000).unwrap();
    map.check();
    assert_eq!(map.elsewhere()[&3]["odd"], HashSet::from([3u64, 13, 23, 33, 43]));
    map.view().insert(3, [("odd", [1, 2, 3])]).unwrap();
    assert_eq!(map.get()[&3]["odd"].len(), 3);
    assert!(map.view().remove(&4));
    map.check();
    drop(map);

    let mut set = segment.build::<ShmHashSet<Text>>(["a", "b"]).unwrap();
    assert!(!set.view().insert("a").unwrap() && set.view().insert_ref("c").unwrap());
    set.view().extend(["d", "a"]).unwrap();
    set.view().retain(|key| key.as_str() != "b");
    assert!(set.view().remove("d") && !set.view().remove("d"));
    assert_eq!(*set.get(), HashSet::from(["a".to_owned(), "c".to_owned()]));
    assert_eq!(set.elsewhere().get("a").map(Text::as_str), Some("a"));
    set.check();
    set.undone(
        |set| set.iter().map(|key| key.as_str().to_owned()).collect::<HashSet<_>>(),
        |set| {
            set.view().clear();
            set.view().extend((0..100).map(text)).unwrap();
        },
    );
    drop(set);

    let mut nothing = segment.build::<ShmHashMap<(), ()>>(ShmHashMap::new()).unwrap();
    assert!(nothing.view().insert((), ()).unwrap() && !nothing.view().insert((), ()).unwrap());
    assert_eq!(nothing.get().iter().count(), 1);
    assert!(nothing.view().remove(&()));
    nothing.check();
    assert!(segment.build::<ShmHashMap<u64, u64>>(ShmHashMap::with_capacity(usize::MAX)).is_err());
    assert!(segment.build::<ShmHashMap<u64, u64>>(ShmHashMap::with_capacity(1 << 60)).is_err());
}

#[test]
fn the_stored_bytes_are_those_of_the_format() {
    let segment = TestSegment::new();
    let map = segment.build::<ShmHashMap<u64, u16>>(init::from_iter((0..20).map(|n| (n, 7)))).unwrap();
    let table = map.get().table().unwrap();
    let header = table.counters();
    assert_eq!((header.mask, header.limit, header.items, header.growth_left), (31, 28, 20, 8));
    assert_eq!(header.seed, segment.access().hash_seed());
    let (block, mut found) = (table.header().as_ptr().cast::<u8>(), 0);
    for i in 0..32 {
        // SAFETY: inside the block.
        let (ctrl, mirror) = unsafe { (*block.add(48 + i), *block.add(48 + 16 + (i + 16) % 32)) };
        assert!(ctrl == mirror || i >= 16);
        if ctrl < 0x80 {
            // SAFETY: inside the block; a live bucket.
            let key = unsafe { block.add(48 + 32 + 16 + i * 16).cast::<u64>().read() };
            assert_eq!(ctrl, (hash_one(&key, header.seed) >> 57) as u8);
            found += 1;
        }
    }
    assert_eq!(found, 20);
}
