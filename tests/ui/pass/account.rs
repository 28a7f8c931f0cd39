//! The example of the first page: nested containers in a mutex at a root.
use shmem_core::{Segment, ShmHashMap, ShmMutex, ShmSafe, ShmString, ShmVec};

#[derive(ShmSafe)]
#[repr(C)]
struct Account {
    owner: ShmString,
    balance: i64,
    history: ShmVec<i64>,
}

impl AccountMut<'_> {
    fn book(&mut self, amount: i64) -> shmem_core::Result<()> {
        *self.balance += amount;
        self.history.push(amount)
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let bank = Segment::anonymous().size(1 << 20).create()?;
    let accounts = bank.find_or_construct::<ShmMutex<ShmHashMap<u64, Account>>>(
        "accounts",
        ShmMutex::new(ShmHashMap::new()),
    )?;
    let mut guard = accounts.lock()?;
    let mut map = guard.view();
    map.insert(42, AccountInit { owner: "Ada", balance: 100, history: [100] })?;
    let mut ada = map.get_mut(&42).unwrap();
    ada.book(-20)?;
    let (id, account) = guard.iter().next().unwrap();
    assert_eq!((*id, &*account.owner, account.balance), (42, "Ada", 80));
    assert_eq!(account.history[..], [100, -20]);
    Ok(())
}
