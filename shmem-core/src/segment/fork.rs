//! What happens at `fork`: the child gets a process record of its own, with a pin on everything its parent pins, before
//! either of them runs on; so nothing the child inherited can vanish under it, and nothing it drops is its parent's.
//!
//! The child's record is locked through an open file description made for it, which only the child keeps: if the
//! fork fails, or the child dies at once, the kernel drops the lock, and the record is a dead process's.
//!
//! Guards held across a fork stay the parent's: dropping the child's copy does nothing.
//!
//! This file needs `unsafe`: it holds the process's locks across the fork.

use super::inner::Inner;
use crate::mapping::{ChildLocks, registry};
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
    _held: Vec<MutexGuard<'static, ()>>,
    /// The child's record, and the description that holds its lock.
    child: Option<(u32, ChildLocks)>,
    inner: Arc<Inner>,
}

/// What the forking thread holds from `prepare` to `parent` or `child`.
struct Forking {
    prepared: Vec<Prepared>,
    _registry: MutexGuard<'static, ()>,
    _segments: MutexGuard<'static, Vec<Weak<Inner>>>,
}

thread_local! {
    static FORKING: RefCell<Option<Forking>> = const { RefCell::new(None) };
}

extern "C" fn prepare() {
    let segments = SEGMENTS.lock().unwrap_or_else(|e| e.into_inner());
    let live: Vec<Arc<Inner>> = segments.iter().filter_map(Weak::upgrade).collect();
    let prepared = live.into_iter().map(prepare_one).collect();
    let forking = Forking { prepared, _registry: registry::hold(), _segments: segments };
    let _ = FORKING.try_with(|slot| slot.borrow_mut().replace(forking));
}

fn prepare_one(inner: Arc<Inner>) -> Prepared {
    let child = inner.file.storage().for_child().ok().and_then(|own| {
        let record = inner.participants.prepare_child(&own)?;
        inner.directory.pin_all_for(record);
        Some((record, own))
    });
    // Another thread may be inside these; in the child it would never leave.
    let guards = [inner.participants.hold(), inner.directory.hold()];
    // SAFETY: only the lifetime changes; `inner` is kept beside the guards and dropped after them.
    let _held =
        guards.map(|guard| unsafe { mem::transmute::<MutexGuard<'_, ()>, MutexGuard<'static, ()>>(guard) });
    Prepared { _held: _held.into(), child, inner }
}

extern "C" fn parent() {
    // Dropping the child's description here leaves its lock to the child alone.
    drop(FORKING.try_with(|slot| slot.borrow_mut().take()));
}

extern "C" fn child() {
    let Ok(Some(forking)) = FORKING.try_with(|slot| slot.borrow_mut().take()) else { return };
    for Prepared { child, inner, .. } in &forking.prepared {
        inner.directory.settle_child();
        match child {
            Some((record, own)) if inner.file.storage().adopt(own).is_ok() => {
                inner.participants.become_child(Some(*record));
            }
            _ => {
                // The parent's description must not be kept: it would keep the parent alive for others.
                let _ = inner.file.storage().renew();
                inner.participants.become_child(None);
            }
        }
    }
}
