//! This library's side of every case.

mod hashmap;
mod heap;
mod mutex;
mod names;
mod open;
mod string;
mod vector;

use crate::Result;
use crate::measure::{Setup, Workload};
use shmem_core::{Segment, ShmVec};

/// Sets a case up; `None` if there is no such case.
pub fn workload(area: &str, subject: &str, case: &str, setup: &Setup) -> Result<Option<Workload>> {
    match area {
        "vector" => vector::workload(case, setup),
        "hashmap" => hashmap::workload(case, setup),
        "heap" => heap::workload(subject, case, setup),
        "names" => names::workload(case, setup),
        "open" => open::workload(case, setup),
        "mutex" => mutex::workload(case, setup),
        "string" => string::workload(case, setup),
        _ => Ok(None),
    }
}

/// The capacity of a segment for one large case.
fn arena_bytes(setup: &Setup) -> u64 {
    if setup.quick { 64 << 20 } else { 768 << 20 }
}

/// A segment of its own whose memory is committed and mapped before anything is timed: it is filled with vectors
/// and emptied.
///
/// This function needs `unsafe`: it writes without a lock.
fn touched(bytes: u64) -> Result<Segment> {
    let segment = Segment::anonymous().size(bytes).commit_all(true).create()?;
    let mut filled = Vec::new();
    let mut chunk_bytes = bytes / 8;
    while chunk_bytes >= 64 << 10 {
        let name = format!("touch {}", filled.len());
        let root = match segment.construct::<ShmVec<u64>>(&name, ShmVec::new()) {
            Ok(root) => root,
            Err(e) if e.is_out_of_memory() => break,
            Err(e) => return Err(e.into()),
        };
        filled.push(name);
        // SAFETY: no other thread or process knows this segment.
        let mut vec = unsafe { root.view_unchecked() };
        let words = chunk_bytes / 8;
        match vec.reserve(words as usize) {
            Ok(()) => {
                for i in 0..words {
                    vec.push(i)?;
                }
            }
            Err(e) if e.is_out_of_memory() => chunk_bytes /= 2,
            Err(e) => return Err(e.into()),
        }
    }
    for name in &filled {
        segment.destroy::<ShmVec<u64>>(name)?;
    }
    Ok(segment)
}
