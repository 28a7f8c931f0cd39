//! An alignment that the tokens do not show (soundness A12).
use shmem_core::ShmSafe;

#[repr(C, align(65536))]
pub struct Wide(u8);

unsafe impl ShmSafe for Wide {
    const PLAIN: bool = true;
    const ANY_BITS: bool = true;
    type Parts = ();
    type Mut<'a> = &'a mut Self;
    unsafe fn view<'a>(mut at: std::ptr::NonNull<Self>, _: shmem_core::access::Access<'a>) -> &'a mut Self {
        unsafe { at.as_mut() }
    }
    unsafe fn relocate(from: *mut Self, to: *mut Self) {
        unsafe { from.copy_to_nonoverlapping(to, 1) }
    }
    fn type_info() -> &'static shmem_core::TypeInfo {
        unimplemented!()
    }
    unsafe fn visit(_: *const Self, _: &mut shmem_core::Visitor<'_>) {}
}

#[derive(ShmSafe)]
#[repr(C)]
struct Stored {
    wide: Wide,
}

fn main() {}
