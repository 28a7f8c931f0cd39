//! What the generated program says of its types, and what builds and changes their values.
//!
//! This file needs `unsafe`: it implements the contract's traits.

use super::describe::Ty;
use super::model::{Make, Model};
use shmem_core::access::Access;
use shmem_core::{Error, Init, Kind, Origin, Result, ShmSafe, TypeInfo, Visitor};
use std::any::TypeId;
use std::cell::{Cell, RefCell};
use std::marker::PhantomPinned;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::NonNull;

/// The parts of a value, by plain references.
pub enum Parts<'v> {
    /// None that can be told.
    Leaf,
    /// The fields of this variant.
    Fields(usize, Vec<&'v dyn Read>),
    /// Elements, in the order of the model; keys and values by turns.
    Elements(Vec<&'v dyn Read>),
}

/// A value read through plain references.
pub trait Read {
    /// Its parts.
    fn parts(&self) -> Parts<'_>;

    /// The value.
    fn read(&self) -> Model {
        self.parts().read()
    }

    /// Holds the lock that this is, if it is one.
    fn hold(&self) -> Option<Box<dyn Held + '_>> {
        None
    }
}

impl Parts<'_> {
    /// What they are the parts of.
    fn read(&self) -> Model {
        let list = |parts: &[&dyn Read]| parts.iter().map(|part| part.read()).collect();
        match self {
            Parts::Fields(variant, fields) => Model::Data(*variant, list(fields)),
            Parts::Elements(elements) => Model::List(list(elements)),
            Parts::Leaf => unreachable!("a leaf that does not read itself"),
        }
    }
}

/// Anything that is held for a while.
pub trait Held {}

impl<T> Held for T {}

/// A stored type: built from a model, changed through its view.
pub trait Stored: ShmSafe + Sync + Read {
    /// Builds the value with the initialisers of the type.
    ///
    /// # Errors
    /// Theirs.
    ///
    /// # Safety
    /// 1. As [`Init::init`].
    unsafe fn build(model: &Model, slot: *mut Self, access: Access<'_>) -> Result<()>;

    /// Changes something through the view, and the model alike.
    fn change(view: Self::Mut<'_>, at: Change<'_, '_>);
}

/// The initialiser of any type, from a model.
#[derive(Debug, Clone, Copy)]
pub struct Of<'m>(pub &'m Model);

// SAFETY: 1 to 3: by the type's own initialiser, which `build` calls.
unsafe impl<T: Stored> Init<T> for Of<'_> {
    unsafe fn init(self, slot: *mut T, access: Access<'_>) -> Result<()> {
        burn()?;
        // SAFETY: 1, by the caller.
        unsafe { T::build(self.0, slot, access) }
    }
}

/// How an initialiser goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Failure {
    Error,
    Panic,
}

thread_local! {
    /// After how many more initialisers one goes wrong.
    static FUSE: Cell<Option<(u64, Failure)>> = const { Cell::new(None) };
}

fn burn() -> Result<()> {
    match FUSE.get() {
        None => Ok(()),
        Some((0, Failure::Error)) => Err(Error::init("an initialiser that fails")),
        // Without a message on stderr.
        Some((0, Failure::Panic)) => std::panic::resume_unwind(Box::new("an initialiser that panics")),
        Some((left, failure)) => {
            FUSE.set(Some((left - 1, failure)));
            Ok(())
        }
    }
}

/// Runs `build`, in which the initialiser after `left` others goes wrong; gives whether there was one.
pub(super) fn with_fuse(left: u64, failure: Failure, build: impl FnOnce() -> Result<()>) -> bool {
    FUSE.set(Some((left, failure)));
    let done = catch_unwind(AssertUnwindSafe(build));
    FUSE.set(None);
    match done {
        Ok(Ok(())) => false,
        Ok(Err(error)) => {
            assert_eq!(failure, Failure::Error, "{error}");
            true
        }
        Err(_) => {
            assert_eq!(failure, Failure::Panic, "building panics");
            true
        }
    }
}

impl Model {
    /// An initialiser of each element.
    pub fn inits(&self) -> Vec<Of<'_>> {
        self.list().iter().map(Of).collect()
    }

    /// An initialiser of each key and each value.
    pub fn init_pairs(&self) -> Vec<(Of<'_>, Of<'_>)> {
        self.map().iter().map(|(key, value)| (Of(key), Of(value))).collect()
    }
}

/// A value to be changed, as the model has it.
#[derive(Debug)]
pub struct Change<'m, 'w> {
    /// What it is.
    pub model: &'m mut Model,
    /// Its type.
    pub ty: Ty,
    /// The choices.
    pub make: &'m mut Make<'w>,
}

impl<'m, 'w> Change<'m, 'w> {
    /// One of `n`.
    pub fn pick(&mut self, n: usize) -> usize {
        self.make.random.below(n as u64) as usize
    }

    /// Checks what a view dereferences to.
    #[track_caller]
    pub fn expect(&self, found: &dyn Read) {
        if let Some(difference) = found.read().difference(self.model) {
            panic!("through the view: {difference}");
        }
    }

    /// Another value instead.
    pub fn fresh(&mut self) -> &Model {
        *self.model = self.make.small(&self.ty);
        self.model
    }

    /// Now and then puts another value there by `set`; gives itself back if it did not.
    #[track_caller]
    pub fn replace(mut self, set: impl FnOnce(Of<'_>) -> Result<()>) -> Option<Self> {
        if self.pick(3) > 0 {
            return Some(self);
        }
        set(Of(self.fresh())).expect("memory for another value");
        None
    }

    /// One of the fields, by its number; `usize::MAX` if there are none.
    pub fn field(mut self) -> (usize, Change<'m, 'w>) {
        let variant = self.model.variant();
        let types = match &self.ty {
            Ty::Def(i, args) => self.make.world.defs[*i].types(variant, args),
            Ty::Tuple(list) => list.clone(),
            other => unreachable!("{other:?} has no fields"),
        };
        if types.is_empty() {
            return (usize::MAX, self);
        }
        let i = self.pick(types.len());
        (i, Change { model: &mut self.model.list_mut()[i], ty: types[i].clone(), make: self.make })
    }

    /// Element `i`, or what is in a box, of type `ty`.
    pub fn inside(self, i: Option<usize>, ty: &Ty) -> Change<'m, 'w> {
        let model = match i {
            Some(i) => &mut self.model.list_mut()[i],
            None => self.model,
        };
        Change { model, ty: ty.clone(), make: self.make }
    }
}

type Watch = Box<dyn FnMut(*mut u8)>;

thread_local! {
    /// Asked whenever a [`Probe`] is moved.
    static WATCH: RefCell<Option<Watch>> = const { RefCell::new(None) };
}

/// Runs `body`; each [`Probe`] that is moved in it calls `watch` with where it goes.
pub fn in_relocation(watch: impl FnMut(*mut u8) + 'static, body: impl FnOnce()) {
    WATCH.set(Some(Box::new(watch)));
    body();
    WATCH.take();
}

/// A number that knows where it stands, so that it can tell whether it was moved by its `relocate`, and that tells when
/// it is.
#[repr(C)]
pub struct Probe {
    /// The number, xor-ed with a word that depends on the low bits of its place in the page.
    number: u64,
    _pinned: PhantomPinned,
}

impl Probe {
    fn mark(at: *const Self) -> u64 {
        (at.addr() as u64 & 0xfff).wrapping_mul(0x9E37_79B9_7F4A_7C15)
    }

    /// # Safety
    /// 1. `at` is valid for writes.
    unsafe fn write(at: *mut Self, number: u64) {
        // SAFETY: 1.
        unsafe { (&raw mut (*at).number).write(number ^ Probe::mark(at)) }
    }
}

/// The view of a [`Probe`].
#[derive(Debug)]
pub struct ProbeMut<'a>(NonNull<Probe>, Access<'a>);

// SAFETY: 1: a number. 2: not plain, and pinned. 3 to 5, 9: one word. 6: the view gives the number only. 7: one store.
// 8 and 10: it owns nothing.
unsafe impl ShmSafe for Probe {
    const PLAIN: bool = false;
    const ANY_BITS: bool = false;
    type Parts = ();
    type Mut<'a> = ProbeMut<'a>;

    unsafe fn view<'a>(at: NonNull<Self>, access: Access<'a>) -> ProbeMut<'a> {
        ProbeMut(at, access)
    }

    unsafe fn relocate(from: *mut Self, to: *mut Self) {
        WATCH.with_borrow_mut(|watch| {
            if let Some(watch) = watch {
                watch(to.cast());
            }
        });
        // SAFETY: both valid by the caller.
        unsafe { Probe::write(to, (*from).number ^ Probe::mark(from)) }
    }

    fn type_info() -> &'static TypeInfo {
        const {
            &TypeInfo {
                name: "Probe",
                origin: Origin::Shape,
                version: 0,
                size: size_of::<Probe>(),
                align: align_of::<Probe>(),
                kind: Kind::Primitive,
                args: &[],
                id: TypeId::of::<Probe>(),
            }
        }
    }

    unsafe fn visit(_: *const Self, _: &mut Visitor<'_>) {}
}

impl Read for Probe {
    fn parts(&self) -> Parts<'_> {
        Parts::Leaf
    }

    fn read(&self) -> Model {
        Model::Bits(u128::from(self.number ^ Probe::mark(self)))
    }
}

impl Stored for Probe {
    unsafe fn build(model: &Model, slot: *mut Self, _: Access<'_>) -> Result<()> {
        // SAFETY: valid for writes by the caller.
        unsafe { Probe::write(slot, model.bits() as u64) };
        Ok(())
    }

    fn change(view: ProbeMut<'_>, mut at: Change<'_, '_>) {
        let number = at.fresh().bits() as u64;
        // SAFETY: readable, and nothing has changed yet.
        unsafe { view.1.save_value(view.0.as_ptr()) };
        // SAFETY: the view is exclusive.
        unsafe { Probe::write(view.0.as_ptr(), number) }
    }
}
