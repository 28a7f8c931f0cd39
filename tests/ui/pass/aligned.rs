//! `align` beside `C`, up to 4096; padding between and behind the fields.
use shmem_core::{Kind, ShmSafe};

#[derive(ShmSafe)]
#[repr(C, align(64))]
struct Line {
    tag: u8,
    id: u64,
}

#[derive(ShmSafe)]
#[repr(C)]
struct Lines {
    small: u8,
    line: Line,
    end: u16,
}

fn main() {
    let info = Lines::type_info();
    let Kind::Struct { fields } = &info.kind else { unreachable!() };
    assert!(fields.iter().map(|field| field.offset).eq([0, 64, 128]));
    assert_eq!((info.size, info.align), (192, 64));
}
