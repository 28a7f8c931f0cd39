//! From the checked model to code. Nothing here can fail.
//!
//! Everything is named by an absolute path through the crate, so that nothing in the user's scope matters. Tokens
//! that must count as the macro's own (`unsafe` above all) have the call site's span; field types keep theirs, so
//! that the compiler points at the field when a bound is not met.

mod contract;
mod enums;
mod init;
mod layout;
mod pod;
mod traits;
mod view;

use crate::model::{Field, Fields, Item, Shape, Style, Variant};
use proc_macro2::{Ident, Span, TokenStream, TokenTree};
use quote::{format_ident, quote, quote_spanned};
use syn::{Generics, Member, parse_quote};

/// The code for `item`.
pub(crate) fn item(item: &Item) -> TokenStream {
    let code = Code::new(item);
    if item.attrs.has("pod") {
        return code.pod();
    }
    let (view, init) = (code.view_types(), code.init_types());
    let impls = [
        code.parts(),
        code.enum_support(),
        code.shm_safe(),
        code.init_impls(),
        code.unpin(),
        code.drop(),
        code.hash(),
        code.default(),
        code.own_twin(),
        code.every_field(),
        code.layout_checked_now(),
    ];
    quote! {
        #view
        #init
        #[allow(deprecated, clippy::multiple_bound_locations)]
        const _: () = { #(#impls)* };
    }
}

/// What all parts of the code need.
pub(crate) struct Code<'i> {
    item: &'i Item,
    /// The crate.
    krate: TokenStream,
    /// What it exports for generated code.
    private: TokenStream,
    /// `core`.
    core: TokenStream,
    /// The type with its arguments.
    pub(crate) this: TokenStream,
    /// The item's generics, `Self` written out, with `T: ShmSafe` for each type parameter and what `bound` adds.
    pub(crate) generics: Generics,
    /// The view's: those after the lifetime `'shm`.
    view_generics: Generics,
}

/// The fields of a struct, or of one variant of an enum.
#[derive(Clone, Copy)]
pub(crate) struct Row<'i> {
    /// Which variant, and what it is.
    variant: Option<(usize, &'i Variant)>,
    fields: &'i [Field],
    style: Style,
}

impl<'i> Row<'i> {
    fn members(&self) -> impl Iterator<Item = &'i Member> {
        self.fields.iter().map(|field| &field.member)
    }

    fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }

    /// The constant that is the variant's tag.
    fn tag(&self) -> Ident {
        tag_name(self.variant.map_or(0, |(i, _)| i))
    }
}

fn tag_name(variant: usize) -> Ident {
    format_ident!("__SHM_TAG_{variant}")
}

impl<'i> Code<'i> {
    pub(crate) fn new(item: &'i Item) -> Self {
        let krate = item.krate();
        let private = quote!(#krate::__private);
        let core = quote!(#private::core);
        let name = &item.name;
        let (_, args, _) = item.generics.split_for_impl();
        let this = quote!(#name #args);
        let mut generics = own_generics(item);
        bind_params(&mut generics, &quote!(#krate::ShmSafe));
        let mut view_generics = generics.clone();
        view_generics.params.insert(0, parse_quote!('shm));
        Code { item, krate, private, core, this, generics, view_generics }
    }

    /// The struct's fields, or each variant's.
    pub(crate) fn rows(&self) -> Vec<Row<'i>> {
        let row = |variant, Fields { style, list }: &'i Fields| Row { variant, fields: list, style: *style };
        match &self.item.shape {
            Shape::Struct(fields) => vec![row(None, fields)],
            Shape::Enum(variants) => {
                variants.iter().enumerate().map(|(i, v)| row(Some((i, v)), &v.fields)).collect()
            }
            Shape::Union(_) => Vec::new(),
        }
    }

    fn fields(&self) -> Vec<&'i Field> {
        self.item.fields()
    }

    fn is_enum(&self) -> bool {
        matches!(self.item.shape, Shape::Enum(_))
    }

    fn is_generic(&self) -> bool {
        !self.item.generics.params.is_empty()
    }

    fn types_of<'f>(&self, fields: impl IntoIterator<Item = &'f Field>) -> Vec<TokenStream> {
        fields.into_iter().map(|field| self.item.without_self(&field.ty)).collect()
    }

    fn types(&self) -> Vec<TokenStream> {
        self.types_of(self.fields())
    }

    /// For each field, `<its type as ShmSafe>::member`, all of it at the place of the type: if that is not `ShmSafe`,
    /// this is where every message will point, and the compiler shows equal ones once.
    fn each<'f>(&self, fields: impl IntoIterator<Item = &'f Field>, member: &str) -> Vec<TokenStream> {
        let krate = &self.krate;
        let each = self.types_of(fields).into_iter().map(|ty| {
            let (start, end) = ends(&ty);
            let (open, close) = (quote_spanned!(start=> <), quote_spanned!(end=> >::));
            let member = Ident::new(member, end);
            quote!(#open #ty as #krate::ShmSafe #close #member)
        });
        each.collect()
    }

    /// A pointer to each field of a row, from `base`, a pointer to the whole; as mutable as that is.
    fn places(&self, row: Row<'_>, base: &str, mutable: bool) -> Vec<TokenStream> {
        let base = Ident::new(base, Span::call_site());
        let raw = if mutable { quote!(mut) } else { quote!(const) };
        match row.variant {
            None => row.members().map(|member| quote!(&raw #raw (*#base).#member)).collect(),
            Some((variant, _)) => {
                let (private, parts) = (&self.private, self.parts_turbofish());
                let places = enums::places_name(variant);
                let cast = if mutable { quote!(field_at_mut) } else { quote!(field_at) };
                let types = self.types_of(row.fields).into_iter().enumerate();
                types.map(|(i, ty)| quote!(#private::#cast::<_, #ty>(#base, #parts::#places[#i]))).collect()
            }
        }
    }

    /// What `Parts` is, with arguments, for expressions.
    fn parts_turbofish(&self) -> TokenStream {
        let (_, args, _) = self.generics.split_for_impl();
        let args = args.as_turbofish();
        quote!(__ShmParts #args)
    }

    /// Code that does something for the fields of the value at hand: `each` gives it for one row. For an enum the value's
    /// tag chooses the row; `nothing` is done where there are no fields, `invalid` where the tag is no variant's.
    fn by_tag(
        &self,
        base: &str,
        each: impl Fn(Row<'i>) -> TokenStream,
        nothing: TokenStream,
        invalid: TokenStream,
    ) -> TokenStream {
        if !self.is_enum() {
            return self.rows().into_iter().map(each).collect();
        }
        let base = Ident::new(base, Span::call_site());
        let (private, tag) = (&self.private, self.tag_type());
        let (empty, full): (Vec<_>, Vec<_>) = self.rows().into_iter().partition(Row::is_empty);
        let (tags, bodies) = (full.iter().map(Row::tag), full.iter().map(|row| each(*row)));
        let empty: Vec<_> = empty.iter().map(Row::tag).collect();
        let empty = (!empty.is_empty()).then(|| quote!(#(#empty)|* => #nothing,));
        quote! {
            // SAFETY: readable, as the caller says; the tag comes first.
            match unsafe { #private::tag::<#tag, _>(#base) } {
                #empty
                #(#tags => { #bodies })*
                _ => #invalid,
            }
        }
    }

    /// Does not compile if the struct has a field that the derive has not seen: another attribute may add one.
    fn every_field(&self) -> TokenStream {
        if self.is_enum() {
            return TokenStream::new();
        }
        let (this, name) = (&self.this, &self.item.name);
        let (params, _, clause) = self.generics.split_for_impl();
        let rows = self.rows();
        let members = rows.iter().flat_map(|row| row.members());
        quote! {
            #[allow(dead_code)]
            fn __every_field #params (__this: &#this) #clause {
                let #name { #(#members: _),* } = __this;
            }
        }
    }
}

/// The item's generics with `Self` written out, and what `bound` adds.
pub(crate) fn own_generics(item: &Item) -> Generics {
    let mut generics = item.generics.clone();
    if let Some(clause) = generics.where_clause.take() {
        // Replacing an identifier by a type leaves a where clause well-formed; if not, the compiler says so.
        let replaced = item.without_self(&clause);
        generics.where_clause = Some(syn::parse2(replaced).unwrap_or(clause));
    }
    if !item.attrs.bound.is_empty() {
        let bound = item.attrs.bound.iter();
        let bound =
            bound.map(|bound| syn::parse2(item.without_self(bound)).unwrap_or_else(|_| bound.clone()));
        generics.make_where_clause().predicates.extend(bound);
    }
    generics
}

/// Binds every type parameter.
pub(crate) fn bind_params(generics: &mut Generics, bound: &TokenStream) {
    let params: Vec<_> = generics.type_params().map(|param| param.ident.clone()).collect();
    for param in params {
        generics.make_where_clause().predicates.push(parse_quote!(#param: #bound));
    }
}

/// The place of `span`, but the macro's own as to hygiene and lints.
fn located(span: Span) -> Span {
    Span::call_site().located_at(span)
}

/// The places of the first and the last of `tokens`.
pub(crate) fn ends(tokens: &TokenStream) -> (Span, Span) {
    let mut all = tokens.clone().into_iter();
    let first = all.next();
    let last = all.last().or_else(|| first.clone());
    let start = first.map_or_else(Span::call_site, |token| token.span());
    let end = last.map_or_else(Span::call_site, |token| match token {
        TokenTree::Group(group) => group.span_close(),
        other => other.span(),
    });
    (start, end)
}

/// The lints that code may break which repeats what the user wrote already.
pub(crate) fn allowed() -> TokenStream {
    quote!(#[allow(dead_code, deprecated, non_camel_case_types, non_snake_case, private_bounds, private_interfaces, clippy::type_complexity, clippy::type_repetition_in_bounds)])
}
