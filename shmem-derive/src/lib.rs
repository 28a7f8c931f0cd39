//! The derive macros of shmem. Use them through `shmem_core`, which re-exports them.
//!
//! `ShmSafe` works in stages, one file each: `parse` makes a model of the item, `validate` checks it and reports every
//! mistake at its token, `expand` writes the code and cannot fail; after a mistake `fallback` writes a stand-in,
//! so that one mistake gives one message. `mirror` makes the twin of an ordinary type, which `expand` then takes for one
//! that was written by hand. `ShmRoots` works likewise, in `roots`.

mod attributes;
mod expand;
mod fallback;
mod mirror;
mod model;
mod parse;
mod roots;
#[cfg(test)]
mod rules;
#[cfg(test)]
mod snapshots;
mod validate;

use proc_macro::TokenStream;
use syn::{DeriveInput, parse_macro_input};

/// Proves that a type means the same in every process, and writes what is needed to build, view, move, check and
/// describe it in shared memory.
///
/// For structs with `#[repr(C)]` or `#[repr(transparent)]` and enums with `#[repr(u8)]` (or another number, or `C`) whose
/// fields are `ShmSafe` themselves. Type parameters get the bound `T: ShmSafe`. What means something in one process only,
/// or has no fixed layout, is rejected where it stands; the message names what to use ([all rules](#rules)). For an
/// ordinary type of `String`s, `Vec`s and the like it makes a twin that can be shared: [mirrors](#mirrors).
///
/// # Structs
/// For a struct `Account` it writes, with the visibilities of `Account` and of its fields:
///
/// - `unsafe impl ShmSafe for Account`;
/// - `AccountMut<'a>`, its view: for each field the field's view. Add methods with `impl AccountMut<'_> { … }`;
/// - `AccountInit<…>`, its initialiser: a literal with an initialiser for each field. If one fails or panics, the
///   fields built before it are dropped;
/// - the `Unpin` implementation, if all fields are `Unpin`. None can be written by hand;
/// - a ban on `Drop`, which would get a `&mut` to a value that must not be swapped; see `#[shm(drop)]`.
///
/// ```
/// use shmem_core::ShmSafe;
///
/// #[derive(ShmSafe)]
/// #[repr(C)]
/// pub struct Point<const N: usize> {
///     pub position: [f64; N],
///     pub id: u64,
/// }
///
/// impl<const N: usize> PointMut<'_, N> {
///     fn renumber(&mut self, by: u64) {
///         *self.id += by;
///     }
/// }
/// # let _ = Point { position: [0.0; 2], id: 1 };
/// ```
///
/// # Enums
/// An enum is read with a plain `match`. If no variant has fields, it is a number: its view is `&mut`, a value is its
/// own initialiser. For any other enum `Job` it writes all of the above, but that
///
/// - `JobMut<'a>` is opaque: it dereferences to the enum (for writing too, if that is movable), `get()` gives a
///   `JobVariantMut`, an enum of the views of the current variant's fields, and `set(init)` puts another value there;
/// - each variant has an initialiser, `JobRunningInit { … }`; for one without fields, `Job::init_idle()` gives it.
///
/// While a value is being replaced, a process may be killed. What the next one that gets at it sees is the old value, the
/// new one, the first variant without fields, or (if there is none) a damaged value, which is found before anybody gets a
/// reference to it.
///
/// ```
/// use shmem_core::{Segment, ShmMutex, ShmSafe, ShmString};
///
/// #[derive(ShmSafe)]
/// #[repr(u8)]
/// enum Job {
///     Idle,
///     Running { id: u64, name: ShmString },
/// }
///
/// impl JobMut<'_> {
///     fn start(&mut self, id: u64) -> shmem_core::Result<()> {
///         match self.get() {
///             JobVariantMut::Idle => self.set(JobRunningInit { id, name: "fresh" }),
///             JobVariantMut::Running { id: running, mut name } => {
///                 *running = id;
///                 name.push_str(", again")
///             }
///         }
///     }
/// }
/// # fn main() -> shmem_core::Result<()> {
/// # let segment = Segment::anonymous().size(1 << 20).create()?;
/// let job = segment.construct::<ShmMutex<Job>>("job", ShmMutex::new(Job::init_idle()))?;
/// let mut guard = job.lock()?;
/// guard.view().start(1)?;
/// guard.view().start(2)?;
/// assert!(matches!(&*guard, Job::Running { id: 2, name } if name == "fresh, again"));
/// # Ok(())
/// # }
/// ```
///
/// # Attributes
/// | `#[shm(…)]` on the type | meaning |
/// |---|---|
/// | `hash` | implements `ShmHash`, so that it can be a key: feeds an enum's tag, then each field in order |
/// | `drop` | calls the type's `ShmDrop::drop` with its view when a value is destroyed (a generic type then declares its parameters as `T: ShmSafe` itself) |
/// | `default` | implements `ShmDefault`: each field's own. On an enum it stands on the variant |
/// | `validate = path` | a `fn(&Self) -> Result<(), &'static str>` that says what else must hold of a value: asked where a value is checked, once all its parts were found sound, before anybody gets it. What it says is wrong is `Corrupt` |
/// | `version = N` | part of the type's identity (a `u32`, 0 if absent): raise it when the meaning of the bytes changes, and migrate stored values with `Segment::migrate` |
/// | `unsafe(name = "…")` | the type's whole name, in place of its own name and module. Unsafe: the author vouches that every type of that name and layout has the same invariants |
/// | `unsafe(module = "…")` | the module path that is part of its identity, in place of its own: for a type that has moved, or for an older version of it that is declared beside it. Unsafe for the same reason |
/// | `bound(…)` | further bounds of all the generated code, as in a `where` clause: `bound(T::Item: ShmSafe)` |
/// | `pod` | the type is `bytemuck::Pod` as a whole, so its fields may be of any type that is. It is described by name, module, version and size alone: raise the version when a field changes |
/// | `crate = path` | where `shmem_core` is found; `::shmem_core` if absent |
/// | `mirror = Name` | makes a twin: see [mirrors](#mirrors) |
/// | `derive(…)` | what the twin derives |
///
/// | on a field or a variant | meaning |
/// |---|---|
/// | `rename = "…"` | its name in the schema, and so in the type's identity: the Rust name can then change |
/// | `default` | (variant) the enum's default |
/// | `skip` | (field of a mirrored type) is not stored; `Default` when the ordinary value is made |
/// | `with = module` | (field of a mirrored type) is converted by a module with `type Shm`, `fn init(&T) -> impl Init<Shm>` and `fn to_native(&Shm) -> T` |
///
/// # Mirrors
/// On an ordinary struct or enum, `#[shm(mirror = ShmOrder)]` makes its twin `ShmOrder`, with all that is made for a type
/// that was written by hand. Each field has the type that the trait `MirrorType` gives: `ShmString` for `String`,
/// `ShmVec<ShmFill>` for `Vec<Fill>`, `ShmOption`, `ShmBox`, `ShmHashMap`, `ShmTuple2` …; a type that is shared itself, and
/// can be copied, stays as it is. The ordinary type keeps its derives, its lack of a `repr`, and its other attributes. A
/// value of it, or a reference, is an initialiser of the twin; `to_native()` makes a value of the twin. A type with
/// parameters, `Wrap<T>`, has a twin `ShmWrap<T>` of shared parameters: that of `Wrap<String>` is `ShmWrap<ShmString>`.
/// Conversion recurses as the value does. The attributes of the type are its twin's.
///
/// ```
/// use shmem_core::{Segment, ShmMutex, ShmSafe};
///
/// #[derive(ShmSafe, Debug, PartialEq)]
/// #[shm(mirror = ShmOrder)]
/// struct Order {
///     symbol: String,
///     fills: Vec<(u64, f64)>,
///     state: State,
/// }
///
/// #[derive(ShmSafe, Debug, PartialEq)]
/// #[shm(mirror = ShmState)]
/// enum State {
///     Open,
///     Rejected { why: String },
/// }
/// # fn main() -> shmem_core::Result<()> {
/// # let segment = Segment::anonymous().size(1 << 20).create()?;
/// let order = Order { symbol: "AAPL".into(), fills: vec![(100, 1.5)], state: State::Open };
/// let shared = segment.construct::<ShmMutex<ShmOrder>>("order", ShmMutex::new(&order))?;
/// let mut guard = shared.lock()?;
/// assert_eq!(guard.to_native(), order);
/// guard.view().state.set(State::Rejected { why: "too late".into() })?;
/// guard.view().fills.push((200, 1.6))?;
/// assert_eq!(guard.to_native().fills.len(), 2);
/// # Ok(())
/// # }
/// ```
///
/// # Identity
/// A type is found again under its identity. If all fields are `pub` (and an enum itself is), that is its name and its
/// shape, so two programs may each declare it. If one is not, its invariants are its module's, and the module path is part
/// of it; so it is of a type of which others may not write a literal (`#[non_exhaustive]`).
///
#[doc = include_str!("../RULES.md")]
#[proc_macro_derive(ShmSafe, attributes(shm))]
pub fn derive(input: TokenStream) -> TokenStream {
    expanded(parse_macro_input!(input as DeriveInput)).into()
}

/// The code for an item, or what is wrong with it.
fn expanded(input: DeriveInput) -> proc_macro2::TokenStream {
    let mut errors = validate::Errors::default();
    let item = parse::item(input, &mut errors);
    validate::item(&item, &mut errors);
    match (errors.finish(), &item.attrs.mirror) {
        (None, None) => expand::item(&item),
        (None, Some(name)) => mirror::item(&item, name),
        (Some(messages), _) => {
            let stand_in = fallback::item(&item);
            quote::quote!(#messages #stand_in)
        }
    }
}

/// Opens or creates all roots of a program with one call: typed and named by the fields of a struct.
///
/// Each field is a `Root` (or an alias of one):
///
/// - `Root<T>`: one value, first `T`'s `ShmDefault` or what `init` says;
/// - `Root<[T]>`, with `len`: a slice;
/// - `Option<Root<T>>` or `Option<Root<[T]>>`: found if it is there, also by `create`, and never constructed.
///
/// For a struct `Roots` it writes, with the visibility of `Roots`:
///
/// - `Roots::open_or_create(&Segment) -> Result<Roots>`: each root is found or constructed, in the order of the fields.
///   Each is atomic by itself: if one fails, those before it stay, and are found again next time;
/// - `Roots::open(&Segment) -> Result<Roots>`: all must be there; `NameError::NotFound` names the first that is not;
/// - `Roots::create(&Segment) -> Result<Roots>`: none may be there, or the first that is gives
///   `NameError::AlreadyExists`. What was made before a failure is destroyed again;
/// - `Roots::destroy(&Segment) -> Result<usize>`: how many there were;
/// - `Roots::NAMES: &[&str]`: the names.
///
/// # Attributes
/// | `#[shm(…)]` on the struct | meaning |
/// |---|---|
/// | `prefix = "…"` | stands before every name |
/// | `crate = path` | where `shmem_core` is found; `::shmem_core` if absent |
///
/// | `#[shm(…)]` on a field | meaning |
/// |---|---|
/// | `name = "…"` | the root's name, in place of the field's |
/// | `init = …` | an initialiser of the first value, evaluated only if it is built; for a slice, a function from an element's index to its initialiser |
/// | `len = …` | how many elements a slice has, a `usize`: others must find as many |
/// | `unique` | it is found by its type, as by `Segment::find_unique`, instead of by a name |
///
/// ```
/// use shmem_core::{Root, Segment, ShmHashMap, ShmMutex, ShmRoots, ShmString, ShmVec};
/// use std::sync::atomic::{AtomicU64, Ordering};
///
/// #[derive(ShmRoots)]
/// #[shm(prefix = "shop/")]
/// struct Roots {
///     stock: Root<ShmMutex<ShmHashMap<ShmString, u64>>>,
///     #[shm(name = "next order", init = AtomicU64::new(1000))]
///     next: Root<AtomicU64>,
///     #[shm(len = 4)]
///     orders: Root<[ShmMutex<ShmVec<u64>>]>,
///     #[shm(len = 3, init = |i| 10 * i as u64)]
///     limits: Root<[u64]>,
///     notes: Option<Root<ShmString>>,
/// }
///
/// # fn main() -> shmem_core::Result<()> {
/// let segment = Segment::anonymous().size(1 << 20).create()?;
/// let roots = Roots::open_or_create(&segment)?;
/// roots.stock.lock()?.view().insert("tea", 12)?;
/// let order = roots.next.fetch_add(1, Ordering::Relaxed);
/// roots.orders[0].lock()?.view().push(order)?;
/// assert_eq!((order, &roots.limits[..], roots.notes.is_none()), (1000, &[0, 10, 20][..], true));
/// assert_eq!(Roots::NAMES, ["shop/stock", "shop/next order", "shop/orders", "shop/limits", "shop/notes"]);
/// # Ok(())
/// # }
/// ```
#[proc_macro_derive(ShmRoots, attributes(shm))]
pub fn derive_roots(input: TokenStream) -> TokenStream {
    roots::derive(parse_macro_input!(input as DeriveInput)).into()
}
