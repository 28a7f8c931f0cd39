//! The twins of tuples, whose own layout is not fixed. A tuple of initialisers initialises one.
//!
//! This file needs `unsafe`: it implements an unsafe trait.

use super::init::Init;
use super::mirror::{Mirror, MirrorType};
use crate::ShmSafe;
use crate::access::Access;
use crate::error::Result;

macro_rules! tuple {
    ($($name:ident, $init:ident, $n:literal: $($param:ident $by:ident $i:tt),+;)*) => { $(
        #[doc = concat!("The twin of a tuple of ", $n, ", in order. It has the same fields: `.0`, `.1` …")]
        #[derive(ShmSafe, Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[shm(hash, default)]
        #[repr(C)]
        pub struct $name<$($param),+>($(pub $param),+);

        // SAFETY: 1 to 3: by the struct's own initialiser.
        unsafe impl<$($param: ShmSafe, $by: Init<$param>),+> Init<$name<$($param),+>> for ($($by,)+) {
            #[inline]
            unsafe fn init(self, slot: *mut $name<$($param),+>, access: Access<'_>) -> Result<()> {
                // SAFETY: by the caller.
                unsafe { Init::<$name<$($param),+>>::init($init($(self.$i),+), slot, access) }
            }
        }

        impl<$($param: MirrorType),+> MirrorType for ($($param,)+) {
            type Shm = $name<$($param::Shm),+>;
        }

        impl<$($param: Mirror),+> Mirror for ($($param,)+) {
            type Init<'a> = $init<$($param::Init<'a>),+> where $($param: 'a),+;
            fn mirror(&self) -> Self::Init<'_> {
                $init($(self.$i.mirror()),+)
            }
            fn to_native(shm: &Self::Shm) -> Self {
                ($($param::to_native(&shm.$i),)+)
            }
        }
    )* };
}
tuple! {
    ShmTuple1, ShmTuple1Init, "one": A ByA 0;
    ShmTuple2, ShmTuple2Init, "two": A ByA 0, B ByB 1;
    ShmTuple3, ShmTuple3Init, "three": A ByA 0, B ByB 1, C ByC 2;
    ShmTuple4, ShmTuple4Init, "four": A ByA 0, B ByB 1, C ByC 2, D ByD 3;
    ShmTuple5, ShmTuple5Init, "five": A ByA 0, B ByB 1, C ByC 2, D ByD 3, E ByE 4;
    ShmTuple6, ShmTuple6Init, "six": A ByA 0, B ByB 1, C ByC 2, D ByD 3, E ByE 4, F ByF 5;
    ShmTuple7, ShmTuple7Init, "seven": A ByA 0, B ByB 1, C ByC 2, D ByD 3, E ByE 4, F ByF 5, G ByG 6;
    ShmTuple8, ShmTuple8Init, "eight": A ByA 0, B ByB 1, C ByC 2, D ByD 3, E ByE 4, F ByF 5, G ByG 6, H ByH 7;
    ShmTuple9, ShmTuple9Init, "nine": A ByA 0, B ByB 1, C ByC 2, D ByD 3, E ByE 4, F ByF 5, G ByG 6, H ByH 7, I ByI 8;
    ShmTuple10, ShmTuple10Init, "ten": A ByA 0, B ByB 1, C ByC 2, D ByD 3, E ByE 4, F ByF 5, G ByG 6, H ByH 7, I ByI 8, J ByJ 9;
    ShmTuple11, ShmTuple11Init, "eleven": A ByA 0, B ByB 1, C ByC 2, D ByD 3, E ByE 4, F ByF 5, G ByG 6, H ByH 7, I ByI 8, J ByJ 9, K ByK 10;
    ShmTuple12, ShmTuple12Init, "twelve": A ByA 0, B ByB 1, C ByC 2, D ByD 3, E ByE 4, F ByF 5, G ByG 6, H ByH 7, I ByI 8, J ByJ 9, K ByK 10, L ByL 11;
}
