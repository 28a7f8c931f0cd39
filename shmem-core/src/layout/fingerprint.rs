//! [`Fingerprint`]: the identity of a type across programs, builds and compilers.
//!
//! A fingerprint is the first 16 bytes of a SHA-256 over the type's [record](super::schema), in which every other
//! type stands as *its* fingerprint, or, if that type is being described already (types recurse), as how far up
//! it is. FORMAT.md gives the exact bytes; neither `type_name` nor `TypeId` is among them.

use super::schema::{RefBytes, encode};
use super::{ShmSafe, TypeInfo};
use sha2::{Digest, Sha256};
use std::any::TypeId;
use std::collections::HashMap;
use std::fmt;
use std::sync::{OnceLock, RwLock};

/// The identity of a type: equal for the same type in whatever program, and, but for a chance of 2⁻¹²⁸, different
/// for different ones.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(transparent)]
pub struct Fingerprint(pub [u8; 16]);

impl Fingerprint {
    /// The fingerprint of `T`; computed once per type and process, then a table look-up.
    pub fn of<T: ShmSafe>() -> Self {
        Self::of_info(T::type_info())
    }

    /// The fingerprint of the type that `info` describes.
    pub fn of_info(info: &'static TypeInfo) -> Self {
        // By `TypeId`, never by an address: the linker folds identical functions and statics.
        static KNOWN: OnceLock<RwLock<HashMap<TypeId, Fingerprint>>> = OnceLock::new();
        let known = KNOWN.get_or_init(Default::default);
        if let Some(found) = known.read().unwrap_or_else(|e| e.into_inner()).get(&info.id) {
            return *found;
        }
        let mut walk = Walk { path: Vec::new(), done: HashMap::new() };
        let fingerprint = walk.fingerprint(info).0;
        known.write().unwrap_or_else(|e| e.into_inner()).insert(info.id, fingerprint);
        fingerprint
    }

    /// The fingerprint of a record whose references are written as the walk writes them.
    pub(super) fn of_record(record: &[u8]) -> Self {
        let digest = Sha256::new().chain_update(DOMAIN).chain_update(record).finalize();
        Fingerprint(digest[..16].try_into().expect("a digest has 32 bytes"))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fingerprint({self})")
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

/// What the hash begins with; another version of the encoding gets another.
pub(crate) const DOMAIN: &[u8] = b"shmem type 1\0";

struct Walk {
    /// The types being described, outermost first.
    path: Vec<TypeId>,
    /// Types whose description refers to nothing above them, so that it is the same everywhere.
    done: HashMap<TypeId, Fingerprint>,
}

impl Walk {
    /// The fingerprint of `info` where the walk stands, and the outermost place on the path it refers back to.
    fn fingerprint(&mut self, info: &'static TypeInfo) -> (Fingerprint, usize) {
        if let Some(done) = self.done.get(&info.id) {
            return (*done, usize::MAX);
        }
        let depth = self.path.len();
        self.path.push(info.id);
        let mut outermost = usize::MAX;
        let record = encode(info, &mut |part| match self.path.iter().rposition(|id| *id == part.id) {
            Some(at) => {
                outermost = outermost.min(at);
                RefBytes::back(depth - at)
            }
            None => {
                let (fingerprint, back) = self.fingerprint(part);
                outermost = outermost.min(back);
                RefBytes::to(fingerprint)
            }
        });
        self.path.pop();
        let fingerprint = Fingerprint::of_record(&record);
        if outermost >= depth {
            self.done.insert(info.id, fingerprint);
            return (fingerprint, usize::MAX);
        }
        (fingerprint, outermost)
    }
}
