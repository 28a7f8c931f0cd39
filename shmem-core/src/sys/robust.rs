//! `get_robust_list`: the list of words that the kernel marks when a thread ends, of which each thread has one.
//!
//! The C library registers the list, and keeps it doubly linked: the kernel wants a node to be a pointer to the next
//! one, at a fixed distance behind the word; glibc wants a pointer to the one before just ahead of it. A node that has
//! both may stand among those of glibc's own robust mutexes.
//!
//! This file needs `unsafe`: it links nodes into a list of the C library's.

use crate::primitive::{AtomicU32, AtomicU64, Ordering, compiler_fence};
use std::ptr::NonNull;

/// Set by the kernel in a word whose thread has ended.
pub(crate) const OWNER_DIED: u32 = 1 << 30;
/// Asks the kernel to wake one sleeper when it sets [`OWNER_DIED`].
pub(crate) const WAITERS: u32 = 1 << 31;
/// The bits in which the kernel looks for the thread's id.
pub(crate) const THREAD: u32 = (1 << 30) - 1;

/// From a node to its word, in every list that glibc registers on 64-bit machines (`pthread_mutex_t` gives it).
const WORD_AT: isize = -32;

/// A word, and the node behind it. Stands in shared memory; the pointers are addresses of the process that linked it.
#[repr(C)]
#[derive(Debug, Default)]
pub(crate) struct Entry {
    /// The thread's id, [`OWNER_DIED`] and [`WAITERS`].
    pub(crate) word: AtomicU32,
    pub(crate) _zero: u32,
    pub(crate) _own: [AtomicU64; 2],
    previous: AtomicU64,
    next: AtomicU64,
}

const _: () = assert!(std::mem::offset_of!(Entry, next) as isize == -WORD_AT);
const _: () = assert!(std::mem::offset_of!(Entry, previous) + 8 == std::mem::offset_of!(Entry, next));

/// The kernel's `struct robust_list_head`, ahead of which glibc keeps the pointer that a node keeps ahead of `next`.
#[repr(C)]
struct Head {
    first: u64,
    word_at: isize,
    pending: u64,
}

/// This thread's list, if it has one of the known form.
fn head() -> Option<NonNull<Head>> {
    let (mut head, mut len) = (std::ptr::null_mut::<Head>(), 0_usize);
    // SAFETY: asks for this thread's own list; writes two words.
    let done = unsafe { libc::syscall(libc::SYS_get_robust_list, 0, &raw mut head, &raw mut len) };
    let head = NonNull::new(head).filter(|_| done == 0 && len == size_of::<Head>())?;
    // SAFETY: registered by the C library for this thread, which is running.
    let known = unsafe { head.as_ref() }.word_at == WORD_AT && cfg!(target_env = "gnu");
    known.then_some(head)
}

/// The field ahead of the `next` that stands at `at`.
fn ahead_of(at: u64) -> *mut u64 {
    // Bit 0 marks a mutex of another kind.
    std::ptr::with_exposed_provenance_mut::<u64>(((at & !1) - 8) as usize)
}

/// Links an entry into this thread's list; whether that could be done. The kernel marks the word when the thread
/// ends, if it then holds the thread's id.
///
/// # Safety
/// 1. The entry stays mapped at this address, and nobody else writes its pointers, until this thread has
///    [unlinked](unlink) it or has ended.
/// 2. It is not linked.
pub(crate) unsafe fn link(entry: NonNull<Entry>) -> bool {
    let Some(head) = head() else { return false };
    // SAFETY: mapped by 1; its fields are atomics.
    let entry = unsafe { entry.as_ref() };
    let first = (&raw const entry.next).expose_provenance() as u64;
    let at_head = head.as_ptr().expose_provenance() as u64;
    // SAFETY: this thread's own list, which only it changes, and which is sound: the first node, or the head itself, has
    // a pointer ahead of its `next`. Signal handlers may not use robust mutexes.
    unsafe {
        let second = (*head.as_ptr()).first;
        entry.next.store(second, Ordering::Relaxed);
        entry.previous.store(at_head, Ordering::Relaxed);
        // CRASH link: until the last store the kernel does not see the entry; a death leaves an unmarked word.
        compiler_fence(Ordering::SeqCst);
        ahead_of(second).write(first);
        (&raw mut (*head.as_ptr()).first).write_volatile(first);
    }
    true
}

/// Takes an entry out of this thread's list.
///
/// # Safety
/// 1. This thread has [linked](link) it and not unlinked it since.
pub(crate) unsafe fn unlink(entry: NonNull<Entry>) {
    // SAFETY: mapped by `link`'s 1.
    let entry = unsafe { entry.as_ref() };
    let next = entry.next.load(Ordering::Relaxed);
    let previous = entry.previous.load(Ordering::Relaxed);
    // SAFETY: its neighbours are nodes of this thread's list, or the head.
    unsafe {
        ahead_of(next).write(previous);
        let before = std::ptr::with_exposed_provenance_mut::<u64>((previous & !1) as usize);
        before.write_volatile(next);
    }
    compiler_fence(Ordering::SeqCst);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry() -> NonNull<Entry> {
        NonNull::from(Box::leak(Box::default()))
    }

    fn free(entry: NonNull<Entry>) {
        // SAFETY: made by `entry`, and linked nowhere any more.
        drop(unsafe { Box::from_raw(entry.as_ptr()) });
    }

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

    #[test]
    fn the_kernel_marks_the_words_of_a_thread_that_ends_among_robust_mutexes() {
        let entries = [entry(), entry(), entry()];
        let addresses = entries.map(|e| e.as_ptr().expose_provenance());
        let mut mutexes = [robust_mutex(), robust_mutex()];
        let mutex_at = mutexes.each_mut().map(|m| (&raw mut **m).expose_provenance());
        std::thread::spawn(move || {
            let entries: [NonNull<Entry>; 3] =
                addresses.map(|at| NonNull::new(std::ptr::with_exposed_provenance_mut(at)).unwrap());
            let mutexes = mutex_at.map(std::ptr::with_exposed_provenance_mut::<libc::pthread_mutex_t>);
            let id = rustix::thread::gettid().as_raw_nonzero().get() as u32;
            // SAFETY: everything outlives the thread; each entry is linked once.
            unsafe {
                assert_eq!(libc::pthread_mutex_lock(mutexes[0]), 0);
                for entry in entries {
                    entry.as_ref().word.store(id, Ordering::Relaxed);
                    assert!(link(entry));
                }
                assert_eq!(libc::pthread_mutex_lock(mutexes[1]), 0);
                unlink(entries[1]);
                // Out of the middle, on the other side of one of ours.
                assert_eq!(libc::pthread_mutex_unlock(mutexes[0]), 0);
                assert_eq!(libc::pthread_mutex_lock(mutexes[0]), 0);
            }
        })
        .join()
        .unwrap();
        // SAFETY: still allocated.
        let words = entries.map(|e| unsafe { e.as_ref() }.word.load(Ordering::Relaxed));
        assert_eq!(words.map(|word| word & OWNER_DIED != 0), [true, false, true]);
        for mutex in &mut mutexes {
            // SAFETY: initialised above; its holder has ended.
            assert_eq!(unsafe { libc::pthread_mutex_lock(&raw mut **mutex) }, libc::EOWNERDEAD);
            // SAFETY: held by this thread, which unlinks it.
            assert_eq!(unsafe { libc::pthread_mutex_unlock(&raw mut **mutex) }, 0);
        }
        entries.into_iter().for_each(free);
    }
}
