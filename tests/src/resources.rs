//! [`Resources`]: what this process has of the kernel's.

use std::fs;

/// What is counted of a process, at some instant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Resources {
    /// Open descriptors.
    pub descriptors: usize,
    /// Mappings.
    pub mappings: usize,
    /// Memory that it has in RAM.
    pub resident_bytes: u64,
}

impl Resources {
    /// What this process has now. (The descriptor that it takes to look is counted each time.)
    pub fn now() -> Self {
        let maps = fs::read_to_string("/proc/self/maps").expect("/proc is there");
        Resources {
            descriptors: fs::read_dir("/proc/self/fd").expect("/proc is there").count(),
            mappings: maps.lines().count(),
            resident_bytes: number("/proc/self/status", "VmRSS:") << 10,
        }
    }
}

/// How often this thread has slept or waited in the kernel. (Losing the processor to others does not count.)
pub fn waits_of_this_thread() -> u64 {
    number("/proc/thread-self/status", "voluntary_ctxt_switches:")
}

/// The number behind a word that begins a line.
fn number(path: &str, word: &str) -> u64 {
    let text = fs::read_to_string(path).expect("/proc is there");
    let line = text.lines().find_map(|line| line.strip_prefix(word)).expect("the kernel tells");
    line.split_whitespace().next().and_then(|number| number.parse().ok()).expect("a number")
}
