//! [`ShmDrop`]: what a type does when a value of it is destroyed.

use super::ShmSafe;

/// A destructor for a type in shared memory: `#[derive(ShmSafe)]` with `#[shm(drop)]` calls it.
///
/// It takes the place of `Drop`, which the derive forbids: `Drop::drop` gets a `&mut self`, and two values with
/// offset pointers that are swapped through such references point astray. This one gets the value's view.
///
/// It runs in whichever process destroys the value, before the fields are destroyed, and not at all for a value
/// that a dying process leaves behind: recovery runs no user code. For a value that stands in no segment (a movable
/// one, dropped on the stack) allocations through the view are `Err(AllocError::NoSegment)`.
///
/// # Panics
/// A panic in it unwinds like one in `Drop`: the fields are destroyed all the same.
///
/// ```
/// use shmem_core::{ShmDrop, ShmSafe};
/// use std::sync::atomic::{AtomicU64, Ordering};
///
/// static CLOSED: AtomicU64 = AtomicU64::new(0);
///
/// #[derive(ShmSafe)]
/// #[shm(drop)]
/// #[repr(C)]
/// struct Session {
///     id: u64,
/// }
///
/// impl ShmDrop for Session {
///     fn drop(this: SessionMut<'_>) {
///         CLOSED.fetch_add(*this.id, Ordering::Relaxed);
///     }
/// }
///
/// drop(Session { id: 7 });
/// assert_eq!(CLOSED.load(Ordering::Relaxed), 7);
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not say what is done when it is destroyed",
    label = "this calls `ShmDrop::drop`",
    note = "implement `ShmDrop` for `{Self}`, or remove `#[shm(drop)]`"
)]
pub trait ShmDrop: ShmSafe {
    /// The value that `this` views is being destroyed.
    fn drop(this: Self::Mut<'_>);
}
