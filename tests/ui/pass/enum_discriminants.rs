//! Discriminants by constants, expressions, other enums, and counted on from them; of signed and unsigned tags.
use shmem_core::{Kind, ShmSafe};

const BASE: u16 = 0x100;

mod codes {
    pub const LAST: i64 = i64::MIN;
    pub const fn next(n: u16) -> u16 {
        n * 2
    }
}

#[derive(ShmSafe)]
#[repr(u16)]
enum Codes {
    Base = BASE,
    After,
    Next(u8) = codes::next(BASE) + 1,
    Shifted { x: u8 } = 1 << 15 | 1,
    Own = Self::OWN,
    Most = u16::MAX,
}

impl Codes {
    const OWN: u16 = 7;
}

#[derive(ShmSafe, Clone, Copy)]
#[repr(i64)]
enum Signed {
    Least = codes::LAST,
    Next,
    Most = i64::MAX,
    MinusOne = -1,
    Zero,
}

#[derive(ShmSafe)]
#[repr(C)]
enum OfC {
    Least = i32::MIN as isize,
    Most = i32::MAX as isize,
    OfOther = Signed::MinusOne as isize,
}

#[derive(ShmSafe)]
#[repr(usize)]
enum Wide<const N: usize> {
    One([u8; N]),
    Far = usize::MAX,
}

#[derive(ShmSafe, Clone, Copy)]
#[shm(mirror = ShmLevel)]
enum Level {
    Low = Signed::MinusOne as isize,
    High = 1 << 40,
}

fn tags<T: ShmSafe>() -> Vec<i128> {
    let Kind::Enum { variants, .. } = &T::type_info().kind else { unreachable!() };
    variants.iter().map(|v| v.tag).collect()
}

fn main() {
    assert_eq!(tags::<Codes>(), [0x100, 0x101, 0x201, 0x8001, 7, 0xffff]);
    assert_eq!(tags::<Signed>(), [i64::MIN as i128, i64::MIN as i128 + 1, i64::MAX as i128, -1, 0]);
    assert_eq!(tags::<OfC>(), [i32::MIN as i128, i32::MAX as i128, -1]);
    assert_eq!(tags::<Wide<3>>(), [0, usize::MAX as i128]);
    assert_eq!(tags::<ShmLevel>(), [-1, 1 << 40]);
    let _ = (Codes::Base, Codes::After, Codes::Own, Codes::Most, CodesNextInit(1), CodesShiftedInit { x: 1 });
    let _ = (Signed::Least, Signed::Next, Signed::Most, Signed::Zero);
    let _ = (OfC::Least, OfC::Most, OfC::OfOther, Level::Low, Level::High);
}
