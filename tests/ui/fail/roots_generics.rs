//! A group has no parameters.
use shmem_core::{Root, ShmRoots, ShmSafe};

#[derive(ShmRoots)]
struct Roots<T: ShmSafe> {
    value: Root<T>,
}

#[derive(ShmRoots)]
struct Borrowed<'a, const N: usize> {
    value: &'a Root<[u64; N]>,
}

fn main() {
    println!("{:?}", Roots::<u64>::NAMES);
}
