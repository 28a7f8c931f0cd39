//! [`Fingerprint`]: the identity of a type across programs, builds and compilers.
//!
//! A fingerprint is the first 16 bytes of a SHA-256 over the type's [record](super::schema), in which every other
//! type stands as *its* fingerprint, or, if that type is being described already (types recurse), as how far up
//! it is. FORMAT.md gives the exact bytes; neither `type_name` nor `TypeId` is among them.

use super::known::remember;
use super::schema::{RefBytes, encode};
use super::{ShmSafe, TypeInfo};
use sha2::{Digest, Sha256};
use std::any::TypeId;
use std::cell::Cell;
use std::collections::HashMap;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::{OnceLock, RwLock};

/// The identity of a type: equal for the same type in whatever program, and, but for a chance of 2⁻¹²⁸, different
/// for different ones.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(transparent)]
pub struct Fingerprint(pub [u8; 16]);

impl Fingerprint {
    /// The fingerprint of `T`; computed once per type and process, then a look-up in the thread's own table.
    #[inline]
    pub fn of<T: ShmSafe>() -> Self {
        from_halves(Self::halves_of::<T>())
    }

    /// The same as two words, which is how it is compared.
    #[inline]
    pub(crate) fn halves_of<T: ShmSafe>() -> [u64; 2] {
        let id = TypeId::of::<T>();
        let mut place = Place(0);
        id.hash(&mut place);
        RECENT.with(|recent| {
            let recent = &recent[place.0 as usize % RECENTS];
            if recent.id.get() != Some(id) {
                let fingerprint = Self::of_info(T::type_info());
                remember::<T>(fingerprint);
                let [low, high] = halves(fingerprint);
                recent.low.set(low);
                recent.high.set(high);
                recent.id.set(Some(id));
            }
            [recent.low.get(), recent.high.get()]
        })
    }

    /// The fingerprint of the type that `info` describes.
    pub fn of_info(info: &'static TypeInfo) -> Self {
        // By `TypeId`, never by an address: the linker folds identical functions and statics.
        static KNOWN: OnceLock<RwLock<HashMap<TypeId, Fingerprint>>> = OnceLock::new();
        let known = KNOWN.get_or_init(Default::default);
        if let Some(found) = known.read().unwrap_or_else(|e| e.into_inner()).get(&info.id) {
            return *found;
        }
        let mut walk = Walk { path: Vec::new(), done: Done::new() };
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

/// How many types a thread remembers.
const RECENTS: usize = 64;

thread_local! {
    /// The types a thread asked for last, each in the one place its id gives.
    static RECENT: [Recent; RECENTS] =
        const { [const { Recent { id: Cell::new(None), low: Cell::new(0), high: Cell::new(0) } }; RECENTS] };
}

/// A type and its fingerprint.
struct Recent {
    id: Cell<Option<TypeId>>,
    low: Cell<u64>,
    high: Cell<u64>,
}

/// A fingerprint as two little-endian words.
pub(crate) fn halves(fingerprint: Fingerprint) -> [u64; 2] {
    let n = u128::from_le_bytes(fingerprint.0);
    [n as u64, (n >> 64) as u64]
}

/// What [`halves`] took apart.
pub(crate) fn from_halves([low, high]: [u64; 2]) -> Fingerprint {
    Fingerprint((u128::from(low) | u128::from(high) << 64).to_le_bytes())
}

/// Takes the bits of a `TypeId`, which is a hash itself.
struct Place(u64);

impl Hasher for Place {
    #[inline]
    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|b| self.0 = self.0.rotate_left(8) ^ u64::from(*b));
    }
    #[inline]
    fn write_u64(&mut self, bits: u64) {
        self.0 ^= bits;
    }
    #[inline]
    fn finish(&self) -> u64 {
        self.0
    }
}

/// What the hash begins with; another version of the encoding gets another.
pub(crate) const DOMAIN: &[u8] = b"shmem type 1\0";

/// What types hash to that refer to nothing above them, each with the types of its circle: those that it refers to and that
/// refer to it. That holds wherever none of these is being described (below one of them, it would refer back to that).
pub(super) struct Done<I> {
    found: HashMap<I, (Fingerprint, Vec<I>)>,
    /// Types met whose circle is not known yet, in the order of the walk (Tarjan 1972).
    met: Vec<I>,
}

impl<I: Copy + Eq + Hash> Done<I> {
    pub(super) fn new() -> Self {
        Done { found: HashMap::new(), met: Vec::new() }
    }

    /// What the type hashes to below the types of `path`, if that is known.
    pub(super) fn get(&self, id: I, path: &[I]) -> Option<Fingerprint> {
        let (fingerprint, circle) = self.found.get(&id)?;
        circle.iter().all(|other| !path.contains(other)).then_some(*fingerprint)
    }

    /// The walk comes to a type; gives what [`leave`](Self::leave) is to be told.
    pub(super) fn enter(&mut self, id: I) -> usize {
        self.met.push(id);
        self.met.len() - 1
    }

    /// The walk leaves a type that refers to nothing above it.
    pub(super) fn leave(&mut self, entered: usize, fingerprint: Fingerprint) {
        let circle = self.met.split_off(entered);
        self.found.insert(circle[0], (fingerprint, circle));
    }
}

struct Walk {
    /// The types being described, outermost first.
    path: Vec<TypeId>,
    done: Done<TypeId>,
}

impl Walk {
    /// The fingerprint of `info` where the walk stands, and the outermost place on the path it refers back to.
    fn fingerprint(&mut self, info: &'static TypeInfo) -> (Fingerprint, usize) {
        if let Some(done) = self.done.get(info.id, &self.path) {
            return (done, usize::MAX);
        }
        let (depth, entered) = (self.path.len(), self.done.enter(info.id));
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
            self.done.leave(entered, fingerprint);
            return (fingerprint, usize::MAX);
        }
        (fingerprint, outermost)
    }
}
