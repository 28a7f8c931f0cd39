//! A destructor that works on what the value owns, wherever the value is destroyed.
use shmem_core::{Segment, ShmDrop, ShmMutex, ShmSafe, ShmVec};
use std::sync::atomic::{AtomicU64, Ordering};

static SUM: AtomicU64 = AtomicU64::new(0);

#[derive(ShmSafe)]
#[shm(drop)]
#[repr(C)]
struct Ledger {
    entries: ShmVec<u64>,
}

impl ShmDrop for Ledger {
    fn drop(mut this: LedgerMut<'_>) {
        this.entries.push(1).unwrap();
        SUM.fetch_add(this.entries.iter().sum(), Ordering::Relaxed);
        this.entries.clear();
        this.entries.shrink_to_fit().unwrap();
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let segment = Segment::anonymous().size(1 << 20).create()?;
    let ledgers = segment.construct::<ShmMutex<ShmVec<Ledger>>>("ledgers", ShmMutex::new(ShmVec::new()))?;
    let mut guard = ledgers.lock()?;
    let mut list = guard.view();
    list.push(LedgerInit { entries: [10, 20] })?;
    list.push(LedgerInit { entries: [100] })?;
    // Replaced: the old one is destroyed outside its place.
    list.set(0, LedgerInit { entries: [1000; 200] })?;
    assert_eq!(SUM.load(Ordering::Relaxed), 31);
    list.clear();
    assert_eq!(SUM.load(Ordering::Relaxed), 31 + 200_001 + 101);
    Ok(())
}
