//! From tokens to the model of a group of roots.

use crate::validate::Errors;
use proc_macro2::{Span, TokenTree};
use std::collections::BTreeSet;
use syn::ext::IdentExt;
use syn::parse::ParseStream;
use syn::spanned::Spanned;
use syn::{Attribute, Data, DeriveInput, Expr, Fields, Generics, Ident, LitStr, Meta, Path, Token};
use syn::{Type, Visibility};

/// The struct the derive stands on.
pub(crate) struct Group {
    pub(crate) vis: Visibility,
    pub(crate) name: Ident,
    pub(crate) generics: Generics,
    pub(crate) shape: Shape,
    pub(crate) krate: Option<Path>,
    pub(crate) prefix: Option<LitStr>,
}

/// What kind of item, if not the right one with the place that shows it.
pub(crate) enum Shape {
    Named(Vec<Root>),
    Other(Span),
}

/// A field.
pub(crate) struct Root {
    pub(crate) field: Ident,
    pub(crate) ty: Type,
    pub(crate) name: Option<LitStr>,
    pub(crate) init: Option<Expr>,
    pub(crate) len: Option<Expr>,
    /// Where the word stands.
    pub(crate) unique: Option<Span>,
}

impl Group {
    /// The fields; none of what is no struct with named fields.
    pub(crate) fn roots(&self) -> &[Root] {
        match &self.shape {
            Shape::Named(roots) => roots,
            Shape::Other(_) => &[],
        }
    }

    /// The name of a root, unless it is found by its type; and the place that shows it.
    pub(crate) fn name_of(&self, root: &Root) -> Option<(String, Span)> {
        if root.unique.is_some() {
            return None;
        }
        let (own, span) = match &root.name {
            Some(name) => (name.value(), name.span()),
            None => (root.field.unraw().to_string(), root.field.span()),
        };
        let prefix = self.prefix.as_ref().map(LitStr::value).unwrap_or_default();
        Some((prefix + &own, span))
    }
}

/// The model of `input`; mistakes in attributes go to `errors`.
pub(crate) fn group(input: DeriveInput, errors: &mut Errors) -> Group {
    let (mut krate, mut prefix) = (None, None);
    attributes(&input.attrs, KNOWN_OF_STRUCT, errors, |key, input, errors| {
        match &*key.to_string() {
            "crate" => krate = Some(value(input, Path::parse_mod_style)?),
            "prefix" => prefix = Some(value(input, |input| input.parse())?),
            known @ ("name" | "init" | "len" | "unique") => {
                errors.at(key.span(), &format!("`{known}` belongs on a field: {KNOWN_OF_STRUCT}"));
                skip(input)?;
            }
            other => unknown(other, key, input, KNOWN_OF_STRUCT, errors)?,
        }
        Ok(())
    });
    let shape = match input.data {
        Data::Struct(data) => match data.fields {
            Fields::Named(fields) => {
                Shape::Named(fields.named.into_iter().filter_map(|field| root(field, errors)).collect())
            }
            Fields::Unnamed(fields) => Shape::Other(fields.span()),
            Fields::Unit => Shape::Other(input.ident.span()),
        },
        Data::Enum(data) => Shape::Other(data.enum_token.span),
        Data::Union(data) => Shape::Other(data.union_token.span),
    };
    Group { vis: input.vis, name: input.ident, generics: input.generics, shape, krate, prefix }
}

fn root(field: syn::Field, errors: &mut Errors) -> Option<Root> {
    // A named field has one.
    let mut root =
        Root { field: field.ident?, ty: field.ty, name: None, init: None, len: None, unique: None };
    attributes(&field.attrs, KNOWN_OF_FIELD, errors, |key, input, errors| {
        match &*key.to_string() {
            "name" => root.name = Some(value(input, |input| input.parse())?),
            "init" => root.init = Some(value(input, |input| input.parse())?),
            "len" => root.len = Some(value(input, |input| input.parse())?),
            "unique" => root.unique = Some(key.span()),
            "optional" => {
                errors.at(key.span(), "an optional root is a field of type `Option<Root<…>>`");
                skip(input)?;
            }
            known @ ("crate" | "prefix") => {
                errors.at(key.span(), &format!("`{known}` belongs on the struct: {KNOWN_OF_FIELD}"));
                skip(input)?;
            }
            other => unknown(other, key, input, KNOWN_OF_FIELD, errors)?,
        }
        Ok(())
    });
    Some(root)
}

const KNOWN_OF_STRUCT: &str = "a group has `prefix = \"…\"` and `crate = path`";
const KNOWN_OF_FIELD: &str = "a root has `name = \"…\"`, `init = …`, `len = …` and `unique`";

/// Reads every `#[shm(…)]` of `attrs`, one word after the other.
fn attributes(
    attrs: &[Attribute],
    known: &str,
    errors: &mut Errors,
    mut one: impl FnMut(&Ident, ParseStream<'_>, &mut Errors) -> syn::Result<()>,
) {
    let mut seen = BTreeSet::new();
    for attr in attrs.iter().filter(|attr| attr.path().is_ident("shm")) {
        let Meta::List(list) = &attr.meta else {
            errors.at(attr.meta.span(), &format!("write it as `#[shm(…)]`; {known}"));
            continue;
        };
        let parsed = list.parse_args_with(|input: ParseStream<'_>| {
            while !input.is_empty() {
                // `crate` is a keyword.
                let key = input.call(Ident::parse_any)?;
                if !seen.insert(key.to_string()) {
                    errors.at(key.span(), &format!("`{key}` is given twice"));
                }
                one(&key, input, errors)?;
                if !input.is_empty() {
                    input.parse::<Token![,]>()?;
                }
            }
            Ok(())
        });
        if let Err(error) = parsed {
            errors.push(error);
        }
    }
}

/// What follows the word and `=`.
fn value<T>(input: ParseStream<'_>, parse: impl FnOnce(ParseStream<'_>) -> syn::Result<T>) -> syn::Result<T> {
    input.parse::<Token![=]>()?;
    parse(input)
}

fn unknown(
    name: &str,
    key: &Ident,
    input: ParseStream<'_>,
    known: &str,
    errors: &mut Errors,
) -> syn::Result<()> {
    errors.at(key.span(), &format!("unknown attribute `{name}`; {known}"));
    skip(input)
}

/// Skips to the next comma.
fn skip(input: ParseStream<'_>) -> syn::Result<()> {
    while !input.is_empty() && !input.peek(Token![,]) {
        input.parse::<TokenTree>()?;
    }
    Ok(())
}
