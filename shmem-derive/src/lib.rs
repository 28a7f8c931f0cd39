//! The derive macro of shmem. Use it through `shmem_core`, which re-exports it.
//!
//! It works in stages, one file each: `parse` makes a model of the item, `validate` checks it and reports every
//! mistake at its token, `expand` writes the code and cannot fail; after a mistake `fallback` writes a stand-in,
//! so that one mistake gives one message.

mod attributes;
mod expand;
mod fallback;
mod mirror;
mod model;
mod parse;
#[cfg(test)]
mod snapshots;
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
