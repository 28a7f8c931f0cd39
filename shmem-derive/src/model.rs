//! What the stages work on: an item as `parse` reads it from the tokens.

use proc_macro2::{Group, Ident, Span, TokenStream, TokenTree};
use quote::{ToTokens, format_ident, quote_spanned};
use std::collections::BTreeMap;
use syn::ext::IdentExt;
use syn::{Attribute, Expr, Generics, LitInt, LitStr, Member, Path, Type, Visibility, WherePredicate};

/// The item the derive stands on.
pub(crate) struct Item {
    pub(crate) vis: Visibility,
    pub(crate) name: Ident,
    pub(crate) generics: Generics,
    pub(crate) shape: Shape,
    pub(crate) repr: Repr,
    pub(crate) attrs: Attrs,
    /// Its `#[doc]` attributes.
    pub(crate) docs: Vec<Attribute>,
    /// Whether it is `#[non_exhaustive]`: then only its own crate may write a literal of it.
    pub(crate) non_exhaustive: bool,
    /// Whether it is the twin that a mirrored type is given.
    pub(crate) is_twin: bool,
}

/// What kind of item.
pub(crate) enum Shape {
    Struct(Fields),
    Enum(Vec<Variant>),
    Union(Span),
}

/// The fields of a struct or of a variant, and how they are written.
pub(crate) struct Fields {
    pub(crate) style: Style,
    pub(crate) list: Vec<Field>,
}

/// How a struct or a variant is written, and so its view and its initialiser.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Style {
    Named,
    Tuple,
    Unit,
}

/// A field.
pub(crate) struct Field {
    pub(crate) vis: Visibility,
    pub(crate) member: Member,
    pub(crate) ty: Type,
    pub(crate) attrs: FieldAttrs,
    /// Its `#[doc]` attributes.
    pub(crate) docs: Vec<Attribute>,
}

/// A variant of an enum.
pub(crate) struct Variant {
    pub(crate) name: Ident,
    pub(crate) fields: Fields,
    pub(crate) discriminant: Option<Expr>,
    pub(crate) attrs: VariantAttrs,
    /// Its `#[doc]` attributes.
    pub(crate) docs: Vec<Attribute>,
    pub(crate) non_exhaustive: bool,
}

/// What `#[repr(…)]` says, with the place of each word.
#[derive(Default)]
pub(crate) struct Repr {
    pub(crate) c: Option<Span>,
    pub(crate) transparent: Option<Span>,
    pub(crate) packed: Option<Span>,
    pub(crate) align: Option<LitInt>,
    /// `u8` … `isize`: the type of an enum's tag.
    pub(crate) int: Option<Ident>,
    /// `Rust`, `simd` and whatever else fixes no layout that we know.
    pub(crate) other: Vec<Ident>,
}

/// What `#[shm(…)]` says of an item.
#[derive(Default)]
pub(crate) struct Attrs {
    /// Where each key stands.
    pub(crate) at: BTreeMap<&'static str, Span>,
    pub(crate) version: u32,
    pub(crate) unsafe_name: Option<LitStr>,
    pub(crate) unsafe_module: Option<LitStr>,
    pub(crate) krate: Option<Path>,
    pub(crate) bound: Vec<WherePredicate>,
    pub(crate) validate: Option<Path>,
    pub(crate) mirror: Option<Ident>,
    /// The traits that the mirror is to derive.
    pub(crate) derive: Vec<Path>,
}

/// What `#[shm(…)]` says of a field.
#[derive(Default)]
pub(crate) struct FieldAttrs {
    pub(crate) rename: Option<LitStr>,
    pub(crate) skip: Option<Span>,
    pub(crate) with: Option<Path>,
}

/// What `#[shm(…)]` says of a variant.
#[derive(Default)]
pub(crate) struct VariantAttrs {
    pub(crate) rename: Option<LitStr>,
    pub(crate) default: Option<Span>,
}

impl Attrs {
    /// Whether this key was given.
    pub(crate) fn has(&self, key: &str) -> bool {
        self.at.contains_key(key)
    }
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

    /// The variants; none for what is no enum.
    pub(crate) fn variants(&self) -> &[Variant] {
        match &self.shape {
            Shape::Enum(variants) => variants,
            _ => &[],
        }
    }

    /// Every field: a struct's, or of all variants.
    pub(crate) fn fields(&self) -> Vec<&Field> {
        match &self.shape {
            Shape::Struct(fields) => fields.list.iter().collect(),
            Shape::Enum(variants) => variants.iter().flat_map(|variant| &variant.fields.list).collect(),
            Shape::Union(_) => Vec::new(),
        }
    }

    /// Whether it is an enum whose variants have no fields.
    pub(crate) fn is_unit_only(&self) -> bool {
        matches!(&self.shape, Shape::Enum(variants) if variants.iter().all(|v| v.fields.list.is_empty()))
    }

    /// Whether whoever can name it can write any value of it as a literal: then it cannot have invariants of its own.
    pub(crate) fn is_open(&self) -> bool {
        let fields_are_public = match &self.shape {
            Shape::Struct(fields) => {
                fields.list.iter().all(|field| matches!(field.vis, Visibility::Public(_)))
            }
            // Variants and their fields are as public as their enum.
            Shape::Enum(variants) => {
                matches!(self.vis, Visibility::Public(_))
                    && variants.iter().all(|variant| !variant.non_exhaustive)
            }
            Shape::Union(_) => false,
        };
        // The shape of a plain-old-data type is not described, so it cannot be its identity.
        fields_are_public && !self.non_exhaustive && !self.attrs.has("pod")
    }

    /// `Name` with something appended, at the place of the item's own name.
    pub(crate) fn derived_name(&self, suffix: impl std::fmt::Display) -> Ident {
        format_ident!("{}{}", self.name.unraw(), suffix.to_string(), span = self.name.span())
    }

    /// The name of the view.
    pub(crate) fn view_name(&self) -> Ident {
        self.derived_name("Mut")
    }

    /// The name of an enum's view of the current variant.
    pub(crate) fn variant_view_name(&self) -> Ident {
        self.derived_name("VariantMut")
    }

    /// The name of a struct's initialiser.
    pub(crate) fn init_name(&self) -> Ident {
        self.derived_name("Init")
    }

    /// The name of a variant's initialiser.
    pub(crate) fn variant_init_name(&self, variant: &Variant) -> Ident {
        self.derived_name(format_args!("{}Init", variant.name.unraw()))
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
        match (&self.attrs.rename, &self.member) {
            (Some(name), _) => name.value(),
            (None, Member::Named(ident)) => ident.unraw().to_string(),
            (None, Member::Unnamed(index)) => index.index.to_string(),
        }
    }
}

impl Variant {
    /// Its name as a schema has it.
    pub(crate) fn schema_name(&self) -> String {
        match &self.attrs.rename {
            Some(name) => name.value(),
            None => self.name.unraw().to_string(),
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
