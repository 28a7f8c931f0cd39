//! `ShmHashMap<u64, u64>`; keys as in `rust::hashmap`.
//!
//! This file needs `unsafe`: it writes without a lock.

use super::{arena_bytes, touched};
use crate::Result;
use crate::measure::{Rng, Setup, Workload, check, mix, timed, try_timed};
use shmem_core::{HashMapMut, Root, Segment, ShmHashMap};
use std::hint::black_box;

type Map = ShmHashMap<u64, u64>;

const NAME: &str = "map";

fn fill(map: &mut HashMapMut<'_, u64, u64>, n: u64) -> shmem_core::Result<()> {
    for i in 0..n {
        map.insert(mix(i), i)?;
    }
    Ok(())
}

fn empty(segment: &Segment) -> Result<Root<Map>> {
    Ok(segment.construct::<Map>(NAME, ShmHashMap::new())?)
}

fn full(setup: &Setup, n: u64) -> Result<Root<Map>> {
    let root = empty(&touched(arena_bytes(setup))?)?;
    // SAFETY: no other thread or process knows this segment; the view ends here.
    fill(&mut unsafe { root.view_unchecked() }, n)?;
    Ok(root)
}

/// Sets a case up.
pub fn workload(case: &str, setup: &Setup) -> Result<Option<Workload>> {
    let n = setup.scaled(1_000_000);
    Ok(Some(match case {
        "insert" => {
            let segment = touched(arena_bytes(setup))?;
            Box::new(move || {
                let root = empty(&segment)?;
                // SAFETY: no other thread or process knows this segment; the view ends with the timing.
                let mut map = unsafe { root.view_unchecked() };
                let sample = try_timed(n, || fill(&mut map, n))?;
                check(root.len() as u64 == n, "wrong size")?;
                drop(root);
                segment.destroy::<Map>(NAME)?;
                Ok(sample)
            })
        }
        "find hit" => {
            let map = full(setup, n)?;
            Box::new(move || {
                let map = black_box(&*map);
                let mut sum = 0u64;
                let mut missing = 0u64;
                let sample = timed(n, || {
                    let mut rng = Rng(99);
                    for _ in 0..n {
                        match map.get(&mix(rng.below(n))) {
                            Some(value) => sum = sum.wrapping_add(*value),
                            None => missing += 1,
                        }
                    }
                    black_box(sum);
                });
                check(missing == 0, "a key is missing")?;
                Ok(sample)
            })
        }
        "find miss" => {
            let map = full(setup, n)?;
            Box::new(move || {
                let map = black_box(&*map);
                let mut found = 0;
                let sample = timed(n, || {
                    let mut rng = Rng(99);
                    for _ in 0..n {
                        found += u64::from(map.get(&mix(n + rng.below(n))).is_some());
                    }
                });
                check(black_box(found) == 0, "found what is not there")?;
                Ok(sample)
            })
        }
        "iterate" => {
            let map = full(setup, n)?;
            Box::new(move || {
                let mut sum = 0;
                let sample = timed(n, || sum = black_box(&*map).values().sum::<u64>());
                check(sum == n * (n - 1) / 2, "wrong sum")?;
                Ok(sample)
            })
        }
        "remove" => {
            let segment = touched(arena_bytes(setup))?;
            Box::new(move || {
                let root = empty(&segment)?;
                // SAFETY: no other thread or process knows this segment; the view ends with the timing.
                let mut map = unsafe { root.view_unchecked() };
                fill(&mut map, n)?;
                let sample = timed(n, || {
                    for i in 0..n {
                        let _ = black_box(map.remove(&mix(i)));
                    }
                });
                check(root.is_empty(), "something is left")?;
                drop(root);
                segment.destroy::<Map>(NAME)?;
                Ok(sample)
            })
        }
        _ => return Ok(None),
    }))
}
