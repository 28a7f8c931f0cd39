//! Variants and twins that are only ever built in place are no dead code; nor is what the derive adds and nobody uses.
#![deny(warnings)]
use shmem_core::{Result, Segment, ShmSafe, ShmString};

#[derive(ShmSafe)]
#[repr(u8)]
enum Job {
    Idle,
    Running { id: u64, name: ShmString },
    Failed(ShmString),
}

#[derive(ShmSafe)]
#[shm(mirror = ShmEvent)]
enum Event {
    Quit,
    Text(String),
}

fn main() -> Result<()> {
    let segment = Segment::anonymous().size(1 << 20).create()?;
    let job = segment.construct_anonymous::<Job>(JobRunningInit { id: 1, name: "a name" })?;
    match &*job {
        Job::Idle => {}
        Job::Running { id, name } => assert_eq!((*id, name.as_str()), (1, "a name")),
        Job::Failed(why) => assert_eq!(*why, "why"),
    }
    let event = segment.construct_anonymous::<ShmEvent>(Event::Text("text".into()))?;
    match event.to_native() {
        Event::Quit => unreachable!(),
        Event::Text(text) => assert_eq!(text, "text"),
    }
    Ok(())
}
