//! What the derive writes passes the strictest lints.
#![forbid(unsafe_code)]
#![deny(warnings, missing_docs, missing_debug_implementations, rust_2018_idioms, future_incompatible)]
#![deny(unreachable_pub, unused_qualifications, trivial_casts, trivial_numeric_casts, single_use_lifetimes)]
#![deny(clippy::all, clippy::pedantic)]
use shmem_core::{ShmSafe, ShmString, ShmVec};

/// Jobs.
pub mod jobs {
    use super::{ShmSafe, ShmString, ShmVec};

    /// A job.
    #[derive(ShmSafe, Debug)]
    #[shm(hash, version = 1)]
    #[repr(u8)]
    pub enum Job {
        /// Nothing to do.
        Idle,
        /// Something to do.
        Running {
            /// What.
            id: u64,
            /// Its name.
            name: ShmString,
        },
        /// Not to be done.
        Failed(ShmString),
    }

    /// A side.
    #[derive(ShmSafe, Debug, Clone, Copy, PartialEq, Eq)]
    #[repr(u8)]
    pub enum Side {
        /// One.
        Buy,
        /// The other.
        Sell,
    }

    /// A generic enum.
    #[derive(ShmSafe, Debug)]
    #[repr(C)]
    pub enum Either<A, B: ShmSafe> {
        /// One.
        Left(A),
        /// The other.
        Right(ShmVec<B>),
    }

    /// An ordinary struct.
    #[derive(ShmSafe, Debug, Clone, PartialEq)]
    #[shm(mirror = ShmOrder, derive(Debug))]
    pub struct Order {
        /// Its number.
        pub id: u64,
        /// Its name.
        pub name: String,
    }

    /// An ordinary enum.
    #[derive(ShmSafe, Debug, Clone, PartialEq)]
    #[shm(mirror = ShmEvent, derive(Debug))]
    pub enum Event {
        /// The end.
        Quit,
        /// Some text.
        Text(String),
        /// Orders.
        Orders {
            /// Which.
            list: Vec<Order>,
        },
    }
}

fn main() {
    let _ = (jobs::Job::init_idle(), jobs::JobFailedInit("why"));
    let _ = (jobs::Side::Buy, jobs::Side::Sell);
}
