//! The source code of the types and of the program that uses some, for each contestant.

use super::generate::{Body, Ty, Type, Variant};
use std::fmt::Write;

/// Whose code it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Side {
    /// `#[derive(ShmSafe)]`.
    Ours,
    /// `#[derive(Serialize, Deserialize)]`.
    Serde,
    /// The types of serde's side without any derive.
    Bare,
}

/// Everyone, in the order of their turns.
pub const SIDES: [Side; 3] = [Side::Ours, Side::Serde, Side::Bare];

/// Names of fields.
const FIELDS: [&str; 8] = ["id", "owner", "price", "history", "place", "state", "count", "note"];

/// Names of variants.
const VARIANTS: [&str; 5] = ["Idle", "Running", "Failed", "Waiting", "Closed"];

impl Side {
    /// The last part of its packages' names.
    pub fn name(self) -> &'static str {
        match self {
            Side::Ours => "ours",
            Side::Serde => "serde",
            Side::Bare => "bare",
        }
    }

    /// The crate that declares the types.
    pub fn types(self, types: &[Type]) -> String {
        let mut text = String::from(match self {
            Side::Ours => "use shmem_core::{ShmOption, ShmSafe, ShmString, ShmVec};\n",
            Side::Serde => "use serde::{Deserialize, Serialize};\n",
            Side::Bare => "",
        });
        for one in types {
            text += "\n";
            text += match self {
                Side::Ours => "#[derive(ShmSafe)]\n",
                Side::Serde => "#[derive(Serialize, Deserialize)]\n",
                Side::Bare => "",
            };
            let parameter = match (one.generic, self) {
                (false, _) => "",
                (true, Side::Ours) => "<T: ShmSafe>",
                (true, _) => "<T>",
            };
            match &one.body {
                Body::Struct(fields) => {
                    text += &format!("#[repr(C)]\npub struct {}{parameter} {{\n", one.name);
                    for (name, ty) in FIELDS.iter().zip(fields) {
                        text += &format!("    pub {name}: {},\n", self.ty(types, ty));
                    }
                }
                Body::Enum(variants) => {
                    text += &format!("#[repr(u8)]\npub enum {}{parameter} {{\n", one.name);
                    for (name, variant) in VARIANTS.iter().zip(variants) {
                        let fields = members(variant, |at, ty| match variant.named {
                            true => format!("{}: {}", FIELDS[at], self.ty(types, ty)),
                            false => self.ty(types, ty),
                        });
                        text += &format!("    {name}{fields},\n");
                    }
                }
            }
            text += "}\n";
        }
        text
    }

    /// A type as this side writes it.
    fn ty(self, types: &[Type], ty: &Ty) -> String {
        let prefix = if self == Side::Ours { "Shm" } else { "" };
        match ty {
            Ty::Number(name) => (*name).into(),
            Ty::Bool => "bool".into(),
            Ty::Text => format!("{prefix}String"),
            Ty::List(inner) => format!("{prefix}Vec<{}>", self.ty(types, inner)),
            Ty::Maybe(inner) => format!("{prefix}Option<{}>", self.ty(types, inner)),
            Ty::Array(inner, len) => format!("[{}; {len}]", self.ty(types, inner)),
            Ty::Made(place, None) => types[*place].name.clone(),
            Ty::Made(place, Some(inner)) => format!("{}<{}>", types[*place].name, self.ty(types, inner)),
            Ty::Param => "T".into(),
        }
    }

    /// The program that uses these types: it builds a value of each, stores it and finds it again (where this side
    /// can), changes it and reads it. It prints a number that does not depend on the side.
    pub fn program(self, types: &[Type], used: &[&Type]) -> String {
        let (imports, argument, passed, set_up) = match self {
            Side::Ours => (
                "use shmem_core::{Result, Segment, ShmMutex, ShmOption};\n",
                "segment: &Segment",
                "&segment",
                "    let segment = Segment::anonymous().size(64 << 20).create()?;\n",
            ),
            Side::Serde => ("use serde_json::Result;\n", "", "", ""),
            Side::Bare => ("type Result<T> = std::result::Result<T, std::fmt::Error>;\n", "", "", ""),
        };
        let uses = Uses { side: self, types };
        let mut text = format!("use types_{}::*;\n{imports}", self.name());
        for (at, one) in used.iter().enumerate() {
            let body = uses.body(one);
            write!(text, "\nfn use_{at}({argument}) -> Result<u64> {{\n{body}}}\n").expect("a String grows");
        }
        let calls: Vec<_> = (0..used.len()).map(|at| format!("use_{at}({passed})?")).collect();
        text + &format!(
            "\nfn main() -> Result<()> {{\n{set_up}    println!(\"{{}}\", {});\n    Ok(())\n}}\n",
            calls.join(" + ")
        )
    }
}

/// The fields of a variant as a list in its kind of brackets.
fn members(variant: &Variant, write: impl Fn(usize, &Ty) -> String) -> String {
    let fields: Vec<_> = variant.fields.iter().enumerate().map(|(at, ty)| write(at, ty)).collect();
    match (fields.is_empty(), variant.named) {
        (true, _) => String::new(),
        (false, true) => format!(" {{ {} }}", fields.join(", ")),
        (false, false) => format!("({})", fields.join(", ")),
    }
}

/// Code that uses types.
struct Uses<'a> {
    side: Side,
    types: &'a [Type],
}

impl Uses<'_> {
    /// The body of the function that uses one type.
    fn body(&self, one: &Type) -> String {
        let (name, argument) = (&one.name, one.generic.then_some(&Ty::Number("u64")));
        let ty = if one.generic { format!("{name}<u64>") } else { name.clone() };
        let value = self.made(one, argument, 0);
        let changes = self.changes(one, argument);
        let read = self.read(one, argument);
        match self.side {
            Side::Ours => format!(
                "    segment.construct::<ShmMutex<{ty}>>(\"{name}\", ShmMutex::new({value}))?;\n    \
                 let root = segment.find::<ShmMutex<{ty}>>(\"{name}\")?.expect(\"just made\");\n    \
                 let mut guard = root.lock()?;\n    let mut view = guard.view();\n{changes}    \
                 let value = &*guard;\n    Ok({read})\n"
            ),
            Side::Serde => format!(
                "    let value: {ty} = {value};\n    let text = serde_json::to_string(&value)?;\n    \
                 let mut value: {ty} = serde_json::from_str(&text)?;\n{changes}    \
                 let value = &value;\n    Ok({read})\n"
            ),
            Side::Bare => format!(
                "    let mut value: {ty} = {value};\n{changes}    let value = &value;\n    Ok({read})\n"
            ),
        }
    }

    /// An expression for a value of a type, or for its initialiser.
    fn value(&self, ty: &Ty, argument: Option<&Ty>, variant: usize) -> String {
        let ours = self.side == Side::Ours;
        match ty {
            Ty::Number(name) if name.starts_with('f') => format!("2.0{name}"),
            Ty::Number(name) => format!("7{name}"),
            Ty::Bool => "true".into(),
            Ty::Text if ours => "\"some text\"".into(),
            Ty::Text => "String::from(\"some text\")".into(),
            Ty::List(inner) => {
                let element = self.value(inner, argument, variant);
                format!("{}[{element}, {element}]", if ours { "" } else { "vec!" })
            }
            Ty::Maybe(_) if ours => "ShmOption::none()".into(),
            Ty::Maybe(_) => "None".into(),
            Ty::Array(inner, len) => format!("[{}; {len}]", self.value(inner, argument, variant)),
            Ty::Made(place, inner) => self.made(&self.types[*place], inner.as_deref(), variant),
            Ty::Param => self.value(argument.expect("only generic types have one"), None, variant),
        }
    }

    /// As `value`, for a declared type; of an enum its variant at this place.
    fn made(&self, one: &Type, argument: Option<&Ty>, variant: usize) -> String {
        let ours = self.side == Side::Ours;
        match &one.body {
            Body::Struct(fields) => {
                let fields = FIELDS.iter().zip(fields);
                let fields: Vec<_> = fields
                    .map(|(name, ty)| format!("{name}: {}", self.value(ty, argument, variant)))
                    .collect();
                format!("{}{} {{ {} }}", one.name, if ours { "Init" } else { "" }, fields.join(", "))
            }
            Body::Enum(variants) => {
                let (name, made) = (VARIANTS[variant], &variants[variant]);
                let fields = members(made, |at, ty| match made.named {
                    true => format!("{}: {}", FIELDS[at], self.value(ty, argument, 0)),
                    false => self.value(ty, argument, 0),
                });
                match (ours, made.fields.is_empty()) {
                    (true, true) => format!("{}::init_{}()", one.name, name.to_lowercase()),
                    (true, false) => format!("{}{name}Init{fields}", one.name),
                    (false, _) => format!("{}::{name}{fields}", one.name),
                }
            }
        }
    }

    /// Statements that change each field that is no array and no declared type; an enum gets another variant.
    fn changes(&self, one: &Type, argument: Option<&Ty>) -> String {
        let ours = self.side == Side::Ours;
        let Body::Struct(fields) = &one.body else {
            let next = self.made(one, argument, 1);
            return match ours {
                true => format!("    view.set({next})?;\n"),
                false => format!("    value = {next};\n"),
            };
        };
        let mut text = String::new();
        for (name, ty) in FIELDS.iter().zip(fields) {
            let ty = if *ty == Ty::Param { argument.expect("of a generic type") } else { ty };
            let (star, place, question) =
                if ours { ("*", format!("view.{name}"), "?") } else { ("", format!("value.{name}"), "") };
            let statement = match ty {
                Ty::Number(kind) if kind.starts_with('f') => format!("{star}{place} = 3.0"),
                Ty::Number(_) => format!("{star}{place} = 9"),
                Ty::Bool => format!("{star}{place} = false"),
                Ty::Text => format!("{place}.push_str(\" and more\"){question}"),
                Ty::List(inner) => format!("{place}.push({}){question}", self.value(inner, argument, 0)),
                Ty::Maybe(inner) if ours => format!("{place}.set({})?", self.value(inner, argument, 0)),
                Ty::Maybe(inner) => format!("{place} = Some({})", self.value(inner, argument, 0)),
                Ty::Array(..) | Ty::Made(..) | Ty::Param => continue,
            };
            text += &format!("    {statement};\n");
        }
        text
    }

    /// A number read from every field of `value`.
    fn read(&self, one: &Type, argument: Option<&Ty>) -> String {
        match &one.body {
            Body::Struct(fields) => {
                let fields = FIELDS.iter().zip(fields);
                let read: Vec<_> = fields
                    .map(|(name, ty)| self.read_field(ty, &format!("value.{name}"), argument))
                    .collect();
                read.join(" + ")
            }
            Body::Enum(variants) => {
                let arms = VARIANTS.iter().zip(variants).map(|(name, variant)| {
                    let bound = members(variant, |at, _| match variant.named {
                        true => format!("{}: f{at}", FIELDS[at]),
                        false => format!("f{at}"),
                    });
                    let fields = variant.fields.iter().enumerate();
                    let read = fields.map(|(at, ty)| self.read_field(ty, &format!("(*f{at})"), argument));
                    let read: Vec<_> = std::iter::once("1".into()).chain(read).collect();
                    format!("        {}::{name}{bound} => {},\n", one.name, read.join(" + "))
                });
                format!("match value {{\n{}    }}", arms.collect::<String>())
            }
        }
    }

    fn read_field(&self, ty: &Ty, place: &str, argument: Option<&Ty>) -> String {
        match ty {
            Ty::Number(_) => format!("{place} as u64"),
            Ty::Bool => format!("u64::from({place})"),
            Ty::Text | Ty::List(_) => format!("{place}.len() as u64"),
            Ty::Maybe(_) => format!("u64::from({place}.is_some())"),
            Ty::Array(inner, len) => self.read_field(inner, &format!("{place}[{}]", len - 1), argument),
            Ty::Made(place_made, inner) => match &self.types[*place_made].body {
                Body::Struct(fields) => {
                    self.read_field(&fields[0], &format!("{place}.{}", FIELDS[0]), inner.as_deref())
                }
                Body::Enum(_) => {
                    format!("u64::from(matches!({place}, {}::Idle))", self.types[*place_made].name)
                }
            },
            Ty::Param => self.read_field(argument.expect("of a generic type"), place, None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::generate::{Mix, types};
    use super::*;

    /// The declarations differ in nothing but the derives and the names of std's types.
    #[test]
    fn all_sides_declare_the_same_types() {
        let made = types(Mix { types: 200, enums_percent: 25 });
        let plain = |side: Side| {
            let text = side.types(&made).replace("<T: ShmSafe>", "<T>").replace("Shm", "");
            let declared = |line: &&str| !line.starts_with("use ") && !line.starts_with("#[derive");
            text.lines()
                .filter(declared)
                .map(|line| line.trim_end().to_string())
                .collect::<Vec<_>>()
                .join("\n")
        };
        let bare = plain(Side::Bare);
        assert_eq!(plain(Side::Ours).trim(), bare.trim());
        assert_eq!(plain(Side::Serde).trim(), bare.trim());
        assert_eq!(bare.matches("pub struct ").count(), 150);
        assert_eq!(bare.matches("pub enum ").count(), 50);
        assert_eq!(Side::Ours.types(&made).matches("#[derive(ShmSafe)]").count(), 200);
        assert_eq!(Side::Serde.types(&made).matches("#[derive(Serialize, Deserialize)]").count(), 200);
        assert!(!Side::Bare.types(&made).contains("derive"));
    }

    #[test]
    fn programs_use_what_they_are_to_use() {
        let made = types(Mix { types: 40, enums_percent: 25 });
        let used: Vec<_> = made.iter().step_by(2).collect();
        for side in SIDES {
            let text = side.program(&made, &used);
            assert_eq!(text.matches("\nfn use_").count(), 20);
            for one in &used {
                let found = text.contains(&one.name);
                assert!(found, "{} in {side:?}", one.name);
            }
        }
    }
}
