//! Containers that live in a segment.

mod hash_map;

pub use hash_map::*;
