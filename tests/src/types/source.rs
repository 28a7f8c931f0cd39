//! The Rust source of random types.

use super::describe::*;
use super::twin_source::{native, ordinary};
use std::fmt::Write;

/// What stands before the types.
const HEAD: &str = "\
//! Written by the suite `random_types`.
#![allow(dead_code, unused_variables, unused_mut, unreachable_patterns, private_interfaces)]
use shmem_core::access::Access;
use shmem_core::*;
use shmem_tests::types::{
    Change, Coded, Model, NotStored, Of, Parts, Plain, Probe, Program, Read, Stored, as_text, case, mirrored,
};
use std::collections::{HashMap, HashSet};
use std::marker::PhantomData;
use std::num::*;
";

/// The name of the program's crate, which is the module of its types.
pub const CRATE: &str = "random_types";

/// The whole program.
pub fn program(world: &World) -> String {
    let mut out = HEAD.to_owned();
    for def in &world.defs {
        out += &declaration(world, def);
        out += &functions(world, def);
        out += &ordinary(def);
    }
    let _ = writeln!(out, "fn main() {{\n    let mut cases = Vec::new();");
    for root in &world.roots {
        let of = match root {
            Ty::Def(i, _) if world.defs[*i].mirror_of.is_some() => {
                format!("mirrored::<{}>", native(world, root))
            }
            _ => format!("case::<{}>", ty(world, root)),
        };
        let _ = writeln!(out, "    cases.push({of}());");
    }
    let _ = writeln!(out, "    Program::new({}, module_path!(), cases).main();\n}}", world.seed);
    out
}

/// The source of a type and of the generated ones that it is made of.
pub fn declarations(world: &World, root: &Ty) -> String {
    let mut wanted = Vec::new();
    mentioned(world, root, &mut wanted);
    let mut out = format!("{}\n", ty(world, root));
    for i in wanted {
        out += &declaration(world, &world.defs[i]);
    }
    out
}

fn mentioned(world: &World, ty: &Ty, found: &mut Vec<usize>) {
    match ty {
        Ty::Of(_, inner) | Ty::Array(inner, _) => mentioned(world, inner, found),
        Ty::Map(key, value) => [key, value].into_iter().for_each(|ty| mentioned(world, ty, found)),
        Ty::Tuple(list) => list.iter().for_each(|ty| mentioned(world, ty, found)),
        Ty::Def(i, args) => {
            for arg in args {
                if let Arg::Type(ty) = arg {
                    mentioned(world, ty, found);
                }
            }
            if !found.contains(i) {
                found.push(*i);
                for fields in world.defs[*i].variants() {
                    fields.list.iter().for_each(|field| mentioned(world, &field.ty, found));
                }
            }
        }
        _ => {}
    }
}

pub(super) fn param(i: usize) -> String {
    format!("P{i}")
}

pub(super) fn constant(value: &Const) -> (String, &'static str) {
    match value {
        Const::Usize(n) => (n.to_string(), "usize"),
        Const::I16(n) => (format!("{{ {n} }}"), "i16"),
        Const::Bool(b) => (b.to_string(), "bool"),
        Const::Char(c) => (format!("{c:?}"), "char"),
    }
}

/// A type.
pub(super) fn ty(world: &World, of: &Ty) -> String {
    match of {
        Ty::Unit => "()".to_owned(),
        Ty::Number(number) => number.name.to_owned(),
        Ty::Bool => "bool".to_owned(),
        Ty::Char => "char".to_owned(),
        Ty::Text => "ShmString".to_owned(),
        Ty::Probe => "Probe".to_owned(),
        Ty::Param(i) => param(*i),
        Ty::Of(container, inner) => format!("{}<{}>", container.name(), ty(world, inner)),
        Ty::Map(key, value) => format!("ShmHashMap<{}, {}>", ty(world, key), ty(world, value)),
        Ty::Array(inner, Len::Fixed(n)) => format!("[{}; {n}]", ty(world, inner)),
        Ty::Array(inner, Len::Param(i)) => format!("[{}; {}]", ty(world, inner), param(*i)),
        Ty::Tuple(list) => {
            let list: Vec<_> = list.iter().map(|of| ty(world, of)).collect();
            format!("ShmTuple{}<{}>", list.len(), list.join(", "))
        }
        Ty::Def(i, args) if args.is_empty() => world.defs[*i].name.clone(),
        Ty::Def(i, args) => {
            let args: Vec<_> = args
                .iter()
                .map(|arg| match arg {
                    Arg::Type(of) => ty(world, of),
                    Arg::Const(value) => constant(value).0,
                })
                .collect();
            format!("{}<{}>", world.defs[*i].name, args.join(", "))
        }
    }
}

/// `<P0: BOUND, const P1: usize>` and `<P0, P1>`.
pub(super) fn generics(def: &Def, bound: &str) -> (String, String) {
    if def.params.is_empty() {
        return Default::default();
    }
    let declared = def.params.iter().enumerate().map(|(i, of)| match of {
        Param::Type if bound.is_empty() => param(i),
        Param::Type => format!("{}: {bound}", param(i)),
        Param::Const(value) => format!("const {}: {}", param(i), constant(value).1),
    });
    let names = (0..def.params.len()).map(param);
    (
        format!("<{}>", declared.collect::<Vec<_>>().join(", ")),
        format!("<{}>", names.collect::<Vec<_>>().join(", ")),
    )
}

/// A type's own source; that of the ordinary type, for a mirror.
fn declaration(world: &World, def: &Def) -> String {
    let mirror = def.mirror_of.is_some();
    let mut derive = "ShmSafe".to_owned();
    if def.hash {
        derive += ", PartialEq, Eq";
    }
    if !mirror && def.is_unit_only() {
        // What is its own mirror is copied, and may be a key of both kinds.
        derive += if def.hash { ", Clone, Copy, Hash" } else { ", Clone, Copy" };
    }
    let mut out = format!("\n#[derive({derive})]\n");
    let mut shm = Vec::new();
    if mirror {
        shm.push(format!("mirror = {}", def.name));
    }
    if def.hash {
        shm.push("hash".to_owned());
    }
    if def.version > 0 {
        shm.push(format!("version = {}", def.version));
    }
    if let Some(name) = &def.named {
        shm.push(format!("unsafe(name = {name:?})"));
    }
    if !shm.is_empty() {
        let _ = writeln!(out, "#[shm({})]", shm.join(", "));
    }
    if !mirror || def.repr_written {
        let mut repr = Vec::new();
        if def.repr.c {
            repr.push("C".to_owned());
        }
        if def.repr.transparent {
            repr.push("transparent".to_owned());
        }
        repr.extend(def.repr.int.map(|int| int.name.to_owned()));
        repr.extend(def.repr.align.map(|n| format!("align({n})")));
        let _ = writeln!(out, "#[repr({})]", repr.join(", "));
    }
    if def.sealed {
        out += "#[non_exhaustive]\n";
    }
    let vis = if def.open { "pub " } else { "" };
    let (declared, _) = generics(def, if mirror { "" } else { "ShmSafe" });
    let name = def.mirror_of.as_ref().unwrap_or(&def.name);
    match &def.shape {
        Shape::Struct(of) => {
            let end = if of.style == Style::Named { "" } else { ";" };
            let fields = fields(world, of, vis, mirror);
            let _ = writeln!(out, "{vis}struct {name}{declared}{fields}{end}");
        }
        Shape::Enum(variants) => {
            let _ = writeln!(out, "{vis}enum {name}{declared} {{");
            for variant in variants {
                let discriminant = variant.discriminant.map(|n| format!(" = {n}")).unwrap_or_default();
                let rename = rename(&variant.rename);
                let fields = fields(world, &variant.fields, "", mirror);
                let _ = writeln!(out, "    {rename}{}{fields}{discriminant},", variant.name);
            }
            out += "}\n";
        }
    }
    out
}

fn rename(to: &Option<String>) -> String {
    to.as_ref().map(|name| format!("#[shm(rename = {name:?})] ")).unwrap_or_default()
}

fn fields(world: &World, fields: &Fields, vis: &str, mirror: bool) -> String {
    let list = fields.list.iter().map(|field| {
        let mut head = rename(&field.rename);
        let ty = match () {
            () if field.skip => {
                head = "#[shm(skip)] ".to_owned();
                "NotStored".to_owned()
            }
            () if field.with => {
                head += "#[shm(with = as_text)] ";
                "Coded".to_owned()
            }
            () if mirror => native(world, &field.ty),
            () => ty(world, &field.ty),
        };
        match fields.style {
            Style::Named => format!("{head}{vis}{}: {ty}", field.name),
            _ => format!("{head}{vis}{ty}"),
        }
    });
    let list = list.collect::<Vec<_>>().join(", ");
    match fields.style {
        Style::Named => format!(" {{ {list} }}"),
        Style::Tuple => format!("({list})"),
        Style::Unit => String::new(),
    }
}

/// `{ name: f0, other: f1 }`, with what `each` gives for the number of a field.
fn braced(fields: &Fields, each: impl Fn(usize) -> String) -> String {
    let list: Vec<_> =
        fields.stored().enumerate().map(|(i, (name, _))| format!("{name}: {}", each(i))).collect();
    format!("{{ {} }}", list.join(", "))
}

/// How the program reads, builds and changes a type.
fn functions(world: &World, def: &Def) -> String {
    let (declared, args) = generics(def, "Stored");
    let this = format!("{}{args}", def.name);
    let variants: Vec<_> = match &def.shape {
        Shape::Struct(fields) => vec![("Self".to_owned(), def.name.clone(), fields)],
        Shape::Enum(variants) => variants
            .iter()
            .map(|v| (format!("Self::{}", v.name), format!("{}{}", def.name, v.name), &v.fields))
            .collect(),
    };
    let (mut parts, mut builds) = (String::new(), String::new());
    for (i, (pattern, init, fields)) in variants.iter().enumerate() {
        let n = fields.stored().count();
        let bound = braced(fields, |f| format!("f{f}"));
        let list: Vec<_> = (0..n).map(|f| format!("f{f} as &dyn Read")).collect();
        let _ = writeln!(
            parts,
            "            {pattern} {bound} => Parts::Fields({i}, vec![{}]),",
            list.join(", ")
        );
        let init = match () {
            () if def.is_unit_only() => format!("{pattern} {{}}"),
            () if n == 0 && matches!(def.shape, Shape::Enum(_)) && i % 2 == 0 => {
                format!("Self::init_{}()", snake(pattern.trim_start_matches("Self::")))
            }
            () => format!("{init}Init {}", braced(fields, |f| format!("Of(&f[{f}])"))),
        };
        let _ = writeln!(builds, "            {i} => Init::<Self>::init({init}, slot, access),");
    }
    format!(
        "impl{declared} Read for {this} {{
    fn parts(&self) -> Parts<'_> {{
        match self {{
{parts}        }}
    }}
}}
impl{declared} Stored for {this} {{
    unsafe fn build(m: &Model, slot: *mut Self, access: Access<'_>) -> Result<()> {{
        let f = m.list();
        unsafe {{ match m.variant() {{
{builds}            _ => unreachable!(),
        }} }}
    }}
{}}}
",
        change(world, def, &variants)
    )
}

fn snake(name: &str) -> String {
    let mut out = String::new();
    for (i, c) in name.chars().enumerate() {
        if c.is_uppercase() && i > 0 {
            out.push('_');
        }
        out.extend(c.to_lowercase());
    }
    out
}

/// `Stored::change`.
fn change(world: &World, def: &Def, variants: &[(String, String, &Fields)]) -> String {
    let arms = |fields: &Fields| {
        let arms = fields.stored().enumerate().map(|(f, (_, field))| {
            format!("{f} => <{} as Stored>::change(f{f}, at), ", ty(world, &field.ty))
        });
        format!("match i {{ {}_ => {{}} }}", arms.collect::<String>())
    };
    match &def.shape {
        Shape::Struct(fields) if fields.stored().next().is_none() => {
            "    fn change(view: Self::Mut<'_>, at: Change<'_, '_>) {}\n".to_owned()
        }
        Shape::Struct(fields) => format!(
            "    fn change(view: Self::Mut<'_>, at: Change<'_, '_>) {{
        let (i, at) = at.field();
        let {}Mut {} = view;
        {}
    }}
",
            def.name,
            braced(fields, |f| format!("f{f}")),
            arms(fields)
        ),
        Shape::Enum(_) if def.is_unit_only() => {
            let values =
                variants.iter().enumerate().map(|(i, (pattern, ..))| format!("{i} => {pattern} {{}},"));
            format!(
                "    fn change(view: Self::Mut<'_>, mut at: Change<'_, '_>) {{
        at.expect(view);
        *view = match at.fresh().variant() {{ {} _ => unreachable!() }};
    }}
",
                values.collect::<String>()
            )
        }
        Shape::Enum(list) => {
            let gets: String = list
                .iter()
                .map(|variant| {
                    format!(
                        "            {}VariantMut::{} {} => {},\n",
                        def.name,
                        variant.name,
                        braced(&variant.fields, |f| format!("f{f}")),
                        arms(&variant.fields)
                    )
                })
                .collect();
            format!(
                "    fn change(mut view: Self::Mut<'_>, at: Change<'_, '_>) {{
        at.expect(&*view);
        let Some(at) = at.replace(|new| view.set(new)) else {{ return }};
        let (i, at) = at.field();
        match view.get() {{
{gets}        }}
    }}
"
            )
        }
    }
}
