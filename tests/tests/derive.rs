//! What the code that `#[derive(ShmSafe)]` writes does when it runs.
//!
//! This file needs `unsafe`: it calls the contract's functions as the library does.

use shmem_core::access::Access;
use shmem_core::{
    ConstArg, Error, Fingerprint, GenericArg, Kind, Origin, ShmDrop, ShmHash, ShmHasher, ShmSafe, TypeInfo,
    Visitor,
};
use shmem_tests::placed::{Place, Placed, Slot, events, note};
use std::any::TypeId;
use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::NonNull;

#[derive(ShmSafe)]
#[repr(C)]
struct Three {
    first: Placed,
    flag: bool,
    second: Placed,
    third: Placed,
}

fn three(first: Place, second: Place, third: Place) -> Result<Slot<Three>, Error> {
    Slot::build(ThreeInit { first, flag: true, second, third })
}

#[test]
fn fields_are_built_in_place_and_dropped_in_order() {
    let built = three(Place::Number(1), Place::Number(2), Place::Number(3)).unwrap();
    for placed in [&built.get().first, &built.get().second, &built.get().third] {
        placed.check();
    }
    assert!(built.get().flag);
    assert_eq!(events(), ["build 1", "build 2", "build 3"]);
    drop(built);
    assert_eq!(events(), ["drop 1", "drop 2", "drop 3"]);
}

#[test]
fn a_failing_initialiser_drops_what_was_built() {
    assert!(three(Place::Fail, Place::Number(2), Place::Number(3)).is_err());
    assert!(events().is_empty());
    assert!(three(Place::Number(1), Place::Fail, Place::Number(3)).is_err());
    assert_eq!(events(), ["build 1", "drop 1"]);
    assert!(three(Place::Number(1), Place::Number(2), Place::Fail).is_err());
    assert_eq!(events(), ["build 1", "build 2", "drop 2", "drop 1"]);
}

#[test]
fn a_panicking_initialiser_drops_what_was_built() {
    let result = catch_unwind(|| three(Place::Number(1), Place::Number(2), Place::Panic).is_ok());
    assert!(result.is_err());
    assert_eq!(events(), ["build 1", "build 2", "drop 2", "drop 1"]);
}

#[test]
fn a_nested_failure_drops_the_fields_of_the_outer_struct_too() {
    #[derive(ShmSafe)]
    #[repr(C)]
    struct Outer(Placed, Three, [Placed; 2]);
    let inner = |third| ThreeInit { first: Place::Number(1), flag: true, second: Place::Number(2), third };
    let array = || shmem_core::init::array([Place::Number(4), Place::Fail]);
    assert!(Slot::<Outer>::build(OuterInit(Place::Number(0), inner(Place::Fail), array())).is_err());
    assert_eq!(events(), ["build 0", "build 1", "build 2", "drop 2", "drop 1", "drop 0"]);
    assert!(Slot::<Outer>::build(OuterInit(Place::Number(0), inner(Place::Number(3)), array())).is_err());
    let built = ["build 0", "build 1", "build 2", "build 3", "build 4"];
    assert_eq!(events(), [built, ["drop 4", "drop 1", "drop 2", "drop 3", "drop 0"]].concat());
}

#[test]
fn relocation_relocates_each_field() {
    const { assert!(!Three::PLAIN && !Three::ANY_BITS && !Three::HAS_LOCKS) };
    let mut moved =
        three(Place::Number(1), Place::Number(2), Place::Number(3)).unwrap().relocated().relocated();
    assert_eq!(events(), ["build 1", "build 2", "build 3"], "moving builds and drops nothing");
    for placed in [&moved.get().first, &moved.get().second, &moved.get().third] {
        placed.check();
    }
    let ThreeMut { first, flag, .. } = moved.view();
    *flag = false;
    first.0.number = 10;
    assert!(!moved.get().flag);
    drop(moved);
    assert_eq!(events(), ["drop 10", "drop 2", "drop 3"]);
}

#[test]
fn visiting_visits_each_field_and_reports_what_is_wrong() {
    let mut value = three(Place::Number(1), Place::Number(2), Place::Number(3)).unwrap();
    assert!(value.findings().is_empty());
    assert_eq!(events(), ["build 1", "build 2", "build 3", "visit 1", "visit 2", "visit 3"]);
    value.view().third.0.number = u64::MAX;
    assert!(!value.findings().is_empty());
    value.view().third.0.number = 3;
    assert!(value.findings().is_empty());
    // SAFETY: the field is ours; it is read as raw bytes until it is a `bool` again.
    unsafe { (&raw mut (*value.0.as_mut_ptr()).flag).cast::<u8>().write(2) };
    assert!(!value.findings().is_empty());
    // SAFETY: as above.
    unsafe { (&raw mut (*value.0.as_mut_ptr()).flag).cast::<u8>().write(1) };
    drop(value);
    events();
}

#[derive(ShmSafe)]
#[shm(drop)]
#[repr(C)]
struct Closing {
    id: u64,
    placed: Placed,
}

impl ShmDrop for Closing {
    fn drop(this: ClosingMut<'_>) {
        note(format!("close {}", this.id));
        this.placed.0.number += 100;
        if *this.id == 13 {
            panic!("a destructor that panics");
        }
    }
}

#[test]
fn shm_drop_runs_before_the_fields_are_dropped() {
    drop(Slot::<Closing>::build(ClosingInit { id: 1, placed: Place::Number(2) }).unwrap());
    assert_eq!(events(), ["build 2", "close 1", "drop 102"]);
    assert!(Slot::<Closing>::build(ClosingInit { id: 1, placed: Place::Fail }).is_err());
    assert!(events().is_empty(), "what never came to be is not closed");
    let bad = Slot::<Closing>::build(ClosingInit { id: 13, placed: Place::Number(2) }).unwrap();
    assert!(catch_unwind(AssertUnwindSafe(|| drop(bad))).is_err());
    assert_eq!(events(), ["build 2", "close 13", "drop 102"], "the fields are dropped all the same");
}

#[test]
fn shm_drop_of_a_movable_type_runs_on_the_stack() {
    #[derive(ShmSafe)]
    #[shm(drop)]
    #[repr(C)]
    struct Ticket {
        id: u64,
    }
    impl ShmDrop for Ticket {
        fn drop(this: TicketMut<'_>) {
            note(format!("ticket {}", this.id));
            *this.id = 0;
        }
    }
    const { assert!(Ticket::PLAIN && !Ticket::ANY_BITS) };
    fn movable<T: Unpin>(_: &T) {}
    let mut ticket = Ticket { id: 1 };
    movable(&ticket);
    let old = std::mem::replace(&mut ticket, Ticket { id: 2 });
    drop(old);
    drop(Slot::<Ticket>::build(ticket).unwrap());
    drop(Slot::<[Ticket; 2]>::build([Ticket { id: 3 }, Ticket { id: 4 }]).unwrap());
    assert_eq!(events(), ["ticket 1", "ticket 2", "ticket 3", "ticket 4"]);
}

#[test]
fn constants_follow_the_fields() {
    #[derive(ShmSafe)]
    #[repr(C)]
    struct Numbers(u64, [i8; 3], f32);
    #[derive(ShmSafe)]
    #[repr(C)]
    struct WithBool<T>(T, bool);
    const { assert!(Numbers::PLAIN && Numbers::ANY_BITS && !Numbers::HAS_LOCKS) };
    const { assert!(WithBool::<Numbers>::PLAIN && !WithBool::<Numbers>::ANY_BITS) };
    const { assert!(!WithBool::<Placed>::PLAIN) };

    #[repr(C)]
    struct Lock(u8);
    // SAFETY: a byte; its lock is a figure of speech.
    unsafe impl ShmSafe for Lock {
        const PLAIN: bool = true;
        const ANY_BITS: bool = true;
        const HAS_LOCKS: bool = true;
        type Parts = ();
        type Mut<'a> = ();
        unsafe fn view<'a>(_: NonNull<Self>, _: Access<'a>) {}
        unsafe fn relocate(from: *mut Self, to: *mut Self) {
            // SAFETY: by the caller.
            unsafe { from.copy_to_nonoverlapping(to, 1) }
        }
        fn type_info() -> &'static TypeInfo {
            u8::type_info()
        }
        unsafe fn visit(_: *const Self, _: &mut Visitor<'_>) {}
        unsafe fn lock_held(this: *const Self) -> bool {
            // SAFETY: by the caller.
            unsafe { (*this).0 != 0 }
        }
    }
    type Locked = WithBool<WithBool<[Lock; 2]>>;
    const { assert!(Locked::HAS_LOCKS) };
    for held in [0, 1] {
        let value: Locked = WithBool(WithBool([Lock(0), Lock(held)], true), true);
        // SAFETY: valid and ours.
        assert_eq!(unsafe { Locked::lock_held(&raw const value) }, held == 1);
    }
}

#[test]
fn hashing_feeds_each_field_in_order() {
    #[derive(ShmSafe)]
    #[shm(hash)]
    #[repr(C)]
    struct Key<T> {
        id: u32,
        rest: T,
        unit: (),
    }
    let hash = |key: &dyn Fn(&mut ShmHasher)| {
        let mut hasher = ShmHasher::new(7);
        key(&mut hasher);
        hasher.finish()
    };
    let key = |id, rest: [u8; 2]| hash(&|h| Key { id, rest, unit: () }.shm_hash(h));
    assert_eq!(key(1, [2, 3]), hash(&|h| (1u32.shm_hash(h), [2u8, 3].shm_hash(h)).1));
    assert_ne!(key(1, [2, 3]), key(1, [3, 2]));
    assert_ne!(key(1, [2, 3]), key(2, [2, 3]));
}

#[test]
fn type_info_describes_the_struct() {
    #[derive(ShmSafe)]
    #[shm(version = 5)]
    #[repr(C)]
    struct Described<T, const N: usize, const SIGN: i8> {
        tag: u8,
        list: [T; N],
    }
    type This = Described<u32, 3, -1>;
    let info = This::type_info();
    assert_eq!((info.name, info.version), ("Described", 5));
    assert_eq!((info.size, info.align), (16, 4));
    assert_eq!(info.origin, Origin::Module(module_path!()));
    assert_eq!(info.id, TypeId::of::<This>());
    assert_eq!(info.to_string(), "Described<u32, 3, -1>");
    let Kind::Struct { fields } = &info.kind else { panic!("a struct") };
    let fields: Vec<_> = fields.iter().map(|f| (f.name, f.offset, (f.ty)().to_string())).collect();
    assert_eq!(fields, [("tag", 0, "u8".to_owned()), ("list", 4, "[u32; 3]".to_owned())]);
    let consts = info.args.iter().filter_map(|arg| match arg {
        GenericArg::Const(value) => Some(*value),
        GenericArg::Type(_) => None,
    });
    assert!(consts.eq([ConstArg::Unsigned(3), ConstArg::Signed(-1)]));
}

/// One struct in a module of its own.
macro_rules! variant {
    ($module:ident, $($rest:tt)*) => {
        mod $module {
            #[allow(unused_imports)]
            use super::*;
            #[derive(ShmSafe)]
            #[repr(C)]
            $($rest)*
        }
    };
}
variant!(
    v1,
    pub struct Pair {
        pub a: u32,
        pub b: u32,
    }
);
variant!(
    v2,
    pub struct Pair {
        pub a: u32,
        pub b: u32,
    }
);
variant!(
    swapped,
    pub struct Pair {
        pub b: u32,
        pub a: u32,
    }
);
variant!(
    renamed,
    pub struct Couple {
        pub a: u32,
        pub b: u32,
    }
);
variant!(
    other_field,
    pub struct Pair {
        pub a: u32,
        pub c: u32,
    }
);
variant!(
    other_type,
    pub struct Pair {
        pub a: u32,
        pub b: i32,
    }
);
variant!(
    versioned,
    #[shm(version = 1)]
    pub struct Pair {
        pub a: u32,
        pub b: u32,
    }
);
variant!(
    aligned,
    #[repr(align(8))]
    pub struct Pair {
        pub a: u32,
        pub b: u32,
    }
);
variant!(
    named,
    #[shm(unsafe(name = "Pair"))]
    pub struct Pair {
        pub a: u32,
        pub b: u32,
    }
);
variant!(
    named_again,
    #[shm(unsafe(name = "Pair"))]
    pub struct Couple {
        pub a: u32,
        b: u32,
    }
);
variant!(
    closed1,
    pub struct Pair {
        pub a: u32,
        b: u32,
    }
);
variant!(
    closed2,
    pub struct Pair {
        pub a: u32,
        b: u32,
    }
);
variant!(tuple, pub struct Pair(pub u32, pub u32););
variant!(
    deep1,
    pub struct Deep {
        pub inner: [Holder<v1::Pair>; 2],
    }
);
variant!(
    deep2,
    pub struct Deep {
        pub inner: [Holder<v2::Pair>; 2],
    }
);
variant!(
    deep3,
    pub struct Deep {
        pub inner: [Holder<other_type::Pair>; 2],
    }
);

/// Holds another type.
#[derive(ShmSafe)]
#[repr(C)]
pub struct Holder<T> {
    /// It.
    pub value: T,
}

#[test]
fn fingerprints_tell_types_apart() {
    let all = [
        Fingerprint::of::<v1::Pair>(),
        Fingerprint::of::<swapped::Pair>(),
        Fingerprint::of::<renamed::Couple>(),
        Fingerprint::of::<other_field::Pair>(),
        Fingerprint::of::<other_type::Pair>(),
        Fingerprint::of::<versioned::Pair>(),
        Fingerprint::of::<aligned::Pair>(),
        Fingerprint::of::<named::Pair>(),
        Fingerprint::of::<closed1::Pair>(),
        Fingerprint::of::<closed2::Pair>(),
        Fingerprint::of::<tuple::Pair>(),
        Fingerprint::of::<deep1::Deep>(),
        Fingerprint::of::<deep3::Deep>(),
    ];
    for (i, one) in all.iter().enumerate() {
        assert!(!all[..i].contains(one), "type {i} is taken for another");
    }
    assert_eq!(Fingerprint::of::<v1::Pair>(), Fingerprint::of::<v2::Pair>());
    assert_eq!(Fingerprint::of::<deep1::Deep>(), Fingerprint::of::<deep2::Deep>());
    assert_eq!(Fingerprint::of::<named::Pair>(), Fingerprint::of::<named_again::Couple>());
}

#[test]
fn fingerprints_cover_arguments_that_take_no_space() {
    #[derive(ShmSafe)]
    #[repr(C)]
    struct Id<T, const N: u8 = 0> {
        number: u64,
        of: PhantomData<T>,
    }
    assert_ne!(Fingerprint::of::<Id<u8>>(), Fingerprint::of::<Id<u16>>());
    assert_ne!(Fingerprint::of::<Id<u8, 1>>(), Fingerprint::of::<Id<u8, 2>>());
    assert_ne!(Fingerprint::of::<Id<v1::Pair>>(), Fingerprint::of::<Id<swapped::Pair>>());
    assert_eq!(Fingerprint::of::<Id<v1::Pair>>(), Fingerprint::of::<Id<v2::Pair>>());
}

#[test]
fn recursive_types_have_fingerprints() {
    #[derive(ShmSafe)]
    #[repr(C)]
    struct Tree<T> {
        value: T,
        forest: PhantomData<Forest<T>>,
    }
    #[derive(ShmSafe)]
    #[repr(C)]
    struct Forest<T> {
        trees: PhantomData<Tree<T>>,
        next: PhantomData<Forest<T>>,
    }
    let tree = Fingerprint::of::<Tree<u8>>();
    assert_ne!(tree, Fingerprint::of::<Tree<u16>>());
    assert_ne!(tree, Fingerprint::of::<Forest<u8>>());
    assert_eq!(tree, Fingerprint::of::<Tree<u8>>());
}

/// Public fields, but a value that other crates may not write down.
#[derive(ShmSafe)]
#[non_exhaustive]
#[repr(C)]
pub struct Witness {
    /// What was checked.
    pub checked: u32,
}

#[test]
fn a_non_exhaustive_type_is_its_modules() {
    assert_eq!(Witness::type_info().origin, Origin::Module(module_path!()));
    let _ = WitnessInit { checked: 1 };
}
