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

    /// A mapping with a heap.
    struct Mapping {
        segment: [u8; 16],
        base: usize,
        /// Behind the last byte that was ever poisoned: to go further when the mapping goes would fill shadow memory for
        /// an eighth of the reservation.
        end: u64,
    }

    static MAPPINGS: Mutex<Vec<Mapping>> = Mutex::new(Vec::new());

    fn each(which: impl Fn(&Mapping) -> bool, f: impl Fn(&mut Mapping)) {
        let mut mappings = MAPPINGS.lock().unwrap_or_else(PoisonError::into_inner);
        mappings.iter_mut().filter(|mapping| which(mapping)).for_each(f);
    }

    impl Mapping {
        fn poison(&mut self, offset: u64, len: u64) {
            self.end = self.end.max(offset + len);
            let at = (self.base + offset as usize) as *const c_void;
            // SAFETY: the range is mapped; the runtime changes only its own shadow of it.
            unsafe { __asan_poison_memory_region(at, len as usize) }
        }

        fn unpoison(&mut self, offset: u64, len: u64) {
            let at = (self.base + offset as usize) as *const c_void;
            // SAFETY: as in `poison`.
            unsafe { __asan_unpoison_memory_region(at, len as usize) }
        }
    }

    pub(crate) fn attach(segment: [u8; 16], base: usize) {
        let mapping = Mapping { segment, base, end: 0 };
        MAPPINGS.lock().unwrap_or_else(PoisonError::into_inner).push(mapping);
    }

    /// Poisons one mapping's bytes.
    pub(crate) fn poison_here(base: usize, offset: u64, len: u64) {
        each(|mapping| mapping.base == base, |mapping| mapping.poison(offset, len));
    }

    /// Makes one mapping's bytes accessible.
    pub(crate) fn unpoison_here(base: usize, offset: u64, len: u64) {
        each(|mapping| mapping.base == base, |mapping| mapping.unpoison(offset, len));
    }

    /// Makes everything accessible: the mapping goes, or is gone already.
    pub(crate) fn detach(base: usize) {
        each(|mapping| mapping.base == base, |mapping| mapping.unpoison(0, mapping.end));
        MAPPINGS.lock().unwrap_or_else(PoisonError::into_inner).retain(|mapping| mapping.base != base);
    }

    pub(crate) fn poison(segment: [u8; 16], offset: u64, len: u64) {
        each(|mapping| mapping.segment == segment, |mapping| mapping.poison(offset, len));
    }

    /// Poisons what was committed just now, from `start` to `end`, but for what another thread has poisoned before,
    /// and may have handed out since.
    pub(crate) fn poison_fresh(segment: [u8; 16], start: u64, end: u64) {
        each(
            |mapping| mapping.segment == segment && mapping.end < end,
            |mapping| {
                let start = start.max(mapping.end);
                mapping.poison(start, end - start);
            },
        );
    }

    pub(crate) fn unpoison(segment: [u8; 16], offset: u64, len: u64) {
        each(|mapping| mapping.segment == segment, |mapping| mapping.unpoison(offset, len));
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
    pub(crate) fn detach(_: usize) {}
    #[inline(always)]
    pub(crate) fn poison(_: [u8; 16], _: u64, _: u64) {}
    #[inline(always)]
    pub(crate) fn poison_fresh(_: [u8; 16], _: u64, _: u64) {}
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
