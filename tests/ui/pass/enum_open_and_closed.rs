//! What a program may write down: all of an enum, unless it says `non_exhaustive` (in its own crate also then).
use shmem_core::{Origin, ShmSafe, ShmString};

mod jobs {
    use super::{ShmSafe, ShmString};

    #[derive(ShmSafe)]
    #[repr(u8)]
    pub enum Open {
        Idle,
        Running { id: u64 },
    }

    #[derive(ShmSafe)]
    #[repr(u8)]
    #[non_exhaustive]
    pub enum Closed {
        Idle,
        Running { id: u64 },
    }

    #[derive(ShmSafe)]
    #[repr(u8)]
    pub enum OneClosed {
        Idle,
        #[non_exhaustive]
        Failed(ShmString),
        #[non_exhaustive]
        Last,
    }

    #[derive(ShmSafe)]
    #[repr(u8)]
    pub(super) enum Ours {
        Idle,
        Running { id: u64 },
    }
}

fn main() {
    assert_eq!(jobs::Open::type_info().origin, Origin::Shape);
    assert!(matches!(jobs::Closed::type_info().origin, Origin::Module(_)));
    assert!(matches!(jobs::OneClosed::type_info().origin, Origin::Module(_)));
    let _ = (jobs::OpenRunningInit { id: 1 }, jobs::ClosedRunningInit { id: 1 });
    let _ = (jobs::OneClosedFailedInit("why"), jobs::OneClosed::init_last(), jobs::OneClosed::init_idle());
    let _ = (jobs::OursRunningInit { id: 1 }, jobs::Ours::Idle, jobs::Open::Idle, jobs::Closed::Idle);
    let _ = |mut view: jobs::OursMut<'_>| matches!(view.get(), jobs::OursVariantMut::Running { .. });
}
