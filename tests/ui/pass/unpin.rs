//! A struct of movable fields is movable: it initialises itself and keeps the habits of std.
use shmem_core::{Init, ShmSafe};

#[derive(ShmSafe, Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[shm(hash)]
#[repr(C)]
struct Point {
    x: i32,
    y: i32,
}

#[derive(ShmSafe, Clone, Copy, Debug)]
#[repr(C)]
struct Line<T> {
    ends: [T; 2],
}

fn movable<T: ShmSafe + Unpin>() {}
fn builds<T: ShmSafe>(_: impl Init<T>) {}

fn main() {
    movable::<Point>();
    movable::<Line<Point>>();
    builds::<Point>(Point::default());
    builds::<Point>(PointInit { x: 1, y: 2 });
    builds::<Line<Point>>(LineInit { ends: [Point { x: 1, y: 2 }; 2] });
    let (mut a, mut b) = (Point { x: 1, y: 1 }, Point::default());
    std::mem::swap(&mut a, &mut b);
    assert!(a < b);
}
