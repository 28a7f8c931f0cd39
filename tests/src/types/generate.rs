//! Random types from a seed.

use super::describe::*;
use crate::Random;
use std::collections::HashSet;

/// How many types are generated.
const DEFS: usize = 200;
/// How many types are checked: the generated ones with arguments, and containers of them.
const ROOTS: usize = 300;
/// No larger type is put into another, in bytes.
const LARGEST: usize = 300;

const FIELD_NAMES: [&str; 14] = [
    "id", "name", "r#type", "slot", "access", "at", "view", "from", "to", "visitor", "tag", "value", "place",
    "r#fn",
];
const VARIANT_NAMES: [&str; 12] =
    ["Idle", "Running", "Failed", "None", "Some", "Ok", "Err", "Box", "Tag", "NotYet", "Access", "Other"];
const INTS: [IntRepr; 10] = {
    const fn int(name: &'static str, size: usize, signed: bool) -> IntRepr {
        IntRepr { name, size, signed }
    }
    [
        int("u8", 1, false),
        int("u16", 2, false),
        int("u32", 4, false),
        int("u64", 8, false),
        int("usize", 8, false),
        int("i8", 1, true),
        int("i16", 2, true),
        int("i32", 4, true),
        int("i64", 8, true),
        int("isize", 8, true),
    ]
};

/// Where a type is to stand.
#[derive(Clone, Copy)]
struct Where<'p> {
    /// The parameters that are in scope.
    params: &'p [Param],
    /// It is to be a key.
    key: bool,
    /// It is to be a mirror of an ordinary type.
    mirror: bool,
    /// It stands in a container that may be empty and has a block of its own: any type may be named.
    below: bool,
    /// As `below`, in a box: it must be there, so the whole must have another form that ends.
    boxed: bool,
}

/// The generated types' own choices, made before any of their fields'.
struct Head {
    params: Vec<Param>,
    hash: bool,
    mirror: bool,
    /// It is an enum without fields, which is its own mirror.
    unit_only: bool,
}

struct Generator {
    random: Random,
    world: World,
    heads: Vec<Head>,
}

impl World {
    /// The types of a seed.
    pub fn new(seed: u64) -> World {
        let world = World { seed, ..World::default() };
        let mut generator = Generator { random: Random::new(seed), world, heads: Vec::new() };
        generator.heads = (0..DEFS).map(|_| generator.head()).collect();
        for i in 0..DEFS {
            let def = generator.def(i);
            generator.world.defs.push(def);
        }
        generator.roots();
        generator.world
    }
}

impl Generator {
    fn below(&mut self, n: usize) -> usize {
        self.random.below(n as u64) as usize
    }

    /// Once in `n`.
    fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    fn head(&mut self) -> Head {
        let unit_only = self.one_in(10);
        let mirror = !unit_only && self.one_in(3);
        let mut params = Vec::new();
        if !unit_only && self.one_in(4) {
            for _ in 0..1 + self.below(2) {
                params.push(match self.below(if mirror { 5 } else { 6 }) {
                    0..3 => Param::Type,
                    3 | 4 => Param::Const(Const::Usize(0)),
                    _ => Param::Const(*self.random.pick(&[
                        Const::I16(0),
                        Const::Bool(false),
                        Const::Char('a'),
                    ])),
                });
            }
        }
        Head { params, hash: !mirror && self.one_in(4), mirror, unit_only }
    }

    fn def(&mut self, i: usize) -> Def {
        let Head { params, hash, mirror, unit_only } = &self.heads[i];
        let (params, hash, mirror, unit_only) = (params.clone(), *hash, *mirror, *unit_only);
        let place = Where { params: &params, key: hash, mirror, below: false, boxed: false };
        let is_enum = unit_only || self.one_in(2);
        let transparent = !is_enum && !mirror && self.one_in(6);
        let shape = match (is_enum, transparent) {
            (true, _) => Shape::Enum(self.variants(i, place, unit_only)),
            (_, true) => Shape::Struct(self.transparent(i, place)),
            _ => {
                let n = self.below(7);
                Shape::Struct(self.fields(i, place, n))
            }
        };
        let mut repr = Repr { c: true, transparent: false, int: None, align: None };
        if !mirror {
            repr.transparent = transparent;
            repr.align =
                (!transparent && self.one_in(6)).then(|| *self.random.pick(&[1, 2, 4, 8, 16, 32, 64, 128]));
            if is_enum {
                let int = *self.random.pick(&INTS);
                let without_fields =
                    matches!(&shape, Shape::Enum(v) if v.iter().all(|v| v.fields.list.is_empty()));
                (repr.c, repr.int) = match self.below(6) {
                    0 => (true, None),
                    1 | 2 if !without_fields => (true, Some(int)),
                    _ => (false, Some(int)),
                };
            }
            repr.c &= !transparent;
        }
        let repr_written = mirror && is_enum && self.one_in(2);
        if mirror && is_enum {
            let int = if repr_written { *self.random.pick(&INTS) } else { INTS[0] };
            (repr.c, repr.int) = (false, Some(int));
        }
        let name = format!("D{i}");
        let mut def = Def {
            name: if mirror { format!("Shm{name}") } else { name.clone() },
            params,
            shape,
            repr,
            hash,
            version: if self.one_in(5) { 1 + self.below(1000) as u32 } else { 0 },
            named: self.one_in(8).then(|| format!("org.example/{name}")),
            open: self.one_in(2),
            sealed: !mirror && self.one_in(10),
            mirror_of: mirror.then_some(name),
            repr_written,
        };
        use_parameters(i, &mut def);
        self.tags(&mut def);
        def
    }

    fn variants(&mut self, i: usize, place: Where<'_>, unit_only: bool) -> Vec<Variant> {
        let n = 1 + self.below(6);
        let mut names: Vec<_> = VARIANT_NAMES.to_vec();
        let variants = (0..n).map(|v| {
            let name = names.swap_remove(self.below(names.len())).to_owned();
            // A value that must end takes the first variant.
            let place = Where { boxed: v > 0, ..place };
            let n = if unit_only { 0 } else { self.below(5) };
            let fields = self.fields(i, place, n);
            let rename = self.one_in(6).then(|| format!("{name} of old"));
            Variant { name, rename, discriminant: None, tag: 0, fields }
        });
        variants.collect()
    }

    fn fields(&mut self, i: usize, place: Where<'_>, n: usize) -> Fields {
        let style = match self.below(5) {
            0 if n == 0 => Style::Unit,
            1 | 2 => Style::Tuple,
            _ => Style::Named,
        };
        let mut names = FIELD_NAMES.to_vec();
        let list = (0..n).map(|f| {
            let name = match style {
                Style::Named => names.swap_remove(self.below(names.len())).to_owned(),
                _ => f.to_string(),
            };
            let rename = self.one_in(8).then(|| format!("{name}, once"));
            let ty = self.fitting(i, place);
            let skip = place.mirror && self.one_in(8);
            let with = place.mirror && ty == Ty::Text && self.one_in(3);
            Field { name, rename, ty, skip, with }
        });
        Fields { style, list: list.collect() }
    }

    /// One field with bytes, others without.
    fn transparent(&mut self, i: usize, place: Where<'_>) -> Fields {
        let (n, mut fields) = (1 + self.below(3), self.fields(i, place, 1));
        if matches!(fields.style, Style::Unit) {
            fields.style = Style::Tuple;
        }
        let at = self.below(n);
        for f in 1..n {
            let ty = if self.one_in(2) { Ty::Unit } else { Ty::of(Container::Phantom, self.leaf(place)) };
            fields.list.push(Field { name: format!("empty{f}"), rename: None, ty, skip: false, with: false });
        }
        fields.list.swap(0, at);
        if fields.style == Style::Tuple {
            fields.list.iter_mut().enumerate().for_each(|(i, field)| field.name = i.to_string());
        }
        fields
    }

    /// Discriminants and tags.
    fn tags(&mut self, def: &mut Def) {
        let bare = def.variants().iter().all(|fields| fields.style == Style::Unit);
        let repr = &mut def.repr;
        // The twin of an enum with discriminants, but without a `repr`, has a tag as the language has it.
        let by_language = def.mirror_of.is_some() && !def.repr_written;
        if by_language && bare && self.one_in(2) {
            repr.int = Some(INTS[9]);
        }
        let Shape::Enum(variants) = &mut def.shape else { return };
        let int = repr.int.unwrap_or(IntRepr { name: "i32", size: 4, signed: true });
        // Without a number in its `repr` an enum with fields, or with room for them, has no discriminants to be written.
        let explicit = bare || (repr.int.is_some() && !by_language);
        let explicit = explicit && !(by_language && repr.int == Some(INTS[0]));
        let bits = 8 * int.size as u32;
        let (least, most) = match int.signed {
            true => (-(1_i128 << (bits - 1)), (1_i128 << (bits - 1)) - 1),
            false => (0, (1_i128 << bits) - 1),
        };
        let (mut taken, mut next) = (HashSet::new(), 0);
        for (i, variant) in variants.iter_mut().enumerate() {
            // Such a tag needs one that is written.
            let must = by_language && explicit && i == 0;
            let free = !taken.contains(&next) && next <= most;
            if !free || must || (explicit && self.one_in(3)) {
                next = loop {
                    let candidate = match self.below(5) {
                        0 => least,
                        1 => most,
                        2 => i128::from(self.random.word() % 20) - 10,
                        _ => least + (i128::from(self.random.word()) & (most - least)),
                    };
                    if (least..=most).contains(&candidate) && !taken.contains(&candidate) {
                        break candidate;
                    }
                };
                variant.discriminant = Some(next);
            }
            variant.tag = next;
            taken.insert(next);
            next += 1;
        }
    }

    /// A type that is not too large to stand in another.
    fn fitting(&mut self, i: usize, place: Where<'_>) -> Ty {
        let ty = self.ty(i, place, 3);
        // A parameter counts as the largest number.
        let args: Vec<_> = place.params.iter().map(example).collect();
        if self.world.layout(&ty.with(&args)).size > LARGEST { self.leaf(place) } else { ty }
    }

    /// A type without parts, or a parameter.
    fn leaf(&mut self, place: Where<'_>) -> Ty {
        let types: Vec<_> = (0..place.params.len()).filter(|p| place.params[*p] == Param::Type).collect();
        match self.below(10) {
            0 | 1 if !types.is_empty() => Ty::Param(*self.random.pick(&types)),
            2 => Ty::Bool,
            3 => Ty::Char,
            4 | 5 => Ty::Text,
            6 if !place.key && !place.mirror => Ty::Probe,
            7 if self.one_in(3) => Ty::Unit,
            _ => loop {
                let number = *self.random.pick(&Number::ALL);
                if !(place.key && number.float) {
                    return Ty::Number(number);
                }
            },
        }
    }

    fn ty(&mut self, i: usize, place: Where<'_>, depth: u32) -> Ty {
        if depth == 0 {
            return self.leaf(place);
        }
        let Where { key, mirror, .. } = place;
        let below = Where { below: true, ..place };
        let inner = |this: &mut Self, place| this.ty(i, place, depth - 1);
        match self.below(24) {
            0..3 => Ty::of(Container::Vec, inner(self, below)),
            3 => Ty::of(Container::BoxSlice, inner(self, below)),
            4 | 5 => {
                let inside = if place.boxed || place.below { below } else { place };
                Ty::of(Container::Box, inner(self, inside))
            }
            6 | 7 => {
                let boxed = self.one_in(2);
                let value = inner(self, if boxed { below } else { place });
                Ty::of(Container::Option, if boxed { Ty::of(Container::Box, value) } else { value })
            }
            8 => {
                let params: Vec<_> = (0..place.params.len())
                    .filter(|p| matches!(place.params[*p], Param::Const(Const::Usize(_))))
                    .collect();
                let len = match params.is_empty() {
                    true => Len::Fixed(self.below(4)),
                    false => Len::Param(*self.random.pick(&params)),
                };
                Ty::Array(inner(self, place).into(), len)
            }
            9 | 10 if !key => {
                let key = self.ty(i, Where { params: &[], key: true, boxed: false, ..place }, 1);
                let value = inner(self, below);
                Ty::Map(key.into(), value.into())
            }
            11 if !key => {
                Ty::of(Container::Set, self.ty(i, Where { params: &[], key: true, boxed: false, ..place }, 1))
            }
            12 if !key && !mirror => Ty::of(Container::Mutex, inner(self, place)),
            13 => Ty::of(Container::Phantom, inner(self, Where { key: false, ..below })),
            14 if mirror => {
                let n = 1 + self.below(3);
                Ty::Tuple((0..n).map(|_| self.leaf(place)).collect())
            }
            15..21 => self.named(i, place, depth).unwrap_or_else(|| self.leaf(place)),
            _ => self.leaf(place),
        }
    }

    /// A generated type: an earlier one, or any one if it stands in a block of its own.
    fn named(&mut self, i: usize, place: Where<'_>, depth: u32) -> Option<Ty> {
        for _ in 0..6 {
            let forward = place.below && !place.key && self.one_in(3);
            let other = match forward {
                true if self.one_in(2) => i,
                true => self.below(DEFS),
                false if i == 0 => return None,
                false => self.below(i),
            };
            let Head { params, hash, mirror, unit_only } = &self.heads[other];
            if (place.key && !hash) || (place.mirror && !mirror && !unit_only) {
                continue;
            }
            let params = params.clone();
            // A type that is not there yet may name this one with other arguments, and so on without end.
            if other == i && !params.is_empty() {
                if place.params.len() == params.len() {
                    let own = params.iter().enumerate().map(|(p, param)| own(p, *param));
                    return own.collect::<Option<_>>().map(|args| Ty::Def(i, args));
                }
                continue;
            }
            if other > i && !(params.is_empty() && self.heads[i].params.is_empty()) {
                continue;
            }
            let place = Where { key: place.key || *hash, below: false, boxed: false, ..place };
            let args = params.iter().map(|param| self.arg(i, place, *param, depth)).collect();
            return Some(Ty::Def(other, args));
        }
        None
    }

    fn arg(&mut self, i: usize, place: Where<'_>, param: Param, depth: u32) -> Arg {
        match param {
            Param::Type => Arg::Type(self.ty(i, place, depth.saturating_sub(1))),
            Param::Const(Const::Usize(_)) => Arg::Const(Const::Usize(self.below(4))),
            Param::Const(Const::I16(_)) => Arg::Const(Const::I16(self.random.word() as i16)),
            Param::Const(Const::Bool(_)) => Arg::Const(Const::Bool(self.one_in(2))),
            Param::Const(Const::Char(_)) => {
                Arg::Const(Const::Char(*self.random.pick(&['x', '\'', 'ß', '🦀'])))
            }
        }
    }

    /// The types to be checked: each generated one, with different arguments if it has parameters, and containers.
    fn roots(&mut self) {
        let mut seen = HashSet::new();
        let mut round = 0;
        while self.world.roots.len() < ROOTS {
            for i in 0..DEFS {
                let (params, hash) = (self.heads[i].params.clone(), self.heads[i].hash);
                let mirror = self.heads[i].mirror;
                let place = Where { params: &[], key: hash, mirror, below: false, boxed: false };
                let args = params.iter().map(|param| self.arg(i, place, *param, 2)).collect();
                let mut ty = Ty::Def(i, args);
                if round > 0 && self.one_in(3) {
                    let place = Where { key: false, ..place };
                    ty = match self.below(8) {
                        0 => Ty::of(Container::Vec, ty),
                        1 => Ty::of(Container::Option, ty),
                        2 => Ty::of(Container::Box, ty),
                        3 => Ty::of(Container::BoxSlice, ty),
                        4 => Ty::of(Container::Mutex, ty),
                        5 => Ty::Array(ty.into(), Len::Fixed(2)),
                        6 if hash => Ty::Map(ty.into(), self.leaf(place).into()),
                        6 => Ty::Map(self.leaf(Where { key: true, ..place }).into(), ty.into()),
                        _ if hash => Ty::of(Container::Set, ty),
                        _ => ty,
                    };
                }
                // `usize` is described as `u64`: two such types are one.
                let new = seen.insert(canonical(&format!("{ty:?}")));
                if new && self.world.roots.len() < ROOTS {
                    self.world.roots.push(ty);
                }
            }
            round += 1;
        }
    }
}

/// Adds a field for each type parameter that no other field has.
fn use_parameters(i: usize, def: &mut Def) {
    for p in 0..def.params.len() {
        let used =
            def.variants().iter().any(|fields| fields.stored().any(|(_, field)| mentions(&field.ty, i, p)));
        if def.params[p] != Param::Type || used {
            continue;
        }
        let fields = match &mut def.shape {
            Shape::Struct(fields) => fields,
            Shape::Enum(variants) => &mut variants.last_mut().expect("a variant").fields,
        };
        if fields.style == Style::Unit {
            fields.style = Style::Tuple;
        }
        let name =
            if fields.style == Style::Named { format!("of{p}") } else { fields.list.len().to_string() };
        let ty = Ty::of(Container::Phantom, Ty::Param(p));
        fields.list.push(Field { name, rename: None, ty, skip: false, with: false });
    }
}

/// Whether a type names parameter `p`, but for recursion of type `i`.
fn mentions(ty: &Ty, i: usize, p: usize) -> bool {
    match ty {
        Ty::Param(other) => *other == p,
        Ty::Of(_, inner) | Ty::Array(inner, _) => mentions(inner, i, p),
        Ty::Map(key, value) => mentions(key, i, p) || mentions(value, i, p),
        Ty::Tuple(list) => list.iter().any(|ty| mentions(ty, i, p)),
        Ty::Def(other, args) => {
            *other != i && args.iter().any(|arg| matches!(arg, Arg::Type(ty) if mentions(ty, i, p)))
        }
        _ => false,
    }
}

fn canonical(ty: &str) -> String {
    ty.replace("usize", "u64").replace("isize", "i64")
}

/// The argument that is parameter `p` itself.
fn own(p: usize, param: Param) -> Option<Arg> {
    // Const parameters as arguments of others are not written.
    (param == Param::Type).then_some(Arg::Type(Ty::Param(p)))
}

fn example(param: &Param) -> Arg {
    match param {
        Param::Type => Arg::Type(Ty::Number(Number::ALL[4])),
        Param::Const(Const::Usize(_)) => Arg::Const(Const::Usize(3)),
        Param::Const(constant) => Arg::Const(*constant),
    }
}
