//! `ShmSafe` itself: each member does for the fields what it is to do for the whole.

use super::{Code, allowed, ends};
use proc_macro2::TokenStream;
use quote::{quote, quote_spanned};
use syn::{WherePredicate, parse_quote};

impl<'i> Code<'i> {
    /// What `Parts` is: a type that anybody may name, though its fields' types may be private. What makes it `Frozen` is
    /// written out, so that no other implementation can be.
    pub(super) fn parts(&self) -> TokenStream {
        let core = &self.core;
        let generics = &self.generics;
        let (_, args, clause) = generics.split_for_impl();
        let reach = self.types().into_iter().map(|ty| {
            let (start, end) = ends(&ty);
            let (krate, open) = (self.item.krate_at(start), quote_spanned!(start=> ::Reach<));
            let close = quote_spanned!(end=> >);
            quote!(#krate #open #ty #close)
        });
        let mut frozen = generics.clone();
        frozen.params.insert(0, parse_quote!('shm));
        let bounds = self.types().into_iter().map(|ty| -> WherePredicate {
            let (start, end) = ends(&ty);
            // The bound from the start of the type to its end, so that the compiler points there, and only once.
            let krate = self.item.krate_at(start);
            let open = quote_spanned!(start=> #krate::__private::Fields<'shm, #krate::Reach<);
            let (close, panic) =
                (quote_spanned!(end=> >>), quote_spanned!(start=> #krate::__private::core::panic));
            let bound = quote_spanned!(end=> ::RefUnwindSafe);
            parse_quote!(#open #ty #close: #panic #bound)
        });
        frozen.make_where_clause().predicates.extend(bounds);
        let (frozen_params, _, where_frozen) = frozen.split_for_impl();
        let allowed = allowed();
        quote! {
            #allowed
            pub struct __ShmParts #generics (#core::marker::PhantomData<(#(#reach,)*)>) #clause;
            #[automatically_derived]
            impl #frozen_params #core::panic::RefUnwindSafe for __ShmParts #args #where_frozen {}
        }
    }

    pub(super) fn shm_safe(&self) -> TokenStream {
        let (krate, core, this) = (&self.krate, &self.core, &self.this);
        let (params, args, clause) = self.generics.split_for_impl();
        let fields = self.fields();
        let [plain, any_bits, has_locks] =
            ["PLAIN", "ANY_BITS", "HAS_LOCKS"].map(|member| self.each(fields.iter().copied(), member));
        let (view_type, view) = (self.view_type(), self.view());
        let [relocate, visit, lock_held] = [self.relocate(), self.visit(), self.lock_held()];
        let boolean = quote!(#core::primitive::bool);
        let all_bits = !self.is_enum() && !self.item.attrs.has("drop") && self.item.attrs.validate.is_none();
        let (every_variant, type_info) = (self.every_variant(), self.type_info());
        quote! {
            // SAFETY: every field is `ShmSafe`, which the members below need, and the layout is checked; each member
            // does for the fields what it is to do for the whole.
            #[automatically_derived]
            unsafe impl #params #krate::ShmSafe for #this #clause {
                type Parts = __ShmParts #args;
                type Mut<'shm> = #view_type;
                const PLAIN: #boolean = true #(&& #plain)*;
                const ANY_BITS: #boolean = #all_bits #(&& #any_bits)*;
                const HAS_LOCKS: #boolean = false #(|| #has_locks)*;

                #[inline]
                unsafe fn view<'shm>(
                    __at: #core::ptr::NonNull<Self>,
                    __access: #krate::access::Access<'shm>,
                ) -> <Self as #krate::ShmSafe>::Mut<'shm> {
                    #view
                }

                #[inline]
                unsafe fn relocate(__from: *mut Self, __to: *mut Self) {
                    if <Self as #krate::ShmSafe>::PLAIN {
                        // SAFETY: both are valid and disjoint; a plain value is its bytes.
                        return unsafe { #core::ptr::copy_nonoverlapping(__from, __to, 1) };
                    }
                    #relocate
                }

                fn type_info() -> &'static #krate::TypeInfo {
                    #every_variant
                    #type_info
                }

                #[inline]
                unsafe fn visit(__this: *const Self, __visitor: &mut #krate::Visitor<'_>) {
                    #visit
                }

                #[inline]
                unsafe fn lock_held(__this: *const Self) -> #boolean {
                    #lock_held
                }
            }
        }
    }

    /// Field by field. An enum is vacant meanwhile, so that no tag shows fields that are not there.
    fn relocate(&self) -> TokenStream {
        if self.item.is_unit_only() {
            return TokenStream::new();
        }
        let private = &self.private;
        let fields = self.by_tag(
            "__from",
            |row| {
                let relocate = self.each(row.fields, "relocate");
                let (from, to) = (self.places(row, "__from", true), self.places(row, "__to", true));
                quote! {
                    // SAFETY: as the caller says, for each field.
                    #(unsafe { #relocate(#from, #to) })*
                }
            },
            quote!({}),
            // Nothing is there that could be moved.
            quote!({}),
        );
        if !self.is_enum() {
            return fields;
        }
        let tag = self.tag_type();
        quote! {
            // SAFETY: `to` is valid for writes, by the caller.
            unsafe { #private::vacate::<#tag, _>(__to, __SHM_VACANT) };
            #fields
            // SAFETY: both by the caller; the fields that go with the tag are there.
            unsafe { #private::set_tag::<#tag, _>(__to, #private::tag::<#tag, _>(__from)) }
        }
    }

    /// Each field; and, once all that is reached was found sound, what `validate` says. It is noted before the fields' own,
    /// which are to be asked first.
    fn visit(&self) -> TokenStream {
        let fields = self.by_tag(
            "__this",
            |row| {
                let (visit, places) = (self.each(row.fields, "visit"), self.places(row, "__this", false));
                quote! {
                    // SAFETY: as the caller says, for each field.
                    #(unsafe { #visit(#places, __visitor) })*
                }
            },
            quote!({}),
            quote! {{
                __visitor.invalid(
                    __this.cast(),
                    "the tag of an enum that is none of its variants'",
                )
            }},
        );
        let validate = self.item.attrs.validate.as_ref().map(|path| {
            let (core, this) = (&self.core, &self.this);
            quote! {
                __visitor.check_later(__this.cast(), |__at| {
                    let __check: fn(&#this) -> #core::result::Result<(), &'static #core::primitive::str> = #path;
                    // SAFETY: the visitor found the value sound, and calls this before anybody changes it.
                    __check(unsafe { &*__at.cast::<#this>() })
                });
            }
        });
        quote!(#validate #fields)
    }

    fn lock_held(&self) -> TokenStream {
        self.by_tag(
            "__this",
            |row| {
                let [has_locks, lock_held] = ["HAS_LOCKS", "lock_held"].map(|m| self.each(row.fields, m));
                let places = self.places(row, "__this", false);
                quote! {
                    // SAFETY: as the caller says, for each field.
                    false #(|| #has_locks && unsafe { #lock_held(#places) })*
                }
            },
            quote!(false),
            quote!(false),
        )
    }
}
