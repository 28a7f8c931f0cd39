//! What is not `Send` cannot be stored: any process may drop it (soundness A9).
use shmem_core::access::Access;
use shmem_core::{ShmSafe, TypeInfo, Visitor};
use std::ptr::NonNull;
use std::rc::Rc;

struct Local(Rc<u64>);

unsafe impl ShmSafe for Local {
    const PLAIN: bool = true;
    const ANY_BITS: bool = false;
    type Parts = ();
    type Mut<'a> = ();
    unsafe fn view<'a>(_: NonNull<Self>, _: Access<'a>) {}
    unsafe fn relocate(_: *mut Self, _: *mut Self) {}
    fn type_info() -> &'static TypeInfo {
        unimplemented!()
    }
    unsafe fn visit(_: *const Self, _: &mut Visitor<'_>) {}
}

fn main() {}
