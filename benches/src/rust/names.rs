//! The process-private limit of a directory of names: a hash map behind a mutex.

use crate::measure::{Rng, Setup, Workload, mix, timed};
use hashbrown::HashMap;
use std::hint::black_box;

/// A mutex, whoever makes it.
trait Lock<T>: 'static {
    fn new(value: T) -> Self;
    fn with<R>(&self, f: impl FnOnce(&mut T) -> R) -> R;
}

impl<T: 'static> Lock<T> for std::sync::Mutex<T> {
    fn new(value: T) -> Self {
        std::sync::Mutex::new(value)
    }
    #[inline]
    fn with<R>(&self, f: impl FnOnce(&mut T) -> R) -> R {
        f(&mut self.lock().unwrap_or_else(|e| e.into_inner()))
    }
}

impl<T: 'static> Lock<T> for parking_lot::Mutex<T> {
    fn new(value: T) -> Self {
        parking_lot::Mutex::new(value)
    }
    #[inline]
    fn with<R>(&self, f: impl FnOnce(&mut T) -> R) -> R {
        f(&mut self.lock())
    }
}

/// The names of a directory of `n` objects.
pub fn names(n: u64) -> Vec<String> {
    (0..n).map(|i| format!("object_{i:08}")).collect()
}

/// The order in which they are constructed: none, as in a long-lived segment.
pub fn construction_order(n: u64) -> Vec<u64> {
    let mut order: Vec<u64> = (0..n).collect();
    order.sort_by_key(|&i| mix(i));
    order
}

/// Splits `find 10 k` into its work and how many names the directory has.
pub fn parse(case: &str, setup: &Setup) -> Option<(&'static str, u64)> {
    ["find_or_construct hit", "find", "construct + destroy"].into_iter().find_map(|work| {
        let n = match case.strip_prefix(work)? {
            " 10" => 10,
            " 10 k" => setup.scaled(10_000),
            " 100 k" => setup.scaled(100_000),
            _ => return None,
        };
        Some((work, n))
    })
}

/// A name that is in no directory.
pub const ONE_MORE: &str = "one more object";

fn make<L: Lock<HashMap<String, u64>>>(case: &str, setup: &Setup) -> Option<Workload> {
    let (work, n) = parse(case, setup)?;
    let ops = setup.scaled(200_000);
    let all = names(n);
    let map: HashMap<String, u64> =
        construction_order(n).into_iter().map(|i| (all[i as usize].clone(), i)).collect();
    let map = L::new(map);
    Some(match work {
        "find" => Box::new(move || {
            Ok(timed(ops, || {
                let mut rng = Rng(3);
                let mut sum = 0u64;
                for _ in 0..ops {
                    let name = all[rng.below(n) as usize].as_str();
                    sum = sum.wrapping_add(map.with(|map| map[name]));
                }
                black_box(sum);
            }))
        }),
        "find_or_construct hit" => Box::new(move || {
            Ok(timed(ops, || {
                let mut rng = Rng(3);
                let mut sum = 0u64;
                for _ in 0..ops {
                    let name = all[rng.below(n) as usize].as_str();
                    sum = sum.wrapping_add(map.with(|map| *map.entry_ref(name).or_insert(0)));
                }
                black_box(sum);
            }))
        }),
        "construct + destroy" => Box::new(move || {
            Ok(timed(ops, || {
                for i in 0..ops {
                    black_box(map.with(|map| map.insert(ONE_MORE.to_string(), i)));
                    black_box(map.with(|map| map.remove(ONE_MORE)));
                }
            }))
        }),
        _ => return None,
    })
}

/// Sets a case up.
pub fn workload(subject: &str, case: &str, setup: &Setup) -> Option<Workload> {
    match subject {
        "hashbrown-std" => make::<std::sync::Mutex<_>>(case, setup),
        "hashbrown-parking-lot" => make::<parking_lot::Mutex<_>>(case, setup),
        _ => None,
    }
}
