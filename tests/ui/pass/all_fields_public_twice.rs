//! A struct with public fields only is its shape; with a private one it is its module's (soundness A8).
use shmem_core::{Fingerprint, Origin, ShmSafe};

macro_rules! module {
    ($name:ident) => {
        mod $name {
            #[derive(shmem_core::ShmSafe)]
            #[repr(C)]
            pub struct Open {
                pub id: u64,
            }

            #[derive(shmem_core::ShmSafe)]
            #[repr(C)]
            pub struct Closed {
                pub id: u64,
                even: u32,
            }

            #[derive(shmem_core::ShmSafe)]
            #[repr(C)]
            pub struct ForCrate {
                pub(crate) id: u64,
            }
        }
    };
}
module!(a);
module!(b);

fn main() {
    assert_eq!(a::Open::type_info().origin, Origin::Shape);
    assert_eq!(Fingerprint::of::<a::Open>(), Fingerprint::of::<b::Open>());
    assert!(matches!(a::Closed::type_info().origin, Origin::Module(path) if path.ends_with("::a")));
    assert_ne!(Fingerprint::of::<a::Closed>(), Fingerprint::of::<b::Closed>());
    assert_ne!(Fingerprint::of::<a::ForCrate>(), Fingerprint::of::<b::ForCrate>());
}
