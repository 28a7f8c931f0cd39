//! The type contract: what a type must be to live in a segment ([`ShmSafe`]), how a value is built there
//! ([`Init`]), described ([`TypeInfo`]), named across programs ([`Fingerprint`]), hashed ([`ShmHash`]) and
//! walked ([`Visitor`]).

mod array;
mod block_handle;
mod default;
#[cfg(test)]
mod derived_tests;
mod drop;
mod fingerprint;
mod hash;
pub mod init;
mod known;
pub(crate) mod mirror;
mod pod;
mod primitive;
mod schema;
mod shm_safe;
pub(crate) mod tuple;
mod type_info;
mod visit;

pub use array::ArrayMut;
pub use block_handle::BlockHandle;
pub use default::ShmDefault;
pub use drop::ShmDrop;
pub use fingerprint::Fingerprint;
pub(crate) use fingerprint::{from_halves, halves};
pub(crate) use hash::{BytesHasher, hash_one};
pub use hash::{ShmHash, ShmHasher};
pub use init::Init;
pub(crate) use known::known_visit;
pub use mirror::{Mirror, MirrorArray, MirrorIter, MirrorType};
pub use pod::ShmPod;
pub use schema::{Difference, StoredType, Versions};
pub(crate) use schema::{
    Record, RecordArg, RecordField, RecordKind, check_stored, decode_record, describe_stored, encode_stored,
    first_difference,
};
pub use shm_safe::{Frozen, Interior, Reach, ShmSafe};
pub(crate) use shm_safe::{any_lock_held, relocate_many};
pub use type_info::{ConstArg, Field, GenericArg, Kind, Origin, TypeInfo, TypeRef, Variant};
pub(crate) use visit::VisitFn;
pub use visit::Visitor;
