//! The code written after a mistake: stand-ins for what the derive promises, so that the compiler does not add
//! messages about things that are missing only because of it.

use crate::expand::Code;
use crate::parse::{Item, Shape};
use crate::validate;
use proc_macro2::TokenStream;
use quote::quote;
use syn::{GenericParam, Generics, parse_quote};

/// The stand-in for `item`.
pub(crate) fn item(item: &Item) -> TokenStream {
    let krate = item.krate();
    let core = quote!(#krate::__private::core);
    let name = &item.name;
    let mut generics = item.generics.clone();
    // For whatever is not `Send` or has lifetimes: a bound that the compiler does not look at until it is used.
    generics.params.insert(0, parse_quote!('shm_fallback));
    let (_, args, _) = item.generics.split_for_impl();
    let this = quote!(#name #args);
    generics
        .make_where_clause()
        .predicates
        .push(parse_quote!(#this: #krate::__private::Fallback<'shm_fallback>));
    for param in item.generics.type_params() {
        let ident = &param.ident;
        generics.make_where_clause().predicates.push(parse_quote!(#ident: #krate::ShmSafe));
    }
    let (params, _, clause) = generics.split_for_impl();
    if item.fields().iter().any(|field| validate::is_unsized(&field.ty)) {
        return struct_types(item).0;
    }
    let send = item.fields().iter().any(|field| validate::is_rejected(&field.ty)).then(|| {
        let (params, _, clause) = item.generics.split_for_impl();
        quote!(unsafe impl #params #core::marker::Send for #this #clause {})
    });
    let has_lifetimes = item.generics.params.iter().any(|param| matches!(param, GenericParam::Lifetime(_)));
    let (parts, view) = match item.shape {
        Shape::Struct(..) if !has_lifetimes => struct_parts(item),
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
/// type: so it may be one with lifetimes.
fn accept_anything(generics: &mut Generics, this: &TokenStream, krate: &TokenStream) {
    generics.params.insert(0, parse_quote!('shm_fallback));
    let bound = parse_quote!(#this: #krate::__private::Fallback<'shm_fallback>);
    generics.make_where_clause().predicates.push(bound);
}

/// The view and the initialiser of a struct, and the name of the view with its arguments.
fn struct_parts(item: &Item) -> (TokenStream, TokenStream) {
    let (types, mut code) = struct_types(item);
    accept_anything(&mut code.generics, &code.this.clone(), &item.krate());
    let init_impl = code.init_impl_with(Vec::new(), quote!(loop {}));
    let view_name = item.view_name();
    let mut generics = item.generics.clone();
    generics.params.insert(0, parse_quote!('shm));
    let (_, args, _) = generics.split_for_impl();
    (quote!(#types const _: () = { #init_impl };), quote!(#view_name #args))
}

/// The types of the view and the initialiser. Fields in error have references for views.
fn struct_types(item: &Item) -> (TokenStream, Code<'_>) {
    let krate = item.krate();
    let code = Code::new(item);
    let views = item.fields().iter().map(|field| {
        let ty = item.without_self(&field.ty);
        match validate::is_rejected(&field.ty) {
            true => quote!(&'shm mut #ty),
            false => quote!(<#ty as #krate::ShmSafe>::Mut<'shm>),
        }
    });
    let (view, init) = (code.view_type_of(views.collect()), code.init_type());
    (quote!(#view #init), code)
}
