//! Deaths at named places: each crash point of the library in turn kills a worker, many times over.
//!
//! For each point there is a `Workload` that reaches it. A worker armed for the point runs it and dies; then everything
//! is audited as in the suite the workload is taken from. A point that is never reached, or kills too seldom, fails the
//! run. It needs a build with the points compiled in:
//!
//! ```sh
//! RUSTFLAGS="--cfg shmem_crash" cargo run --release --target-dir target/crash -p shmem-tests --bin torture -- points
//! ```

use super::directory::{self, Op};
use super::ledger::word;
use super::{Desk, Ended, Runner, Scene, Suite, creation, heap};
use std::alloc::Layout;

/// See the [module](self).
pub struct Points;

/// What reaches some points.
struct Workload {
    /// What their names begin with; the first that fits counts.
    points: &'static str,
    /// What the worker does.
    act: Act,
    /// Where another worker is to die before: the points are in what makes good what it left.
    after: &'static [&'static str],
    /// Whether it takes a new segment each time.
    fresh: bool,
}

/// What a worker does until it dies.
#[derive(Clone, Copy)]
enum Act {
    /// Operations on names, every other one of these; first, it recovers.
    Names(&'static [Op]),
    /// The same by several mappings of the segment, which come and go.
    Crowd,
    /// Names now and then, and mostly large blocks; first, it recovers.
    Pages,
    /// Allocates and frees.
    Blocks,
    /// Recovers leaks, and leaks blocks and pages again.
    Leaks,
    /// Creates, opens and removes segments.
    Segments,
    /// Likewise, where files must have names.
    Temporary,
    /// Likewise, where renaming replaces.
    Old,
}

const fn names(points: &'static str, after: &'static [&'static str], focus: &'static [Op]) -> Workload {
    Workload { points, act: Act::Names(focus), after, fresh: false }
}

const fn fresh(points: &'static str) -> Workload {
    Workload { points, act: Act::Names(&[]), after: &[], fresh: true }
}

const fn segments(points: &'static str, act: Act, after: &'static [&'static str]) -> Workload {
    Workload { points, act, after, fresh: false }
}

const fn pages(points: &'static str, after: &'static [&'static str]) -> Workload {
    Workload { points, act: Act::Pages, after, fresh: false }
}

const fn leaks(points: &'static str, after: &'static [&'static str]) -> Workload {
    Workload { points, act: Act::Leaks, after, fresh: false }
}

/// Deaths with the directory locked.
const LOCKED: &[&str] = &[
    "reserve.reserved",
    "reserve.inserted",
    "unlink.unlinked",
    "remove.moving",
    "remove.cleared",
    "lock.taken",
];

/// To add a point, add it to `POINTS` of the library; and, if nothing here reaches it, a line.
const WORKLOADS: &[Workload] = &[
    names("repair.", LOCKED, &[]),
    names("rebuild.", LOCKED, &[]),
    names("finish.", &["migrate.committed"], &[Op::Migrate]),
    names("takeback.", &["migrate.marked", "migrate.allocated", "migrate.built"], &[Op::Migrate]),
    names("recover.reservation", &["construct.reserved", "construct.named", "construct.built"], &[]),
    names("recover.conversion", &["migrate.marked", "migrate.built"], &[Op::Migrate]),
    names("recover.release", &["reap.freeing", "reap.dropped", "release.unnamed"], &[]),
    names("recover.anonymous", &["construct.live", "unlink.unlocked"], &[Op::Anonymous]),
    names("recover.", &["construct.live", "unlink.unlocked", "pin.counted"], &[]),
    names("rollback.", &["construct.reserved", "construct.named", "construct.built"], &[]),
    names("orphan.", &["unlink.unlocked", "pin.uncounted", "unlink.anonymous"], &[Op::Destroy, Op::Look]),
    pages("intent.", &[]),
    pages("span.dropped", &["span.claimed", "span.body"]),
    pages("span.", &[]),
    pages("resize.", &[]),
    pages("join.parted", &["join.body", "join.marked"]),
    pages("join.", &[]),
    pages("punch.", &[]),
    pages("recommit.", &[]),
    pages("dead.settled", &["span.claimed", "span.unbody", "resize.cut", "resize.shorter", "punch.punched"]),
    names("dead.struck-out", &["raw.noted", "raw.released"], &[]),
    names("dead.", LOCKED, &[]),
    Workload { points: "pin.set", act: Act::Crowd, after: &[], fresh: false },
    Workload { points: "pin.cleared", act: Act::Crowd, after: &[], fresh: false },
    Workload { points: "detach.", act: Act::Crowd, after: &[], fresh: false },
    Workload { points: "slot.given-back", act: Act::Crowd, after: &[], fresh: false },
    Workload { points: "magazine.", act: Act::Blocks, after: &[], fresh: false },
    Workload { points: "marks.", act: Act::Blocks, after: &[], fresh: false },
    Workload { points: "zero.", act: Act::Blocks, after: &[], fresh: false },
    names("unlink.anonymous", &[], &[Op::Anonymous, Op::LetGo]),
    names("migrate.", &[], &[Op::Migrate, Op::FindOrConstruct]),
    leaks("sweep.", &[]),
    leaks("leaks.", &["span.claimed"]),
    fresh("grow."),
    fresh("chunk."),
    fresh("schema."),
    segments("draft.unnamed", Act::Segments, &[]),
    segments("draft.mode", Act::Segments, &[]),
    segments("draft.", Act::Temporary, &[]),
    segments("create.", Act::Segments, &[]),
    segments("publish.linked", Act::Segments, &[]),
    segments("publish.second-name", Act::Old, &[]),
    segments("publish.", Act::Temporary, &[]),
    segments("stale.", Act::Temporary, &["draft.temporary", "draft.locked", "create.ready"]),
    names("", &[], &[]),
];

/// Points that are come to only where slots are scarce. Unit tests die there.
const UNREACHED: &[&str] = &["sweep.claim", "sweep.body", "sweep.punching"];

/// Mappings of one segment that a crowd is made of: more than an entry has lanes.
const CROWD: usize = 6;

/// Deaths before a segment is taken down and another begun.
const DEATHS: u64 = 12;
/// Workers that may survive in a row before a point counts as never reached.
const SURVIVORS: u32 = 40;
/// Operations of a worker before it gives up.
const STEPS: u64 = 2000;

fn workload(point: &str) -> &'static Workload {
    WORKLOADS.iter().find(|workload| point.starts_with(workload.points)).expect("the last fits all")
}

/// What a worker, or an audit, is told: for which point it works, where to die, and at which passing of it.
fn orders(point: &str, die_at: &str, nth: u64) -> String {
    format!("{point} {die_at} {nth}")
}

impl Points {
    fn point(&self, runner: &mut Runner, i: usize, point: &str) {
        let workload = workload(point);
        let (mut killed, mut deaths, mut survivors) = (0, 0, 0);
        let before = runner.found();
        while killed < runner.options.per_point && runner.found() == before && !runner.is_interrupted() {
            if deaths % if workload.fresh { 1 } else { DEATHS } == 0 {
                if deaths > 0 {
                    runner.audit_with(&orders(point, "", 0), true);
                }
                if runner.found() != before || !runner.begin_life(&orders(point, "", 0)) {
                    return;
                }
            }
            deaths += 1;
            if !workload.after.is_empty() {
                let corpse = *runner.random.pick(workload.after);
                let nth = 1 + runner.random.below(20);
                runner.send(&orders(point, corpse, nth));
            }
            // Late deaths find more in the segment, early ones are certain.
            let most = if survivors > 0 || !workload.after.is_empty() || workload.fresh { 1 } else { 30 };
            let nth = 1 + runner.random.below(most);
            match runner.send(&orders(point, point, nth)) {
                Ended::Killed => {
                    killed += 1;
                    survivors = 0;
                    runner.ledger().count(i).fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                }
                Ended::Well => survivors += 1,
                Ended::Badly => return,
            }
            if survivors > SURVIVORS {
                let text = format!("point {point} killed {killed} times, and then was not reached any more");
                runner.ledger().find(word::CORRUPT, &text);
                return;
            }
            runner.audit_with(&orders(point, "", 0), false);
            runner.round_done();
        }
        if runner.found() == before {
            runner.audit_with(&orders(point, "", 0), true);
        }
    }
}

/// Arms this process for the point in its orders, and has it lack what its workload is about.
fn stage(scene: &Scene) -> Act {
    let parts: Vec<&str> = scene.orders().split(' ').collect();
    let [point, die_at, nth] = parts[..] else { panic!("orders {:?}", scene.orders()) };
    let act = workload(point).act;
    arm(act, die_at, nth.parse().expect("a number"));
    act
}

#[cfg(shmem_crash)]
fn arm(act: Act, die_at: &str, nth: u64) {
    match act {
        Act::Temporary => shmem_core::__crash::lack_unnamed_files(false),
        Act::Old => shmem_core::__crash::lack_unnamed_files(true),
        Act::Names(_) | Act::Crowd | Act::Pages | Act::Blocks | Act::Leaks | Act::Segments => {}
    }
    assert!(die_at.is_empty() || shmem_core::__crash::arm(die_at, nth), "there is no point {die_at}");
}

#[cfg(not(shmem_crash))]
fn arm(_: Act, _: &str, _: u64) {
    unreachable!("the runner refuses to begin without crash points");
}

#[cfg(shmem_crash)]
fn points() -> &'static [&'static str] {
    shmem_core::__crash::POINTS
}

#[cfg(not(shmem_crash))]
fn points() -> &'static [&'static str] {
    &[]
}

/// First gives back what others have left; so what is leaked does not add up.
fn leak_and_recover(scene: &Scene, desk: Desk) {
    desk.doing("open", 0);
    let mut segment = directory::open(scene);
    desk.doing("recover leaks", 0);
    if let Err(e) = segment.recover_leaks() {
        scene.corrupt(format!("recover_leaks: {e}"));
    }
    desk.doing("trim", 0);
    segment.trim().expect("the system takes it");
    desk.doing("leak", 0);
    for size in [20, 200, 2000, 100_000] {
        let layout = Layout::from_size_align(size, 8).expect("a layout");
        segment.access().allocate(layout).expect("there is memory");
    }
    desk.done();
}

impl Suite for Points {
    fn name(&self) -> &'static str {
        "points"
    }

    fn about(&self) -> &'static str {
        "deaths at each crash point; needs RUSTFLAGS=\"--cfg shmem_crash\""
    }

    fn counts(&self) -> &'static [&'static str] {
        points()
    }

    fn prepare(&self, scene: &Scene) {
        match stage(scene) {
            Act::Names(_) | Act::Crowd | Act::Pages | Act::Leaks => directory::prepare(scene),
            Act::Blocks => heap::prepare(scene),
            Act::Segments | Act::Temporary | Act::Old => {}
        }
    }

    fn work(&self, scene: &Scene) {
        scene.threads(1, |thread, desk| match stage(scene) {
            Act::Names(focus) => {
                let mut worker = directory::Worker::new(scene, thread, desk);
                worker.recover();
                (0..STEPS).for_each(|_| worker.step(focus));
            }
            Act::Crowd => {
                for _ in 0..STEPS / 100 {
                    let member = |_| directory::Worker::new(scene, thread, desk);
                    let mut crowd: Vec<_> = (0..CROWD).map(member).collect();
                    (0..100).for_each(|_| crowd.iter_mut().for_each(|worker| worker.step(&[])));
                }
            }
            Act::Pages => {
                let mut worker = directory::Worker::new(scene, thread, desk);
                worker.recover();
                for _ in 0..STEPS / 10 {
                    worker.step(&[]);
                    (0..5).for_each(|_| worker.work_on_pages());
                }
            }
            Act::Blocks => {
                let mut worker = heap::Worker::new(scene, thread, desk);
                (0..STEPS).for_each(|_| worker.step(STEPS / 4));
            }
            Act::Leaks => (0..STEPS / 20).for_each(|_| leak_and_recover(scene, desk)),
            Act::Segments | Act::Temporary | Act::Old => {
                let mut worker = creation::Worker::new(scene, thread, desk);
                (0..STEPS).for_each(|_| worker.step());
            }
        });
    }

    fn recover(&self, _: &Scene) {}

    fn audit(&self, scene: &Scene) {
        scene.threads(1, |thread, desk| match stage(scene) {
            Act::Names(_) | Act::Crowd | Act::Pages | Act::Leaks => {
                directory::audit(scene, thread, desk, scene.is_last());
            }
            Act::Blocks => heap::audit(scene, thread, desk),
            Act::Segments | Act::Temporary | Act::Old => {
                creation::audit(scene, thread, desk, scene.is_last());
            }
        });
    }

    fn remove(&self, base: &str) {
        creation::clear(base);
    }

    fn run(&self, runner: &mut Runner) {
        let only = runner.options.only.clone();
        let reached = |point: &str| UNREACHED.iter().all(|area| !point.starts_with(area));
        let mut chosen: Vec<usize> = (0..points().len())
            .filter(|i| points()[*i].starts_with(&only) && reached(points()[*i]))
            .collect();
        if chosen.is_empty() {
            let text = "no such crash points: are they compiled in (RUSTFLAGS=\"--cfg shmem_crash\")?";
            return runner.ledger().find(word::CORRUPT, text);
        }
        while !chosen.is_empty() && !runner.is_interrupted() {
            let i = chosen.swap_remove(runner.random.below(chosen.len() as u64) as usize);
            self.point(runner, i, points()[i]);
        }
    }
}
