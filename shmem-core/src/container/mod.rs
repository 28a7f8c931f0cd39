//! Containers that live in a segment.
