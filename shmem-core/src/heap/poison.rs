//! AddressSanitizer's view of the heap, in builds with `cfg(shmem_poison)`: bytes that belong to no live block are
//! poisoned, so that an overrun or a use after free is reported where it happens.
//!
//! Poison is kept by the process, for each address, and applied to every mapping it has of the segment. What other
//! processes allocate it cannot know, so this mode is for tests that use one process. It changes no stored byte; a
//! block is handed out exactly as long as asked for, not as long as its class.
//!
//! This file needs `unsafe`: it calls the sanitizer's runtime.

#[cfg(shmem_poison)]
mod active {
    use std::ffi::c_void;
    use std::sync::{Mutex, PoisonError};

    unsafe extern "C" {
        fn __asan_poison_memory_region(at: *const c_void, len: usize);
        fn __asan_unpoison_memory_region(at: *const c_void, len: usize);
    }

    /// Every mapping with a heap: the segment's identity and the address.
    static MAPPINGS: Mutex<Vec<([u8; 16], usize)>> = Mutex::new(Vec::new());

    fn each(segment: [u8; 16], f: impl Fn(usize)) {
        let mappings = MAPPINGS.lock().unwrap_or_else(PoisonError::into_inner);
        mappings.iter().filter(|(id, _)| *id == segment).for_each(|(_, base)| f(*base));
    }

    pub(crate) fn attach(segment: [u8; 16], base: usize) {
        MAPPINGS.lock().unwrap_or_else(PoisonError::into_inner).push((segment, base));
    }

    /// Poisons one mapping's bytes.
    pub(crate) fn poison_here(base: usize, offset: u64, len: u64) {
        // SAFETY: the range is mapped; the runtime changes only its own shadow of it.
        unsafe { __asan_poison_memory_region((base + offset as usize) as *const c_void, len as usize) }
    }

    /// Makes one mapping's bytes accessible.
    pub(crate) fn unpoison_here(base: usize, offset: u64, len: u64) {
        // SAFETY: as in `poison_here`.
        unsafe { __asan_unpoison_memory_region((base + offset as usize) as *const c_void, len as usize) }
    }

    pub(crate) fn detach(base: usize, used_bytes: usize) {
        unpoison_here(base, 0, used_bytes as u64);
        MAPPINGS.lock().unwrap_or_else(PoisonError::into_inner).retain(|(_, at)| *at != base);
    }

    pub(crate) fn poison(segment: [u8; 16], offset: u64, len: u64) {
        each(segment, |base| poison_here(base, offset, len));
    }

    pub(crate) fn unpoison(segment: [u8; 16], offset: u64, len: u64) {
        each(segment, |base| unpoison_here(base, offset, len));
    }
}

#[cfg(shmem_poison)]
pub(super) use active::*;

#[cfg(not(shmem_poison))]
mod inert {
    #[inline(always)]
    pub(crate) fn attach(_: [u8; 16], _: usize) {}
    #[inline(always)]
    pub(crate) fn poison_here(_: usize, _: u64, _: u64) {}
    #[inline(always)]
    pub(crate) fn unpoison_here(_: usize, _: u64, _: u64) {}
    #[inline(always)]
    pub(crate) fn detach(_: usize, _: usize) {}
    #[inline(always)]
    pub(crate) fn poison(_: [u8; 16], _: u64, _: u64) {}
    #[inline(always)]
    pub(crate) fn unpoison(_: [u8; 16], _: u64, _: u64) {}
}

#[cfg(not(shmem_poison))]
pub(super) use inert::*;

/// How much of a block of `usable` bytes is handed out when `asked` were asked for.
#[inline(always)]
pub(super) fn handed_out(asked: usize, usable: usize) -> usize {
    if cfg!(shmem_poison) { asked.max(1).min(usable) } else { usable }
}
