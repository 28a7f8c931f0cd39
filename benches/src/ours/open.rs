//! Making and opening a segment with one root.

use crate::Result;
use crate::measure::{Sample, Setup, Workload, check, own_name};
use crate::rust::open::{FIRST_COMMIT, SIZE, creations, openings};
use shmem_core::Segment;
use std::path::PathBuf;
use std::time::Instant;

const ROOT: &str = "root";

/// Where a segment is made.
enum Place {
    Shm(String),
    File(PathBuf),
}

impl Place {
    fn of(kind: &str, what: &str, setup: &Setup) -> Option<Self> {
        let name = own_name(&format!("ours-{what}"));
        match kind {
            "shm" => Some(Place::Shm(name)),
            "file" => Some(Place::File(setup.directory.join(name))),
            _ => None,
        }
    }

    fn create(&self) -> shmem_core::Result<Segment> {
        match self {
            Place::Shm(name) => Segment::shared(name).size(SIZE as u64).create(),
            Place::File(path) => Segment::file(path).size(SIZE as u64).create(),
        }
    }

    fn open(&self) -> shmem_core::Result<Segment> {
        match self {
            Place::Shm(name) => Segment::shared(name).open(),
            Place::File(path) => Segment::file(path).open(),
        }
    }

    fn remove(&self) {
        // It may not be there.
        match self {
            Place::Shm(name) => drop(Segment::remove(name)),
            Place::File(path) => drop(std::fs::remove_file(path)),
        }
    }
}

/// A segment that is there to be opened.
struct Existing {
    place: Place,
    _segment: Segment,
}

impl Existing {
    fn new(place: Place) -> Result<Self> {
        place.remove();
        let segment = place.create()?;
        segment.construct::<u64>(ROOT, 42)?;
        Ok(Existing { place, _segment: segment })
    }
}

impl Drop for Place {
    /// Leaves nothing behind, also where a run failed.
    fn drop(&mut self) {
        self.remove();
    }
}

/// Sets a case up.
pub fn workload(case: &str, setup: &Setup) -> Result<Option<Workload>> {
    let Some((work, kind)) = case.split_once(' ') else { return Ok(None) };
    let Some(place) = Place::of(kind, work, setup) else { return Ok(None) };
    Ok(Some(match work {
        "create" => {
            let times = creations(setup);
            Box::new(move || {
                let mut ns = 0;
                for _ in 0..times {
                    place.remove();
                    let start = Instant::now();
                    let segment = place.create()?;
                    let root = segment.construct::<u64>(ROOT, 42)?;
                    ns += start.elapsed().as_nanos() as u64;
                    check(*root == 42, "wrong root")?;
                    check(
                        segment.committed() >= FIRST_COMMIT,
                        "less is committed than the floor's FIRST_COMMIT",
                    )?;
                }
                place.remove();
                Ok(Sample { ns, ops: times })
            })
        }
        "open" => {
            let times = openings(setup);
            let existing = Existing::new(place)?;
            Box::new(move || {
                let (mut ns, mut sum) = (0, 0);
                for _ in 0..times {
                    let start = Instant::now();
                    let segment = existing.place.open()?;
                    let root = segment.find::<u64>(ROOT)?.ok_or("the root is missing")?;
                    sum += *root;
                    ns += start.elapsed().as_nanos() as u64;
                }
                check(sum == 42 * times, "wrong root")?;
                Ok(Sample { ns, ops: times })
            })
        }
        _ => return Ok(None),
    }))
}
