//! What is wrong with a table, found without knowing the types of its keys and values: only where they stand.
//!
//! This file needs `unsafe`: it follows stored pointers.

use super::group::{DELETED, EMPTY, WIDTH, is_full};
use super::raw::{CTRL_AT, Header, limit_of};
use crate::layout::Visitor;
use crate::ptr::OffsetPtr;
use std::alloc::Layout;

/// Where the buckets of a table with this mask begin, and its layout, if there can be one. (As `raw::Table` has it.)
fn layout_of(mask: usize, bucket: Layout) -> Option<(usize, Layout)> {
    let buckets = mask.checked_add(1)?;
    let ctrl = buckets.checked_add(CTRL_AT + WIDTH)?;
    let first = ctrl.checked_next_multiple_of(bucket.align())?;
    let size = buckets.checked_mul(bucket.size())?.checked_add(first)?;
    Some((first, Layout::from_size_align(size, bucket.align().max(16)).ok()?))
}

/// Checks the table that the map at `map` leads to, whose buckets have the layout `bucket`, and calls `each` with every run
/// of live buckets: the first one's place, and how many.
///
/// # Safety
/// 1. A map's bytes are readable at `map`, which is aligned; they, and what they lead to, may be damaged.
pub(crate) unsafe fn visit_table(
    map: *const u8,
    bucket: Layout,
    visitor: &mut Visitor<'_>,
    each: &mut dyn FnMut(&mut Visitor<'_>, *const u8, usize),
) {
    let pointer = map.cast::<OffsetPtr<Header>>();
    // SAFETY: 1: a map is this pointer.
    let target = unsafe { OffsetPtr::load(pointer) };
    if target.is_null() {
        return;
    }
    // SAFETY: 1.
    let Some(block) = (unsafe { visitor.own_bytes(pointer, size_of::<Header>()) }) else { return };
    let bytes = visitor.access().block_at(block.cast()).map_or(0, |block| block.size_bytes);
    // SAFETY: `own_bytes` has found a live block of at least this size there, aligned.
    let header = unsafe { block.read() };
    let wrong = |visitor: &mut Visitor<'_>, what| visitor.invalid(block.cast(), what);

    let mask = header.mask as usize;
    let buckets = mask.wrapping_add(1);
    if !buckets.is_power_of_two() || buckets < 4 {
        return wrong(visitor, "a hash table whose number of buckets is no power of two");
    }
    let Some((first, layout)) = layout_of(mask, bucket).filter(|(_, layout)| layout.size() as u64 <= bytes)
    else {
        return wrong(visitor, "a hash table larger than its block");
    };
    if !block.addr().is_multiple_of(layout.align()) {
        return wrong(visitor, "a hash table that is not aligned for its entries");
    }
    if header.limit != limit_of(mask) as u64 {
        wrong(visitor, "a hash table with a wrong limit");
    }
    if header.seed != visitor.access().hash_seed() {
        wrong(visitor, "a hash table whose seed is not its segment's");
    }

    // An operation that was cut short leaves a sum one below the limit (or no room at all, while that is put right),
    // each counter at most one off, and at most one mirrored byte that lags behind.
    let sum = [header.items, header.growth_left, header.tombstones].into_iter().map(u128::from).sum::<u128>();
    let settled = sum == header.limit as u128;
    let slack = !settled as u64;
    if sum > header.limit as u128 || !settled && sum + 1 != header.limit as u128 && header.growth_left != 0 {
        wrong(visitor, "a hash table whose counters do not add up");
    }
    let ctrl_at = |i: usize| block.cast::<u8>().wrapping_add(CTRL_AT + i);
    // SAFETY: below `buckets + WIDTH`, inside the block, which is large enough.
    let ctrl = |i: usize| unsafe { ctrl_at(i).read() };
    let place = |i: usize| block.cast::<u8>().wrapping_add(first + i * bucket.size());
    let mut visit = |visitor: &mut Visitor<'_>, from: usize, count: usize| {
        if count > 0 {
            each(visitor, place(from), count);
        }
    };
    let (mut live, mut deleted, mut run) = (0u64, 0u64, 0);
    for i in 0..buckets {
        match ctrl(i) {
            byte if is_full(byte) => {
                live += 1;
                run += 1;
            }
            byte => {
                deleted += (byte == DELETED) as u64;
                if byte != DELETED && byte != EMPTY {
                    visitor.invalid(ctrl_at(i), "a control byte of no meaning");
                }
                visit(visitor, i - run, run);
                run = 0;
            }
        }
    }
    visit(visitor, buckets - run, run);
    let mut lagging = 0;
    for i in buckets..buckets + WIDTH {
        // A table smaller than a group has empty bytes between its own and the mirror.
        let expected = if i < WIDTH { EMPTY } else { ctrl(i & mask) };
        if ctrl(i) != expected {
            lagging += 1;
            if i < WIDTH || lagging > slack {
                visitor.invalid(ctrl_at(i), "a hash table whose mirrored control bytes differ");
            }
        }
    }
    if live.abs_diff(header.items) > slack || deleted.abs_diff(header.tombstones) > slack {
        wrong(visitor, "a hash table whose counters are wrong");
    }
    if live + deleted > header.limit {
        wrong(visitor, "a hash table with too few empty buckets");
    }
}

#[cfg(test)]
mod tests {
    use super::super::raw::{Bucket, Table};
    use super::*;

    #[test]
    fn tables_are_laid_out_as_by_their_own_code() {
        fn same<K, V>() {
            for mask in [3, 7, 15, 31, 1023] {
                let (first, layout) = layout_of(mask, Layout::new::<Bucket<K, V>>()).unwrap();
                assert_eq!(first, Table::<K, V>::buckets_at(mask));
                assert_eq!(layout, Table::<K, V>::layout(mask).unwrap());
            }
        }
        #[repr(align(128))]
        struct Wide;
        same::<u64, u64>();
        same::<u8, ()>();
        same::<u8, u128>();
        same::<[u8; 3], Wide>();
        assert!(layout_of(usize::MAX, Layout::new::<u64>()).is_none());
        assert!(layout_of(usize::MAX / 16, Layout::new::<u128>()).is_none());
    }
}
