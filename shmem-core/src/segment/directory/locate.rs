//! Which object something stands in: for reports.

use super::Directory;
use crate::primitive::Ordering;
use crate::sync::Patience;
use crate::sys::clock::Deadline;
use std::time::Duration;

/// How long a report waits for the directory: it may be about the very thread that has it locked.
const PATIENCE: Duration = Duration::from_millis(50);

impl Directory {
    /// For each offset, the name of the object whose elements it lies in, if there is one that has a name. None at all
    /// if the directory stays locked.
    pub(crate) fn names_at(&self, offsets: &[u64]) -> Vec<Option<String>> {
        let mut names = vec![None; offsets.len()];
        let Ok(_lock) = self.lock_within(Patience::Until(Deadline::after(PATIENCE))) else { return names };
        for entry in (0..self.high()).filter_map(|number| self.entry(number)) {
            let start = entry.object.load(Ordering::Relaxed);
            let Some((layout, _)) = self.element_layout(entry).filter(|_| entry.state().is_there()) else {
                continue;
            };
            for (offset, name) in offsets.iter().zip(&mut names) {
                if offset.checked_sub(start).is_some_and(|into| into < layout.size() as u64)
                    && let Some(bytes) = self.name_bytes(entry).filter(|bytes| !bytes.is_empty())
                {
                    *name = Some(String::from_utf8_lossy(bytes).into_owned());
                }
            }
        }
        names
    }
}
