//! The rules that tokens show, a function each. All mistakes are reported at once, each at its token.

use super::parse::{Group, Root, Shape};
use crate::validate::Errors;
use quote::ToTokens;
use std::collections::BTreeSet;
use syn::Expr;
use syn::spanned::Spanned;

/// `MAX_OBJECT_NAME` of the library, where a test compares the two.
const MAX_NAME_BYTES: usize = 1024;

/// Checks everything.
pub(crate) fn group(group: &Group, errors: &mut Errors) {
    if let Shape::Other(span) = group.shape {
        errors
            .at(span, "a group of roots is a struct with named fields: each is a root, called as the field");
    }
    if !group.generics.params.is_empty() {
        errors.at(
            group.generics.params.span(),
            "a group of roots has no parameters: each of its roots has one type, found again under it",
        );
    }
    names(group, errors);
    types(group, errors);
    for root in group.roots() {
        unique(root, errors);
        function(root, errors);
    }
}

/// Each name has a length that the directory takes, and is one root's.
fn names(group: &Group, errors: &mut Errors) {
    let mut seen = BTreeSet::new();
    for root in group.roots() {
        let Some((name, span)) = group.name_of(root) else { continue };
        let empty = root.name.as_ref().is_some_and(|name| name.value().is_empty());
        if empty || name.len() > MAX_NAME_BYTES {
            let prefix = group.prefix.as_ref().map(|_| ", with its prefix").unwrap_or_default();
            errors.at(span, &format!("a root's name has 1 to {MAX_NAME_BYTES} bytes{prefix}"));
        } else if !seen.insert(name.clone()) {
            errors.at(span, &format!("two roots are named `{name}`"));
        }
    }
}

/// What is found by its type is the only one of that type. (Two names of one type are for the segment to notice.)
fn types(group: &Group, errors: &mut Errors) {
    let mut seen = BTreeSet::new();
    for root in group.roots().iter().filter(|root| root.unique.is_some()) {
        if !seen.insert(root.ty.to_token_stream().to_string()) {
            errors.at(root.ty.span(), "two roots of one type are found by it: give one of them a name");
        }
    }
}

/// What is found by its type has no name, and is one value.
fn unique(root: &Root, errors: &mut Errors) {
    if root.unique.is_none() {
        return;
    }
    if let Some(name) = &root.name {
        errors.at(name.span(), "a `unique` root is found by its type and has no name: remove one of the two");
    }
    if let Some(len) = &root.len {
        errors.at(len.span(), "a `unique` root is one value, so it has no `len`: remove one of the two");
    }
}

/// A function of the index is for a slice. (A closure is never an initialiser itself.)
fn function(root: &Root, errors: &mut Errors) {
    if let (Some(Expr::Closure(function)), None) = (&root.init, &root.len) {
        errors.push(syn::Error::new_spanned(
            function,
            "a function of the index initialises the elements of a slice: say how many with `len = …`",
        ));
    }
}
