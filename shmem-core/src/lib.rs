//! Data structures that several processes share.
//!
//! A [`Segment`] of memory (named shared memory, a file, or memory without a name) holds ordinary mutable data at
//! typed, named roots. Any process that opens it reads and changes that data in place.
//!
//! # Quick start
//! ```
//! use shmem_core::{Segment, ShmHashMap, ShmMutex, ShmSafe, ShmString, ShmVec};
//!
//! /// What is shared derives `ShmSafe`, which refuses what means nothing to another process.
//! #[derive(ShmSafe)]
//! #[repr(C)]
//! struct Account {
//!     owner: ShmString,
//!     balance: i64,
//!     history: ShmVec<i64>,
//! }
//!
//! // Methods that change something belong to the view that the derive makes.
//! impl AccountMut<'_> {
//!     fn withdraw(&mut self, amount: i64) -> shmem_core::Result<()> {
//!         self.history.push(-amount)?;
//!         *self.balance -= amount;
//!         Ok(())
//!     }
//! }
//!
//! # fn main() -> shmem_core::Result<()> {
//! // A segment: `Segment::shared("bank")` would have a name for others to open.
//! let bank = Segment::anonymous().size(1 << 30).create()?;
//!
//! // A root: built by whoever comes first, found by the others.
//! let accounts = bank.find_or_construct::<ShmMutex<ShmHashMap<u64, Account>>>(
//!     "accounts",
//!     ShmMutex::new(ShmHashMap::new()),
//! )?;
//!
//! // Exclusive access: a guard, and its view.
//! let mut guard = accounts.lock()?;
//! let mut map = guard.view();
//! map.insert(42, AccountInit { owner: "Ada", balance: 100, history: [100] })?;
//! map.get_mut(&42).unwrap().withdraw(20)?;
//!
//! // Reading needs no view.
//! let ada = &guard[&42];
//! assert_eq!((&*ada.owner, ada.balance, &ada.history[..]), ("Ada", 80, &[100, -20][..]));
//! # Ok(())
//! # }
//! ```
//!
//! # The ideas
//! - **A value is built where it will live.** A container's pointers are distances from the place they stand in, so it
//!   cannot be made on the stack and moved in. What you pass instead is an *initialiser*, an [`Init<T>`](Init): `"Ada"`
//!   for a [`ShmString`], `[1, 2]` or a `Vec` for a [`ShmVec`], `ShmMutex::new(…)`, `AccountInit { … }` for a derived
//!   `Account`; a movable value (`u64`, a struct of numbers) is its own. More of them are in [`init`].
//! - **Reading is plain `&T`**: slices, iterators, `Display`, `==` work as on the std types.
//! - **Writing goes through a view**, [`ShmSafe::Mut`]: `&mut u64` for a `u64`, [`VecMut`] for a [`ShmVec`], `AccountMut`
//!   with a view for each field for a derived `Account`. A view cannot be swapped with the bytes it stands for, and
//!   knows where to allocate. Movable values keep the habits from std: `*guard += 1`, `vec[0] = 7`.
//! - **What needs memory can fail.** Nothing aborts; a failed operation leaves everything as it was.
//! - **Objects live as long as their handles.** A [`Root`] keeps its object and its mapping; [`Segment::destroy`] takes
//!   the name at once and the object with the last handle in any process, as `unlink` does to files.
//! - **A process may die at any instant.** Containers are as before or as after the operation; a lock it held is
//!   *poisoned* for the next one to see ([`LockError::Poisoned`]); names it was constructing do not exist. What it had just
//!   allocated is unreachable until [`Segment::recover_leaks`] gives it back.
//!
//! A program that has several roots declares them as the fields of a struct: with `#[derive(ShmRoots)]`,
//! `Roots::open_or_create(&bank)?` opens them all, each typed and named by its field. See [`ShmRoots`].
//!
//! # Contents
//! | for | see |
//! |---|---|
//! | segments | [`Segment`], [`SegmentBuilder`], [`ReadOnlySegment`], [`RemoveOnDrop`] |
//! | objects in them | [`Root`], [`Owned`], [`ReadRoot`], [`ObjectInfo`]; the derive [`ShmRoots`] for all of a program's |
//! | your own types | the derive and trait [`ShmSafe`](trait@ShmSafe), [`ShmDrop`], [`ShmHash`], [`ShmPod`] |
//! | building | [`Init`], [`ShmDefault`], module [`init`] |
//! | containers | [`ShmVec`], [`ShmString`], [`ShmHashMap`], [`ShmHashSet`], [`ShmBox`], [`ShmBoxSlice`], [`ShmOption`] |
//! | locks | [`ShmMutex`] |
//! | damage and leaks | [`Segment::check`], [`Segment::verify`], [`Segment::recover_leaks`]; [`VerifyReport`], [`LeakReport`] |
//! | errors | [`enum@Error`] and its families [`OpenError`], [`NameError`], [`AllocError`], [`LockError`], [`AuditError`], [`Corrupt`] |
//! | memory as bytes, in a segment | [`Segment::allocate`], [`Segment::deallocate`], [`BlockHandle`] |
//! | memory without any structure | [`SharedMemory`], [`FileMapping`], [`MappedRegion`] |
//! | looking in from outside | [`Segment::objects`], [`Segment::participants`], [`StoredType`], [`Fingerprint`], [`HeapStats`] |
//! | containers of your own | [`access`], [`OffsetPtr`], [`Visitor`], [`TypeInfo`] |
//!
//! The stored bytes are described in FORMAT.md, the code in ARCHITECTURE.md.
extern crate self as shmem_core;

#[doc(hidden)]
#[path = "crash.rs"]
pub mod __crash;
#[doc(hidden)]
#[path = "derive_support/mod.rs"]
pub mod __private;
pub mod access;
mod container;
use __crash as crash;
mod error;
#[cfg(test)]
mod format_test;
mod heap;
mod layout;
mod mapping;
mod participant;
mod primitive;
mod ptr;
mod segment;
mod sync;
mod sys;
#[cfg(test)]
pub(crate) mod testing;

/// Switches for tests of what becomes of a segment when a process dies.
#[doc(hidden)]
pub mod __testing {
    pub use crate::participant::switches::{Witness, ignore};
}

#[cfg(not(all(target_os = "linux", target_pointer_width = "64", target_endian = "little")))]
compile_error!("shmem runs on 64-bit little-endian Linux only: its stored bytes and system calls are those");

// Segments and the objects in them.
pub use mapping::RemoveOnDrop;
pub use segment::{
    LeakReport, MAX_OBJECT_NAME, Object, ObjectInfo, ObjectKind, Owned, Participant, ParticipantLock,
    ParticipantState, ParticipantThread, ReadOnlySegment, ReadRoot, Root, Segment, SegmentBuilder,
    VerifyReport,
};

// What may stand in a segment, and how it is built.
pub use layout::{
    ArrayMut, Frozen, Init, Mirror, MirrorArray, MirrorIter, MirrorType, ShmDefault, ShmDrop, ShmHash,
    ShmHasher, ShmPod, ShmSafe, init, tuple::*,
};
pub use shmem_derive::{ShmRoots, ShmSafe};

// Containers, each with its view and its initialisers.
pub use container::hash_map;
pub use container::{
    BoxInit, BoxMut, BoxSliceFromFn, BoxSliceMut, EmptyString, EmptyVec, HashMapMut, HashSetMut, NoneInit,
    OptionMut, ShmBox, ShmBoxSlice, ShmHashMap, ShmHashSet, ShmOption, ShmString, ShmVec, SomeInit,
    StringMut, StringPart, VecIterMut, VecMut,
};

// Locks.
pub use sync::{
    CorruptGuard, MappedMutexGuard, MappedMutexRef, MutexGuard, MutexInit, MutexMut, PoisonedLockError,
    ShmMutex,
};

// Errors.
pub use error::{AllocError, AuditError, Corrupt, Error, Finding, LockError, NameError, OpenError, Result};

// Descriptions of types and memory, for tools and for containers of your own.
pub use heap::{BadFree, BadFreeHook, HeapStats, SizeClassStats, SweptClass, set_bad_free_hook};
pub use layout::{
    BlockHandle, ConstArg, Difference, Field, Fingerprint, GenericArg, Interior, Kind, Origin, Reach,
    StoredType, TypeInfo, TypeRef, Variant, Versions, Visitor,
};
pub use ptr::OffsetPtr;

// Memory without any structure.
pub use mapping::{FileMapping, MapMode, MappedRegion, RegionAdvice, SharedMemory};

/// The examples of README.md are tests too.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;
