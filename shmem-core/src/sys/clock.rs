//! [`Deadline`]: a point of monotonic time, the same in every process of the machine (`clock_gettime`).

use super::futex::now_ns;
use std::time::Duration;

/// A point of monotonic time in nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Deadline(u64);

impl Deadline {
    /// `timeout` from now; for ever if that is beyond the clock.
    pub(crate) fn after(timeout: Duration) -> Self {
        let timeout = u64::try_from(timeout.as_nanos()).unwrap_or(u64::MAX);
        // The kernel takes signed seconds; 292 years will do.
        Deadline(now_ns().saturating_add(timeout).min(i64::MAX as u64))
    }

    /// Whether it lies in the past.
    pub(crate) fn has_passed(self) -> bool {
        self.0 <= now_ns()
    }

    /// In nanoseconds of the monotonic clock.
    pub(crate) fn ns(self) -> u64 {
        self.0
    }
}
