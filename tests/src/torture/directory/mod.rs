//! The directory of names: construction, look-ups, destruction, migrations, pins, objects without a name.
//!
//! Workers share a few names. Each object is made of two halves that must agree, and has a life in the ledger (`lives`):
//! so every look-up is compared with what may be there, and after each round what is there with what was built and
//! removed.

mod audit;
mod lives;
mod operations;
mod pages;
mod types;
mod worker;

use super::{Scene, Suite};
use lives::Book;
use shmem_core::Segment;
pub use worker::{Op, Worker};

pub(super) use audit::audit;

/// See the [module](self).
pub struct Directory;

/// Places that hold one value under a name, in either of two versions.
const PAIRS: usize = 24;
/// Places that hold a slice, behind those.
const SLICES: usize = 6;
/// The place of the unique object.
const LONE: usize = PAIRS + SLICES;
/// Where objects without a name are put down.
const ANONYMOUS: usize = LONE + 1;
const PLACES: usize = 48;

pub(super) mod counts {
    pub(super) const SELF_KILLED: usize = 0;
    pub(super) const MIGRATED: usize = 1;
    pub(super) const PLACES: usize = 2;
    pub(super) const EXACT: usize = 3;
}

/// Every fourth name is too long to stand in its entry.
fn name(place: usize) -> String {
    let width = if place.is_multiple_of(4) { 90 } else { 2 };
    format!("place {place:0width$}")
}

fn place_of(object: &str) -> Option<usize> {
    let place = object.strip_prefix("place ")?.parse().ok()?;
    (place < PLACES && name(place) == object).then_some(place)
}

pub(super) fn open(scene: &Scene) -> Segment {
    Segment::shared(scene.base()).size(16 << 20).open_or_create().unwrap()
}

/// Opens the book of a new life.
pub(super) fn prepare(scene: &Scene) {
    Book::of(scene.ledger()).open(scene);
    open(scene);
}

impl Suite for Directory {
    fn name(&self) -> &'static str {
        "directory"
    }

    fn about(&self) -> &'static str {
        "names: construct, find, destroy, migrate, slices, unique and anonymous objects, pins, orphans"
    }

    fn counts(&self) -> &'static [&'static str] {
        &["killed by themselves", "migrated", "places audited", "of these, told exactly"]
    }

    fn sabotages(&self) -> &'static [&'static str] {
        &["half", "removal"]
    }

    fn prepare(&self, scene: &Scene) {
        prepare(scene);
    }

    fn work(&self, scene: &Scene) {
        let threads = 1 + scene.random(0).below(2) as usize;
        scene.threads(threads, |thread, desk| {
            let mut worker = Worker::new(scene, thread, desk);
            while scene.goes_on() {
                worker.step(&[]);
            }
            desk.doing("let go of everything", 0);
        });
    }

    fn recover(&self, scene: &Scene) {
        scene.recover_on_and_on(|| open(scene));
    }

    fn audit(&self, scene: &Scene) {
        scene.threads(1, |thread, desk| audit(scene, thread, desk, scene.is_last()));
    }
}
