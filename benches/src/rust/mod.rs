//! What ours is measured against inside this program: the containers and locks that Rust programs use within one
//! process, and the bare system calls and instructions that no library can beat.

mod hashmap;
mod heap;
mod mutex;
pub mod names;
pub mod open;
pub mod string;
mod vector;

use crate::Result;
use crate::measure::{Setup, Workload};

/// Sets a case up; `None` if there is no such case.
pub fn workload(area: &str, subject: &str, case: &str, setup: &Setup) -> Result<Option<Workload>> {
    match area {
        "vector" => vector::workload(subject, case, setup),
        "hashmap" => Ok(hashmap::workload(subject, case, setup)),
        "heap" => heap::workload(subject, case, setup),
        "names" => Ok(names::workload(subject, case, setup)),
        "open" => Ok(open::workload(subject, case, setup)),
        "mutex" => mutex::workload(subject, case, setup),
        "string" => Ok(string::workload(subject, case, setup)),
        _ => Ok(None),
    }
}

/// Makes `malloc` keep what is freed: after the warm-up round every page a peer works on has been touched, as
/// the pages of a segment have. Without it each round would measure page faults.
///
/// This function needs `unsafe`: it calls C.
pub fn keep_freed_memory() {
    // SAFETY: `mallopt` only sets parameters of the allocator; no thread but this one runs yet.
    unsafe {
        libc::mallopt(libc::M_MMAP_MAX, 0);
        libc::mallopt(libc::M_TRIM_THRESHOLD, i32::MAX);
        libc::mallopt(libc::M_TOP_PAD, 64 << 20);
    }
}
