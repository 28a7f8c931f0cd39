//! Every mistake of a group is reported, each once, and nothing follows from them.
use shmem_core::{Root, Segment, ShmRoots};

#[derive(ShmRoots)]
#[shm(colour = "red")]
struct Roots<'a> {
    one: Root<u64>,
    #[shm(name = "one")]
    two: Root<u64>,
    #[shm(unique, len = 3)]
    three: Root<[u64]>,
    #[shm(name = "")]
    four: &'a str,
}

fn main() -> shmem_core::Result<()> {
    let segment = Segment::anonymous().create()?;
    let roots = Roots::open_or_create(&segment)?;
    println!("{} {:?}", *roots.one, Roots::NAMES);
    Ok(())
}
