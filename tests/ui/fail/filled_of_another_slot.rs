//! The proof that a slot was filled is of that slot (soundness B8).
use shmem_core::init;

fn main() {
    let _ = init::with::<u64, _>(|_outer| {
        let mut stolen = None;
        let _ = init::with::<u64, _>(|inner| {
            stolen = Some(inner);
            panic!()
        });
        stolen.unwrap().fill(1)
    });
}
