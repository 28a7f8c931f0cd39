//! `futex(FUTEX_WAIT_BITSET)`, `futex(FUTEX_WAKE)`, `futex_waitv` on words that several processes map, and `clock_gettime`.

use super::Errno;
use rustix::thread::futex::{self, Flags, Wait, WaitFlags, WaitPtr, WaitvFlags};
use rustix::time::{ClockId, Timespec, clock_gettime};
use std::num::NonZeroU32;
use std::sync::atomic::AtomicU32;

/// Why [`wait`] returned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Woken {
    /// The word did not hold the value any more, a waker came, or a signal: look again.
    Look,
    /// The deadline passed.
    TimedOut,
}

/// Sleeps while the word holds `value`, until a [`wake`] or the deadline, a time of [`now_ns`]. May return
/// early. The word may stand in shared memory and be read-only.
pub(crate) fn wait(word: &AtomicU32, value: u32, deadline_ns: Option<u64>) -> Woken {
    let deadline = deadline_ns.map(timespec);
    // Not PRIVATE: the waker may be another process.
    match futex::wait_bitset(word, Flags::empty(), value, deadline.as_ref(), NonZeroU32::MAX) {
        Err(Errno::TIMEDOUT) => Woken::TimedOut,
        // EAGAIN, EINTR: look again. There is no other error for an aligned, mapped word and a valid time.
        _ => Woken::Look,
    }
}

/// As [`wait`], on two words at once: sleeps while each holds its value. Where the kernel cannot (before Linux 5.16), it
/// waits on the first alone.
pub(crate) fn wait_either(first: (&AtomicU32, u32), second: (&AtomicU32, u32), deadline_ns: u64) -> Woken {
    let waiter = |(word, value): (&AtomicU32, u32)| {
        let mut waiter = Wait::new();
        waiter.val = value.into();
        waiter.uaddr = WaitPtr::new(std::ptr::from_ref(word).cast_mut().cast());
        // Not PRIVATE: the waker may be another process.
        waiter.flags = WaitFlags::SIZE_U32;
        waiter
    };
    let deadline = timespec(deadline_ns);
    let both = [waiter(first), waiter(second)];
    match futex::waitv(&both, WaitvFlags::empty(), Some(&deadline), ClockId::Monotonic) {
        Err(Errno::TIMEDOUT) => Woken::TimedOut,
        Err(Errno::NOSYS | Errno::PERM) => wait(first.0, first.1, Some(deadline_ns)),
        _ => Woken::Look,
    }
}

fn timespec(ns: u64) -> Timespec {
    Timespec { tv_sec: (ns / 1_000_000_000) as i64, tv_nsec: (ns % 1_000_000_000) as i64 }
}

/// Wakes at most `n` threads that wait on the word; how many. The thread woken first has waited longest.
pub(crate) fn wake(word: &AtomicU32, n: u32) -> usize {
    // The kernel takes a signed count.
    futex::wake(word, Flags::empty(), n.min(i32::MAX as u32)).unwrap_or(0)
}

/// The monotonic clock in nanoseconds: the same in every process of the machine, not affected by changes of the
/// time of day.
#[inline]
pub(crate) fn now_ns() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::Ordering;

    #[test]
    fn waits_on_two_words() {
        let words = [AtomicU32::new(1), AtomicU32::new(2)];
        let wait = |values: [u32; 2], deadline| {
            wait_either((&words[0], values[0]), (&words[1], values[1]), deadline)
        };
        let late = now_ns() + 10_000_000_000;
        assert_eq!(wait([0, 2], late), Woken::Look);
        assert_eq!(wait([1, 0], late), Woken::Look);
        assert_eq!(wait([1, 2], now_ns() + 1_000_000), Woken::TimedOut);
        for word in &words {
            std::thread::scope(|s| {
                s.spawn(|| {
                    let value = |i: usize| words[i].load(Ordering::Acquire);
                    let before = [value(0), value(1)];
                    while [value(0), value(1)] == before {
                        assert_eq!(wait(before, late), Woken::Look);
                    }
                });
                while wake(word, 1) == 0 {
                    std::thread::yield_now();
                }
                word.fetch_add(8, Ordering::Release);
                wake(word, u32::MAX);
            });
        }
    }

    #[test]
    fn waits_until_woken_or_the_deadline() {
        let word = AtomicU32::new(5);
        assert_eq!(wait(&word, 4, None), Woken::Look, "the word holds another value");
        assert_eq!(wait(&word, 5, Some(0)), Woken::TimedOut, "a deadline long past");
        let deadline = now_ns() + 20_000_000;
        while wait(&word, 5, Some(deadline)) == Woken::Look {}
        assert!(now_ns() >= deadline);
        assert_eq!(wake(&word, u32::MAX), 0);
        std::thread::scope(|s| {
            s.spawn(|| {
                let deadline = now_ns() + 10_000_000_000;
                while word.load(Ordering::Acquire) == 5 {
                    assert_eq!(wait(&word, 5, Some(deadline)), Woken::Look);
                }
            });
            std::thread::yield_now();
            word.store(6, Ordering::Release);
            wake(&word, 1);
        });
    }
}
