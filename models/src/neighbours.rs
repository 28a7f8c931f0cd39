//! Stands in for what lies around the protocols: the segment's file and geometry, the registry, errors.

/// Errors, as far as the protocols make them.
pub(crate) mod error {
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub(crate) enum LockError {
        WouldBlock,
        TimedOut,
        Deadlock,
        Poisoned { by_death: bool },
    }

    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub(crate) enum Error {
        TooManyProcesses { limit: u32 },
    }
}

/// The context of a mapping, which the models do without.
pub(crate) mod access {
    pub(crate) struct Context;

    impl Context {
        pub(crate) fn upper<T>(&self) -> Option<&T> {
            None
        }
    }
}

pub(crate) mod mapping {
    use crate::kernel::Kernel;
    use std::io;

    /// Nobody forks, and no thread's slot is looked up by address.
    pub(crate) mod registry {
        use crate::access::Context;

        /// Never 0.
        pub(crate) fn fork_generation() -> u64 {
            1
        }

        pub(crate) fn slot_at(_: *const u8) -> *const u8 {
            std::ptr::null()
        }

        pub(crate) fn context_at(_: *const u8) -> Option<*const Context> {
            None
        }
    }

    /// The geometry of a segment whose tables are made of loom's atomics.
    pub(crate) mod superblock {
        pub(crate) use crate::participant::{CELL_SIZE, PROCESS_SIZE, SLOT_SIZE};

        pub(crate) const PROCESSES_AT: u64 = 0;
        pub(crate) const OS_PAGE: u64 = 64;

        #[derive(Debug, Clone, Copy)]
        pub(crate) struct FixedHeader {
            pub(crate) processes: u32,
            pub(crate) slots: u32,
            pub(crate) slots_at: u64,
            pub(crate) cells_at: u64,
        }
    }

    /// A byte that a process holds.
    #[derive(Debug)]
    pub(crate) struct HeldByte(pub(crate) u32);

    impl Drop for HeldByte {
        fn drop(&mut self) {
            // A process that is killed runs no destructors.
            if !crate::chance::is_dead() {
                Kernel::current().let_go(self.0);
            }
        }
    }

    /// A byte for the child of a fork: there are none.
    #[derive(Debug)]
    pub(crate) struct LockedByte;

    impl LockedByte {
        pub(crate) fn adopt(&self) -> io::Result<HeldByte> {
            Err(io::ErrorKind::Unsupported.into())
        }
    }
}

/// The layouts of what is stored here are nobody's business: clippy alone builds this.
#[cfg(test)]
pub(crate) mod format_test {
    pub(crate) struct StoredLayout;

    macro_rules! stored_layout {
        ($($structure:tt)*) => {
            crate::format_test::StoredLayout
        };
    }
    pub(crate) use stored_layout;
}
