//! Raw identifiers are named by their plain names.
#![allow(non_camel_case_types)]
use shmem_core::{Root, Segment, ShmRoots};

#[derive(ShmRoots)]
struct r#match {
    r#type: Root<u64>,
    #[shm(len = 2, init = |r#fn| r#fn as u32)]
    r#fn: Root<[u32]>,
    #[shm(unique)]
    r#struct: Root<u8>,
}

fn main() -> shmem_core::Result<()> {
    let segment = Segment::anonymous().size(1 << 20).create()?;
    let roots = r#match::open_or_create(&segment)?;
    assert_eq!((*roots.r#type, &roots.r#fn[..], *roots.r#struct), (0, &[0, 1][..], 0));
    assert_eq!(r#match::NAMES, ["type", "fn"]);
    assert!(segment.find::<u64>("type")?.is_some());
    Ok(())
}
