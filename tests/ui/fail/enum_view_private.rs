//! So are its views.
mod jobs {
    use shmem_core::ShmSafe;

    #[derive(ShmSafe)]
    #[repr(u8)]
    enum Job {
        Idle,
        Running { id: u64 },
    }
}

fn look(mut view: jobs::JobMut<'_>) {
    if let jobs::JobVariantMut::Idle = view.get() {}
}

fn main() {
    let _ = look;
}
