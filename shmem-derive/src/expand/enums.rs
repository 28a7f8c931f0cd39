//! What only enums need: tags, where the fields of their variants stand, and the functions of the view.
//!
//! The layout of an enum with a fixed `repr` is given by the language (RFC 2195): the tag comes first; with `repr(C)` the
//! variants' fields follow in a union of `repr(C)` structs, else each variant is a `repr(C)` struct that begins with the
//! tag. The places of the fields are computed from that, and size and alignment are compared with the compiler's.

use super::{Code, Row, tag_name};
use heck::ToSnakeCase;
use proc_macro2::{Ident, Literal, Span, TokenStream};
use quote::{ToTokens, format_ident, quote, quote_spanned};
use syn::Visibility;
use syn::ext::IdentExt;

/// The constant with the places of a variant's fields.
pub(super) fn places_name(variant: usize) -> Ident {
    format_ident!("PLACES_{variant}")
}

impl<'i> Code<'i> {
    /// The type of the tag; a C enum's is a C `int`.
    pub(super) fn tag_type(&self) -> TokenStream {
        let core = &self.core;
        match &self.item.repr.int {
            Some(int) => {
                let name = Ident::new(&int.to_string(), Span::call_site());
                quote!(#core::primitive::#name)
            }
            None => quote!(#core::primitive::i32),
        }
    }

    /// Constants, the functions of the view, and those of unit variants.
    pub(super) fn enum_support(&self) -> TokenStream {
        if !self.is_enum() {
            return TokenStream::new();
        }
        let (tags, layout) = (self.tags(), self.enum_layout());
        let view = (!self.item.is_unit_only()).then(|| {
            let (view, units) = (self.enum_view_impls(), self.unit_functions());
            quote!(#view #units)
        });
        quote!(#tags #layout #view)
    }

    /// A constant for each variant's tag.
    fn tags(&self) -> TokenStream {
        let ty = self.tag_type();
        let int = self.item.repr.int.as_ref();
        let of_c = int.is_none();
        // Each is computed from one before it, not always from the last: the compiler follows such chains only so far.
        let longest = if int.is_some_and(|int| int == "i8") { 64 } else { 1 << 14 };
        let mut given = 0;
        let tags = self.item.variants().iter().enumerate().map(|(i, variant)| {
            let name = tag_name(i);
            let value = match &variant.discriminant {
                Some(value) => {
                    given = i;
                    let value = self.item.without_self(value);
                    match of_c {
                        true => {
                            let (at, _) = super::ends(&value);
                            let krate = self.item.krate_at(super::located(at));
                            quote_spanned!(super::located(at)=> #krate::__private::c_int(#value))
                        }
                        false => quote!(#value),
                    }
                }
                None if i == 0 => quote!(0),
                None => {
                    let after = i - given;
                    let step = (1 << after.trailing_zeros()).min(longest);
                    let (before, step) = (tag_name(i - step), Literal::usize_unsuffixed(step));
                    quote!(#before + #step)
                }
            };
            quote!(const #name: #ty = #value;)
        });
        quote!(#(#tags)*)
    }

    /// Where fields stand, and the tag that a value has while its fields change.
    fn enum_layout(&self) -> TokenStream {
        let (core, private, ty) = (&self.core, &self.private, self.tag_type());
        let (params, args, clause) = self.generics.split_for_impl();
        let rows = self.rows();
        let variants = rows.iter().map(|row| {
            let types = self.types_of(row.fields);
            quote!(&[#((#core::mem::size_of::<#types>(), #core::mem::align_of::<#types>())),*])
        });
        let places = rows.iter().filter(|row| !row.is_empty()).map(|row| {
            let (i, n) = (row.variant.map_or(0, |(i, _)| i), row.fields.len());
            let name = places_name(i);
            quote!(const #name: [#core::primitive::usize; #n] = Self::LAYOUT.places::<#n>(#i);)
        });
        let union_after_tag = self.item.repr.c.is_some();
        let vacant = self.vacant_tag(&rows);
        quote! {
            #vacant
            impl #params __ShmParts #args #clause {
                const LAYOUT: #private::EnumLayout = #private::EnumLayout {
                    tag_size: #core::mem::size_of::<#ty>(),
                    union_after_tag: #union_after_tag,
                    variants: &[#(#variants),*],
                };
                #(#places)*
            }
        }
    }

    /// What stands for "nothing": a variant without fields, else a tag that no variant has. Not for an enum without fields,
    /// which is replaced by one store.
    fn vacant_tag(&self, rows: &[Row<'_>]) -> Option<TokenStream> {
        if self.item.is_unit_only() {
            return None;
        }
        let (core, ty) = (&self.core, self.tag_type());
        let value = match rows.iter().find(|row| row.is_empty()) {
            Some(unit) => unit.tag().to_token_stream(),
            None => {
                let tags = rows.iter().map(Row::tag);
                let at = super::located(self.item.name.span());
                let krate = self.item.krate_at(at);
                quote_spanned!(at=> #krate::__private::unused_tag(
                    &[#(#tags as #core::primitive::i128),*],
                    #ty::MIN as #core::primitive::i128,
                    #ty::MAX as #core::primitive::i128,
                ) as #ty)
            }
        };
        Some(quote!(const __SHM_VACANT: #ty = #value;))
    }

    /// Code that takes every variant apart and makes it, and is never run. Values are built and written by the places of their
    /// fields, of which the compiler does not see that they are variants: it would call those never constructed, and
    /// their fields never read. It does not compile if there is a field or variant that the derive has not seen: another
    /// attribute may add one.
    pub(super) fn every_variant(&self) -> TokenStream {
        if !self.is_enum() {
            return TokenStream::new();
        }
        let name = &self.item.name;
        let (patterns, literals): (Vec<_>, Vec<_>) = self
            .rows()
            .into_iter()
            .map(|row| {
                let variant = row.variant.map(|(_, variant)| &variant.name);
                let names: Vec<_> = (0..row.fields.len()).map(|i| format_ident!("__f{i}")).collect();
                let (members, again) = (row.members(), row.members());
                (
                    quote!(#name::#variant { #(#members: #names),* } => { #(let _ = #names;)* }),
                    quote!(let _ = |#(#names),*| -> Self { #name::#variant { #(#again: #names),* } };),
                )
            })
            .unzip();
        let literals = (!self.item.is_unit_only()).then(|| quote!(#(#literals)*));
        quote! {
            let _ = |__this: &Self| match __this { #(#patterns)* };
            #literals
        }
    }

    /// Asks the compiler which variant goes with each tag, and where its fields are and of what type: another attribute may
    /// have changed the discriminants, the types, or a `repr` such that size and alignment stay.
    pub(super) fn variants_checked(&self, this: &TokenStream) -> TokenStream {
        let (core, private, name, ty) = (&self.core, &self.private, &self.item.name, self.tag_type());
        let parts = self.parts_turbofish();
        let variants = self.rows().into_iter().map(|row| {
            let (i, variant) = row.variant.map_or((0, None), |(i, variant)| (i, Some(&variant.name)));
            let (tag, places, members) = (row.tag(), places_name(i), row.members());
            let names: Vec<_> = (0..row.fields.len()).map(|f| format_ident!("__f{f}")).collect();
            let checks = self.types_of(row.fields).into_iter().zip(&names).enumerate().map(|(f, (ty, name))| {
                quote! {
                    // SAFETY: it is a field of that.
                    unsafe { #private::check_place::<_, #ty>(__at, &raw const *#name, #parts::#places[#f]) };
                }
            });
            quote! {{
                let mut __room = #core::mem::MaybeUninit::<#this>::uninit();
                // SAFETY: the room is large enough: size and tag have been compared.
                let __at = unsafe { #private::room_with_tag::<#ty, #this>(&mut __room, #tag) };
                // SAFETY: nothing is read but the tag.
                match unsafe { &*__at } {
                    #name::#variant { #(#members: #names),* } => { #(#checks)* }
                    #[allow(unreachable_patterns)]
                    _ => #private::other_variant(),
                }
            }}
        });
        quote!(#(#variants)*)
    }

    /// Dereferencing, `get` and `set` of the view.
    fn enum_view_impls(&self) -> TokenStream {
        let (krate, core, private, this) = (&self.krate, &self.core, &self.private, &self.this);
        let (view, variant_view) = (self.item.view_name(), self.item.variant_view_name());
        let (params, args, clause) = self.view_generics.split_for_impl();
        let mut lent = self.view_generics.clone();
        lent.params[0] = syn::parse_quote!('_);
        let (_, lent_args, _) = lent.split_for_impl();
        let variants = self.rows().into_iter().map(|row| {
            let name = row.variant.map(|(_, variant)| &variant.name);
            let (tag, views) = (row.tag(), self.views(row, quote!(#variant_view::#name)));
            quote!(#tag => #views,)
        });
        let tag = self.tag_type();
        let mut movable = self.view_generics.clone();
        movable.make_where_clause().predicates.push(self.fields_are_unpin());
        let (_, _, where_movable) = movable.split_for_impl();
        quote! {
            impl #params #view #args #clause {
                /// The views of the current variant's fields.
                #[inline]
                pub fn get(&mut self) -> #variant_view #lent_args {
                    let (__at, __access) = self.__place.parts();
                    let __at = __at.as_ptr();
                    // SAFETY: a valid value, exclusively this view's; each field stands where its variant has it.
                    unsafe {
                        match #private::tag::<#tag, _>(__at) {
                            #(#variants)*
                            _ => #private::no_variant(),
                        }
                    }
                }

                /// Puts what `init` builds there, and destroys the old value.
                ///
                /// # Errors
                /// The initialiser's, or `LockHeld` if a lock in the old value is held; the old value stays.
                ///
                /// # Crash safety
                /// A process killed inside leaves the old value, the new one, the first variant without fields, or (if there
                /// is none) a damaged value, which is found before anybody gets a reference to it.
                pub fn set(
                    &mut self,
                    init: impl #krate::Init<#this>,
                ) -> #core::result::Result<(), #krate::Error> {
                    self.__place.set(init)
                }
            }
            #[automatically_derived]
            impl #params #core::ops::Deref for #view #args #clause {
                type Target = #this;
                #[inline]
                fn deref(&self) -> &#this {
                    self.__place.value()
                }
            }
            #[automatically_derived]
            impl #params #core::ops::DerefMut for #view #args #where_movable {
                #[inline]
                fn deref_mut(&mut self) -> &mut #this {
                    // SAFETY: the value is movable: all its fields are.
                    unsafe { self.__place.value_mut() }
                }
            }
        }
    }

    /// A function for each variant without fields that gives its initialiser.
    pub(crate) fn unit_functions(&self) -> TokenStream {
        let (this, vis) = (&self.this, &self.item.vis);
        let (params, _, clause) = self.generics.split_for_impl();
        let functions = self.item.variants().iter().filter(|v| v.fields.list.is_empty()).map(|variant| {
            let init = self.item.variant_init_name(variant);
            let snake = variant.name.unraw().to_string().to_snake_case();
            let name = format_ident!("init_{snake}", span = super::located(variant.name.span()));
            let doc = format!("An initialiser of [`{}::{}`].", self.item.name, variant.name);
            // Whoever may not write the literal of a variant may not have it built either.
            let vis = match vis {
                Visibility::Public(_) if variant.non_exhaustive => quote!(pub(crate)),
                _ => vis.to_token_stream(),
            };
            let value = match variant.fields.style {
                crate::model::Style::Named => quote!(#init {}),
                crate::model::Style::Tuple => quote!(#init()),
                crate::model::Style::Unit => quote!(#init),
            };
            quote! {
                #[doc = #doc]
                #[inline]
                #[allow(dead_code)]
                #vis const fn #name() -> #init { #value }
            }
        });
        quote!(impl #params #this #clause { #(#functions)* })
    }
}
