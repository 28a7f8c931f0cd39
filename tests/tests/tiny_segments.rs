//! Tiny segments, opened and closed by the thousand in one process: nothing of them stays, neither the kernel's nor of the
//! process's own memory. `SHMEM_LONG=1`: 200,000.
//!
//! This file needs `unsafe`: it counts what is allocated. What the library keeps of an open segment (a place in its table of
//! mappings, too) is allocated, so what is not forgotten is counted.

use shmem_core::{Segment, ShmMutex};
use shmem_tests::*;
use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// The system's allocator, with a count of what is live.
struct Counting;

static LIVE: AtomicU64 = AtomicU64::new(0);

// SAFETY: the system's allocator does all of it. (Reallocation is the trait's own: by these two.)
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LIVE.fetch_add(1, Relaxed);
        // SAFETY: by the caller.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        LIVE.fetch_sub(1, Relaxed);
        // SAFETY: by the caller.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Memory that the C library may keep.
const KEPT_BYTES: u64 = 4 << 20;
/// Allocations of the test's own between two looks: texts that it reads, a line that libtest prints.
const FEW: u64 = 8;

/// Opens one, uses it, and closes it: by turns without a name, with one that is removed, and twice at once.
fn one(i: u64, name: &TempName) {
    let (is_named, is_open_twice) = (matches!(i % 3, 1 | 2), i % 3 == 2);
    let builder = if is_named { name.segment() } else { Segment::anonymous() };
    let segment = builder.size(64 << 10).create().unwrap();
    let number = segment.construct::<ShmMutex<u64>>("number", ShmMutex::new(i)).unwrap();
    if is_open_twice {
        let other = name.segment().open().unwrap();
        *other.find::<ShmMutex<u64>>("number").unwrap().unwrap().lock().unwrap() += 1;
    }
    assert_eq!(*number.lock().unwrap(), i + u64::from(is_open_twice));
    if is_named {
        assert!(Segment::remove(name).unwrap());
    }
}

#[test]
fn tiny_segments_leave_nothing() {
    let _watchdog = Watchdog::test("tiny segments");
    let name = TempName::new("tiny");
    let n = if long() { 200_000 } else { 2_000 };
    (0..300).for_each(|i| one(i, &name));
    let (before, live) = (Resources::now(), LIVE.load(Relaxed));
    let begun = std::time::Instant::now();
    (0..n).for_each(|i| one(i, &name));
    println!("{n} segments in {:.1} s", begun.elapsed().as_secs_f64());
    let (after, live_after) = (Resources::now(), LIVE.load(Relaxed));
    println!("before {before:?}, {live} allocations; after {after:?}, {live_after} allocations");
    assert_eq!((after.descriptors, after.mappings), (before.descriptors, before.mappings));
    assert!(live_after <= live + FEW, "{live} allocations were live, and now {live_after}");
    assert!(after.resident_bytes <= before.resident_bytes + KEPT_BYTES, "{before:?} {after:?}");
    assert_eq!(leftovers(&name), [""; 0]);
}
