//! Raw identifiers are described by their plain names.
#![allow(non_camel_case_types)]
use shmem_core::{Kind, ShmSafe};

#[derive(ShmSafe)]
#[shm(hash)]
#[repr(C)]
struct r#match {
    r#type: u32,
    pub r#fn: u64,
}

impl matchMut<'_> {
    fn set(&mut self) {
        *self.r#type = 1;
        *self.r#fn = 2;
    }
}

fn main() {
    let info = r#match::type_info();
    assert_eq!(info.name, "match");
    let Kind::Struct { fields } = &info.kind else { unreachable!() };
    assert!(fields.iter().map(|f| f.name).eq(["type", "fn"]));
    let _ = matchInit { r#type: 1, r#fn: 2 };
    let _ = matchMut::set;
    let _ = r#match { r#type: 1, r#fn: 2 };
}
