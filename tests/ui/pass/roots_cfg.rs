//! Fields that are configured away are no roots; a where clause is kept.
use shmem_core::{Root, Segment, ShmRoots};

#[derive(ShmRoots)]
struct Roots
where
    u64: Copy,
{
    one: Root<u64>,
    #[cfg(any())]
    gone: Root<Gone>,
    #[cfg(all())]
    #[shm(name = "three")]
    two: Root<u32>,
    #[cfg_attr(all(), shm(name = "gone"))]
    last: Root<u16>,
}

fn main() -> shmem_core::Result<()> {
    let segment = Segment::anonymous().size(1 << 20).create()?;
    let roots = Roots::create(&segment)?;
    assert_eq!((*roots.one, *roots.two, *roots.last), (0, 0, 0));
    assert_eq!(Roots::NAMES, ["one", "three", "gone"]);
    Ok(())
}
