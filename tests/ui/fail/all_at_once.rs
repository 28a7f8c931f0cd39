//! Every mistake of a type is reported, each once, and nothing follows from them.
use shmem_core::ShmSafe;

#[derive(ShmSafe)]
#[shm(version = 1, colour = "red")]
struct Stored {
    name: String,
    next: Option<Box<Stored>>,
    pair: (u64, u64),
    fine: u64,
}

impl StoredMut<'_> {
    fn add(&mut self) {
        *self.fine += 1;
    }
}

#[derive(ShmSafe)]
#[repr(C)]
struct Outer {
    stored: Stored,
}

fn main() {
    let _ = StoredInit { name: "", next: (), pair: (), fine: 1 };
}
