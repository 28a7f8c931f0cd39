//! Every error of this crate: a small enum for each family, all of them convertible into [`Error`].

use std::fmt;
use std::io;
use std::path::PathBuf;

/// The result of a fallible operation of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Whatever can go wrong, by family.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A segment could not be created, opened or removed.
    #[error(transparent)]
    Open(#[from] Box<OpenError>),
    /// Memory could not be had.
    #[error(transparent)]
    Alloc(#[from] AllocError),
    /// A named object could not be found, constructed or destroyed.
    #[error(transparent)]
    Name(#[from] Box<NameError>),
    /// A lock was not acquired.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// Stored bytes are not what this library writes.
    #[error(transparent)]
    Corrupt(#[from] Corrupt),
    /// The operation would have linked two segments; nothing was changed.
    #[error("the operation would link two different segments")]
    OtherSegment,
    /// A value holds a lock that is held (its guard was leaked, or another thread has it): it can be neither
    /// moved nor dropped. Nothing was changed.
    #[error("a value that holds a locked lock cannot be moved or dropped")]
    LockHeld,
    /// A segment could not be verified, or its leaks not recovered.
    #[error(transparent)]
    Audit(#[from] Box<AuditError>),
    /// Every process record of the segment is taken by a live process.
    #[error("the segment has no free process record (limit {limit})")]
    TooManyProcesses {
        /// How many processes may be attached at once.
        limit: u32,
    },
    /// A user's initialiser failed with an error of its own.
    #[error("an initialiser failed: {0}")]
    Init(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl Error {
    /// Wraps an error of the caller's, to be returned from an initialiser.
    pub fn init(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Error::Init(error.into())
    }

    /// Whether memory ran out: the segment's capacity, its backing store or a file-size limit.
    pub fn is_out_of_memory(&self) -> bool {
        matches!(self, Error::Alloc(_))
    }
}

impl From<OpenError> for Error {
    #[cold]
    fn from(e: OpenError) -> Self {
        Error::Open(Box::new(e))
    }
}

impl From<NameError> for Error {
    #[cold]
    fn from(e: NameError) -> Self {
        Error::Name(Box::new(e))
    }
}

impl From<AuditError> for Error {
    #[cold]
    fn from(e: AuditError) -> Self {
        Error::Audit(Box::new(e))
    }
}

/// Why a segment could not be created, opened or removed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// No segment has this name.
    #[error("segment `{name}` does not exist")]
    NotFound {
        /// The name or path asked for.
        name: String,
    },
    /// `create` found the name taken.
    #[error("segment `{name}` exists already")]
    AlreadyExists {
        /// The name or path asked for.
        name: String,
    },
    /// The name cannot be the name of a segment.
    #[error("`{name}` is not a valid segment name: {why}")]
    InvalidName {
        /// The name asked for.
        name: String,
        /// The rule it breaks.
        why: &'static str,
    },
    /// The sizes asked for cannot be had.
    #[error("invalid segment size: {why} (asked for {asked_bytes} bytes)")]
    InvalidSize {
        /// What was asked for.
        asked_bytes: u64,
        /// The rule it breaks.
        why: &'static str,
    },
    /// What stands at the name is a directory, FIFO, socket or device.
    #[error("`{name}` is a {kind}, not a regular file")]
    NotAFile {
        /// The name or path asked for.
        name: String,
        /// What it is.
        kind: &'static str,
    },
    /// What stands at the name is a symbolic link; links are never followed.
    #[error("`{name}` is a symbolic link; links are not followed")]
    SymbolicLink {
        /// The name or path asked for.
        name: String,
    },
    /// The file belongs to another user.
    #[error("`{name}` belongs to user {owner}, not to user {expected}")]
    WrongOwner {
        /// The name or path asked for.
        name: String,
        /// Who owns the file.
        owner: u32,
        /// The effective user of this process.
        expected: u32,
    },
    /// The file's permissions do not allow the access asked for.
    #[error("permission denied for `{name}`")]
    PermissionDenied {
        /// The name or path asked for.
        name: String,
    },
    /// The file is no segment: it is empty, or does not begin with the magic number.
    #[error("`{name}` is not a shmem segment: {why}")]
    NotASegment {
        /// The name or path asked for.
        name: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// The segment was written in a format this library does not read.
    #[error("`{name}` has format version {found}, this library reads version {expected}")]
    FormatVersion {
        /// The name or path asked for.
        name: String,
        /// The version in the file.
        found: u32,
        /// The version of this library.
        expected: u32,
    },
    /// The segment was made on a machine of another kind.
    #[error("`{name}` was made for another machine: {what} is {found}, here it is {expected}")]
    Incompatible {
        /// The name or path asked for.
        name: String,
        /// Which property differs.
        what: &'static str,
        /// Its value in the file.
        found: u64,
        /// Its value here.
        expected: u64,
    },
    /// The file is shorter than its header says.
    #[error("`{name}` is truncated: {found_bytes} bytes, its header says {expected_bytes}")]
    Truncated {
        /// The name or path asked for.
        name: String,
        /// Its length.
        found_bytes: u64,
        /// The length it must have.
        expected_bytes: u64,
    },
    /// The header's checksum or geometry is wrong.
    #[error("`{name}` is damaged: {source}")]
    Damaged {
        /// The name or path asked for.
        name: String,
        /// What was found where.
        source: Corrupt,
    },
    /// The backing store (`/dev/shm`, the disk) has no room.
    #[error("no space left for `{name}` ({wanted_bytes} more bytes wanted)")]
    NoSpace {
        /// The name or path asked for.
        name: String,
        /// How much was asked of the file system.
        wanted_bytes: u64,
    },
    /// The process's file-size limit forbids a file as large as this segment.
    #[error("`{name}` needs a file of {wanted_bytes} bytes, the file-size limit is {limit_bytes}")]
    FileSizeLimit {
        /// The name or path asked for.
        name: String,
        /// The file length wanted.
        wanted_bytes: u64,
        /// The limit (`RLIMIT_FSIZE`).
        limit_bytes: u64,
    },
    /// The address space for the segment could not be reserved.
    #[error("cannot reserve {wanted_bytes} bytes of address space for `{name}`")]
    NoAddressSpace {
        /// The name or path asked for.
        name: String,
        /// The size of the reservation.
        wanted_bytes: u64,
    },
    /// Any other failure of the operating system.
    #[error("cannot {action} `{path}`: {source}")]
    Io {
        /// What was being done.
        action: &'static str,
        /// To what.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
}

/// Why memory could not be had. Whatever asked for it is as it was before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AllocError {
    /// The segment's capacity is exhausted, or too fragmented for this request.
    #[error(
        "the segment is out of memory: {wanted_bytes} bytes wanted, largest free run {largest_free_bytes} bytes"
    )]
    OutOfMemory {
        /// The size asked for.
        wanted_bytes: u64,
        /// The largest block that could be had now.
        largest_free_bytes: u64,
    },
    /// The backing store (`/dev/shm`, the disk) has no room for more of the segment.
    #[error("the segment's backing store has no space left ({wanted_bytes} bytes wanted)")]
    NoSpace {
        /// The bytes asked of the file system.
        wanted_bytes: u64,
    },
    /// A file-size limit (`RLIMIT_FSIZE`) forbids the segment to grow.
    #[error("a file-size limit of {limit_bytes} bytes forbids the segment to grow")]
    FileSizeLimit {
        /// The limit.
        limit_bytes: u64,
    },
    /// The size overflows `isize`, or the alignment is larger than 4096.
    #[error("the layout is too large: {wanted_bytes} bytes, alignment {align}")]
    TooLarge {
        /// The size asked for.
        wanted_bytes: u64,
        /// The alignment asked for.
        align: u32,
    },
    /// A block cannot become that long where it stands; nothing was changed.
    #[error("the block cannot grow to {wanted_bytes} bytes where it stands, only to {possible_bytes}")]
    CannotExpand {
        /// The least size asked for.
        wanted_bytes: u64,
        /// What it could grow to, as it looked; 0 if it is no live block of the layout given.
        possible_bytes: u64,
    },
    /// The value stands in no segment (a value on the stack, say), so there is no heap to allocate from.
    #[error("the value stands in no segment, so it has no heap")]
    NoSegment,
    /// The operating system refused memory for a reason of its own.
    #[error("the operating system refused memory (errno {errno})")]
    Os {
        /// The system's error number.
        errno: i32,
    },
}

/// Why a named object could not be found, constructed or destroyed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NameError {
    /// No object has this name.
    #[error("no object is named `{name}`")]
    NotFound {
        /// The name asked for.
        name: String,
    },
    /// `construct` found the name taken.
    #[error("an object named `{name}` exists already")]
    AlreadyExists {
        /// The name asked for.
        name: String,
    },
    /// The object is of another type.
    #[error(
        "`{name}` holds a `{stored}`, not a `{expected}`; they differ at {path}: stored {stored_part}, expected {expected_part}"
    )]
    TypeMismatch {
        /// The name asked for.
        name: String,
        /// The stored type.
        stored: String,
        /// The type asked for.
        expected: String,
        /// Where the two first differ.
        path: String,
        /// What is stored there.
        stored_part: String,
        /// What was expected there.
        expected_part: String,
    },
    /// The object holds another version of a type (of its own, or of one inside it) than this program has.
    #[error(
        "`{name}` holds a `{stored}` of another version: at {path}, the stored `{type_name}` is version {stored_version}, this program's is version {expected_version}; {}", version_advice(*.stored_version, *.expected_version)
    )]
    VersionMismatch {
        /// The name asked for.
        name: String,
        /// The stored type, the whole of it.
        stored: String,
        /// Where the two first differ.
        path: String,
        /// The type that has another version there.
        type_name: String,
        /// Its stored version.
        stored_version: u32,
        /// Its version in this program.
        expected_version: u32,
    },
    /// The object cannot be migrated, because it is held: by other processes, or by other handles of this one.
    #[error(
        "`{name}` cannot be migrated while it is held: {holders} process(es) hold it, this one among them if it has a handle to it"
    )]
    InUse {
        /// The name asked for.
        name: String,
        /// How many processes hold it.
        holders: u32,
    },
    /// The object is a slice and one value was asked for, or the other way round, or the lengths differ.
    #[error("`{name}` holds {stored}, not {expected}")]
    CountMismatch {
        /// The name asked for.
        name: String,
        /// What is stored.
        stored: String,
        /// What was asked for.
        expected: String,
    },
    /// The name is empty or too long.
    #[error("a name of {len} bytes: names have 1 to {max} bytes")]
    InvalidName {
        /// Its length in bytes.
        len: usize,
        /// The longest name allowed.
        max: usize,
    },
    /// An initialiser asked for the very name it is initialising, or a conversion for the one it is converting.
    #[error("`{name}` was asked for inside its own initialiser")]
    Recursive {
        /// The name asked for.
        name: String,
    },
    /// Two initialisers or conversions, of any threads or processes, wait for each other's names, directly or through
    /// others. The others go on once this one has failed.
    #[error(
        "`{name}` was asked for inside the initialiser of `{inside}`, which the initialiser of `{name}` waits for"
    )]
    Circular {
        /// The name asked for.
        name: String,
        /// What was being initialised or converted meanwhile.
        inside: String,
    },
}

fn version_advice(stored: u32, expected: u32) -> &'static str {
    if stored < expected {
        "the stored one is older, and `Segment::migrate` brings it up to date"
    } else {
        "the stored one is newer: this program is the older one"
    }
}

/// Why a lock was not acquired.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LockError {
    /// A holder died or panicked with the lock held; `lock_poisoned` gives access all the same.
    #[error("the lock is poisoned: a holder {}", if *.by_death { "died" } else { "panicked" })]
    Poisoned {
        /// Whether the holder's process died (else it panicked).
        by_death: bool,
    },
    /// The deadline passed.
    #[error("timed out waiting for the lock")]
    TimedOut,
    /// The lock is held and the caller would not wait.
    #[error("the lock is held")]
    WouldBlock,
    /// This thread holds the lock already.
    #[error("this thread holds the lock already")]
    Deadlock,
    /// Every thread slot of the segment is taken.
    #[error("the segment has no free thread slot")]
    NoSlot,
    /// Every process record of the segment is taken.
    #[error("the segment has no free process record")]
    NoProcess,
    /// The operating system does not let this process attach to the segment, or find out whether the holder is alive, or
    /// recover a dead one: its descriptors were closed by somebody who did not own them, or are used up; it has given up
    /// its right to open the segment's file; there is no `/proc`. Or the lock's bytes are damaged, and name nobody.
    #[error("the system does not let this process attach to the segment, or tell the living from the dead")]
    Refused,
    /// The lock stands in a read-only mapping, or in no segment at all.
    #[error("the lock stands in no writable segment")]
    ReadOnly,
}

/// Why a segment could not be [verified](crate::Segment::verify), or its
/// [leaks not recovered](crate::Segment::recover_leaks). Nothing was given back.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AuditError {
    /// Other processes are attached, or this one by another mapping, or a dead one that this process cannot recover.
    #[error("others are attached to the segment: process {}", list(.processes))]
    InUse {
        /// Their ids, as they know themselves; 0 of one that is just attaching.
        processes: Vec<u32>,
    },
    /// This process has other handles to this mapping of the segment: clones, [`Root`](crate::Root)s,
    /// [`Owned`](crate::Owned)s, guards that were leaked.
    #[error("this process has {handles} other handle(s) to the segment")]
    Handles {
        /// How many.
        handles: usize,
    },
    /// Another process, or another mapping of this one, is at it.
    #[error("somebody else has the segment for themselves")]
    Underway,
    /// This process is constructing, converting or freeing objects: what is half there cannot be walked.
    #[error("objects are being constructed or freed: {}", list(.objects))]
    UnderConstruction {
        /// Which.
        objects: Vec<String>,
    },
    /// The types of objects are not known to this process, and their stored descriptions do not say where they keep their
    /// pointers. A process that [finds](crate::Segment::find) each of these objects first knows their types.
    #[error("the types of objects are not known here: {}", list(.objects))]
    UnknownTypes {
        /// Which, each with its type.
        objects: Vec<String>,
    },
    /// The segment is damaged, so what nothing leads to may be no leak. (An object that a lock keeps, and that a death has
    /// left half changed, counts: give it a new value first, see [`CorruptGuard`](crate::CorruptGuard).)
    #[error("the segment is damaged: {}", list(.findings))]
    Damaged {
        /// What was found.
        findings: Vec<Finding>,
    },
}

/// The first few of a list, and how many there are.
fn list<T: fmt::Display>(all: &[T]) -> String {
    let mut text: Vec<String> = all.iter().take(4).map(T::to_string).collect();
    if all.len() > text.len() {
        text.push(format!("… ({} in all)", all.len()));
    }
    text.join(", ")
}

/// Something wrong, and where it was met.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Finding {
    /// The object that it belongs to, with its type; `None` if it is in the heap's or the directory's own bytes.
    pub object: Option<String>,
    /// What is wrong.
    pub corrupt: Corrupt,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.object {
            Some(object) => write!(f, "{object}: {}", self.corrupt),
            None => fmt::Display::fmt(&self.corrupt, f),
        }
    }
}

/// Stored bytes are not what this library writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("corrupt at offset {at:#x}: {what}")]
pub struct Corrupt {
    /// Where: an offset into the segment.
    pub at: u64,
    /// What is wrong there.
    pub what: &'static str,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_stay_small_on_the_hot_path() {
        assert!(size_of::<Error>() <= 32, "{}", size_of::<Error>());
        assert!(size_of::<LockError>() <= 2);
    }
}
