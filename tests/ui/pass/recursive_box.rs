//! Types that own themselves.
use shmem_core::{Fingerprint, Frozen, Segment, ShmBox, ShmMutex, ShmOption, ShmSafe, ShmVec};

#[derive(ShmSafe)]
#[repr(C)]
struct Node {
    value: u64,
    next: ShmOption<ShmBox<Node>>,
}

#[derive(ShmSafe)]
#[repr(C)]
struct Tree<T: ShmSafe> {
    value: T,
    children: ShmVec<Tree<T>>,
}

fn frozen<T: Frozen + Send + Sync>() {}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    frozen::<Node>();
    frozen::<Tree<Node>>();
    assert_ne!(Fingerprint::of::<Tree<u8>>(), Fingerprint::of::<Tree<u16>>());
    let segment = Segment::anonymous().size(1 << 20).create()?;
    let last = NodeInit { value: 2, next: ShmOption::none() };
    let list = NodeInit { value: 1, next: ShmOption::some(ShmBox::new(last)) };
    let list = segment.construct::<ShmMutex<Node>>("list", ShmMutex::new(list))?;
    let guard = list.lock()?;
    assert_eq!(guard.next.as_ref().unwrap().value, 2);
    Ok(())
}
