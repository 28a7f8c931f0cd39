//! The segment's heap.
