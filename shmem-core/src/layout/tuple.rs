//! The twins of tuples, whose own layout is not fixed.

use super::mirror::{Mirror, MirrorType};
use crate::ShmSafe;

macro_rules! tuple {
    ($($name:ident, $init:ident, $n:literal: $($param:ident $i:tt),+;)*) => { $(
        #[doc = concat!("The twin of a tuple of ", $n, ", in order. It has the same fields: `.0`, `.1` …")]
        #[derive(ShmSafe, Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[shm(hash)]
        #[repr(C)]
        pub struct $name<$($param),+>($(pub $param),+);

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
    ShmTuple1, ShmTuple1Init, "one": A 0;
    ShmTuple2, ShmTuple2Init, "two": A 0, B 1;
    ShmTuple3, ShmTuple3Init, "three": A 0, B 1, C 2;
    ShmTuple4, ShmTuple4Init, "four": A 0, B 1, C 2, D 3;
    ShmTuple5, ShmTuple5Init, "five": A 0, B 1, C 2, D 3, E 4;
    ShmTuple6, ShmTuple6Init, "six": A 0, B 1, C 2, D 3, E 4, F 5;
    ShmTuple7, ShmTuple7Init, "seven": A 0, B 1, C 2, D 3, E 4, F 5, G 6;
    ShmTuple8, ShmTuple8Init, "eight": A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7;
    ShmTuple9, ShmTuple9Init, "nine": A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7, I 8;
    ShmTuple10, ShmTuple10Init, "ten": A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7, I 8, J 9;
    ShmTuple11, ShmTuple11Init, "eleven": A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7, I 8, J 9, K 10;
    ShmTuple12, ShmTuple12Init, "twelve": A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7, I 8, J 9, K 10, L 11;
}
