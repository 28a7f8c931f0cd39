//! Groups written by macros: their tokens come in invisible groups.
use shmem_core::{Root, Segment, ShmRoots, ShmVec};

macro_rules! group {
    ($(#[$attr:meta])* $vis:vis $name:ident in $prefix:literal {
        $($field:ident: $ty:ty $(, named $root:literal)? $(, from $init:expr)? $(, of $len:expr)?;)*
    }) => {
        $(#[$attr])*
        #[derive(ShmRoots)]
        #[shm(prefix = $prefix)]
        $vis struct $name {
            $($(#[shm(name = $root)])? $(#[shm(init = $init)])? $(#[shm(len = $len)])? $field: $ty,)*
            // Names of the macro's own.
            #[shm(init = { let hidden = 5; hidden })]
            hidden: Root<u8>,
        }
    };
}

group! {
    /// Documented.
    pub Roots in "m/" {
        one: Root<u64>, named "first", from 1 + 2;
        list: Root<ShmVec<u64>>, from [1, 2, 3];
        slice: Root<[u32]>, from |i| i as u32, of 1 + 1;
        maybe: Option<Root<u64>>;
    }
}

macro_rules! root {
    ($ty:ty) => { Root<$ty> };
}

#[derive(ShmRoots)]
struct WithMacro {
    number: root!(u64),
    #[shm(len = 2)]
    list: root!([u64]),
}

macro_rules! on_the_fly {
    ($segment:expr, $($name:ident: $ty:ty),*) => {{
        #[derive(ShmRoots)]
        struct Roots {
            $($name: Root<$ty>),*
        }
        Roots::open_or_create($segment)
    }};
}

fn main() -> shmem_core::Result<()> {
    let segment = Segment::anonymous().size(1 << 20).create()?;
    let roots = Roots::create(&segment)?;
    assert_eq!((*roots.one, &roots.list[..], &roots.slice[..]), (3, &[1, 2, 3][..], &[0, 1][..]));
    assert!(roots.maybe.is_none() && *roots.hidden == 5);
    assert_eq!(Roots::NAMES, ["m/first", "m/list", "m/slice", "m/maybe", "m/hidden"]);
    let others = WithMacro::create(&segment)?;
    assert_eq!((*others.number, others.list.len()), (0, 2));
    let found = on_the_fly!(&segment, number: u64, more: [u8; 3])?;
    assert_eq!((found.number.offset(), *found.more), (others.number.offset(), [0; 3]));
    Ok(())
}
