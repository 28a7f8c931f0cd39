//! Each field of a view and an initialiser has its own visibility.
mod outer {
    pub mod inner {
        #[derive(shmem_core::ShmSafe)]
        #[repr(C)]
        pub struct Stored {
            pub all: u8,
            pub(crate) krate: u8,
            pub(super) parent: u8,
            pub(in crate::outer) path: u8,
            own: u8,
        }

        pub fn make() -> StoredInit<u8, u8, u8, u8, u8> {
            StoredInit { all: 1, krate: 2, parent: 3, path: 4, own: 5 }
        }
    }

    pub fn sum() -> u8 {
        let init = inner::make();
        init.all + init.krate + init.parent + init.path
    }

    pub fn look(view: &inner::StoredMut<'_>) -> u8 {
        *view.parent + *view.path
    }
}

fn main() {
    let init = outer::inner::make();
    assert_eq!(init.all + init.krate, 3);
    assert_eq!(outer::sum(), 10);
    let _ = outer::look;
    let _ = |view: &outer::inner::StoredMut<'_>| *view.all + *view.krate;
}
