//! Places in values: bytes that can be made wrong (tags, `bool`s, `char`s), and locks.

use super::describe::{Container, Shape, Ty, World};
use super::stored::{Parts, Read};

/// So many bytes at this address, and what makes them wrong.
pub(super) struct Spot {
    pub at: usize,
    pub wrong: Vec<u8>,
    pub what: &'static str,
}

fn address(value: &dyn Read) -> usize {
    (&raw const *value).addr()
}

/// Every such place in a value and in what it owns, but for what is behind locks. Checks on the way that each part has
/// the size, the alignment and, inside a struct, the place that the rules say.
pub(super) fn spots(world: &World, ty: &Ty, value: &dyn Read, found: &mut Vec<Spot>) {
    let (at, layout) = (address(value), world.layout(ty));
    assert_eq!(
        (size_of_val(value), align_of_val(value)),
        (layout.size, layout.align),
        "the layout of {ty:?}"
    );
    assert_eq!(at % layout.align, 0, "{ty:?} stands at {at:#x}");
    let mut spot = |wrong: &[u8], what| found.push(Spot { at, wrong: wrong.to_vec(), what });
    match ty {
        Ty::Bool => spot(&[2], "a bool"),
        Ty::Char => spot(&0xd800_u32.to_le_bytes(), "a char"),
        Ty::Number(number) if number.non_zero => spot(&vec![0; number.size], "a number that is not 0"),
        Ty::Of(Container::Option, _) => spot(&[2], "the tag of an option"),
        Ty::Def(i, _) => {
            let def = &world.defs[*i];
            if let Shape::Enum(variants) = &def.shape {
                let size = world.places(ty).tag_size;
                let taken = |tag: u128| {
                    variants.iter().any(|v| v.tag.to_le_bytes()[..size] == tag.to_le_bytes()[..size])
                };
                // An enum of 256 variants is not generated: there is one.
                let tag =
                    (0..=u128::from(u8::MAX)).rev().find(|tag| !taken(*tag)).expect("a tag of no variant");
                spot(&tag.to_le_bytes()[..size], "the tag of an enum");
            }
        }
        _ => {}
    }
    match (value.parts(), ty) {
        (Parts::Leaf, _) => {}
        (Parts::Fields(variant, fields), Ty::Def(..) | Ty::Tuple(_)) => {
            let (places, types) = (world.places(ty), world.field_types(ty, variant));
            assert_eq!(fields.len(), types.len());
            for ((field, ty), offset) in fields.into_iter().zip(&types).zip(&places.offsets[variant]) {
                // What has no bytes stands anywhere in a transparent struct.
                if size_of_val(field) > 0 {
                    assert_eq!(address(field) - at, *offset, "the place of a field of variant {variant}");
                }
                spots(world, ty, field, found);
            }
        }
        (Parts::Elements(list), Ty::Of(_, inner) | Ty::Array(inner, _)) => {
            let step = if matches!(ty, Ty::Of(Container::Set, _)) { 2 } else { 1 };
            list.into_iter().step_by(step).for_each(|element| spots(world, inner, element, found));
        }
        (Parts::Elements(list), Ty::Map(key, value)) => {
            for (i, part) in list.into_iter().enumerate() {
                spots(world, if i % 2 == 0 { key } else { value }, part, found);
            }
        }
        (_, ty) => unreachable!("{ty:?} has other parts"),
    }
}

/// Every lock that stands in the value's own bytes, and apart from them those behind its pointers. What is in a lock is
/// behind it.
pub(super) fn locks<'v>(ty: &Ty, value: &'v dyn Read, world: &World, inside: bool, found: &mut Locks<'v>) {
    match (value.parts(), ty) {
        (_, Ty::Of(Container::Mutex, _)) if inside => found.inside.push(value),
        (_, Ty::Of(Container::Mutex, _)) => found.behind.push(value),
        (Parts::Leaf, _) => {}
        (Parts::Fields(variant, fields), _) => {
            for (field, ty) in fields.into_iter().zip(world.field_types(ty, variant)) {
                locks(&ty, field, world, inside, found);
            }
        }
        (Parts::Elements(list), Ty::Of(container, inner)) => {
            let step = if *container == Container::Set { 2 } else { 1 };
            for element in list.into_iter().step_by(step) {
                locks(inner, element, world, inside && !container.is_pointer(), found);
            }
        }
        (Parts::Elements(list), Ty::Array(inner, _)) => {
            list.into_iter().for_each(|element| locks(inner, element, world, inside, found));
        }
        (Parts::Elements(list), Ty::Map(_, inner)) => {
            list.into_iter().skip(1).step_by(2).for_each(|value| locks(inner, value, world, false, found));
        }
        (_, ty) => unreachable!("{ty:?} has other parts"),
    }
}

/// The locks of a value.
#[derive(Default)]
pub(super) struct Locks<'v> {
    pub inside: Vec<&'v dyn Read>,
    pub behind: Vec<&'v dyn Read>,
}
