//! [`Ledger`]: what the processes of a run write down outside the segment under test.
//!
//! A memory file without a name, mapped by the runner and inherited by every worker, as words that are only ever
//! changed atomically: so what a worker has noted when it is killed stays noted, in the order in which it noted it,
//! and nothing of it goes through the code under test.
//!
//! | words | what |
//! |---|---|
//! | 0–63 | [`word`]: what the runner tells, what the report shows |
//! | 64–255 | the suite's own counts, by the place of their name in [`Suite::counts`](super::Suite::counts) |
//! | 256–… | [`Desk`]s, one for each thread of a worker |
//! | then | findings: texts |
//! | then | the suite's, zeroed whenever it begins with a new segment |
//!
//! This file needs `unsafe`: it maps memory.

use std::io;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

/// Desks there are: two for each of as many workers.
pub const DESKS: usize = 16;
/// Threads of a worker.
pub const THREADS: usize = 2;

const COUNTS: usize = 64;
const DESKS_AT: usize = 256;
const DESK_WORDS: usize = 16;
const FINDINGS_AT: usize = DESKS_AT + DESKS * DESK_WORDS;
const FINDINGS: usize = 64;
const FINDING_WORDS: usize = 48;
const SUITE_AT: usize = 4096;
/// Words that a suite has for its own.
pub const SUITE_WORDS: usize = 1 << 21;
const WORDS: usize = SUITE_AT + SUITE_WORDS;

const _: () = assert!(FINDINGS_AT + FINDINGS * FINDING_WORDS <= SUITE_AT);

/// The words that are the same for all suites.
pub mod word {
    /// 1 when the workers are to come to an end.
    pub const STOP: usize = 0;
    /// A number for whoever needs one that nobody else has.
    pub const SERIAL: usize = 1;
    /// How many findings there are.
    pub const FINDINGS: usize = 2;
    /// Workers killed, by the runner or by themselves.
    pub const KILLS: usize = 3;
    /// Findings of damage.
    pub const CORRUPT: usize = 4;
    /// Waits that took too long.
    pub const STUCK: usize = 5;
    /// What happened twice that must happen once.
    pub const DOUBLE: usize = 6;
    /// What a kill left unreachable.
    pub const LEAKED: usize = 7;
    /// Operations of workers that are gone.
    pub const OPERATIONS: usize = 8;
}

/// See the [module](self).
#[derive(Debug, Clone, Copy)]
pub struct Ledger {
    words: &'static [AtomicU64],
    fd: RawFd,
}

impl Ledger {
    /// A new one, all zero. It lives as long as the process, and as those that inherit it.
    pub fn new() -> io::Result<Self> {
        // SAFETY: a zero-terminated name.
        let fd = unsafe { libc::memfd_create(c"torture-ledger".as_ptr(), 0) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: our own descriptor.
        if unsafe { libc::ftruncate(fd, (WORDS * 8) as i64) } != 0 {
            return Err(io::Error::last_os_error());
        }
        Self::inherited(fd)
    }

    /// The one behind a descriptor.
    pub fn inherited(fd: RawFd) -> io::Result<Self> {
        // SAFETY: a fresh shared mapping, wherever there is room.
        let at = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                WORDS * 8,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                fd,
                0,
            )
        };
        if at == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: mapped for ever, as long as the file is; any bits are words, and they are only changed atomically.
        let words = unsafe { std::slice::from_raw_parts(at.cast::<AtomicU64>(), WORDS) };
        Ok(Ledger { words, fd })
    }

    /// The descriptor that workers inherit.
    pub fn fd(&self) -> RawFd {
        self.fd
    }

    /// One of the words of [`word`].
    pub fn at(&self, word: usize) -> &'static AtomicU64 {
        &self.words[word]
    }

    /// A count of the suite's.
    pub fn count(&self, i: usize) -> &'static AtomicU64 {
        &self.words[COUNTS..DESKS_AT][i]
    }

    /// The suite's words.
    pub fn suite(&self) -> &'static [AtomicU64] {
        &self.words[SUITE_AT..]
    }

    /// Zeroes the suite's words. Only while no worker runs.
    pub fn clear_suite(&self) -> io::Result<()> {
        // SAFETY: of our own file; the pages read as zeros afterwards.
        let done = unsafe {
            libc::fallocate(
                self.fd,
                libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE,
                (SUITE_AT * 8) as i64,
                (SUITE_WORDS * 8) as i64,
            )
        };
        if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }

    /// A desk.
    pub fn desk(&self, i: usize) -> Desk {
        let at = DESKS_AT + i * DESK_WORDS;
        Desk { words: &self.words[at..at + DESK_WORDS] }
    }

    /// Notes a finding under one of the words of [`word`]. The text is shown by the runner; of very many, only the first.
    pub fn find(&self, kind: usize, text: &str) {
        let i = self.at(word::FINDINGS).fetch_add(1, SeqCst) as usize;
        if i < FINDINGS {
            let at = FINDINGS_AT + i * FINDING_WORDS;
            write_text(&self.words[at + 1..at + FINDING_WORDS], text);
            self.words[at].store(1, SeqCst);
        }
        self.at(kind).fetch_add(1, SeqCst);
    }

    /// Finding `i`, once it is whole.
    pub fn finding(&self, i: usize) -> Option<String> {
        let at = FINDINGS_AT + i.min(FINDINGS - 1) * FINDING_WORDS;
        (i < FINDINGS && self.words[at].load(SeqCst) == 1)
            .then(|| read_text(&self.words[at + 1..at + FINDING_WORDS]))
    }
}

/// Closes the inherited descriptor; the mapping stays.
pub(super) fn close_inherited(fd: RawFd) {
    // SAFETY: this process inherited it for one mapping, which exists by now.
    drop(unsafe { OwnedFd::from_raw_fd(fd) });
}

fn write_text(words: &[AtomicU64], text: &str) {
    let bytes = text.as_bytes();
    for (i, word) in words.iter().enumerate() {
        let mut eight = [0; 8];
        let part = bytes.get(i * 8..).unwrap_or_default();
        let part = &part[..part.len().min(8)];
        eight[..part.len()].copy_from_slice(part);
        word.store(u64::from_le_bytes(eight), SeqCst);
        if part.len() < 8 {
            return;
        }
    }
}

fn read_text(words: &[AtomicU64]) -> String {
    let bytes: Vec<u8> = words.iter().flat_map(|word| word.load(SeqCst).to_le_bytes()).collect();
    let end = bytes.iter().position(|&b| b == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}

/// Where one thread of a worker says what it is doing: the runner takes one that says nothing new for stuck.
#[derive(Debug, Clone, Copy)]
pub struct Desk {
    words: &'static [AtomicU64],
}

const STEPS: usize = 0;
const SEATED: usize = 1;
const OPERATIONS: usize = 2;
const ARGUMENT: usize = 3;
const DOING: usize = 4;

impl Desk {
    /// A thread begins to work here.
    pub fn sit(&self) {
        self.doing("begin", 0);
        self.words[SEATED].store(1, SeqCst);
    }

    /// It has come to its end.
    pub fn leave(&self) {
        self.words[SEATED].store(0, SeqCst);
    }

    /// Whether somebody works here.
    pub fn is_seated(&self) -> bool {
        self.words[SEATED].load(SeqCst) == 1
    }

    /// What this thread is about to do, or to wait for.
    pub fn doing(&self, what: &str, argument: u64) {
        self.words[ARGUMENT].store(argument, SeqCst);
        write_text(&self.words[DOING..], what);
        let steps = &self.words[STEPS];
        steps.store(steps.load(SeqCst) + 1, SeqCst);
    }

    /// An operation is done.
    pub fn done(&self) {
        let operations = &self.words[OPERATIONS];
        operations.store(operations.load(SeqCst) + 1, SeqCst);
    }

    /// How often the thread has said something.
    pub fn steps(&self) -> u64 {
        self.words[STEPS].load(SeqCst)
    }

    /// What it said last.
    pub fn said(&self) -> String {
        format!("{} {}", read_text(&self.words[DOING..]), self.words[ARGUMENT].load(SeqCst))
    }

    /// How many operations it has done since they were taken last.
    pub fn operations(&self) -> u64 {
        self.words[OPERATIONS].load(SeqCst)
    }

    /// Takes the count of its operations.
    pub fn take_operations(&self) -> u64 {
        self.words[OPERATIONS].swap(0, SeqCst)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_and_counts_are_kept() {
        let ledger = Ledger::new().unwrap();
        let long = "x".repeat(1000);
        for text in ["", "eight by", "a lock that nobody holds", &long] {
            let i = ledger.at(word::FINDINGS).load(SeqCst) as usize;
            assert_eq!(ledger.finding(i), None);
            ledger.find(word::STUCK, text);
            let kept = ledger.finding(i).unwrap();
            assert_eq!(kept, text[..text.len().min((FINDING_WORDS - 1) * 8)]);
        }
        assert_eq!(ledger.at(word::STUCK).load(SeqCst), 4);
        let desk = ledger.desk(DESKS - 1);
        assert!(!desk.is_seated());
        desk.sit();
        desk.doing("wait for the moon", 7);
        assert_eq!((desk.is_seated(), desk.said()), (true, "wait for the moon 7".into()));
        desk.done();
        assert_eq!((desk.operations(), desk.take_operations(), desk.take_operations()), (1, 1, 0));
        ledger.suite()[SUITE_WORDS - 1].store(3, SeqCst);
        ledger.clear_suite().unwrap();
        assert_eq!(ledger.suite()[SUITE_WORDS - 1].load(SeqCst), 0);
        assert_eq!(ledger.at(word::STUCK).load(SeqCst), 4);
    }
}
