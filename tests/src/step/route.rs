//! How to come to an instruction without stepping all the way.
//!
//! A breakpoint stops a child each time it comes to an address. So instruction `k` is reached by stopping at the address of
//! an instruction `j ≤ k` as often as the child comes there up to `j`, and stepping the rest; the cost is the number of
//! stops and steps. The best `j` for each `k` is found in one pass: it is the best one of `k − 1`, or `k`.

use super::child::Place;
use std::collections::{HashMap, HashSet};

/// A way to an instruction: so many stops at an address, then so many steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Way {
    /// Where to stop; nowhere, if `hits` is 0.
    pub(super) address: u64,
    /// How often.
    pub(super) hits: u32,
    /// And then.
    pub(super) steps: u32,
}

impl Way {
    fn cost(self) -> u32 {
        self.hits + self.steps
    }
}

/// The instructions of an operation.
#[derive(Debug)]
pub(super) struct Route {
    /// The place of each, and where it ends.
    places: Vec<Place>,
    ways: Vec<Way>,
}

impl Route {
    pub(super) fn new(places: Vec<Place>) -> Self {
        let addresses: Vec<u64> = places.iter().map(|place| place.address).collect();
        // One instruction that is repeated is many steps, but stops at a breakpoint once.
        let repeated: HashSet<u64> =
            addresses.windows(2).filter(|pair| pair[0] == pair[1]).map(|pair| pair[0]).collect();
        let mut passed: HashMap<u64, u32> = HashMap::new();
        let mut ways: Vec<Way> = Vec::with_capacity(addresses.len());
        for (k, &address) in addresses.iter().enumerate() {
            let Some(&last) = ways.last() else {
                ways.push(Way::default());
                continue;
            };
            let stepped = Way { steps: last.steps + 1, ..last };
            let hits = passed.entry(address).or_default();
            *hits += 1;
            let stopped = Way { address, hits: *hits, steps: 0 };
            // The end stops by itself; a breakpoint on the first instruction would stop there at once.
            let usable = address != addresses[0] && !repeated.contains(&address) && k + 1 < addresses.len();
            ways.push(if usable && stopped.cost() < stepped.cost() { stopped } else { stepped });
        }
        Route { places, ways }
    }

    /// How many instructions there are.
    pub(super) fn len(&self) -> usize {
        self.places.len() - 1
    }

    /// How to come behind `after` instructions, and where that is.
    pub(super) fn to(&self, after: usize) -> (Way, Place) {
        (self.ways[after], self.places[after])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(addresses: &[u64]) -> Route {
        Route::new(addresses.iter().map(|address| Place { address: *address, stack: 0 }).collect())
    }

    /// Where a child that executes `addresses` is at the end of a way.
    fn follow(addresses: &[u64], way: Way) -> usize {
        let mut at = 0;
        for _ in 0..way.hits {
            at += 1;
            while addresses[at] != way.address {
                at += 1;
            }
        }
        at + way.steps as usize
    }

    #[test]
    fn every_way_leads_there() {
        let mut random = crate::Random::new(7);
        for _ in 0..200 {
            let kinds = 1 + random.below(40);
            let addresses: Vec<u64> = (0..1 + random.below(300)).map(|_| random.below(kinds)).collect();
            let route = route(&addresses);
            for after in 0..=route.len() {
                let (way, place) = route.to(after);
                assert_eq!(place.address, addresses[after]);
                assert!(way.cost() as usize <= after);
                assert_eq!(follow(&addresses, way), after, "{way:?} in {addresses:?}");
            }
        }
    }

    #[test]
    fn a_long_straight_way_is_one_stop() {
        let straight: Vec<u64> = (0..1000).collect();
        assert_eq!(route(&straight).to(900).0, Way { address: 900, hits: 1, steps: 0 });
    }
}
