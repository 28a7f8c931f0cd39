//! Every mistake of an enum is reported, each once, and nothing follows from them.
use shmem_core::{ShmSafe, ShmString};

#[derive(ShmSafe)]
#[shm(colour = "red", hash, hash)]
#[repr(u128)]
enum Job {
    #[shm(skip)]
    Idle,
    #[shm(rename = "Idle")]
    Running {
        id: u64,
        #[shm(with = text)]
        name: String,
        #[shm(rename = "")]
        fine: ShmString,
    },
    Failed(Option<u64>, #[shm(skip)] &'static str),
}

#[derive(ShmSafe)]
#[repr(C)]
struct Outer {
    job: Job,
}

fn look(view: &mut JobMut<'_>) {
    if let JobVariantMut::Running { id, .. } = view.get() {
        *id += 1;
    }
}

fn main() {
    let _ = (look, JobFailedInit((), ""), Job::init_idle());
}
