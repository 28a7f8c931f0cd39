//! [`SegmentBuilder`]: how a segment is made or opened.

use super::inner::{Inner, Segment};
use super::read_only::ReadOnlySegment;
use crate::error::{OpenError, Result};
use crate::mapping::{CreateSpec, MappedFile, Place, Want};

/// The capacity of a segment made without [`SegmentBuilder::size`].
const DEFAULT_SIZE: u64 = 64 << 20;
/// Segments smaller than this do not grow unless asked to.
const GROWING_SIZE: u64 = 4 << 20;
/// The address space reserved for others.
const DEFAULT_MAX_SIZE: u64 = 64 << 30;

/// What a segment shall be, and how it is made or opened: see [`Segment::shared`], [`Segment::file`] and
/// [`Segment::anonymous`].
#[derive(Debug, Clone)]
#[must_use = "call `create`, `open` or `open_or_create`"]
pub struct SegmentBuilder {
    place: Result<Place, String>,
    why: &'static str,
    size: u64,
    max_size: Option<u64>,
    mode: u32,
    commit_all: bool,
    checked: bool,
}

impl SegmentBuilder {
    pub(super) fn new(place: Result<Place, OpenError>) -> Self {
        let (place, why) = match place {
            Ok(place) => (Ok(place), ""),
            Err(OpenError::InvalidName { name, why }) => (Err(name), why),
            Err(e) => (Err(e.to_string()), "it cannot be used"),
        };
        SegmentBuilder {
            place,
            why,
            size: DEFAULT_SIZE,
            max_size: None,
            mode: 0o600,
            commit_all: false,
            checked: false,
        }
    }

    /// The capacity in bytes, 64 MiB unless given: how much of the heap may be in use until the segment
    /// [grows](Segment::grow). Bookkeeping comes on top: 20 to 40 KiB, and about 1 % of what is in use. Memory is
    /// committed as it is needed. Ignored where a segment is opened.
    pub fn size(mut self, bytes: u64) -> Self {
        self.size = bytes;
        self
    }

    /// The address space in bytes that every process reserves, and so the capacity the segment may grow to. It costs
    /// no memory. Default: `size` below 4 MiB, else 64 GiB or `size`, whichever is larger. Ignored where a segment
    /// is opened.
    pub fn max_size(mut self, bytes: u64) -> Self {
        self.max_size = Some(bytes);
        self
    }

    /// The permission bits of the file, exactly (the umask is not applied); 0600 unless given. Ignored where a
    /// segment is opened.
    #[doc(alias = "permissions")]
    pub fn mode(mut self, mode: u32) -> Self {
        self.mode = mode;
        self
    }

    /// Whether all of the capacity is committed at once, so that no later allocation within it can fail for want of
    /// memory in the system. Ignored where a segment is opened.
    pub fn commit_all(mut self, all: bool) -> Self {
        self.commit_all = all;
        self
    }

    /// Whether this handle checks every free as well as can be, at some cost: for tests, and for the hunt for a block that is
    /// freed twice. It is a matter of this handle (and its clones) only: no stored byte differs, other processes may
    /// choose otherwise.
    ///
    /// Unless asked to, too, the heap obeys no free of a block that is free, whose size is another, or that is none at all.
    /// A checked one gives each block straight back, so that no cache keeps it from being seen as free, and refuses
    /// to free as a part of an object what was [allocated as bytes](Segment::allocate). What no heap can see is a second free of
    /// a block that was allocated again in between.
    ///
    /// What is refused is counted ([`HeapStats::bad_frees`](crate::HeapStats::bad_frees)) and told to the hook
    /// ([`set_bad_free_hook`](crate::set_bad_free_hook)).
    pub fn checked(mut self, checked: bool) -> Self {
        self.checked = checked;
        self
    }

    fn place(&self) -> Result<Place, OpenError> {
        let invalid = |name: &String| OpenError::InvalidName { name: name.clone(), why: self.why };
        self.place.as_ref().cloned().map_err(invalid)
    }

    fn spec(&self) -> Result<CreateSpec, OpenError> {
        let capacity = self.size;
        let default = if capacity < GROWING_SIZE { capacity } else { DEFAULT_MAX_SIZE.max(capacity) };
        let max_capacity = self.max_size.unwrap_or(default);
        if capacity == 0 {
            return Err(OpenError::InvalidSize { asked_bytes: 0, why: "a segment has at least one byte" });
        }
        if max_capacity < capacity {
            return Err(OpenError::InvalidSize {
                asked_bytes: max_capacity,
                why: "`max_size` is less than `size`",
            });
        }
        if self.mode & !0o777 != 0 {
            return Err(OpenError::InvalidSize {
                asked_bytes: self.mode.into(),
                why: "the mode has bits beyond 0777",
            });
        }
        Ok(CreateSpec { capacity, max_capacity, mode: self.mode, commit_all: self.commit_all })
    }

    /// Makes a new segment. It appears under its name whole or not at all.
    ///
    /// # Errors
    /// [`OpenError::AlreadyExists`] if the name is taken, whatever by; [`OpenError::InvalidName`],
    /// [`OpenError::InvalidSize`], [`OpenError::PermissionDenied`], [`OpenError::NoSpace`],
    /// [`OpenError::FileSizeLimit`], [`OpenError::NoAddressSpace`], [`OpenError::Io`].
    ///
    /// # Crash safety
    /// A process that dies inside leaves nothing.
    #[doc(alias = "create_only")]
    pub fn create(self) -> Result<Segment> {
        let spec = self.spec()?;
        let file = MappedFile::create(self.place()?, &spec, &mut |file| Inner::format(file, &spec))?;
        Ok(Inner::assemble(file, self.checked)?)
    }

    /// Opens a segment that exists, for reading and writing.
    ///
    /// # Errors
    /// [`OpenError`], within microseconds and by what is wrong: there is no such file, it is none of ours, of another
    /// version or machine, truncated or damaged, not a regular file, somebody else's, or not to be written.
    #[doc(alias = "open_only")]
    pub fn open(self) -> Result<Segment> {
        Ok(Inner::assemble(MappedFile::open(self.place()?, Want::ReadWrite)?, self.checked)?)
    }

    /// Opens the segment if it exists and makes it if not. Of several processes that race, exactly one makes it:
    /// [`Segment::created`] tells.
    ///
    /// # Errors
    /// As [`create`](Self::create) and [`open`](Self::open), but for their `AlreadyExists` and `NotFound`.
    pub fn open_or_create(self) -> Result<Segment> {
        let spec = self.spec()?;
        let file = MappedFile::open_or_create(self.place()?, &spec, &mut |file| Inner::format(file, &spec))?;
        Ok(Inner::assemble(file, self.checked)?)
    }

    /// Opens a segment that exists, for reading only: see [`ReadOnlySegment`].
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_read_only(self) -> Result<ReadOnlySegment> {
        ReadOnlySegment::open(self.place()?)
    }
}
