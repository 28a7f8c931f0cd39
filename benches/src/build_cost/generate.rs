//! The types that are compiled: the same for every contestant, and the same in every run.
//!
//! Which types are enums or generic follows from their place, so that the shares are exact; their fields are random.

use crate::measure::Rng;

/// How many types, and of what sort.
#[derive(Clone, Copy, Debug)]
pub struct Mix {
    /// How many.
    pub types: usize,
    /// How many of a hundred are enums with data.
    pub enums_percent: usize,
}

/// One in so many types is a struct with a type parameter, if it is not an enum.
const GENERIC_EVERY: usize = 10;

/// How deep types made earlier may be nested: without a limit, sizes would grow like Fibonacci's numbers.
const MAX_DEPTH: usize = 3;

/// The types of numbers.
pub const NUMBERS: [&str; 10] = ["u8", "u16", "u32", "u64", "i8", "i16", "i32", "i64", "f32", "f64"];

/// The type of a field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ty {
    /// One of [`NUMBERS`].
    Number(&'static str),
    /// `bool`.
    Bool,
    /// `String` or `ShmString`.
    Text,
    /// `Vec<_>` or `ShmVec<_>`.
    List(Box<Ty>),
    /// `Option<_>` or `ShmOption<_>`.
    Maybe(Box<Ty>),
    /// `[_; N]`.
    Array(Box<Ty>, usize),
    /// A type made earlier, by its place; with its argument if it is generic.
    Made(usize, Option<Box<Ty>>),
    /// The type parameter.
    Param,
}

/// A variant of an enum.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Variant {
    /// Whether its fields have names.
    pub named: bool,
    /// Its fields; none for a unit variant.
    pub fields: Vec<Ty>,
}

/// What a type is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// A struct with named fields.
    Struct(Vec<Ty>),
    /// An enum.
    Enum(Vec<Variant>),
}

/// A type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Type {
    /// Its name.
    pub name: String,
    /// Whether it has a type parameter.
    pub generic: bool,
    /// What it is made of.
    pub body: Body,
    /// How many types are nested in it, one inside the other.
    depth: usize,
}

/// Makes the types.
pub fn types(mix: Mix) -> Vec<Type> {
    let mut made = Vec::with_capacity(mix.types);
    let mut random = Rng(200);
    for place in 0..mix.types {
        // The whole part of `place * share` grows by one at every enum.
        let is_enum = (place + 1) * mix.enums_percent / 100 > place * mix.enums_percent / 100;
        let generic = !is_enum && place % GENERIC_EVERY == GENERIC_EVERY / 2;
        let mut fields = Fields { random: &mut random, made: &made, depth: 0 };
        let (kind, body) = match is_enum {
            true => ("Event", Body::Enum(fields.variants())),
            false => ("Record", Body::Struct(fields.of_struct(generic))),
        };
        let depth = fields.depth;
        made.push(Type { name: format!("{kind}{place}"), generic, body, depth });
    }
    made
}

/// Some of the types, spread over all of them: the same every time, as many as asked for or all there are.
pub fn some(types: &[Type], wanted: usize) -> Vec<&Type> {
    let mut random = Rng(20);
    let step = types.len().div_ceil(wanted);
    types.chunks(step).map(|chunk| &chunk[random.below(chunk.len() as u64) as usize]).collect()
}

/// Makes the fields of one type.
struct Fields<'a> {
    random: &'a mut Rng,
    made: &'a [Type],
    depth: usize,
}

impl Fields<'_> {
    fn between(&mut self, least: u64, most: u64) -> usize {
        (least + self.random.below(most - least + 1)) as usize
    }

    /// 3 to 8 fields; those of a generic type begin with one of the parameter and a list of it.
    fn of_struct(&mut self, generic: bool) -> Vec<Ty> {
        let count = self.between(3, 8);
        let mut fields: Vec<_> = (0..count).map(|_| self.field()).collect();
        if generic {
            fields[0] = Ty::Param;
            fields[1] = Ty::List(Box::new(Ty::Param));
        }
        fields
    }

    /// 2 to 5 variants: the first has no data, the second has some.
    fn variants(&mut self) -> Vec<Variant> {
        let count = self.between(2, 5);
        let variants = (0..count).map(|place| {
            let fields = match place {
                0 => 0,
                1 => self.between(1, 3),
                _ => self.between(0, 3),
            };
            Variant { named: self.random.below(2) == 0, fields: (0..fields).map(|_| self.field()).collect() }
        });
        variants.collect()
    }

    fn field(&mut self) -> Ty {
        match self.random.below(100) {
            0..40 => self.number(),
            40..45 => Ty::Bool,
            45..65 => Ty::Text,
            65..75 => Ty::List(Box::new(self.element())),
            75..82 => Ty::Maybe(Box::new(self.element())),
            82..90 => Ty::Array(Box::new(self.number()), self.between(2, 8)),
            _ => self.nested(),
        }
    }

    fn number(&mut self) -> Ty {
        Ty::Number(NUMBERS[self.random.below(NUMBERS.len() as u64) as usize])
    }

    fn element(&mut self) -> Ty {
        match self.random.below(3) {
            0 => self.number(),
            1 => Ty::Text,
            _ => self.nested(),
        }
    }

    /// A type made earlier; text where there is none or it nests too deep.
    fn nested(&mut self) -> Ty {
        if self.made.is_empty() {
            return Ty::Text;
        }
        let place = self.random.below(self.made.len() as u64) as usize;
        let made = &self.made[place];
        if made.depth >= MAX_DEPTH {
            return Ty::Text;
        }
        self.depth = self.depth.max(made.depth + 1);
        Ty::Made(place, made.generic.then(|| Box::new(self.number())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIX: Mix = Mix { types: 200, enums_percent: 25 };

    fn all_fields(types: &[Type]) -> Vec<Ty> {
        fn inside(ty: &Ty, all: &mut Vec<Ty>) {
            all.push(ty.clone());
            match ty {
                Ty::List(inner) | Ty::Maybe(inner) | Ty::Array(inner, _) | Ty::Made(_, Some(inner)) => {
                    inside(inner, all)
                }
                _ => {}
            }
        }
        let mut all = Vec::new();
        for made in types {
            let fields: Vec<&Ty> = match &made.body {
                Body::Struct(fields) => fields.iter().collect(),
                Body::Enum(variants) => variants.iter().flat_map(|variant| &variant.fields).collect(),
            };
            fields.into_iter().for_each(|field| inside(field, &mut all));
        }
        all
    }

    #[test]
    fn the_types_are_the_same_every_time_and_more_of_them_begin_alike() {
        let made = types(MIX);
        assert_eq!(made, types(MIX));
        assert_eq!(made[..10], types(Mix { types: 10, ..MIX }));
    }

    #[test]
    fn the_types_are_what_was_asked_for() {
        let made = types(MIX);
        assert_eq!(made.len(), 200);
        assert_eq!(made.iter().filter(|made| matches!(made.body, Body::Enum(_))).count(), 50);
        assert!(made.iter().filter(|made| made.generic).count() >= 10);
        for made in &made {
            assert!(made.depth <= MAX_DEPTH);
            match &made.body {
                Body::Struct(fields) => {
                    assert!((3..=8).contains(&fields.len()), "{made:?}");
                    assert_eq!(made.generic, fields.contains(&Ty::Param), "{made:?}");
                }
                Body::Enum(variants) => {
                    assert!((2..=5).contains(&variants.len()), "{made:?}");
                    assert!(variants[0].fields.is_empty() && !variants[1].fields.is_empty(), "{made:?}");
                }
            }
        }
        let none = types(Mix { enums_percent: 0, ..MIX });
        assert!(none.iter().all(|made| matches!(made.body, Body::Struct(_))));
    }

    #[test]
    fn some_types_are_of_every_kind() {
        let made = types(MIX);
        let some = some(&made, 20);
        assert_eq!(some.len(), 20);
        assert!(some.iter().any(|one| one.generic));
        assert!(some.iter().any(|one| matches!(one.body, Body::Enum(_))));
        assert!(some.windows(2).all(|pair| pair[0].name != pair[1].name));
        assert_eq!(super::some(&made[..10], 20).len(), 10);
    }

    #[test]
    fn every_sort_of_field_occurs_and_names_only_earlier_types() {
        let made = types(MIX);
        let fields = all_fields(&made);
        for number in NUMBERS {
            assert!(fields.contains(&Ty::Number(number)), "{number}");
        }
        let sorts: [fn(&Ty) -> bool; 6] = [
            |ty| matches!(ty, Ty::Bool),
            |ty| matches!(ty, Ty::Text),
            |ty| matches!(ty, Ty::List(_)),
            |ty| matches!(ty, Ty::Maybe(_)),
            |ty| matches!(ty, Ty::Array(..)),
            |ty| matches!(ty, Ty::Made(_, Some(_))),
        ];
        for (place, sort) in sorts.iter().enumerate() {
            assert!(fields.iter().any(sort), "sort {place}");
        }
        for (place, one) in made.iter().enumerate() {
            for field in all_fields(std::slice::from_ref(one)) {
                if let Ty::Made(earlier, argument) = field {
                    assert!(earlier < place);
                    assert_eq!(argument.is_some(), made[earlier].generic);
                }
            }
        }
    }
}
