//! What may befall a thread between two of its steps: its death. And what may befall a line of the library, to see
//! whether a model notices.
//!
//! A process that is killed stops between two stores. What it has stored until then is in memory, and the kernel
//! orders all of it before the evidence of the death; so it is enough to stop before each store, and to let the thread
//! itself do then what the [kernel](crate::kernel) would.

use crate::primitive::Ordering;
use std::cell::Cell;
use std::panic::{self, AssertUnwindSafe, Location};
use std::path::Path;

/// What an operation is to do.
pub(crate) enum Step {
    /// Itself, with this ordering.
    Go(Ordering),
    /// To store one less.
    Less(Ordering),
    /// To exchange the value whatever it is.
    Blind(Ordering),
    /// Itself, but after the next change that the thread makes.
    Late(Ordering),
    /// Nothing.
    Skip,
    /// Nothing: the thread is dead, and only being unwound.
    Dead,
}

/// A deliberate mistake: in the library's text, or in what the kernel is trusted to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// See [`relaxed`](Self::relaxed), [`skipped`](Self::skipped), [`less`](Self::less), [`blind`](Self::blind) and
    /// [`late`](Self::late).
    #[doc(hidden)]
    Line {
        /// Below the library's `src`.
        file: &'static str,
        /// Counted from 1.
        lines: &'static [u32],
        /// What is wrong there.
        mistake: Mistake,
    },
    /// Any number of recoverers hold the same byte.
    RecoverersShare,
    /// The kernel wakes nobody when it marks a cell.
    MarksQuietly,
    /// Nobody empties the cache of a slot that is about to be free.
    PartsFull,
    /// The slot is free before its cache is emptied.
    PartsEarly,
}

/// What is wrong on a line.
#[doc(hidden)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mistake {
    Relaxed,
    Skipped,
    Less,
    Blind,
    Late,
}

impl Fault {
    fn at(file: &'static str, text: &str, mistake: Mistake) -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shmem-core/src").join(file);
        let source = std::fs::read_to_string(&path).expect("a file of the library");
        let matching = (1..).zip(source.lines()).filter(|(_, line)| line.contains(text));
        let lines: Vec<u32> = matching.map(|(number, _)| number).collect();
        if lines.is_empty() {
            // Not a panic, which is what is expected of a model with a fault.
            eprintln!("`{text}` is not in {file} any more");
            std::process::abort();
        }
        Fault::Line { file, lines: lines.leak(), mistake }
    }

    /// Makes the atomic operations Relaxed on the lines of `file`, below the library's `src`, that contain `text`.
    pub fn relaxed(file: &'static str, text: &str) -> Self {
        Fault::at(file, text, Mistake::Relaxed)
    }

    /// Leaves them out, or a wake-up. (A compare-and-swap then claims to have succeeded.)
    pub fn skipped(file: &'static str, text: &str) -> Self {
        Fault::at(file, text, Mistake::Skipped)
    }

    /// Lets them store one less than they should, if they are stores.
    pub fn less(file: &'static str, text: &str) -> Self {
        Fault::at(file, text, Mistake::Less)
    }

    /// Lets those that compare and swap not compare.
    pub fn blind(file: &'static str, text: &str) -> Self {
        Fault::at(file, text, Mistake::Blind)
    }

    /// Lets those that store, or compare and swap, change places with the next change that the thread makes.
    pub fn late(file: &'static str, text: &str) -> Self {
        Fault::at(file, text, Mistake::Late)
    }

    /// Whether the model is run with this fault.
    pub(crate) fn is_on(self) -> bool {
        FAULT.get() == Some(self)
    }
}

std::thread_local! {
    /// All threads of a model run in one thread of the operating system's.
    static FAULT: Cell<Option<Fault>> = const { Cell::new(None) };
}

/// Runs `model` with a fault in the library.
pub(crate) fn with_fault(fault: Option<Fault>, model: impl FnOnce()) {
    FAULT.set(fault);
    let _reset = Reset;
    model();
}

struct Reset;

impl Drop for Reset {
    fn drop(&mut self) {
        FAULT.set(None);
    }
}

/// A thread of the model's.
struct Life {
    stores_left: Cell<Option<u32>>,
    is_dead: Cell<bool>,
}

loom::thread_local! {
    static LIFE: Life = Life { stores_left: Cell::new(None), is_dead: Cell::new(false) };
}

/// Ahead of each operation of the library's; `stores` says whether others can notice it.
#[track_caller]
pub(crate) fn step(stores: bool, order: Ordering) -> Step {
    if is_dead() {
        return Step::Dead;
    }
    if stores {
        may_die();
    }
    match FAULT.get() {
        Some(Fault::Line { file, lines, mistake }) if is_at(Location::caller(), file, lines) => match mistake
        {
            Mistake::Relaxed => Step::Go(Ordering::Relaxed),
            Mistake::Skipped => Step::Skip,
            Mistake::Less => Step::Less(order),
            Mistake::Blind => Step::Blind(order),
            Mistake::Late => Step::Late(order),
        },
        _ => Step::Go(order),
    }
}

fn is_at(at: &Location<'_>, file: &str, lines: &[u32]) -> bool {
    lines.contains(&at.line()) && at.file().ends_with(file)
}

/// The payload of a death's unwinding.
struct Death;

/// Ahead of whatever others can notice.
pub(crate) fn may_die() {
    let dies = LIFE.with(|life| match life.stores_left.get() {
        Some(0) => true,
        Some(left) => {
            life.stores_left.set(Some(left - 1));
            false
        }
        None => false,
    });
    if dies {
        LIFE.with(|life| life.is_dead.set(true));
        panic::resume_unwind(Box::new(Death));
    }
}

/// Whether this thread is dead: destructors are not run in a process that is killed. (Nor in one whose model has failed.)
pub(crate) fn is_dead() -> bool {
    std::thread::panicking() || LIFE.with(|life| life.is_dead.get())
}

/// Lets this thread do no more: a model is over, and its memory goes.
pub(crate) fn stop() {
    LIFE.with(|life| life.is_dead.set(true));
}

/// Runs `work`, cut off after so many stores; whether it came to its end.
pub(crate) fn live_for(stores: u32, work: impl FnOnce()) -> bool {
    LIFE.with(|life| life.stores_left.set(Some(stores)));
    let result = panic::catch_unwind(AssertUnwindSafe(work));
    LIFE.with(|life| {
        life.stores_left.set(None);
        life.is_dead.set(false);
    });
    match result {
        Ok(()) => true,
        Err(death) if death.is::<Death>() => false,
        Err(other) => panic::resume_unwind(other),
    }
}
