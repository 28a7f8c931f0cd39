//! A type that knows where it stands, initialisers of it that fail and panic, and a place for one value: to see what generated
//! code does, step by step.
//!
//! This file needs `unsafe`: it calls the contract's functions as the library does.

use shmem_core::access::Access;
use shmem_core::{Error, Init, Kind, Origin, Result, ShmSafe, TypeInfo, Visitor};
use std::any::TypeId;
use std::cell::RefCell;
use std::marker::PhantomPinned;
use std::mem::MaybeUninit;
use std::ptr::NonNull;

thread_local! {
    /// What happened, in order.
    static EVENTS: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

/// Notes what happens on this thread.
pub fn note(event: impl Into<String>) {
    EVENTS.with_borrow_mut(|events| events.push(event.into()));
}

/// What was noted since the last time.
pub fn events() -> Vec<String> {
    EVENTS.take()
}

/// An address-sensitive type: it knows where it stands.
#[derive(Debug)]
#[repr(C)]
pub struct Placed {
    at: usize,
    /// What tells it from others.
    pub number: u64,
    _pinned: PhantomPinned,
}

impl Placed {
    /// Panics if it was moved bitwise.
    pub fn check(&self) {
        assert_eq!(self.at, (&raw const *self).addr(), "the value was moved bitwise");
    }
}

impl Drop for Placed {
    fn drop(&mut self) {
        self.check();
        note(format!("drop {}", self.number));
    }
}

/// Its view.
#[derive(Debug)]
pub struct PlacedMut<'a>(pub &'a mut Placed);

// SAFETY: the address in it is never followed; it is set anew wherever the value is moved.
unsafe impl ShmSafe for Placed {
    const PLAIN: bool = false;
    const ANY_BITS: bool = false;
    type Parts = ();
    type Mut<'a> = PlacedMut<'a>;

    unsafe fn view<'a>(mut at: NonNull<Self>, _: Access<'a>) -> PlacedMut<'a> {
        // SAFETY: valid and exclusive by the caller; the view does not give the reference away.
        PlacedMut(unsafe { at.as_mut() })
    }

    unsafe fn relocate(from: *mut Self, to: *mut Self) {
        // SAFETY: both valid by the caller.
        unsafe { to.write(Placed { at: to.addr(), number: (*from).number, _pinned: PhantomPinned }) }
    }

    fn type_info() -> &'static TypeInfo {
        const {
            &TypeInfo {
                name: "Placed",
                origin: Origin::Module(module_path!()),
                version: 0,
                size: size_of::<Placed>(),
                align: align_of::<Placed>(),
                kind: Kind::Builtin,
                args: &[],
                id: TypeId::of::<Placed>(),
            }
        }
    }

    unsafe fn visit(this: *const Self, visitor: &mut Visitor<'_>) {
        // SAFETY: readable by the caller.
        let number = unsafe { (&raw const (*this).number).read() };
        note(format!("visit {number}"));
        if number == u64::MAX {
            visitor.invalid(this.cast(), "the largest number");
        }
    }
}

/// Builds a [`Placed`], or fails, or panics.
#[derive(Debug, Clone, Copy)]
pub enum Place {
    /// Builds one with this number.
    Number(u64),
    /// Fails.
    Fail,
    /// Panics.
    Panic,
}

// SAFETY: 1: the value is written whole. 2: what fails writes nothing. 3: only the slot is written.
unsafe impl Init<Placed> for Place {
    unsafe fn init(self, slot: *mut Placed, _: Access<'_>) -> Result<()> {
        let number = match self {
            Place::Number(number) => number,
            Place::Fail => return Err(Error::OtherSegment),
            Place::Panic => panic!("an initialiser that panics"),
        };
        // SAFETY: valid for writes by the caller.
        unsafe { slot.write(Placed { at: slot.addr(), number, _pinned: PhantomPinned }) };
        note(format!("build {number}"));
        Ok(())
    }
}

/// A value in a box of its own.
#[derive(Debug)]
pub struct Slot<T: ShmSafe>(pub Box<MaybeUninit<T>>);

impl<T: ShmSafe> Slot<T> {
    /// Builds one.
    ///
    /// # Errors
    /// The initialiser's.
    pub fn build(init: impl Init<T>) -> Result<Self> {
        let mut slot = Box::new_uninit();
        // SAFETY: the box is ours and valid for writes.
        unsafe { init.init(slot.as_mut_ptr(), Access::detached())? };
        Ok(Slot(slot))
    }

    /// The value.
    pub fn get(&self) -> &T {
        // SAFETY: built.
        unsafe { self.0.assume_init_ref() }
    }

    /// Its view.
    pub fn view(&mut self) -> T::Mut<'_> {
        // SAFETY: built, and exclusively ours.
        unsafe { T::view(NonNull::new_unchecked(self.0.as_mut_ptr()), Access::detached()) }
    }

    /// Moves the value into another box.
    #[must_use]
    pub fn relocated(self) -> Self {
        let mut old = std::mem::ManuallyDrop::new(self);
        let mut new = Box::new_uninit();
        // SAFETY: the old value is valid and then forgotten, the new box valid for writes.
        unsafe { T::relocate(old.0.as_mut_ptr(), new.as_mut_ptr()) };
        // SAFETY: a `MaybeUninit` drops nothing, and the old slot is used no more.
        drop(unsafe { std::ptr::read(&raw const old.0) });
        Slot(new)
    }

    /// What a walk finds wrong with it.
    pub fn findings(&self) -> Vec<&'static str> {
        let mut visitor = Visitor::new(Access::detached());
        // SAFETY: readable, and nobody changes it.
        unsafe { visitor.walk(self.0.as_ptr(), 1) };
        visitor.findings().iter().map(|found| found.what).collect()
    }

    /// Runs `body` while the value's first byte, a `u8` tag, is another one.
    pub fn with_tag(&mut self, tag: u8, body: impl FnOnce(&Self)) {
        let first = self.0.as_mut_ptr().cast::<u8>();
        // SAFETY: the byte is ours; the value is only read as raw bytes until its tag is back.
        let old = unsafe { first.replace(tag) };
        body(self);
        // SAFETY: as above.
        unsafe { self.0.as_mut_ptr().cast::<u8>().write(old) };
    }
}

impl<T: ShmSafe> Drop for Slot<T> {
    fn drop(&mut self) {
        // SAFETY: built, and dropped once.
        unsafe { self.0.assume_init_drop() }
    }
}
