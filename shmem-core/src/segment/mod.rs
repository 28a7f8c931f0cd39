//! [`Segment`]: memory that several processes share, and the typed, named objects in it.

#[cfg(test)]
mod abandon;
mod audit;
mod builder;
mod directory;
mod fork;
mod handle;
mod inner;
#[cfg(test)]
mod life_tests;
#[cfg(test)]
mod liveness_tests;
#[cfg(test)]
mod magazine_tests;
mod migrate;
#[cfg(test)]
mod migrate_tests;
mod participants;
mod raw_memory;
#[cfg(test)]
mod raw_memory_tests;
mod read_only;
#[doc(hidden)]
pub mod roots;
#[cfg(test)]
mod span_tests;
#[cfg(test)]
mod tests;

pub use audit::{LeakReport, VerifyReport};
pub use builder::SegmentBuilder;
pub use directory::{ObjectInfo, ObjectKind};
pub use handle::{Object, Owned, Root};
pub use inner::Segment;
pub use participants::{Participant, ParticipantLock, ParticipantState, ParticipantThread};
pub use read_only::{ReadOnlySegment, ReadRoot};

/// The longest name of an object in bytes.
pub const MAX_OBJECT_NAME: usize = directory::MAX_NAME;

#[cfg(test)]
pub(crate) use directory::{directory_header_layout, entry_layout, schema_head_layout};
