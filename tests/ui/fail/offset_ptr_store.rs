//! An `OffsetPtr` is stored by unsafe code only (soundness A3).
use shmem_core::OffsetPtr;

fn write(at: &mut OffsetPtr<u64>, to: &mut u64) {
    OffsetPtr::store(at, to);
}

fn main() {
    let _ = write;
}
