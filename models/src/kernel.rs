//! The kernel: futexes, locks on bytes, the lists of words that it marks when a thread ends.
//!
//! Nobody sleeps through a wake-up here, and no timer wakes anybody: a waiter that nobody wakes is a deadlock, which
//! loom reports. Only who waits on one word, with a deadline, is taken to be polling.

use crate::chance::{self, Fault};
use crate::participant::MAX_PROCESSES;
use crate::primitive::AtomicU32;
use crate::sys::robust::{Entry, OWNER_DIED, THREAD, WAITERS};
use loom::sync::{Condvar, Mutex};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// A thread asleep, or about to be.
struct Sleeper {
    words: Vec<usize>,
    wakes: Arc<Condvar>,
    is_woken: bool,
    ticket: u64,
}

#[derive(Default)]
struct Futexes {
    /// Those that came first are woken first.
    sleepers: Vec<Sleeper>,
    tickets: u64,
    /// How often a byte was let go of.
    events: u64,
}

/// Entries of threads' robust lists. Each list is its thread's; nobody else looks at it.
struct Listed(u32, NonNull<Entry>);

/// See the [module](self).
pub(crate) struct Kernel {
    futexes: Mutex<Futexes>,
    /// The bytes that are held, and by which process.
    bytes: Mutex<BTreeMap<u32, u32>>,
    lists: std::sync::Mutex<Vec<Listed>>,
    /// Whether sleeps end by themselves.
    timers_fire: AtomicBool,
}

// SAFETY: entries are atomics, which outlive the kernel; the list is changed under its lock.
unsafe impl Send for Kernel {}
// SAFETY: likewise.
unsafe impl Sync for Kernel {}

loom::thread_local! {
    /// The events that this thread had seen when it last polled.
    static SEEN: Cell<u64> = Cell::new(u64::MAX);
}

std::thread_local! {
    static KERNEL: RefCell<Option<Arc<Kernel>>> = const { RefCell::new(None) };
}

fn address(word: &AtomicU32) -> usize {
    std::ptr::from_ref(word).addr()
}

impl Kernel {
    /// Starts the kernel of one run of a model.
    pub(crate) fn start() -> Arc<Kernel> {
        let kernel = Arc::new(Kernel {
            futexes: Mutex::default(),
            bytes: Mutex::default(),
            lists: std::sync::Mutex::default(),
            timers_fire: AtomicBool::new(false),
        });
        KERNEL.set(Some(kernel.clone()));
        kernel
    }

    /// The running kernel.
    pub(crate) fn current() -> Arc<Kernel> {
        KERNEL.with_borrow(|kernel| kernel.clone().expect("a model is running"))
    }

    pub(crate) fn let_timers_fire(&self) {
        self.timers_fire.store(true, Ordering::Relaxed);
    }

    /// Sleeps while each word holds its value, until a wake-up on one of them; whether there was one, or the time is over.
    pub(crate) fn wait(&self, words: &[(&AtomicU32, u32)]) -> bool {
        if self.timers_fire.load(Ordering::Relaxed) {
            loom::thread::yield_now();
            return words.iter().any(|(word, value)| word.raw() != *value);
        }
        let wakes = Arc::new(Condvar::new());
        let mut ticket = None;
        // The kernel looks at one word after the other; it is on the first one's queue when it looks at the second.
        for (word, value) in words {
            let mut futexes = self.futexes.lock().unwrap();
            let number = *ticket.get_or_insert(futexes.tickets);
            if word.raw() != *value {
                futexes.sleepers.retain(|sleeper| sleeper.ticket != number);
                return true;
            }
            match futexes.sleepers.iter_mut().find(|sleeper| sleeper.ticket == number) {
                Some(sleeper) => sleeper.words.push(address(word)),
                None => {
                    futexes.tickets += 1;
                    let words = vec![address(word)];
                    futexes.sleepers.push(Sleeper {
                        words,
                        wakes: wakes.clone(),
                        is_woken: false,
                        ticket: number,
                    });
                }
            }
        }
        let mut futexes = self.futexes.lock().unwrap();
        loop {
            let at = futexes.sleepers.iter().position(|sleeper| Some(sleeper.ticket) == ticket);
            let at = at.expect("a sleeper takes itself off the queue");
            if futexes.sleepers[at].is_woken {
                futexes.sleepers.remove(at);
                return true;
            }
            futexes = wakes.wait(futexes).unwrap();
        }
    }

    /// As [`wait`](Self::wait) on one word, for a waiter that looks again after a short time; whether it was woken. It looks
    /// again whenever a byte was let go of, perhaps just before: a look at any other time would find nothing new.
    pub(crate) fn poll(&self, word: &AtomicU32, value: u32) -> bool {
        if self.timers_fire.load(Ordering::Relaxed) {
            return self.wait(&[(word, value)]);
        }
        let mut futexes = self.futexes.lock().unwrap();
        if word.raw() != value {
            return true;
        }
        if SEEN.with(|seen| seen.replace(futexes.events)) != futexes.events {
            return false;
        }
        let wakes = Arc::new(Condvar::new());
        let ticket = futexes.tickets;
        futexes.tickets += 1;
        let words = vec![address(word)];
        futexes.sleepers.push(Sleeper { words, wakes: wakes.clone(), is_woken: false, ticket });
        loop {
            let at = futexes.sleepers.iter().position(|sleeper| sleeper.ticket == ticket);
            let is_woken = at.is_some_and(|at| futexes.sleepers[at].is_woken);
            if is_woken || SEEN.with(Cell::get) != futexes.events {
                futexes.sleepers.retain(|sleeper| sleeper.ticket != ticket);
                SEEN.with(|seen| seen.set(futexes.events));
                return is_woken;
            }
            futexes = wakes.wait(futexes).unwrap();
        }
    }

    /// Time passes for those who poll.
    fn happened(&self) {
        let mut futexes = self.futexes.lock().unwrap();
        futexes.events += 1;
        futexes.sleepers.iter().for_each(|sleeper| sleeper.wakes.notify_one());
    }

    /// Wakes at most `n` of those that wait on the word.
    pub(crate) fn wake(&self, word: &AtomicU32, n: u32) -> usize {
        let mut futexes = self.futexes.lock().unwrap();
        let asleep = futexes.sleepers.iter_mut();
        let woken = asleep.filter(|s| !s.is_woken && s.words.contains(&address(word))).take(n as usize);
        woken
            .map(|sleeper| {
                sleeper.is_woken = true;
                sleeper.wakes.notify_one();
            })
            .count()
    }

    /// Holds a byte for a process, if nobody does.
    pub(crate) fn hold(&self, byte: u32, process: u32) -> bool {
        let mut bytes = self.bytes.lock().unwrap();
        let is_shared = byte >= MAX_PROCESSES as u32 && Fault::RecoverersShare.is_on();
        let is_free = !bytes.contains_key(&byte) || is_shared;
        if is_free {
            bytes.insert(byte, process);
        }
        is_free
    }

    pub(crate) fn is_held(&self, byte: u32) -> bool {
        self.bytes.lock().unwrap().contains_key(&byte)
    }

    pub(crate) fn let_go(&self, byte: u32) {
        self.bytes.lock().unwrap().remove(&byte);
        self.happened();
    }

    pub(crate) fn link(&self, thread: u32, entry: NonNull<Entry>) {
        self.lists.lock().unwrap().push(Listed(thread, entry));
    }

    pub(crate) fn unlink(&self, entry: NonNull<Entry>) {
        self.lists.lock().unwrap().retain(|listed| listed.1 != entry);
    }

    /// What `exit` does for a thread: marks the words in its list, and wakes one sleeper of each that says there is one.
    pub(crate) fn end_thread(&self, thread: u32) {
        let mut ended = Vec::new();
        self.lists.lock().unwrap().retain(|listed| {
            let stays = listed.0 != thread;
            if !stays {
                ended.push(listed.1);
            }
            stays
        });
        for entry in ended {
            // SAFETY: linked, so mapped.
            let word = &unsafe { entry.as_ref() }.word;
            let mut now = word.raw();
            // As `handle_futex_death` does it; the id goes.
            while now & THREAD == thread {
                match word.raw_exchange(now, now & WAITERS | OWNER_DIED) {
                    Ok(_) => {
                        if now & WAITERS != 0 && !Fault::MarksQuietly.is_on() {
                            self.wake(word, 1);
                        }
                        break;
                    }
                    Err(other) => now = other,
                }
            }
        }
    }

    /// What becomes of a process whose last thread has ended: its memory goes, and with it its locks.
    pub(crate) fn end_process(&self, process: u32) {
        self.bytes.lock().unwrap().retain(|_, holder| *holder != process);
        self.happened();
    }
}

/// Before a system call that others can notice.
pub(crate) fn enter() -> Option<Arc<Kernel>> {
    if chance::is_dead() {
        return None;
    }
    chance::may_die();
    Some(Kernel::current())
}
