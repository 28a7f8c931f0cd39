//! A type of which nothing matters but its bytes.

use super::Code;
use proc_macro2::{Span, TokenStream};
use quote::{quote, quote_spanned};

impl<'i> Code<'i> {
    /// The code for a plain-old-data type. Its fields may be of types that are not `ShmSafe`, so it is described by its
    /// name, its version and its size alone.
    pub(super) fn pod(&self) -> TokenStream {
        let (krate, core, private, this) = (&self.krate, &self.core, &self.private, &self.this);
        let at = super::located(self.item.attrs.at.get("pod").copied().unwrap_or_else(Span::call_site));
        let krate_at = self.item.krate_at(at);
        let checked = quote_spanned!(at=> #krate_at::__private::pod_checked::<Self>());
        let (params, _, clause) = self.generics.split_for_impl();
        let info = self.type_info_of(&quote!(Primitive), None);
        let (hash, default, own_twin) = (self.hash(), self.default(), self.own_twin());
        quote! {
            #[allow(deprecated)]
            const _: () = {
                // SAFETY: a `Pod` type has no padding, no pointer and takes any bits (`pod_checked` asks for it); it cannot
                // be changed through a shared reference.
                #[automatically_derived]
                unsafe impl #params #krate::ShmSafe for #this #clause {
                    type Parts = ();
                    type Mut<'shm> = &'shm mut Self;
                    const PLAIN: #core::primitive::bool = #checked;
                    const ANY_BITS: #core::primitive::bool = true;

                    #[inline]
                    unsafe fn view<'shm>(
                        __at: #core::ptr::NonNull<Self>,
                        __access: #krate::access::Access<'shm>,
                    ) -> <Self as #krate::ShmSafe>::Mut<'shm> {
                        // SAFETY: as the caller says; a movable type.
                        unsafe { #private::view_movable(__at, __access) }
                    }

                    #[inline]
                    unsafe fn relocate(__from: *mut Self, __to: *mut Self) {
                        // SAFETY: both are valid and disjoint; a plain value is its bytes.
                        unsafe { #core::ptr::copy_nonoverlapping(__from, __to, 1) }
                    }

                    fn type_info() -> &'static #krate::TypeInfo {
                        #info
                    }

                    #[inline]
                    unsafe fn visit(_: *const Self, _: &mut #krate::Visitor<'_>) {}
                }
                #hash
                #default
                #own_twin
            };
        }
    }
}
