//! The description of the type, and the check of what the compiler made of its layout.

use super::enums::places_name;
use super::{Code, Row, located};
use crate::model::Field;
use proc_macro2::TokenStream;
use quote::quote;
use quote::quote_spanned;
use syn::GenericParam;

impl<'i> Code<'i> {
    pub(super) fn type_info(&self) -> TokenStream {
        // A type without parameters is checked where it stands.
        let check = self.is_generic().then(|| self.check_layout(&quote!(Self)));
        self.type_info_of(&self.kind(), check)
    }

    /// A description with this kind; `check` is run before.
    pub(super) fn type_info_of(&self, kind: &TokenStream, check: Option<TokenStream>) -> TokenStream {
        let (krate, core) = (&self.krate, &self.core);
        let args = self.item.generics.params.iter().filter_map(|param| match param {
            GenericParam::Lifetime(_) => None,
            GenericParam::Type(param) => {
                let ident = &param.ident;
                Some(quote!(Type(<#ident as #krate::ShmSafe>::type_info)))
            }
            GenericParam::Const(param) => {
                let (ident, private) = (&param.ident, &self.private);
                Some(quote!(Const(#private::ConstParam(#ident).arg())))
            }
        });
        let name = self.item.name.to_string();
        let name = name.strip_prefix("r#").unwrap_or(&name);
        let version = self.item.attrs.version;
        let origin = match (&self.item.attrs.unsafe_name, &self.item.attrs.unsafe_module) {
            (Some(name), _) => quote!(Named(#name)),
            (None, Some(module)) => quote!(Module(#module)),
            (None, None) if self.item.is_open() => quote!(Shape),
            (None, None) => quote!(Module(#core::module_path!())),
        };
        quote! {
            const {
                #check
                &#krate::TypeInfo {
                    name: #name,
                    origin: #krate::Origin::#origin,
                    version: #version,
                    size: #core::mem::size_of::<Self>(),
                    align: #core::mem::align_of::<Self>(),
                    kind: #krate::Kind::#kind,
                    args: &[#(#krate::GenericArg::#args),*],
                    id: #core::any::TypeId::of::<Self>(),
                }
            }
        }
    }

    fn kind(&self) -> TokenStream {
        let (krate, core) = (&self.krate, &self.core);
        if !self.is_enum() {
            let fields: Vec<_> = self.rows().into_iter().map(|row| self.field_infos(row)).collect();
            return quote!(Struct { fields: #(#fields)* });
        }
        let tag_type = self.tag_type();
        let variants = self.item.variants().iter().zip(self.rows()).map(|(variant, row)| {
            let (name, tag, fields) = (variant.schema_name(), row.tag(), self.field_infos(row));
            quote!(#krate::Variant { name: #name, tag: #tag as #core::primitive::i128, fields: #fields })
        });
        quote! {
            Enum {
                tag_size: #core::mem::size_of::<#tag_type>() as #core::primitive::u8,
                variants: &[#(#variants),*],
            }
        }
    }

    fn field_infos(&self, row: Row<'_>) -> TokenStream {
        let (krate, core) = (&self.krate, &self.core);
        let infos = self.each(row.fields, "type_info");
        let names = row.fields.iter().map(Field::name);
        let transparent = self.item.repr.transparent.is_some();
        let offsets = row.members().enumerate().map(|(i, member)| match row.variant {
            Some((variant, _)) => {
                let (parts, places) = (self.parts_turbofish(), places_name(variant));
                quote!(#parts::#places[#i])
            }
            // Where fields without bytes stand in a transparent struct is the compiler's choice.
            None if transparent => quote!(0),
            None => quote!(#core::mem::offset_of!(Self, #member)),
        });
        quote!(&[#(#krate::Field { name: #names, offset: #offsets, ty: #infos }),*])
    }

    /// What the compiler made of the layout, compared with what `repr` says.
    fn check_layout(&self, this: &TokenStream) -> TokenStream {
        let core = &self.core;
        let at = located(self.item.name.span());
        let krate = self.item.krate_at(at);
        let (size, align) = (quote!(#core::mem::size_of::<#this>()), quote!(#core::mem::align_of::<#this>()));
        if self.is_enum() {
            let (parts, variants) = (self.parts_turbofish(), self.variants_checked(this));
            return quote_spanned! {at=>
                #krate::__private::EnumLayout::check(&#parts::LAYOUT, #size, #align);
                #variants
            };
        }
        let (types, transparent) = (self.types(), self.item.repr.transparent.is_some());
        let members = self.rows().into_iter().flat_map(|row| row.members().collect::<Vec<_>>());
        let fields = quote! {
            &[#(#krate::__private::FieldLayout {
                offset: #core::mem::offset_of!(#this, #members),
                size: #core::mem::size_of::<#types>(),
                align: #core::mem::align_of::<#types>(),
            }),*]
        };
        quote_spanned!(at=> #krate::__private::check_layout(#size, #align, #transparent, #fields);)
    }

    /// The layout of a generic type is checked when it is used, of any other right here.
    pub(super) fn layout_checked_now(&self) -> TokenStream {
        if self.is_generic() {
            return TokenStream::new();
        }
        let check = self.check_layout(&self.this);
        quote!(const _: () = { #check };)
    }
}
