//! What `#[shm(…)]` and `#[repr(…)]` say: read token by token, every mistake reported at its own.

use crate::model::{Attrs, FieldAttrs, Repr, VariantAttrs};
use crate::validate::Errors;
use proc_macro2::{Ident, Span, TokenTree};
use std::collections::BTreeMap;
use syn::ext::IdentExt;
use syn::parse::ParseStream;
use syn::punctuated::Punctuated;
use syn::spanned::Spanned;
use syn::{Attribute, LitInt, LitStr, Meta, Path, Token, WherePredicate};

/// A schema cuts longer names.
const MAX_NAME_BYTES: usize = 1024;

/// The keys that may stand in one kind of place.
pub(crate) struct Keys {
    place: &'static str,
    /// Each as it is looked up and as it is written.
    known: &'static [(&'static str, &'static str)],
}

/// Of an item.
const ITEM: Keys = Keys {
    place: "a type",
    known: &[
        ("hash", "hash"),
        ("drop", "drop"),
        ("default", "default"),
        ("pod", "pod"),
        ("version", "version = N"),
        ("unsafe", "unsafe(name = \"…\")"),
        ("crate", "crate = path"),
        ("bound", "bound(…)"),
        ("validate", "validate = path"),
        ("mirror", "mirror = Name"),
        ("derive", "derive(…)"),
    ],
};
/// Of a field.
const FIELD: Keys = Keys {
    place: "a field",
    known: &[("rename", "rename = \"…\""), ("skip", "skip"), ("with", "with = module")],
};
/// Of a variant.
const VARIANT: Keys =
    Keys { place: "a variant", known: &[("rename", "rename = \"…\""), ("default", "default")] };

/// All of them.
const ALL: [&Keys; 3] = [&ITEM, &FIELD, &VARIANT];

impl Keys {
    /// The key as it is looked up, if it is known here.
    fn find(&self, key: &str) -> Option<&'static str> {
        self.known.iter().map(|(name, _)| *name).find(|name| *name == key)
    }

    /// How a known key is written.
    fn written(&self, key: &str) -> &'static str {
        self.known.iter().find(|(name, _)| *name == key).map_or("", |(_, written)| written)
    }

    /// "known are `a`, `b` and `c`".
    fn list(&self) -> String {
        let written: Vec<_> = self.known.iter().map(|(_, written)| format!("`{written}`")).collect();
        match written.split_last() {
            Some((last, rest)) if !rest.is_empty() => format!("known are {} and {last}", rest.join(", ")),
            _ => format!("known is {}", written.concat()),
        }
    }

    /// What to say of a key that is not known here.
    fn unknown(&self, key: &str) -> String {
        match ALL.into_iter().find(|keys| keys.find(key).is_some()) {
            Some(elsewhere) => {
                format!("`{key}` belongs on {}, not on {}; {}", elsewhere.place, self.place, self.list())
            }
            None => format!("unknown attribute `{key}`; {}", self.list()),
        }
    }

    /// Reads every `#[shm(…)]` of `attrs`: `one` is called with each known key, standing behind it. Gives where each
    /// key stands.
    fn read(
        &self,
        attrs: &[Attribute],
        errors: &mut Errors,
        mut one: impl FnMut(&'static str, Span, ParseStream<'_>, &mut Errors) -> syn::Result<()>,
    ) -> BTreeMap<&'static str, Span> {
        let mut seen = BTreeMap::new();
        for attr in attrs.iter().filter(|attr| attr.path().is_ident("shm")) {
            let Meta::List(list) = &attr.meta else {
                errors.at(attr.meta.span(), &format!("write it as `#[shm(…)]`; {}", self.list()));
                continue;
            };
            let parsed = list.parse_args_with(|input: ParseStream<'_>| {
                while !input.is_empty() {
                    // `unsafe` and `crate` are keywords.
                    let key = input.call(Ident::parse_any)?;
                    match self.find(&key.to_string()) {
                        Some(known) => {
                            if seen.insert(known, key.span()).is_some() {
                                let twice = match known {
                                    "unsafe" => "a type has one `unsafe(…)`: a whole name, or another module",
                                    _ => &format!("`{known}` is given twice"),
                                };
                                errors.at(key.span(), twice);
                            }
                            let written = self.written(known);
                            one(known, key.span(), input, errors).map_err(|error| {
                                syn::Error::new(error.span(), format!("{error}; write it as `{written}`"))
                            })?;
                            if written == known && !input.is_empty() && !input.peek(Token![,]) {
                                errors.at(input.span(), &format!("`{known}` stands alone: remove this"));
                                skip(input)?;
                            }
                        }
                        None => {
                            errors.at(key.span(), &self.explain(&key.to_string()));
                            skip(input)?;
                        }
                    }
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
        seen
    }

    /// Why this key is not taken.
    fn explain(&self, key: &str) -> String {
        match key {
            "name" | "module" if self.find("unsafe").is_some() => format!(
                "write it as `unsafe({key} = \"…\")`: whoever names a type vouches that every type of that name and \
                 layout has the same invariants"
            ),
            "rename" if self.find("unsafe").is_some() => {
                "a type's name is its identity: write `unsafe(name = \"…\")`, which vouches that every type of that name \
                 and layout has the same invariants"
                    .into()
            }
            _ => self.unknown(key),
        }
    }
}

/// What the attributes of an item say.
pub(crate) fn of_item(attrs: &[Attribute], errors: &mut Errors) -> Attrs {
    let mut read = Attrs::default();
    read.at = ITEM.read(attrs, errors, |key, _, input, errors| {
        match key {
            "version" => {
                input.parse::<Token![=]>()?;
                let version: LitInt = input.parse()?;
                match version.base10_parse() {
                    Ok(n) if matches!(version.suffix(), "" | "u32") => read.version = n,
                    _ => errors.at(version.span(), "a version is a number from 0 to 4294967295"),
                }
            }
            "unsafe" => {
                let inner;
                syn::parenthesized!(inner in input);
                let key = inner.call(Ident::parse_any)?;
                let place = match &*key.to_string() {
                    "name" => &mut read.unsafe_name,
                    "module" => &mut read.unsafe_module,
                    _ => {
                        let message = "only a name or a module is unsafe";
                        return Err(syn::Error::new(key.span(), message));
                    }
                };
                *place = Some(name(&inner, errors)?);
                if !inner.is_empty() {
                    return Err(inner.error("expected `)`"));
                }
            }
            "crate" => {
                input.parse::<Token![=]>()?;
                read.krate = Some(input.call(Path::parse_mod_style)?);
            }
            "bound" => {
                let inner;
                syn::parenthesized!(inner in input);
                let bounds = Punctuated::<WherePredicate, Token![,]>::parse_terminated(&inner)?;
                read.bound.extend(bounds);
            }
            "validate" => {
                input.parse::<Token![=]>()?;
                read.validate = Some(input.parse()?);
            }
            "mirror" => {
                input.parse::<Token![=]>()?;
                read.mirror = Some(input.parse()?);
            }
            "derive" => {
                let inner;
                syn::parenthesized!(inner in input);
                read.derive.extend(Punctuated::<Path, Token![,]>::parse_terminated(&inner)?);
            }
            _ => {}
        }
        Ok(())
    });
    read
}

/// What the attributes of a field say.
pub(crate) fn of_field(attrs: &[Attribute], errors: &mut Errors) -> FieldAttrs {
    let mut read = FieldAttrs::default();
    FIELD.read(attrs, errors, |key, span, input, errors| {
        match key {
            "rename" => read.rename = Some(name(input, errors)?),
            "skip" => read.skip = Some(span),
            _ => {
                input.parse::<Token![=]>()?;
                read.with = Some(input.parse()?);
            }
        }
        Ok(())
    });
    read
}

/// What the attributes of a variant say.
pub(crate) fn of_variant(attrs: &[Attribute], errors: &mut Errors) -> VariantAttrs {
    let mut read = VariantAttrs::default();
    VARIANT.read(attrs, errors, |key, span, input, errors| {
        match key {
            "rename" => read.rename = Some(name(input, errors)?),
            _ => read.default = Some(span),
        }
        Ok(())
    });
    read
}

/// Reads `= "name"`.
fn name(input: ParseStream<'_>, errors: &mut Errors) -> syn::Result<LitStr> {
    input.parse::<Token![=]>()?;
    let name: LitStr = input.parse()?;
    if !(1..=MAX_NAME_BYTES).contains(&name.value().len()) {
        errors.at(name.span(), "a name in a schema has 1 to 1024 bytes");
    }
    Ok(name)
}

/// Skips to the next comma.
fn skip(input: ParseStream<'_>) -> syn::Result<()> {
    while !input.is_empty() && !input.peek(Token![,]) {
        input.parse::<TokenTree>()?;
    }
    Ok(())
}

/// Reads a `#[repr(…)]`. What is malformed the compiler itself reports.
pub(crate) fn repr(attr: &Attribute, repr: &mut Repr) {
    let _ = attr.parse_nested_meta(|meta| {
        let span = meta.path.span();
        match meta.path.get_ident().map(Ident::to_string).as_deref() {
            Some("C") => repr.c = Some(span),
            Some("transparent") => repr.transparent = Some(span),
            Some("packed") => {
                repr.packed = Some(span);
                if meta.input.peek(syn::token::Paren) {
                    meta.input.parse::<TokenTree>()?;
                }
            }
            Some("align") => {
                let inner;
                syn::parenthesized!(inner in meta.input);
                repr.align = Some(inner.parse()?);
            }
            Some("u8" | "u16" | "u32" | "u64" | "i8" | "i16" | "i32" | "i64" | "usize" | "isize") => {
                repr.int = meta.path.get_ident().cloned();
            }
            _ => repr.other.extend(meta.path.get_ident().cloned()),
        }
        Ok(())
    });
}
