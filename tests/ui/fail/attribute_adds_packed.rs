//! What another attribute does to the layout is seen by the compiler (here: a macro writes the `repr`).
use shmem_core::ShmSafe;
use shmem_core::__private::{FieldLayout, check_layout};

#[repr(C, packed)]
struct Packed {
    tag: u8,
    id: u64,
}

// What the derive writes for every struct.
const _: () = check_layout(
    size_of::<Packed>(),
    align_of::<Packed>(),
    false,
    &[
        FieldLayout { offset: std::mem::offset_of!(Packed, tag), size: 1, align: 1 },
        FieldLayout { offset: std::mem::offset_of!(Packed, id), size: 8, align: 8 },
    ],
);

fn main() {
    fn stored<T: ShmSafe>() {}
    stored::<u64>();
}
