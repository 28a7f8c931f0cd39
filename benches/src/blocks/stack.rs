//! A list of nodes that grows and shrinks at one end.
//!
//! This file needs `unsafe`: it reads and writes nodes.

use super::{Blocks, allocate};
use crate::Result;
use crate::measure::{Sample, Setup, check, try_timed};
use std::alloc::Layout;

/// A node of 32 bytes.
#[repr(C)]
struct Node {
    /// The name of the one below; 0 for none.
    below: u64,
    value: [u64; 3],
}

/// How many nodes the list has before it shrinks again.
const DEPTH: u64 = 1000;

/// Pushes [`DEPTH`] nodes and pops them, again and again; an operation is a push with its pop.
pub fn stack(heap: &impl Blocks, setup: &Setup) -> Result<Sample> {
    let times = setup.scaled(1000);
    let mut sum = 0u64;
    let sample = try_timed(times * DEPTH, || -> Result<()> {
        for time in 0..times {
            let mut top = 0;
            for i in 0..DEPTH {
                let node = allocate(heap, Layout::new::<Node>())?;
                // SAFETY: the block is this function's and as long and aligned as a node.
                unsafe { node.cast::<Node>().write(Node { below: top, value: [time + i; 3] }) };
                top = heap.name(node);
            }
            for _ in 0..DEPTH {
                let node = heap.named(top).ok_or("a node is missing")?;
                // SAFETY: the node was pushed above; it is popped and freed once.
                unsafe {
                    let Node { below, value } = node.cast::<Node>().read();
                    heap.free(node, Layout::new::<Node>());
                    sum += value[0] + value[1] + value[2];
                    top = below;
                }
            }
            check(top == 0, "a node is left")?;
        }
        Ok(())
    })?;
    // Each of `time` and `i` is counted in each of three words.
    let expected = 3 * (DEPTH * times * (times - 1) / 2 + times * DEPTH * (DEPTH - 1) / 2);
    check(sum == expected, "a node was not as written")?;
    Ok(sample)
}

#[cfg(test)]
mod tests {
    use super::super::tests::Checked;
    use super::*;

    #[test]
    fn everything_pushed_is_popped() {
        let heap = Checked::default();
        let sample = stack(&heap, &Setup { quick: true, directory: "".into() }).unwrap();
        assert_eq!(sample.ops, 10 * DEPTH);
        assert_eq!(heap.live(), 0);
    }
}
