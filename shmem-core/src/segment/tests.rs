//! Objects of one process: construct, find, destroy, in every form.

use super::*;
use crate::access::Access;
use crate::error::{Error, NameError};
use crate::layout::{ShmSafe, Visitor, init};
use crate::sync::ShmMutex;
use crate::{LockError, RemoveOnDrop, ShmHashMap};
use std::sync::atomic::{AtomicU64, Ordering};

pub(super) fn segment() -> Segment {
    Segment::anonymous().size(8 << 20).create().unwrap()
}

pub(super) fn unique(name: &str) -> String {
    format!("shmem-unit-{name}-{}", std::process::id())
}

#[track_caller]
pub(super) fn sound(segment: &Segment) {
    assert_eq!(segment.check(), []);
}

#[test]
fn construct_find_destroy() {
    let s = segment();
    assert!(s.created());
    assert!(s.find::<u64>("n").unwrap().is_none());
    let n = s.construct::<u64>("n", 7).unwrap();
    assert_eq!(*n, 7);
    assert!(
        matches!(s.construct::<u64>("n", 8), Err(Error::Name(e)) if matches!(*e, NameError::AlreadyExists { .. }))
    );
    assert_eq!(*s.find::<u64>("n").unwrap().unwrap(), 7);
    assert_eq!(*s.find_or_construct::<u64>("n", 9).unwrap(), 7);
    assert!(s.destroy::<u64>("n").unwrap());
    assert!(!s.destroy::<u64>("n").unwrap());
    assert!(s.find::<u64>("n").unwrap().is_none());
    assert_eq!(*n, 7, "the object lives while a handle does");
    let again = s.construct::<u64>("n", 8).unwrap();
    assert_ne!(again.offset(), n.offset());
    sound(&s);
}

#[test]
fn mutex_and_map() {
    let s = segment();
    let map = s.construct::<ShmMutex<ShmHashMap<u64, u64>>>("map", ShmMutex::new(ShmHashMap::new())).unwrap();
    for i in 0..1000 {
        map.lock().unwrap().view().insert(i, i * i).unwrap();
    }
    assert_eq!(map.lock().unwrap().get(&31), Some(&961));
    let held = map.lock().unwrap();
    assert_eq!(map.lock().unwrap_err(), LockError::Deadlock);
    std::thread::scope(|scope| {
        scope.spawn(|| assert_eq!(map.try_lock().unwrap_err(), LockError::WouldBlock));
    });
    drop(held);
    drop(map);
    assert!(s.destroy::<ShmMutex<ShmHashMap<u64, u64>>>("map").unwrap());
    sound(&s);
}

#[test]
fn everything_goes_with_its_object() {
    let s = segment();
    s.construct::<u64>("warm", 0).unwrap();
    s.destroy::<u64>("warm").unwrap();
    type Map = ShmMutex<ShmHashMap<u64, u64>>;
    let build = || s.construct::<Map>("map", ShmMutex::new(ShmHashMap::new()));
    drop(build().unwrap());
    s.destroy::<Map>("map").unwrap();
    let used = s.used();
    for _ in 0..10 {
        let map = build().unwrap();
        let mut guard = map.lock().unwrap();
        (0..10_000).for_each(|i| drop(guard.view().insert(i, i)));
        drop(guard);
        assert!(s.destroy::<Map>("map").unwrap());
        assert!(s.used() > used + 100_000);
        drop(map);
        assert_eq!(s.used(), used);
    }
    sound(&s);
}

#[test]
fn names_until_full() {
    for order in 0..3 {
        let s = Segment::anonymous().size(256 << 10).create().unwrap();
        let mut names = Vec::new();
        loop {
            let name = format!("object_{}_with_a_{}_name", names.len(), "long ".repeat(names.len() % 20));
            match s.construct::<u64>(&name, names.len() as u64) {
                Ok(_) => names.push(name),
                Err(e) => {
                    assert!(e.is_out_of_memory(), "{e}");
                    break;
                }
            }
        }
        assert!(names.len() > 400, "{}", names.len());
        assert_eq!(s.object_count(), names.len());
        let mut listed: Vec<_> = s.objects().unwrap().into_iter().map(|o| o.name).collect();
        listed.sort();
        let mut wanted = names.clone();
        wanted.sort();
        assert_eq!(listed, wanted);
        for (i, name) in names.iter().enumerate() {
            assert_eq!(*s.find::<u64>(name).unwrap().unwrap(), i as u64);
        }
        sound(&s);
        match order {
            0 => {}
            1 => names.reverse(),
            _ => names.sort_by_key(|name| name.len() % 7),
        }
        for name in &names {
            assert!(s.destroy::<u64>(name).unwrap());
            assert!(s.find::<u64>(name).unwrap().is_none());
        }
        assert_eq!(s.object_count(), 0);
        sound(&s);
        s.construct::<u64>("room again", 1).unwrap();
    }
}

#[test]
fn slices_unique_anonymous() {
    let s = segment();
    let squares = s.construct_slice::<u64, _>("squares", 10, |i| (i * i) as u64).unwrap();
    assert_eq!(squares[9], 81);
    assert_eq!(s.find_slice::<u64>("squares").unwrap().unwrap().len(), 10);
    assert!(
        matches!(s.find::<u64>("squares"), Err(Error::Name(e)) if matches!(*e, NameError::CountMismatch { .. }))
    );
    assert!(s.find_or_construct_slice::<u64, _>("squares", 11, |_| 0).is_err());
    assert_eq!(s.find_or_construct_slice::<u64, _>("squares", 10, |_| 0).unwrap()[3], 9);
    let empty = s.construct_slice::<u64, _>("empty", 0, |_| 0).unwrap();
    assert!(empty.is_empty());
    assert!(s.construct_slice::<u64, _>("huge", usize::MAX / 2, |_| 0).unwrap_err().is_out_of_memory());
    assert!(s.find_slice::<u64>("huge").unwrap().is_none());

    assert!(s.find_unique::<u64>().unwrap().is_none());
    *s.construct_unique::<ShmMutex<u64>>(ShmMutex::new(1)).unwrap().lock().unwrap() += 1;
    assert_eq!(*s.find_or_construct_unique::<ShmMutex<u64>>(ShmMutex::new(9)).unwrap().lock().unwrap(), 2);
    assert!(s.destroy_unique::<ShmMutex<u64>>().unwrap());

    let count = s.object_count();
    let used = s.used();
    let owned = s.construct_anonymous::<u64>(5).unwrap();
    assert_eq!((*owned, s.object_count()), (5, count + 1));
    let root = owned.root();
    drop(owned);
    assert_eq!((*root, s.object_count()), (5, count));
    drop(root);
    assert_eq!(s.used(), used);
    sound(&s);
}

#[test]
fn nested_construction_and_recursion() {
    let s = segment();
    let inner = s.clone();
    let outer = s
        .construct::<u64>(
            "outer",
            init::with(move |slot| {
                inner.construct::<u64>("inner", 1)?;
                assert!(inner.find::<u64>("outer")?.is_none(), "nothing to be seen before it is whole");
                let e = inner.find_or_construct::<u64>("outer", 3).unwrap_err();
                assert!(matches!(e, Error::Name(e) if matches!(*e, NameError::Recursive { .. })));
                slot.fill(2)
            }),
        )
        .unwrap();
    assert_eq!((*outer, *s.find::<u64>("inner").unwrap().unwrap()), (2, 1));
    sound(&s);
}

#[test]
fn failing_and_panicking_initialisers_leave_nothing() {
    let s = segment();
    let fail = || init::from_fn(|| Err::<u64, _>("no"));
    assert!(matches!(s.construct::<u64>("x", fail()), Err(Error::Init(_))));
    let (used, count) = (s.used(), s.object_count());
    for _ in 0..100 {
        assert!(matches!(s.construct::<u64>("x", fail()), Err(Error::Init(_))));
        let panicking = init::from_fn(|| -> Result<u64, &str> { panic!("in the initialiser") });
        let panicked =
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| s.construct::<u64>("x", panicking)));
        assert!(panicked.is_err());
        assert!(s.find::<u64>("x").unwrap().is_none());
    }
    assert_eq!((s.used(), s.object_count()), (used, count));
    assert_eq!(*s.construct::<u64>("x", 4).unwrap(), 4);
    sound(&s);
}

#[test]
fn wrong_types_are_named() {
    let s = segment();
    s.construct::<ShmMutex<u64>>("m", ShmMutex::new(0)).unwrap();
    let e = s.find::<ShmMutex<u32>>("m").unwrap_err().to_string();
    assert!(
        e.contains("ShmMutex<u64>") && e.contains("ShmMutex<u32>") && e.contains("stored u64, expected u32"),
        "{e}"
    );
    assert!(s.destroy::<u64>("m").is_err());
    assert!(s.find_or_construct::<f32>("m", 1.0).is_err());
    assert!(s.find::<ShmMutex<u64>>("m").unwrap().is_some());
    sound(&s);
}

#[test]
fn one_constructor_runs_whatever_the_race() {
    let s = segment();
    for round in 0..200 {
        let built = AtomicU64::new(0);
        let name = format!("raced {round}");
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let make = init::from_fn(|| Ok::<_, &str>(built.fetch_add(1, Ordering::Relaxed)));
                    assert_eq!(*s.find_or_construct::<u64>(&name, make).unwrap(), 0);
                });
            }
        });
        assert_eq!(built.into_inner(), 1);
        assert!(s.destroy::<u64>(&name).unwrap());
    }
    sound(&s);
}

#[test]
fn two_threads_construct_and_destroy_one_name() {
    let s = segment();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for i in 0..5000 {
                    let _ = s.construct::<u64>("contested", i);
                    let _ = s.find::<u64>("contested").unwrap();
                    let _ = s.destroy::<u64>("contested").unwrap();
                }
            });
        }
    });
    let _ = s.destroy::<u64>("contested");
    assert_eq!(s.object_count(), 0);
    sound(&s);
}

#[test]
fn one_segment_at_two_addresses() {
    let name = unique("twice");
    let _remove = RemoveOnDrop::shared(&name).unwrap();
    let one = Segment::shared(&name).size(1 << 20).create().unwrap();
    let two = Segment::shared(&name).open().unwrap();
    assert!(!two.created() && one.id() == two.id());
    type Map = ShmMutex<ShmHashMap<u64, u64>>;
    let a = one.construct::<Map>("map", ShmMutex::new(ShmHashMap::new())).unwrap();
    let b = two.find::<Map>("map").unwrap().unwrap();
    for i in 0..1000 {
        a.lock().unwrap().view().insert(i, i).unwrap();
        assert_eq!(b.lock().unwrap().get(&i), Some(&i));
        b.lock().unwrap().view().insert(i, 2 * i).unwrap();
        assert_eq!(a.lock().unwrap()[&i], 2 * i);
    }
    let guard = a.lock().unwrap();
    assert_eq!(b.try_lock().unwrap_err(), LockError::WouldBlock);
    drop(guard);
    assert!(one.destroy::<Map>("map").unwrap());
    drop(a);
    assert_eq!(b.lock().unwrap().len(), 1000, "the other mapping still holds it");
    drop(b);
    assert_eq!(two.object_count(), 0);
    sound(&one);
    drop(one);
    sound(&two);
}

#[test]
fn many_segments_come_and_go() {
    let descriptors = || std::fs::read_dir("/proc/self/fd").unwrap().count();
    let before = descriptors();
    for i in 0..2000 {
        let s = Segment::anonymous().size(64 << 10).create().unwrap();
        let m = s.construct::<ShmMutex<u64>>("m", ShmMutex::new(i)).unwrap();
        drop(s);
        *m.lock().unwrap() += 1;
    }
    assert!(descriptors() <= before + 8, "{} {before}", descriptors());
}

#[test]
fn growing_while_open() {
    let s = Segment::anonymous().size(1 << 20).max_size(16 << 20).create().unwrap();
    let other = Segment::from_fd(&s).unwrap();
    let first = s.construct_slice::<u8, _>("first", 900 << 10, |_| 1).unwrap();
    assert!(other.construct_slice::<u8, _>("second", 4 << 20, |_| 2).unwrap_err().is_out_of_memory());
    assert_eq!(s.grow(7 << 20).unwrap(), 8 << 20);
    let second = other.construct_slice::<u8, _>("second", 4 << 20, |_| 2).unwrap();
    assert!(first.iter().all(|b| *b == 1) && second.iter().all(|b| *b == 2));
    assert!(s.grow(9 << 20).is_err());
    assert_eq!((s.size(), s.max_size()), (8 << 20, 16 << 20));
    sound(&s);
}

/// A walk over everything that is known to be in use.
pub(super) struct Account<'s> {
    segment: &'s Segment,
    visitor: Visitor<'s>,
}

impl<'s> Account<'s> {
    /// Begins with what the directory itself uses.
    pub(super) fn of(segment: &'s Segment) -> Self {
        let mut visitor = Visitor::new(Access::new(&segment.inner.context));
        for block in segment.inner.directory.own_blocks().unwrap() {
            visitor.claim(block.offset);
        }
        Account { segment, visitor }
    }

    pub(super) fn object<T: ShmSafe + Sync>(&mut self, name: &str) {
        let slice = self.segment.find_slice::<T>(name).unwrap().unwrap();
        if size_of_val(&*slice) > 0 {
            self.visitor.claim(slice.offset());
        }
        // SAFETY: valid, and the test is alone.
        unsafe { self.visitor.walk(slice.as_ptr(), slice.len()) };
    }

    #[track_caller]
    pub(super) fn balances(self) {
        assert!(self.visitor.is_clean(), "{:?}", self.visitor.findings());
        let mut live = Vec::new();
        self.segment.inner.heap.for_each_live_block(&mut |block| live.push((block.offset, block.size_bytes)));
        live.sort_unstable();
        assert_eq!(self.visitor.blocks().collect::<Vec<_>>(), live);
    }
}

#[test]
fn every_live_block_is_somebodys() {
    use crate::{ShmBox, ShmBoxSlice, ShmHashSet, ShmOption, ShmString, ShmVec};
    type Nested = ShmMutex<ShmHashMap<ShmString, ShmVec<ShmOption<ShmBox<ShmString>>>>>;
    let s = segment();
    Account::of(&s).balances();
    for round in 0..20u64 {
        let text = |i: u64| "a text that may or may not be long ".repeat((i * 7 + round) as usize % 5);
        let nested = s.find_or_construct::<Nested>("nested", ShmMutex::new(ShmHashMap::new())).unwrap();
        let mut guard = nested.lock().unwrap();
        let mut map = guard.view();
        for i in 0..round * 5 {
            let mut list = map.entry_ref(text(i).as_str()).unwrap().or_insert(ShmVec::new()).unwrap();
            match i % 3 {
                0 => list.push(ShmOption::none()).unwrap(),
                _ => list.push(ShmOption::some(ShmBox::new(text(i + 1)))).unwrap(),
            }
            if i % 4 == 0 {
                map.remove(text(i + 2).as_str());
            }
        }
        drop(guard);
        let name = format!(
            "a slice with a name that is too long to stand in its entry, whatever that is, number {round}"
        );
        s.construct_slice::<ShmVec<ShmString>, _>(&name, 3, |i| (0..i as u64).map(text).collect::<Vec<_>>())
            .unwrap();
        s.construct::<ShmBoxSlice<u64>>(&format!("boxed {round}"), vec![round; round as usize]).unwrap();
        s.construct::<ShmHashSet<u64>>(&format!("set {round}"), init::from_iter(0..round)).unwrap();
        s.construct::<()>(&format!("nothing {round}"), ()).unwrap();
        let mut account = Account::of(&s);
        account.object::<Nested>("nested");
        for r in 0..=round {
            let name = format!(
                "a slice with a name that is too long to stand in its entry, whatever that is, number {r}"
            );
            account.object::<ShmVec<ShmString>>(&name);
            account.object::<ShmBoxSlice<u64>>(&format!("boxed {r}"));
            account.object::<ShmHashSet<u64>>(&format!("set {r}"));
            account.object::<()>(&format!("nothing {r}"));
        }
        account.balances();
        sound(&s);
    }
    for object in s.objects().unwrap() {
        let name = object.name.as_str();
        let gone = match name.split(' ').next() {
            Some("nested") => s.destroy::<Nested>(name),
            Some("a") => s.destroy::<ShmVec<ShmString>>(name),
            Some("boxed") => s.destroy::<ShmBoxSlice<u64>>(name),
            Some("set") => s.destroy::<ShmHashSet<u64>>(name),
            _ => s.destroy::<()>(name),
        };
        assert!(gone.unwrap());
    }
    Account::of(&s).balances();
}

#[test]
fn a_late_reaper_leaves_the_next_object_alone() {
    use super::directory::test_support::late_reap;
    let s = segment();
    let old = s.construct::<u64>("old", 7).unwrap();
    // As a thread that let go of `old` and was then held up, while others made another object of its entry.
    let late = late_reap(&s.inner.directory, old.number());
    assert!(s.destroy::<u64>("old").unwrap());
    drop(old);
    let new = s.construct::<ShmHashMap<u64, u64>>("new", ShmHashMap::new()).unwrap();
    assert_eq!(late.number(), new.number());
    late.on_unlinked();
    drop(new);
    sound(&s);
}

#[test]
#[cfg_attr(shmem_poison, ignore = "the table of poison does not survive a fork")]
fn a_reservation_of_the_dead_does_not_keep_its_name() {
    let s = segment();
    let other = Segment::from_fd(&s).unwrap();
    s.construct::<u64>("keep", 1).unwrap();
    let pid = {
        // SAFETY: the child constructs and exits at once.
        let pid = unsafe { libc::fork() };
        if pid == 0 {
            let _ = s.construct_slice::<u64, u64>("name", 1, |_| {
                // SAFETY: dies in the middle of the construction.
                unsafe { libc::_exit(0) }
            });
        }
        pid
    };
    let mut status = 0;
    // SAFETY: the child just forked.
    assert_eq!(unsafe { libc::waitpid(pid, &raw mut status, 0) }, pid);
    assert_eq!(*other.find_or_construct::<u64>("name", 5).unwrap(), 5);
    assert_eq!(*s.find::<u64>("name").unwrap().unwrap(), 5);
    sound(&s);
}

#[test]
fn a_reader_that_cannot_lock_does_not_wait_for_the_dead() {
    let name = unique("read-only");
    let _remove = RemoveOnDrop::shared(&name).unwrap();
    let s = Segment::shared(&name).size(1 << 20).create().unwrap();
    s.construct::<u64>("here", 7).unwrap();
    super::directory::test_support::die_moving(&s.inner.directory);
    let reader = Segment::shared(&name).open_read_only().unwrap();
    assert_eq!(reader.read::<u64>("here").unwrap(), Some(7));
    assert_eq!(reader.read::<u64>("absent").unwrap(), None);
}

#[test]
#[cfg_attr(shmem_poison, ignore = "the table of poison does not survive a fork")]
fn a_raw_fork_does_not_take_its_parent_for_dead() {
    let s = segment();
    let lock = s.construct::<ShmMutex<u64>>("lock", ShmMutex::new(1)).unwrap();
    let guard = lock.lock().unwrap();
    // The system call alone, without the C library's handlers.
    // SAFETY: the child looks for the dead, which allocates nothing, and exits.
    let pid = unsafe { libc::syscall(libc::SYS_clone, libc::SIGCHLD, 0, 0, 0, 0) };
    if pid == 0 {
        // SAFETY: ends the child.
        unsafe { libc::_exit(s.recover() as i32) };
    }
    let mut status = -1;
    // SAFETY: the child just made.
    assert_eq!(i64::from(unsafe { libc::waitpid(pid as i32, &raw mut status, 0) }), pid);
    assert_eq!(status, 0);
    drop(guard);
    assert_eq!(*lock.lock().unwrap(), 1, "nobody took it, nobody poisoned it");
    sound(&s);
}

#[test]
fn no_first_pin_while_a_fork_is_under_way() {
    // Other tests fork, which would end what this one begins.
    super::migrate_tests::alone_in(module_path!(), "no_first_pin_while_a_fork_is_under_way", || {
        let s = segment();
        drop(s.construct::<u64>("n", 7).unwrap());
        s.inner.directory.freeze(None);
        let found = &std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let n = s.find::<u64>("n").unwrap().unwrap();
                found.store(true, Ordering::SeqCst);
                assert_eq!(*n, 7);
            });
            std::thread::sleep(std::time::Duration::from_millis(30));
            assert!(!found.load(Ordering::SeqCst), "the child would have this handle without a pin");
            s.inner.directory.thaw();
        });
    });
}

#[test]
#[cfg_attr(shmem_poison, ignore = "the table of poison does not survive a fork")]
fn a_child_holds_what_it_inherits() {
    let s = segment();
    let lock = s.construct::<ShmMutex<u64>>("lock", ShmMutex::new(1)).unwrap();
    let n = s.construct::<u64>("n", 7).unwrap();
    let guard = lock.lock().unwrap();
    let in_child = || {
        assert!(s.destroy::<u64>("n").unwrap());
        let copy = n.clone();
        drop(guard);
        assert_eq!(lock.try_lock().unwrap_err(), LockError::WouldBlock, "it is the parent's");
        drop(copy);
        assert_eq!(*n, 7);
    };
    // SAFETY: the child uses the segment and exits.
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        let ok = std::panic::catch_unwind(std::panic::AssertUnwindSafe(in_child)).is_ok();
        // SAFETY: ends the child.
        unsafe { libc::_exit(i32::from(!ok)) };
    }
    let mut status = -1;
    // SAFETY: the child just forked.
    assert_eq!(unsafe { libc::waitpid(pid, &raw mut status, 0) }, pid);
    assert_eq!(status, 0);
    assert_eq!(*n, 7);
    assert!(s.find::<u64>("n").unwrap().is_none());
    s.recover();
    sound(&s);
}

#[test]
#[cfg_attr(shmem_poison, ignore = "the table of poison does not survive a fork")]
fn an_initialiser_that_forks_is_the_parents() {
    let s = segment();
    let parent = std::process::id();
    let mut pid = 0;
    let construct = || {
        s.construct_slice::<u64, u64>("n", 2, |i| {
            if i == 1 {
                // SAFETY: the child returns from here, to the `catch_unwind` below, and exits.
                pid = unsafe { libc::fork() };
            }
            i as u64
        })
    };
    let built = std::panic::catch_unwind(std::panic::AssertUnwindSafe(construct));
    if std::process::id() != parent {
        // SAFETY: ends the child.
        unsafe { libc::_exit(i32::from(built.is_ok())) };
    }
    let mut status = -1;
    // SAFETY: the child just forked.
    assert_eq!(unsafe { libc::waitpid(pid, &raw mut status, 0) }, pid);
    assert_eq!(status, 0, "the child panics, and gives nothing back");
    let n = built.unwrap().unwrap();
    assert_eq!(n[..], [0, 1]);
    assert_eq!(s.find_slice::<u64>("n").unwrap().unwrap()[..], [0, 1]);
    s.recover();
    sound(&s);
}

#[test]
#[cfg_attr(shmem_poison, ignore = "the table of poison does not survive a fork")]
fn a_mutex_that_a_dead_process_holds_can_be_destroyed() {
    type Words = ShmMutex<ShmHashMap<u64, u64>>;
    let s = segment();
    let one_life = || {
        let lock = s.construct::<Words>("lock", ShmMutex::new(ShmHashMap::new())).unwrap();
        lock.lock().unwrap().view().insert(1, 2).unwrap();
        // SAFETY: the child locks and exits.
        let pid = unsafe { libc::fork() };
        if pid == 0 {
            let _guard = lock.lock();
            // SAFETY: ends the child, the lock held.
            unsafe { libc::_exit(0) };
        }
        let mut status = -1;
        // SAFETY: the child just forked.
        assert_eq!(unsafe { libc::waitpid(pid, &raw mut status, 0) }, pid);
        s.recover();
        assert!(s.destroy::<Words>("lock").unwrap());
        drop(lock);
        s.used()
    };
    let first = one_life();
    assert_eq!([one_life(), one_life()], [first; 2], "nothing is leaked");
    sound(&s);
}

#[test]
#[cfg_attr(shmem_poison, ignore = "the table of poison does not survive a fork")]
fn what_a_dead_holder_damaged_is_not_dropped() {
    type Flag = ShmMutex<bool>;
    let s = segment();
    let lock = s.construct::<Flag>("lock", ShmMutex::new(true)).unwrap();
    let at = {
        let mut guard = lock.lock().unwrap();
        &raw mut *guard
    };
    // SAFETY: the child locks, damages the value and exits.
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        let _guard = lock.lock();
        // SAFETY: as above.
        unsafe {
            at.cast::<u8>().write_volatile(7);
            libc::_exit(0);
        }
    }
    let mut status = -1;
    // SAFETY: the child just forked.
    assert_eq!(unsafe { libc::waitpid(pid, &raw mut status, 0) }, pid);
    s.recover();
    // SAFETY: valid, and nobody else uses it.
    assert!(unsafe { <Flag as crate::layout::ShmSafe>::lock_held(&raw const *lock) });
    assert!(lock.is_poisoned());
}
