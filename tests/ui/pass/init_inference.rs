//! Literals in initialisers get the fields' types.
use shmem_core::{Init, ShmSafe, init};

#[derive(ShmSafe)]
#[repr(C)]
struct Inner {
    small: u8,
    ratio: f32,
}

#[derive(ShmSafe)]
#[repr(C)]
struct Outer<T> {
    inner: Inner,
    wide: i128,
    list: [u16; 2],
    table: [Inner; 2],
    lazy: [T; 4],
    closed: u64,
}

fn build<T: ShmSafe>(_: impl Init<T>) {}

fn main() {
    build::<Outer<u32>>(OuterInit {
        inner: InnerInit { small: 1, ratio: 2.0 },
        wide: -3,
        list: [4, 5],
        table: init::array([InnerInit { small: 6, ratio: 7.0 }, InnerInit { small: 8, ratio: 9.0 }]),
        lazy: init::array_from_fn(|i| i as u32),
        closed: init::with(|slot| slot.fill(10)),
    });
    let nested = OuterInit {
        inner: Inner { small: 1, ratio: 1.0 },
        wide: 1,
        list: init::from_fn(|| "1 2".parse::<u16>().map(|n| [n; 2])),
        table: init::array_from_fn(|_| Inner { small: 1, ratio: 1.0 }),
        lazy: [(); 4],
        closed: 1,
    };
    build::<Outer<()>>(nested);
}
