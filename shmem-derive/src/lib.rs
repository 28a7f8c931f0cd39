//! The derive macros of shmem. Use them through `shmem_core`, which re-exports them.
//!
//! `ShmSafe` works in stages, one file each: `parse` makes a model of the item, `validate` checks it and reports every
//! mistake at its token, `expand` writes the code and cannot fail; after a mistake `fallback` writes a stand-in,
//! so that one mistake gives one message. `ShmRoots` works likewise, in `roots`.

mod expand;
mod fallback;
mod parse;
mod roots;
mod validate;

use proc_macro::TokenStream;
use syn::{DeriveInput, parse_macro_input};

/// Proves that a struct means the same in every process, and writes what is needed to build, view, move, check and
/// describe it in shared memory.
///
/// The struct needs `#[repr(C)]` or `#[repr(transparent)]` (`align(N)` may be added, up to 4096; `packed` may not),
/// and each field a type that is `ShmSafe` itself. Type parameters get the bound `T: ShmSafe`. References, pointers,
/// heap-owning types of std, tuples and other types whose meaning or layout is this process's own are rejected; the
/// message names what to use.
///
/// For a struct `Account` it writes, with the visibilities of `Account` and of its fields:
///
/// - `unsafe impl ShmSafe for Account`;
/// - `AccountMut<'a>`, its view: for each field the field's view. Add methods with `impl AccountMut<'_> { … }`;
/// - `AccountInit<…>`, its initialiser: a literal with an initialiser for each field. If one fails or panics, the
///   fields built before it are dropped;
/// - the `Unpin` implementation, if all fields are `Unpin`. None can be written by hand;
/// - a ban on `Drop`, which would get a `&mut` to a value that must not be swapped; see `#[shm(drop)]`.
///
/// # Attributes
/// | `#[shm(…)]` on the struct | meaning |
/// |---|---|
/// | `hash` | implements `ShmHash`, so that it can be a key: feeds each field in order |
/// | `drop` | calls the type's `ShmDrop::drop` with its view when a value is destroyed (a generic type then declares its parameters as `T: ShmSafe` itself) |
/// | `version = N` | part of the type's identity (a `u32`, 0 if absent): raise it when the meaning of the bytes changes but not their layout |
/// | `unsafe(name = "…")` | the type's whole name, in place of its own name and module. Unsafe: the author vouches that every type of that name and layout has the same invariants |
/// | `crate = path` | where `shmem_core` is found; `::shmem_core` if absent |
///
/// # Identity
/// A type is found again under its identity. If all fields are `pub`, that is its name and its shape, so two programs
/// may each declare it. If one is not, its invariants are its module's, and the module path is part of it.
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
#[proc_macro_derive(ShmSafe, attributes(shm))]
pub fn derive(input: TokenStream) -> TokenStream {
    let input = parse_macro_input!(input as DeriveInput);
    let mut errors = validate::Errors::default();
    let item = parse::item(input, &mut errors);
    validate::item(&item, &mut errors);
    match errors.finish() {
        None => expand::item(&item).into(),
        Some(messages) => {
            let stand_in = fallback::item(&item);
            quote::quote!(#messages #stand_in).into()
        }
    }
}

/// Opens or creates all roots of a program with one call: typed and named by the fields of a struct.
///
/// Each field is a `Root` (or an alias of one):
///
/// - `Root<T>`: one value, first `T`'s `ShmDefault` or what `init` says;
/// - `Root<[T]>`, with `len`: a slice;
/// - `Option<Root<T>>` or `Option<Root<[T]>>`: found if it is there, and never constructed.
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
