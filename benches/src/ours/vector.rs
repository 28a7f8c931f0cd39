//! `ShmVec<u64>`.
//!
//! This file needs `unsafe`: it writes without a lock.

use super::{arena_bytes, touched};
use crate::Result;
use crate::measure::{Sample, Setup, Workload, check, try_timed};
use shmem_core::{Segment, ShmVec};
use std::hint::black_box;

/// Pushes `n` numbers into a new vector of `segment` and destroys it.
fn push(segment: &Segment, n: u64) -> Result<Sample> {
    let root = segment.construct::<ShmVec<u64>>("vector", ShmVec::new())?;
    // SAFETY: no other thread or process knows this segment.
    let mut vec = unsafe { root.view_unchecked() };
    let sample = try_timed(n, || -> shmem_core::Result<()> {
        for i in 0..n {
            vec.push(i)?;
        }
        Ok(())
    })?;
    check(root.len() as u64 == n && root[n as usize - 1] == n - 1, "wrong contents")?;
    drop(root);
    segment.destroy::<ShmVec<u64>>("vector")?;
    Ok(sample)
}

/// Sets a case up.
pub fn workload(case: &str, setup: &Setup) -> Result<Option<Workload>> {
    let n = setup.scaled(10_000_000);
    let bytes = arena_bytes(setup);
    Ok(Some(match case {
        "push touched" => {
            let segment = touched(bytes)?;
            Box::new(move || push(&segment, n))
        }
        "push fresh" => Box::new(move || push(&Segment::anonymous().size(bytes).create()?, n)),
        "iterate" => {
            let segment = touched(bytes)?;
            let root = segment.construct::<ShmVec<u64>>("vector", ShmVec::new())?;
            // SAFETY: no other thread or process knows this segment; the view ends here.
            let mut vec = unsafe { root.view_unchecked() };
            for i in 0..n {
                vec.push(i)?;
            }
            Box::new(move || {
                let mut sum = 0;
                let sample = try_timed(n, || -> Result<()> {
                    sum = black_box(&*root).iter().sum::<u64>();
                    Ok(())
                })?;
                check(sum == n * (n - 1) / 2, "wrong sum")?;
                Ok(sample)
            })
        }
        _ => return Ok(None),
    }))
}
