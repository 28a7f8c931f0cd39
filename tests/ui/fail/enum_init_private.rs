//! The initialisers of a private enum's variants are private too (soundness A5).
mod jobs {
    use shmem_core::ShmSafe;

    #[derive(ShmSafe)]
    #[repr(u8)]
    enum Job {
        Idle,
        Running { id: u64 },
    }
}

fn main() {
    let _ = jobs::JobRunningInit { id: 1 };
    let _ = jobs::JobIdleInit;
}
