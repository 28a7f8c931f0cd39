//! The library under another name.
pub extern crate shmem_core as other;

mod deep {
    pub use other as library;
    pub mod shmem_core {}
}

use other::{Root, ShmRoots as Derived};

#[derive(Derived)]
#[shm(crate = crate::deep::library, prefix = "p.")]
struct Roots {
    one: Root<u64>,
    #[shm(unique, init = 7)]
    two: Root<u32>,
    #[shm(len = 3)]
    three: Root<[u8]>,
}

macro_rules! with_crate {
    ($krate:path) => {
        #[derive(Derived)]
        #[shm(crate = $krate)]
        struct Inner {
            one: Option<Root<u64>>,
        }
    };
}
with_crate!(crate::deep::library);

fn main() -> other::Result<()> {
    let segment = other::Segment::anonymous().size(1 << 20).create()?;
    let roots = Roots::open_or_create(&segment)?;
    assert_eq!((*roots.one, *roots.two, roots.three.len()), (0, 7, 3));
    assert!(Inner::open(&segment)?.one.is_none());
    Ok(())
}
