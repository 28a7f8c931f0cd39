//! `ShmString`, and `ShmHashMap` from strings to vectors.
//!
//! This file needs `unsafe`: it writes without a lock.

use super::{arena_bytes, touched};
use crate::Result;
use crate::measure::{Rng, Setup, Workload, check, timed, try_timed};
use crate::rust::string::{keys, part, text};
use shmem_core::{HashMapMut, Root, Segment, ShmHashMap, ShmString, ShmVec, VecMut};
use std::hint::black_box;

type Strings = ShmVec<ShmString>;
type Map = ShmHashMap<ShmString, ShmVec<u64>>;

const NAME: &str = "it";

fn push_strings(v: &mut VecMut<'_, ShmString>, text: &str, n: u64) -> shmem_core::Result<()> {
    for i in 0..n {
        v.push(part(text, i))?;
    }
    Ok(())
}

fn fill(map: &mut HashMapMut<'_, ShmString, ShmVec<u64>>, keys: &[String]) -> shmem_core::Result<()> {
    for (i, key) in (0u64..).zip(keys) {
        let mut v = map.entry(key.as_str())?.or_insert(ShmVec::new())?;
        for j in 0..4 {
            v.push(i + j)?;
        }
    }
    Ok(())
}

fn new_map(segment: &Segment, keys: &[String]) -> Result<Root<Map>> {
    let root = segment.construct::<Map>(NAME, ShmHashMap::new())?;
    // SAFETY: no other thread or process knows this segment; the view ends here.
    fill(&mut unsafe { root.view_unchecked() }, keys)?;
    Ok(root)
}

/// Sets a case up.
pub fn workload(case: &str, setup: &Setup) -> Result<Option<Workload>> {
    let n = setup.scaled(500_000);
    let m = setup.scaled(200_000);
    let bytes = arena_bytes(setup);
    Ok(Some(match case {
        "build 40 B" => {
            let segment = touched(bytes)?;
            let text = text(n);
            Box::new(move || {
                let root = segment.construct::<Strings>(NAME, ShmVec::new())?;
                // SAFETY: no other thread or process knows this segment; the view ends with the timing.
                let mut v = unsafe { root.view_unchecked() };
                let sample = try_timed(n, || push_strings(&mut v, &text, n))?;
                check(root.len() as u64 == n, "wrong length")?;
                drop(root);
                segment.destroy::<Strings>(NAME)?;
                Ok(sample)
            })
        }
        "compare 40 B" => {
            let segment = touched(bytes)?;
            let root = segment.construct::<Strings>(NAME, ShmVec::new())?;
            // SAFETY: no other thread or process knows this segment; the view ends here.
            push_strings(&mut unsafe { root.view_unchecked() }, &text(n), n)?;
            Box::new(move || {
                Ok(timed(n - 1, || {
                    black_box(black_box(&*root).windows(2).filter(|w| w[0] < w[1]).count());
                }))
            })
        }
        "push char" => {
            let segment = touched(bytes)?;
            let n = setup.scaled(10_000_000);
            Box::new(move || {
                let root = segment.construct::<ShmString>(NAME, "")?;
                // SAFETY: no other thread or process knows this segment; the view ends with the timing.
                let mut s = unsafe { root.view_unchecked() };
                let sample = try_timed(n, || -> shmem_core::Result<()> {
                    for i in 0..n {
                        s.push((b'a' + (i % 26) as u8) as char)?;
                    }
                    Ok(())
                })?;
                check(root.len() as u64 == n, "wrong length")?;
                drop(root);
                segment.destroy::<ShmString>(NAME)?;
                Ok(sample)
            })
        }
        "map build" => {
            let segment = touched(bytes)?;
            let keys = keys(m);
            Box::new(move || {
                let root = segment.construct::<Map>(NAME, ShmHashMap::new())?;
                // SAFETY: no other thread or process knows this segment; the view ends with the timing.
                let mut map = unsafe { root.view_unchecked() };
                let sample = try_timed(m, || fill(&mut map, &keys))?;
                check(root.len() as u64 == m, "wrong size")?;
                drop(root);
                segment.destroy::<Map>(NAME)?;
                Ok(sample)
            })
        }
        "map find" => {
            let keys = keys(m);
            let root = new_map(&touched(bytes)?, &keys)?;
            Box::new(move || {
                let map = black_box(&*root);
                let mut missing = 0u64;
                let sample = timed(m, || {
                    let mut rng = Rng(5);
                    let mut sum = 0u64;
                    for _ in 0..m {
                        match map.get(keys[rng.below(m) as usize].as_str()).and_then(|v| v.last()) {
                            Some(last) => sum = sum.wrapping_add(*last),
                            None => missing += 1,
                        }
                    }
                    black_box(sum);
                });
                check(missing == 0, "a key is missing")?;
                Ok(sample)
            })
        }
        "map clear" => {
            let segment = touched(bytes)?;
            let keys = keys(m);
            Box::new(move || {
                let root = new_map(&segment, &keys)?;
                // SAFETY: no other thread or process knows this segment; the view ends with the timing.
                let mut map = unsafe { root.view_unchecked() };
                let sample = timed(m, || map.clear());
                check(root.is_empty(), "something is left")?;
                drop(root);
                segment.destroy::<Map>(NAME)?;
                Ok(sample)
            })
        }
        _ => return Ok(None),
    }))
}
