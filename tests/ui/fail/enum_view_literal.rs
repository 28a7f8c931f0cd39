//! A view is made by the library only.
mod jobs {
    use shmem_core::{ShmSafe, ShmString};

    #[derive(ShmSafe)]
    #[repr(u8)]
    pub enum Job {
        Idle,
        Failed(ShmString),
    }
}

fn other_place<'a>(a: jobs::JobMut<'a>, b: jobs::JobMut<'a>) -> jobs::JobMut<'a> {
    let _ = b;
    jobs::JobMut { __place: a.__place }
}

fn main() {
    let _ = other_place;
}
