//! Enums and twins written by macros: their tokens come in invisible groups.
use shmem_core::{Kind, ShmSafe, ShmString};

macro_rules! stored {
    ($(#[$meta:meta])* $vis:vis enum $name:ident<$param:ident> repr $repr:ident {
        $($variant:ident $(($($ty:ty),*))? $(= $value:expr)?,)*
    }) => {
        #[derive(ShmSafe)]
        $(#[$meta])*
        #[repr($repr)]
        $vis enum $name<$param> {
            $($variant $(($($ty),*))? $(= $value)?,)*
            Generic($param),
        }

        impl<$param: ShmSafe> $name<$param> {
            fn is_generic(&self) -> bool {
                matches!(self, $name::Generic(_))
            }
        }
    };
}

const BASE: i16 = 100;

stored! {
    /// Documented.
    #[shm(version = 2, hash)]
    pub(crate) enum Job<T> repr i16 {
        Idle = BASE,
        Failed(ShmString, [u8; 2]) = BASE - 101,
        Next,
    }
}

macro_rules! twin {
    ($(#[$meta:meta])* $vis:vis $name:ident => $twin:ident { $($(#[$field_meta:meta])* $field:ident: $ty:ty,)* }) => {
        #[derive(ShmSafe, Clone, PartialEq, Debug)]
        $(#[$meta])*
        #[shm(mirror = $twin)]
        $vis struct $name {
            $($(#[$field_meta])* $field: $ty,)*
        }
    };
}

twin! {
    /// Documented.
    #[shm(version = 4)]
    pub Order => ShmOrder {
        id: u64,
        #[shm(rename = "text")]
        name: String,
        fills: Vec<(u64, Option<Box<Order>>)>,
        #[shm(skip)]
        cache: Vec<fn()>,
    }
}

macro_rules! twin_enum {
    ($name:ident => $twin:ident: $($variant:ident($ty:ty)),*) => {
        #[derive(ShmSafe)]
        #[shm(mirror = $twin)]
        enum $name {
            $($variant($ty)),*
        }
    };
}
twin_enum!(Event => ShmEvent: Text(String), Orders(Vec<Order>));

fn main() {
    let info = Job::<u8>::type_info();
    assert_eq!(info.version, 2);
    let Kind::Enum { variants, tag_size: 2 } = &info.kind else { unreachable!() };
    assert!(variants.iter().map(|v| v.tag).eq([100, -1, 0, 1]));
    assert!(Job::Generic(1).is_generic());
    assert_eq!(ShmOrder::type_info().version, 4);
    let _ = (Job::<u8>::init_idle(), Job::<u8>::init_next(), JobFailedInit("why", [1, 2]));
    let _ = (Event::Text(String::new()), Event::Orders(vec![]));
}
