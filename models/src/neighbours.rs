//! Stands in for what lies around the protocols: the segment's file and geometry, the registry, errors.

/// Errors, as far as the protocols make them.
pub(crate) mod error {
    use std::io;
    use std::path::PathBuf;

    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub(crate) enum LockError {
        WouldBlock,
        TimedOut,
        Deadlock,
        Poisoned { by_death: bool },
        Refused,
    }

    #[derive(Debug)]
    pub(crate) enum Error {
        TooManyProcesses { limit: u32 },
        Open(OpenError),
    }

    #[derive(Debug)]
    pub(crate) enum OpenError {
        Io { action: &'static str, path: PathBuf, source: io::Error },
    }

    impl From<OpenError> for Error {
        fn from(error: OpenError) -> Self {
            Error::Open(error)
        }
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

        pub(crate) fn forget_cached() {}

        pub(crate) fn context_at(_: *const u8) -> Option<*const Context> {
            None
        }
    }

    /// The geometry of a segment whose tables are made of loom's atomics.
    pub(crate) mod superblock {
        pub(crate) use crate::participant::{CELL_SIZE, PROCESS_SIZE, SLOT_INTENT_AT, SLOT_SIZE};

        pub(crate) const PROCESSES_AT: u64 = 0;
        pub(crate) const OS_PAGE: u64 = 64;

        #[derive(Debug, Clone, Copy)]
        pub(crate) struct FixedHeader {
            pub(crate) processes: u32,
            pub(crate) slots: u32,
            pub(crate) slots_at: u64,
            pub(crate) cells_at: u64,
            pub(crate) end: u64,
        }
    }

    /// A byte that a process holds.
    #[derive(Debug)]
    pub(crate) struct HeldByte(pub(crate) u32);

    impl HeldByte {
        /// It is the only witness.
        pub(crate) fn is_exact(&self) -> bool {
            true
        }
    }

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

/// Places at which tests have processes killed: here threads are cut off anywhere.
pub(crate) mod crash {
    macro_rules! crash_point {
        ($name:literal) => {};
    }
    pub(crate) use crash_point;
}

/// All objects are of one type.
pub(crate) mod layout {
    pub(crate) trait ShmSafe {}

    pub(crate) struct Fingerprint;

    impl Fingerprint {
        pub(crate) fn halves_of<T: ShmSafe>() -> [u64; 2] {
            [0, 0]
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
