//! Nor does it leave the closure (soundness B8).
use shmem_core::init::{self, Filled};

fn main() {
    let mut kept: Option<Filled<'_, '_, u64>> = None;
    let _ = init::with::<u64, _>(|slot| {
        kept = Some(slot.fill(1)?);
        panic!()
    });
}
