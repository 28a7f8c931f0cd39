//! One kill, from the fresh segment to the checked one.

use super::child::Place;
use super::panics::caught;
use super::route::Route;
use super::{BOUND, Death, Effect, Operation, SMALL, Scene};
use crate::system::copy_sparse;
use crate::{TempDir, TempName, Worker, sound};
use shmem_core::{Error, LockError, Segment, ShmMutex};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How many processes a small segment has room for. (It has some more for threads; those taken are counted.)
const ROOM: usize = 48;
/// After which kills it is tried whether there is: it takes as many mappings, and unoptimised some tenths of a second.
const ROOM_EVERY: usize = if cfg!(debug_assertions) { 4 } else { 1 };

/// The names that the kills of one operation use. Whoever waits for them has this, so that nothing is left of what hangs.
pub(super) struct Names {
    /// What the segment holds before.
    template: Option<TempName>,
    scene: TempName,
    /// Where the stepper writes places.
    measured: TempDir,
}

impl Names {
    /// Builds what the segment holds before.
    pub(super) fn new(operation: &Operation) -> Self {
        let template = operation.build.map(|build| {
            let template = TempName::new(&format!("before-{}", operation.name));
            let segment = template.segment().size(operation.bytes).create().expect("a segment");
            build(&segment);
            template
        });
        Names { template, scene: TempName::new(operation.name), measured: TempDir::new(operation.name) }
    }
}

/// What the kills of one operation share.
pub(super) struct Ground {
    operation: Operation,
    template: Option<PathBuf>,
    scene: String,
    measured: PathBuf,
    /// How long the stepper may take for one answer.
    pub(super) patience: Duration,
    stepper: Mutex<Worker>,
}

/// What came of one kill.
pub(super) struct Outcome {
    pub(super) death: Death,
    pub(super) strayed: bool,
    pub(super) address: u64,
    /// The effect, or what is wrong.
    pub(super) effect: Result<Effect, String>,
}

/// How a stepper fails; it is then of no use any more.
#[derive(Debug)]
pub(super) struct Lost(pub(super) String);

impl Ground {
    pub(super) fn new(operation: &Operation, names: &Names, patience: Duration) -> Self {
        Ground {
            operation: *operation,
            template: names.template.as_ref().map(TempName::path),
            scene: names.scene.to_string(),
            measured: names.measured.join("places"),
            patience,
            stepper: Mutex::new(Self::spawn(operation)),
        }
    }

    fn spawn(operation: &Operation) -> Worker {
        let mut stepper = Worker::spawn("stepper", &[&operation.name]);
        stepper.expect("there");
        stepper
    }

    /// Another stepper, for one that is lost.
    pub(super) fn replace_stepper(&self) {
        *self.stepper() = Self::spawn(&self.operation);
    }

    /// Says a line to the stepper; gives its answer, which begins with `wanted`.
    fn ask(&self, line: &str, wanted: &str) -> Result<String, Lost> {
        self.stepper().tell(line);
        self.answer(line, wanted)
    }

    /// A further answer to the same line.
    fn answer(&self, line: &str, wanted: &str) -> Result<String, Lost> {
        let answer = self.stepper().reports_within(self.patience);
        let answer = answer.ok_or_else(|| Lost(format!("the child hangs: no answer to `{line}`")))?;
        if answer.starts_with(wanted) { Ok(answer) } else { Err(Lost(answer)) }
    }

    fn stepper(&self) -> MutexGuard<'_, Worker> {
        self.stepper.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The function and line at each of these addresses of the stepper's; fewer, if it is lost.
    pub(super) fn explain(&self, addresses: &[u64]) -> Vec<String> {
        let mut stepper = self.stepper();
        stepper
            .tell(addresses.iter().fold("explain".to_owned(), |line, address| format!("{line} {address}")));
        let mut answers = Vec::new();
        while let Some(answer) = stepper.reports_within(self.patience) {
            match answer.strip_prefix("at ") {
                Some(place) => answers.push(place.to_owned()),
                None => break,
            }
        }
        answers
    }

    /// Ends the stepper.
    pub(super) fn dismiss_stepper(&self) {
        self.stepper().kill();
    }

    /// A fresh segment as it is before; nobody has the one before it open any more, but for who hangs.
    fn scene(&self) -> Scene {
        Segment::remove(&self.scene).expect("the last segment can be removed");
        let segment = self.template.as_ref().map(|template| {
            let copy = Path::new("/dev/shm").join(&self.scene);
            copy_sparse(template, &copy).expect("a copy of the segment");
            Segment::shared(&self.scene).open().expect("the copy can be opened")
        });
        Scene { name: self.scene.clone(), segment }
    }

    fn arrange(&self, scene: &Scene) -> Result<super::Check, Lost> {
        caught(|| (self.operation.arrange)(scene)).map_err(Lost)
    }

    /// Learns the instructions of the operation. `alive` is called now and then.
    pub(super) fn measure(&self, alive: &dyn Fn()) -> Result<Route, Lost> {
        let scene = self.scene();
        self.ask(&format!("measure {} {}", scene.name, self.measured.display()), "ready")?;
        let check = self.arrange(&scene)?;
        let mut answer = self.ask("go", "measur")?;
        while answer == "measuring" {
            alive();
            answer = self.answer("go", "measur")?;
        }
        let bytes = std::fs::read(&self.measured).expect("what the stepper wrote");
        let words: Vec<u64> = bytes.as_chunks().0.iter().copied().map(u64::from_le_bytes).collect();
        let places = words.as_chunks().0.iter().map(|&[address, stack]| Place { address, stack });
        let route = Route::new(places.collect());
        // What it finds, the kill at the end will find, too.
        let _ = self.judge(&scene, check, Death { after: route.len(), finished: true, recovered: true });
        Ok(route)
    }

    /// Kills a child after so many instructions, and checks what it leaves. `begin` is told each thing that may hang.
    pub(super) fn kill(
        &self,
        after: usize,
        route: &Route,
        begin: &dyn Fn(&'static str, u64),
    ) -> Result<Outcome, Lost> {
        let (way, there) = route.to(after);
        begin("stepping", there.address);
        let scene = self.scene();
        self.ask(&format!("kill {} {} {} {}", scene.name, way.address, way.hits, way.steps), "ready")?;
        let check = self.arrange(&scene)?;
        let killed = self.ask("go", "killed ")?;
        let words = killed.split(' ').skip(1).map_while(|word| word.parse().ok());
        let &[address, stack] = &words.collect::<Vec<u64>>()[..] else {
            panic!("the stepper said `{killed}`")
        };
        let strayed = Place { address, stack } != there;
        let death =
            Death { after, finished: after == route.len() && !strayed, recovered: after.is_multiple_of(2) };
        begin("checking", address);
        let effect = self.judge(&scene, check, death);
        Ok(Outcome { death, strayed, address, effect })
    }

    fn judge(&self, scene: &Scene, check: super::Check, death: Death) -> Result<Effect, String> {
        caught(|| {
            if let (true, Some(segment)) = (death.recovered, &scene.segment) {
                segment.recover();
                sound(segment);
            }
            let effect = check(&death);
            assert!(!death.finished || effect != Effect::Nothing, "it ended without effect");
            if let Some(segment) = &scene.segment {
                left_clean(segment);
                let is_tried = death.finished || death.after.is_multiple_of(ROOM_EVERY);
                if is_tried && self.operation.bytes == SMALL {
                    has_room(segment);
                }
            }
            effect
        })
    }
}

/// Checks that nothing of the dead is left: no process and no pin, and no damage.
///
/// # Panics
/// If something is.
#[track_caller]
pub(super) fn left_clean(segment: &Segment) {
    segment.recover();
    sound(segment);
    let own = std::process::id();
    let attached = segment.participants();
    let ours =
        attached.iter().all(|process| process.is_self && process.pid == own && process.threads.len() <= 1);
    assert!(ours && attached.len() <= 1, "attached: {attached:?}, this process is {own}");
    for object in segment.objects().expect("the directory can be read") {
        assert!(object.holders <= 1, "`{}` has {} holders", object.name, object.holders);
    }
}

/// Checks that no record and no slot of the dead is left: that there is room for as many as ever.
///
/// # Panics
/// If there is not.
#[track_caller]
pub(super) fn has_room(segment: &Segment) {
    let lock =
        segment.find_or_construct::<ShmMutex<u64>>("room", ShmMutex::new(0)).expect("the segment works");
    // This thread takes a slot now, if it had none.
    drop(lock.lock_timeout(BOUND).expect("a fresh lock"));
    let mut others = Vec::new();
    while let Some(other) = one_more(segment) {
        others.push(other);
        assert!(others.len() < ROOM, "there is room for more than {ROOM}");
    }
    assert_eq!(others.len(), ROOM - 1, "places for processes and threads that are free");
    drop(others);
    sound(segment);
}

/// One more mapping, with a record and a slot of its own, if there is room for it.
fn one_more(segment: &Segment) -> Option<Segment> {
    let other = Segment::from_fd(segment).expect("another mapping");
    let full = |error: &Error| matches!(error, Error::TooManyProcesses { .. });
    let lock = match other.find::<ShmMutex<u64>>("room") {
        Ok(lock) => lock.expect("it was constructed"),
        Err(error) if full(&error) => return None,
        Err(error) => panic!("{error}"),
    };
    match lock.lock_timeout(BOUND).map(drop) {
        Ok(()) => Some(other),
        Err(LockError::NoSlot | LockError::NoProcess) => None,
        Err(error) => panic!("{error}"),
    }
}
