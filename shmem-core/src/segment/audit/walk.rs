//! Walking objects: by their types' own code, or by what is stored of their types.
//!
//! Both trust no byte: whatever an object holds, a walk ends, since it goes into no block twice; and it needs constant
//! stack, since what lies behind a pointer is put on a list.
//!
//! This file needs `unsafe`: it reads memory that may be damaged, after checking where it is.

use super::types::{Part, Shape, TypeNumber, Types};
use crate::access::{Access, BlockInfo};
use crate::container::ShmString;
use crate::container::hash_map::visit_table;
use crate::error::Corrupt;
use crate::layout::{ShmSafe, Visitor};
use crate::ptr::OffsetPtr;
use crate::segment::directory::Stock;
use std::alloc::Layout;

/// Which code is asked where this process has some.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum By {
    /// The types' own, with their own checks (`#[shm(validate = …)]`), which are user code.
    Code,
    /// The types' own, but only where nothing stored tells; no check is asked.
    Description,
}

/// Values yet to be walked, one behind the other: each made of these parts.
struct Work {
    first: *const u8,
    count: usize,
    stride: usize,
    parts: [Part; 2],
}

/// What came of one object.
pub(super) struct Walked {
    pub(super) findings: Vec<Corrupt>,
    /// Whether all that it owns was found.
    pub(super) is_known: bool,
}

/// A walk over the objects of a segment.
pub(super) struct Walker<'w> {
    types: &'w Types,
    visitor: Visitor<'w>,
    by: By,
    work: Vec<Work>,
    is_known: bool,
}

impl<'w> Walker<'w> {
    /// A walk that tells `note` of every block; it says whether it is the first time.
    pub(super) fn new(
        access: Access<'w>,
        types: &'w Types,
        by: By,
        note: &'w mut dyn FnMut(BlockInfo) -> bool,
    ) -> Self {
        let visitor = Visitor::noting(access, note);
        Walker { types, visitor, by, work: Vec::new(), is_known: true }
    }

    /// Walks an object and everything it owns.
    ///
    /// # Safety
    /// 1. Nobody changes the segment meanwhile.
    pub(super) unsafe fn walk(&mut self, object: &Stock) -> Walked {
        self.is_known = true;
        let number = self.types.number(object.fingerprint);
        let ty = self.types.get(number);
        let at = self.visitor.access().context().base().wrapping_add(object.at as usize).cast_const();
        let entry = self.visitor.access().context().base().wrapping_add(object.entry_at as usize);
        let is_one = |whole: Layout| {
            whole.align() == ty.layout.align()
                && ty.layout.size().checked_mul(object.count as usize) == Some(whole.size())
        };
        let has_record = ty.layout.size() > 0 || !matches!(ty.shape, Shape::Opaque);
        match object.layout {
            None => self.visitor.invalid(entry, "an object's size or alignment is impossible"),
            Some(whole) if has_record && !is_one(whole) => {
                self.visitor.invalid(entry, "an object's size is not its type's");
            }
            Some(whole) if whole.size() > 0 => {
                let block = self.visitor.claim(object.at);
                let holds = |b: BlockInfo| b.offset == object.at && b.size_bytes >= whole.size() as u64;
                if !block.is_some_and(holds) || !at.addr().is_multiple_of(whole.align()) {
                    self.visitor.invalid(entry, "an object is in no block of its size");
                } else {
                    // SAFETY: 1; the elements lie in a live block.
                    unsafe { self.walk_elements(at, object.count as usize, number) };
                }
            }
            Some(_) => {}
        }
        let findings = self.visitor.take_findings();
        Walked { findings, is_known: self.is_known }
    }

    /// # Safety
    /// 1. `count` values of the type lie in a live block from `first` on, and nobody changes what they hold.
    unsafe fn walk_elements(&mut self, first: *const u8, count: usize, number: TypeNumber) {
        let ty = self.types.get(number);
        match ty.visit.filter(|_| self.by == By::Code) {
            // SAFETY: 1.
            Some(visit) => unsafe {
                self.visitor.schedule_with(first, count, ty.layout.size(), visit);
                self.visitor.run();
                self.visitor.ask_types();
            },
            None => {
                self.later(first, count, number);
                while let Some(mut work) = self.work.pop() {
                    let (at, parts) = (work.first, work.parts);
                    work.count -= 1;
                    if work.count > 0 {
                        work.first = at.wrapping_add(work.stride);
                        self.work.push(work);
                    }
                    for (distance, part) in parts {
                        // SAFETY: 1, or it lies in a block that was found to be live and large enough.
                        unsafe { self.value(at.wrapping_add(distance), part) };
                    }
                }
            }
        }
    }

    /// Has `count` values of the type walked that stand in a live block.
    fn later(&mut self, first: *const u8, count: usize, number: TypeNumber) {
        let ty = self.types.get(number);
        if count > 0 && !ty.is_plain && self.has_bytes(number) {
            // The second part is of the type without bytes.
            let parts = [(0, number), (0, 0)];
            self.work.push(Work { first, count, stride: ty.layout.size(), parts });
        }
    }

    /// Whether values of the type have bytes. Of a type without a record it is not known.
    fn has_bytes(&mut self, number: TypeNumber) -> bool {
        let ty = self.types.get(number);
        let has_bytes = ty.layout.size() > 0;
        self.is_known &= has_bytes || !matches!(ty.shape, Shape::Opaque);
        has_bytes
    }

    /// Looks at one value. (Types nest by value only so deep.)
    ///
    /// # Safety
    /// 1. The type's size of bytes is readable at `at`.
    unsafe fn value(&mut self, at: *const u8, number: TypeNumber) {
        let types = self.types;
        let ty = types.get(number);
        if ty.is_plain {
            return;
        }
        match &ty.shape {
            Shape::Plain => {}
            // SAFETY: 1.
            Shape::Bool => match unsafe { at.read() } {
                0 | 1 => {}
                _ => self.visitor.invalid(at, "a bool that is neither 0 nor 1"),
            },
            Shape::Char => {
                // SAFETY: 1.
                if char::from_u32(unsafe { at.cast::<u32>().read_unaligned() }).is_none() {
                    self.visitor.invalid(at, "a char that is no Unicode scalar value");
                }
            }
            Shape::NonZero(bytes) => {
                // SAFETY: 1.
                if unsafe { number_at(at, *bytes) } == 0 {
                    self.visitor.invalid(at, "a zero in a NonZero");
                }
            }
            // SAFETY: 1, and the parts lie inside.
            Shape::Struct(parts) => unsafe { self.parts(at, parts) },
            Shape::Enum(bytes, variants) => {
                // SAFETY: 1.
                let tag = unsafe { number_at(at, *bytes) };
                match variants.iter().find(|(of, _)| *of == tag) {
                    // SAFETY: 1, and the parts lie inside.
                    Some((_, parts)) => unsafe { self.parts(at, parts) },
                    None => self.visitor.invalid(at, "the tag of an enum that is no variant's"),
                }
            }
            Shape::Array(len, element) => {
                let stride = types.get(*element).layout.size();
                for i in 0..if stride > 0 { *len } else { 0 } {
                    // SAFETY: 1, and the elements lie inside.
                    unsafe { self.value(at.wrapping_add(i * stride), *element) };
                }
            }
            // SAFETY: 1, as is alignment: the type's.
            Shape::Text => unsafe { ShmString::visit(at.cast(), &mut self.visitor) },
            // SAFETY: 1.
            Shape::Vec(element) => unsafe { self.vector(at, *element) },
            Shape::Box(element) => {
                if self.has_bytes(*element) {
                    // SAFETY: 1.
                    unsafe { self.owned(at, 1, 1, *element) };
                }
            }
            Shape::BoxSlice(element) => {
                // SAFETY: 1.
                let len = unsafe { word_at(at, 8) };
                if len > 0 && self.has_bytes(*element) {
                    // SAFETY: 1.
                    unsafe { self.owned(at, len, len, *element) };
                }
            }
            // SAFETY: 1.
            Shape::Option((distance, part)) => match unsafe { at.read() } {
                0 => {}
                // SAFETY: 1, and the part lies inside.
                1 => unsafe { self.value(at.wrapping_add(*distance), *part) },
                _ => self.visitor.invalid(at, "the tag of an option that is neither 0 nor 1"),
            },
            // SAFETY: 1, and the part lies inside.
            Shape::Mutex(part) => unsafe { self.parts(at, &[*part]) },
            Shape::Map(key, value, bucket) => {
                let (work, parts) = (&mut self.work, [(0, *key), *value]);
                let is_plain = parts.iter().all(|(_, part)| types.get(*part).is_plain);
                let each = &mut |_: &mut Visitor<'_>, first: *const u8, count: usize| {
                    if !is_plain {
                        work.push(Work { first, count, stride: bucket.size(), parts });
                    }
                };
                // SAFETY: 1, and aligned.
                unsafe { visit_table(at, *bucket, &mut self.visitor, each) }
            }
            Shape::Opaque => match ty.visit {
                // SAFETY: 1; its own code stands whatever stands there.
                Some(visit) => unsafe {
                    visit(at, &mut self.visitor);
                    self.visitor.run();
                    self.visitor.ask_nobody();
                },
                None => self.is_known = false,
            },
        }
    }

    /// # Safety
    /// 1. The parts are readable, `at` is the first byte of the whole.
    unsafe fn parts(&mut self, at: *const u8, parts: &[Part]) {
        for (distance, part) in parts {
            // SAFETY: 1.
            unsafe { self.value(at.wrapping_add(*distance), *part) };
        }
    }

    /// # Safety
    /// 1. 24 bytes are readable at `at`, aligned to 8.
    unsafe fn vector(&mut self, at: *const u8, element: TypeNumber) {
        // SAFETY: 1.
        let (len, cap) = unsafe { (word_at(at, 8), word_at(at, 16)) };
        let has_bytes = self.has_bytes(element);
        if cap > 0 && has_bytes {
            // SAFETY: 1.
            unsafe { self.owned(at, len, cap, element) };
        } else if !self.is_known {
            // Whether it should have room cannot be told.
        } else if cap > 0 || (len > 0 && has_bytes) {
            self.visitor.invalid(at, "a vector whose capacity does not fit its length or type");
        }
    }

    /// Notes the block that the offset pointer at `at` leads to, which has room for `cap` values, `len` of them live.
    ///
    /// # Safety
    /// 1. 8 bytes are readable at `at`, aligned.
    unsafe fn owned(&mut self, at: *const u8, len: u64, cap: u64, element: TypeNumber) {
        let layout = self.types.get(element).layout;
        let size = usize::try_from(cap).ok().and_then(|cap| cap.checked_mul(layout.size()));
        let Some(size) = size.filter(|_| len <= cap) else {
            return self
                .visitor
                .invalid(at, "a length larger than the capacity, or a capacity beyond memory");
        };
        // SAFETY: 1.
        let Some(first) = (unsafe { self.visitor.own_bytes(at.cast::<OffsetPtr<u8>>(), size) }) else {
            return;
        };
        if !first.addr().is_multiple_of(layout.align()) {
            return self.visitor.invalid(at, "a pointer to no block's start");
        }
        self.later(first, len as usize, element);
    }
}

/// # Safety
/// 1. 8 bytes behind the first `distance` ones are readable.
unsafe fn word_at(at: *const u8, distance: usize) -> u64 {
    // SAFETY: 1.
    unsafe { at.wrapping_add(distance).cast::<u64>().read_unaligned() }
}

/// The unsigned number of so many bytes.
///
/// # Safety
/// 1. They are readable; there are at most 16.
unsafe fn number_at(at: *const u8, bytes: usize) -> u128 {
    let mut number = [0; 16];
    // SAFETY: 1.
    unsafe { at.copy_to_nonoverlapping(number.as_mut_ptr(), bytes.min(16)) };
    u128::from_le_bytes(number)
}
