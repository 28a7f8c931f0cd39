//! Stands in for the library's `sys`: system calls of the model's [kernel](crate::kernel).

/// The clock stands still.
pub(crate) mod clock {
    use std::time::Duration;

    #[derive(Debug, Clone, Copy)]
    pub(crate) struct Deadline;

    impl Deadline {
        pub(crate) fn after(_: Duration) -> Self {
            Deadline
        }

        pub(crate) fn has_passed(self) -> bool {
            false
        }

        pub(crate) fn ns(self) -> u64 {
            u64::MAX
        }
    }
}

pub(crate) mod futex {
    use crate::chance::{self, Step};
    use crate::kernel::Kernel;
    use crate::primitive::{AtomicU32, Ordering};

    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub(crate) enum Woken {
        Look,
        TimedOut,
    }

    fn woken(is_woken: bool) -> Woken {
        if is_woken { Woken::Look } else { Woken::TimedOut }
    }

    /// A waiter that has no hint of a death looks after so long at the earliest.
    const UNHINTED_NS: u64 = 10_000_000;

    /// Who has a hint polls. Else a sleep ends when it is woken, unless timers fire:
    /// nobody should need the long ones.
    pub(crate) fn wait(word: &AtomicU32, value: u32, deadline_ns: Option<u64>) -> Woken {
        if deadline_ns.is_none_or(|deadline| deadline >= UNHINTED_NS) {
            return woken(Kernel::current().wait(&[(word, value)]));
        }
        woken(Kernel::current().poll(word, value))
    }

    /// Sleeps until it is woken, unless timers fire.
    pub(crate) fn wait_either(first: (&AtomicU32, u32), second: (&AtomicU32, u32), _: u64) -> Woken {
        woken(Kernel::current().wait(&[first, second]))
    }

    #[track_caller]
    pub(crate) fn wake(word: &AtomicU32, n: u32) -> usize {
        match chance::step(true, Ordering::Relaxed) {
            Step::Go(_) | Step::Less(_) | Step::Blind(_) | Step::Late(_) => Kernel::current().wake(word, n),
            Step::Skip | Step::Dead => 0,
        }
    }

    pub(crate) fn now_ns() -> u64 {
        0
    }
}

pub(crate) mod robust {
    use crate::kernel::Kernel;
    use crate::primitive::AtomicU32;
    use std::ptr::NonNull;

    pub(crate) const OWNER_DIED: u32 = 1 << 30;
    pub(crate) const WAITERS: u32 = 1 << 31;
    pub(crate) const THREAD: u32 = (1 << 30) - 1;

    #[derive(Debug, Default)]
    #[repr(C)]
    pub(crate) struct Entry {
        pub(crate) word: AtomicU32,
    }

    /// # Safety
    /// 1. The entry stays where it is until it is unlinked or the thread has ended.
    pub(crate) unsafe fn link(entry: NonNull<Entry>) -> bool {
        Kernel::current().link(super::process::thread_id(), entry);
        true
    }

    pub(crate) fn unlink(entry: NonNull<Entry>) {
        if !crate::chance::is_dead() {
            Kernel::current().unlink(entry);
        }
    }
}

pub(crate) mod process {
    use std::cell::Cell;

    loom::thread_local! {
        static THREAD: Cell<u32> = Cell::new(1);
    }

    pub(crate) fn thread_id() -> u32 {
        THREAD.with(Cell::get)
    }

    /// Says which thread this is.
    pub(crate) fn become_thread(id: u32) {
        THREAD.with(|thread| thread.set(id));
    }

    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub(crate) struct Identity {
        pub(crate) pid: u32,
        pub(crate) namespaces: u64,
        pub(crate) started: u64,
    }

    /// There is no `/proc`: the byte is the only witness.
    pub(crate) fn identity() -> Option<Identity> {
        None
    }

    pub(crate) fn has_left_its_memory(_: &Identity) -> bool {
        false
    }
}

pub(crate) mod memory {
    use std::ptr::NonNull;

    /// # Safety
    /// 1. It was mapped.
    pub(crate) unsafe fn unmap(_: NonNull<u8>, _: usize) {}

    /// # Safety
    /// 1. It was mapped.
    pub(crate) unsafe fn blank(_: NonNull<u8>, _: usize) -> std::io::Result<()> {
        Ok(())
    }
}
