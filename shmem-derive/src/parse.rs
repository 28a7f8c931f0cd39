//! From tokens to the model that the other stages work on.

use crate::validate::Errors;
use proc_macro2::{Group, Ident, Span, TokenStream, TokenTree};
use quote::{ToTokens, format_ident, quote_spanned};
use std::collections::BTreeSet;
use syn::ext::IdentExt;
use syn::parse::ParseStream;
use syn::spanned::Spanned;
use syn::{Attribute, Data, DeriveInput, Fields, Generics, LitInt, LitStr, Member, Meta, Path, Token};
use syn::{Type, Visibility};

/// The item the derive stands on.
pub(crate) struct Item {
    pub(crate) vis: Visibility,
    pub(crate) name: Ident,
    pub(crate) generics: Generics,
    pub(crate) shape: Shape,
    pub(crate) repr: Repr,
    pub(crate) attrs: Attrs,
    /// Whether it is `#[non_exhaustive]`: then only its own crate may write a literal of it.
    pub(crate) non_exhaustive: bool,
}

/// What kind of item.
pub(crate) enum Shape {
    Struct(Style, Vec<Field>),
    Enum(Span),
    Union(Span),
}

/// How a struct is written, and so its view and its initialiser.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Style {
    Named,
    Tuple,
    Unit,
}

/// A field of a struct.
pub(crate) struct Field {
    pub(crate) vis: Visibility,
    pub(crate) member: Member,
    pub(crate) ty: Type,
    /// Its `#[doc]` attributes.
    pub(crate) docs: Vec<Attribute>,
}

/// What `#[repr(…)]` says, with the place of each word.
#[derive(Default)]
pub(crate) struct Repr {
    pub(crate) c: Option<Span>,
    pub(crate) transparent: Option<Span>,
    pub(crate) packed: Option<Span>,
    pub(crate) align: Option<LitInt>,
    /// `Rust`, `simd` and whatever else fixes no layout that we know.
    pub(crate) other: Vec<Ident>,
}

/// What `#[shm(…)]` says.
#[derive(Default)]
pub(crate) struct Attrs {
    pub(crate) hash: bool,
    pub(crate) drop: bool,
    pub(crate) version: u32,
    pub(crate) unsafe_name: Option<LitStr>,
    krate: Option<Path>,
}

impl Item {
    /// The path of `shmem_core`.
    pub(crate) fn krate(&self) -> TokenStream {
        self.krate_at(Span::call_site())
    }

    /// The path of `shmem_core`, for code that the compiler is to show at `span`.
    pub(crate) fn krate_at(&self, span: Span) -> TokenStream {
        match &self.attrs.krate {
            Some(path) => path.to_token_stream(),
            None => quote_spanned!(span=> ::shmem_core),
        }
    }

    /// The fields; none for what is no struct.
    pub(crate) fn fields(&self) -> &[Field] {
        match &self.shape {
            Shape::Struct(_, fields) => fields,
            _ => &[],
        }
    }

    /// The name of the view.
    pub(crate) fn view_name(&self) -> Ident {
        format_ident!("{}Mut", self.name.unraw(), span = self.name.span())
    }

    /// The name of the initialiser.
    pub(crate) fn init_name(&self) -> Ident {
        format_ident!("{}Init", self.name.unraw(), span = self.name.span())
    }

    /// `tokens` with `Self` written out, for use outside the item itself.
    pub(crate) fn without_self(&self, tokens: impl ToTokens) -> TokenStream {
        let (_, args, _) = self.generics.split_for_impl();
        replace_self(tokens.to_token_stream(), &self.name, &args.to_token_stream())
    }
}

impl Field {
    /// Its name as a schema has it.
    pub(crate) fn name(&self) -> String {
        match &self.member {
            Member::Named(ident) => ident.unraw().to_string(),
            Member::Unnamed(index) => index.index.to_string(),
        }
    }
}

fn replace_self(tokens: TokenStream, name: &Ident, args: &TokenStream) -> TokenStream {
    let mut out = TokenStream::new();
    for token in tokens {
        match token {
            TokenTree::Ident(ident) if ident == "Self" => {
                let mut name = name.clone();
                name.set_span(ident.span());
                out.extend(quote_spanned!(ident.span()=> #name #args));
            }
            TokenTree::Group(group) => {
                let mut replaced = Group::new(group.delimiter(), replace_self(group.stream(), name, args));
                replaced.set_span(group.span());
                out.extend([TokenTree::Group(replaced)]);
            }
            other => out.extend([other]),
        }
    }
    out
}

/// The model of `input`; mistakes in attributes go to `errors`.
pub(crate) fn item(input: DeriveInput, errors: &mut Errors) -> Item {
    let mut attrs = Attrs::default();
    let mut repr = Repr::default();
    let mut seen = BTreeSet::new();
    let non_exhaustive = input.attrs.iter().any(|attr| attr.path().is_ident("non_exhaustive"));
    for attr in &input.attrs {
        if attr.path().is_ident("shm") {
            shm(attr, &mut attrs, &mut seen, errors);
        } else if attr.path().is_ident("repr") {
            self::repr(attr, &mut repr);
        }
    }
    let shape = match input.data {
        Data::Struct(data) => {
            let style = match data.fields {
                Fields::Named(_) => Style::Named,
                Fields::Unnamed(_) => Style::Tuple,
                Fields::Unit => Style::Unit,
            };
            let members: Vec<_> = data.fields.members().collect();
            let fields = data.fields.into_iter().zip(members);
            Shape::Struct(style, fields.map(|(f, member)| field(f, member, errors)).collect())
        }
        Data::Enum(data) => Shape::Enum(data.enum_token.span),
        Data::Union(data) => Shape::Union(data.union_token.span),
    };
    Item { vis: input.vis, name: input.ident, generics: input.generics, shape, repr, attrs, non_exhaustive }
}

fn field(field: syn::Field, member: Member, errors: &mut Errors) -> Field {
    for attr in field.attrs.iter().filter(|attr| attr.path().is_ident("shm")) {
        errors.at(attr.path().span(), "`#[shm(…)]` belongs on the struct: fields have no attributes");
    }
    let docs = field.attrs.into_iter().filter(|attr| attr.path().is_ident("doc")).collect();
    Field { vis: field.vis, member, ty: field.ty, docs }
}

const KNOWN: &str = "known are `hash`, `drop`, `version = N`, `unsafe(name = \"…\")` and `crate = path`";

fn shm(attr: &Attribute, attrs: &mut Attrs, seen: &mut BTreeSet<String>, errors: &mut Errors) {
    let Meta::List(list) = &attr.meta else {
        return errors.at(attr.meta.span(), &format!("write it as `#[shm(…)]`; {KNOWN}"));
    };
    let parsed = list.parse_args_with(|input: ParseStream<'_>| {
        while !input.is_empty() {
            // `unsafe` and `crate` are keywords.
            let key = input.call(Ident::parse_any)?;
            one(&key, input, attrs, seen, errors)?;
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

fn one(
    key: &Ident,
    input: ParseStream<'_>,
    attrs: &mut Attrs,
    seen: &mut BTreeSet<String>,
    errors: &mut Errors,
) -> syn::Result<()> {
    if !seen.insert(key.to_string()) {
        errors.at(key.span(), &format!("`{key}` is given twice"));
    }
    match &*key.to_string() {
        "hash" => attrs.hash = true,
        "drop" => attrs.drop = true,
        "version" => {
            input.parse::<Token![=]>()?;
            let version: LitInt = input.parse()?;
            match version.base10_parse() {
                Ok(n) if matches!(version.suffix(), "" | "u32") => attrs.version = n,
                _ => errors.at(version.span(), "a version is a number from 0 to 4294967295"),
            }
        }
        "crate" => {
            input.parse::<Token![=]>()?;
            attrs.krate = Some(input.call(Path::parse_mod_style)?);
        }
        "unsafe" => {
            let inner;
            syn::parenthesized!(inner in input);
            let key = inner.call(Ident::parse_any)?;
            if key != "name" {
                return Err(syn::Error::new(key.span(), "only `name = \"…\"` is unsafe"));
            }
            inner.parse::<Token![=]>()?;
            let name: LitStr = inner.parse()?;
            if !(1..=MAX_NAME_BYTES).contains(&name.value().len()) {
                errors.at(name.span(), "a type's name has 1 to 1024 bytes");
            }
            attrs.unsafe_name = Some(name);
            if !inner.is_empty() {
                return Err(inner.error("expected `)`"));
            }
        }
        "name" => {
            errors.at(
                key.span(),
                "write it as `unsafe(name = \"…\")`: whoever names a type vouches that every type of that name and \
                 layout has the same invariants",
            );
            skip(input)?;
        }
        other => {
            errors.at(key.span(), &format!("unknown attribute `{other}`; {KNOWN}"));
            skip(input)?;
        }
    }
    Ok(())
}

/// A schema cuts longer ones.
const MAX_NAME_BYTES: usize = 1024;

/// Skips to the next comma.
fn skip(input: ParseStream<'_>) -> syn::Result<()> {
    while !input.is_empty() && !input.peek(Token![,]) {
        input.parse::<TokenTree>()?;
    }
    Ok(())
}

/// Reads a `#[repr(…)]`. What is malformed the compiler itself reports.
fn repr(attr: &Attribute, repr: &mut Repr) {
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
            _ => repr.other.extend(meta.path.get_ident().cloned()),
        }
        Ok(())
    });
}
