//! A slot is filled once (soundness B8).
use shmem_core::init;

fn main() {
    let _ = init::with::<u64, _>(|slot| {
        let first = slot.fill(1)?;
        let second = slot.fill(2)?;
        drop(first);
        Ok(second)
    });
}
