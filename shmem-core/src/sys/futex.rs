//! `futex(FUTEX_WAIT_BITSET)`, `futex(FUTEX_WAKE)` on words that several processes map, and `clock_gettime`.

use super::Errno;
use rustix::thread::futex::{self, Flags};
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
    let deadline = deadline_ns
        .map(|ns| Timespec { tv_sec: (ns / 1_000_000_000) as i64, tv_nsec: (ns % 1_000_000_000) as i64 });
    // Not PRIVATE: the waker may be another process.
    match futex::wait_bitset(word, Flags::empty(), value, deadline.as_ref(), NonZeroU32::MAX) {
        Err(Errno::TIMEDOUT) => Woken::TimedOut,
        // EAGAIN, EINTR: look again. There is no other error for an aligned, mapped word and a valid time.
        _ => Woken::Look,
    }
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
