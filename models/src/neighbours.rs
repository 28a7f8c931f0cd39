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
    pub(crate) enum AllocError {
        OutOfMemory,
    }

    #[derive(Debug)]
    pub(crate) struct Corrupt {
        pub(crate) at: u64,
        pub(crate) what: &'static str,
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
        use std::cell::Cell;
        use std::ptr::NonNull;

        loom::thread_local! {
            /// The cache that this thread works with.
            static BLOCKS: Cell<Option<NonNull<u8>>> = Cell::new(None);
        }

        #[derive(Clone, Copy)]
        pub(crate) struct Epoch;

        pub(crate) fn epoch() -> Epoch {
            Epoch
        }

        /// A thread is of one process, which has mapped one segment.
        pub(crate) fn blocks_of(_: usize, _: Epoch) -> Option<NonNull<u8>> {
            BLOCKS.with(Cell::get)
        }

        pub(crate) fn remember_blocks(_: usize, blocks: NonNull<u8>) {
            BLOCKS.with(|known| known.set(Some(blocks)));
        }

        /// Gives this thread a cache, or takes it away; which it had.
        pub(crate) fn change_blocks(blocks: Option<NonNull<u8>>) -> Option<NonNull<u8>> {
            BLOCKS.with(|known| known.replace(blocks))
        }

        /// A thread that has a slot uses its cache at once, and no other thread ever takes one for that.
        pub(crate) fn is_due(_: usize, _: i64) -> bool {
            crate::participant::thread::has_slot()
        }

        pub(crate) fn put_off(_: i64) {}

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

    /// Memory is there.
    pub(crate) mod commit {
        use crate::error::AllocError;

        pub(crate) trait Commit: Send + Sync {
            fn commit(&self, offset: u64, len: u64) -> Result<(), AllocError>;
        }

        impl Commit for () {
            fn commit(&self, _: u64, _: u64) -> Result<(), AllocError> {
                crate::kernel::enter().map(|_| ()).ok_or(AllocError::OutOfMemory)
            }
        }
    }

    /// The geometry of a segment whose tables are made of loom's atomics.
    pub(crate) mod superblock {
        pub(crate) use crate::heap::place::{BITMAP_BYTES, CACHE_BYTES, DESCRIPTOR_BYTES, HEAP_AT, STATE_AT};
        pub(crate) use crate::participant::{CELL_SIZE, PROCESS_SIZE, SLOT_INTENT_AT, SLOT_SIZE};

        pub(crate) const PROCESSES_AT: u64 = 0;
        pub(crate) const OS_PAGE: u64 = 64;

        pub(crate) const fn bitmap_bytes(_: u32) -> u64 {
            BITMAP_BYTES
        }

        pub(crate) const fn cache_count(_: u32, slots: u32) -> u32 {
            slots
        }

        #[derive(Default)]
        pub(crate) struct State {
            pub(crate) capacity: crate::primitive::AtomicU64,
        }

        /// Of a segment's participants, or of its heap.
        #[derive(Debug, Clone, Copy, Default)]
        pub(crate) struct FixedHeader {
            pub(crate) processes: u32,
            pub(crate) slots: u32,
            pub(crate) slots_at: u64,
            pub(crate) cells_at: u64,
            pub(crate) end: u64,
            pub(crate) segment_id: [u8; 16],
            pub(crate) heap_page_shift: u32,
            pub(crate) max_capacity: u64,
            pub(crate) descriptors_at: u64,
            pub(crate) bitmaps_at: u64,
            pub(crate) caches_at: u64,
            pub(crate) data_at: u64,
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
