//! Memory as bytes. Whether a block is the program's is one bit, its mark; a death around it costs one block.

use super::super::{Check, Death, Effect, Operation, Scene, region};
use super::{PLAIN, found};
use shmem_core::{BlockHandle, HeapStats, Segment};
use std::alloc::Layout;

/// All of them.
pub const ALL: &[Operation] = &[
    Operation { name: "allocate", child: |scene| allocate(scene, SMALL), ..NEW_BLOCK },
    Operation { name: "allocate-span", child: |scene| allocate(scene, SPAN), ..NEW_BLOCK },
    Operation { name: "deallocate", child: |scene| deallocate(scene, SMALL), ..OLD_BLOCKS },
    Operation { name: "deallocate-span", child: |scene| deallocate(scene, SPAN), ..OLD_BLOCKS },
];

const NEW_BLOCK: Operation = Operation { arrange: arrange_allocate, ..PLAIN };
const OLD_BLOCKS: Operation = Operation { build: Some(two_blocks), arrange: arrange_deallocate, ..PLAIN };

const SMALL: Layout = Layout::new::<[u64; 8]>();
const SPAN: Layout = Layout::new::<[u64; 16 << 10]>();

/// A block of each layout, and where they are.
fn two_blocks(segment: &Segment) {
    for layout in [SMALL, SPAN] {
        let block = segment.allocate(layout).expect("there is room");
        let handle = segment.handle_of(block.cast::<u8>().as_ptr()).expect("it stands there");
        drop(segment.construct::<BlockHandle>(&name(layout), handle).expect("the name is free"));
    }
}

fn name(layout: Layout) -> String {
    format!("{} bytes", layout.size())
}

fn allocate(scene: &Scene, layout: Layout) {
    let segment = scene.open();
    region(|| segment.allocate(layout))
}

fn deallocate(scene: &Scene, layout: Layout) {
    let segment = scene.open();
    let handle = *found::<BlockHandle>(&segment, &name(layout));
    let block = segment.address_of(handle).expect("it stands there");
    // SAFETY: live, as it was allocated; nobody uses it.
    region(|| unsafe { segment.deallocate(block, layout) })
}

fn arrange_allocate(scene: &Scene) -> Check {
    arrange(scene, 1)
}

fn arrange_deallocate(scene: &Scene) -> Check {
    arrange(scene, -1)
}

/// One raw block more or less, and at most one block that is nobody's.
fn arrange(scene: &Scene, change: i64) -> Check {
    let segment = scene.segment().clone();
    let before = segment.memory();
    Box::new(move |death: &Death| {
        let after = segment.memory();
        let effect = match after.raw_blocks as i64 - before.raw_blocks as i64 {
            0 => Effect::Nothing,
            found if found == change => Effect::Whole,
            found => panic!("{found} raw blocks more"),
        };
        let nobodys = |stats: &HeapStats| stats.used_bytes - stats.raw_bytes;
        let lost = nobodys(&after) - nobodys(&before);
        assert!(
            lost <= (SPAN.size() as u64).next_multiple_of(after.page_bytes),
            "{lost} bytes are lost\n{after}"
        );
        assert!(lost == 0 || !death.finished && death.after > 0);
        assert_eq!(after.bad_frees, 0);
        for layout in [SMALL, SPAN] {
            let block = segment.allocate(layout).expect("there is room").cast();
            // SAFETY: as it was allocated just now.
            unsafe { segment.deallocate(block, layout) };
        }
        assert_eq!((segment.memory().raw_blocks, segment.memory().bad_frees), (after.raw_blocks, 0));
        effect
    })
}
