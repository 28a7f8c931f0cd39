//! `get_robust_list`: what the kernel looks at when a thread ends.
//!
//! Each thread registers, through the C library, the head of a list of words that the kernel marks when the thread ends,
//! and beside it one word more, *pending*: that of the robust mutex which the thread is just locking or unlocking, and so
//! may or may not be in the list. For the list the kernel follows pointers that stand beside the words, in memory that
//! others write, and the C library changes them too; for the pending word there is but the one pointer in the head, in
//! the thread's own memory. So that is where ours goes.
//!
//! There is one for each thread, and the C library's robust mutexes overwrite it: then nothing is marked, which costs a
//! hint.
//!
//! This file needs `unsafe`: it writes to a structure of the C library's.

use crate::primitive::{AtomicU32, Ordering, compiler_fence};
use std::ptr::NonNull;

/// Set by the kernel in a word whose thread has ended.
pub(crate) const OWNER_DIED: u32 = 1 << 30;
/// Asks the kernel to wake one sleeper when it sets [`OWNER_DIED`].
pub(crate) const WAITERS: u32 = 1 << 31;
/// The bits in which the kernel looks for the thread's id.
pub(crate) const THREAD: u32 = (1 << 30) - 1;

/// A word to be marked, in shared memory.
#[repr(C)]
#[derive(Debug, Default)]
pub(crate) struct Entry {
    /// The thread's id, [`OWNER_DIED`] and [`WAITERS`].
    pub(crate) word: AtomicU32,
    _zero: u32,
}

/// The kernel's `struct robust_list_head`.
#[repr(C)]
struct Head {
    first: u64,
    /// From a node to its word.
    word_at: isize,
    /// The node of a word that is to be looked at, in the list or not; 0: none.
    pending: u64,
}

/// This thread's head, if it has one.
fn head() -> Option<NonNull<Head>> {
    let (mut head, mut len) = (std::ptr::null_mut::<Head>(), 0_usize);
    // SAFETY: asks for this thread's own head; writes two words.
    let done = unsafe { libc::syscall(libc::SYS_get_robust_list, 0, &raw mut head, &raw mut len) };
    NonNull::new(head).filter(|_| done == 0 && len == size_of::<Head>())
}

impl Head {
    /// What the kernel takes for the node of this entry's word; `None` where it would take it for another kind (bit 0).
    fn node_of(&self, entry: NonNull<Entry>) -> Option<u64> {
        let node = entry.as_ptr().addr().wrapping_add_signed(self.word_at.wrapping_neg()) as u64;
        (node != 0 && node & 1 == 0).then_some(node)
    }
}

/// Has the kernel mark the entry's word when this thread ends, if it then holds the thread's id; whether that could be
/// done: a thread has room for one.
///
/// # Safety
/// 1. The entry stays mapped at this address until this thread has [unlinked](unlink) it or has ended; so in the child of a
///    fork, if it is not inherited, it is unlinked first.
pub(crate) unsafe fn link(entry: NonNull<Entry>) -> bool {
    let Some(head) = head() else { return false };
    // SAFETY: this thread's own head, registered by the C library; nobody else writes it.
    unsafe {
        let Some(node) = head.as_ref().node_of(entry) else { return false };
        let pending = &raw mut (*head.as_ptr()).pending;
        if pending.read_volatile() != 0 {
            return false;
        }
        pending.write_volatile(node);
    }
    true
}

/// Takes it back, if it is there: in this thread, or in the child of a fork by it, where the C library has copied it.
/// Looks at the address only.
pub(crate) fn unlink(entry: NonNull<Entry>) {
    let Some(head) = head() else { return };
    // SAFETY: as in `link`.
    unsafe {
        let pending = &raw mut (*head.as_ptr()).pending;
        // It may be the C library's by now.
        if Some(pending.read_volatile()) == head.as_ref().node_of(entry) {
            pending.write_volatile(0);
        }
    }
    compiler_fence(Ordering::SeqCst);
}

/// Whether anything is pending in this thread.
#[cfg(test)]
pub(crate) fn is_linked() -> bool {
    // SAFETY: as in `link`.
    head().is_some_and(|head| unsafe { head.as_ref() }.pending != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `PTHREAD_MUTEX_ROBUST`.
    const ROBUST: libc::c_int = 1;

    fn robust_mutex() -> Box<libc::pthread_mutex_t> {
        // SAFETY: zeroed is a mutex of the default kind; the calls initialise it anew.
        unsafe {
            let mut mutex: Box<libc::pthread_mutex_t> = Box::new(std::mem::zeroed());
            let mut kind = std::mem::zeroed();
            assert_eq!(libc::pthread_mutexattr_init(&raw mut kind), 0);
            assert_eq!(libc::pthread_mutexattr_setrobust(&raw mut kind, ROBUST), 0);
            assert_eq!(libc::pthread_mutex_init(&raw mut *mutex, &raw const kind), 0);
            mutex
        }
    }

    /// The word of an entry after a thread that did `what` with it, and a robust mutex, has ended.
    fn after(what: impl FnOnce(NonNull<Entry>, *mut libc::pthread_mutex_t) + Send + 'static) -> u32 {
        let entry = NonNull::from(Box::leak(Box::<Entry>::default()));
        let mut mutex = robust_mutex();
        let addresses = [entry.as_ptr().expose_provenance(), (&raw mut *mutex).expose_provenance()];
        std::thread::spawn(move || {
            let [entry, mutex] = addresses;
            let entry = NonNull::new(std::ptr::with_exposed_provenance_mut::<Entry>(entry)).unwrap();
            let id = rustix::thread::gettid().as_raw_nonzero().get() as u32;
            // SAFETY: it outlives the thread.
            unsafe { entry.as_ref() }.word.store(id | WAITERS, Ordering::Relaxed);
            what(entry, std::ptr::with_exposed_provenance_mut(mutex));
        })
        .join()
        .unwrap();
        // SAFETY: the thread has ended; nobody else has it.
        let entry = unsafe { Box::from_raw(entry.as_ptr()) };
        // Whatever was done: the C library's own list is sound.
        // SAFETY: initialised above; its holder, if it had one, has ended.
        let locked = unsafe { libc::pthread_mutex_lock(&raw mut *mutex) };
        assert!([0, libc::EOWNERDEAD].contains(&locked));
        // SAFETY: held by this thread.
        assert_eq!(unsafe { libc::pthread_mutex_unlock(&raw mut *mutex) }, 0);
        entry.word.load(Ordering::Relaxed)
    }

    #[test]
    fn the_kernel_marks_the_word_of_a_thread_that_ends() {
        // SAFETY: the entries outlive the threads, in all of these; the mutexes too.
        unsafe {
            let marked = after(|entry, mutex| {
                assert_eq!(libc::pthread_mutex_lock(mutex), 0);
                assert!(link(entry));
                assert!(!link(entry), "there is room for one");
            });
            assert_eq!(marked, OWNER_DIED | WAITERS);
            assert_eq!(after(|_, _| {}) & OWNER_DIED, 0);
            let unlinked = after(|entry, _| {
                assert!(link(entry));
                unlink(entry);
            });
            assert_eq!(unlinked & OWNER_DIED, 0);
            // A robust mutex takes the place.
            let overwritten = after(|entry, mutex| {
                assert!(link(entry));
                assert_eq!(libc::pthread_mutex_lock(mutex), 0);
                unlink(entry);
                assert!(link(entry), "and leaves it free");
                unlink(entry);
            });
            assert_eq!(overwritten & OWNER_DIED, 0);
        }
    }
}
