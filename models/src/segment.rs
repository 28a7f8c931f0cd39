//! The library's pins, on a directory that has one entry.

pub(crate) mod directory;
