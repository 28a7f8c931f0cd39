//! A thread's late sibling: a process dies while one of its threads is inside a system call that goes on writing for a
//! while, into what another of its threads had locked. Whoever has the lock next must not see these writes.
//!
//! # What a hint alone would do
//! [`a_robust_mutex_alone`] does the same with a robust mutex of the C library, which the kernel marks when the *thread*
//! that holds it ends. It shows that this attack does catch what it is made for: on a virtual machine with two CPUs and
//! Linux 6.18 the new owner of the robust mutex saw late writes in 146 of 200 runs.
//!
//! This file needs `unsafe`: it reads files into a locked buffer by address, and uses a mutex of the C library.

use shmem_core::{LockError, MapMode, MappedRegion, Segment, SharedMemory, ShmMutex, ShmVec};
use shmem_tests::*;
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

roles! { reader, robust_reader }

/// In pieces, because an initialiser goes one by one.
type Buffer = ShmMutex<ShmVec<[u8; PIECE]>>;

const PIECE: usize = 64 << 10;

/// So much that reading it once takes many times as long as handing a lock over.
const BYTES: usize = 64 << 20;
/// What the dead write.
const LATE: u8 = 0xA5;
/// What the next owner writes.
const MINE: u8 = 0x5A;
/// How long the next owner looks for late writes.
const WATCHED: Duration = Duration::from_millis(300);

fn runs() -> u32 {
    if long() { 200 } else { 10 }
}

/// A file that stands in memory: one system call reads it whole, and no signal ends that early.
fn source() -> TempName {
    let name = TempName::new("late-source");
    std::fs::write(name.path(), vec![LATE; BYTES]).unwrap();
    name
}

/// Has a thread of its own read the source into the buffer, over and over, for as long as the process lives.
fn read_into(buffer: usize) {
    let source = std::fs::File::open(argument::<String>(1)).unwrap();
    std::thread::spawn(move || {
        loop {
            let at = std::ptr::with_exposed_provenance_mut::<libc::c_void>(buffer);
            // SAFETY: the buffer is as long, and the caller's process has it locked until it ends.
            let read = unsafe { libc::pread(source.as_raw_fd(), at, BYTES, 0) };
            assert_eq!(read, BYTES as isize);
        }
    });
}

/// Reports from the time on when the buffer is being written.
fn report_reading(buffer: *const u8) -> ! {
    // SAFETY: as `read_into`. The kernel writes the bytes meanwhile.
    let last = || unsafe { buffer.add(BYTES - 1).read_volatile() };
    eventually("the buffer was read into once", || last() == LATE);
    report("reading");
    ends::sleep_for_ever();
}

fn reader() {
    let segment = Segment::shared(&argument::<String>(0)).open().unwrap();
    let buffer = segment.find::<Buffer>("buffer").unwrap().unwrap();
    let mut guard = buffer.lock().unwrap();
    let at = guard.view().as_mut_slice().as_flattened_mut().as_mut_ptr();
    // This thread has the lock, and only sleeps.
    read_into(at.expose_provenance());
    report_reading(at);
}

/// Fills the buffer with what is the new owner's, and looks whether it stays so.
fn stays_mine(buffer: &mut [u8]) -> bool {
    buffer.fill(MINE);
    let mine = vec![MINE; 1 << 16];
    let start = Instant::now();
    while start.elapsed() < WATCHED {
        // Opaque: the compiler knows of nobody else who writes it.
        let seen = std::hint::black_box(&*buffer);
        if seen.chunks(mine.len()).any(|chunk| *chunk != mine[..chunk.len()]) {
            return false;
        }
    }
    true
}

#[test]
fn the_next_owner_sees_no_late_write() {
    let _watchdog = Watchdog::test("late writes");
    let (name, source) = (TempName::new("late"), source());
    let segment = name.segment().size(2 * BYTES as u64).create().unwrap();
    let buffer = segment
        .construct::<Buffer>("buffer", ShmMutex::<ShmVec<_>>::new(vec![[0; PIECE]; BYTES / PIECE]))
        .unwrap();
    let mut random = Random::new(Random::fresh_seed("late writes"));
    for run in 0..runs() {
        let mut worker = Worker::spawn("reader", &[&name, &source.path().display()]);
        worker.expect("reading");
        std::thread::sleep(Duration::from_micros(random.below(20_000)));
        // Half of the time somebody waits already.
        let waiting = std::thread::scope(|scope| {
            let waiting = (run % 2 == 0).then(|| scope.spawn(|| buffer.lock().map(|_| ())));
            if waiting.is_some() {
                eventually("somebody waits", || {
                    segment.participants().iter().flat_map(|p| &p.threads).any(|t| t.waits_for.is_some())
                });
            }
            worker.signal(libc::SIGKILL);
            waiting.map(|waiting| waiting.join().unwrap())
        });
        let outcome = waiting.unwrap_or_else(|| buffer.lock().map(|_| ()));
        assert_eq!(outcome, Err(LockError::Poisoned { by_death: true }));
        let mut guard = buffer.lock_poisoned().unwrap();
        assert!(stays_mine(guard.view().as_mut_slice().as_flattened_mut()), "a late write in run {run}");
        guard.view().as_mut_slice().as_flattened_mut().fill(0);
        guard.clear_poison();
    }
    segment.recover();
    sound(&segment);
}

// ---- the control ------------------------------------------------------------------------------------------

/// The C library's mutex, at the start of shared memory; the buffer follows a page later.
fn map(name: &str) -> (MappedRegion, *mut libc::pthread_mutex_t, *mut u8) {
    let region = SharedMemory::open(name).unwrap().map(.., MapMode::ReadWrite).unwrap();
    let at = region.as_ptr();
    (region, at.cast(), at.wrapping_add(4096))
}

fn robust_reader() {
    let (_region, mutex, buffer) = map(&argument::<String>(0));
    // SAFETY: initialised by the test.
    assert_eq!(unsafe { libc::pthread_mutex_lock(mutex) }, 0);
    read_into(buffer.expose_provenance());
    report_reading(buffer);
}

#[test]
fn a_robust_mutex_alone() {
    let _watchdog = Watchdog::test("the control of late writes");
    let (name, source) = (TempName::new("late-control"), source());
    std::fs::write(name.path(), vec![0; BYTES + 4096]).unwrap();
    let (_region, mutex, buffer) = map(&name);
    // SAFETY: mapped, and nobody else's yet; the attributes are initialised first.
    unsafe {
        let mut kind = std::mem::zeroed();
        assert_eq!(libc::pthread_mutexattr_init(&raw mut kind), 0);
        assert_eq!(libc::pthread_mutexattr_setpshared(&raw mut kind, libc::PTHREAD_PROCESS_SHARED), 0);
        assert_eq!(libc::pthread_mutexattr_setrobust(&raw mut kind, libc::PTHREAD_MUTEX_ROBUST), 0);
        assert_eq!(libc::pthread_mutex_init(mutex, &raw const kind), 0);
    }
    let mut late = 0;
    for _ in 0..runs() {
        let mut worker = Worker::spawn("robust_reader", &[&name, &source.path().display()]);
        worker.expect("reading");
        worker.signal(libc::SIGKILL);
        // SAFETY: initialised above; consistent again, and unlocked, before the next run.
        unsafe {
            assert_eq!(libc::pthread_mutex_lock(mutex), libc::EOWNERDEAD);
            late += u32::from(!stays_mine(std::slice::from_raw_parts_mut(buffer, BYTES)));
            assert_eq!(libc::pthread_mutex_consistent(mutex), 0);
            buffer.write_bytes(0, BYTES);
            assert_eq!(libc::pthread_mutex_unlock(mutex), 0);
        }
        worker.kill();
    }
    println!("a robust mutex alone: late writes in {late} of {} runs", runs());
    assert!(late > 0 || !long(), "this attack catches nothing on this machine");
}
