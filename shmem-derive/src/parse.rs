//! From tokens to the [model](crate::model) that the other stages work on.

use crate::attributes;
use crate::model::{Field, Fields, Item, Repr, Shape, Style, Variant};
use crate::validate::Errors;
use syn::{Attribute, Data, DeriveInput};

/// The model of `input`; mistakes in attributes go to `errors`.
pub(crate) fn item(input: DeriveInput, errors: &mut Errors) -> Item {
    let attrs = attributes::of_item(&input.attrs, errors);
    let mut repr = Repr::default();
    for attr in input.attrs.iter().filter(|attr| attr.path().is_ident("repr")) {
        attributes::repr(attr, &mut repr);
    }
    let shape = match input.data {
        Data::Struct(data) => Shape::Struct(fields(data.fields, errors)),
        Data::Enum(data) => {
            Shape::Enum(data.variants.into_iter().map(|found| variant(found, errors)).collect())
        }
        Data::Union(data) => Shape::Union(data.union_token.span),
    };
    Item {
        repr,
        attrs,
        docs: docs(&input.attrs),
        non_exhaustive: non_exhaustive(&input.attrs),
        is_twin: false,
        shape,
        vis: input.vis,
        name: input.ident,
        generics: input.generics,
    }
}

fn docs(attrs: &[Attribute]) -> Vec<Attribute> {
    attrs.iter().filter(|attr| attr.path().is_ident("doc")).cloned().collect()
}

fn non_exhaustive(attrs: &[Attribute]) -> bool {
    attrs.iter().any(|attr| attr.path().is_ident("non_exhaustive"))
}

fn variant(variant: syn::Variant, errors: &mut Errors) -> Variant {
    Variant {
        attrs: attributes::of_variant(&variant.attrs, errors),
        docs: docs(&variant.attrs),
        non_exhaustive: non_exhaustive(&variant.attrs),
        name: variant.ident,
        fields: fields(variant.fields, errors),
        discriminant: variant.discriminant.map(|(_, value)| value),
    }
}

fn fields(fields: syn::Fields, errors: &mut Errors) -> Fields {
    let style = match fields {
        syn::Fields::Named(_) => Style::Named,
        syn::Fields::Unnamed(_) => Style::Tuple,
        syn::Fields::Unit => Style::Unit,
    };
    let members: Vec<_> = fields.members().collect();
    let fields = fields.into_iter().zip(members).map(|(field, member)| Field {
        attrs: attributes::of_field(&field.attrs, errors),
        docs: docs(&field.attrs),
        vis: field.vis,
        member,
        ty: field.ty,
    });
    Fields { style, list: fields.collect() }
}
