//! What the library says when something is wrong: each mistake gives an error of its own, at once.
//!
//! ```text
//! typed_errors [NAME]
//! ```
//! NAME is what the segment, and a file in the folder for temporary files, are called; both are removed again.

use shmem_core::{Error, NameError, OpenError, RemoveOnDrop, Segment, ShmMutex, ShmSafe, ShmString, ShmVec};
use std::path::Path;
use std::process::ExitCode;

/// An account as one program declares it …
mod ours {
    use super::{ShmSafe, ShmString};
    #[derive(ShmSafe)]
    #[repr(C)]
    pub struct Account {
        pub owner: ShmString,
        pub balance: i64,
    }
}

/// … and as another one does.
mod theirs {
    use super::{ShmSafe, ShmString};
    #[derive(ShmSafe)]
    #[repr(C)]
    pub struct Account {
        pub owner: ShmString,
        pub balance: u64,
    }
}

/// Prints the error, which must be there and be of the kind that `expected` tells.
fn show<T>(
    what: &str,
    result: Result<T, impl Into<Error>>,
    expected: impl Fn(&Error) -> bool,
) -> Result<(), String> {
    match result.map_err(Into::into) {
        Ok(_) => Err(format!("{what}: there should have been an error")),
        Err(e) if !expected(&e) => Err(format!("{what}: another error was expected, not: {e}")),
        Err(e) => {
            println!("{what}: {e}");
            Ok(())
        }
    }
}

fn open(kind: fn(&OpenError) -> bool) -> impl Fn(&Error) -> bool {
    move |e| matches!(e, Error::Open(e) if kind(e))
}

fn name(kind: fn(&NameError) -> bool) -> impl Fn(&Error) -> bool {
    move |e| matches!(e, Error::Name(e) if kind(e))
}

fn segments(shared: &str, path: &Path) -> Result<(), String> {
    let missing = Segment::shared(shared).open();
    show("a missing segment", missing, open(|e| matches!(e, OpenError::NotFound { .. })))?;

    let bad = Segment::shared("a/b").create();
    show("a name with a slash", bad, open(|e| matches!(e, OpenError::InvalidName { .. })))?;

    std::fs::write(path, "Dear diary, ...").map_err(|e| e.to_string())?;
    let foreign = Segment::file(path).open();
    show("a foreign file", foreign, open(|e| matches!(e, OpenError::NotASegment { .. })))?;

    let _first = Segment::shared(shared).size(1 << 20).create().map_err(|e| e.to_string())?;
    let second = Segment::shared(shared).create();
    show("a segment that exists", second, open(|e| matches!(e, OpenError::AlreadyExists { .. })))
}

fn objects(segment: &Segment) -> Result<(), Error> {
    let must = |shown: Result<(), String>| shown.map_err(Error::init);

    let account = ours::AccountInit { owner: "Ada", balance: 100 };
    segment.construct::<ours::Account>("account", account)?;
    let wrong = segment.find::<theirs::Account>("account");
    must(show("another type", wrong, name(|e| matches!(e, NameError::TypeMismatch { .. }))))?;

    let twice = segment.construct::<u64>("account", 7);
    must(show("a name that is taken", twice, name(|e| matches!(e, NameError::AlreadyExists { .. }))))?;

    segment.construct_slice::<u64, _>("numbers", 3, |i| i as u64)?;
    let one = segment.find::<u64>("numbers");
    must(show("a slice for one value", one, name(|e| matches!(e, NameError::CountMismatch { .. }))))?;

    let nameless = segment.construct::<u64>("", 7);
    must(show("an empty name", nameless, name(|e| matches!(e, NameError::InvalidName { .. }))))?;

    if segment.find::<u64>("nothing")?.is_none() {
        println!("a missing object: no error, but `None`");
    }

    let list = segment.construct::<ShmMutex<ShmVec<[u64; 512]>>>("list", ShmMutex::new(ShmVec::new()))?;
    let mut guard = list.lock()?;
    let full = loop {
        if let Err(e) = guard.view().push([7; 512]) {
            break e;
        }
    };
    let whole = guard.iter().all(|page| *page == [7; 512]);
    must(show("a full segment", Err::<(), _>(full), Error::is_out_of_memory))?;
    println!("the list is whole: {}; the segment is sound: {}", whole, segment.check().is_empty());
    Ok(())
}

fn run(shared: &str) -> Result<(), String> {
    let path = std::env::temp_dir().join(shared);
    let _shared = RemoveOnDrop::shared(shared).map_err(|e| e.to_string())?;
    let _file = RemoveOnDrop::file(&path).map_err(|e| e.to_string())?;
    segments(shared, &path)?;
    let segment = Segment::shared(shared).open().map_err(|e| e.to_string())?;
    objects(&segment).map_err(|e| e.to_string())
}

fn main() -> ExitCode {
    let shared = match std::env::args().nth(1) {
        Some(name) => name,
        None => format!("shmem-typed-errors-{}", std::process::id()),
    };
    match run(&shared) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("typed_errors: {e}");
            ExitCode::FAILURE
        }
    }
}
