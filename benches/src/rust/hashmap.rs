//! hashbrown with foldhash, its default. Keys are `mix(i)`: distinct, in no order; lookups go through them in
//! another order.

use crate::measure::{Rng, Setup, Workload, check, mix, timed};
use hashbrown::HashMap;
use std::hint::black_box;

fn fill(map: &mut HashMap<u64, u64>, n: u64) {
    for i in 0..n {
        map.insert(mix(i), i);
    }
}

fn full(n: u64) -> HashMap<u64, u64> {
    let mut map = HashMap::new();
    fill(&mut map, n);
    map
}

/// Sets a case up.
pub fn workload(subject: &str, case: &str, setup: &Setup) -> Option<Workload> {
    if subject != "hashbrown" {
        return None;
    }
    let n = setup.scaled(1_000_000);
    Some(match case {
        "insert" => Box::new(move || {
            let mut map = HashMap::new();
            let sample = timed(n, || fill(&mut map, n));
            check(black_box(&map).len() as u64 == n, "wrong size")?;
            Ok(sample)
        }),
        "find hit" => {
            let map = full(n);
            Box::new(move || {
                Ok(timed(n, || {
                    let mut rng = Rng(99);
                    let mut sum = 0u64;
                    for _ in 0..n {
                        sum = sum.wrapping_add(map[&mix(rng.below(n))]);
                    }
                    black_box(sum);
                }))
            })
        }
        "find miss" => {
            let map = full(n);
            Box::new(move || {
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
            let map = full(n);
            Box::new(move || {
                let mut sum = 0;
                let sample = timed(n, || sum = black_box(&map).values().sum::<u64>());
                check(sum == n * (n - 1) / 2, "wrong sum")?;
                Ok(sample)
            })
        }
        "remove" => Box::new(move || {
            let mut map = full(n);
            let sample = timed(n, || {
                for i in 0..n {
                    black_box(map.remove(&mix(i)));
                }
            });
            check(map.is_empty(), "something is left")?;
            Ok(sample)
        }),
        _ => return None,
    })
}
