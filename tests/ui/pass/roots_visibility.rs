//! The functions are as visible as the struct; types may be private, fields may have any visibility.
#![deny(private_interfaces, private_bounds, unreachable_pub)]
use shmem_core::Segment;

mod inner {
    use shmem_core::{Root, ShmRoots, ShmSafe};

    #[derive(ShmSafe)]
    #[repr(C)]
    struct Private(u64);

    pub(super) mod deep {
        use super::*;

        #[derive(ShmRoots)]
        pub(in super::super) struct Roots {
            #[shm(init = super::Private(7))]
            private: Root<super::Private>,
            pub(super) one: Root<u64>,
        }

        impl Roots {
            pub(in super::super) fn value(&self) -> u64 {
                self.private.0
            }
        }
    }

    pub(super) fn one(roots: &deep::Roots) -> u64 {
        *roots.one
    }
}

fn main() -> shmem_core::Result<()> {
    let segment = Segment::anonymous().size(1 << 20).create()?;
    let roots = inner::deep::Roots::open_or_create(&segment)?;
    assert_eq!((roots.value(), inner::one(&roots)), (7, 0));
    assert_eq!(inner::deep::Roots::NAMES, ["private", "one"]);
    Ok(())
}
