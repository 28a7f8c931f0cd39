//! [`TypeInfo`]: a type described at run time, from which fingerprints, schemas and error messages are made.

use std::any::TypeId;
use std::fmt;

/// A type, by a function: types recurse (`Node` holds `ShmBox<Node>`), constants cannot.
pub type TypeRef = fn() -> &'static TypeInfo;

/// What a type is, how it is laid out and what it is made of.
#[derive(Debug)]
pub struct TypeInfo {
    /// The type's own name, without path or arguments: `Account`.
    pub name: &'static str,
    /// Who vouches for the name.
    pub origin: Origin,
    /// `#[shm(version = N)]`, 0 if there is none.
    pub version: u32,
    /// `size_of`, in bytes.
    pub size: usize,
    /// `align_of`, in bytes.
    pub align: usize,
    /// What it is made of.
    pub kind: Kind,
    /// Its generic type and const arguments, in order.
    pub args: &'static [GenericArg],
    /// The type within this process.
    pub id: TypeId,
}

/// What makes two types of one name the same type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// The library vouches for it; no derive can express this.
    Builtin,
    /// The type has private fields or is `#[non_exhaustive]`, so its invariants are its module's: the module path is part
    /// of its identity.
    Module(&'static str),
    /// All fields are public: its identity is its shape, so that two programs may each declare it.
    Shape,
    /// The author gave it this name and vouches for it (`#[shm(unsafe(name = "…"))]`).
    Named(&'static str),
}

/// What a type is made of.
#[derive(Debug)]
pub enum Kind {
    /// A number, `bool`, `char`, or another type without parts. It owns no block.
    Primitive,
    /// Fields one after the other.
    Struct {
        /// In the order of declaration; tuple fields are named `0`, `1`, …
        fields: &'static [Field],
    },
    /// One of several variants.
    Enum {
        /// The size of the tag in bytes; it stands at offset 0.
        tag_size: u8,
        /// In the order of declaration.
        variants: &'static [Variant],
    },
    /// `len` elements one after the other.
    Array {
        /// How many.
        len: usize,
        /// Of what.
        element: TypeRef,
    },
    /// A type of the library whose layout FORMAT.md gives under its name; its arguments say of what. Or, of another
    /// [origin](Origin), a type of which only its own code knows what it is made of and what it owns.
    Builtin,
}

/// A field of a struct or of a variant.
#[derive(Debug)]
pub struct Field {
    /// Its name.
    pub name: &'static str,
    /// Bytes from the start of the struct or enum.
    pub offset: usize,
    /// Its type.
    pub ty: TypeRef,
}

/// A variant of an enum.
#[derive(Debug)]
pub struct Variant {
    /// Its name.
    pub name: &'static str,
    /// Its tag, sign-extended.
    pub tag: i128,
    /// Its fields.
    pub fields: &'static [Field],
}

/// A generic argument.
#[derive(Debug)]
pub enum GenericArg {
    /// A type.
    Type(TypeRef),
    /// A constant.
    Const(ConstArg),
}

/// The value of a const parameter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConstArg {
    /// An unsigned number.
    Unsigned(u128),
    /// A signed number.
    Signed(i128),
    /// A `bool`.
    Bool(bool),
    /// A `char`.
    Char(char),
}

impl fmt::Display for ConstArg {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ConstArg::Unsigned(n) => write!(f, "{n}"),
            ConstArg::Signed(n) => write!(f, "{n}"),
            ConstArg::Bool(b) => write!(f, "{b}"),
            ConstArg::Char(c) => write!(f, "{c:?}"),
        }
    }
}

/// How deep [`TypeInfo`]'s `Display` follows arguments; polymorphic recursion has no end.
const DISPLAY_DEPTH: u32 = 8;

impl TypeInfo {
    fn write(&self, f: &mut fmt::Formatter<'_>, depth: u32) -> fmt::Result {
        if depth == 0 {
            return f.write_str("…");
        }
        if let Kind::Array { len, element } = &self.kind {
            f.write_str("[")?;
            element().write(f, depth - 1)?;
            return write!(f, "; {len}]");
        }
        f.write_str(self.name)?;
        for (i, arg) in self.args.iter().enumerate() {
            f.write_str(if i == 0 { "<" } else { ", " })?;
            match arg {
                GenericArg::Type(ty) => ty().write(f, depth - 1)?,
                GenericArg::Const(value) => fmt::Display::fmt(value, f)?,
            }
        }
        f.write_str(if self.args.is_empty() { "" } else { ">" })
    }
}

impl fmt::Display for TypeInfo {
    /// The name with its arguments: `ShmVec<Account>`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write(f, DISPLAY_DEPTH)
    }
}
