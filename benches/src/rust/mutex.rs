//! Locks inside one process, and the two instructions no lock can do without.
//!
//! This file needs `unsafe`: the bare lock guards a cell.

use crate::Result;
use crate::measure::{Setup, Workload, check, timed};
use crate::parties::{crowd, two_threads};
use std::cell::UnsafeCell;
use std::hint::black_box;
use std::sync::atomic::{AtomicU32, Ordering::*};

/// One compare-and-swap to lock, one swap to unlock.
#[repr(C, align(64))]
struct Bare {
    word: AtomicU32,
    count: UnsafeCell<u64>,
}

impl Bare {
    #[inline]
    fn increment(&self) {
        while self.word.compare_exchange(0, 1, Acquire, Relaxed).is_err() {
            std::hint::spin_loop();
        }
        // SAFETY: the word went from 0 to 1 by this thread, so no other is in here. Volatile, so that the
        // increments are not summed up beforehand.
        unsafe { self.count.get().write_volatile(self.count.get().read_volatile() + 1) }
        black_box(self.word.swap(0, Release));
    }
}

/// Sets a case up.
pub fn workload(subject: &str, case: &str, setup: &Setup) -> Result<Option<Workload>> {
    let ops = setup.scaled(3_000_000);
    let run_time = setup.run_time();
    Ok(Some(match (subject, case) {
        ("bare", "free") => {
            let mut bare = Box::new(Bare { word: AtomicU32::new(0), count: UnsafeCell::new(0) });
            Box::new(move || {
                let before = *bare.count.get_mut();
                let shared: &Bare = black_box(&bare);
                let sample = timed(ops, || {
                    for _ in 0..ops {
                        shared.increment();
                    }
                });
                check(*bare.count.get_mut() == before + ops, "lost updates")?;
                Ok(sample)
            })
        }
        ("parking-lot", "free") => {
            let mutex = Box::new(parking_lot::Mutex::new(0u64));
            Box::new(move || {
                let before = *mutex.lock();
                let shared = black_box(&*mutex);
                let sample = timed(ops, || {
                    for _ in 0..ops {
                        *black_box(&mut *shared.lock()) += 1;
                    }
                });
                check(*mutex.lock() == before + ops, "lost updates")?;
                Ok(sample)
            })
        }
        ("parking-lot", "two processes") => Box::new(move || {
            let mutex = parking_lot::Mutex::new(0u64);
            let sample = two_threads(
                run_time,
                |_| Ok(()),
                |()| {
                    *black_box(&mut *mutex.lock()) += 1;
                    Ok(1)
                },
            )?;
            check(*mutex.lock() == sample.ops, "lost updates")?;
            Ok(sample)
        }),
        ("parking-lot", "eight threads") => Box::new(move || {
            let mutex = parking_lot::Mutex::new(0u64);
            let sample = crowd(8, run_time, || {
                *black_box(&mut *mutex.lock()) += 1;
                Ok(())
            })?;
            check(*mutex.lock() == sample.ops, "lost updates")?;
            Ok(sample)
        }),
        ("std", "eight threads") => Box::new(move || {
            let mutex = std::sync::Mutex::new(0u64);
            let sample = crowd(8, run_time, || {
                *black_box(&mut *mutex.lock().map_err(|e| e.to_string())?) += 1;
                Ok(())
            })?;
            check(mutex.into_inner().ok() == Some(sample.ops), "lost updates")?;
            Ok(sample)
        }),
        _ => return Ok(None),
    }))
}
