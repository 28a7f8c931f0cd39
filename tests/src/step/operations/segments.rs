//! Opening and creating segments.

use super::super::{Check, Effect, Operation, Scene, region, trial};
use super::names::{arrange_find, one_pair};
use super::{PLAIN, begins_anew};
use crate::leftovers;
use shmem_core::{Error, OpenError, Segment, SegmentBuilder};

/// All of them.
pub const ALL: &[Operation] = &[
    Operation { name: "open", child: open, ..THERE },
    Operation { name: "open-or-create", child: open_or_create, ..THERE },
    Operation { name: "create", build: None, child: create, arrange: arrange_create, ..PLAIN },
];

const THERE: Operation = Operation { build: Some(one_pair), arrange: arrange_find, ..PLAIN };

fn builder(scene: &Scene) -> SegmentBuilder {
    Segment::shared(scene.name()).size(1 << 20)
}

fn open(scene: &Scene) {
    let builder = builder(scene);
    region(|| builder.open())
}

fn open_or_create(scene: &Scene) {
    let builder = builder(scene);
    region(|| builder.open_or_create())
}

fn create(scene: &Scene) {
    let builder = builder(scene);
    region(|| builder.create())
}

/// The name leads to a whole segment or to none.
fn arrange_create(scene: &Scene) -> Check {
    let name = scene.name().to_owned();
    Box::new(move |_| {
        let effect = match Segment::shared(&name).open() {
            Ok(segment) => {
                assert_eq!((segment.check(), segment.object_count()), (vec![], 0));
                Effect::Whole
            }
            Err(Error::Open(e)) if matches!(*e, OpenError::NotFound { .. }) => Effect::Nothing,
            Err(error) => panic!("{error}"),
        };
        let left = leftovers(&name);
        assert_eq!(left, if effect == Effect::Whole { vec![name.clone()] } else { vec![] });
        let segment = Segment::shared(&name).size(1 << 20).open_or_create().expect("it can be had");
        assert_eq!(segment.created(), effect == Effect::Nothing);
        begins_anew(&segment, "pair");
        trial::left_clean(&segment);
        trial::has_room(&segment);
        effect
    })
}
