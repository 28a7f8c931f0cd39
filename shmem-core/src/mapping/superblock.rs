//! The first page of a segment: the immutable header that says what the file is and where everything stands, and
//! the places of the mutable headers. FORMAT.md, "Superblock", is its normative description.

use crate::error::OpenError;
use sha2::{Digest, Sha256};

/// The first eight bytes of every segment. The non-ASCII byte and the line ends show a text-mode copy.
pub(crate) const MAGIC: [u8; 8] = *b"\x89shmem\r\n";
/// The format this library reads and writes.
pub(crate) const FORMAT_VERSION: u32 = 1;
/// Reads as another number on a machine of the other byte order.
pub(crate) const ENDIAN_MARK: u32 = 0x0102_0304;
/// The page size a segment's geometry is made for.
pub(crate) const OS_PAGE: u64 = 4096;

/// Where the segment's mutable state stands in the first page.
pub(crate) const STATE_AT: u64 = 256;
/// Where the heap's header stands in the first page.
pub(crate) const HEAP_AT: u64 = 512;
/// Where the object directory's header stands in the first page.
pub(crate) const DIRECTORY_AT: u64 = 1024;
/// Where the process records begin.
pub(crate) const PROCESSES_AT: u64 = 4096;
/// The size of a process record in bytes.
pub(crate) const PROCESS_SIZE: u64 = 32;
/// The size of a thread slot in bytes.
pub(crate) const SLOT_SIZE: u64 = 128;
/// Where in a thread slot the heap's intent stands.
pub(crate) const SLOT_INTENT_AT: u64 = 24;
/// The size of a liveness cell in bytes.
pub(crate) const CELL_SIZE: u64 = 64;

/// The smallest capacity of a segment in bytes.
pub(crate) const MIN_CAPACITY: u64 = 16 << 10;
/// The largest reservation: 16 TiB, a quarter of a 47-bit address space's practical room.
pub(crate) const MAX_RESERVED: u64 = 16 << 40;

/// What is fixed when a segment is created. Never written again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub(crate) struct FixedHeader {
    /// [`MAGIC`].
    pub(crate) magic: [u8; 8],
    /// [`FORMAT_VERSION`].
    pub(crate) format_version: u32,
    /// [`ENDIAN_MARK`].
    pub(crate) endian_mark: u32,
    /// 64.
    pub(crate) pointer_bits: u32,
    /// [`OS_PAGE`].
    pub(crate) os_page_bytes: u32,
    /// Random; names the segment wherever it is mapped.
    pub(crate) segment_id: [u8; 16],
    /// Random; seeds every hash table of the segment.
    pub(crate) hash_seed: u64,
    /// The capacity the segment may grow to.
    pub(crate) max_capacity: u64,
    /// log2 of the heap's page size: 12, 14 or 16.
    pub(crate) heap_page_shift: u32,
    /// How many process records there are.
    pub(crate) processes: u32,
    /// How many thread slots there are.
    pub(crate) slots: u32,
    /// 0.
    pub(crate) _zero: u32,
    /// Where the thread slots begin.
    pub(crate) slots_at: u64,
    /// Where the liveness cells begin, one for each slot.
    pub(crate) cells_at: u64,
    /// Where the heap's page descriptors begin.
    pub(crate) descriptors_at: u64,
    /// Where the heap's block bitmaps begin.
    pub(crate) bitmaps_at: u64,
    /// Where the slots' caches of free blocks begin, one for each slot.
    pub(crate) caches_at: u64,
    /// Where the heap's pages begin.
    pub(crate) data_at: u64,
    /// Where the reservation ends: `data_at + max_capacity`.
    pub(crate) end: u64,
    /// 0.
    pub(crate) _reserved: [u64; 15],
    /// The first eight bytes of the SHA-256 of all of the above.
    pub(crate) checksum: [u8; 8],
}

const _: () = assert!(size_of::<FixedHeader>() == STATE_AT as usize);

/// The mutable state behind the fixed header.
#[repr(C)]
pub(crate) struct State {
    /// [`READY`] once the segment is whole.
    pub(crate) ready: crate::primitive::AtomicU32,
    /// 0.
    pub(crate) _zero: u32,
    /// The capacity in bytes, a multiple of the heap page; only ever raised.
    pub(crate) capacity: crate::primitive::AtomicU64,
}

/// The value of [`State::ready`] in a whole segment.
pub(crate) const READY: u32 = 0x5EAD_11FE;

fn round_up(n: u64, to: u64) -> u64 {
    n.next_multiple_of(to)
}

/// Bytes of block bitmap for each heap page: one bit for every 16 bytes.
pub(crate) const fn bitmap_bytes(page_shift: u32) -> u64 {
    (1 << page_shift) / 16 / 8
}

/// Bytes of one cache: room for the magazines of one thread.
pub(crate) const CACHE_BYTES: u64 = 8192;

/// How many thread slots have a cache: all, or none where a few blocks that one thread has at hand may be what another one lacks.
pub(crate) const fn cache_count(page_shift: u32, slots: u32) -> u32 {
    if page_shift == 16 { slots } else { 0 }
}

/// Bytes of descriptor for each heap page.
pub(crate) const DESCRIPTOR_BYTES: u64 = 64;

impl FixedHeader {
    /// The header of a new segment that may grow to `max_capacity` bytes (rounded up to heap pages).
    pub(crate) fn new(max_capacity: u64, segment_id: [u8; 16], hash_seed: u64) -> Self {
        let heap_page_shift = match max_capacity {
            0..0x40_0000 => 12,
            0x40_0000..0x400_0000 => 14,
            0x400_0000.. => 16,
        };
        // In a small segment the tables fill three pages.
        let (processes, slots) = if heap_page_shift == 12 { (48, 56) } else { (256, 256) };
        let max_capacity = round_up(max_capacity, 1 << heap_page_shift);
        let pages = max_capacity >> heap_page_shift;
        let slots_at = PROCESSES_AT + u64::from(processes) * PROCESS_SIZE;
        let cells_at = slots_at + u64::from(slots) * SLOT_SIZE;
        let descriptors_at = round_up(cells_at + u64::from(slots) * CELL_SIZE, OS_PAGE);
        let bitmaps_at = round_up(descriptors_at + pages * DESCRIPTOR_BYTES, OS_PAGE);
        // Heap pages are aligned to their own size, so that a block's alignment is its place in the page's.
        let caches_at = round_up(bitmaps_at + pages * bitmap_bytes(heap_page_shift), OS_PAGE);
        let caches_end = caches_at + u64::from(cache_count(heap_page_shift, slots)) * CACHE_BYTES;
        let data_at = round_up(caches_end, 1 << heap_page_shift);
        let mut header = FixedHeader {
            magic: MAGIC,
            format_version: FORMAT_VERSION,
            endian_mark: ENDIAN_MARK,
            pointer_bits: usize::BITS,
            os_page_bytes: OS_PAGE as u32,
            segment_id,
            hash_seed,
            max_capacity,
            heap_page_shift,
            processes,
            slots,
            _zero: 0,
            slots_at,
            cells_at,
            descriptors_at,
            bitmaps_at,
            caches_at,
            data_at,
            end: data_at + max_capacity,
            _reserved: [0; 15],
            checksum: [0; 8],
        };
        header.checksum = header.compute_checksum();
        header
    }

    fn compute_checksum(&self) -> [u8; 8] {
        let bytes = bytemuck::bytes_of(self);
        let digest = Sha256::digest(&bytes[..bytes.len() - 8]);
        digest[..8].try_into().expect("a digest has 32 bytes")
    }

    /// Bytes from the start of the file that every segment has committed: all but the heap's tables and pages.
    pub(crate) fn metadata_bytes(&self) -> u64 {
        self.descriptors_at
    }

    /// Whether the bytes are the header of a segment that this library can use; `name` is for the error.
    ///
    /// # Errors
    /// [`OpenError::NotASegment`], [`OpenError::FormatVersion`], [`OpenError::Incompatible`] or
    /// [`OpenError::Damaged`].
    pub(crate) fn validate(&self, name: &str) -> Result<(), OpenError> {
        let name = || name.to_owned();
        if self.magic != MAGIC {
            return Err(OpenError::NotASegment {
                name: name(),
                why: "it does not begin with the magic number",
            });
        }
        let same = |what, found: u64, expected: u64| match found == expected {
            true => Ok(()),
            false => Err(OpenError::Incompatible { name: name(), what, found, expected }),
        };
        // The byte order first: with another one, no other number reads as what it is.
        same("the byte-order mark", self.endian_mark.into(), ENDIAN_MARK.into())?;
        if self.format_version != FORMAT_VERSION {
            return Err(OpenError::FormatVersion {
                name: name(),
                found: self.format_version,
                expected: FORMAT_VERSION,
            });
        }
        same("the pointer width", self.pointer_bits.into(), usize::BITS.into())?;
        same("the page size", self.os_page_bytes.into(), OS_PAGE)?;
        let damaged =
            |what| OpenError::Damaged { name: name(), source: crate::error::Corrupt { at: 0, what } };
        if self.checksum != self.compute_checksum() {
            return Err(damaged("the header's checksum is wrong"));
        }
        // A right checksum over a geometry that this library would not have made.
        if self.max_capacity < MIN_CAPACITY
            || self.max_capacity > MAX_RESERVED
            || *self != FixedHeader::new(self.max_capacity, self.segment_id, self.hash_seed)
        {
            return Err(damaged("the header's geometry makes no sense"));
        }
        Ok(())
    }
}
