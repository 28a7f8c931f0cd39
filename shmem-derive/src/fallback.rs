//! The code written after a mistake: stand-ins for what the derive promises, so that the compiler does not add
//! messages about things that are missing only because of it.

use crate::expand::{self, Code};
use crate::mirror;
use crate::model::{Item, Shape};
use crate::validate;
use proc_macro2::TokenStream;
use quote::quote;
use syn::{GenericParam, Generics, parse_quote};

/// The stand-in for `item`.
pub(crate) fn item(item: &Item) -> TokenStream {
    let has_lifetimes = item.generics.params.iter().any(|param| matches!(param, GenericParam::Lifetime(_)));
    if item.attrs.has("mirror") {
        let Some(name) = &item.attrs.mirror else { return TokenStream::new() };
        let in_fields = item.fields().into_iter().any(|field| validate::has_no_twin(&field.ty));
        let is_enum_without_variants = matches!(&item.shape, Shape::Enum(variants) if variants.is_empty());
        let whole = !has_lifetimes
            && !in_fields
            && item.repr.packed.is_none()
            && *name != item.name
            && !is_enum_without_variants
            && !matches!(item.shape, Shape::Union(_));
        return if whole { mirror::item(item, name) } else { TokenStream::new() };
    }
    let krate = item.krate();
    let core = quote!(#krate::__private::core);
    let code = Code::new(item);
    let this = &code.this;
    if item.fields().into_iter().any(|field| validate::is_unsized(&field.ty)) {
        return types(item, &code);
    }
    let mut generics = code.generics.clone();
    accept_anything(&mut generics, this, &krate);
    let (params, _, clause) = generics.split_for_impl();
    let send = item.fields().into_iter().any(|field| validate::is_rejected(&field.ty)).then(|| {
        let (params, _, clause) = item.generics.split_for_impl();
        quote!(unsafe impl #params #core::marker::Send for #this #clause {})
    });
    let (parts, view) = match item.shape {
        Shape::Struct(..) | Shape::Enum(..) if !has_lifetimes => parts(item),
        _ => (TokenStream::new(), quote!(&'shm mut Self)),
    };
    quote! {
        #parts
        const _: () = {
            #send
            #[automatically_derived]
            unsafe impl #params #krate::ShmSafe for #this #clause {
                const PLAIN: #core::primitive::bool = true;
                const ANY_BITS: #core::primitive::bool = true;
                type Parts = ();
                type Mut<'shm> = #view;
                unsafe fn view<'shm>(
                    _: #core::ptr::NonNull<Self>,
                    _: #krate::access::Access<'shm>,
                ) -> <Self as #krate::ShmSafe>::Mut<'shm> {
                    loop {}
                }
                unsafe fn relocate(_: *mut Self, _: *mut Self) {}
                fn type_info() -> &'static #krate::TypeInfo {
                    loop {}
                }
                unsafe fn visit(_: *const Self, _: &mut #krate::Visitor<'_>) {}
            }
        };
    }
}

/// Adds a bound that the compiler does not look at until the code is used, and that implies what `ShmSafe` asks of a
/// type: so it may be one with lifetimes, or not `Send`.
fn accept_anything(generics: &mut Generics, this: &TokenStream, krate: &TokenStream) {
    generics.params.insert(0, parse_quote!('shm_fallback));
    let bound = parse_quote!(#this: #krate::__private::Fallback<'shm_fallback>);
    generics.make_where_clause().predicates.push(bound);
}

/// The views and the initialisers, and the type of the view.
fn parts(item: &Item) -> (TokenStream, TokenStream) {
    let mut code = Code::new(item);
    let types = types(item, &code);
    accept_anything(&mut code.generics, &code.this.clone(), &item.krate());
    let inits: TokenStream = match item.is_unit_only() {
        true => TokenStream::new(),
        false => {
            code.rows().into_iter().map(|row| code.init_impl_with(row, Vec::new(), quote!(loop {}))).collect()
        }
    };
    let view = if item.is_unit_only() { TokenStream::new() } else { enum_view(item, &code) };
    (quote!(#types const _: () = { #inits #view };), code.view_type())
}

/// What the view of an enum can do, and the functions of its unit variants.
fn enum_view(item: &Item, code: &Code<'_>) -> TokenStream {
    if item.variants().is_empty() {
        return TokenStream::new();
    }
    let (krate, this) = (item.krate(), &code.this);
    let core = quote!(#krate::__private::core);
    let (view, variant_view, units) = (item.view_name(), item.variant_view_name(), code.unit_functions());
    let mut generics = expand::own_generics(item);
    expand::bind_params(&mut generics, &quote!(#krate::ShmSafe));
    generics.params.insert(0, parse_quote!('shm));
    let (params, args, clause) = generics.split_for_impl();
    let mut lent = generics.clone();
    lent.params[0] = parse_quote!('_);
    let (_, lent_args, _) = lent.split_for_impl();
    quote! {
        #[allow(dead_code)]
        impl #params #view #args #clause {
            pub fn get(&mut self) -> #variant_view #lent_args {
                loop {}
            }
            pub fn set<__I>(&mut self, _: __I) -> #core::result::Result<(), #krate::Error> {
                loop {}
            }
        }
        impl #params #core::ops::Deref for #view #args #clause {
            type Target = #this;
            fn deref(&self) -> &#this {
                loop {}
            }
        }
        impl #params #core::ops::DerefMut for #view #args #clause {
            fn deref_mut(&mut self) -> &mut #this {
                loop {}
            }
        }
        #units
    }
}

/// The types of the views and the initialisers. Fields in error have references for views.
fn types(item: &Item, code: &Code<'_>) -> TokenStream {
    let krate = item.krate();
    let views = code.view_types_of(&|field| {
        let ty = item.without_self(&field.ty);
        match validate::is_rejected(&field.ty) {
            true => quote!(&'shm mut #ty),
            false => quote!(<#ty as #krate::ShmSafe>::Mut<'shm>),
        }
    });
    let inits = code.init_types();
    quote!(#views #inits)
}
