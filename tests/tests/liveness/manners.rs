//! The rows and columns of the matrix, and what is to come of each pair.

use shmem_core::__testing::Witness;

/// What happens to the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Manner {
    Kill,
    Fault,
    Abort,
    Exit,
    ThreadReturns,
    ThreadVanishes,
    FirstVanishes,
    Exec,
    Stop,
    Fork,
    RawFork,
    CloseFrom,
    InnerVictim,
    InnerWaiter,
}

use Manner::*;

impl Manner {
    pub(crate) const ALL: [Manner; 14] = [
        Kill,
        Fault,
        Abort,
        Exit,
        ThreadReturns,
        ThreadVanishes,
        FirstVanishes,
        Exec,
        Stop,
        Fork,
        RawFork,
        CloseFrom,
        InnerVictim,
        InnerWaiter,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Kill => "SIGKILL",
            Fault => "SIGSEGV",
            Abort => "abort",
            Exit => "_exit",
            ThreadReturns => "thread returns",
            ThreadVanishes => "thread vanishes",
            FirstVanishes => "1st thread vanishes",
            Exec => "execve",
            Stop => "SIGSTOP",
            Fork => "killed, fork lives",
            RawFork => "killed, clone lives",
            CloseFrom => "closefrom",
            InnerVictim => "in a PID namespace",
            InnerWaiter => "waiter in one",
        }
    }

    /// Whether it needs the superuser.
    pub(crate) fn needs_root(self) -> bool {
        matches!(self, InnerVictim | InnerWaiter)
    }
}

/// What the process is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Deed {
    /// It has the mutex.
    Hold,
    /// It waits for the mutex.
    Wait,
    /// It opens, attaches, lets go, over and over.
    Attach,
    /// It is inside the initialiser of a root.
    Construct,
    /// It is recovering another process, killed in the initialiser of a root and with the mutex.
    Recover,
}

use Deed::*;

impl Deed {
    pub(crate) const ALL: [Deed; 5] = [Hold, Wait, Attach, Construct, Recover];

    /// Whether others wait while it lasts.
    pub(crate) fn is_in_the_way(self) -> bool {
        matches!(self, Hold | Construct | Recover)
    }
}

/// What is to come of a cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It counts as dead, with what it had.
    Dies,
    /// It counts as alive, and only its kill as death.
    Lives,
    /// It counts as alive, and goes on as if nothing had been.
    Stops,
    /// It is dead, and nobody who lacks this witness can tell: they wait. With the reason.
    CannotBeTold(&'static str),
    /// There is no such case. With the reason.
    None(&'static str),
}

pub(crate) fn fate(manner: Manner, deed: Deed, missing: Option<Witness>) -> Fate {
    let byte = missing != Some(Witness::Byte);
    match manner {
        Kill | Fault | Abort | Exit | Fork | RawFork => Fate::Dies,
        ThreadReturns if deed != Hold => Fate::None("a thread that returns is inside of nothing"),
        CloseFrom if deed == Attach => {
            Fate::None("std ends a process that finds its descriptors closed by others: that is `abort`")
        }
        ThreadReturns | ThreadVanishes | FirstVanishes | CloseFrom => Fate::Lives,
        Stop => Fate::Stops,
        Exec | InnerVictim | InnerWaiter if byte => Fate::Dies,
        Exec => Fate::CannotBeTold("the program that it became has its id, its start and memory"),
        InnerVictim if deed == Recover => {
            Fate::None("it is not told of the third one's death: /proc speaks within a PID namespace")
        }
        InnerVictim | InnerWaiter => Fate::CannotBeTold("/proc speaks within a PID namespace"),
    }
}
