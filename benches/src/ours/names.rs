//! The directory of a segment.

use super::touched;
use crate::Result;
use crate::measure::{Rng, Setup, Workload, check, try_timed};
use crate::rust::names::{ONE_MORE, construction_order, names, parse};
use std::hint::black_box;

/// Sets a case up.
pub fn workload(case: &str, setup: &Setup) -> Result<Option<Workload>> {
    let Some((work, n)) = parse(case, setup) else { return Ok(None) };
    let ops = setup.scaled(200_000);
    let all = names(n);
    let segment = touched(if n > 10_000 { 128 << 20 } else { 16 << 20 })?;
    for i in construction_order(n) {
        segment.construct::<u64>(&all[i as usize], i)?;
    }
    Ok(Some(match work {
        "find" => Box::new(move || {
            let mut missing = 0;
            let sample = try_timed(ops, || -> shmem_core::Result<()> {
                let mut rng = Rng(3);
                let mut sum = 0u64;
                for _ in 0..ops {
                    match segment.find::<u64>(&all[rng.below(n) as usize])? {
                        Some(root) => sum = sum.wrapping_add(*root),
                        None => missing += 1,
                    }
                }
                black_box(sum);
                Ok(())
            })?;
            check(missing == 0, "a name is missing")?;
            Ok(sample)
        }),
        "find_or_construct hit" => Box::new(move || {
            Ok(try_timed(ops, || -> shmem_core::Result<()> {
                let mut rng = Rng(3);
                let mut sum = 0u64;
                for _ in 0..ops {
                    let name = &all[rng.below(n) as usize];
                    sum = sum.wrapping_add(*segment.find_or_construct::<u64>(name, 0)?);
                }
                black_box(sum);
                Ok(())
            })?)
        }),
        "construct + destroy" => Box::new(move || {
            Ok(try_timed(ops, || -> shmem_core::Result<()> {
                for i in 0..ops {
                    black_box(*segment.construct::<u64>(ONE_MORE, i)?);
                    segment.destroy::<u64>(ONE_MORE)?;
                }
                Ok(())
            })?)
        }),
        _ => return Ok(None),
    }))
}
