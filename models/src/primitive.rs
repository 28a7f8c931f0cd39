//! The library's `primitive`, on loom's atomics.
//!
//! Each operation asks [`chance`](crate::chance) first: whether the thread dies here, and whether the model is run with a
//! weakened line.
//!
//! This file needs `unsafe`: a faulty store that comes late goes to where it was to go.
//!
//! loom treats SeqCst operations as AcqRel ones, but knows SeqCst fences. So there is such a fence ahead of each SeqCst load
//! of a thread that has made a SeqCst change before. That is what Dekker's algorithm needs of them. Otherwise it promises
//! less than the language does, but for the fence's ordering other operations, too.

use crate::chance::{self, Step};
pub(crate) use loom::sync::atomic::Ordering;
pub(crate) use loom::sync::atomic::fence;
pub(crate) use loom::sync::{Mutex, MutexGuard};
use std::cell::{Cell, RefCell};
use std::sync::Arc;
pub(crate) use std::sync::atomic::compiler_fence;

/// loom's threads are not the operating system's. (loom's macro knows no constant initialisers.)
macro_rules! loom_thread_local {
    (static $name:ident: $value:ty = const $first:block;) => {
        loom::thread_local! { static $name: $value = $first; }
    };
}
pub(crate) use loom_thread_local as thread_local;

/// Waiting: what is waited for can only come about while others run.
pub(crate) mod thread {
    pub(crate) use loom::thread::yield_now;

    pub(crate) fn sleep(_: std::time::Duration) {
        yield_now();
    }
}

/// A spinning thread does nothing.
pub(crate) mod hint {
    pub(crate) fn spin_loop() {}
}

/// As `arc-swap`'s, into which loom cannot see.
#[derive(Debug)]
pub(crate) struct ArcSwapOption<T>(Mutex<Option<Arc<T>>>);

impl<T> ArcSwapOption<T> {
    pub(crate) fn empty() -> Self {
        ArcSwapOption(Mutex::new(None))
    }

    pub(crate) fn load_full(&self) -> Option<Arc<T>> {
        self.0.lock().unwrap().clone()
    }

    pub(crate) fn swap(&self, value: Option<Arc<T>>) -> Option<Arc<T>> {
        std::mem::replace(&mut *self.0.lock().unwrap(), value)
    }

    pub(crate) fn compare_and_swap(&self, expected: &Option<Arc<T>>, value: Option<Arc<T>>) {
        let mut now = self.0.lock().unwrap();
        if now.as_ref().map(Arc::as_ptr) == expected.as_ref().map(Arc::as_ptr) {
            *now = value;
        }
    }
}

fn without_seq_cst(order: Ordering, weakest: Ordering) -> Ordering {
    if order == Ordering::SeqCst { weakest } else { order }
}

loom::thread_local! {
    /// Whether this thread has made a SeqCst change, and the last one was not weakened by a fault.
    static HAS_CHANGED: Cell<bool> = Cell::new(false);
}

/// After a change that was to be `order`.
fn changed(order: Ordering, done: Ordering) {
    if order == Ordering::SeqCst {
        HAS_CHANGED.with(|changed| changed.set(done == Ordering::SeqCst));
    }
}

/// Ahead of a load.
fn fence_ahead(order: Ordering) {
    if order == Ordering::SeqCst && HAS_CHANGED.with(Cell::get) {
        fence(Ordering::SeqCst);
    }
}

/// A faulty change that is yet to be made, and where.
struct Late {
    at: usize,
    change: Box<dyn FnOnce()>,
}

loom::thread_local! {
    static LATE: RefCell<Option<Late>> = RefCell::new(None);
}

/// Makes the change that came late, if there is one and it is of what stands at `at`, or anywhere.
fn make_up_for(at: Option<usize>) {
    let is_due = |late: &mut Late| at.is_none_or(|at| late.at == at);
    if let Some(late) = LATE.with(|late| late.borrow_mut().take_if(is_due)) {
        // The thread may die between the two.
        chance::may_die();
        (late.change)();
    }
}

fn postpone(at: usize, change: impl FnOnce() + 'static) {
    make_up_for(None);
    LATE.with(|late| *late.borrow_mut() = Some(Late { at, change: Box::new(change) }));
}

/// Is told where anything was stored.
type Watcher = Box<dyn Fn(usize)>;

std::thread_local! {
    /// All threads of a model run in one thread of the operating system's.
    static WATCHER: RefCell<Option<Watcher>> = const { RefCell::new(None) };
}

/// From now on `watcher` is told of each store, by its address, until the run is over.
pub(crate) fn watch(watcher: impl Fn(usize) + 'static) {
    WATCHER.with_borrow_mut(|now| *now = Some(Box::new(watcher)));
}

/// No store is watched any more.
pub(crate) fn unwatch() {
    WATCHER.with_borrow_mut(|now| *now = None);
}

fn stored(at: usize) {
    WATCHER.with_borrow(|watcher| watcher.iter().for_each(|watcher| watcher(at)));
}

/// For faults.
trait OneLess {
    fn one_less(self) -> Self;
}

macro_rules! numbers {
    ($($value:ty)*) => {$(
        impl OneLess for $value {
            fn one_less(self) -> Self {
                self.wrapping_sub(1)
            }
        }
    )*};
}

numbers! { i64 u32 u64 }

impl OneLess for bool {
    fn one_less(self) -> Self {
        false
    }
}

macro_rules! atomics {
    ($($name:ident: $value:ty,)*) => {$(
        #[derive(Debug, Default)]
        pub(crate) struct $name(loom::sync::atomic::$name);

        impl $name {
            pub(crate) fn new(value: $value) -> Self {
                $name(loom::sync::atomic::$name::new(value))
            }

            #[track_caller]
            pub(crate) fn load(&self, order: Ordering) -> $value {
                match chance::step(false, order) {
                    Step::Go(order) | Step::Less(order) | Step::Blind(order) | Step::Late(order) => {
                        make_up_for(Some(std::ptr::from_ref(self).addr()));
                        fence_ahead(order);
                        self.0.load(without_seq_cst(order, Ordering::Acquire))
                    }
                    Step::Skip => self.0.load(Ordering::Relaxed),
                    Step::Dead => Default::default(),
                }
            }

            #[track_caller]
            pub(crate) fn store(&self, value: $value, order: Ordering) {
                let (value, done) = match chance::step(true, order) {
                    Step::Go(done) | Step::Blind(done) => (value, done),
                    Step::Less(done) => (value.one_less(), done),
                    Step::Late(done) => return self.store_late(value, without_seq_cst(done, Ordering::Release)),
                    Step::Skip | Step::Dead => return,
                };
                self.0.store(value, without_seq_cst(done, Ordering::Release));
                stored(std::ptr::from_ref(self).addr());
                changed(order, done);
                make_up_for(None);
            }

            fn store_late(&self, value: $value, order: Ordering) {
                let at = std::ptr::from_ref(self);
                postpone(at.addr(), move || {
                    // SAFETY: the thread goes on, in a run whose memory is there until its end.
                    unsafe { &*at }.0.store(value, order);
                    stored(at.addr());
                });
            }

            /// An operation that may be left out: the value is then as it was.
            #[track_caller]
            fn change(&self, order: Ordering, change: impl FnOnce(Ordering) -> $value) -> $value {
                match chance::step(true, order) {
                    Step::Go(done) | Step::Less(done) | Step::Blind(done) | Step::Late(done) => {
                        let before = change(without_seq_cst(done, Ordering::AcqRel));
                        stored(std::ptr::from_ref(self).addr());
                        changed(order, done);
                        make_up_for(None);
                        before
                    }
                    Step::Skip => self.0.load(Ordering::Relaxed),
                    Step::Dead => Default::default(),
                }
            }

            #[track_caller]
            pub(crate) fn swap(&self, value: $value, order: Ordering) -> $value {
                self.change(order, |order| self.0.swap(value, order))
            }

            #[track_caller]
            pub(crate) fn compare_exchange(
                &self,
                current: $value,
                new: $value,
                success: Ordering,
                failure: Ordering,
            ) -> Result<$value, $value> {
                match chance::step(true, success) {
                    Step::Blind(done) => {
                        self.0.swap(new, without_seq_cst(done, Ordering::AcqRel));
                        Ok(current)
                    }
                    Step::Late(done) => {
                        let now = self.0.load(Ordering::Acquire);
                        if now != current {
                            return Err(now);
                        }
                        self.store_late(new, without_seq_cst(done, Ordering::Release));
                        Ok(current)
                    }
                    Step::Go(done) | Step::Less(done) => {
                        let order = without_seq_cst(done, Ordering::AcqRel);
                        let failure = without_seq_cst(failure, Ordering::Acquire);
                        let result = self.0.compare_exchange(current, new, order, failure);
                        changed(success, done);
                        make_up_for(None);
                        result
                    }
                    // As if it had been done.
                    Step::Skip | Step::Dead => Ok(current),
                }
            }

            #[track_caller]
            pub(crate) fn compare_exchange_weak(
                &self,
                current: $value,
                new: $value,
                success: Ordering,
                failure: Ordering,
            ) -> Result<$value, $value> {
                self.compare_exchange(current, new, success, failure)
            }
        }
    )*};
}

macro_rules! arithmetic {
    ($($name:ident: $value:ty, $($operation:ident)*;)*) => {$(
        impl $name {
            $(#[track_caller]
            pub(crate) fn $operation(&self, value: $value, order: Ordering) -> $value {
                self.change(order, |order| self.0.$operation(value, order))
            })*
        }
    )*};
}

atomics! {
    AtomicBool: bool,
    AtomicI64: i64,
    AtomicU32: u32,
    AtomicU64: u64,
}

arithmetic! {
    AtomicU32: u32, fetch_add fetch_sub fetch_and fetch_or;
    AtomicU64: u64, fetch_add fetch_sub fetch_and fetch_or;
}

impl AtomicU32 {
    #[track_caller]
    pub(crate) fn fetch_update(
        &self,
        success: Ordering,
        failure: Ordering,
        change: impl Fn(u32) -> Option<u32>,
    ) -> Result<u32, u32> {
        let mut now = self.load(failure);
        loop {
            let next = change(now).ok_or(now)?;
            match self.compare_exchange(now, next, success, failure) {
                Ok(before) => return Ok(before),
                Err(other) => now = other,
            }
        }
    }

    /// As the kernel reads it: in every order there is, and whatever befalls the thread.
    pub(crate) fn raw(&self) -> u32 {
        self.0.load(Ordering::Acquire)
    }

    /// As the kernel exchanges it.
    pub(crate) fn raw_exchange(&self, current: u32, new: u32) -> Result<u32, u32> {
        self.0.compare_exchange(current, new, Ordering::AcqRel, Ordering::Acquire)
    }
}
