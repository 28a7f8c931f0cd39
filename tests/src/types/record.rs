//! Reads type records as FORMAT.md gives them, and compares them with what a type is.

use super::describe::{Arg, Const, Container, Def, Fields, Len, Shape, Ty, World};
use shmem_core::{Fingerprint, StoredType};
use std::collections::{HashMap, HashSet};

/// A record, read from its first byte on.
struct Record<'r>(&'r [u8]);

impl<'r> Record<'r> {
    fn take(&mut self, n: usize) -> &'r [u8] {
        let (taken, rest) = self.0.split_at(n);
        self.0 = rest;
        taken
    }

    fn number(&mut self, size: usize) -> u128 {
        let mut bytes = [0; 16];
        bytes[..size].copy_from_slice(self.take(size));
        u128::from_le_bytes(bytes)
    }

    fn text(&mut self) -> &'r str {
        let len = self.number(2) as usize;
        std::str::from_utf8(self.take(len)).expect("UTF-8")
    }

    fn reference(&mut self) -> Fingerprint {
        assert_eq!(self.number(1), 0, "a stored record refers by fingerprint");
        Fingerprint(self.take(16).try_into().expect("16 bytes"))
    }
}

/// The records of a segment.
pub struct Records<'w> {
    world: &'w World,
    /// The module that the types stand in.
    module: &'w str,
    stored: HashMap<Fingerprint, Vec<u8>>,
    seen: HashSet<(Ty, Fingerprint)>,
}

impl<'w> Records<'w> {
    /// Those of a segment, whose types stand in `module`.
    pub fn new(world: &'w World, module: &'w str, stored: Vec<StoredType>) -> Self {
        let stored = stored.into_iter().map(|ty| (ty.fingerprint, ty.record)).collect();
        Records { world, module, stored, seen: HashSet::new() }
    }

    /// Checks that the record under `fingerprint`, and each that it refers to, is what `ty` is.
    pub fn check(&mut self, ty: &Ty, fingerprint: Fingerprint) {
        if !self.seen.insert((ty.clone(), fingerprint)) {
            return;
        }
        let record = self.stored.get(&fingerprint).unwrap_or_else(|| panic!("no record of {ty:?}")).clone();
        let mut record = Record(&record);
        let head = (record.number(1), record.text(), record.text(), record.number(4));
        let (name, args) = self.name(ty);
        match ty {
            Ty::Def(i, _) => {
                let def = &self.world.defs[*i];
                // An enum's variants and fields are as public as it is itself.
                let private = !def.open
                    && match &def.shape {
                        Shape::Struct(of) => of.stored().next().is_some(),
                        Shape::Enum(_) => true,
                    };
                let (origin, vouched, name) = match &def.named {
                    Some(named) => (3, named.as_str(), ""),
                    None if private || def.sealed => (1, self.module, def.name.as_str()),
                    None => (2, "", def.name.as_str()),
                };
                assert_eq!(head, (origin, vouched, name, u128::from(def.version)), "the head of the record");
            }
            // The head of a leaf of these suites' own is written beside it.
            Ty::Probe => assert_eq!(head, (2, "", "Probe", 0)),
            // The library's tuples are structs with public fields.
            Ty::Tuple(_) => assert_eq!(head, (2, "", &*name, 0)),
            _ => assert_eq!((head.0, head.1, head.2), (0, "", &*name), "the head of {ty:?}'s record"),
        }
        let layout = self.world.layout(ty);
        assert_eq!(
            (record.number(8), record.number(4)),
            (layout.size as u128, layout.align as u128),
            "size and alignment of {ty:?}"
        );
        self.kind(ty, &mut record);
        assert_eq!(record.number(2), args.len() as u128, "the number of arguments of {ty:?}");
        for arg in args {
            match (record.number(1), arg) {
                (0, Arg::Type(arg)) => self.check(&arg, record.reference()),
                (kind, Arg::Const(value)) => {
                    let wanted = match value {
                        Const::Usize(n) => (1, n as u128),
                        Const::I16(n) => (2, i128::from(n) as u128),
                        Const::Bool(b) => (3, u128::from(b)),
                        Const::Char(c) => (4, u128::from(c)),
                    };
                    assert_eq!((kind, record.number(16)), wanted, "a const argument of {ty:?}");
                }
                (kind, arg) => panic!("an argument of kind {kind} instead of {arg:?}"),
            }
        }
        assert!(record.0.is_empty(), "bytes behind the record of {ty:?}");
    }

    /// The recorded name of a type of the library, and the arguments of any type.
    fn name(&self, ty: &Ty) -> (String, Vec<Arg>) {
        let (name, args) = match ty {
            Ty::Unit => ("()", Vec::new()),
            // `usize` is described as the type of 64 bits.
            Ty::Number(number) => match number.name {
                "usize" => ("u64", Vec::new()),
                "isize" => ("i64", Vec::new()),
                name => (name, Vec::new()),
            },
            Ty::Bool => ("bool", Vec::new()),
            Ty::Char => ("char", Vec::new()),
            Ty::Text => ("ShmString", Vec::new()),
            Ty::Of(container, inner) => (container.name(), vec![Arg::Type((**inner).clone())]),
            Ty::Map(key, value) => {
                ("ShmHashMap", vec![Arg::Type((**key).clone()), Arg::Type((**value).clone())])
            }
            Ty::Array(..) => ("array", Vec::new()),
            Ty::Tuple(list) => {
                return (format!("ShmTuple{}", list.len()), list.iter().cloned().map(Arg::Type).collect());
            }
            Ty::Def(_, args) => ("", args.clone()),
            Ty::Probe => ("", Vec::new()),
            Ty::Param(_) => unreachable!("a free parameter"),
        };
        (name.to_owned(), args)
    }

    fn kind(&mut self, ty: &Ty, record: &mut Record<'_>) {
        let kind = record.number(1);
        match ty {
            Ty::Unit | Ty::Number(_) | Ty::Bool | Ty::Char | Ty::Probe => assert_eq!(kind, 0, "{ty:?}"),
            Ty::Array(inner, Len::Fixed(n)) => {
                assert_eq!((kind, record.number(8)), (3, *n as u128), "{ty:?}");
                self.check(inner, record.reference());
            }
            Ty::Def(i, args) => self.def(&self.world.defs[*i], args, ty, kind, record),
            Ty::Tuple(list) => {
                assert_eq!((kind, record.number(2)), (1, list.len() as u128), "{ty:?}");
                let places = self.world.places(ty);
                for (i, (ty, offset)) in list.iter().zip(&places.offsets[0]).enumerate() {
                    assert_eq!((record.text(), record.number(8)), (&*i.to_string(), *offset as u128));
                    self.check(ty, record.reference());
                }
            }
            _ => assert_eq!(kind, if is_phantom(ty) { kind } else { 4 }, "{ty:?}"),
        }
    }

    fn def(&mut self, def: &'w Def, args: &[Arg], ty: &Ty, kind: u128, record: &mut Record<'_>) {
        let places = self.world.places(ty);
        match &def.shape {
            Shape::Struct(fields) => {
                assert_eq!(kind, 1, "{} is a struct", def.name);
                self.fields(fields, &def.types(0, args), &places.offsets[0], record);
            }
            Shape::Enum(variants) => {
                let head = (kind, record.number(1), record.number(2));
                assert_eq!(head, (2, places.tag_size as u128, variants.len() as u128), "{}", def.name);
                for (i, variant) in variants.iter().enumerate() {
                    let name = variant.rename.as_ref().unwrap_or(&variant.name);
                    let found = (record.text(), record.number(16) as i128);
                    assert_eq!(found, (name.as_str(), variant.tag), "a variant of {}", def.name);
                    self.fields(&variant.fields, &def.types(i, args), &places.offsets[i], record);
                }
            }
        }
    }

    fn fields(&mut self, fields: &Fields, types: &[Ty], offsets: &[usize], record: &mut Record<'_>) {
        assert_eq!(record.number(2), types.len() as u128, "the number of fields");
        for (((name, field), ty), offset) in fields.stored().zip(types).zip(offsets) {
            let name = field.rename.as_deref().unwrap_or(name.trim_start_matches("r#"));
            assert_eq!((record.text(), record.number(8)), (name, *offset as u128), "a field");
            self.check(ty, record.reference());
        }
    }
}

fn is_phantom(ty: &Ty) -> bool {
    matches!(ty, Ty::Of(Container::Phantom, _))
}

impl World {
    /// The types of the fields of a generated type's variant, or of a tuple.
    pub fn field_types(&self, ty: &Ty, variant: usize) -> Vec<Ty> {
        match ty {
            Ty::Def(i, args) => self.defs[*i].types(variant, args),
            Ty::Tuple(list) => list.clone(),
            _ => unreachable!("{ty:?} has no fields"),
        }
    }
}
