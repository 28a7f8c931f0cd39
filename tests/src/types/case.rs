//! [`Case`]: one type, its functions behind a table, so that what is checked need not be compiled for each type.
//!
//! This file needs `unsafe`: it calls the contract's functions as the library does.

use super::describe::Ty;
use super::model::Model;
use super::ordinary::Plain;
use super::stored::{Change, Of, Read, Stored};
use shmem_core::access::Access;
use shmem_core::{Init, Mirror, Result, Segment, ShmSafe, ShmVec, TypeInfo, Visitor};
use std::alloc::Layout;
use std::marker::PhantomData;
use std::ptr::NonNull;

/// A type. Places are untyped: what stands there is a value of the type.
pub trait Case {
    /// Its layout, by the compiler.
    fn layout(&self) -> Layout;
    /// Its description.
    fn info(&self) -> &'static TypeInfo;
    /// Whether its values are nothing but their bytes.
    fn plain(&self) -> bool;
    /// Builds a value.
    ///
    /// # Errors
    /// The initialiser's.
    ///
    /// # Safety
    /// 1. As [`Init::init`].
    unsafe fn build(&self, model: &Model, slot: NonNull<u8>, access: Access<'_>) -> Result<()>;
    /// Reads a value.
    ///
    /// # Safety
    /// 1. `at` points to a value, which nobody changes meanwhile.
    unsafe fn value<'v>(&self, at: NonNull<u8>) -> &'v dyn Read;
    /// Changes a value through its view.
    ///
    /// # Safety
    /// 1. As [`ShmSafe::view`].
    unsafe fn change(&self, at: NonNull<u8>, access: Access<'_>, change: Change<'_, '_>);
    /// Moves a value.
    ///
    /// # Safety
    /// 1. As [`ShmSafe::relocate`].
    unsafe fn relocate(&self, from: NonNull<u8>, to: NonNull<u8>);
    /// Whether a lock in the value's own bytes is held.
    ///
    /// # Safety
    /// 1. As [`ShmSafe::lock_held`].
    unsafe fn lock_held(&self, at: NonNull<u8>) -> bool;
    /// Walks a value.
    ///
    /// # Safety
    /// 1. As [`Visitor::walk`].
    unsafe fn walk(&self, at: NonNull<u8>, visitor: &mut Visitor<'_>);
    /// Drops a value.
    ///
    /// # Safety
    /// 1. `at` points to a value, which is not used any more.
    unsafe fn destroy_value(&self, at: NonNull<u8>);
    /// Constructs a named object.
    fn construct(&self, segment: &Segment, name: &str, model: &Model);
    /// Reads a named object.
    fn find(&self, segment: &Segment, name: &str) -> Model;
    /// Replaces a named object's value.
    fn replace(&self, segment: &Segment, name: &str, model: &Model);
    /// Destroys a named object.
    fn destroy(&self, segment: &Segment, name: &str);
    /// Pushes values to a vector, which grows; gives what it reads then.
    fn grow(&self, access: Access<'_>, models: &[Model]) -> Model;
    /// What there is besides for the mirror of an ordinary type.
    fn native(&self) -> Option<&dyn Native>;
}

/// The ordinary twin of a mirrored type.
pub trait Native {
    /// Constructs a named object from the ordinary value, lent or given.
    fn construct(&self, segment: &Segment, name: &str, model: &Model, lent: bool);
    /// Reads a named object as an ordinary value.
    fn find(&self, segment: &Segment, name: &str) -> Model;
}

struct Typed<T>(PhantomData<fn() -> T>, Option<Box<dyn Native>>);
struct Mirrored<N>(PhantomData<fn() -> N>);

/// The case of a type.
pub fn case<T: Stored>() -> Box<dyn Case> {
    Box::new(Typed::<T>(PhantomData, None))
}

/// The case of the mirror of an ordinary type.
pub fn mirrored<N>() -> Box<dyn Case>
where
    N: Plain + Mirror<Shm: Stored> + Init<N::Shm> + 'static,
    for<'n> &'n N: Init<N::Shm>,
{
    Box::new(Typed::<N::Shm>(PhantomData, Some(Box::new(Mirrored::<N>(PhantomData)))))
}

impl<N> Native for Mirrored<N>
where
    N: Plain + Mirror<Shm: Stored> + Init<N::Shm>,
    for<'n> &'n N: Init<N::Shm>,
{
    fn construct(&self, segment: &Segment, name: &str, model: &Model, lent: bool) {
        let value = N::make(model);
        let root = match lent {
            true => segment.construct::<N::Shm>(name, &value),
            false => segment.construct::<N::Shm>(name, value),
        };
        root.expect("memory for an object");
    }

    fn find(&self, segment: &Segment, name: &str) -> Model {
        let root = segment.find::<N::Shm>(name).expect("the type it was constructed with");
        N::to_native(&root.expect("the object")).model()
    }
}

impl<T: Stored> Case for Typed<T> {
    fn layout(&self) -> Layout {
        Layout::new::<T>()
    }

    fn info(&self) -> &'static TypeInfo {
        T::type_info()
    }

    fn plain(&self) -> bool {
        T::PLAIN
    }

    unsafe fn build(&self, model: &Model, slot: NonNull<u8>, access: Access<'_>) -> Result<()> {
        // SAFETY: 1.
        unsafe { Init::<T>::init(Of(model), slot.cast().as_ptr(), access) }
    }

    unsafe fn value<'v>(&self, at: NonNull<u8>) -> &'v dyn Read {
        // SAFETY: 1.
        unsafe { at.cast::<T>().as_ref() }
    }

    unsafe fn change(&self, at: NonNull<u8>, access: Access<'_>, change: Change<'_, '_>) {
        // SAFETY: 1.
        T::change(unsafe { T::view(at.cast(), access) }, change);
    }

    unsafe fn relocate(&self, from: NonNull<u8>, to: NonNull<u8>) {
        // SAFETY: 1.
        unsafe { T::relocate(from.cast().as_ptr(), to.cast().as_ptr()) }
    }

    unsafe fn lock_held(&self, at: NonNull<u8>) -> bool {
        // SAFETY: 1.
        let held = unsafe { T::lock_held(at.cast().as_ptr()) };
        assert!(!held || T::HAS_LOCKS, "a lock is held in a type without locks");
        held
    }

    unsafe fn walk(&self, at: NonNull<u8>, visitor: &mut Visitor<'_>) {
        // SAFETY: 1.
        unsafe { visitor.walk(at.cast::<T>().as_ptr(), 1) }
    }

    unsafe fn destroy_value(&self, at: NonNull<u8>) {
        // SAFETY: 1.
        unsafe { at.cast::<T>().drop_in_place() }
    }

    fn construct(&self, segment: &Segment, name: &str, model: &Model) {
        segment.construct::<T>(name, Of(model)).expect("memory for an object");
    }

    fn find(&self, segment: &Segment, name: &str) -> Model {
        segment.find::<T>(name).expect("the type it was constructed with").expect("the object").read()
    }

    fn replace(&self, segment: &Segment, name: &str, model: &Model) {
        let root = segment.find::<T>(name).expect("the type it was constructed with").expect("the object");
        // SAFETY: the processes take turns; nobody else uses the object.
        unsafe { root.set_unchecked(Of(model)) }.expect("memory for a value");
    }

    fn destroy(&self, segment: &Segment, name: &str) {
        assert!(segment.destroy::<T>(name).expect("the type it was constructed with"));
    }

    fn grow(&self, access: Access<'_>, models: &[Model]) -> Model {
        let (block, _) = access.allocate_array::<ShmVec<T>>(1).expect("memory for a vector");
        // SAFETY: a fresh block, used by nobody else; the value is dropped before the block is freed.
        unsafe {
            ShmVec::<T>::new().init(block.as_ptr(), access).expect("an empty vector");
            let mut view = ShmVec::<T>::view(block, access);
            for model in models {
                view.push(Of(model)).expect("memory for an element");
            }
            let found = block.as_ref().read();
            block.drop_in_place();
            access.deallocate_array(block, 1);
            found
        }
    }

    fn native(&self) -> Option<&dyn Native> {
        self.1.as_deref()
    }
}

/// A type that is checked.
pub(super) struct Root {
    /// Its functions.
    pub case: Box<dyn Case>,
    /// What it is.
    pub ty: Ty,
}
