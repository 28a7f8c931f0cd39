//! Rust's `String`, and hashbrown from strings to vectors.

use crate::measure::{Rng, Setup, Workload, check, mix, timed};
use hashbrown::HashMap;
use std::hint::black_box;

/// `n` strings of 40 bytes, one after another.
pub fn text(n: u64) -> String {
    (0..n).map(|i| format!("a string of forty bytes {:016x}", mix(i))).collect()
}

/// Keys of 28 bytes: longer than every small-string buffer.
pub fn keys(n: u64) -> Vec<String> {
    (0..n).map(|i| format!("user:{:016x}:vector", mix(i))).collect()
}

/// The i-th of [`text`]'s strings.
#[inline]
pub fn part(text: &str, i: u64) -> &str {
    let at = 40 * i as usize;
    &text[at..at + 40]
}

fn strings(text: &str, n: u64) -> Vec<String> {
    let mut v = Vec::new();
    for i in 0..n {
        v.push(part(text, i).to_string());
    }
    v
}

fn fill(map: &mut HashMap<String, Vec<u64>>, keys: &[String]) {
    for (i, key) in (0u64..).zip(keys) {
        let v = map.entry(key.clone()).or_default();
        for j in 0..4 {
            v.push(i + j);
        }
    }
}

/// Sets a case up.
pub fn workload(subject: &str, case: &str, setup: &Setup) -> Option<Workload> {
    let n = setup.scaled(500_000);
    let m = setup.scaled(200_000);
    Some(match (subject, case) {
        ("string", "build 40 B") => {
            let text = text(n);
            Box::new(move || {
                let mut v = Vec::new();
                let sample = timed(n, || v = strings(&text, n));
                check(black_box(&v).len() as u64 == n, "wrong length")?;
                Ok(sample)
            })
        }
        ("string", "compare 40 B") => {
            let v = strings(&text(n), n);
            Box::new(move || {
                Ok(timed(n - 1, || {
                    black_box(black_box(&v).windows(2).filter(|w| w[0] < w[1]).count());
                }))
            })
        }
        ("string", "push char") => {
            let n = setup.scaled(10_000_000);
            Box::new(move || {
                let mut s = String::new();
                let sample = timed(n, || {
                    for i in 0..n {
                        s.push((b'a' + (i % 26) as u8) as char);
                    }
                });
                check(black_box(&s).len() as u64 == n, "wrong length")?;
                Ok(sample)
            })
        }
        ("hashbrown", "map build") => {
            let keys = keys(m);
            Box::new(move || {
                let mut map = HashMap::new();
                let sample = timed(m, || fill(&mut map, &keys));
                check(black_box(&map).len() as u64 == m, "wrong size")?;
                Ok(sample)
            })
        }
        ("hashbrown", "map find") => {
            let keys = keys(m);
            let mut map = HashMap::new();
            fill(&mut map, &keys);
            Box::new(move || {
                Ok(timed(m, || {
                    let mut rng = Rng(5);
                    let mut sum = 0u64;
                    for _ in 0..m {
                        let last = map[keys[rng.below(m) as usize].as_str()].last();
                        sum = sum.wrapping_add(last.copied().unwrap_or(0));
                    }
                    black_box(sum);
                }))
            })
        }
        ("hashbrown", "map clear") => {
            let keys = keys(m);
            Box::new(move || {
                let mut map = HashMap::new();
                fill(&mut map, &keys);
                Ok(timed(m, || black_box(&mut map).clear()))
            })
        }
        _ => return None,
    })
}
