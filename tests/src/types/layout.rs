//! Where things stand: the rules of `repr(C)`, of RFC 2195 and of FORMAT.md, told anew.

use super::describe::{Container, Def, Len, Repr, Shape, Ty, World};

/// Size and alignment in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    /// In bytes.
    pub size: usize,
    /// In bytes.
    pub align: usize,
}

/// A whole layout: of a struct, or of an enum with a tag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Places {
    /// Of the whole.
    pub layout: Layout,
    /// The size of the tag; 0 for a struct.
    pub tag_size: usize,
    /// Where the fields of each variant stand.
    pub offsets: Vec<Vec<usize>>,
}

const POINTER: Layout = Layout { size: 8, align: 8 };

/// One thing behind another.
#[derive(Clone, Copy)]
struct Sequence {
    end: usize,
    align: usize,
}

impl Sequence {
    const EMPTY: Sequence = Sequence { end: 0, align: 1 };

    fn push(&mut self, layout: Layout) -> usize {
        let at = self.end.next_multiple_of(layout.align);
        (self.end, self.align) = (at + layout.size, self.align.max(layout.align));
        at
    }

    fn finish(self, at_least: usize) -> Layout {
        let align = self.align.max(at_least);
        Layout { size: self.end.next_multiple_of(align), align }
    }
}

/// A struct of these fields.
fn structure(fields: &[Layout], at_least: usize) -> (Layout, Vec<usize>) {
    let mut sequence = Sequence::EMPTY;
    let offsets = fields.iter().map(|field| sequence.push(*field)).collect();
    (sequence.finish(at_least), offsets)
}

/// An enum with a tag of this size, whose variants have these fields.
fn enumeration(repr: Repr, tag_size: usize, variants: &[Vec<Layout>]) -> Places {
    let tag = Layout { size: tag_size, align: tag_size };
    let at_least = repr.align.unwrap_or(1);
    let (mut whole, mut offsets) = (Sequence { end: tag_size, align: tag_size }, Vec::new());
    if repr.c {
        // `struct { tag, union { struct { fields }, … } }`.
        let structs: Vec<_> = variants.iter().map(|fields| structure(fields, 1)).collect();
        let size = structs.iter().map(|(layout, _)| layout.size).max().unwrap_or(0);
        let align = structs.iter().map(|(layout, _)| layout.align).max().unwrap_or(1);
        let union = Layout { size: size.next_multiple_of(align), align };
        whole = Sequence::EMPTY;
        whole.push(tag);
        let start = whole.push(union);
        offsets.extend(structs.into_iter().map(|(_, list)| list.into_iter().map(|at| start + at).collect()));
    } else {
        // `union { struct { tag, fields }, … }`.
        for fields in variants {
            let mut all = vec![tag];
            all.extend(fields);
            let (layout, mut places) = structure(&all, 1);
            places.remove(0);
            offsets.push(places);
            whole = Sequence { end: whole.end.max(layout.size), align: whole.align.max(layout.align) };
        }
    }
    Places { layout: whole.finish(at_least), tag_size, offsets }
}

impl World {
    /// Size and alignment of a type without free parameters.
    pub fn layout(&self, ty: &Ty) -> Layout {
        let word_and = |inner: &Ty, word: usize| {
            structure(&[Layout { size: word, align: word }, self.layout(inner)], 1).0
        };
        match ty {
            Ty::Unit | Ty::Of(Container::Phantom, _) => Layout { size: 0, align: 1 },
            Ty::Number(number) => Layout { size: number.size, align: number.size },
            Ty::Bool => Layout { size: 1, align: 1 },
            Ty::Char => Layout { size: 4, align: 4 },
            Ty::Probe | Ty::Map(..) | Ty::Of(Container::Set | Container::Box, _) => POINTER,
            Ty::Text | Ty::Of(Container::Vec, _) => Layout { size: 24, align: 8 },
            Ty::Of(Container::BoxSlice, _) => Layout { size: 16, align: 8 },
            Ty::Of(Container::Option, inner) => word_and(inner, 1),
            Ty::Of(Container::Mutex, inner) => {
                structure(&[Layout { size: 8, align: 4 }, self.layout(inner)], 1).0
            }
            Ty::Array(inner, Len::Fixed(n)) => {
                let Layout { size, align } = self.layout(inner);
                Layout { size: size * n, align }
            }
            Ty::Array(..) | Ty::Param(_) => unreachable!("{ty:?} has a free parameter"),
            Ty::Tuple(..) | Ty::Def(..) => self.places(ty).layout,
        }
    }

    /// Where the parts of a generated type or of a tuple stand.
    pub fn places(&self, ty: &Ty) -> Places {
        let layouts = |types: &[Ty]| types.iter().map(|ty| self.layout(ty)).collect::<Vec<_>>();
        let (i, args) = match ty {
            Ty::Def(i, args) => (*i, args),
            Ty::Tuple(types) => {
                let (layout, offsets) = structure(&layouts(types), 1);
                return Places { layout, tag_size: 0, offsets: vec![offsets] };
            }
            _ => unreachable!("{ty:?} has no fields"),
        };
        let def = &self.defs[i];
        let variants: Vec<_> =
            (0..def.variants().len()).map(|variant| layouts(&def.types(variant, args))).collect();
        match &def.shape {
            Shape::Enum(_) => enumeration(def.repr, tag_size(def), &variants),
            Shape::Struct(_) => {
                let (layout, mut offsets) = structure(&variants[0], def.repr.align.unwrap_or(1));
                if def.repr.transparent {
                    // Fields without bytes stand wherever the compiler likes; the record says 0.
                    offsets.fill(0);
                }
                Places { layout, tag_size: 0, offsets: vec![offsets] }
            }
        }
    }
}

/// The size of an enum's tag: a C enum's is an `int`.
fn tag_size(def: &Def) -> usize {
    def.repr.int.map_or(4, |int| int.size)
}
