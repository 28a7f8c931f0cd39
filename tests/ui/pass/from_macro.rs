//! Structs written by macros: their tokens come in invisible groups.
use shmem_core::{Kind, ShmSafe};

macro_rules! stored {
    ($(#[$attr:meta])* $vis:vis $name:ident<$param:ident, $n:literal> {
        $($field_vis:vis $field:ident: $ty:ty,)*
    } version $version:literal repr $repr:ident) => {
        $(#[$attr])*
        #[derive(ShmSafe)]
        #[shm(version = $version)]
        #[repr($repr)]
        $vis struct $name<$param> {
            $($field_vis $field: $ty,)*
            last: [$param; $n],
            // A name of the macro's own.
            hidden: u8,
        }

        impl<$param: ShmSafe> $name<$param> {
            fn hidden_of(view: &mut Mutable<'_, $param>) {
                *view.hidden += 1;
            }
        }
    };
}
use StoredMut as Mutable;

stored! {
    /// Documented.
    pub Stored<T, 2> {
        pub id: u64,
        pub(crate) list: [u32; 4],
        nested: std::marker::PhantomData<T>,
        inside: (),
    } version 7 repr C
}

macro_rules! tuple {
    ($name:ident($($ty:ty),*)) => {
        #[derive(ShmSafe)]
        #[repr(C)]
        struct $name($($ty),*);
    };
}
tuple!(Tuple(u8, [Stored<u16>; 2]));

macro_rules! number {
    () => { u64 };
}

#[derive(ShmSafe)]
#[repr(C)]
struct WithMacro {
    number: number!(),
    list: [number!(); 2],
}

fn main() {
    assert_eq!(Stored::<u8>::type_info().version, 7);
    let _ = Stored::<u8>::hidden_of;
    let Kind::Struct { fields } = &Tuple::type_info().kind else { unreachable!() };
    assert_eq!(fields.len(), 2);
    assert_eq!(WithMacro::type_info().size, 24);
}
