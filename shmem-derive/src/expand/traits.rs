//! The traits beside `ShmSafe`: `Unpin`, `Drop` or the ban on it, `ShmHash`, `ShmDefault`.

use super::{Code, Row, bind_params, own_generics};
use crate::model::Style;
use proc_macro2::TokenStream;
use quote::{format_ident, quote, quote_spanned};
use syn::{WherePredicate, parse_quote};

impl<'i> Code<'i> {
    /// `Unpin` if all fields are. Written out, so that no other implementation can be (pin-project's way).
    pub(super) fn unpin(&self) -> TokenStream {
        let (core, this) = (&self.core, &self.this);
        let mut generics = own_generics(self.item);
        generics.params.insert(0, parse_quote!('shm));
        generics.make_where_clause().predicates.push(self.fields_are_unpin());
        let (params, _, clause) = generics.split_for_impl();
        quote! {
            #[automatically_derived]
            impl #params #core::marker::Unpin for #this #clause {}
        }
    }

    /// The bound that makes the type movable. It may be plainly false: the compiler accepts that for the lifetime's sake.
    pub(super) fn fields_are_unpin(&self) -> WherePredicate {
        let (core, private, types) = (&self.core, &self.private, self.types());
        parse_quote!(#private::Fields<'shm, (#(#types,)*)>: #core::marker::Unpin)
    }

    /// `Drop` by the view, where asked for; else a ban on it.
    pub(super) fn drop(&self) -> TokenStream {
        let (krate, core, private, this) = (&self.krate, &self.core, &self.private, &self.this);
        if let Some(asked) = self.item.attrs.at.get("drop") {
            let (params, _, clause) = self.generics.split_for_impl();
            let at = super::located(*asked);
            let krate_at = self.item.krate_at(at);
            let destroy = quote_spanned!(at=> <Self as #krate_at::ShmDrop>::drop);
            return quote! {
                #[automatically_derived]
                impl #params #core::ops::Drop for #this #clause {
                    fn drop(&mut self) {
                        // SAFETY: a value is dropped once, by whoever has it for himself, while what it stands in is
                        // there; its fields are dropped after this. The view cannot outlive the call: its lifetime
                        // is any.
                        unsafe {
                            let __at = #core::ptr::NonNull::new_unchecked(&raw mut *self);
                            let __access = #private::access_of(__at.as_ptr());
                            #destroy(<Self as #krate::ShmSafe>::view(__at, __access))
                        }
                    }
                }
            };
        }
        let generics = own_generics(self.item);
        let (params, _, clause) = generics.split_for_impl();
        quote! {
            #[allow(dead_code, non_camel_case_types)]
            trait UseShmDropInsteadOfDrop {}
            #[allow(drop_bounds)]
            impl<__T: #core::ops::Drop> UseShmDropInsteadOfDrop for __T {}
            #[automatically_derived]
            impl #params UseShmDropInsteadOfDrop for #this #clause {}
        }
    }

    /// `ShmHash`, where asked for: an enum's tag, then each field.
    pub(super) fn hash(&self) -> TokenStream {
        if !self.item.attrs.has("hash") {
            return TokenStream::new();
        }
        let (krate, core, this, name) = (&self.krate, &self.core, &self.this, &self.item.name);
        let mut generics = own_generics(self.item);
        bind_params(&mut generics, &quote!(#krate::ShmHash));
        let (params, _, clause) = generics.split_for_impl();
        let rows = self.rows().into_iter().map(|row| {
            let (types, members) = (self.types_of(row.fields), row.members());
            let names: Vec<_> = (0..types.len()).map(|i| format_ident!("__f{i}")).collect();
            let variant = row.variant.map(|(_, variant)| &variant.name).map(|variant| quote!(::#variant));
            let tag = row.variant.map(|_| {
                let tag = row.tag();
                quote!(__hasher.write_u64(#tag as #core::primitive::u64);)
            });
            quote! {
                #name #variant { #(#members: #names),* } => {
                    #tag
                    #(<#types as #krate::ShmHash>::shm_hash(#names, __hasher);)*
                }
            }
        });
        quote! {
            #[automatically_derived]
            impl #params #krate::ShmHash for #this #clause {
                #[inline]
                fn shm_hash(&self, __hasher: &mut #krate::ShmHasher) {
                    match self { #(#rows)* }
                }
            }
        }
    }

    /// `ShmDefault`, where asked for: each field's, of a struct or of the marked variant.
    pub(super) fn default(&self) -> TokenStream {
        let marked = |row: &Row<'i>| match row.variant {
            Some((_, variant)) => variant.attrs.default.is_some(),
            None => self.item.attrs.has("default"),
        };
        let Some(row) = self.rows().into_iter().find(marked) else { return TokenStream::new() };
        let (krate, this) = (&self.krate, &self.this);
        let mut generics = self.generics.clone();
        bind_params(&mut generics, &quote!(#krate::ShmDefault));
        let (params, _, clause) = generics.split_for_impl();
        let (types, members) = (self.types_of(row.fields), row.members());
        let value = match (self.item.is_unit_only(), row.variant, row.style) {
            (true, Some((_, variant)), _) => {
                let (name, variant) = (&self.item.name, &variant.name);
                quote!(#name::#variant {})
            }
            (_, _, Style::Unit) => {
                let init = self.init_name(row);
                quote!(#init)
            }
            _ => {
                let init = self.init_name(row);
                quote!(#init { #(#members: <#types as #krate::ShmDefault>::shm_default()),* })
            }
        };
        quote! {
            #[automatically_derived]
            impl #params #krate::ShmDefault for #this #clause {
                #[inline]
                fn shm_default() -> impl #krate::Init<Self> {
                    #value
                }
            }
        }
    }

    /// A shared type stands for itself in the twins of ordinary types; if it is movable and `Clone`, it is converted by
    /// copying. (The bound may be plainly false, which the compiler accepts for a lifetime's sake.)
    pub(super) fn own_twin(&self) -> TokenStream {
        if self.item.is_twin {
            return TokenStream::new();
        }
        let (krate, private, this) = (&self.krate, &self.private, &self.this);
        let (params, _, clause) = self.generics.split_for_impl();
        let mut copied = self.generics.clone();
        let bound = parse_quote!(for<'shm> #this: #private::OwnTwin<'shm>);
        copied.make_where_clause().predicates.push(bound);
        let (_, _, where_copied) = copied.split_for_impl();
        quote! {
            #[automatically_derived]
            impl #params #krate::MirrorType for #this #clause {
                type Shm = Self;
            }
            #[automatically_derived]
            impl #params #krate::Mirror for #this #where_copied {
                type Init<'shm> = Self where Self: 'shm;
                #[inline]
                fn mirror(&self) -> Self {
                    <Self as #private::core::clone::Clone>::clone(self)
                }
                #[inline]
                fn to_native(__shm: &Self) -> Self {
                    <Self as #private::core::clone::Clone>::clone(__shm)
                }
            }
        }
    }
}
