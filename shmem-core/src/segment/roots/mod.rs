//! What the code that `#[derive(ShmRoots)]` writes refers to: how the roots of a group are opened. No part of the API.

mod kind;
mod refused;

pub use kind::{ByDefault, ByInit, ByLen, Kind, KindOf, Many, Maybe, Named, One, RootField, Unique};

use super::directory::Key;
use super::handle::{Object, Root};
use super::inner::{Segment, unique_name};
use crate::error::{NameError, Result};
use crate::layout::{Init, ShmSafe};
use crate::mapping::registry;

/// What is done with each root of a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Found or constructed.
    OpenOrCreate,
    /// Found.
    Open,
    /// Constructed; destroyed again if a later one fails.
    Create,
}

/// A group of roots.
pub trait Group: Sized {
    /// Every root, in the order of the fields.
    ///
    /// # Errors
    /// That of the first root that fails.
    fn each(segment: &Segment, mode: Mode) -> Result<Self>;
}

/// A root's place: its segment and its name.
#[derive(Debug, Clone, Copy)]
pub struct At<'s> {
    /// Where it stands.
    pub segment: &'s Segment,
    /// What it is called; `None`: as its type.
    pub name: Option<&'static str>,
}

impl At<'_> {
    fn name<T: ShmSafe>(&self) -> String {
        self.name.map_or_else(unique_name::<T>, str::to_owned)
    }

    fn key<'n>(&self, name: &'n str) -> Result<Key<'n>> {
        if self.name.is_some() { Key::named(name) } else { Key::unique(name) }
    }

    /// What is there already; `None` if it is to be constructed.
    fn find_one<T: ShmSafe>(&self, mode: Mode) -> Result<Option<Made<Root<T>>>> {
        self.find(mode, |key| self.segment.find_one(key))
    }

    fn find<T: Object + ?Sized>(
        &self,
        mode: Mode,
        find: impl FnOnce(&Key<'_>) -> Result<Option<Root<T>>>,
    ) -> Result<Option<Made<Root<T>>>> {
        if mode == Mode::Create {
            return Ok(None);
        }
        let name = self.name::<T::Element>();
        match find(&self.key(&name)?)? {
            None if mode == Mode::Open => Err(NameError::NotFound { name }.into()),
            root => Ok(root.map(Made::found)),
        }
    }

    fn construct_one<T: ShmSafe>(&self, mode: Mode, init: impl Init<T>) -> Result<Made<Root<T>>> {
        let name = self.name::<T>();
        let (root, _) = self.segment.construct_one(&self.key(&name)?, mode == Mode::Create, init)?;
        Ok(self.made(root, name, mode))
    }

    fn construct_many<T: ShmSafe, I: Init<T>>(
        &self,
        mode: Mode,
        len: usize,
        each: impl FnMut(usize) -> I,
    ) -> Result<Made<Root<[T]>>> {
        let name = self.name::<T>();
        let root = self.segment.construct_many(&self.key(&name)?, len, mode == Mode::Create, each)?;
        Ok(self.made(root, name, mode))
    }

    fn destroy<T: ShmSafe>(&self) -> Result<bool> {
        self.segment.inner.directory.destroy::<T>(&self.key(&self.name::<T>())?)
    }

    /// A root that was found or constructed; certainly the latter if the mode is `Create`.
    fn made<T: Object + ?Sized>(&self, root: Root<T>, name: String, mode: Mode) -> Made<Root<T>> {
        let undo = (mode == Mode::Create).then(|| Undo {
            segment: self.segment.clone(),
            name,
            unique: self.name.is_none(),
            number: root.number(),
            fork_generation: registry::fork_generation(),
            destroy: Some(destroy_again::<T::Element>),
        });
        Made { undo, field: root }
    }
}

/// A field, of which the root is destroyed again if it is dropped instead of [kept](Made::keep).
#[derive(Debug)]
#[must_use = "what was created is destroyed again with this"]
pub struct Made<F> {
    // Dropped first: while the handle lives, the object's number is no other's.
    undo: Option<Undo>,
    field: F,
}

impl<F> Made<F> {
    fn found(field: F) -> Self {
        Made { undo: None, field }
    }

    /// The field; the root stays.
    pub fn keep(mut self) -> F {
        if let Some(undo) = &mut self.undo {
            undo.destroy = None;
        }
        self.field
    }
}

/// Destroys a root when it is dropped.
struct Undo {
    segment: Segment,
    name: String,
    unique: bool,
    number: u32,
    fork_generation: u64,
    /// `None`: it stays.
    destroy: Option<fn(&Segment, &Key<'_>, u32)>,
}

/// Takes back the object of this number, unless somebody has destroyed it: the name may then be another's.
fn destroy_again<T: ShmSafe>(segment: &Segment, key: &Key<'_>, number: u32) {
    // If it cannot be (there is no slot for another thread), it stays, as after a death.
    let _ = segment.inner.directory.destroy_if::<T>(key, |has_it| has_it == number);
}

impl Drop for Undo {
    fn drop(&mut self) {
        let key = if self.unique { Key::unique(&self.name) } else { Key::named(&self.name) };
        // In the child of a fork, it is the parent's to destroy.
        if let (Some(destroy), Ok(key)) = (self.destroy, key)
            && self.fork_generation == registry::fork_generation()
        {
            destroy(&self.segment, &key, self.number);
        }
    }
}

impl std::fmt::Debug for Undo {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Undo").field("name", &self.name).finish_non_exhaustive()
    }
}
