//! Every mistake of a mirrored type is reported, each once, and nothing follows from them.
use shmem_core::ShmSafe;

#[derive(ShmSafe)]
#[shm(mirror = ShmEvent, colour = "red", derive(Debug), default)]
enum Event {
    #[shm(hash)]
    Quit,
    #[shm(rename = "Quit")]
    Text(String, #[shm(skip, with = module)] u8),
    Move {
        x: i32,
        #[shm(rename = "x")]
        y: i32,
    },
}

fn look(event: &ShmEvent) -> Event {
    event.to_native()
}

fn main() {
    let _ = (look, ShmEventTextInit("text"));
}
