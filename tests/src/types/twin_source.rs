//! The Rust source of ordinary types that have a twin among the random ones.

use super::describe::*;
use super::source::{constant, generics, param, ty};
use std::fmt::Write;

/// The ordinary type that this is the mirror of.
pub(super) fn native(world: &World, of: &Ty) -> String {
    let list = |list: &[Ty]| list.iter().map(|of| native(world, of) + ", ").collect::<String>();
    match of {
        Ty::Text => "String".to_owned(),
        Ty::Of(Container::Option, inner) if **inner == Ty::Text => "Option<Box<str>>".to_owned(),
        Ty::Of(container, inner) => {
            let inner = native(world, inner);
            match container {
                Container::Vec => format!("Vec<{inner}>"),
                Container::Box => format!("Box<{inner}>"),
                Container::BoxSlice => format!("Box<[{inner}]>"),
                Container::Option => format!("Option<{inner}>"),
                Container::Set => format!("HashSet<{inner}>"),
                Container::Phantom => format!("PhantomData<{inner}>"),
                Container::Mutex => unreachable!("a lock has no ordinary twin"),
            }
        }
        Ty::Map(key, value) => format!("HashMap<{}, {}>", native(world, key), native(world, value)),
        Ty::Array(inner, Len::Fixed(n)) => format!("[{}; {n}]", native(world, inner)),
        Ty::Array(inner, Len::Param(i)) => format!("[{}; {}]", native(world, inner), param(*i)),
        Ty::Tuple(of) => format!("({})", list(of)),
        Ty::Def(i, args) => {
            let def = &world.defs[*i];
            let args = args.iter().map(|arg| match arg {
                Arg::Type(of) => native(world, of),
                Arg::Const(value) => constant(value).0,
            });
            let args: Vec<_> = args.collect();
            let args = if args.is_empty() { String::new() } else { format!("<{}>", args.join(", ")) };
            format!("{}{args}", def.mirror_of.as_ref().unwrap_or(&def.name))
        }
        leaf => ty(world, leaf),
    }
}

/// How the program makes and reads values of an ordinary type; of a type that is its own mirror too.
pub(super) fn ordinary(def: &Def) -> String {
    if def.mirror_of.is_none() && !def.is_unit_only() {
        return String::new();
    }
    let (declared, args) = generics(def, "Plain");
    let name = def.mirror_of.as_ref().unwrap_or(&def.name);
    let (mut makes, mut models) = (String::new(), String::new());
    for (i, fields) in def.variants().iter().enumerate() {
        let pattern = match &def.shape {
            Shape::Struct(_) => "Self".to_owned(),
            Shape::Enum(variants) => format!("Self::{}", variants[i].name),
        };
        let (mut make, mut taken, mut model, mut n) = (Vec::new(), Vec::new(), Vec::new(), 0);
        let mut checks = String::new();
        for (f, field) in fields.list.iter().enumerate() {
            taken.push(format!("{}: f{f}", field.name));
            if field.skip {
                make.push(format!("{}: NotStored(7)", field.name));
                let _ = write!(checks, "f{f}.expect_default(); ");
            } else {
                make.push(format!("{}: Plain::make(&f[{n}])", field.name));
                model.push(format!("f{f}.model()"));
                n += 1;
            }
        }
        let (make, taken, model) = (make.join(", "), taken.join(", "), model.join(", "));
        let _ = writeln!(makes, "            {i} => {pattern} {{ {make} }},");
        let _ = writeln!(
            models,
            "            {pattern} {{ {taken} }} => {{ {checks}Model::Data({i}, vec![{model}]) }}"
        );
    }
    format!(
        "impl{declared} Plain for {name}{args} {{
    fn make(m: &Model) -> Self {{
        let f = m.list();
        match m.variant() {{
{makes}            _ => unreachable!(),
        }}
    }}
    fn model(&self) -> Model {{
        match self {{
{models}        }}
    }}
}}
"
    )
}
