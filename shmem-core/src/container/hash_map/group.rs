//! A group: sixteen control bytes, looked at together.
//!
//! On x86-64 a group is an SSE2 register, elsewhere two 64-bit words. Both answer exactly alike, and the width is
//! the same, so a table is probed in the same order on every machine and means the same there.
//!
//! This file needs `unsafe`: it loads from raw pointers.

/// Control bytes in a group.
pub(super) const WIDTH: usize = 16;
/// The control byte of a bucket that was never used since the table was made (or is known to end no probe).
pub(super) const EMPTY: u8 = 0xFF;
/// The control byte of a bucket that was used: a probe goes on past it.
pub(super) const DELETED: u8 = 0x80;

/// Whether the control byte is that of a live bucket: the top seven bits of its key's hash.
#[inline(always)]
pub(super) fn is_full(ctrl: u8) -> bool {
    ctrl < 0x80
}

/// A set of positions in a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Matches(u32);

impl Matches {
    /// No position.
    pub(super) const NONE: Matches = Matches(0);

    /// Whether there is any.
    #[inline(always)]
    pub(super) fn any(self) -> bool {
        self.0 != 0
    }

    /// The lowest.
    #[inline(always)]
    pub(super) fn lowest(self) -> Option<usize> {
        if self.0 == 0 { None } else { Some(self.0.trailing_zeros() as usize) }
    }

    /// All but the lowest of at least one.
    #[inline(always)]
    pub(super) fn without_lowest(self) -> Matches {
        Matches(self.0 & (self.0 - 1))
    }

    /// How many positions from the first on are not in the set.
    #[inline(always)]
    pub(super) fn leading_gap(self) -> usize {
        (self.0 | 1 << WIDTH).trailing_zeros() as usize
    }

    /// Whether no position from `n` on is in the set.
    #[inline(always)]
    pub(super) fn none_from(self, n: usize) -> bool {
        self.0 >> n == 0
    }

    /// How many there are.
    #[inline(always)]
    pub(super) fn count(self) -> usize {
        self.0.count_ones() as usize
    }
}

impl Iterator for Matches {
    type Item = usize;
    #[inline(always)]
    fn next(&mut self) -> Option<usize> {
        let lowest = self.lowest()?;
        *self = self.without_lowest();
        Some(lowest)
    }
}

#[cfg(target_feature = "sse2")]
pub(super) use sse2::Group;

#[cfg(not(target_feature = "sse2"))]
pub(super) use portable::Group;

#[cfg(target_feature = "sse2")]
mod sse2 {
    use super::{EMPTY, Matches};
    use std::arch::x86_64::*;

    /// Sixteen control bytes.
    #[derive(Clone, Copy)]
    pub(in super::super) struct Group(__m128i);

    impl Group {
        /// Loads the group at `at`.
        ///
        /// # Safety
        /// 1. 16 bytes at `at` are readable.
        #[inline(always)]
        pub(in super::super) unsafe fn load(at: *const u8) -> Self {
            // SAFETY: 1; the load needs no alignment.
            Group(unsafe { _mm_loadu_si128(at.cast()) })
        }

        /// Loads the group at an address that is a multiple of 16.
        ///
        /// # Safety
        /// 1. 16 bytes at `at` are readable; `at` is 16-aligned.
        #[inline(always)]
        pub(in super::super) unsafe fn load_aligned(at: *const u8) -> Self {
            // SAFETY: 1.
            Group(unsafe { _mm_load_si128(at.cast()) })
        }

        /// The positions of `byte`.
        #[inline(always)]
        pub(in super::super) fn matches(self, byte: u8) -> Matches {
            // SAFETY: SSE2 is a target feature here.
            Matches(unsafe { _mm_movemask_epi8(_mm_cmpeq_epi8(self.0, _mm_set1_epi8(byte as i8))) } as u32)
        }

        /// The positions of empty buckets.
        #[inline(always)]
        pub(in super::super) fn empty(self) -> Matches {
            self.matches(EMPTY)
        }

        /// The positions of buckets that are free: empty or deleted.
        #[inline(always)]
        pub(in super::super) fn free(self) -> Matches {
            // SAFETY: SSE2 is a target feature here.
            Matches(unsafe { _mm_movemask_epi8(self.0) } as u32)
        }

        /// The positions of live buckets.
        #[inline(always)]
        pub(in super::super) fn full(self) -> Matches {
            Matches(self.free().0 ^ 0xFFFF)
        }
    }
}

#[cfg(any(test, not(target_feature = "sse2")))]
mod portable {
    use super::{EMPTY, Matches};

    const ONES: u64 = 0x0101_0101_0101_0101;
    const LOW: u64 = 0x7F7F_7F7F_7F7F_7F7F;

    /// Sixteen control bytes, the first in the lowest byte of the first word.
    #[derive(Clone, Copy)]
    pub(in super::super) struct Group([u64; 2]);

    /// Bit `i` of the result is the top bit of byte `i`.
    #[inline(always)]
    fn top_bits(word: u64) -> u32 {
        // The product gathers the eight bits 0, 8, … 56 in its top byte, without carries.
        (((word >> 7) & ONES).wrapping_mul(0x0102_0408_1020_4080) >> 56) as u32
    }

    impl Group {
        /// Loads the group at `at`.
        ///
        /// # Safety
        /// 1. 16 bytes at `at` are readable.
        #[inline(always)]
        pub(in super::super) unsafe fn load(at: *const u8) -> Self {
            // SAFETY: 1.
            let words = unsafe { at.cast::<[u64; 2]>().read_unaligned() };
            Group(words.map(u64::from_le))
        }

        /// Loads the group at an address that is a multiple of 16.
        ///
        /// # Safety
        /// 1. 16 bytes at `at` are readable; `at` is 16-aligned.
        #[inline(always)]
        pub(in super::super) unsafe fn load_aligned(at: *const u8) -> Self {
            // SAFETY: 1.
            unsafe { Self::load(at) }
        }

        #[inline(always)]
        fn map(self, f: impl Fn(u64) -> u64) -> Matches {
            Matches(top_bits(f(self.0[0])) | top_bits(f(self.0[1])) << 8)
        }

        /// The positions of `byte`.
        #[inline(always)]
        pub(in super::super) fn matches(self, byte: u8) -> Matches {
            // Exact, unlike the shorter trick that borrows across bytes: every machine must probe alike.
            self.map(|word| {
                let differs = word ^ (ONES * byte as u64);
                !(((differs & LOW) + LOW) | differs | LOW)
            })
        }

        /// The positions of empty buckets.
        #[inline(always)]
        pub(in super::super) fn empty(self) -> Matches {
            self.matches(EMPTY)
        }

        /// The positions of buckets that are free: empty or deleted.
        #[inline(always)]
        pub(in super::super) fn free(self) -> Matches {
            self.map(|word| word)
        }

        /// The positions of live buckets.
        #[inline(always)]
        pub(in super::super) fn full(self) -> Matches {
            self.map(|word| !word)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ctrl() -> impl Strategy<Value = u8> {
        prop_oneof![Just(EMPTY), Just(DELETED), 0..8u8, any::<u8>()]
    }

    proptest! {
        #[test]
        fn both_implementations_agree_with_the_bytes(bytes in proptest::array::uniform16(ctrl()), byte in ctrl()) {
            let set = |f: &dyn Fn(u8) -> bool| {
                Matches(bytes.iter().enumerate().map(|(i, b)| (f(*b) as u32) << i).sum())
            };
            let aligned = u128::from_ne_bytes(bytes);
            let at = (&raw const aligned).cast::<u8>();
            // SAFETY: sixteen bytes, 16-aligned.
            let (here, there) = unsafe { (Group::load_aligned(at), portable::Group::load_aligned(at)) };
            for (one, two, expected) in [
                (here.matches(byte), there.matches(byte), set(&|b| b == byte)),
                (here.empty(), there.empty(), set(&|b| b == EMPTY)),
                (here.free(), there.free(), set(&|b| b >= 0x80)),
                (here.full(), there.full(), set(&is_full)),
            ] {
                prop_assert_eq!(one, expected);
                prop_assert_eq!(two, expected);
                let positions: Vec<usize> = one.collect();
                prop_assert_eq!(positions.len(), one.count());
                prop_assert_eq!(positions.first().copied(), one.lowest());
                prop_assert_eq!(one.leading_gap(), positions.first().copied().unwrap_or(16));
                for n in 0..=16 {
                    prop_assert_eq!(one.none_from(n), positions.iter().all(|at| *at < n));
                }
            }
        }
    }
}
