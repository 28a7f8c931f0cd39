//! Rust's `Vec`, and the bare cost of fresh pages.
//!
//! This file needs `unsafe`: it writes to a mapping.

use crate::Result;
use crate::measure::{Setup, Workload, check, timed};
use rustix::fs::{FallocateFlags, MemfdFlags, fallocate, ftruncate, memfd_create};
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};
use std::hint::black_box;
use std::ptr;

/// Sets a case up.
pub fn workload(subject: &str, case: &str, setup: &Setup) -> Result<Option<Workload>> {
    let n = setup.scaled(10_000_000);
    Ok(Some(match (subject, case) {
        ("vec", "push touched") => Box::new(move || {
            let mut v = Vec::new();
            let sample = timed(n, || {
                for i in 0..n {
                    v.push(i);
                }
            });
            check(v.len() as u64 == n && black_box(&v)[n as usize - 1] == n - 1, "wrong contents")?;
            Ok(sample)
        }),
        ("vec", "iterate") => {
            let v: Vec<u64> = (0..n).collect();
            Box::new(move || {
                let mut sum = 0;
                let sample = timed(n, || sum = black_box(&v).iter().sum::<u64>());
                check(sum == n * (n - 1) / 2, "wrong sum")?;
                Ok(sample)
            })
        }
        ("bare", "push fresh") => Box::new(move || {
            let bytes = n as usize * 8;
            let fd = memfd_create("shmem-benches", MemfdFlags::CLOEXEC)?;
            ftruncate(&fd, bytes as u64)?;
            // SAFETY: a new mapping overlaps nothing.
            let at = unsafe {
                mmap(ptr::null_mut(), bytes, ProtFlags::READ | ProtFlags::WRITE, MapFlags::SHARED, &fd, 0)?
            };
            let words = at.cast::<u64>();
            let mut committed = Ok(());
            let sample = timed(n, || {
                committed = fallocate(&fd, FallocateFlags::empty(), 0, bytes as u64);
                if committed.is_ok() {
                    for i in 0..n {
                        // SAFETY: `i` is below the number of words mapped, which are committed.
                        unsafe { words.add(i as usize).write_volatile(i) }
                    }
                }
            });
            // SAFETY: the last word of the mapping, written above; then the mapping made above, used no more.
            let last = unsafe {
                let last = words.add(n as usize - 1).read_volatile();
                munmap(at, bytes)?;
                last
            };
            committed?;
            check(last == n - 1, "wrong contents")?;
            Ok(sample)
        }),
        _ => return Ok(None),
    }))
}
