//! [`Model`]: what a value is, told without the library; and [`Make`], which makes random ones.

use super::describe::{Container, Len, Ty, World};
use crate::Random;
use std::collections::BTreeMap;
use std::fmt;

/// A value.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Model {
    /// `()` and other values without bytes.
    Unit,
    /// A number's bytes, little-endian and zero-extended.
    Bits(u128),
    /// A `bool`.
    Bool(bool),
    /// A `char`.
    Char(char),
    /// A text.
    Text(String),
    /// A sequence; an option is one of at most one element.
    List(Vec<Model>),
    /// A map; a set's values are units.
    Map(BTreeMap<Model, Model>),
    /// The fields of a struct, of a tuple, or of this variant.
    Data(usize, Vec<Model>),
}

impl Model {
    /// The variant.
    pub fn variant(&self) -> usize {
        match self {
            Model::Data(variant, _) => *variant,
            other => unreachable!("{other:?} has no variants"),
        }
    }

    /// The fields, or the elements.
    pub fn list(&self) -> &[Model] {
        match self {
            Model::Data(_, list) | Model::List(list) => list,
            other => unreachable!("{other:?} has no parts"),
        }
    }

    /// As [`list`](Self::list), to be changed.
    pub fn list_mut(&mut self) -> &mut Vec<Model> {
        match self {
            Model::Data(_, list) | Model::List(list) => list,
            other => unreachable!("{other:?} has no parts"),
        }
    }

    /// The map.
    pub fn map(&self) -> &BTreeMap<Model, Model> {
        match self {
            Model::Map(map) => map,
            other => unreachable!("{other:?} is no map"),
        }
    }

    /// As [`map`](Self::map), to be changed.
    pub fn map_mut(&mut self) -> &mut BTreeMap<Model, Model> {
        match self {
            Model::Map(map) => map,
            other => unreachable!("{other:?} is no map"),
        }
    }

    /// The text.
    pub fn text(&self) -> &str {
        match self {
            Model::Text(text) => text,
            other => unreachable!("{other:?} is no text"),
        }
    }

    /// The number's bytes.
    pub fn bits(&self) -> u128 {
        match self {
            Model::Bits(bits) => *bits,
            other => unreachable!("{other:?} is no number"),
        }
    }

    /// Where `self`, which was found, first differs from what was wanted.
    pub fn difference(&self, wanted: &Model) -> Option<String> {
        self.differs(wanted, String::new())
    }

    fn differs(&self, wanted: &Model, path: String) -> Option<String> {
        if self == wanted {
            return None;
        }
        let pairs: Vec<(String, &Model, &Model)> = match (self, wanted) {
            (Model::Data(a, one), Model::Data(b, two)) if a == b && one.len() == two.len() => {
                one.iter().zip(two).enumerate().map(|(i, (x, y))| (format!("{path}.{i}"), x, y)).collect()
            }
            (Model::List(one), Model::List(two)) if one.len() == two.len() => {
                one.iter().zip(two).enumerate().map(|(i, (x, y))| (format!("{path}[{i}]"), x, y)).collect()
            }
            (Model::Map(one), Model::Map(two)) if one.keys().eq(two.keys()) => {
                one.iter().zip(two.values()).map(|((k, x), y)| (format!("{path}[{k}]"), x, y)).collect()
            }
            _ => Vec::new(),
        };
        let deeper = pairs.into_iter().find_map(|(path, one, two)| one.differs(two, path));
        deeper.or_else(|| Some(format!("value{path} is {self}, not {wanted}")))
    }
}

impl fmt::Display for Model {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Model::Unit => f.write_str("()"),
            Model::Bits(bits) => write!(f, "{bits:#x}"),
            Model::Bool(value) => write!(f, "{value}"),
            Model::Char(c) => write!(f, "{c:?}"),
            Model::Text(text) => write!(f, "{text:?}"),
            Model::List(list) | Model::Data(_, list) => {
                if let Model::Data(variant, _) = self {
                    write!(f, "#{variant}")?;
                }
                f.write_str("[")?;
                for (i, part) in list.iter().enumerate() {
                    write!(f, "{}{part}", if i == 0 { "" } else { ", " })?;
                }
                f.write_str("]")
            }
            Model::Map(map) => {
                f.write_str("{")?;
                for (i, (key, value)) in map.iter().enumerate() {
                    write!(f, "{}{key}: {value}", if i == 0 { "" } else { ", " })?;
                }
                f.write_str("}")
            }
        }
    }
}

/// How deep random values go before they choose what ends.
const DEPTH: u32 = 5;
/// How many parts a random value has, about.
const PARTS: i32 = 120;

/// Makes random values.
#[derive(Debug)]
pub struct Make<'w> {
    /// The types.
    pub world: &'w World,
    /// The choices.
    pub random: Random,
}

impl<'w> Make<'w> {
    /// Of these types, from a seed.
    pub fn new(world: &'w World, seed: u64) -> Self {
        Make { world, random: Random::new(seed) }
    }

    /// A value of this type.
    pub fn value(&mut self, ty: &Ty) -> Model {
        Growing { make: self, left: PARTS }.value(ty, DEPTH)
    }

    /// A smaller one.
    pub fn small(&mut self, ty: &Ty) -> Model {
        Growing { make: self, left: 20 }.value(ty, 2)
    }
}

/// A value being made.
struct Growing<'m, 'w> {
    make: &'m mut Make<'w>,
    left: i32,
}

impl Growing<'_, '_> {
    fn below(&mut self, n: usize) -> usize {
        self.make.random.below(n as u64) as usize
    }

    /// A number of elements.
    fn len(&mut self, depth: u32) -> usize {
        match self.left {
            left if left <= 0 || depth == 0 => 0,
            _ => *self.make.random.pick(&[0, 1, 1, 2, 3, 5]),
        }
    }

    fn value(&mut self, ty: &Ty, depth: u32) -> Model {
        self.left -= 1;
        let deeper = depth.saturating_sub(1);
        match ty {
            Ty::Unit | Ty::Of(Container::Phantom, _) => Model::Unit,
            Ty::Number(number) => Model::Bits(self.bits(number.size, number.non_zero)),
            Ty::Probe => Model::Bits(self.bits(8, false)),
            Ty::Bool => Model::Bool(self.below(2) == 1),
            Ty::Char => {
                let among = ['a', '\0', 'ß', '€', '🦀', '\u{d7ff}', '\u{e000}', char::MAX];
                Model::Char(*self.make.random.pick(&among))
            }
            Ty::Text => {
                // Around what stands inline, and more.
                let len = *self.make.random.pick(&[0, 1, 5, 22, 23, 24, 60]);
                let from = self.below(26) as u8;
                let letters = (0..len).map(|i| char::from(b'a' + (from + i as u8) % 26));
                Model::Text(letters.collect())
            }
            Ty::Of(Container::Box | Container::Mutex, inner) => self.value(inner, deeper),
            Ty::Of(Container::Option, inner) => {
                let some = self.len(depth) > 0;
                Model::List((0..usize::from(some)).map(|_| self.value(inner, deeper)).collect())
            }
            Ty::Of(Container::Vec | Container::BoxSlice, inner) => {
                let len = self.len(depth);
                Model::List((0..len).map(|_| self.value(inner, deeper)).collect())
            }
            Ty::Of(Container::Set, key) => {
                let len = self.len(depth);
                Model::Map((0..len).map(|_| (self.value(key, deeper), Model::Unit)).collect())
            }
            Ty::Map(key, value) => {
                let len = self.len(depth);
                Model::Map((0..len).map(|_| (self.value(key, deeper), self.value(value, deeper))).collect())
            }
            Ty::Array(inner, Len::Fixed(n)) => {
                Model::List((0..*n).map(|_| self.value(inner, deeper)).collect())
            }
            Ty::Tuple(list) => Model::Data(0, list.iter().map(|ty| self.value(ty, deeper)).collect()),
            Ty::Def(i, args) => {
                let def = &self.make.world.defs[*i];
                // The first variant is one that ends.
                let ends = depth == 0 || self.left <= 0;
                let variant = if ends { 0 } else { self.below(def.variants().len()) };
                let types = def.types(variant, args);
                Model::Data(variant, types.iter().map(|ty| self.value(ty, deeper)).collect())
            }
            Ty::Array(..) | Ty::Param(_) => unreachable!("{ty:?} has a free parameter"),
        }
    }

    fn bits(&mut self, size: usize, non_zero: bool) -> u128 {
        let mask = u128::MAX >> (128 - 8 * size);
        let word = self.make.random.word();
        let bits = match self.below(4) {
            0 => mask,
            1 => u128::from(word % 10),
            _ => u128::from(word) << 64 | u128::from(self.make.random.word()),
        };
        if bits & mask == 0 && non_zero { 1 } else { bits & mask }
    }
}
