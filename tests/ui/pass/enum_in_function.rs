//! Enums and twins inside functions, several of one name.
use shmem_core::{Segment, ShmSafe, ShmString};

fn one() -> usize {
    #[derive(ShmSafe)]
    #[repr(u8)]
    enum Job {
        Idle,
        Failed(ShmString),
    }
    let _ = (Job::Idle, JobFailedInit("why"), Job::init_idle());
    Job::type_info().size
}

fn two() -> shmem_core::Result<usize> {
    #[derive(ShmSafe, Debug, PartialEq)]
    #[shm(mirror = ShmJob)]
    enum Job {
        Idle,
        Failed(String),
    }
    let segment = Segment::anonymous().size(1 << 20).create()?;
    let shared = segment.construct_anonymous::<ShmJob>(Job::Failed("why".into()))?;
    assert_eq!(shared.to_native(), Job::Failed("why".into()));
    assert_ne!(shared.to_native(), Job::Idle);
    let again = || {
        #[derive(ShmSafe)]
        #[repr(C)]
        enum Job {
            Idle,
        }
        (Job::Idle, Job::type_info().size).1
    };
    Ok(again())
}

fn main() {
    assert_eq!(one(), 32);
    assert_eq!(two().unwrap(), 4);
}
