//! The twin of an ordinary type: its item, from which `expand` makes everything that it makes of others, and the
//! conversions between the two.
//!
//! A field's type in the twin is what the trait `MirrorType` says of its ordinary type. The twin of a type with
//! parameters has the same ones, which stand for the twins of the ordinary type's: inside it, the parameter `T` is written
//! as `Twin<T>`, "an ordinary type whose twin is `T`".

use crate::expand;
use crate::model::{Attrs, Field, FieldAttrs, Fields, Item, Repr, Shape, Style, Variant, VariantAttrs};
use proc_macro2::{Group, Ident, Span, TokenStream, TokenTree};
use quote::{ToTokens, format_ident, quote, quote_spanned};
use syn::punctuated::Punctuated;
use syn::spanned::Spanned;
use syn::{Expr, GenericParam, Generics, Index, Member, Path, TypeParam, parse_quote};

/// The code for an ordinary `item` that is to have a twin called `name`.
pub(crate) fn item(item: &Item, name: &Ident) -> TokenStream {
    let mirror = Mirror { item, twin: twin(item, name), krate: item.krate() };
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

/// The twin's item.
fn twin(item: &Item, name: &Ident) -> Item {
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

/// The fields that are stored, and what they are called in the twin.
fn stored(fields: &Fields) -> impl Iterator<Item = (&Field, Member)> {
    let stored = fields.list.iter().filter(|field| field.attrs.skip.is_none());
    stored.enumerate().map(|(i, field)| match &field.member {
        Member::Named(_) => (field, field.member.clone()),
        Member::Unnamed(_) => (field, Member::Unnamed(Index::from(i))),
    })
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

/// `head` and `tokens`, with identifiers renamed.
fn rename(head: TokenStream, tokens: TokenStream, renames: &[(Ident, Ident)]) -> TokenStream {
    let renamed = tokens.into_iter().map(|token| match token {
        TokenTree::Ident(ident) => match renames.iter().find(|(from, _)| *from == ident) {
            Some((_, to)) => TokenTree::Ident(to.clone()),
            None => TokenTree::Ident(ident),
        },
        TokenTree::Group(group) => {
            let inner = rename(TokenStream::new(), group.stream(), renames);
            TokenTree::Group(Group::new(group.delimiter(), inner))
        }
        other => other,
    });
    head.into_iter().chain(renamed).collect()
}

impl Mirror<'_> {
    /// The twin as the user would have written it.
    fn declaration(&self) -> TokenStream {
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

    /// The ordinary type's generics, with every type parameter bound by this trait of the library.
    fn ordinary(&self, bound: &TokenStream) -> Generics {
        let (mut generics, krate) = (expand::own_generics(self.item), &self.krate);
        expand::bind_params(&mut generics, &quote!(#krate::#bound));
        generics
    }

    /// The twin, with the twins of the ordinary type's arguments.
    fn twin_of_ordinary(&self) -> TokenStream {
        let (name, krate) = (&self.twin.name, &self.krate);
        let args: Vec<_> = self
            .item
            .generics
            .params
            .iter()
            .map(|param| match param {
                GenericParam::Type(param) => {
                    let ident = &param.ident;
                    quote!(<#ident as #krate::MirrorType>::Shm)
                }
                GenericParam::Const(param) => param.ident.to_token_stream(),
                GenericParam::Lifetime(param) => param.lifetime.to_token_stream(),
            })
            .collect();
        if args.is_empty() { name.to_token_stream() } else { quote!(#name<#(#args),*>) }
    }

    /// `MirrorType`, `Mirror`, the initialisers, and `to_native` of the twin.
    fn conversions(&self) -> TokenStream {
        let krate = &self.krate;
        let core = quote!(#krate::__private::core);
        let (_, args, _) = self.item.generics.split_for_impl();
        let ordinary_name = &self.item.name;
        let (ordinary, shm) = (quote!(#ordinary_name #args), self.twin_of_ordinary());
        let types = self.ordinary(&quote!(MirrorType));
        let (type_params, _, type_clause) = types.split_for_impl();
        let values = self.ordinary(&quote!(Mirror));
        let (params, _, clause) = values.split_for_impl();
        let mut borrowed = values.clone();
        borrowed.params.insert(0, parse_quote!('shm));
        let (borrowed_params, _, _) = borrowed.split_for_impl();
        let (to_shm, to_native) = (self.to_shm(), self.to_native());
        let inherent = self.inherent();
        let init = |this: TokenStream, params: TokenStream, body: TokenStream| {
            quote! {
                // SAFETY: 1 to 3: by the twin's own initialiser.
                #[automatically_derived]
                unsafe impl #params #krate::Init<#shm> for #this #clause {
                    unsafe fn init(
                        self,
                        __slot: *mut #shm,
                        __access: #krate::access::Access<'_>,
                    ) -> #core::result::Result<(), #krate::Error> {
                        #body
                    }
                }
            }
        };
        let by_reference = init(quote!(&'shm #ordinary), quote!(#borrowed_params), to_shm);
        let by_value = init(
            ordinary.clone(),
            quote!(#params),
            quote! {
                // SAFETY: by the caller.
                unsafe { <&Self as #krate::Init<#shm>>::init(&self, __slot, __access) }
            },
        );
        quote! {
            #[automatically_derived]
            impl #type_params #krate::MirrorType for #ordinary #type_clause {
                type Shm = #shm;
            }
            #by_reference
            #by_value
            #[automatically_derived]
            impl #params #krate::Mirror for #ordinary #clause {
                type Init<'shm> = &'shm Self where Self: 'shm;
                #[inline]
                fn mirror(&self) -> &Self {
                    self
                }
                fn to_native(__shm: &#shm) -> Self {
                    #to_native
                }
            }
            #inherent
        }
    }

    /// `ShmOrder::to_native`. A twin's argument may be that of several ordinary types, so which is to be made is the
    /// caller's to say, or the compiler's to infer.
    fn inherent(&self) -> TokenStream {
        let (krate, name, vis) = (&self.krate, &self.item.name, &self.item.vis);
        let twin_name = &self.twin.name;
        let (params, args, clause) = self.twin.generics.split_for_impl();
        // The ordinary type's parameters, under names that are not the twin's.
        let own = expand::own_generics(self.item);
        let renames: Vec<_> = own
            .type_params()
            .map(|param| (param.ident.clone(), format_ident!("__N{}", param.ident)))
            .collect();
        let ordinary = rename(quote!(#name), own.split_for_impl().1.to_token_stream(), &renames);
        let natives = own.type_params().map(|param| {
            let (shared, bounds) = (&param.ident, &param.bounds);
            let (native, bounds) = (rename(quote!(), shared.to_token_stream(), &renames), bounds.iter());
            let bounds = bounds.map(|bound| rename(quote!(), bound.to_token_stream(), &renames));
            quote!(#native: #krate::MirrorType<Shm = #shared> #(+ #bounds)*)
        });
        let natives: Vec<_> = natives.collect();
        let predicates = own.where_clause.iter().flat_map(|clause| &clause.predicates);
        let predicates = predicates.map(|predicate| rename(quote!(), predicate.to_token_stream(), &renames));
        let convertible = (!natives.is_empty()).then(|| quote!(#ordinary: #krate::Mirror<Shm = Self>,));
        quote! {
            impl #params #twin_name #args #clause {
                /// The ordinary value that this is the twin of.
                #[allow(dead_code)]
                #vis fn to_native<#(#natives),*>(&self) -> #ordinary
                where
                    #convertible
                    #(#predicates,)*
                {
                    <#ordinary as #krate::Mirror>::to_native(self)
                }
            }
        }
    }

    /// Builds the twin of `self`, a reference.
    fn to_shm(&self) -> TokenStream {
        let (krate, shm) = (&self.krate, self.twin_of_ordinary());
        let built = |init: Ident, fields: &Fields, value: &dyn Fn(usize, &Field) -> TokenStream| {
            let inits = fields.list.iter().enumerate().filter(|(_, field)| field.attrs.skip.is_none());
            let inits = inits.map(|(i, field)| {
                let (ty, value) = (self.item.without_self(&field.ty), value(i, field));
                match &field.attrs.with {
                    // As a safe function: this stands in an unsafe one.
                    Some(module) => {
                        let (at, init) = (place_of(module), of_module(module, "init"));
                        let call = call(at, quote_spanned!(at=> __init), value);
                        quote_spanned!(at=> { let __init: fn(_) -> _ = #init; #call })
                    }
                    None => {
                        let (start, end) = expand::ends(&ty);
                        let (krate, open) = (self.item.krate_at(start), quote_spanned!(start=> <));
                        let close = quote_spanned!(end=> >::mirror);
                        quote!(#open #ty as #krate::Mirror #close(#value))
                    }
                }
            });
            let members = stored(fields).map(|(_, member)| member);
            quote! {
                // SAFETY: by the caller.
                unsafe { #krate::Init::<#shm>::init(#init { #(#members: #inits),* }, __slot, __access) }
            }
        };
        match &self.item.shape {
            Shape::Struct(fields) => built(self.twin.init_name(), fields, &|_, field| {
                let member = &field.member;
                quote!(&self.#member)
            }),
            Shape::Enum(variants) => {
                let name = &self.item.name;
                let arms = variants.iter().map(|variant| {
                    let (ident, members) = (&variant.name, variant.fields.list.iter().map(|f| &f.member));
                    let names =
                        variant.fields.list.iter().enumerate().map(|(i, field)| match field.attrs.skip {
                            Some(_) => quote!(_),
                            None => format_ident!("__f{i}").to_token_stream(),
                        });
                    let body = if self.twin.is_unit_only() {
                        let twin_name = &self.twin.name;
                        quote! {
                            // SAFETY: by the caller.
                            unsafe { #krate::Init::init(#twin_name::#ident {}, __slot, __access) }
                        }
                    } else {
                        built(self.twin.variant_init_name(variant), &variant.fields, &|i, _| {
                            format_ident!("__f{i}").to_token_stream()
                        })
                    };
                    quote!(#name::#ident { #(#members: #names),* } => #body)
                });
                quote!(match self { #(#arms)* })
            }
            Shape::Union(_) => TokenStream::new(),
        }
    }

    /// Makes the ordinary value of `__shm`.
    fn to_native(&self) -> TokenStream {
        let made = |fields: &Fields| {
            let mut names = (0..).map(|i| format_ident!("__f{i}"));
            let values = fields.list.iter().map(|field| {
                if field.attrs.skip.is_some() {
                    let at = Span::call_site().located_at(field.ty.span());
                    let krate = self.item.krate_at(at);
                    return quote_spanned!(at=> #krate::__private::core::default::Default::default());
                }
                let (name, ty) = (names.next(), self.item.without_self(&field.ty));
                match &field.attrs.with {
                    Some(module) => {
                        call(place_of(module), of_module(module, "to_native"), name.to_token_stream())
                    }
                    None => {
                        let (start, end) = expand::ends(&ty);
                        let (krate, open) = (self.item.krate_at(start), quote_spanned!(start=> <));
                        let close = quote_spanned!(end=> >::to_native);
                        quote!(#open #ty as #krate::Mirror #close(#name))
                    }
                }
            });
            let members = fields.list.iter().map(|field| &field.member);
            quote!({ #(#members: #values),* })
        };
        let taken = |fields: &Fields| {
            let members = stored(fields).map(|(_, member)| member);
            let names = (0..).map(|i| format_ident!("__f{i}"));
            quote!({ #(#members: #names),* })
        };
        let (name, twin) = (&self.item.name, &self.twin.name);
        match &self.item.shape {
            Shape::Struct(fields) => {
                let (taken, made) = (taken(fields), made(fields));
                quote! {
                    let #twin #taken = __shm;
                    #name #made
                }
            }
            Shape::Enum(variants) => {
                let arms = variants.iter().map(|variant| {
                    let (ident, taken, made) = (&variant.name, taken(&variant.fields), made(&variant.fields));
                    quote!(#twin::#ident #taken => #name::#ident #made,)
                });
                quote!(match __shm { #(#arms)* })
            }
            Shape::Union(_) => TokenStream::new(),
        }
    }
}
