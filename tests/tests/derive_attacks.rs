//! Attacks on the code that `#[derive(ShmSafe)]` writes: what a death leaves of enums, and checks of the types' own that
//! do what they should not.
//!
//! This file needs `unsafe`: it damages values, and calls the contract's functions as the library does.

use shmem_core::access::Access;
use shmem_core::{
    Corrupt, Error, Init, Kind, LockError, Origin, PoisonedLockError, Root, Segment, ShmBox, ShmHashMap,
    ShmMutex, ShmOption, ShmSafe, ShmString, ShmVec, TypeInfo, Visitor, init,
};
use shmem_tests::*;
use std::any::TypeId;
use std::cell::RefCell;
use std::marker::PhantomPinned;
use std::mem::MaybeUninit;
use std::ptr::NonNull;

roles! { owner, damager }

thread_local! {
    /// What was asked, in order.
    static ASKED: RefCell<Vec<u64>> = const { RefCell::new(Vec::new()) };
}

/// Constructs a value, has a process die with its lock (after `damage`, if the role does any), and gives the value.
fn orphaned<T: ShmSafe + Sync>(
    name: &TempName,
    role: &str,
    value: impl Init<T>,
) -> (Segment, Root<ShmMutex<T>>) {
    let segment = name.segment().size(1 << 20).create().unwrap();
    let root = segment.construct::<ShmMutex<T>>("value", ShmMutex::new(value)).unwrap();
    let mut worker = Worker::spawn(role, &[name]);
    worker.expect("holding");
    worker.kill();
    assert_eq!(root.lock_timeout(PATIENCE).err().unwrap(), LockError::Poisoned { by_death: true });
    (segment, root)
}

fn found<T: ShmSafe>(
    outcome: Result<shmem_core::MutexGuard<'_, T>, PoisonedLockError<'_, T>>,
) -> Option<Corrupt> {
    match outcome {
        Ok(_) => None,
        Err(PoisonedLockError::Corrupt(guard)) => Some(guard.found()),
        Err(e) => panic!("{e}"),
    }
}

/// Dies with the lock of a `ShmMutex<Meddler>`.
fn owner() {
    let segment = Segment::shared(&argument::<String>(0)).open().unwrap();
    let root = segment.find::<ShmMutex<Meddler>>("value").unwrap().unwrap();
    let _guard = root.lock().unwrap();
    report("holding");
    hear();
}

/// A value that says when it is asked, and that it was changed if its number is not a small one.
#[derive(ShmSafe)]
#[shm(validate = Numbered::check, hash)]
#[repr(C)]
struct Numbered {
    number: u64,
}

impl Numbered {
    fn check(&self) -> Result<(), &'static str> {
        ASKED.with_borrow_mut(|asked| asked.push(self.number));
        match self.number {
            0..100 => Ok(()),
            100 => panic!("a check that panics"),
            _ => Err("asked of what is no longer there"),
        }
    }
}

impl PartialEq for Numbered {
    fn eq(&self, other: &Self) -> bool {
        self.number == other.number
    }
}
impl Eq for Numbered {}

#[derive(ShmSafe)]
#[repr(u8)]
enum State {
    Empty { filler: u64 },
    Full(Numbered),
}

/// Its check changes what it can reach: what is in its locks.
#[derive(ShmSafe)]
#[shm(validate = Meddler::check)]
#[repr(C)]
struct Meddler {
    state: ShmMutex<State>,
    elements: ShmMutex<ShmVec<Numbered>>,
    deep: ShmMutex<ShmBox<ShmVec<ShmBox<Numbered>>>>,
    map: ShmHashMap<Numbered, ShmOption<Numbered>>,
    array: [State; 2],
}

impl Meddler {
    fn check(&self) -> Result<(), &'static str> {
        ASKED.with_borrow_mut(|asked| asked.push(99));
        self.state.lock().unwrap().set(StateEmptyInit { filler: u64::MAX }).unwrap();
        let mut elements = self.elements.lock().unwrap();
        let mut elements = elements.view();
        for i in 0..elements.len() {
            elements.set(i, Numbered { number: u64::MAX }).unwrap();
        }
        self.deep.lock().unwrap().view().get().clear();
        Ok(())
    }
}

fn meddler() -> impl Init<Meddler> {
    let numbered = |number| Numbered { number };
    MeddlerInit {
        state: ShmMutex::new(StateFullInit(numbered(1))),
        elements: ShmMutex::new([numbered(2), numbered(3)]),
        deep: ShmMutex::new(ShmBox::new([ShmBox::new(numbered(4)), ShmBox::new(numbered(5))])),
        map: init::from_iter([(numbered(6), ShmOption::some(numbered(7)))]),
        array: init::array([StateFullInit(numbered(8)), StateFullInit(numbered(9))]),
    }
}

/// A type's own check may lock what is inside the value and change it. What it changes must not be asked after that:
/// it may be gone.
#[test]
fn a_check_that_changes_what_it_is_asked_of() {
    let _watchdog = Watchdog::test("meddler");
    let name = TempName::new("meddler");
    let (_segment, root) = orphaned::<Meddler>(&name, "owner", meddler());
    ASKED.take();
    assert_eq!(found(root.lock_poisoned()), None);
    let mut asked = ASKED.take();
    assert_eq!(asked.pop(), Some(99), "whoever contains the others is asked last");
    asked.sort_unstable();
    assert_eq!(asked, [1, 2, 3, 4, 5, 6, 7, 8, 9], "each once, wherever it stands");
}

#[derive(ShmSafe)]
#[repr(i16)]
enum Job {
    Idle = -3,
    Running { name: ShmString, done: bool },
    Nested(State),
}

/// Puts a tag that no variant has into a `ShmMutex<Job>`, and dies with its lock.
fn damager() {
    let segment = Segment::shared(&argument::<String>(0)).open().unwrap();
    let root = segment.find::<ShmMutex<Job>>("value").unwrap().unwrap();
    let guard = root.lock().unwrap();
    // SAFETY: locked; nobody reads it as a value any more.
    unsafe { (&raw const *guard).cast_mut().cast::<i16>().write(77) };
    report("holding");
    hear();
}

#[test]
fn a_damaged_tag_is_found() {
    let _watchdog = Watchdog::test("damaged tag");
    let name = TempName::new("tag");
    let (segment, root) = orphaned::<Job>(&name, "damager", JobRunningInit { name: "x", done: false });
    let corrupt = match root.lock_poisoned() {
        Err(PoisonedLockError::Corrupt(guard)) => guard,
        _ => panic!("the tag was taken"),
    };
    assert_eq!(corrupt.found().what, "the tag of an enum that is none of its variants'");
    let mut guard = corrupt.replace(Job::init_idle()).map_err(|(_, e)| e).unwrap();
    guard.clear_poison();
    guard.view().set(JobNestedInit(StateFullInit(Numbered { number: 1 }))).unwrap();
    drop(guard);
    sound(&segment);
}

thread_local! {
    /// The whole that a [`Spy`] looks at while it is moved, and what it saw: whether each time all was found sound.
    static WATCHED: RefCell<(Option<Watch>, Vec<bool>)> = const { RefCell::new((None, Vec::new())) };
}

/// Visits the place that is being written.
type Watch = Box<dyn Fn() -> bool>;

/// A field that looks at what it is part of before and after it is moved there, as whoever finds what a death left.
#[repr(C)]
struct Spy(u64, PhantomPinned);

fn look() {
    WATCHED.with_borrow_mut(|(watch, seen)| seen.extend(watch.as_ref().map(|watch| watch())));
}

// SAFETY: a number, which means the same anywhere.
unsafe impl ShmSafe for Spy {
    const PLAIN: bool = false;
    const ANY_BITS: bool = false;
    type Parts = ();
    type Mut<'a> = ();

    unsafe fn view<'a>(_: NonNull<Self>, _: Access<'a>) {}

    unsafe fn relocate(from: *mut Self, to: *mut Self) {
        look();
        // SAFETY: both valid by the caller.
        unsafe { to.write(Spy((*from).0, PhantomPinned)) };
        look();
    }

    fn type_info() -> &'static TypeInfo {
        const {
            &TypeInfo {
                name: "Spy",
                origin: Origin::Module(module_path!()),
                version: 0,
                size: size_of::<Spy>(),
                align: align_of::<Spy>(),
                kind: Kind::Builtin,
                args: &[],
                id: TypeId::of::<Spy>(),
            }
        }
    }

    unsafe fn visit(this: *const Self, visitor: &mut Visitor<'_>) {
        // SAFETY: readable by the caller.
        if unsafe { (&raw const (*this).0).read() } != 1 {
            visitor.invalid(this.cast(), "no spy");
        }
    }
}

struct NewSpy;

// SAFETY: 1 to 3: it writes the slot.
unsafe impl Init<Spy> for NewSpy {
    unsafe fn init(self, slot: *mut Spy, _: Access<'_>) -> Result<(), Error> {
        // SAFETY: valid by the caller.
        unsafe { slot.write(Spy(1, PhantomPinned)) };
        Ok(())
    }
}

#[derive(ShmSafe)]
#[repr(u8)]
enum WithUnit {
    Number(u64, u64),
    Spies(Spy, Spy),
    Nothing,
}

#[derive(ShmSafe)]
#[repr(C, i8)]
enum Full {
    Number(u64, u64),
    Spies(Spy, Spy),
}

/// What visiting finds, before and after each field, while a value is moved over one of another variant.
fn seen_while_moved<T: ShmSafe>(old: impl Init<T>, new: impl Init<T>) -> Vec<bool> {
    let (mut old_place, mut new_place) = (MaybeUninit::<T>::uninit(), MaybeUninit::<T>::uninit());
    let (to, from) = (old_place.as_mut_ptr(), new_place.as_mut_ptr());
    let sound = move || {
        let mut visitor = Visitor::new(Access::detached());
        // SAFETY: the place is alive and nobody else's.
        unsafe { visitor.walk(to.cast_const(), 1) };
        visitor.is_clean()
    };
    // SAFETY: both are room for one value; the old one owns nothing.
    unsafe {
        old.init(to, Access::detached()).unwrap();
        new.init(from, Access::detached()).unwrap();
        assert!(sound());
        WATCHED.set((Some(Box::new(sound)), Vec::new()));
        T::relocate(from, to);
    }
    assert!(sound());
    WATCHED.take().1
}

/// While the fields of an enum are written, its tag shows neither the old variant nor the new one.
#[test]
fn an_enum_that_is_being_moved_shows_no_field() {
    let spies = || WithUnitSpiesInit(NewSpy, NewSpy);
    assert_eq!(seen_while_moved(WithUnitNumberInit(7, 8), spies()), [true; 4], "it is the unit variant");
    assert_eq!(seen_while_moved(spies(), spies()), [true; 4]);
    let spies = || FullSpiesInit(NewSpy, NewSpy);
    assert_eq!(
        seen_while_moved(FullNumberInit(7, 8), spies()),
        [false; 4],
        "it is no variant, which is found"
    );
    assert_eq!(seen_while_moved(spies(), spies()), [false; 4]);
}
