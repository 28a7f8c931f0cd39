//! What happens at `fork`: the child gets a process record of its own, with a pin on everything its parent pins, before
//! either of them runs on; so nothing the child inherited can vanish under it, and nothing it drops is its parent's.
//!
//! The byte of the child's record is locked through an open file description made for it, which only the child keeps: if
//! the fork fails, or the child dies at once, the kernel drops the lock, and the record is a dead process's.
//!
//! Guards held across a fork stay the parent's: dropping the child's copy does nothing.
//!
//! This file needs `unsafe`: it holds the process's locks across the fork.

use super::inner::Inner;
use crate::mapping::{LockedByte, held_byte, registry};
use crate::participant::{self, Changing};
use crate::sys::process;
use std::cell::RefCell;
use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, Once, Weak};

/// Every mapping of this process.
static SEGMENTS: Mutex<Vec<Weak<Inner>>> = Mutex::new(Vec::new());

/// Has fork handled from now on.
pub(super) fn install() {
    static INSTALL: Once = Once::new();
    INSTALL.call_once(|| {
        // Without handlers a child has no pins of its own; nothing else depends on them.
        let _ = process::at_fork(prepare, parent, child);
    });
}

/// Has forks mind this mapping.
pub(super) fn watch(inner: &Arc<Inner>) {
    let mut segments = SEGMENTS.lock().unwrap_or_else(|e| e.into_inner());
    segments.retain(|segment| segment.strong_count() > 0);
    segments.push(Arc::downgrade(inner));
}

/// What one mapping needs on the other side.
struct Prepared {
    // Before `inner`, which the guards borrow from.
    _storing: Option<MutexGuard<'static, ()>>,
    changing: Option<Changing<'static>>,
    /// The child's record, and the lock on its byte.
    child: Option<(u32, LockedByte)>,
    inner: Arc<Inner>,
}

/// What the forking thread holds from `prepare` to `parent` or `child`.
struct Forking {
    // Before `prepared`: its handle to a mapping may be the last by now, and unmapping takes the registry's lock.
    _registry: MutexGuard<'static, ()>,
    _descriptors: MutexGuard<'static, ()>,
    _segments: MutexGuard<'static, Vec<Weak<Inner>>>,
    prepared: Vec<Prepared>,
}

thread_local! {
    static FORKING: RefCell<Option<Forking>> = const { RefCell::new(None) };
}

extern "C" fn prepare() {
    let segments = SEGMENTS.lock().unwrap_or_else(|e| e.into_inner());
    let live = segments.iter().filter_map(Weak::upgrade);
    // All records first: recovering a dead one takes the segment's lock, whose holder may wait for what is held below.
    let mut prepared: Vec<Prepared> = live.map(with_record).collect();
    // Another thread may be inside these; in the child it would never leave. In this order: whoever is inside the
    // first may wait for the segment's lock, whose holder may want the second and then the third, by another mapping.
    for p in &mut prepared {
        let changing = p.inner.participants.changing();
        // SAFETY: only the lifetime changes; `inner` is kept beside the guard and dropped after it.
        p.changing = Some(unsafe { mem::transmute::<Changing<'_>, Changing<'static>>(changing) });
    }
    for p in &mut prepared {
        let storing = p.inner.directory.hold();
        // SAFETY: likewise.
        p._storing = Some(unsafe { mem::transmute::<MutexGuard<'_, ()>, MutexGuard<'static, ()>>(storing) });
    }
    for p in &prepared {
        p.inner.directory.freeze(p.child.as_ref().map(|(record, _)| *record));
    }
    // Last: whoever has these waits for nothing.
    let (_descriptors, _registry) = (held_byte::hold(), registry::hold());
    let forking = Forking { _registry, _descriptors, _segments: segments, prepared };
    let _ = FORKING.try_with(|slot| slot.borrow_mut().replace(forking));
}

fn with_record(inner: Arc<Inner>) -> Prepared {
    let child = inner.participants.prepare_child();
    Prepared { _storing: None, changing: None, child, inner }
}

impl Drop for Prepared {
    fn drop(&mut self) {
        self.inner.directory.thaw();
    }
}

extern "C" fn parent() {
    // Dropping the child's description here leaves its lock to the child alone.
    drop(FORKING.try_with(|slot| slot.borrow_mut().take()));
}

extern "C" fn child() {
    registry::begin_child();
    participant::begin_child();
    let Ok(Some(mut forking)) = FORKING.try_with(|slot| slot.borrow_mut().take()) else { return };
    for Prepared { child, inner, changing, .. } in &mut forking.prepared {
        let Some(life) = changing else { continue };
        let attached = inner.participants.become_child(child.as_ref(), life);
        inner.directory.settle_child(attached);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Segment;

    #[test]
    fn the_last_handle_may_go_while_a_fork_is_under_way() {
        let segment = Segment::anonymous().size(1 << 20).create().unwrap();
        let at_work = std::thread::spawn(move || {
            let prepared =
                vec![Prepared { _storing: None, changing: None, child: None, inner: segment.inner.clone() }];
            let segments = SEGMENTS.lock().unwrap_or_else(|e| e.into_inner());
            let (_descriptors, _registry) = (held_byte::hold(), registry::hold());
            let forking = Forking { _registry, _descriptors, _segments: segments, prepared };
            // As another thread may, between `prepare` and `parent`.
            drop(segment);
            drop(forking);
        });
        let start = std::time::Instant::now();
        while !at_work.is_finished() {
            assert!(start.elapsed().as_secs() < 20, "the registry's lock is taken twice");
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        at_work.join().unwrap();
    }
}
