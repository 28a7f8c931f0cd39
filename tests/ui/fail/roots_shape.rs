//! A group is a struct with named fields.
use shmem_core::{Root, Segment, ShmRoots};

#[derive(ShmRoots)]
struct Tuple(Root<u64>);

#[derive(ShmRoots)]
struct Unit;

#[derive(ShmRoots)]
enum Either {
    One(Root<u64>),
}

#[derive(ShmRoots)]
union Both {
    one: u64,
}

fn main() -> shmem_core::Result<()> {
    let segment = Segment::anonymous().create()?;
    // Nothing follows from the mistakes.
    Tuple::open(&segment)?;
    Either::create(&segment)?;
    Both::destroy(&segment)?;
    Unit::open_or_create(&segment).map(|_| ())
}
