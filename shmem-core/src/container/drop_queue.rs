//! Destroys blocks of values without recursing, so that a list of a million boxes is dropped in constant stack.
//!
//! The outermost destructor keeps a work list on its stack; a destructor that runs inside it adds its block there
//! and returns. So a box inside a box is destroyed *after* the values beside it, but before the outermost
//! destructor returns. A block of another mapping, or under another undo log, than the outermost one's gets a work
//! list of its own at once: the mapping or the log might be gone when the outer list gets to it.
//!
//! This file needs `unsafe`: it destroys values and frees blocks.

use crate::access::Access;
use crate::layout::{ShmSafe, any_lock_held};
use crate::mapping::registry::access_of;
use std::cell::{Cell, RefCell};
use std::ptr::{self, NonNull};

/// A block to be destroyed.
struct Doomed {
    block: NonNull<u8>,
    len: usize,
    capacity: usize,
    run: Run,
}

/// How a block is destroyed.
enum Run {
    /// As an array.
    Array(unsafe fn(&Doomed, Access<'_>)),
    /// See [`destroy_with`].
    Own(unsafe fn(NonNull<u8>, Access<'_>)),
}

/// The work list of one outermost destructor.
struct Queue<'a> {
    access: Access<'a>,
    waiting: RefCell<Vec<Doomed>>,
}

impl Queue<'_> {
    fn next(&self) -> Option<Doomed> {
        self.waiting.borrow_mut().pop()
    }

    fn run(&self, doomed: &Doomed) {
        // SAFETY: what `destroy_block` or `destroy_with` was promised: the block is nobody's but the queue's.
        unsafe {
            match doomed.run {
                Run::Array(run) => run(doomed, self.access),
                Run::Own(destroy) => destroy(doomed.block, self.access),
            }
        }
    }
}

thread_local! {
    /// The work list in force, on the stack of the outermost destructor. It has no destructor of its own, so it
    /// works inside those of other thread-locals.
    static QUEUE: Cell<*const Queue<'static>> = const { Cell::new(ptr::null()) };
}

/// Ends a work list's being in force.
struct Restore(*const Queue<'static>);

impl Drop for Restore {
    fn drop(&mut self) {
        QUEUE.set(self.0);
    }
}

/// Works the list off when dropped, also while a destructor's panic unwinds (a second panic then aborts, as in
/// std).
struct Drain<'q>(&'q Queue<'q>);

impl Drop for Drain<'_> {
    fn drop(&mut self) {
        while let Some(doomed) = self.0.next() {
            let on_panic = Drain(self.0);
            self.0.run(&doomed);
            std::mem::forget(on_panic);
        }
    }
}

/// Destroys the first `len` values of a block and frees it, now or before the outermost destructor on this thread
/// returns. If a lock inside a value is held, the block is leaked instead: its holder may still be using it.
///
/// # Safety
/// 1. `first` is a block of a mapped segment with room for `capacity` values; it holds `len` valid ones.
/// 2. The caller owns it: no stored pointer that anybody will follow names it, and it is not used afterwards.
#[inline]
pub(super) unsafe fn destroy_block<T: ShmSafe>(first: NonNull<T>, len: usize, capacity: usize) {
    // SAFETY: the block's mapping lives: whoever drops the value that owned it holds it.
    let access = unsafe { access_of(first.as_ptr()) };
    if !std::mem::needs_drop::<T>() {
        // SAFETY: 1 and 2.
        return unsafe { access.deallocate_array(first, capacity) };
    }
    // SAFETY: 1; exclusive by 2.
    if unsafe { any_lock_held(first.as_ptr(), len) } {
        return;
    }
    destroy_slow(Doomed { block: first.cast(), len, capacity, run: Run::Array(run::<T>) }, access);
}

/// As [`destroy_block`], for a block that is no plain array: `destroy` destroys what it holds and frees it. No lock in it
/// is held.
///
/// # Safety
/// 1. As 2 of `destroy_block`; `access` is to the block's segment.
/// 2. `destroy` may be called on the block, once, with such an access.
pub(super) unsafe fn destroy_with(
    block: NonNull<u8>,
    access: Access<'_>,
    destroy: unsafe fn(NonNull<u8>, Access<'_>),
) {
    destroy_slow(Doomed { block, len: 0, capacity: 0, run: Run::Own(destroy) }, access);
}

/// Destroys the values and frees the block.
///
/// # Safety
/// As for [`destroy_block`].
unsafe fn run<T: ShmSafe>(doomed: &Doomed, access: Access<'_>) {
    struct Free<'a, T>(NonNull<T>, usize, Access<'a>);
    impl<T> Drop for Free<'_, T> {
        fn drop(&mut self) {
            // SAFETY: by the caller of `run`; the values are destroyed.
            unsafe { self.2.deallocate_array(self.0, self.1) }
        }
    }
    let first = doomed.block.cast::<T>();
    let _free = Free(first, doomed.capacity, access);
    // SAFETY: by the caller.
    unsafe { ptr::slice_from_raw_parts_mut(first.as_ptr(), doomed.len).drop_in_place() }
}

fn destroy_slow(doomed: Doomed, access: Access<'_>) {
    let outer = QUEUE.get();
    // SAFETY: not null, so it stands on the stack of a destructor that this call runs inside.
    if let Some(queue) = unsafe { outer.as_ref() }
        && queue.access.same_scope(&access)
    {
        return queue.waiting.borrow_mut().push(doomed);
    }
    let queue = Queue { access, waiting: RefCell::new(Vec::new()) };
    let _restore = Restore(outer);
    QUEUE.set((&raw const queue).cast());
    let drain = Drain(&queue);
    queue.run(&doomed);
    drop(drain);
}
