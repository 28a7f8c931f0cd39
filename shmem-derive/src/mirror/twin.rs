//! The twin's item: from the model of an ordinary type to that of its twin, and to its declaration.

use super::{Mirror, of_module, stored};
use crate::expand;
use crate::model::{Attrs, Field, FieldAttrs, Fields, Item, Repr, Shape, Style, Variant, VariantAttrs};
use proc_macro2::{Group, Ident, Span, TokenStream, TokenTree};
use quote::{ToTokens, quote, quote_spanned};
use syn::punctuated::Punctuated;
use syn::{Expr, GenericParam, Generics, Member, TypeParam, parse_quote};

/// The twin's item.
pub(super) fn item(item: &Item, name: &Ident) -> Item {
    let shape = match &item.shape {
        Shape::Struct(fields) => Shape::Struct(twin_fields(item, fields)),
        Shape::Enum(variants) => {
            Shape::Enum(variants.iter().map(|variant| twin_variant(item, variant)).collect())
        }
        Shape::Union(span) => Shape::Union(*span),
    };
    let mut at = item.attrs.at.clone();
    // A mistake, which was reported.
    at.remove("pod");
    let attrs = Attrs {
        at,
        version: item.attrs.version,
        unsafe_name: item.attrs.unsafe_name.clone(),
        unsafe_module: item.attrs.unsafe_module.clone(),
        krate: item.attrs.krate.clone(),
        bound: Vec::new(),
        validate: item.attrs.validate.clone(),
        mirror: None,
        derive: Vec::new(),
    };
    Item {
        vis: item.vis.clone(),
        name: name.clone(),
        generics: twin_generics(item),
        repr: twin_repr(item),
        shape,
        attrs,
        docs: item.docs.clone(),
        non_exhaustive: item.non_exhaustive,
        is_twin: true,
    }
}

/// The same parameters, without the bounds and defaults that the ordinary ones have: they are of shared types.
fn twin_generics(item: &Item) -> Generics {
    let krate = item.krate();
    let params = item.generics.params.iter().map(|param| match param {
        GenericParam::Type(TypeParam { ident, .. }) => parse_quote!(#ident),
        GenericParam::Const(param) => {
            let mut param = param.clone();
            param.default = None;
            GenericParam::Const(param)
        }
        GenericParam::Lifetime(_) => param.clone(),
    });
    let mut generics = Generics { params: params.collect::<Punctuated<_, _>>(), ..Generics::default() };
    expand::bind_params(&mut generics, &quote!(#krate::ShmSafe));
    generics
}

/// A struct is `repr(C)`. An enum's tag is what its own `repr` says; else an `isize` if it has discriminants, as the
/// language has it, else as small as can be.
fn twin_repr(item: &Item) -> Repr {
    let name = |name: &str| Ident::new(name, Span::call_site());
    let variants = item.variants();
    match (&item.shape, &item.repr.int) {
        (Shape::Enum(_), Some(int)) => Repr { int: Some(int.clone()), ..Repr::default() },
        (Shape::Enum(_), None) => {
            let tag = match variants.iter().any(|variant| variant.discriminant.is_some()) {
                true => "isize",
                false if variants.len() < 256 => "u8",
                false => "u16",
            };
            Repr { int: Some(name(tag)), ..Repr::default() }
        }
        _ => Repr { c: Some(Span::call_site()), ..Repr::default() },
    }
}

fn twin_variant(item: &Item, variant: &Variant) -> Variant {
    let VariantAttrs { rename, default } = &variant.attrs;
    Variant {
        name: variant.name.clone(),
        fields: twin_fields(item, &variant.fields),
        discriminant: variant.discriminant.as_ref().map(|value| Expr::Verbatim(item.without_self(value))),
        attrs: VariantAttrs { rename: rename.clone(), default: *default },
        docs: variant.docs.clone(),
        non_exhaustive: variant.non_exhaustive,
    }
}

fn twin_fields(item: &Item, fields: &Fields) -> Fields {
    let list = stored(fields).map(|(field, member)| Field {
        vis: field.vis.clone(),
        ty: syn::Type::Verbatim(twin_type(item, field)),
        member,
        attrs: FieldAttrs { rename: field.attrs.rename.clone(), ..FieldAttrs::default() },
        docs: field.docs.clone(),
    });
    Fields { style: fields.style, list: list.collect() }
}

/// The type of a field in the twin.
fn twin_type(item: &Item, field: &Field) -> TokenStream {
    if let Some(module) = &field.attrs.with {
        return of_module(module, "Shm");
    }
    let krate = item.krate();
    let params: Vec<_> = item.generics.type_params().map(|param| param.ident.clone()).collect();
    let ordinary = as_twins(item.without_self(&field.ty), &params, &quote!(#krate::__private::Twin));
    let (start, end) = expand::ends(&ordinary);
    let krate = item.krate_at(start);
    let (open, close) = (quote_spanned!(start=> <), quote_spanned!(end=> >::Shm));
    quote!(#open #ordinary as #krate::MirrorType #close)
}

/// `tokens` with each type parameter `T` written as `Twin<T>`.
fn as_twins(tokens: TokenStream, params: &[Ident], twin: &TokenStream) -> TokenStream {
    let mut out = TokenStream::new();
    let mut in_path = false;
    for token in tokens {
        let follows = std::mem::replace(
            &mut in_path,
            matches!(&token, TokenTree::Punct(punct) if punct.as_char() == ':'),
        );
        match token {
            TokenTree::Ident(ident) if !follows && params.contains(&ident) => {
                let twin = twin.clone().into_iter().map(|mut token| {
                    token.set_span(ident.span());
                    token
                });
                let twin: TokenStream = twin.collect();
                out.extend(quote_spanned!(ident.span()=> #twin<#ident>));
            }
            TokenTree::Group(group) => {
                let mut replaced = Group::new(group.delimiter(), as_twins(group.stream(), params, twin));
                replaced.set_span(group.span());
                out.extend([TokenTree::Group(replaced)]);
            }
            other => out.extend([other]),
        }
    }
    out
}

impl Mirror<'_> {
    /// The twin as the user would have written it.
    pub(super) fn declaration(&self) -> TokenStream {
        let Item { vis, name, generics, docs, .. } = &self.twin;
        let doc = match docs.is_empty() {
            true => {
                let text = format!(
                    "The twin of [`{}`] in shared memory. Generated by `#[derive(ShmSafe)]`.",
                    self.item.name
                );
                quote!(#[doc = #text])
            }
            false => quote!(#(#docs)*),
        };
        let derive = &self.item.attrs.derive;
        let derive = (!derive.is_empty()).then(|| quote!(#[derive(#(#derive),*)]));
        let non_exhaustive = self.twin.non_exhaustive.then(|| quote!(#[non_exhaustive]));
        let repr = match &self.twin.repr.int {
            Some(int) => quote!(#[repr(#int)]),
            None => quote!(#[repr(C)]),
        };
        let (params, _, clause) = generics.split_for_impl();
        let allowed = expand::allowed();
        let head = quote!(#doc #derive #repr #non_exhaustive #allowed #vis);
        match &self.twin.shape {
            Shape::Struct(fields) => {
                let body = self.body(fields, true);
                match fields.style {
                    Style::Named => quote!(#head struct #name #params #clause #body),
                    Style::Tuple | Style::Unit => quote!(#head struct #name #params #body #clause;),
                }
            }
            Shape::Enum(variants) => {
                let variants = variants.iter().map(|variant| {
                    let Variant { name, docs, discriminant, .. } = variant;
                    let body = self.body(&variant.fields, false);
                    let discriminant = discriminant.as_ref().map(|value| quote!(= #value));
                    let non_exhaustive = variant.non_exhaustive.then(|| quote!(#[non_exhaustive]));
                    let doc = match docs.is_empty() {
                        true => {
                            let text = format!("The variant `{name}`.");
                            quote!(#[doc = #text])
                        }
                        false => quote!(#(#docs)*),
                    };
                    quote!(#doc #non_exhaustive #name #body #discriminant)
                });
                quote!(#head enum #name #params #clause { #(#variants),* })
            }
            Shape::Union(_) => TokenStream::new(),
        }
    }

    fn body(&self, fields: &Fields, with_vis: bool) -> TokenStream {
        let list = fields.list.iter().map(|Field { vis, member, ty, docs, .. }| {
            let vis = with_vis.then_some(vis);
            let doc = match docs.is_empty() {
                true => {
                    let text = format!("The field `{}`.", member.to_token_stream());
                    quote!(#[doc = #text])
                }
                false => quote!(#(#docs)*),
            };
            match member {
                Member::Named(name) => quote!(#doc #vis #name: #ty),
                Member::Unnamed(_) => quote!(#doc #vis #ty),
            }
        });
        match fields.style {
            Style::Named => quote!({ #(#list),* }),
            Style::Tuple => quote!((#(#list),*)),
            Style::Unit => TokenStream::new(),
        }
    }
}
