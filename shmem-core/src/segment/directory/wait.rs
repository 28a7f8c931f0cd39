//! Waiting for a name whose object is being constructed or converted.
//!
//! Whoever makes it publishes it or gives up, and wakes the waiters; or dies, and they clean up after it. Whoever makes it
//! may itself wait for another name, and so on in a circle. So a waiter says in each entry it is making which one it waits
//! for ([`Entry::waits_for`]), under the directory lock, and follows from there: from the entry to the one its
//! maker waits for, to the one whose maker *that* waits for. Who comes so to an entry of its own closes a circle, and gets an error
//! instead; its entry is rolled back, and the others go on. Two threads cannot both overlook it, since the second finds what
//! the first wrote; and nobody is accused in vain, since an entry that is made, or was given up, ends the way.
//!
//! Not found are circles through locks, through threads that an initialiser waits for, and through a thread that makes one object by one mapping of the segment and waits
//! by another: owner words are by mapping.

use super::entry::{Entry, Life, Phase, State};
use super::{Directory, Key, Locked};
use crate::error::{NameError, Result};
use crate::participant::{Owner, Recovered, Waited, Watch};
use crate::primitive::Ordering;
use crate::sys::clock::Deadline;
use std::cell::RefCell;
use std::ptr;
use std::time::Duration;

/// How long to sleep before asking whether who is waited for is alive.
const CHECK_CONSTRUCTOR: Duration = Duration::from_millis(10);

/// No way is longer: it goes from thread to thread.
const LONGEST_WAY: usize = 1 << 14;

thread_local! {
    /// The addresses of the entries that this thread is making, the innermost last.
    static MAKING: RefCell<Vec<usize>> = const { RefCell::new(Vec::new()) };
}

/// Notes that this thread is making an object, until [`end`](Self::end).
pub(super) struct Making {
    entry: usize,
    constructor: Owner,
}

impl Making {
    /// Of an entry that this thread has reserved or marked.
    pub(super) fn begin(entry: &Entry) -> Self {
        let at = ptr::from_ref(entry).addr();
        // A thread that is exiting is not known to make it: it waits in vain if it waits for itself.
        let _ = MAKING.try_with(|making| making.borrow_mut().push(at));
        Making { entry: at, constructor: Owner(entry.constructor.load(Ordering::Relaxed)) }
    }

    /// The owner word of this thread.
    pub(super) fn constructor(&self) -> Owner {
        self.constructor
    }

    /// The object is made, or given up.
    pub(super) fn end(&self) {
        let _ = MAKING.try_with(|making| {
            let mut making = making.borrow_mut();
            if let Some(i) = making.iter().rposition(|at| *at == self.entry) {
                making.remove(i);
            }
        });
    }
}

/// What a thread waits for, as the entries say that it is making; taken back when it is dropped.
struct Waiting<'d>(Vec<&'d Entry>);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.iter().for_each(|entry| entry.waits_for.store(0, Ordering::Relaxed));
    }
}

/// Who waits for each other.
struct Circle {
    /// What this thread is making.
    inside: String,
    /// The processes of the others.
    agents: Vec<u32>,
}

impl Directory {
    /// Waits, for a while and not under the lock, until an entry that is being constructed or converted is not in
    /// `state` any more.
    pub(super) fn wait_for(
        &self,
        lock: Locked<'_>,
        entry: &Entry,
        state: State,
        key: &Key<'_>,
    ) -> Result<()> {
        let me = lock.slot.owner();
        if Owner(entry.constructor.load(Ordering::Relaxed)) == me {
            return Err(NameError::Recursive { name: key.owned_name() }.into());
        }
        let _waiting = self.announce(&lock, me, entry, state);
        if let Some(Circle { inside, agents }) = self.circle(&lock, me, entry, state) {
            drop(lock);
            // Who died waiting waits no more.
            if agents.into_iter().any(|agent| self.participants.recover_if_dead(agent) != Recovered::No) {
                return Ok(());
            }
            return Err(NameError::Circular { name: key.owned_name(), inside }.into());
        }
        drop(lock);
        // Its agent publishes or gives up, and wakes us; or it dies, and we clean up after it.
        let asleep = state.with_sleepers();
        let marked = state == asleep || entry.advance(state, asleep);
        let maker = Owner(entry.constructor.load(Ordering::Relaxed));
        let sleep = || {
            let (word, value) = entry.futex_of(asleep);
            let until = Some(Deadline::after(CHECK_CONSTRUCTOR));
            self.participants.wait_for(word, value, maker, until, &mut Watch::default())
        };
        if marked && sleep() == Waited::TimedOut {
            let recover = |agent| self.participants.recover_if_dead(agent) != Recovered::No;
            let recovered = state.agent().is_some_and(recover);
            // Asked last: an agent ends what it does before it goes.
            if !recovered && self.is_nobodys(entry, state) && entry.state() == asleep {
                return Err(self.damaged(entry, "a reservation or a conversion is nobody's"));
            }
        }
        Ok(())
    }

    /// Whether nobody can be at what the state says.
    pub(super) fn is_nobodys(&self, entry: &Entry, state: State) -> bool {
        let Some(agent) = state.agent() else { return true };
        let ours = self.participants.attached_now() == Some(agent);
        (ours && state.is(Phase::Converting) && self.migrations.load(Ordering::Acquire) == 0)
            // SYNC made: Acquire. Written before the phase, and taken back after it.
            || entry.constructor.load(Ordering::Acquire) == 0
            || !self.participants.is_attached(agent)
    }

    /// Says in every entry that this thread is making what it waits for.
    fn announce<'d>(&'d self, _: &Locked<'_>, me: Owner, entry: &Entry, state: State) -> Waiting<'d> {
        let making = MAKING.try_with(|making| making.borrow().clone()).unwrap_or_default();
        let entries = making.into_iter().filter_map(|at| self.entry_at(at));
        // In the child of a fork they are the parent's.
        let mine = entries.filter(|entry| Owner(entry.constructor.load(Ordering::Relaxed)) == me);
        let mine: Vec<&Entry> = mine.collect();
        let life = if mine.is_empty() { Life(0) } else { Life::new(self.number_of(entry), state) };
        mine.iter().for_each(|entry| entry.waits_for.store(life.0, Ordering::Relaxed));
        Waiting(mine)
    }

    /// Follows who waits for whom from `entry`; to an entry of this thread's, if that is where it leads.
    fn circle(&self, _: &Locked<'_>, me: Owner, entry: &Entry, state: State) -> Option<Circle> {
        let (mut entry, mut state) = (entry, state);
        let mut agents = Vec::new();
        for _ in 0..LONGEST_WAY {
            agents.extend(state.agent());
            let life = Life(entry.waits_for.load(Ordering::Relaxed));
            let number = life.number().filter(|number| *number < self.high())?;
            entry = self.entry(number)?;
            state = entry.state();
            if life != Life::new(number, state) || !Entry::is_under_way(state) {
                return None;
            }
            if Owner(entry.constructor.load(Ordering::Relaxed)) == me {
                let inside = String::from_utf8_lossy(self.name_bytes(entry)?).into_owned();
                return Some(Circle { inside, agents });
            }
        }
        None
    }
}
