//! The conversions between an ordinary type and its twin.

use super::{Mirror, call, of_module, place_of, stored};
use crate::expand;
use crate::model::{Field, Fields, Shape};
use proc_macro2::{Group, Ident, Span, TokenStream, TokenTree};
use quote::{ToTokens, format_ident, quote, quote_spanned};
use syn::spanned::Spanned;
use syn::{GenericParam, Generics, parse_quote};

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
    pub(super) fn conversions(&self) -> TokenStream {
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
