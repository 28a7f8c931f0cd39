//! Free blocks that threads have at hand: whose they are, when they are given back, and what a death or damage makes of
//! them.

use super::abandon::{killed, killed_at};
use super::migrate_tests::alone_in;
use super::*;
use crate::access::Access;
use crate::error::{AllocError, Error};
use crate::heap::set_bad_free_hook;
use crate::sync::ShmMutex;
use std::alloc::Layout;
use std::collections::HashSet;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::channel;

/// Magazines hold few blocks, and as many as there is room for.
const SIZES: [u64; 2] = [64 << 20, 1 << 30];

fn segment(bytes: u64) -> Segment {
    let s = Segment::anonymous().size(bytes).create().unwrap();
    // The directory has its blocks, and this thread its slot.
    s.construct::<ShmMutex<u64>>("lock", ShmMutex::new(0)).unwrap();
    s
}

fn layout(size: usize) -> Layout {
    Layout::from_size_align(size, 8).unwrap()
}

fn take(access: Access<'_>, size: usize) -> NonNull<u8> {
    access.allocate(layout(size)).unwrap().cast()
}

fn give(access: Access<'_>, block: NonNull<u8>, size: usize) {
    // SAFETY: taken with that size.
    unsafe { access.deallocate(block, layout(size)) }
}

/// Runs all of these at once, until their threads are gone: a scope alone does not wait for what they do when they exit.
fn at_once<'s>(work: impl IntoIterator<Item = Box<dyn FnOnce() + Send + 's>>) {
    std::thread::scope(|scope| {
        let threads: Vec<_> = work.into_iter().map(|work| scope.spawn(work)).collect();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    });
}

/// Allocates and frees often enough that the thread has a cache.
fn warm_up(s: &Segment) {
    for _ in 0..40 {
        give(s.access(), take(s.access(), 64), 64);
    }
    assert_ne!(s.inner.heap.cached(), [], "it has blocks at hand");
}

#[track_caller]
fn sound(s: &Segment) {
    assert_eq!(s.inner.heap.check_alone(), []);
    assert_eq!(s.check(), []);
}

#[test]
fn what_is_at_hand_is_free() {
    for bytes in SIZES {
        let s = segment(bytes);
        let before = s.used();
        warm_up(&s);
        assert_eq!(s.used(), before);
        let blocks: Vec<_> = (0..1000).map(|i| (take(s.access(), 16 + i), 16 + i)).collect();
        assert!(s.used() >= before + blocks.iter().map(|(_, size)| *size as u64).sum::<u64>());
        sound(&s);
        for (block, size) in blocks.into_iter().rev() {
            give(s.access(), block, size);
        }
        assert_eq!(s.used(), before);
        sound(&s);
    }
}

#[test]
fn no_block_is_handed_out_twice() {
    for bytes in SIZES {
        let s = segment(bytes);
        let before = s.used();
        at_once((1..5u64).map(|seed| {
            let s = &s;
            Box::new(move || {
                let (mut held, mut x) = (Vec::<(NonNull<u8>, usize, u64)>::new(), seed * 0x9E37_79B9);
                for tag in 0..20_000u64 {
                    x = x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                    if held.len() > 300 || x >> 62 == 0 && !held.is_empty() {
                        let (block, size, tag) = held.swap_remove((x >> 32) as usize % held.len());
                        // SAFETY: this thread's block of at least 16 bytes.
                        assert_eq!(unsafe { block.cast::<u64>().read() }, seed << 32 | tag);
                        give(s.access(), block, size);
                    } else {
                        let size = 16 + (x >> 40) as usize % if x >> 63 == 0 { 100 } else { 5000 };
                        let block = take(s.access(), size);
                        // SAFETY: likewise.
                        unsafe { block.cast::<u64>().write(seed << 32 | tag) };
                        held.push((block, size, tag));
                    }
                }
                held.into_iter().for_each(|(block, size, _)| give(s.access(), block, size));
            }) as Box<_>
        }));
        assert_eq!(s.used(), before);
        sound(&s);
    }
}

#[test]
fn one_thread_allocates_and_another_frees() {
    for bytes in SIZES {
        let s = segment(bytes);
        let before = s.used();
        let (sender, blocks) = channel::<(usize, usize)>();
        let s = &s;
        let allocating = move || {
            for i in 0..50_000 {
                let size = 16 + i % 300;
                sender.send((take(s.access(), size).as_ptr().expose_provenance(), size)).unwrap();
            }
        };
        let freeing = move || {
            // Often enough to have a cache of its own.
            warm_up(s);
            for (at, size) in blocks {
                let block = NonNull::new(std::ptr::with_exposed_provenance_mut(at)).unwrap();
                give(s.access(), block, size);
            }
        };
        at_once([Box::new(allocating) as Box<dyn FnOnce() + Send>, Box::new(freeing)]);
        assert_eq!(s.used(), before);
        sound(s);
    }
}

#[test]
fn a_thread_that_exits_gives_back_what_it_has_at_hand() {
    for bytes in SIZES {
        let s = segment(bytes);
        std::thread::scope(|scope| drop(scope.spawn(|| warm_up(&s)).join()));
        assert_eq!(s.inner.heap.cached(), []);
        sound(&s);
    }
}

#[test]
fn a_mapping_that_goes_gives_back_what_its_threads_have_at_hand() {
    for bytes in SIZES {
        let s = segment(bytes);
        let other = Segment::from_fd(&s).unwrap();
        warm_up(&other);
        drop(other);
        assert_eq!(s.inner.heap.cached(), []);
        sound(&s);
    }
}

#[test]
fn what_the_dead_had_at_hand_is_given_back() {
    for bytes in SIZES {
        for point in ["lock.taken", "magazine.filling", "magazine.flushing"] {
            let s = segment(bytes);
            let before = s.used();
            killed_at(&s, point, 1, move |s| {
                warm_up(&s);
                let blocks: Vec<_> = (0..200).map(|_| take(s.access(), 64)).collect();
                blocks.into_iter().for_each(|block| give(s.access(), block, 64));
                // At the latest here.
                drop(s.construct::<u64>("n", 7));
                unreachable!("it dies before");
            });
            assert_eq!(s.recover(), 1);
            assert_eq!(s.inner.heap.cached(), [], "{point}");
            let lost = s.used() - before;
            let most = match point {
                // What it took and did not free is lost with it, too: all 200 at most.
                "magazine.filling" | "magazine.flushing" => (200 + 22) * 64,
                _ => 0,
            };
            assert!(lost <= most, "{point}: {lost}");
            sound(&s);
        }
    }
}

/// How many blocks of 4 KiB are to be had.
fn all_there_is(s: &Segment) -> usize {
    let size = 4 << 10;
    let mut blocks = Vec::new();
    let error = loop {
        match s.access().allocate(layout(size)) {
            Ok(block) => blocks.push(block.cast::<u8>()),
            Err(e) => break e,
        }
    };
    assert!(matches!(error, Error::Alloc(AllocError::OutOfMemory { .. })), "{error}");
    let n = blocks.len();
    blocks.into_iter().for_each(|block| give(s.access(), block, size));
    n
}

/// Has a block of each class at hand, each of which keeps a page from being anything else.
fn one_of_each_class(s: &Segment) {
    warm_up(s);
    for class in (16..2048).step_by(16) {
        give(s.access(), take(s.access(), class), class);
    }
}

#[test]
fn whoever_finds_no_memory_takes_what_it_has_at_hand() {
    let (s, other) = (segment(SIZES[0]), segment(SIZES[0]));
    let n = all_there_is(&s);
    one_of_each_class(&s);
    assert_eq!(all_there_is(&s), n);
    one_of_each_class(&s);
    // It has used another segment since.
    warm_up(&other);
    assert_eq!(all_there_is(&s), n);
    sound(&s);
}

#[test]
fn whoever_finds_no_memory_takes_what_the_dead_have_at_hand() {
    let s = segment(SIZES[0]);
    let n = all_there_is(&s);
    killed(&s, |s, death| {
        one_of_each_class(&s);
        death.strike();
    });
    assert_ne!(s.inner.heap.cached(), []);
    assert_eq!(all_there_is(&s), n);
    sound(&s);
}

#[test]
fn a_thread_that_leaves_a_lock_held_gives_back_what_it_has_at_hand() {
    let s = segment(SIZES[0]);
    let lock = s.find::<ShmMutex<u64>>("lock").unwrap().unwrap();
    let leak = || {
        warm_up(&s);
        std::mem::forget(lock.lock().unwrap());
    };
    at_once([Box::new(leak) as Box<dyn FnOnce() + Send>]);
    assert_eq!(s.inner.heap.cached(), []);
    assert!(lock.try_lock().is_err());
    sound(&s);
}

#[test]
fn what_a_thread_that_died_with_many_locks_had_at_hand_is_given_back() {
    let s = segment(SIZES[0]);
    let locks = s.construct_slice("locks", 20, |_| ShmMutex::<u64>::new(0)).unwrap();
    killed(&s, |s, death| {
        warm_up(&s);
        let locks = s.find_slice::<ShmMutex<u64>>("locks").unwrap().unwrap();
        let _guards: Vec<_> = locks.iter().map(|lock| lock.lock().unwrap()).collect();
        death.strike();
    });
    assert_eq!(s.recover(), 1);
    assert_eq!(s.inner.heap.cached(), [], "its slot is retired");
    assert!(locks.iter().all(|lock| lock.lock().is_err()));
    sound(&s);
}

#[test]
fn a_child_of_a_fork_has_nothing_at_hand() {
    alone_in(module_path!(), "a_child_of_a_fork_has_nothing_at_hand", || {
        let s = segment(SIZES[1]);
        warm_up(&s);
        let parents: HashSet<u64> = s.inner.heap.cached().into_iter().collect();
        let base = s.access().context().base().addr();
        let takes_parents = |blocks: &[NonNull<u8>]| {
            blocks.iter().any(|block| parents.contains(&((block.addr().get() - base) as u64)))
        };
        // SAFETY: the child makes a few calls and exits; this process has no other thread that matters to it.
        match unsafe { libc::fork() } {
            0 => {
                let blocks: Vec<_> = (0..100).map(|_| take(s.access(), 64)).collect();
                let bad = takes_parents(&blocks);
                blocks.into_iter().for_each(|block| give(s.access(), block, 64));
                // SAFETY: ends the child at once.
                unsafe { libc::_exit(bad.into()) }
            }
            child => {
                let mut status = 0;
                // SAFETY: waits for the child just made.
                assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
                assert_eq!(status, 0, "it took its parent's");
            }
        }
        s.recover();
        assert_eq!(s.inner.heap.cached().into_iter().collect::<HashSet<_>>(), parents);
        sound(&s);
    });
}

#[test]
fn double_frees_of_what_is_at_hand_are_refused() {
    alone_in(module_path!(), "double_frees_of_what_is_at_hand_are_refused", || {
        static REFUSED: AtomicU64 = AtomicU64::new(0);
        let before = set_bad_free_hook(Some(|_| {
            REFUSED.fetch_add(1, Ordering::SeqCst);
        }));
        for bytes in SIZES {
            let s = segment(bytes);
            warm_up(&s);
            let refused = |f: &dyn Fn()| {
                let before = REFUSED.load(Ordering::SeqCst);
                f();
                REFUSED.load(Ordering::SeqCst) - before
            };
            let (a, b) = (take(s.access(), 64), take(s.access(), 64));
            give(s.access(), a, 64);
            assert_eq!(refused(&|| give(s.access(), a, 64)), 1, "at once");
            give(s.access(), b, 64);
            assert_eq!(refused(&|| give(s.access(), a, 64)), 1, "after another");
            assert_eq!(refused(&|| give(s.access(), b, 64)), 1);
            let c = take(s.access(), 64);
            assert_eq!(refused(&|| give(s.access(), c, 500)), 1, "of another class");
            assert_eq!(refused(&|| give(s.access(), c.map_addr(|at| at.saturating_add(8)), 64)), 1, "inside");
            let outside = NonNull::from(&s).cast();
            assert_eq!(refused(&|| give(s.access(), outside, 64)), 1, "no place in the segment");
            give(s.access(), c, 64);
            // Given back to all, then freed again.
            let blocks: Vec<_> = (0..100).map(|_| take(s.access(), 64)).collect();
            blocks.iter().for_each(|block| give(s.access(), *block, 64));
            assert_eq!(refused(&|| blocks[..20].iter().for_each(|block| give(s.access(), *block, 64))), 20);
            sound(&s);
        }
        set_bad_free_hook(before);
    });
}

#[test]
fn damaged_caches_are_emptied_before_they_are_used() {
    alone_in(module_path!(), "damaged_caches_are_emptied_before_they_are_used", || {
        let before = set_bad_free_hook(Some(|_| {}));
        for bytes in SIZES {
            for kind in 0..4 {
                let s = segment(bytes);
                let kept = take(s.access(), 64);
                // SAFETY: just taken.
                unsafe { kept.write_bytes(7, 64) };
                std::thread::scope(|scope| drop(scope.spawn(|| warm_up(&s)).join()));
                let mut x = 1u64;
                s.inner.heap.damage_magazines(|i| {
                    x = x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    match (kind, i) {
                        (0, _) => u64::MAX,
                        (1, 1) => 2,
                        (1, _) => 0x1_0000,
                        (2, 1) => x >> 60,
                        (2, _) => x >> 36 & !7,
                        (_, 1) => 1 << 63 | 3,
                        _ => x,
                    }
                });
                std::thread::scope(|scope| drop(scope.spawn(|| warm_up(&s)).join()));
                warm_up(&s);
                let blocks: Vec<_> = (0..100).map(|_| take(s.access(), 64)).collect();
                assert!(!blocks.contains(&kept), "it is live");
                // SAFETY: taken above and not freed.
                assert_eq!(unsafe { kept.cast::<[u8; 64]>().read() }, [7; 64]);
                assert_eq!(s.check(), []);
            }
        }
        set_bad_free_hook(before);
    });
}

#[test]
fn more_threads_than_slots_allocate() {
    let s = segment(SIZES[0]);
    let (ready, go) = (std::sync::Barrier::new(301), std::sync::Barrier::new(301));
    let one = || {
        let block = take(s.access(), 64);
        drop(s.find::<ShmMutex<u64>>("lock").unwrap().unwrap().lock());
        for _ in 0..20 {
            give(s.access(), take(s.access(), 64), 64);
        }
        ready.wait();
        go.wait();
        give(s.access(), block, 64);
    };
    let all = || {
        ready.wait();
        go.wait();
    };
    let work = (0..300).map(|_| Box::new(one) as Box<dyn FnOnce() + Send>);
    at_once(work.chain([Box::new(all) as Box<_>]));
    sound(&s);
}
