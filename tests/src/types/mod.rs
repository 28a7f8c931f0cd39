//! Random types: descriptions from a seed, their Rust source, and a check of what the library makes of them.
//!
//! A suite makes a [`World`] of a seed and writes the program that [`source`] makes of it. The program makes the same
//! world again and has [`Program`] check each type. What a value must be is said by [`Model`], a tree that knows nothing
//! of the library; where its parts must stand by [`layout`]; how its type must be recorded by [`record`]: rules written
//! from FORMAT.md and RFC 2195 alone. What the library makes of it is seen through [`Read`] and [`Stored`], which the
//! program implements for its types.

mod case;
mod containers;
mod damage;
mod describe;
mod generate;
pub mod layout;
mod maps;
mod model;
mod ordinary;
mod program;
pub mod record;
pub mod source;
mod stored;
mod twin_source;

pub use case::{Case, case, mirrored};
pub use describe::{
    Arg, Const, Container, Def, Field, Fields, IntRepr, Len, Number, Param, Repr, Shape, Style, Ty, Variant,
    World,
};
pub use model::{Make, Model};
pub use ordinary::{Coded, NotStored, Plain, as_text};
pub use program::Program;
pub use stored::{Change, Held, Of, Parts, Probe, Read, Stored, in_relocation};
