//! [`ShmHash`]: hashing whose result is the same in every build, compiler and process.
//!
//! `std::hash::Hash` will not do for tables in shared memory: what std feeds for a `str`, a slice or an enum may
//! change between versions, and two builds would miss each other's keys. Here the feed of every type is fixed by
//! this file and FORMAT.md.

use rapidhash::v3::{RapidSecrets, rapidhash_v3_seeded};

/// Hashes one key. The algorithm is fixed (FORMAT.md, "Hashing"): words are folded in with a 64 × 64 → 128 bit
/// multiplication by a secret factor, as in foldhash; byte strings go through rapidhash v3, whose output its authors
/// guarantee.
#[derive(Debug, Clone)]
pub struct ShmHasher {
    state: u64,
    factor: u64,
}

/// A constant without pattern: the first 64 bits of π's fraction.
const FOLD: u64 = 0x243f_6a88_85a3_08d3;

#[inline(always)]
fn folded_multiply(a: u64, b: u64) -> u64 {
    let product = a as u128 * b as u128;
    product as u64 ^ (product >> 64) as u64
}

impl ShmHasher {
    /// A hasher with this seed (each segment has a random one of its own).
    #[inline(always)]
    pub fn new(seed: u64) -> Self {
        ShmHasher { state: seed, factor: (seed.rotate_left(32) ^ FOLD) | 1 }
    }

    /// Feeds one word. Numbers of up to 64 bits are fed as one, sign- or zero-extended.
    #[inline(always)]
    pub fn write_u64(&mut self, word: u64) {
        self.state = folded_multiply(self.state ^ word, self.factor);
    }

    /// Feeds a byte string together with its length.
    #[inline]
    pub fn write_bytes(&mut self, bytes: &[u8]) {
        let hash = rapidhash_v3_seeded(bytes, &RapidSecrets::seed_cpp(self.state));
        self.write_u64(hash ^ bytes.len() as u64);
    }

    /// The hash of what was fed. (A product folded in half is mixed well at both ends: tables use both.)
    #[inline(always)]
    pub fn finish(&self) -> u64 {
        self.state
    }
}

/// Hashes byte strings under one seed, with what depends on the seed alone computed once: rapidhash v3, without what
/// [`ShmHasher`] adds to take in further words.
pub(crate) struct BytesHasher(RapidSecrets);

impl BytesHasher {
    /// For this seed.
    pub(crate) fn new(seed: u64) -> Self {
        BytesHasher(RapidSecrets::seed_cpp(seed))
    }

    /// The hash of one byte string.
    #[inline(always)]
    pub(crate) fn hash(&self, bytes: &[u8]) -> u64 {
        rapidhash_v3_seeded(bytes, &self.0)
    }
}

/// A type that can be a key of a hashed container in shared memory.
///
/// `a == b` must imply equal feeds, and a borrowed form (`str` for `ShmString`) must feed what the owned one does.
/// A wrong implementation gives wrong answers, never undefined behaviour. Derive it with `#[shm(hash)]`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be a key in shared memory",
    note = "derive it: `#[derive(ShmSafe)] #[shm(hash)]`; std's `Hash` will not do, what it feeds may change between compilers"
)]
pub trait ShmHash {
    /// Feeds the value.
    fn shm_hash(&self, hasher: &mut ShmHasher);
}

/// The hash of `key` under `seed`.
#[inline]
pub(crate) fn hash_one<K: ShmHash + ?Sized>(key: &K, seed: u64) -> u64 {
    let mut hasher = ShmHasher::new(seed);
    key.shm_hash(&mut hasher);
    hasher.finish()
}

macro_rules! word {
    ($($ty:ty)*) => { $(impl ShmHash for $ty {
        #[inline]
        fn shm_hash(&self, hasher: &mut ShmHasher) {
            hasher.write_u64(*self as u64);
        }
    })* };
}
word!(u8 u16 u32 u64 usize i8 i16 i32 i64 isize bool char);

impl ShmHash for u128 {
    #[inline]
    fn shm_hash(&self, hasher: &mut ShmHasher) {
        hasher.write_u64(*self as u64);
        hasher.write_u64((*self >> 64) as u64);
    }
}

impl ShmHash for i128 {
    #[inline]
    fn shm_hash(&self, hasher: &mut ShmHasher) {
        (*self as u128).shm_hash(hasher);
    }
}

impl ShmHash for () {
    #[inline]
    fn shm_hash(&self, _: &mut ShmHasher) {}
}

impl<T> ShmHash for std::marker::PhantomData<T> {
    #[inline]
    fn shm_hash(&self, _: &mut ShmHasher) {}
}

macro_rules! non_zero {
    ($($ty:ident)*) => { $(impl ShmHash for std::num::$ty {
        #[inline]
        fn shm_hash(&self, hasher: &mut ShmHasher) {
            self.get().shm_hash(hasher);
        }
    })* };
}
non_zero!(NonZeroU8 NonZeroU16 NonZeroU32 NonZeroU64 NonZeroU128 NonZeroUsize
    NonZeroI8 NonZeroI16 NonZeroI32 NonZeroI64 NonZeroI128 NonZeroIsize);

impl ShmHash for str {
    #[inline]
    fn shm_hash(&self, hasher: &mut ShmHasher) {
        hasher.write_bytes(self.as_bytes());
    }
}

impl<T: ShmHash> ShmHash for [T] {
    /// Feeds the length, then each element.
    #[inline]
    fn shm_hash(&self, hasher: &mut ShmHasher) {
        hasher.write_u64(self.len() as u64);
        self.iter().for_each(|element| element.shm_hash(hasher));
    }
}

impl<T: ShmHash, const N: usize> ShmHash for [T; N] {
    /// As the slice.
    #[inline]
    fn shm_hash(&self, hasher: &mut ShmHasher) {
        self.as_slice().shm_hash(hasher);
    }
}

impl<T: ShmHash + ?Sized> ShmHash for &T {
    #[inline]
    fn shm_hash(&self, hasher: &mut ShmHasher) {
        (**self).shm_hash(hasher);
    }
}

impl ShmHash for String {
    #[inline]
    fn shm_hash(&self, hasher: &mut ShmHasher) {
        self.as_str().shm_hash(hasher);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    /// Stored tables depend on these: they must never change. (Computed from FORMAT.md by another program.)
    #[test]
    fn golden_values() {
        const SEED: u64 = 0x1234_5678_9abc_def1;
        assert_eq!(hash_one(&0u64, SEED), GOLDEN[0]);
        assert_eq!(hash_one(&1u8, SEED), GOLDEN[1]);
        assert_eq!(hash_one(&-1i16, SEED), GOLDEN[2]);
        assert_eq!(hash_one(&(1u128 << 64 | 2), SEED), GOLDEN[3]);
        assert_eq!(hash_one(&[1u8, 2, 3], SEED), GOLDEN[4]);
        assert_eq!(hash_one(&1u64, 0), GOLDEN[5]);
        assert_eq!(hash_one(&(), SEED), SEED);
        assert_eq!(hash_one("ada", SEED), hash_one(&String::from("ada"), SEED));
    }

    /// Names in segments are found by these: they must never change.
    #[test]
    fn hashes_of_names() {
        let hasher = BytesHasher::new(0x1234_5678_9abc_def1);
        let hashes =
            ["", "ada", "a name of more than sixteen bytes"].map(|name| hasher.hash(name.as_bytes()));
        for (name, hash) in ["", "ada", "a name of more than sixteen bytes"].iter().zip(hashes) {
            // What `ShmHasher` makes of the same.
            let mut fed = ShmHasher::new(0x1234_5678_9abc_def1);
            fed.write_bytes(name.as_bytes());
            let mut whole = ShmHasher::new(0x1234_5678_9abc_def1);
            whole.write_u64(hash ^ name.len() as u64);
            assert_eq!(fed.finish(), whole.finish(), "{name}");
        }
    }

    const GOLDEN: [u64; 6] = [
        0x65f4b9fa69ccc27d,
        0xa478e27cf175a0d5,
        0x69f4c1fb698a8c79,
        0x8fe4f8608859fbf1,
        0xcb2962f0207efb84,
        0x243f6a8885a308d3,
    ];

    #[test]
    fn both_ends_of_a_hash_are_mixed() {
        // Keys that differ in few bits: sequential, in steps of powers of two, single bits.
        for seed in [0, 1, 0x1234_5678_9abc_def1, u64::MAX] {
            for shift in [0, 1, 3, 8, 12, 16, 24, 32, 40, 48] {
                let hashes: Vec<u64> = (0..4096u64).map(|n| hash_one(&(n << shift), seed)).collect();
                let low: HashSet<u64> = hashes.iter().map(|hash| hash & 0xFFFF).collect();
                assert!(low.len() > 2000, "seed {seed:#x} shift {shift}: {} of 4096 low ends", low.len());
                let mut tops = [0; 128];
                hashes.iter().for_each(|hash| tops[(hash >> 57) as usize] += 1);
                let used = tops.iter().filter(|n| **n > 0).count();
                let most = *tops.iter().max().unwrap();
                assert!(used >= 100 && most <= 160, "seed {seed:#x} shift {shift}: {used} tags, {most}");
            }
        }
    }
}
