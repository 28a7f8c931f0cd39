//! Segments as the operating system sees them: files, address ranges, committed memory, and the process-wide
//! registry of what is mapped where.

pub(crate) mod commit;
pub(crate) mod registry;
pub(crate) mod superblock;
