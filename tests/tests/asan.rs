//! Under AddressSanitizer with `cfg(shmem_poison)`, an overrun of a heap block and a use after its free are caught where
//! they happen. Without that cfg there is nothing to test:
//! `RUSTFLAGS="-Zsanitizer=address --cfg shmem_poison" cargo +nightly test -p shmem-tests --test asan --target …`
//!
//! This file needs `unsafe`: the roles do what no safe code can.
#![cfg(shmem_poison)]

use shmem_core::{Segment, ShmVec};
use shmem_tests::*;
use std::hint::black_box;

roles! { read_behind, write_behind, use_after_free, in_bounds }

const LEN: usize = 100;

fn with_block(f: impl FnOnce(&Segment, *mut u8)) {
    let segment = Segment::anonymous().size(1 << 20).create().unwrap();
    let list = segment.construct::<ShmVec<u8>>("list", vec![1; LEN]).unwrap();
    let first = list.as_slice().as_ptr().cast_mut();
    drop(list);
    f(&segment, first);
}

fn read_behind() {
    with_block(|_, first| {
        // SAFETY: none: this is the mistake.
        black_box(unsafe { first.add(LEN).read_volatile() });
    });
}

fn write_behind() {
    // SAFETY: none: this is the mistake.
    with_block(|_, first| unsafe { black_box(first).add(LEN + 8).write_volatile(1) });
}

fn use_after_free() {
    with_block(|segment, first| {
        assert!(segment.destroy::<ShmVec<u8>>("list").unwrap());
        // SAFETY: none: this is the mistake.
        black_box(unsafe { first.read_volatile() });
    });
}

fn in_bounds() {
    with_block(|segment, first| {
        // SAFETY: the last byte of the block.
        black_box(unsafe { first.add(LEN - 1).read_volatile() });
        assert!(segment.destroy::<ShmVec<u8>>("list").unwrap());
        sound(segment);
    });
}

fn caught(role: &str) {
    let (status, text) = Worker::run_to_failure(role);
    assert!(!status.success(), "{role} was not caught");
    assert!(text.contains("AddressSanitizer: use-after-poison"), "{role}: {text}");
}

#[test]
fn an_overrun_is_caught() {
    caught("read_behind");
    caught("write_behind");
}

#[test]
fn a_use_after_free_is_caught() {
    caught("use_after_free");
}

#[test]
fn what_is_allowed_is_not_reported() {
    let (status, text) = Worker::run_to_failure("in_bounds");
    assert!(status.success(), "{text}");
}
