//! [`Watchdog`]: ends a test that hangs.

use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::time::Duration;

/// Ends the process, saying what was being done, unless it is dropped in time. Its workers die with it.
#[derive(Debug)]
pub struct Watchdog {
    _alive: Sender<()>,
}

impl Watchdog {
    /// Watches over `what`.
    pub fn new(what: impl Into<String>, limit: Duration) -> Self {
        let (alive, gone) = channel::<()>();
        let what = what.into();
        std::thread::spawn(move || {
            if gone.recv_timeout(limit) == Err(RecvTimeoutError::Timeout) {
                eprintln!("hang: `{what}` took longer than {limit:?}");
                std::process::abort();
            }
        });
        Watchdog { _alive: alive }
    }

    /// Watches over `what` for as long as a test ever takes.
    pub fn test(what: impl Into<String>) -> Self {
        Self::new(what, Duration::from_secs(if crate::long() { 1800 } else { 150 }))
    }
}
