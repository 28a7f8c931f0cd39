//! The code written after a mistake: stand-ins for what the derive promises, so that the compiler does not add
//! messages about things that are missing only because of it.

use crate::expand::Code;
use crate::mirror;
use crate::model::{Item, Shape};
use crate::validate;
use proc_macro2::TokenStream;
use quote::quote;
use syn::{GenericParam, Generics, parse_quote};

/// The stand-in for `item`.
pub(crate) fn item(item: &Item) -> TokenStream {
    let has_lifetimes = item.generics.params.iter().any(|param| matches!(param, GenericParam::Lifetime(_)));
    if let Some(name) = &item.attrs.mirror {
        // Its fields may be of any type, so the mistake is not in them.
        let whole = !has_lifetimes && *name != item.name && !item.fields().is_empty();
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
                ) -> Self::Mut<'shm> {
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
    (quote!(#types const _: () = { #inits };), code.view_type())
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
