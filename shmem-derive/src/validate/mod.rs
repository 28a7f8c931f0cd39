//! The rules, a function each. All mistakes of an item are reported at once, each at its token.

mod types;

pub(crate) use types::{has_no_twin, is_rejected, is_unsized};

use crate::model::{Field, Item, Shape};
use proc_macro2::{Span, TokenStream};
use std::collections::HashSet;
use syn::{GenericParam, LitStr, TypeParamBound};

/// The mistakes found so far.
#[derive(Default)]
pub(crate) struct Errors(Option<syn::Error>);

impl Errors {
    /// A mistake at `span`.
    pub(crate) fn at(&mut self, span: Span, message: &str) {
        self.push(syn::Error::new(span, message));
    }

    /// A mistake that covers `tokens`.
    fn over(&mut self, tokens: impl quote::ToTokens, message: &str) {
        self.push(syn::Error::new_spanned(tokens, message));
    }

    /// Adds an error.
    pub(crate) fn push(&mut self, error: syn::Error) {
        match &mut self.0 {
            None => self.0 = Some(error),
            Some(errors) => errors.combine(error),
        }
    }

    /// All of them as `compile_error!`s, if there are any.
    pub(crate) fn finish(self) -> Option<TokenStream> {
        self.0.map(|errors| errors.into_compile_error())
    }

    fn is_some(&self) -> bool {
        self.0.is_some()
    }
}

/// Checks everything.
pub(crate) fn item(item: &Item, errors: &mut Errors) {
    if let Shape::Union(span) = item.shape {
        return errors
            .at(span, "a union cannot live in shared memory: nothing tells which of its fields is valid");
    }
    parameters(item, errors);
    names(item, errors);
    attributes(item, errors);
    // Also if its name is malformed: the fields are an ordinary type's.
    if item.attrs.has("mirror") {
        return mirrored(item, errors);
    }
    layout(item, errors);
    variants(item, errors);
    not_mirrored(item, errors);
    if !item.attrs.has("pod") {
        item.fields().into_iter().for_each(|field| types::ty(&field.ty, errors));
    }
}

/// The layout must be fixed: `repr(C)`, `repr(transparent)` or, for an enum, the type of its tag; not packed, aligned
/// to 4096 at most.
fn layout(item: &Item, errors: &mut Errors) {
    let repr = &item.repr;
    let is_enum = matches!(item.shape, Shape::Enum(_));
    for other in &repr.other {
        let instead = match (is_enum, &*other.to_string()) {
            (true, "u128" | "i128") => {
                format!("`repr({other})` makes a tag of more than 64 bits: use `repr(u64)` or `repr(i64)`")
            }
            (true, _) => format!("`repr({other})` fixes no layout that every process shares: use `repr(u8)`"),
            _ => format!("`repr({other})` fixes no layout that every process shares: use `repr(C)`"),
        };
        errors.at(other.span(), &instead);
    }
    if let Some(packed) = repr.packed {
        errors.at(
            packed,
            "a type in shared memory must not be packed: its fields are viewed and locked in place, so they must be aligned",
        );
    }
    if let Some(align) =
        repr.align.as_ref().filter(|align| align.base10_parse::<u64>().is_ok_and(|n| n > 4096))
    {
        errors.at(
            align.span(),
            "the alignment of a type in shared memory is at most 4096 bytes: segments are mapped at page boundaries",
        );
    }
    if let Some(transparent) = repr.transparent.filter(|_| is_enum) {
        errors.at(
            transparent,
            "an enum in shared memory has a tag: use `repr(u8)` instead of `repr(transparent)`",
        );
    }
    // The language lets one without variants have no `repr`.
    let is_empty = is_enum && item.variants().is_empty();
    let fixed = repr.c.is_some() || repr.transparent.is_some() || (is_enum && repr.int.is_some()) || is_empty;
    if !fixed && repr.packed.is_none() && repr.other.is_empty() {
        let name = &item.name;
        errors.at(
            name.span(),
            &match is_enum {
                true => format!("`{name}` has no stable layout: add `#[repr(u8)]` or `#[repr(C)]`"),
                false => format!("`{name}` has no stable layout: add `#[repr(C)]` or `#[repr(transparent)]`"),
            },
        );
    }
}

/// No lifetimes, no unsized parameters.
fn parameters(item: &Item, errors: &mut Errors) {
    for param in &item.generics.params {
        match param {
            GenericParam::Lifetime(param) => errors.at(
                param.lifetime.span(),
                "a type in shared memory has no lifetime parameters: it outlives every process",
            ),
            GenericParam::Type(param) => param.bounds.iter().for_each(|bound| unsized_bound(bound, errors)),
            GenericParam::Const(_) => {}
        }
    }
    for predicate in item.generics.where_clause.iter().flat_map(|clause| &clause.predicates) {
        if let syn::WherePredicate::Type(predicate) = predicate {
            predicate.bounds.iter().for_each(|bound| unsized_bound(bound, errors));
        }
    }
}

fn unsized_bound(bound: &TypeParamBound, errors: &mut Errors) {
    if let TypeParamBound::Trait(bound) = bound
        && bound.maybe.is_some()
    {
        errors.over(
            bound,
            "a type parameter in shared memory is sized: remove `?Sized`; ShmBox<[T]> and ShmString hold values of any length",
        );
    }
}

/// An enum has a variant.
fn variants(item: &Item, errors: &mut Errors) {
    if matches!(&item.shape, Shape::Enum(variants) if variants.is_empty()) {
        errors.at(item.name.span(), "an enum without variants has no values, so it cannot be stored");
    }
}

/// What is renamed has a name of its own, and is not a field that nobody stores.
fn names(item: &Item, errors: &mut Errors) {
    let mut fields = |list: &[Field]| {
        let stored: Vec<_> = list.iter().filter(|field| field.attrs.skip.is_none()).collect();
        let given = stored.iter().map(|field| (field.name(), field.attrs.rename.as_ref()));
        distinct(given, "another field has this name", errors);
        for field in list {
            if let (Some(_), Some(rename)) = (field.attrs.skip, &field.attrs.rename) {
                errors.at(rename.span(), "a field that is skipped has no name: remove `rename` or `skip`");
            }
        }
    };
    match &item.shape {
        Shape::Struct(of) => fields(&of.list),
        Shape::Enum(variants) => variants.iter().for_each(|variant| fields(&variant.fields.list)),
        Shape::Union(_) => {}
    }
    let given = item.variants().iter().map(|variant| (variant.schema_name(), variant.attrs.rename.as_ref()));
    distinct(given, "another variant has this name", errors);
}

/// No two of `given` are one name. It is a renamed one that is blamed, of two such the second.
fn distinct<'i>(
    given: impl Iterator<Item = (String, Option<&'i LitStr>)>,
    message: &str,
    errors: &mut Errors,
) {
    // Those that keep their names first.
    let (kept, renamed): (Vec<_>, Vec<_>) = given.partition(|(_, rename)| rename.is_none());
    let mut seen: HashSet<String> = kept.into_iter().map(|(name, _)| name).collect();
    for (name, rename) in renamed {
        if let Some(rename) = rename
            && !seen.insert(name)
        {
            errors.at(rename.span(), message);
        }
    }
}

/// What attributes do not go together.
fn attributes(item: &Item, errors: &mut Errors) {
    let attrs = &item.attrs;
    let mut refuse = |key: &str, message: &str| {
        if let Some(span) = attrs.at.get(key) {
            errors.at(*span, message);
        }
    };
    if attrs.has("pod") {
        for key in ["drop", "validate", "mirror"] {
            refuse(
                key,
                &format!("`{key}` does not go with `pod`: a plain-old-data type is nothing but its bytes"),
            );
        }
        if matches!(item.shape, Shape::Enum(_)) {
            refuse("pod", "an enum is not plain old data: not every bit pattern is one of its variants");
        }
    }
    if attrs.mirror.is_none() {
        refuse("derive", "`derive(…)` says what a mirror derives: it goes with `mirror = Name`");
    }
    let mut defaults = item.variants().iter().filter_map(|variant| variant.attrs.default);
    if matches!(item.shape, Shape::Enum(_)) {
        refuse("default", "mark the variant that is the default with `#[shm(default)]`");
        if defaults.next().is_some() {
            defaults.for_each(|second| errors.at(second, "another variant is the default"));
        }
    }
}

/// What only a mirrored type's field may say.
fn not_mirrored(item: &Item, errors: &mut Errors) {
    for field in item.fields() {
        if let Some(skip) = field.attrs.skip {
            errors
                .at(skip, "a field of a type in shared memory cannot be skipped: only a mirrored type's can");
        }
        if let Some(with) = &field.attrs.with {
            errors.over(
                with,
                "`with` converts a field of a mirrored type: here the field's type must be ShmSafe itself",
            );
        }
    }
}

/// What a mirrored type cannot be: it is an ordinary one, so its fields may be what they like.
fn mirrored(item: &Item, errors: &mut Errors) {
    if let Some(mirror) = item.attrs.mirror.as_ref().filter(|mirror| **mirror == item.name) {
        errors.at(mirror.span(), "the mirror is a type of its own: give it another name");
    }
    if let Some(packed) = item.repr.packed {
        errors.at(packed, "the fields of a packed type cannot be borrowed, so they cannot be converted");
    }
    for field in item.fields() {
        if field.attrs.skip.is_none() && field.attrs.with.is_none() {
            types::ordinary(&field.ty, errors);
        }
        if let (Some(skip), Some(_)) = (field.attrs.skip, &field.attrs.with) {
            errors.at(skip, "a field that is skipped is not converted: remove `with` or `skip`");
        }
    }
    if matches!(&item.shape, Shape::Enum(variants) if variants.is_empty()) {
        errors.at(item.name.span(), "an enum without variants has no values, so it cannot be stored");
    }
}
