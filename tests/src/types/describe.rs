//! What a random type is, told without Rust.

use std::sync::Arc;

/// A number as it is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Number {
    /// Its name in Rust.
    pub name: &'static str,
    /// Its size and alignment in bytes.
    pub size: usize,
    /// Whether it is a float, which is no key.
    pub float: bool,
    /// Whether 0 is no value of it.
    pub non_zero: bool,
}

const fn number(name: &'static str, size: usize, float: bool, non_zero: bool) -> Number {
    Number { name, size, float, non_zero }
}

impl Number {
    /// Every one.
    pub const ALL: [Number; 18] = [
        number("u8", 1, false, false),
        number("u16", 2, false, false),
        number("u32", 4, false, false),
        number("u64", 8, false, false),
        number("u128", 16, false, false),
        number("usize", 8, false, false),
        number("i8", 1, false, false),
        number("i16", 2, false, false),
        number("i32", 4, false, false),
        number("i64", 8, false, false),
        number("i128", 16, false, false),
        number("isize", 8, false, false),
        number("f32", 4, true, false),
        number("f64", 8, true, false),
        number("NonZeroU8", 1, false, true),
        number("NonZeroI32", 4, false, true),
        number("NonZeroU64", 8, false, true),
        number("NonZeroI128", 16, false, true),
    ];
}

/// A type of the library with one argument.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Container {
    /// `ShmVec`.
    Vec,
    /// `ShmBox`.
    Box,
    /// `ShmBoxSlice`.
    BoxSlice,
    /// `ShmOption`.
    Option,
    /// `ShmMutex`.
    Mutex,
    /// `ShmHashSet`.
    Set,
    /// `PhantomData`.
    Phantom,
}

impl Container {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Container::Vec => "ShmVec",
            Container::Box => "ShmBox",
            Container::BoxSlice => "ShmBoxSlice",
            Container::Option => "ShmOption",
            Container::Mutex => "ShmMutex",
            Container::Set => "ShmHashSet",
            Container::Phantom => "PhantomData",
        }
    }

    /// Whether its values stand in a block of their own.
    pub fn is_pointer(self) -> bool {
        !matches!(self, Container::Option | Container::Mutex | Container::Phantom)
    }
}

/// How many elements an array has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Len {
    /// So many.
    Fixed(usize),
    /// What the parameter of this number says.
    Param(usize),
}

/// The value of a const parameter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Const {
    /// A length.
    Usize(usize),
    /// A number that may be negative.
    I16(i16),
    /// A `bool`.
    Bool(bool),
    /// A `char`.
    Char(char),
}

/// A generic argument.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Arg {
    /// A type.
    Type(Ty),
    /// A constant.
    Const(Const),
}

/// A generic parameter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Param {
    /// A type.
    Type,
    /// A constant of the same type as this one.
    Const(Const),
}

/// A type, as it is stored.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Ty {
    /// `()`.
    Unit,
    /// A number.
    Number(Number),
    /// `bool`.
    Bool,
    /// `char`.
    Char,
    /// `ShmString`.
    Text,
    /// A leaf of these suites' own, which tells when it is moved.
    Probe,
    /// A container of one type.
    Of(Container, Arc<Ty>),
    /// `ShmHashMap`.
    Map(Arc<Ty>, Arc<Ty>),
    /// An array.
    Array(Arc<Ty>, Len),
    /// A tuple of the library, as mirrors of tuples are.
    Tuple(Vec<Ty>),
    /// A generated type with arguments.
    Def(usize, Vec<Arg>),
    /// A type parameter of the definition it stands in.
    Param(usize),
}

impl Ty {
    /// A container of `inner`.
    pub fn of(container: Container, inner: Ty) -> Ty {
        Ty::Of(container, Arc::new(inner))
    }

    /// The type with the parameters replaced.
    pub fn with(&self, args: &[Arg]) -> Ty {
        let inner = |ty: &Ty| Arc::new(ty.with(args));
        match self {
            Ty::Param(i) => match &args[*i] {
                Arg::Type(ty) => ty.clone(),
                Arg::Const(_) => unreachable!("a constant where a type stands"),
            },
            Ty::Of(container, ty) => Ty::Of(*container, inner(ty)),
            Ty::Map(key, value) => Ty::Map(inner(key), inner(value)),
            Ty::Array(ty, len) => {
                let len = match len {
                    Len::Param(i) => match args[*i] {
                        Arg::Const(Const::Usize(n)) => Len::Fixed(n),
                        _ => unreachable!("a length that is none"),
                    },
                    fixed => *fixed,
                };
                Ty::Array(inner(ty), len)
            }
            Ty::Tuple(list) => Ty::Tuple(list.iter().map(|ty| ty.with(args)).collect()),
            Ty::Def(i, own) => {
                let own = own.iter().map(|arg| match arg {
                    Arg::Type(ty) => Arg::Type(ty.with(args)),
                    constant => constant.clone(),
                });
                Ty::Def(*i, own.collect())
            }
            leaf => leaf.clone(),
        }
    }
}

/// How fields are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// `{ name: … }`.
    Named,
    /// `( … )`.
    Tuple,
    /// Nothing.
    Unit,
}

/// A field.
#[derive(Debug, Clone)]
pub struct Field {
    /// Its name, or its number.
    pub name: String,
    /// `#[shm(rename = "…")]`.
    pub rename: Option<String>,
    /// Its type.
    pub ty: Ty,
    /// Of a mirrored type only: it is not stored.
    pub skip: bool,
    /// Of a mirrored type only: it is converted by a module.
    pub with: bool,
}

/// The fields of a struct or of a variant.
#[derive(Debug, Clone)]
pub struct Fields {
    /// How they are written.
    pub style: Style,
    /// In order.
    pub list: Vec<Field>,
}

impl Fields {
    /// Those that are stored, each with its name there.
    pub fn stored(&self) -> impl Iterator<Item = (String, &Field)> {
        let stored = self.list.iter().filter(|field| !field.skip).enumerate();
        stored.map(|(i, field)| match self.style {
            Style::Named => (field.name.clone(), field),
            _ => (i.to_string(), field),
        })
    }
}

/// A variant.
#[derive(Debug, Clone)]
pub struct Variant {
    /// Its name.
    pub name: String,
    /// `#[shm(rename = "…")]`.
    pub rename: Option<String>,
    /// What is written behind `=`.
    pub discriminant: Option<i128>,
    /// Its tag.
    pub tag: i128,
    /// Its fields.
    pub fields: Fields,
}

/// What a type is.
#[derive(Debug, Clone)]
pub enum Shape {
    /// A struct.
    Struct(Fields),
    /// An enum.
    Enum(Vec<Variant>),
}

/// The number that a tag is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IntRepr {
    /// Its name.
    pub name: &'static str,
    /// Its size in bytes.
    pub size: usize,
    /// Whether it has a sign.
    pub signed: bool,
}

/// `#[repr(…)]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Repr {
    /// `C`.
    pub c: bool,
    /// `transparent`.
    pub transparent: bool,
    /// `u8` and the like.
    pub int: Option<IntRepr>,
    /// `align(N)`.
    pub align: Option<usize>,
}

/// A generated type.
#[derive(Debug, Clone)]
pub struct Def {
    /// Its name.
    pub name: String,
    /// Its generic parameters.
    pub params: Vec<Param>,
    /// What it is.
    pub shape: Shape,
    /// Its layout.
    pub repr: Repr,
    /// Whether it may be a key.
    pub hash: bool,
    /// `#[shm(version = N)]`, 0 if none.
    pub version: u32,
    /// `#[shm(unsafe(name = "…"))]`.
    pub named: Option<String>,
    /// Whether type and fields are public.
    pub open: bool,
    /// `#[non_exhaustive]`.
    pub sealed: bool,
    /// The ordinary type's name, if this is a mirror.
    pub mirror_of: Option<String>,
    /// Whether that is written with its `repr`.
    pub repr_written: bool,
}

impl Def {
    /// The variants' fields; a struct has one variant.
    pub fn variants(&self) -> Vec<&Fields> {
        match &self.shape {
            Shape::Struct(fields) => vec![fields],
            Shape::Enum(variants) => variants.iter().map(|variant| &variant.fields).collect(),
        }
    }

    /// Whether it is an enum of which no variant has stored fields.
    pub fn is_unit_only(&self) -> bool {
        matches!(self.shape, Shape::Enum(_)) && self.variants().iter().all(|of| of.stored().next().is_none())
    }

    /// The types of the stored fields of a variant.
    pub fn types(&self, variant: usize, args: &[Arg]) -> Vec<Ty> {
        self.variants()[variant].stored().map(|(_, field)| field.ty.with(args)).collect()
    }
}

/// Every type of one program.
#[derive(Debug, Clone, Default)]
pub struct World {
    /// The seed it was made from.
    pub seed: u64,
    /// The generated types.
    pub defs: Vec<Def>,
    /// The types to be checked.
    pub roots: Vec<Ty>,
}
