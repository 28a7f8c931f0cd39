//! A heap of the models, and what threads do with its blocks.
//!
//! loom watches each block's contents: they are written when it was allocated and before it is freed. And it watches the
//! caches: stores into one that nothing orders are found, whatever their values.

use super::Heap;
use super::page::PageState;
use super::place::{PAGES, Place};
use super::raw::Raw;
use crate::mapping::registry;
use crate::participant::table::{Process, Thread};
use crate::participant::thread::become_slot;
use crate::primitive::Ordering;
use loom::cell::UnsafeCell;
use std::alloc::Layout;
use std::cell::Cell;
use std::collections::BTreeSet;
use std::ptr::NonNull;
use std::sync::{Arc, Mutex};

/// What a request asks for: a block of the one class.
const LAYOUT: Layout = Layout::new::<[u64; 126]>();

/// Contents of so many blocks of each page are watched: its first and its last ones.
const WATCHED: usize = 8;
const LAST: u32 = 64;

/// What the heap's blocks are used for.
struct Use {
    place: Arc<Place>,
    /// Blocks of somebody who is not in the model: page and number.
    others: Mutex<BTreeSet<(u64, u32)>>,
    live: Mutex<BTreeSet<u64>>,
    /// Those that somebody is freeing.
    freeing: Mutex<BTreeSet<u64>>,
    contents: [[UnsafeCell<u32>; WATCHED]; PAGES],
    heaps: Mutex<Vec<Arc<Heap>>>,
}

// SAFETY: the contents are accessed through loom, which checks that this is done by one at a time.
unsafe impl Send for Use {}
// SAFETY: likewise.
unsafe impl Sync for Use {}

/// The heap of one run of a model.
#[derive(Clone)]
pub struct Blocks(Arc<Use>);

/// A block that was allocated and not freed.
#[derive(Debug, PartialEq, Eq)]
pub struct Block(u64);

/// The heap as one process has it.
#[derive(Clone)]
pub struct Pool {
    blocks: Blocks,
    process: Process,
    heap: Arc<Heap>,
}

/// A thread that allocates and frees.
pub struct User {
    pool: Pool,
    /// One without a slot has no cache.
    thread: Option<Thread>,
    cache: Cell<Option<NonNull<u8>>>,
}

// SAFETY: a model hands it to the thread that it is; the cache outlives it.
unsafe impl Send for User {}

impl Blocks {
    /// A heap whose first page has these blocks free, of 0 to 64; the second page is free.
    pub fn with_free(free: &[u32]) -> Blocks {
        let place = Place::with_free(free);
        let others = Mutex::new(taken(&place.raw()).collect());
        Blocks(Arc::new(Use {
            place,
            others,
            live: Mutex::default(),
            freeing: Mutex::default(),
            contents: std::array::from_fn(|_| std::array::from_fn(|_| UnsafeCell::new(0))),
            heaps: Mutex::default(),
        }))
    }

    /// As [`with_free`](Self::with_free), without a second page.
    pub fn only(free: &[u32]) -> Blocks {
        let blocks = Blocks::with_free(free);
        blocks.0.place.uncommit_second();
        blocks
    }

    /// Frees blocks of the first page's first word that are nobody's in the model.
    pub fn others_free(&self, numbers: &[u32]) {
        let bits = numbers.iter().fold(0, |bits, number| bits | 1 << number);
        self.0.others.lock().unwrap().retain(|(page, number)| *page != 0 || !numbers.contains(number));
        assert_eq!(self.0.place.raw().clear(0, 0, 0, bits), bits, "they were taken");
    }

    /// The heap of a process.
    pub fn pool(&self, process: &Process) -> Pool {
        let heap = Arc::new(Heap::attach(self.0.place.clone()));
        // As `Segment` does it.
        let of_parting = Arc::downgrade(&heap);
        process.set_parting(move |slot| {
            if let Some(heap) = of_parting.upgrade() {
                heap.empty_cache(slot);
            }
        });
        let _ = heap.participants.set(Arc::downgrade(&process.participants()));
        self.0.heaps.lock().unwrap().push(heap.clone());
        Pool { blocks: self.clone(), process: process.clone(), heap }
    }

    /// Looks at everything, when nobody is at work: how many blocks are taken, and neither live nor in a magazine.
    ///
    /// # Panics
    /// If a block is free for two, or free and live, or was freed twice; or if more are lost than so many deaths may cost: for
    /// each those of one word of a page's bitmap, and one that was being freed.
    pub fn lost(&self, deaths: u32) -> usize {
        let raw = self.0.place.raw();
        assert_eq!(raw.head().bad_frees.load(Ordering::Relaxed), 0, "freed twice");
        raw.check_caches(|_, what| panic!("{what}"));
        let cached: BTreeSet<u64> = raw.cached().map(|(offset, _)| offset).collect();
        let live = self.0.live.lock().unwrap();
        assert!(cached.is_disjoint(&live), "a live block is in a magazine");
        let taken: BTreeSet<_> = taken(&raw).collect();
        let others = self.0.others.lock().unwrap();
        assert!(taken.is_superset(&others), "somebody else's block was freed");
        for offset in live.iter() {
            let (page, block) = raw.page_of(*offset).map(|(page, at)| (page, at / 1008)).unwrap();
            assert!(taken.contains(&(page, block)), "a live block was freed");
            assert!(raw.word(page).is(PageState::Small, 0), "a live block is in a page that is free");
        }
        let is_lost = |(page, block): &&(u64, u32)| {
            let offset = raw.block_place(*page, 0, *block).0;
            !cached.contains(&offset) && !live.contains(&offset)
        };
        let lost: Vec<_> = taken.difference(&others).filter(is_lost).collect();
        let freeing = self.0.freeing.lock().unwrap();
        let at_once =
            lost.iter().filter(|(page, block)| !freeing.contains(&raw.block_place(*page, 0, *block).0));
        let words: BTreeSet<_> = at_once.map(|(page, block)| (page, block / 64)).collect();
        assert!(words.len() <= deaths as usize, "blocks are nobody's");
        assert!(deaths > 0 || lost.is_empty(), "a block is nobody's");
        lost.len()
    }

    /// Whether there is no block in the cache of a slot.
    pub fn is_empty(&self, slot: u32) -> bool {
        let raw = self.0.place.raw();
        raw.cache(slot).is_none_or(|cache| raw.cached_in(cache).next().is_none())
    }

    fn contents(&self, offset: u64) -> &UnsafeCell<u32> {
        let (page, at) = self.0.place.raw().page_of(offset).expect("a block's");
        let block = at / 1008;
        let at = if block == LAST { WATCHED - 1 } else { block as usize };
        &self.0.contents[page as usize][at]
    }
}

fn taken(raw: &Raw) -> impl Iterator<Item = (u64, u32)> {
    (0..PAGES as u64).flat_map(|page| Place::taken(raw, page).into_iter().map(move |block| (page, block)))
}

impl Pool {
    /// Its process.
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// A thread that takes this slot, if it can, and the slot's cache once it allocates.
    pub fn try_user(&self, slot: usize) -> Option<User> {
        let thread = self.process.try_thread(slot)?;
        Some(User { pool: self.clone(), thread: Some(thread), cache: Cell::new(None) })
    }

    /// As [`try_user`](Self::try_user).
    ///
    /// # Panics
    /// If the slot is taken.
    pub fn user(&self, slot: usize) -> User {
        self.try_user(slot).expect("the slot is free")
    }

    /// A thread that works on the bitmaps alone.
    pub fn user_without_slot(&self) -> User {
        User { pool: self.clone(), thread: None, cache: Cell::new(None) }
    }

    /// Looks at every page, and lists those with free blocks, whoever allocates from them.
    pub fn heal(&self) {
        self.heap.heal();
    }

    /// Gives back what is in the caches of slots that are free, as who runs out of memory does.
    pub fn empty_free_caches(&self) {
        self.heap.empty_free_caches(&self.process.participants());
    }
}

impl User {
    /// Its process's heap.
    pub fn pool(&self) -> &Pool {
        &self.pool
    }

    /// The thread that it is.
    pub fn thread(&self) -> &Thread {
        self.thread.as_ref().expect("it has a slot")
    }

    /// Runs `work` as this thread.
    fn work<R>(&self, work: impl FnOnce(&Heap) -> R) -> R {
        become_slot(self.thread.as_ref().map(Thread::kept_slot));
        registry::change_blocks(self.cache.get());
        let result = work(&self.pool.heap);
        self.cache.set(registry::change_blocks(None));
        become_slot(None);
        result
    }

    /// Gets its cache, if it has a slot.
    pub fn adopt_cache(&self) {
        self.work(|heap| {
            let class = heap.raw.classes.get(0).expect("the one class");
            assert_eq!(heap.first_magazine(class).is_some(), self.thread.is_some());
        });
    }

    /// Allocates a block and writes to it, if there is one.
    pub fn allocate(&self) -> Option<Block> {
        let block = self.work(|heap| heap.allocate(LAYOUT)).ok()?;
        let offset = (block.cast::<u8>().addr().get() - self.pool.heap.raw.base()) as u64;
        let shared = &self.pool.blocks.0;
        assert!(shared.live.lock().unwrap().insert(offset), "handed out twice");
        shared.freeing.lock().unwrap().remove(&offset);
        let block = Block(offset);
        self.write(&block);
        Some(block)
    }

    /// Writes to a block.
    pub fn write(&self, block: &Block) {
        // SAFETY: the block is this thread's; loom checks it.
        self.pool.blocks.contents(block.0).with_mut(|contents| unsafe { *contents += 1 });
    }

    /// Writes to a block and frees it.
    pub fn free(&self, block: Block) {
        self.write(&block);
        let shared = &self.pool.blocks.0;
        shared.live.lock().unwrap().remove(&block.0);
        shared.freeing.lock().unwrap().insert(block.0);
        self.work(|heap| heap.deallocate(block.0, LAYOUT));
        shared.freeing.lock().unwrap().remove(&block.0);
    }

    /// Allocates so many blocks, or as many as there are.
    pub fn allocate_many(&self, count: usize) -> Vec<Block> {
        (0..count).map_while(|_| self.allocate()).collect()
    }

    /// Frees blocks, in their order.
    pub fn free_all(&self, blocks: Vec<Block>) {
        blocks.into_iter().for_each(|block| self.free(block));
    }

    /// Runs `work`, in which its process is killed before its next store but `stores`; whether it was.
    pub fn live_for(&self, stores: u32, work: impl FnOnce()) -> bool {
        let threads: Vec<&Thread> = self.thread.iter().collect();
        self.pool.process.live_for(stores, &threads, work)
    }

    /// Gives its slot back, as a thread does that exits.
    pub fn exit(mut self) {
        if let Some(thread) = self.thread.take() {
            thread.exit();
        }
    }

    /// As [`exit`](Self::exit), with its cache as it is.
    pub fn exit_unprepared(mut self) {
        if let Some(thread) = self.thread.take() {
            thread.exit_unprepared();
        }
    }
}
