//! Every attribute, together and apart.
use shmem_core::{Origin, ShmDrop, ShmHash, ShmSafe};

#[derive(ShmSafe)]
#[shm(hash, drop, version = 0x10, unsafe(name = "bank/Account"), crate = shmem_core,)]
#[repr(C, align(16))]
struct Account {
    id: u64,
}

impl ShmDrop for Account {
    fn drop(_: AccountMut<'_>) {}
}

#[derive(ShmSafe)]
#[shm()]
#[shm(hash)]
#[shm(version = 1u32)]
#[repr(align(4096))]
#[repr(C)]
struct Page(u8);

fn main() {
    fn key<K: ShmHash + ShmSafe>() {}
    key::<Account>();
    key::<Page>();
    let info = Account::type_info();
    assert_eq!((info.version, info.origin, info.align), (16, Origin::Named("bank/Account"), 16));
    assert_eq!(Page::type_info().align, 4096);
}
