//! Enums and twins of a library under another name.
pub extern crate shmem_core as other;

mod deep {
    pub use other as library;
    pub mod shmem_core {}
}

use other::ShmSafe as Safe;

#[derive(Safe)]
#[shm(crate = crate::deep::library, hash)]
#[repr(u8)]
enum Job<T: other::ShmSafe> {
    Idle,
    Running(T, u64),
}

#[derive(Safe)]
#[shm(crate = crate::deep::library)]
#[repr(i16)]
enum Side {
    Buy = -1,
    Sell,
}

#[derive(Safe, Clone)]
#[shm(crate = crate::deep::library, mirror = ShmOrder)]
struct Order<T> {
    name: String,
    rest: Vec<T>,
}

fn main() {
    fn stored<T: other::ShmSafe>() {}
    stored::<Job<Side>>();
    stored::<ShmOrder<other::ShmString>>();
    let _ = (Job::<u8>::init_idle(), JobRunningInit(1, 2), Side::Buy, Side::Sell);
    let _ = Order { name: String::new(), rest: vec![1u8] }.clone();
}
