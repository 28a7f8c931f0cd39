//! What the containers' tests share.
//!
//! This file needs `unsafe`: it implements an unsafe trait.

use crate::access::Access;
use crate::error::Result;
use crate::layout::init::Init;
use crate::layout::{Reach, ShmSafe, TypeInfo, Visitor};
use crate::testing::{TestSegment, Value};
use std::cell::Cell;
use std::fmt::Debug;
use std::marker::PhantomPinned;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::NonNull;

/// Runs `change`, which may be several operations, on what `init` builds, recorded, and takes it back.
#[track_caller]
pub(super) fn undone<T: ShmSafe, I: Init<T>, N: PartialEq + Debug>(
    init: impl Fn() -> I,
    native: impl Fn(&T) -> N,
    change: impl for<'v> Fn(T::Mut<'v>) -> Result<()>,
) {
    let segment = TestSegment::new();
    let mut value = segment.build(init()).unwrap();
    value.check();
    value.undone(&native, |value| change(value.view()).unwrap());
    drop(value);
    assert!(segment.live_blocks().is_empty());
}

/// Runs one operation, `change`, on what `init` builds, twice: recorded and taken back, and with memory running out at each
/// allocation in turn. A failed change must leave the value as it was and leak nothing.
#[track_caller]
pub(super) fn exercise<T: ShmSafe, I: Init<T>, N: PartialEq + Debug>(
    init: impl Fn() -> I,
    native: impl Fn(&T) -> N,
    change: impl for<'v> Fn(T::Mut<'v>) -> Result<()>,
) {
    undone(&init, &native, &change);
    let segment = TestSegment::new();
    for n in 0.. {
        segment.fail_after(Some(n));
        let built = segment.build::<T>(init());
        segment.fail_after(None);
        if built.is_ok() {
            break;
        }
        assert!(segment.live_blocks().is_empty(), "a failed initialiser leaks");
    }
    let mut value: Value<'_, T> = segment.build(init()).unwrap();
    let before = native(value.get());
    for n in 0.. {
        segment.fail_after(Some(n));
        let result = change(value.view());
        segment.fail_after(None);
        value.check();
        assert_eq!(native(value.elsewhere()), native(value.get()));
        match result {
            Ok(()) => break,
            Err(e) => assert!(e.is_out_of_memory(), "{e}"),
        }
        assert_eq!(native(value.get()), before);
    }
    drop(value);
    assert!(segment.live_blocks().is_empty());
}

/// Runs `f`, which panics.
#[track_caller]
pub(super) fn panics<R>(f: impl FnOnce() -> R) {
    assert!(catch_unwind(AssertUnwindSafe(f)).is_err(), "a panic was expected");
}

/// Something that looks like a lock: held while the word is 1.
#[derive(Debug)]
#[repr(C)]
pub(super) struct FakeLock {
    pub(super) word: u64,
    _pin: PhantomPinned,
}

/// Initialiser of a [`FakeLock`].
#[derive(Debug, Clone, Copy)]
pub(super) struct NewLock(pub(super) u64);

// SAFETY: a word.
unsafe impl Init<FakeLock> for NewLock {
    unsafe fn init(self, slot: *mut FakeLock, _: Access<'_>) -> Result<()> {
        // SAFETY: by the caller.
        unsafe { (&raw mut (*slot).word).write(self.0) };
        Ok(())
    }
}

// SAFETY: a word, in a type that says it is a lock.
unsafe impl ShmSafe for FakeLock {
    const PLAIN: bool = false;
    const ANY_BITS: bool = false;
    const HAS_LOCKS: bool = true;
    type Parts = ();
    type Mut<'a> = &'a mut u64;
    unsafe fn view<'a>(at: NonNull<Self>, access: Access<'a>) -> &'a mut u64 {
        // SAFETY: by the caller.
        unsafe {
            access.save_value(at.as_ptr());
            &mut (*at.as_ptr()).word
        }
    }
    unsafe fn relocate(from: *mut Self, to: *mut Self) {
        // SAFETY: by the caller.
        unsafe {
            assert_ne!((*from).word, 1, "a held lock is moved");
            (&raw mut (*to).word).write((*from).word);
        }
    }
    fn type_info() -> &'static TypeInfo {
        builtin_info!(FakeLock, "FakeLock")
    }
    unsafe fn visit(_: *const Self, _: &mut Visitor<'_>) {}
    unsafe fn lock_held(this: *const Self) -> bool {
        // SAFETY: by the caller.
        unsafe { (*this).word == 1 }
    }
}

impl Drop for FakeLock {
    fn drop(&mut self) {
        assert_ne!(self.word, 1, "a held lock is dropped");
    }
}

thread_local! {
    /// How many [`Tracked`] values were destroyed.
    pub(super) static DROPPED: Cell<usize> = const { Cell::new(0) };
    /// Destroying a [`Tracked`] with this number panics.
    pub(super) static PANIC_AT: Cell<u64> = const { Cell::new(u64::MAX) };
}

/// A value that owns a block, counts its destructions and may panic in one.
#[repr(C)]
pub(super) struct Tracked {
    pub(super) name: super::ShmString,
    pub(super) id: u64,
}

/// Initialiser of a [`Tracked`], with a name too long to be inline.
#[derive(Debug, Clone, Copy)]
pub(super) struct Track(pub(super) u64);

// SAFETY: the name is the only part that can fail, and it comes first.
unsafe impl Init<Tracked> for Track {
    unsafe fn init(self, slot: *mut Tracked, access: Access<'_>) -> Result<()> {
        // SAFETY: by the caller.
        unsafe {
            format!("a tracked value with the number {}", self.0).init(&raw mut (*slot).name, access)?;
            (&raw mut (*slot).id).write(self.0);
        }
        Ok(())
    }
}

// SAFETY: field by field.
unsafe impl ShmSafe for Tracked {
    const PLAIN: bool = false;
    const ANY_BITS: bool = false;
    type Parts = Reach<super::ShmString>;
    type Mut<'a> = super::StringMut<'a>;
    unsafe fn view<'a>(at: NonNull<Self>, access: Access<'a>) -> super::StringMut<'a> {
        // SAFETY: by the caller.
        unsafe { ShmSafe::view(NonNull::new_unchecked(&raw mut (*at.as_ptr()).name), access) }
    }
    unsafe fn relocate(from: *mut Self, to: *mut Self) {
        // SAFETY: by the caller.
        unsafe {
            ShmSafe::relocate(&raw mut (*from).name, &raw mut (*to).name);
            (&raw mut (*to).id).write((*from).id);
        }
    }
    fn type_info() -> &'static TypeInfo {
        builtin_info!(Tracked, "Tracked")
    }
    unsafe fn visit(this: *const Self, visitor: &mut Visitor<'_>) {
        // SAFETY: by the caller.
        unsafe { ShmSafe::visit(&raw const (*this).name, visitor) }
    }
}

impl Drop for Tracked {
    fn drop(&mut self) {
        DROPPED.set(DROPPED.get() + 1);
        if self.id == PANIC_AT.get() {
            panic!("destructor {}", self.id);
        }
    }
}

/// What [`Visitor`] finds in `value` after `damage` has changed its bytes; they are put back.
pub(super) fn findings<T: ShmSafe>(
    segment: &TestSegment,
    value: &mut Value<'_, T>,
    damage: impl FnOnce(&mut [u8]),
) -> usize {
    let at = std::ptr::from_ref(value.get()).cast_mut().cast::<u8>();
    // SAFETY: the value's own bytes, exclusively ours through `value`.
    let bytes = unsafe { std::slice::from_raw_parts_mut(at, size_of::<T>()) };
    let before = bytes.to_vec();
    damage(bytes);
    let mut visitor = Visitor::new(segment.access());
    // SAFETY: readable.
    unsafe { visitor.walk(at.cast::<T>(), 1) };
    let found = visitor.findings().len();
    assert_eq!(visitor.is_clean(), found == 0);
    bytes.copy_from_slice(&before);
    value.check();
    found
}
