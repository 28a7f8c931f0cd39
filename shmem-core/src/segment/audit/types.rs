//! Stored types, as a walk needs them: made of the type records alone, so that a process can walk what it has no code for.
//!
//! A record says where the fields of a struct or variant stand, and of what type they are; what a container of the library
//! looks like, FORMAT.md says under its name. What neither tells (a container of somebody else's, a type of a newer library)
//! is [`Shape::Opaque`], and is walked by its own code, if this process has that.

use crate::container::hash_map;
use crate::layout::{
    Fingerprint, Record, RecordArg, RecordField, RecordKind, StoredType, VisitFn, decode_record, known_visit,
};
use std::alloc::Layout;
use std::collections::HashMap;

/// Types nested by value deeper than this are taken for damage.
const DEEPEST: u32 = 64;

/// The number of a type.
pub(super) type TypeNumber = usize;

/// The type without bytes.
const UNIT: TypeNumber = 0;
/// A type that has no record, or one that makes no sense.
const NOWHERE: TypeNumber = 1;

/// A part of a value: its distance from the value's first byte, and its type.
pub(super) type Part = (usize, TypeNumber);

/// Where a type keeps what is to be looked at.
#[derive(Debug)]
pub(super) enum Shape {
    /// Nowhere: any bits are a value, and it owns nothing.
    Plain,
    /// One byte, 0 or 1.
    Bool,
    /// A Unicode scalar value.
    Char,
    /// A number of so many bytes, not 0.
    NonZero(usize),
    Struct(Vec<Part>),
    /// The bytes of the tag; for each variant its tag, cut to these, and its fields.
    Enum(usize, Vec<(u128, Vec<Part>)>),
    Array(usize, TypeNumber),
    Text,
    Vec(TypeNumber),
    Box(TypeNumber),
    BoxSlice(TypeNumber),
    Option(Part),
    Mutex(Part),
    /// Key, value, and a bucket's layout.
    Map(TypeNumber, Part, Layout),
    /// Only its own code can tell.
    Opaque,
}

/// A stored type.
#[derive(Debug)]
pub(super) struct Type {
    pub(super) layout: Layout,
    pub(super) shape: Shape,
    /// How it is visited by its own code, if this process has that.
    pub(super) visit: Option<VisitFn>,
    /// Whether there is nothing to look at, parts included.
    pub(super) is_plain: bool,
}

/// All types of a segment.
#[derive(Debug)]
pub(super) struct Types {
    all: Vec<Type>,
    numbers: HashMap<Fingerprint, TypeNumber>,
}

impl Types {
    pub(super) fn new(stored: &[StoredType]) -> Self {
        let records: Vec<(Fingerprint, Option<Record>)> =
            stored.iter().map(|s| (s.fingerprint, decode_record(&s.record))).collect();
        let nothing = Layout::new::<()>();
        let built_in = |shape| Type { layout: nothing, shape, visit: None, is_plain: false };
        let mut types =
            Types { all: vec![built_in(Shape::Plain), built_in(Shape::Opaque)], numbers: HashMap::new() };
        let mut layouts = vec![nothing, nothing];
        for (fingerprint, record) in &records {
            let layout = record.as_ref().and_then(|r| {
                Layout::from_size_align(r.size.try_into().ok()?, r.align.try_into().ok()?).ok()
            });
            types.numbers.insert(*fingerprint, layouts.len());
            layouts.push(layout.unwrap_or(nothing));
        }
        for (i, (fingerprint, record)) in records.iter().enumerate() {
            let layout = layouts[i + 2];
            let shape = record.as_ref().and_then(|record| types.shape(record, layout, &layouts));
            let (shape, visit) = (shape.unwrap_or(Shape::Opaque), known_visit(*fingerprint));
            types.all.push(Type { layout, shape, visit, is_plain: false });
        }
        types.look_through();
        types
    }

    pub(super) fn get(&self, number: TypeNumber) -> &Type {
        &self.all[number]
    }

    /// The type with this fingerprint.
    pub(super) fn number(&self, fingerprint: Fingerprint) -> TypeNumber {
        self.numbers.get(&fingerprint).copied().unwrap_or(NOWHERE)
    }

    fn shape(&self, record: &Record, layout: Layout, layouts: &[Layout]) -> Option<Shape> {
        let part = |at: usize, ty: TypeNumber| lies_inside(layout, at, layouts[ty]).then_some((at, ty));
        let fields = |fields: &[RecordField]| -> Option<Vec<Part>> {
            fields.iter().map(|f| part(f.offset.try_into().ok()?, self.number(f.ty))).collect()
        };
        match &record.kind {
            // Of somebody else's it is plain old data.
            RecordKind::Primitive if record.origin != 0 => Some(Shape::Plain),
            RecordKind::Primitive => primitive(&record.name, layout.size()),
            RecordKind::Struct(parts) => Some(Shape::Struct(fields(parts)?)),
            RecordKind::Enum { tag_size, variants } => {
                let bytes = usize::from(*tag_size);
                if !matches!(bytes, 1 | 2 | 4 | 8 | 16) || bytes > layout.size() {
                    return None;
                }
                let variants = variants.iter().map(|(_, tag, parts)| {
                    Some((*tag as u128 & (u128::MAX >> (128 - 8 * bytes)), fields(parts)?))
                });
                Some(Shape::Enum(bytes, variants.collect::<Option<_>>()?))
            }
            RecordKind::Array { len, element } => {
                let (len, element) = (usize::try_from(*len).ok()?, self.number(*element));
                let bytes = layouts[element].size().checked_mul(len)?;
                let is_whole = bytes == layout.size() && layouts[element].align() <= layout.align();
                is_whole.then_some(Shape::Array(len, element))
            }
            RecordKind::Builtin if record.origin == 0 => self.container(record, layout, layouts),
            RecordKind::Builtin => None,
        }
    }

    /// A type of the library that FORMAT.md describes.
    fn container(&self, record: &Record, layout: Layout, layouts: &[Layout]) -> Option<Shape> {
        let argument = |i: usize| match record.args.get(i) {
            Some(RecordArg::Type(ty)) => Some(self.number(*ty)),
            _ => None,
        };
        // Behind `before` bytes.
        let behind = |before: usize, ty: TypeNumber| {
            let at = before.next_multiple_of(layouts[ty].align());
            lies_inside(layout, at, layouts[ty]).then_some((at, ty))
        };
        let map = |key: TypeNumber, value: TypeNumber| {
            let (both, at) = layouts[key].extend(layouts[value]).ok()?;
            Some(Shape::Map(key, (at, value), both.pad_to_align()))
        };
        let version = |shape: Shape, size, version| {
            (record.version == version && layout.size() == size && layout.align() == 8).then_some(shape)
        };
        match record.name.as_str() {
            "ShmPod" | "PhantomData" => Some(Shape::Plain),
            "BlockHandle" => version(Shape::Plain, 8, 0),
            "ShmString" => version(Shape::Text, 24, 0),
            "ShmVec" => version(Shape::Vec(argument(0)?), 24, 0),
            "ShmBox" => version(Shape::Box(argument(0)?), 8, 0),
            "ShmBoxSlice" => version(Shape::BoxSlice(argument(0)?), 16, 0),
            "ShmOption" if record.version == 0 => Some(Shape::Option(behind(1, argument(0)?)?)),
            "ShmMutex" if record.version == 0 => Some(Shape::Mutex(behind(8, argument(0)?)?)),
            "ShmHashMap" => version(map(argument(0)?, argument(1)?)?, 8, hash_map::VERSION),
            "ShmHashSet" => version(map(argument(0)?, UNIT)?, 8, hash_map::VERSION),
            _ => None,
        }
    }

    /// Finds out what is plain, and what contains itself by value, which only damage can.
    fn look_through(&mut self) {
        let mut seen = vec![None; self.all.len()];
        for number in 0..self.all.len() {
            let is_plain = self.look_into(number, DEEPEST, &mut seen);
            if is_plain.is_none() {
                self.all[number].shape = Shape::Opaque;
            }
            self.all[number].is_plain = is_plain == Some(true);
        }
    }

    /// Whether a type is plain; `None` if it is nested too deep.
    fn look_into(&self, number: TypeNumber, depth: u32, seen: &mut [Option<bool>]) -> Option<bool> {
        if seen[number].is_some() {
            return seen[number];
        }
        let depth = depth.checked_sub(1)?;
        let mut all = |parts: &[Part]| {
            let mut plain = true;
            for (_, part) in parts {
                plain &= self.look_into(*part, depth, seen)?;
            }
            Some(plain)
        };
        let is_plain = match &self.all[number].shape {
            Shape::Plain => true,
            Shape::Struct(parts) => all(parts)?,
            Shape::Enum(_, variants) => {
                for (_, parts) in variants {
                    all(parts)?;
                }
                false
            }
            Shape::Array(len, element) => all(&[(0, *element)])? || *len == 0,
            Shape::Mutex(part) => all(&[*part])?,
            Shape::Option(part) => {
                all(&[*part])?;
                false
            }
            Shape::Map(key, value, _) => {
                all(&[(0, *key), *value])?;
                false
            }
            _ => false,
        };
        seen[number] = Some(is_plain);
        Some(is_plain)
    }
}

/// Whether a part lies inside the whole, aligned wherever that stands.
fn lies_inside(whole: Layout, at: usize, part: Layout) -> bool {
    let end = at.checked_add(part.size());
    end.is_some_and(|end| end <= whole.size())
        && at.is_multiple_of(part.align())
        && part.align() <= whole.align()
}

/// A type of the language.
fn primitive(name: &str, size: usize) -> Option<Shape> {
    const NUMBERS: &[&str] = &["u8", "u16", "u32", "u64", "u128", "i8", "i16", "i32", "i64", "i128"];
    let is_number = |name: &str| NUMBERS.contains(&name);
    // `AtomicU8` is `U8` behind the word.
    let of = |prefix: &str| name.strip_prefix(prefix).map(str::to_ascii_lowercase);
    match name {
        "f32" | "f64" | "()" => Some(Shape::Plain),
        "bool" | "AtomicBool" if size == 1 => Some(Shape::Bool),
        "char" if size == 4 => Some(Shape::Char),
        _ if is_number(name) || of("Atomic").is_some_and(|n| is_number(&n)) => Some(Shape::Plain),
        _ if of("NonZero").is_some_and(|n| is_number(&n)) => Some(Shape::NonZero(size)),
        _ => None,
    }
}
