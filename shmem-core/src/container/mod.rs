//! Containers that live in a segment.

pub mod hash_map;

pub use hash_map::{HashMapMut, HashSetMut, ShmHashMap, ShmHashSet};
