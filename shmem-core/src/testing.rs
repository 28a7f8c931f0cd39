//! What unit tests of the layers above `mapping` need: a segment mapped twice, a heap that can be told to fail, and
//! an undo log that records and takes back.
//!
//! This file needs `unsafe`: it maps memory and hands out blocks.

use crate::access::{Access, Allocate, BlockInfo, Context, SegmentId, Undo, UndoLog, with_undo_log};
use crate::error::{AllocError, Result};
use crate::layout::init::Init;
use crate::layout::{ShmSafe, Visitor};
use crate::mapping::registry::{self, Registration};
use rustix::mm::{MapFlags, ProtFlags};
use std::alloc::Layout;
use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::ptr::{self, NonNull};
use std::sync::{Arc, Mutex};

const SIZE: usize = 64 << 20;

/// A first-fit heap whose tables are private to the test: live blocks by offset.
#[derive(Debug, Default)]
struct Tables {
    live: BTreeMap<u64, (u64, Layout)>,
    fail_in: Option<u64>,
    allocations: u64,
}

#[derive(Clone)]
struct TestHeap {
    base: usize,
    tables: Arc<Mutex<Tables>>,
}

// SAFETY: 1: blocks are taken from gaps between live ones. 2: of an exposed mapping.
unsafe impl Allocate for TestHeap {
    fn allocate(&self, layout: Layout) -> Result<NonNull<[u8]>, AllocError> {
        let out_of_memory =
            AllocError::OutOfMemory { wanted_bytes: layout.size() as u64, largest_free_bytes: 0 };
        let mut tables = self.tables.lock().unwrap();
        tables.allocations += 1;
        if let Some(left) = &mut tables.fail_in {
            *left = left.checked_sub(1).ok_or(out_of_memory)?;
        }
        let usable = layout.size().next_multiple_of(16) as u64;
        // A gap before each block shows a write beyond an end to `check`.
        let (mut at, align) = (4096u64, layout.align().max(16) as u64);
        for (start, (len, _)) in &tables.live {
            if at + usable + 16 <= *start {
                break;
            }
            at = (start + len + 16).next_multiple_of(align);
        }
        if at + usable + 16 > SIZE as u64 {
            return Err(out_of_memory);
        }
        tables.live.insert(at, (usable, layout));
        let block: *mut u8 = ptr::with_exposed_provenance_mut(self.base + at as usize);
        // SAFETY: inside the mapping, part of no live block.
        unsafe { block.write_bytes(0xA5, usable as usize) };
        Ok(NonNull::slice_from_raw_parts(NonNull::new(block).unwrap(), usable as usize))
    }

    unsafe fn deallocate(&self, block: NonNull<u8>, layout: Layout) {
        let offset = (block.addr().get() - self.base) as u64;
        let (usable, asked) =
            self.tables.lock().unwrap().live.remove(&offset).expect("a live block is freed");
        assert!(layout.align() == asked.align(), "freed with another alignment");
        assert!((asked.size()..=usable as usize).contains(&layout.size()), "freed with another size");
        // SAFETY: the block was live and is nobody's now.
        unsafe { block.as_ptr().write_bytes(0x5A, usable as usize) };
    }

    unsafe fn grow_in_place(&self, _: NonNull<u8>, _: Layout, _: usize) -> Option<usize> {
        None
    }

    unsafe fn shrink_in_place(
        &self,
        block: NonNull<u8>,
        layout: Layout,
        new_size: usize,
        publish: &mut dyn FnMut(usize),
    ) -> Option<usize> {
        let offset = (block.addr().get() - self.base) as u64;
        let (usable, asked) = *self.tables.lock().unwrap().live.get(&offset).expect("a live block shrinks");
        assert!(layout.align() == asked.align(), "shrunk with another alignment");
        assert!((asked.size()..=usable as usize).contains(&layout.size()), "shrunk with another size");
        let now = new_size.next_multiple_of(16);
        if new_size < 64 || now as u64 >= usable {
            return None;
        }
        publish(now);
        let asked = Layout::from_size_align(asked.size().min(new_size), asked.align()).unwrap();
        self.tables.lock().unwrap().live.insert(offset, (now as u64, asked));
        // SAFETY: the block was live, and its end is nobody's now.
        unsafe { block.as_ptr().add(now).write_bytes(0x5A, usable as usize - now) };
        Some(now)
    }

    fn block_at(&self, offset: u64) -> Option<BlockInfo> {
        let tables = self.tables.lock().unwrap();
        let (start, (size, _)) = tables.live.range(..=offset).next_back()?;
        (offset < start + size).then_some(BlockInfo { offset: *start, size_bytes: *size })
    }
}

/// One mapping of a test's segment.
pub(crate) struct View {
    pub(crate) context: Arc<Context>,
    registration: Option<Registration>,
}

impl View {
    fn map(fd: &OwnedFd, tables: &Arc<Mutex<Tables>>, id: [u8; 16]) -> Self {
        // SAFETY: a fresh shared mapping of the test's own file.
        let base = unsafe {
            rustix::mm::mmap(
                ptr::null_mut(),
                SIZE,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::SHARED,
                fd,
                0,
            )
        };
        let base = NonNull::new(base.unwrap().cast::<u8>()).unwrap();
        let heap = TestHeap { base: base.as_ptr().expose_provenance(), tables: tables.clone() };
        // SAFETY: mapped until the view is dropped, page-aligned, exposed.
        let context = unsafe {
            Context::new(base, SIZE, SegmentId(id), 0x1234_5678_9abc_def1, Arc::new(heap), Box::new(()))
        };
        let context = Arc::new(context);
        let registration = Some(registry::register(&context).expect("a fresh range"));
        View { context, registration }
    }

    /// Access to the segment through this mapping.
    pub(crate) fn access(&self) -> Access<'_> {
        Access::new(&self.context)
    }

    /// The value at `offset`, seen through this mapping.
    ///
    /// # Safety
    /// 1. A valid `T` stands there and nobody changes it meanwhile.
    pub(crate) unsafe fn at<T>(&self, offset: u64) -> &T {
        // SAFETY: 1.
        unsafe { &*self.context.base().add(offset as usize).cast() }
    }
}

impl Drop for View {
    fn drop(&mut self) {
        drop(self.registration.take());
        // SAFETY: nothing refers to the mapping any more: the test's values were dropped before.
        unsafe { rustix::mm::munmap(self.context.base().cast(), SIZE).unwrap() };
    }
}

/// A segment of 64 MiB, mapped twice at different addresses.
pub(crate) struct TestSegment {
    pub(crate) one: View,
    pub(crate) two: View,
    tables: Arc<Mutex<Tables>>,
}

impl TestSegment {
    pub(crate) fn new() -> Self {
        let fd = rustix::fs::memfd_create(c"shmem-unit-test", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
        rustix::fs::ftruncate(&fd, SIZE as u64).unwrap();
        let tables = Arc::default();
        let mut id = [0; 16];
        getrandom::fill(&mut id).unwrap();
        TestSegment { one: View::map(&fd, &tables, id), two: View::map(&fd, &tables, id), tables }
    }

    /// Access through the first mapping.
    pub(crate) fn access(&self) -> Access<'_> {
        self.one.access()
    }

    /// Builds a value; it is dropped with the returned handle.
    pub(crate) fn build<T: ShmSafe>(&self, init: impl Init<T>) -> Result<Value<'_, T>> {
        let (block, _) = self.access().allocate_array::<T>(1)?;
        // SAFETY: a fresh block of the right layout.
        if let Err(e) = unsafe { init.init(block.as_ptr(), self.access()) } {
            // SAFETY: allocated above, named nowhere.
            unsafe { self.access().deallocate_array(block, 1) };
            return Err(e);
        }
        Ok(Value { segment: self, at: block })
    }

    /// Lets the next `n` allocations succeed and every later one fail; `None` ends that.
    pub(crate) fn fail_after(&self, n: Option<u64>) {
        self.tables.lock().unwrap().fail_in = n;
    }

    /// Every live block, as (offset, usable size).
    pub(crate) fn live_blocks(&self) -> Vec<(u64, u64)> {
        self.tables.lock().unwrap().live.iter().map(|(at, (size, _))| (*at, *size)).collect()
    }
}

/// A value in a test's segment.
pub(crate) struct Value<'s, T: ShmSafe> {
    segment: &'s TestSegment,
    at: NonNull<T>,
}

impl<T: ShmSafe> Value<'_, T> {
    /// The value, through the first mapping.
    pub(crate) fn get(&self) -> &T {
        // SAFETY: valid; views borrow `self` mutably.
        unsafe { self.at.as_ref() }
    }

    /// The value, through the second mapping.
    pub(crate) fn elsewhere(&self) -> &T {
        // SAFETY: valid; views borrow `self` mutably.
        unsafe { self.segment.two.at(self.offset()) }
    }

    /// Where it stands.
    pub(crate) fn offset(&self) -> u64 {
        self.segment.one.context.offset_of(self.at.as_ptr().cast()).unwrap()
    }

    /// A view of it, through the first mapping and under the undo log in force.
    pub(crate) fn view(&mut self) -> T::Mut<'_> {
        // SAFETY: valid and, through `self`, exclusively ours.
        unsafe { T::view(self.at, self.segment.access()) }
    }

    /// Walks the value: it is clean, and (with every other value dropped) owns exactly the live blocks.
    pub(crate) fn check(&self) {
        let mut visitor = Visitor::new(self.segment.access());
        visitor.claim(self.offset());
        // SAFETY: valid; nobody changes it.
        unsafe { visitor.walk(self.at.as_ptr(), 1) };
        assert!(visitor.is_clean(), "{:?}", visitor.findings());
        assert_eq!(visitor.blocks().collect::<Vec<_>>(), self.segment.live_blocks());
    }

    /// Runs `change` with every overwrite recorded, then takes everything back: the bytes in reverse order,
    /// the blocks allocated meanwhile, the frees. The value must then be as before and `check`.
    pub(crate) fn undone<N: PartialEq + std::fmt::Debug>(
        &mut self,
        native: impl Fn(&T) -> N,
        change: impl FnOnce(&mut Self),
    ) {
        let (before, blocks) = (native(self.get()), self.segment.live_blocks());
        let record = Recorder::default();
        let log = UndoLog::new(record.clone());
        // SAFETY: the tests' changes make their views anew and keep none.
        unsafe { with_undo_log(self.segment.one.context.id(), &log, || change(self)) };
        let record = std::mem::take(&mut *record.0.lock().unwrap());
        for (at, bytes) in record.saved.iter().rev() {
            // SAFETY: saved from there; the block is still live, since frees were put off.
            unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), *at as *mut u8, bytes.len()) };
        }
        for (block, layout) in record.allocated {
            // SAFETY: allocated under the log; what named it was taken back. A block that was freed as well is
            // freed here once, not below.
            unsafe { self.segment.access().deallocate(NonNull::new(block as *mut u8).unwrap(), layout) };
        }
        assert_eq!(native(self.get()), before, "the recorded bytes put back give the old value");
        assert_eq!(native(self.elsewhere()), before);
        assert_eq!(self.segment.live_blocks(), blocks);
        self.check();
    }
}

impl<T: ShmSafe> Drop for Value<'_, T> {
    fn drop(&mut self) {
        // SAFETY: the value is valid and ours; its block was allocated for it.
        unsafe {
            self.at.drop_in_place();
            self.segment.access().deallocate_array(self.at, 1);
        }
    }
}

/// An undo log that keeps everything.
#[derive(Clone, Default)]
struct Recorder(Arc<Mutex<Record>>);

#[derive(Default)]
struct Record {
    saved: Vec<(usize, Vec<u8>)>,
    allocated: Vec<(usize, Layout)>,
}

impl Undo for Recorder {
    unsafe fn save(&self, at: NonNull<u8>, len: usize) {
        // SAFETY: readable by the caller. (Padding is copied as whatever bytes stand in the mapping.)
        let bytes = unsafe { std::slice::from_raw_parts(at.as_ptr(), len) }.to_vec();
        self.0.lock().unwrap().saved.push((at.as_ptr().expose_provenance(), bytes));
    }

    fn allocated(&self, block: NonNull<u8>, layout: Layout) {
        self.0.lock().unwrap().allocated.push((block.as_ptr().expose_provenance(), layout));
    }

    fn freed(&self, _: NonNull<u8>, _: Layout) {
        // Everything is taken back, so nothing is ever freed: old blocks stay, new ones are freed by the test.
    }
}
