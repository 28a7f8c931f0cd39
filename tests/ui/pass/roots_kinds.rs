//! Every kind of root, written in every way; nothing to warn of.
#![forbid(unsafe_code)]
#![deny(warnings, missing_docs, missing_debug_implementations, clippy::all)]
use shmem_core::{
    Init, Root, Segment, ShmBox, ShmHashMap, ShmMutex, ShmOption, ShmRoots, ShmSafe, ShmString, ShmVec, init,
};
use std::sync::atomic::{AtomicU64, Ordering};

/// A configuration.
#[derive(ShmSafe, Debug)]
#[repr(C)]
pub struct Config {
    /// How many.
    pub threads: u64,
    /// What it is called.
    pub name: ShmString,
}

type Shared<T> = Root<ShmMutex<T>>;
type Slice = Root<[ShmMutex<ShmVec<u64>>]>;
type Maybe<T> = Option<Root<T>>;

const LEN: usize = 2;

fn squares(i: usize) -> impl Init<u64> {
    (i * i) as u64
}

/// All of them.
#[derive(ShmRoots, Clone, Debug)]
pub struct Roots {
    /// By default.
    pub accounts: Root<ShmMutex<ShmHashMap<u64, ShmVec<u64>>>>,
    /// By an initialiser.
    #[shm(name = "hits", init = AtomicU64::new(7))]
    pub counter: Root<AtomicU64>,
    #[shm(len = 16)]
    shards: Slice,
    #[shm(init = |i: usize| i as u32, len = { const FACTOR: usize = 3; FACTOR * Self::FACTOR })]
    numbers: Root<[u32]>,
    #[shm(len = LEN + 1)]
    #[shm(init = squares)]
    squares: Root<[u64]>,
    #[shm(init = |_| "text", len = usize::from(true))]
    texts: Root<[ShmString]>,
    #[shm(unique, init = ConfigInit { threads: Self::FACTOR as u64, name: "config" })]
    config: Root<Config>,
    #[shm(unique)]
    only: Root<ShmOption<u8>>,
    /// Inferred all the way down.
    #[shm(init = ShmMutex::new(ShmBox::new(ShmHashMap::new())))]
    deep: Shared<ShmBox<ShmHashMap<ShmString, u8>>>,
    #[shm(init = init::with(|slot| slot.fill("made")))]
    made: Root<ShmString>,
    #[shm(init = { let base = 40; base + 2 })]
    block: Root<u64>,
    optional: Option<Root<u64>>,
    alias: Maybe<[u64]>,
    #[shm(unique)]
    optional_unique: Option<Root<[u64; 3]>>,
}

impl Roots {
    const FACTOR: usize = 2;
}

/// None at all.
#[derive(ShmRoots, Debug)]
pub struct Nothing {}

fn main() -> shmem_core::Result<()> {
    let segment = Segment::anonymous().size(4 << 20).create()?;
    let roots = Roots::create(&segment)?;
    assert!(roots.accounts.lock()?.is_empty() && roots.deep.lock()?.is_empty() && roots.only.is_none());
    assert_eq!(roots.counter.load(Ordering::Relaxed), 7);
    assert_eq!((roots.shards.len(), &roots.numbers[..], &roots.squares[..]), (16, &[0, 1, 2, 3, 4, 5][..], &[0, 1, 4][..]));
    assert_eq!((&*roots.texts[0], &**roots.made, *roots.block), ("text", "made", 42));
    assert_eq!((roots.config.threads, &*roots.config.name), (2, "config"));
    assert!(roots.optional.is_none() && roots.alias.is_none() && roots.optional_unique.is_none());
    assert_eq!(
        Roots::NAMES,
        [
            "accounts", "hits", "shards", "numbers", "squares", "texts", "deep", "made", "block", "optional",
            "alias"
        ]
    );
    segment.construct::<u64>("optional", 1)?;
    segment.construct_slice::<u64, _>("alias", 3, |i| i as u64)?;
    segment.construct_unique::<[u64; 3]>([1, 2, 3])?;
    let again = Roots::open(&segment)?;
    assert_eq!(again.optional.as_deref(), Some(&1));
    assert_eq!(again.alias.as_deref(), Some(&[0, 1, 2][..]));
    assert_eq!(again.optional_unique.as_deref(), Some(&[1, 2, 3]));
    assert_eq!(Roots::destroy(&segment)?, 14);
    assert_eq!(segment.object_count(), 0);
    assert_eq!(Nothing::NAMES, [""; 0]);
    Nothing::create(&segment)?;
    assert_eq!(Nothing::destroy(&segment)?, 0);
    Ok(())
}
