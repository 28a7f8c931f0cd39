//! Stored type records: an independent reader, written from FORMAT.md, computes the same fingerprints; and they
//! never change.

use shmem_core::{
    Fingerprint, Result, Segment, ShmBox, ShmBoxSlice, ShmHashMap, ShmHashSet, ShmMutex, ShmOption, ShmSafe,
    ShmString, ShmVec, StoredType,
};
use std::collections::BTreeMap;
use std::io::Write;
use std::marker::PhantomData;
use std::process::{Command, Stdio};
use std::sync::atomic::AtomicU32;

/// All fields public: its identity is its shape.
#[derive(ShmSafe)]
#[repr(C)]
pub struct Point {
    /// To the right.
    pub x: f64,
    /// Upwards.
    pub y: f64,
}

/// Private fields: its identity is its module too.
#[derive(ShmSafe)]
#[repr(C)]
struct Account {
    owner: ShmString,
    balance: i64,
    history: ShmVec<i64>,
}

/// Recurs through itself and through another type.
#[derive(ShmSafe)]
#[repr(C)]
struct Tree {
    value: Generic<u8, -3>,
    children: ShmVec<Tree>,
    forest: ShmOption<ShmBox<Forest>>,
}

#[derive(ShmSafe)]
#[repr(C)]
struct Forest {
    trees: ShmVec<Tree>,
    name: ShmString,
    here: PhantomData<Point>,
}

/// Refers to its circle from two sides: to a type of it, and to the container by which that refers to itself.
#[derive(ShmSafe)]
#[repr(C)]
struct Sides {
    one: Circle,
    many: ShmVec<Circle>,
}

#[derive(ShmSafe)]
#[repr(C)]
struct Circle {
    children: ShmVec<Circle>,
}

#[derive(ShmSafe)]
#[repr(C)]
#[shm(version = 7)]
struct Generic<T, const N: i32> {
    of: [T; 2],
    hits: AtomicU32,
}

#[derive(ShmSafe)]
#[repr(C)]
#[shm(unsafe(name = "com.example.Renamed"))]
struct Renamed(u16, char);

/// An enum that is a number; public, so its identity is its shape.
#[derive(ShmSafe)]
#[repr(i8)]
pub enum Side {
    /// -3
    Buy = -3,
    /// -2
    Sell,
}

/// An enum with data; private, so its identity is its module too. It recurs.
#[derive(ShmSafe)]
#[repr(C, u16)]
enum Event<T> {
    Nothing,
    #[shm(rename = "text")]
    Message(ShmString, T),
    Trade {
        side: Side,
        #[shm(rename = "price")]
        at: f64,
        then: ShmOption<ShmBox<Event<u8>>>,
    },
}

/// An ordinary type, whose twin is shared.
#[derive(ShmSafe)]
#[shm(mirror = ShmOrder)]
pub struct Order {
    /// A tuple.
    pub fills: Vec<(u64, f64)>,
    /// Not stored.
    #[shm(skip)]
    pub cache: Vec<u8>,
    /// Itself.
    pub next: Option<Box<Order>>,
}

#[derive(ShmSafe)]
#[repr(C)]
struct All {
    events: ShmVec<Event<i64>>,
    order: ShmOrder,
    points: ShmHashMap<u64, Point>,
    accounts: ShmMutex<ShmHashMap<ShmString, Account>>,
    tree: Tree,
    sides: Sides,
    seen: ShmHashSet<i128>,
    wide: Generic<Renamed, 5>,
    slice: ShmBoxSlice<bool>,
    unit: (),
}

fn stored() -> Result<Vec<StoredType>> {
    let segment = Segment::anonymous().size(1 << 20).create()?;
    // The records are stored before the value is built.
    let empty = shmem_core::init::with(|_| Err(shmem_core::Error::init("not needed")));
    let _ = segment.construct::<All>("all", empty);
    Ok(segment.stored_types())
}

#[test]
fn an_independent_reader_computes_the_same_fingerprints() -> Result<()> {
    let stored = stored()?;
    assert!(stored.iter().any(|ty| ty.fingerprint == Fingerprint::of::<All>()), "{} types", stored.len());
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/read_schema.py");
    let child = Command::new("python3")
        .arg(script)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = match child {
        Ok(child) => child,
        Err(e) => {
            println!("skipped: no python3 ({e})");
            return Ok(());
        }
    };
    let mut bytes = Vec::new();
    for ty in &stored {
        bytes.extend(ty.fingerprint.0);
        bytes.extend((ty.record.len() as u32).to_le_bytes());
        bytes.extend(&ty.record);
    }
    child.stdin.take().unwrap().write_all(&bytes).unwrap();
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(text.lines().count(), stored.len());
    for name in [
        "All",
        "Account",
        "Tree",
        "Forest",
        "Generic",
        "com.example.Renamed",
        "ShmHashMap",
        "Point",
        "Side",
        "Event",
        "ShmOrder",
        "ShmTuple2",
    ] {
        assert!(text.lines().any(|line| line.split(' ').nth(1) == Some(name)), "no {name} in\n{text}");
    }
    Ok(())
}

/// A change here is a change of format: every stored segment's types would be other types.
#[test]
fn golden_fingerprints() {
    let found = BTreeMap::from([
        ("u64", Fingerprint::of::<u64>()),
        ("[u8; 3]", Fingerprint::of::<[u8; 3]>()),
        ("ShmString", Fingerprint::of::<ShmString>()),
        ("ShmVec<i64>", Fingerprint::of::<ShmVec<i64>>()),
        ("ShmHashMap<u64, ShmString>", Fingerprint::of::<ShmHashMap<u64, ShmString>>()),
        ("ShmMutex<u64>", Fingerprint::of::<ShmMutex<u64>>()),
        ("Point", Fingerprint::of::<Point>()),
        ("Account", Fingerprint::of::<Account>()),
        ("Tree", Fingerprint::of::<Tree>()),
        ("Generic<u8, -3>", Fingerprint::of::<Generic<u8, -3>>()),
        ("Renamed", Fingerprint::of::<Renamed>()),
        ("Side", Fingerprint::of::<Side>()),
        ("Event<i64>", Fingerprint::of::<Event<i64>>()),
        ("ShmOrder", Fingerprint::of::<ShmOrder>()),
    ]);
    let text: String = found.iter().map(|(name, fingerprint)| format!("{name} = {fingerprint}\n")).collect();
    assert_eq!(text, GOLDEN);
}

const GOLDEN: &str = "\
Account = a2071c01c97cc68bddd423dd4dfd95d9
Event<i64> = d1d0380d40a9ca322bfd55330983b1f4
Generic<u8, -3> = eab2995d3c90680e152871e72fd99b29
Point = 3eeace70769a1251fa35ef6b05255d0c
Renamed = 40f6a423a643cd62a44d93cb0d97ff8a
ShmHashMap<u64, ShmString> = 424d8fe660bbba7138da1f94e48d4c34
ShmMutex<u64> = 8d07ba7969a7676e41f0947604629afb
ShmOrder = 6a1e2bd88d9fba6e6ac30a3aff24ba8b
ShmString = efe6d11c8aeeb86c0dfe7877f2f03c45
ShmVec<i64> = 896338ebf31854308d96317f47a0bb46
Side = fc6630b8c32cb08a6d8ce236f0af0f0c
Tree = 069cc2ac31d1a35bec6824b5e6822e58
[u8; 3] = 80b4f9ed6e9e68f5d98ca300c2751fc3
u64 = 58acd24499b090c3a34204eabf7f6fb0
";

/// What makes two types different types.
#[test]
fn differences_that_a_fingerprint_sees() {
    mod one {
        #[derive(shmem_core::ShmSafe)]
        #[repr(C)]
        pub(super) struct Even(u32);
        #[derive(shmem_core::ShmSafe)]
        #[repr(C)]
        pub(super) struct Pair {
            a: u32,
            b: u32,
        }
        #[derive(shmem_core::ShmSafe)]
        #[repr(C)]
        pub(super) struct Outer {
            inner: shmem_core::ShmVec<Pair>,
        }
    }
    mod two {
        #[derive(shmem_core::ShmSafe)]
        #[repr(C)]
        pub(super) struct Even(u32);
    }
    /// The same names as in `one`, fields swapped.
    mod swapped {
        #[derive(shmem_core::ShmSafe)]
        #[repr(C)]
        #[shm(unsafe(name = "Pair"))]
        pub(super) struct Pair {
            b: u32,
            a: u32,
        }
        #[derive(shmem_core::ShmSafe)]
        #[repr(C)]
        #[shm(unsafe(name = "Pair"))]
        pub(super) struct SamePair {
            a: u32,
            b: u32,
        }
        #[derive(shmem_core::ShmSafe)]
        #[repr(C)]
        #[shm(unsafe(name = "Pair"))]
        pub(super) struct AgainPair {
            a: u32,
            b: u32,
        }
        #[derive(shmem_core::ShmSafe)]
        #[repr(C)]
        #[shm(unsafe(name = "Pair"), version = 1)]
        pub(super) struct LaterPair {
            a: u32,
            b: u32,
        }
        #[derive(shmem_core::ShmSafe)]
        #[repr(C)]
        #[shm(unsafe(name = "Outer"))]
        pub(super) struct Outer<T>
        where
            T: shmem_core::ShmSafe,
        {
            inner: shmem_core::ShmVec<shmem_core::ShmOption<T>>,
        }
    }
    let different = [
        Fingerprint::of::<one::Even>(),
        Fingerprint::of::<two::Even>(),
        Fingerprint::of::<one::Pair>(),
        Fingerprint::of::<one::Outer>(),
        Fingerprint::of::<swapped::Pair>(),
        Fingerprint::of::<swapped::SamePair>(),
        Fingerprint::of::<swapped::LaterPair>(),
        Fingerprint::of::<swapped::Outer<swapped::Pair>>(),
        Fingerprint::of::<swapped::Outer<swapped::SamePair>>(),
        Fingerprint::of::<Generic<u8, 1>>(),
        Fingerprint::of::<Generic<u8, 2>>(),
        Fingerprint::of::<Generic<i8, 2>>(),
        Fingerprint::of::<PhantomData<u8>>(),
        Fingerprint::of::<PhantomData<u16>>(),
        Fingerprint::of::<[u8; 2]>(),
        Fingerprint::of::<[u8; 4]>(),
    ];
    for (i, a) in different.iter().enumerate() {
        for (j, b) in different.iter().enumerate() {
            assert_eq!(i == j, a == b, "types {i} and {j}");
        }
    }
    assert_eq!(Fingerprint::of::<swapped::SamePair>(), Fingerprint::of::<swapped::AgainPair>());
    let (outer, again) = (
        Fingerprint::of::<swapped::Outer<swapped::SamePair>>(),
        Fingerprint::of::<swapped::Outer<swapped::AgainPair>>(),
    );
    assert_eq!(outer, again);
}
