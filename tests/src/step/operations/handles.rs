//! Handles: their first and their last, of a process and of all.

use super::super::{Check, Death, Effect, Operation, Scene, region};
use super::names::{arrange_find, one_pair};
use super::{PLAIN, Pair, begins_anew, found, is_whole};

/// All of them.
pub const ALL: &[Operation] = &[
    Operation { name: "attach", child: attach, ..PAIR },
    Operation { name: "clone-root", child: clone, ..PAIR },
    Operation { name: "drop-root", child: drop_root, ..PAIR },
    Operation { name: "drop-last-root", child: drop_root, arrange: arrange_last, ..PAIR },
    Operation { name: "drop-segment", child: drop_segment, ..PAIR },
    Operation { name: "drop-attached-segment", child: drop_attached, ..PAIR },
];

/// Whatever becomes of a handle, nobody sees it.
const PAIR: Operation = Operation { build: Some(one_pair), arrange: arrange_find, ..PLAIN };

/// The first pin of a process: it takes a record.
fn attach(scene: &Scene) {
    let segment = scene.open();
    region(|| segment.find::<Pair>("pair"))
}

fn clone(scene: &Scene) {
    let root = found::<Pair>(&scene.open(), "pair");
    region(|| root.clone())
}

fn drop_root(scene: &Scene) {
    let segment = scene.open();
    let root = found::<Pair>(&segment, "pair");
    region(|| drop(root))
}

/// The object was destroyed meanwhile: its last handle frees it.
fn arrange_last(scene: &Scene) -> Check {
    let segment = scene.segment().clone();
    let used = segment.used();
    assert!(segment.destroy::<Pair>("pair").expect("it works"));
    assert_eq!(segment.used(), used, "the child holds it");
    Box::new(move |death: &Death| {
        assert!(segment.find::<Pair>("pair").expect("it works").is_none());
        segment.recover();
        // Frees what was left to whoever knows its type. What was half dropped is leaked.
        assert!(segment.find::<Pair>("pair").expect("it works").is_none());
        if death.finished || death.after == 0 {
            assert!(segment.used() < used, "the object is freed");
        }
        begins_anew(&segment, "pair");
        Effect::Unseen
    })
}

/// The last handle of a process that was never attached.
fn drop_segment(scene: &Scene) {
    let segment = scene.open();
    region(|| drop(segment))
}

/// The last handle of a process that was.
fn drop_attached(scene: &Scene) {
    let segment = scene.open();
    is_whole(&found::<Pair>(&segment, "pair"));
    region(|| drop(segment))
}
