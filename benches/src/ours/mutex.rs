//! `ShmMutex<u64>`.

use super::touched;
use crate::Result;
use crate::measure::{Setup, Workload, check, own_name, try_timed};
use crate::parties::{crowd, two_processes};
use shmem_core::{RemoveOnDrop, Segment, ShmMutex};
use std::hint::black_box;

const ROOT: &str = "counter";

/// Sets a case up.
pub fn workload(case: &str, setup: &Setup) -> Result<Option<Workload>> {
    let ops = setup.scaled(3_000_000);
    let run_time = setup.run_time();
    Ok(Some(match case {
        "free" => {
            let segment = touched(16 << 20)?;
            let root = segment.construct::<ShmMutex<u64>>(ROOT, ShmMutex::new(0))?;
            Box::new(move || {
                let mutex = black_box(&*root);
                let before = *mutex.lock()?;
                let sample = try_timed(ops, || -> shmem_core::Result<()> {
                    for _ in 0..ops {
                        *black_box(&mut *mutex.lock()?) += 1;
                    }
                    Ok(())
                })?;
                check(*mutex.lock()? == before + ops, "lost updates")?;
                Ok(sample)
            })
        }
        "two processes" => Box::new(move || {
            let name = own_name("ours-mutex");
            let _remove = RemoveOnDrop::shared(&name)?;
            // The second process opens what the first has made, as an unrelated program would.
            let setup = |who: usize| {
                let segment = if who == 0 {
                    Segment::shared(&name).size(16 << 20).create()?
                } else {
                    Segment::shared(&name).open()?
                };
                Ok(segment.find_or_construct::<ShmMutex<u64>>(ROOT, ShmMutex::new(0))?)
            };
            let sample = two_processes(run_time, setup, |root| {
                *black_box(&mut *root.lock()?) += 1;
                Ok(1)
            })?;
            let root =
                Segment::shared(&name).open()?.find::<ShmMutex<u64>>(ROOT)?.ok_or("the counter is gone")?;
            check(*root.lock()? == sample.ops, "lost updates")?;
            Ok(sample)
        }),
        "eight threads" => {
            let segment = touched(16 << 20)?;
            let root = segment.construct::<ShmMutex<u64>>(ROOT, ShmMutex::new(0))?;
            Box::new(move || {
                let before = *root.lock()?;
                let sample = crowd(8, run_time, || {
                    *black_box(&mut *root.lock().map_err(|e| e.to_string())?) += 1;
                    Ok(())
                })?;
                check(*root.lock()? == before + sample.ops, "lost updates")?;
                Ok(sample)
            })
        }
        _ => return Ok(None),
    }))
}
