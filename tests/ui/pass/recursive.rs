//! Types that mention themselves: bounds, constants, `Unpin` and `Frozen` do not cycle.
use shmem_core::{Fingerprint, Frozen, ShmSafe};
use std::marker::PhantomData;
use std::sync::atomic::AtomicU8;

#[derive(ShmSafe)]
#[repr(C)]
struct Node {
    value: u64,
    next: PhantomData<Node>,
    other: PhantomData<Tree<Node>>,
}

#[derive(ShmSafe)]
#[repr(C)]
struct Tree<T> {
    root: PhantomData<Tree<T>>,
    leaf: PhantomData<T>,
    node: PhantomData<Node>,
}

#[derive(ShmSafe)]
#[repr(C)]
struct Counted {
    hits: AtomicU8,
    next: PhantomData<Counted>,
}

trait NotFrozen<Which> {
    fn check() {}
}
impl<T> NotFrozen<()> for T {}
impl<T: Frozen> NotFrozen<u8> for T {}

fn main() {
    fn good<T: ShmSafe + Frozen + Unpin + Send + Sync>() {}
    good::<Node>();
    good::<Tree<Node>>();
    <Counted as NotFrozen<_>>::check();
    <Tree<Counted> as NotFrozen<_>>::check();
    assert_ne!(Fingerprint::of::<Node>(), Fingerprint::of::<Tree<Node>>());
}
