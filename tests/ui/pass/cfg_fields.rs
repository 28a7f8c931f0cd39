//! Fields, attributes and parameters under `cfg`.
use shmem_core::{Kind, ShmSafe};

#[derive(ShmSafe)]
#[cfg_attr(all(), repr(C))]
#[cfg_attr(any(), repr(packed))]
#[cfg_attr(all(), shm(version = 2))]
#[cfg_attr(any(), shm(version = 3))]
struct Stored {
    id: u64,
    #[cfg(any())]
    gone: String,
    #[cfg(all())]
    here: u32,
    #[cfg(any())]
    here: Vec<u8>,
}

#[derive(ShmSafe)]
#[repr(C)]
struct Tuple(u8, #[cfg(any())] String, u16);

fn main() {
    let info = Stored::type_info();
    let Kind::Struct { fields } = &info.kind else { unreachable!() };
    assert_eq!((fields.len(), info.version), (2, 2));
    let _ = StoredInit { id: 1, here: 2 };
    let Kind::Struct { fields } = &Tuple::type_info().kind else { unreachable!() };
    assert!(fields.iter().map(|f| (f.name, f.offset)).eq([("0", 0), ("1", 2)]));
    let _ = (Stored { id: 1, here: 2 }, Tuple(1, 2));
}
