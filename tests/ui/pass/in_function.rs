//! Types declared inside functions, with names of their own.
use shmem_core::ShmSafe;

fn main() {
    fn stored<T: ShmSafe>() -> usize {
        T::type_info().size
    }

    #[derive(ShmSafe)]
    #[repr(C)]
    struct Local {
        id: u16,
        more: [u8; 3],
    }

    impl LocalMut<'_> {
        fn next(&mut self) {
            *self.id += 1;
        }
    }
    let _ = LocalMut::next;
    assert_eq!(stored::<Local>(), 6);
    {
        #[derive(ShmSafe)]
        #[repr(C)]
        struct Local(u64);
        assert_eq!(stored::<Local>(), 8);
    }
    let in_closure = || {
        #[derive(ShmSafe)]
        #[repr(C)]
        struct Other(u32, u64);
        stored::<Other>()
    };
    assert_eq!(in_closure(), 16);
    let _ = Local { id: 1, more: [0; 3] };
}
