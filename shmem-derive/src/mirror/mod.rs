//! The twin of an ordinary type: its item (`twin`), from which `expand` makes everything that it makes of others, and the
//! conversions between the two (`convert`).
//!
//! A field's type in the twin is what the trait `MirrorType` says of its ordinary type. The twin of a type with
//! parameters has the same ones, which stand for the twins of the ordinary type's: inside it, the parameter `T` is written
//! as `Twin<T>`, "an ordinary type whose twin is `T`".

mod convert;
mod twin;

use crate::expand;
use crate::model::{Field, Fields, Item};
use proc_macro2::{Ident, Span, TokenStream};
use quote::{quote, quote_spanned};
use syn::{Index, Member, Path};

/// The code for an ordinary `item` that is to have a twin called `name`.
pub(crate) fn item(item: &Item, name: &Ident) -> TokenStream {
    let mirror = Mirror { item, twin: twin::item(item, name), krate: item.krate() };
    let (declared, impls) = (mirror.declaration(), mirror.conversions());
    let shared = expand::item(&mirror.twin);
    quote! {
        #declared
        #shared
        #[allow(deprecated)]
        const _: () = { #impls };
    }
}

/// An ordinary type and its twin.
struct Mirror<'i> {
    item: &'i Item,
    twin: Item,
    krate: TokenStream,
}

/// The fields that are stored, and what they are called in the twin.
fn stored(fields: &Fields) -> impl Iterator<Item = (&Field, Member)> {
    let stored = fields.list.iter().filter(|field| field.attrs.skip.is_none());
    stored.enumerate().map(|(i, field)| match &field.member {
        Member::Named(_) => (field, field.member.clone()),
        Member::Unnamed(_) => (field, Member::Unnamed(Index::from(i))),
    })
}

/// What the module of `#[shm(with = …)]` has under this name; shown where the module is named.
fn of_module(module: &Path, name: &str) -> TokenStream {
    let at = place_of(module);
    let name = Ident::new(name, Span::call_site().located_at(at));
    quote_spanned!(at=> #module::#name)
}

/// A call, shown at this place with its argument.
fn call(at: Span, function: TokenStream, argument: TokenStream) -> TokenStream {
    let argument: TokenStream = argument
        .into_iter()
        .map(|mut token| {
            token.set_span(token.span().located_at(at));
            token
        })
        .collect();
    quote_spanned!(at=> #function(#argument))
}

fn place_of(module: &Path) -> Span {
    module.segments.last().map_or_else(Span::call_site, |last| last.ident.span())
}
