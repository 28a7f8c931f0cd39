//! What must be so when nobody else is left.

use super::super::{Desk, Scene};
use super::types::{Half, lone, v1, v2};
use super::worker::Worker;
use super::{ANONYMOUS, LONE, PAIRS, PLACES, counts, place_of};
use shmem_core::ObjectKind;

/// Recovers, gives back leaks, and compares with the ledger; `last`: and then takes everything down.
pub(in super::super) fn audit(scene: &Scene, thread: usize, desk: Desk, last: bool) {
    leaks(scene, desk);
    let mut worker = Worker::new(scene, thread, desk);
    let segment = worker.segment.clone();
    desk.doing("recover", 0);
    segment.recover();
    let attached = segment.attached_pids();
    if attached.iter().any(|pid| *pid != std::process::id()) {
        scene.corrupt(format!("still attached after recovery: {attached:?}"));
    }
    desk.doing("check", 0);
    scene.check(&segment, "audit");
    desk.doing("look for orphans", 0);
    let nothing = [
        segment.find::<v1::Pair>("nothing").map(|found| found.is_none()),
        segment.find::<v2::Pair>("nothing").map(|found| found.is_none()),
        segment.find_slice::<Half>("nothing").map(|found| found.is_none()),
        segment.find_unique::<lone::Lone>().map(|_| true),
    ];
    if !nothing.iter().all(|nothing| matches!(nothing, Ok(true))) {
        scene.corrupt(format!("a name that nobody uses: {nothing:?}"));
    }
    held_by_nobody(scene, &worker, desk);
    let there: [Option<u64>; PLACES] =
        std::array::from_fn(|place| if place < ANONYMOUS { worker.at(place) } else { None });
    let now = there.iter().flatten().count();
    if segment.object_count() != now {
        scene.corrupt(format!("{} objects are counted, {now} can be found", segment.object_count()));
    }
    scene.count(counts::EXACT, worker.book.balance(scene, &there));
    scene.count(counts::PLACES, ANONYMOUS as u64);
    worker.book.close(scene, &there);
    // No reservation was left: each name can be given to something.
    let mut random = scene.random(1);
    let turns = if last { (0..=LONE).collect() } else { vec![random.below(PAIRS as u64) as usize] };
    turns.into_iter().for_each(|place| worker.turn(place));
    let there: [Option<u64>; PLACES] =
        std::array::from_fn(|place| if place < ANONYMOUS { worker.at(place) } else { None });
    worker.book.balance(scene, &there);
    worker.book.close(scene, &there);
    desk.doing("check", 1);
    scene.check(&segment, "after the audit");
}

/// Whatever the dead have left, the segment can be walked, and swept; what is missing then the rest of the audit finds.
fn leaks(scene: &Scene, desk: Desk) {
    desk.doing("open", 0);
    let mut segment = super::open(scene);
    desk.doing("verify", 0);
    match segment.verify() {
        Ok(report) if report.is_sound() && report.unknown.is_empty() => {}
        Ok(report) => scene.corrupt(report.to_string()),
        Err(e) => scene.corrupt(format!("verify: {e}")),
    }
    desk.doing("recover leaks", 0);
    match segment.recover_leaks() {
        Ok(report) if report.live_bytes == segment.used() => {}
        Ok(report) => scene.corrupt(format!("{} bytes are in use; {report}", segment.used())),
        Err(e) => scene.corrupt(format!("recover_leaks: {e}")),
    }
}

fn held_by_nobody(scene: &Scene, worker: &Worker<'_>, desk: Desk) {
    desk.doing("objects", 0);
    match worker.segment.objects() {
        Err(e) => scene.corrupt(format!("objects(): {e}")),
        Ok(objects) => {
            for object in objects {
                let name: String = object.name.chars().take(40).collect();
                if object.holders != 0 {
                    scene.corrupt(format!(
                        "`{name}` is held by {} processes, and all are dead",
                        object.holders
                    ));
                }
                match object.kind {
                    ObjectKind::Anonymous => {
                        scene.corrupt("an object without a name has outlived its owner");
                    }
                    ObjectKind::Named if place_of(&object.name).is_none() => {
                        scene.corrupt(format!("an object is called `{name}`"));
                    }
                    _ => {}
                }
            }
        }
    }
}
