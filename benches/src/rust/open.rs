//! The floor under making and opening a segment: the system calls that cannot be left out.
//!
//! This file needs `unsafe`: it maps files.

use crate::Result;
use crate::measure::{Sample, Setup, Workload, check, own_name};
use rustix::fd::OwnedFd;
use rustix::fs::{CWD, FallocateFlags, Mode, OFlags, fallocate, openat, unlink};
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};
use rustix::shm;
use std::path::PathBuf;
use std::ptr;
use std::time::Instant;

/// The capacity of the segments made.
pub const SIZE: usize = 64 << 20;

/// What a new segment with one root commits of its heap, and so the floor too.
pub const FIRST_COMMIT: u64 = 256 << 10;

/// How many segments one run makes.
pub fn creations(setup: &Setup) -> u64 {
    if setup.quick { 2 } else { 10 }
}

/// How many times one run opens a segment.
pub fn openings(setup: &Setup) -> u64 {
    creations(setup) * 10
}

/// An object of the system.
enum Place {
    Shm(String),
    File(PathBuf),
}

impl Place {
    fn of(kind: &str, what: &str, setup: &Setup) -> Option<Self> {
        match kind {
            "shm" => Some(Place::Shm(format!("/{}", own_name(what)))),
            "file" => Some(Place::File(setup.directory.join(own_name(what)))),
            _ => None,
        }
    }

    fn open(&self, create: bool) -> rustix::io::Result<OwnedFd> {
        let mode = Mode::RUSR | Mode::WUSR;
        match self {
            Place::Shm(name) => {
                let flags =
                    if create { shm::OFlags::CREATE | shm::OFlags::EXCL } else { shm::OFlags::empty() };
                shm::open(name, flags | shm::OFlags::RDWR, mode)
            }
            Place::File(path) => {
                let flags = if create { OFlags::CREATE | OFlags::EXCL } else { OFlags::empty() };
                openat(CWD, path, flags | OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOFOLLOW, mode)
            }
        }
    }

    fn remove(&self) {
        // It may not be there.
        let _ = match self {
            Place::Shm(name) => shm::unlink(name),
            Place::File(path) => unlink(path),
        };
    }
}

/// A mapping of the whole segment.
struct Mapped(*mut u64);

impl Mapped {
    fn new(fd: &OwnedFd) -> Result<Self> {
        // SAFETY: a new mapping overlaps nothing.
        let at = unsafe {
            mmap(ptr::null_mut(), SIZE, ProtFlags::READ | ProtFlags::WRITE, MapFlags::SHARED, fd, 0)?
        };
        Ok(Mapped(at.cast()))
    }

    fn write(&self, value: u64) {
        // SAFETY: the first word of a live mapping whose first bytes are committed.
        unsafe { self.0.write_volatile(value) }
    }

    fn read(&self) -> u64 {
        // SAFETY: as in `write`.
        unsafe { self.0.read_volatile() }
    }
}

impl Drop for Mapped {
    fn drop(&mut self) {
        // SAFETY: mapped by `new` with this size.
        let _ = unsafe { munmap(self.0.cast(), SIZE) };
    }
}

/// The file is as long as what is committed: a longer one makes the first write to a disk file's mapping twenty
/// times slower, and nothing needs it.
fn create(place: &Place) -> Result<Mapped> {
    let fd = place.open(true)?;
    fallocate(&fd, FallocateFlags::empty(), 0, FIRST_COMMIT)?;
    let mapped = Mapped::new(&fd)?;
    mapped.write(42);
    Ok(mapped)
}

/// A segment that is there to be opened.
struct Existing(Place);

impl Existing {
    fn new(place: Place) -> Result<Self> {
        place.remove();
        create(&place)?;
        Ok(Existing(place))
    }
}

impl Drop for Existing {
    fn drop(&mut self) {
        self.0.remove();
    }
}

/// Sets a case up.
pub fn workload(subject: &str, case: &str, setup: &Setup) -> Option<Workload> {
    let (work, kind) = case.split_once(' ')?;
    if subject != "bare" {
        return None;
    }
    let place = Place::of(kind, work, setup)?;
    match work {
        "create" => {
            let times = creations(setup);
            Some(Box::new(move || {
                let mut ns = 0;
                for _ in 0..times {
                    place.remove();
                    let start = Instant::now();
                    let mapped = create(&place)?;
                    ns += start.elapsed().as_nanos() as u64;
                    check(mapped.read() == 42, "wrong root")?;
                }
                place.remove();
                Ok(Sample { ns, ops: times })
            }))
        }
        "open" => {
            let times = openings(setup);
            let mut place = Some(place);
            let mut existing = None;
            Some(Box::new(move || {
                if let Some(place) = place.take() {
                    existing = Some(Existing::new(place)?);
                }
                let Existing(place) = existing.as_ref().ok_or("it could not be made")?;
                let (mut ns, mut sum) = (0, 0);
                for _ in 0..times {
                    let start = Instant::now();
                    let fd = place.open(false)?;
                    let mapped = Mapped::new(&fd)?;
                    sum += mapped.read();
                    ns += start.elapsed().as_nanos() as u64;
                }
                check(sum == 42 * times, "wrong root")?;
                Ok(Sample { ns, ops: times })
            }))
        }
        _ => None,
    }
}
