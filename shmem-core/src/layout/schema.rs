//! The schema: a type's description as bytes, stored in the segment the first time the type is constructed there.
//!
//! The same encoding feeds the [fingerprint](super::fingerprint). A record names the types it is made of by their
//! fingerprints, so each type is stored once, and a reader that knows only FORMAT.md can follow them.

use super::fingerprint::Done;
use super::type_info::{ConstArg, Field, GenericArg, Kind, Origin, TypeInfo};
use super::{Fingerprint, ShmSafe};
use std::collections::HashMap;

/// How a record refers to another type: 17 bytes.
pub(super) struct RefBytes([u8; 17]);

impl RefBytes {
    /// To the type with this fingerprint.
    pub(super) fn to(fingerprint: Fingerprint) -> Self {
        let mut bytes = [0; 17];
        bytes[1..].copy_from_slice(&fingerprint.0);
        RefBytes(bytes)
    }

    /// To the type whose description this one stands in, `up` levels up (0: the type itself).
    pub(super) fn back(up: usize) -> Self {
        let mut bytes = [0; 17];
        bytes[0] = 1;
        bytes[1..9].copy_from_slice(&(up as u64).to_le_bytes());
        RefBytes(bytes)
    }
}

/// Writes a record, little-endian; strings carry a `u16` length.
struct Writer<'r> {
    out: Vec<u8>,
    refer: &'r mut dyn FnMut(&'static TypeInfo) -> RefBytes,
}

impl Writer<'_> {
    fn bytes(&mut self, bytes: &[u8]) {
        self.out.extend_from_slice(bytes);
    }

    fn text(&mut self, text: &str) {
        // A Rust identifier or path never reaches this; a longer attribute value is cut, deterministically.
        let text = &text.as_bytes()[..text.len().min(u16::MAX as usize)];
        self.bytes(&(text.len() as u16).to_le_bytes());
        self.bytes(text);
    }

    fn fields(&mut self, fields: &'static [Field]) {
        self.bytes(&(fields.len() as u16).to_le_bytes());
        for field in fields {
            self.text(field.name);
            self.bytes(&(field.offset as u64).to_le_bytes());
            self.refer_to((field.ty)());
        }
    }

    fn refer_to(&mut self, ty: &'static TypeInfo) {
        let bytes = (self.refer)(ty).0;
        self.bytes(&bytes);
    }
}

/// The record of `info`, other types written as `refer` says. FORMAT.md, "Type records", gives the bytes.
pub(super) fn encode(
    info: &'static TypeInfo,
    refer: &mut dyn FnMut(&'static TypeInfo) -> RefBytes,
) -> Vec<u8> {
    let mut w = Writer { out: Vec::with_capacity(128), refer };
    let (origin, vouched) = match info.origin {
        Origin::Builtin => (0, ""),
        Origin::Module(path) => (1, path),
        Origin::Shape => (2, ""),
        Origin::Named(name) => (3, name),
    };
    w.bytes(&[origin]);
    w.text(vouched);
    w.text(if matches!(info.origin, Origin::Named(_)) { "" } else { info.name });
    w.bytes(&info.version.to_le_bytes());
    w.bytes(&(info.size as u64).to_le_bytes());
    w.bytes(&(info.align as u32).to_le_bytes());
    match &info.kind {
        Kind::Primitive => w.bytes(&[0]),
        Kind::Struct { fields } => {
            w.bytes(&[1]);
            w.fields(fields);
        }
        Kind::Enum { tag_size, variants } => {
            w.bytes(&[2, *tag_size]);
            w.bytes(&(variants.len() as u16).to_le_bytes());
            for variant in *variants {
                w.text(variant.name);
                w.bytes(&variant.tag.to_le_bytes());
                w.fields(variant.fields);
            }
        }
        Kind::Array { len, element } => {
            w.bytes(&[3]);
            w.bytes(&(*len as u64).to_le_bytes());
            w.refer_to(element());
        }
        Kind::Builtin => w.bytes(&[4]),
    }
    w.bytes(&(info.args.len() as u16).to_le_bytes());
    for arg in info.args {
        match arg {
            GenericArg::Type(ty) => {
                w.bytes(&[0]);
                w.refer_to(ty());
            }
            GenericArg::Const(value) => {
                let (tag, value) = match *value {
                    ConstArg::Unsigned(n) => (1, n),
                    ConstArg::Signed(n) => (2, n as u128),
                    ConstArg::Bool(b) => (3, b as u128),
                    ConstArg::Char(c) => (4, c as u128),
                };
                w.bytes(&[tag]);
                w.bytes(&value.to_le_bytes());
            }
        }
    }
    w.out
}

/// The record of one type as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredType {
    /// The type.
    pub fingerprint: Fingerprint,
    /// Its record.
    pub record: Vec<u8>,
}

/// The records of `T` and of every type reachable from it, `T`'s first.
pub(crate) fn encode_stored<T: ShmSafe>() -> Vec<StoredType> {
    let mut stored = Vec::new();
    let mut known = HashMap::new();
    let mut work = vec![T::type_info()];
    while let Some(info) = work.pop() {
        let fingerprint = Fingerprint::of_info(info);
        if known.insert(fingerprint, ()).is_some() {
            continue;
        }
        let record = encode(info, &mut |part| {
            work.push(part);
            RefBytes::to(Fingerprint::of_info(part))
        });
        stored.push(StoredType { fingerprint, record });
    }
    stored
}

/// What is wrong with the stored records: each must have the fingerprint it is filed under, which covers every byte of
/// it and of the records it refers to. By index, with what is wrong.
pub(crate) fn check_stored(all: &[StoredType]) -> Vec<(usize, &'static str)> {
    let by_fingerprint = all.iter().map(|stored| (stored.fingerprint, &*stored.record)).collect();
    let mut walk = StoredWalk { records: by_fingerprint, path: Vec::new(), done: Done::new(), steps: 0 };
    let mut wrong = Vec::new();
    for (i, stored) in all.iter().enumerate() {
        walk.path.clear();
        match walk.fingerprint(stored.fingerprint) {
            Ok((found, _)) if found == stored.fingerprint => {}
            Ok(_) => wrong.push((i, "a type record does not have its fingerprint")),
            Err(what) => wrong.push((i, what)),
        }
    }
    wrong
}

/// Nested deeper than this, a type is taken for damage.
const DEEPEST: usize = 256;
/// References followed, after which records are taken for damaged: what refers in circles is walked on every way.
const MOST_STEPS: usize = 1 << 20;

/// Computes fingerprints as `fingerprint::Walk` does, from records.
struct StoredWalk<'s> {
    records: HashMap<Fingerprint, &'s [u8]>,
    /// The types being described, outermost first.
    path: Vec<Fingerprint>,
    done: Done<Fingerprint>,
    steps: usize,
}

impl StoredWalk<'_> {
    /// The fingerprint of the record filed under `filed`, and the outermost place on the path it refers back to.
    fn fingerprint(&mut self, filed: Fingerprint) -> Result<(Fingerprint, usize), &'static str> {
        if let Some(done) = self.done.get(filed, &self.path) {
            return Ok((done, usize::MAX));
        }
        self.steps += 1;
        if self.path.len() >= DEEPEST || self.steps > MOST_STEPS {
            return Err("the type records refer to each other without end");
        }
        let record = *self.records.get(&filed).ok_or("a type record refers to a type that has none")?;
        let mut reader = Reader::new(record);
        reader.record().ok_or("a type record makes no sense")?;
        let (depth, entered) = (self.path.len(), self.done.enter(filed));
        let mut outermost = usize::MAX;
        let mut bytes = record.to_vec();
        self.path.push(filed);
        for left in reader.references {
            let reference = &mut bytes[record.len() - left..][..17];
            let part = Fingerprint(reference[1..].try_into().expect("16 bytes"));
            let written = match self.path.iter().rposition(|on_path| *on_path == part) {
                Some(at) => {
                    outermost = outermost.min(at);
                    RefBytes::back(depth - at)
                }
                None => {
                    let (fingerprint, back) = self.fingerprint(part)?;
                    outermost = outermost.min(back);
                    RefBytes::to(fingerprint)
                }
            };
            reference.copy_from_slice(&written.0);
        }
        self.path.pop();
        let fingerprint = Fingerprint::of_record(&bytes);
        if outermost >= depth {
            self.done.leave(entered, fingerprint);
            return Ok((fingerprint, usize::MAX));
        }
        Ok((fingerprint, outermost))
    }
}

/// Where two types first differ.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// The way there: `Account.history[]`.
    pub path: String,
    /// What is stored there.
    pub stored: String,
    /// What the program expects there.
    pub expected: String,
    /// Set if it is the version: both sides have a type of this origin and name there.
    pub versions: Option<Versions>,
}

/// Two versions of one type of a user's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Versions {
    /// The type's name with its arguments, as stored.
    pub type_name: String,
    /// The version that is stored.
    pub stored: u32,
    /// The version of the program.
    pub expected: u32,
}

/// A decoded record: see FORMAT.md, "Type records".
#[derive(Debug)]
pub(crate) struct Record {
    pub(crate) origin: u8,
    vouched: String,
    pub(crate) name: String,
    pub(crate) version: u32,
    pub(crate) size: u64,
    pub(crate) align: u32,
    pub(crate) kind: RecordKind,
    pub(crate) args: Vec<RecordArg>,
}

#[derive(Debug)]
pub(crate) enum RecordKind {
    Primitive,
    Struct(Vec<RecordField>),
    Enum { tag_size: u8, variants: Vec<(String, i128, Vec<RecordField>)> },
    Array { len: u64, element: Fingerprint },
    Builtin,
}

#[derive(Debug)]
pub(crate) struct RecordField {
    name: String,
    pub(crate) offset: u64,
    pub(crate) ty: Fingerprint,
}

#[derive(Debug)]
pub(crate) enum RecordArg {
    Type(Fingerprint),
    Const(ConstArg),
}

/// What a record says; `None` if it makes no sense.
pub(crate) fn decode_record(record: &[u8]) -> Option<Record> {
    Reader::new(record).record()
}

/// Reads a record that may be damaged: `None` where it makes no sense.
struct Reader<'b> {
    rest: &'b [u8],
    /// How many bytes were left before each reference to a type.
    references: Vec<usize>,
}

impl<'b> Reader<'b> {
    fn new(record: &'b [u8]) -> Self {
        Reader { rest: record, references: Vec::new() }
    }

    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.rest.split_first_chunk::<N>()?;
        self.rest = rest;
        Some(*head)
    }

    fn text(&mut self) -> Option<String> {
        let len = u16::from_le_bytes(self.take()?) as usize;
        let (head, rest) = self.rest.split_at_checked(len)?;
        self.rest = rest;
        String::from_utf8(head.to_vec()).ok()
    }

    fn refer(&mut self) -> Option<Fingerprint> {
        self.references.push(self.rest.len());
        let [tag] = self.take()?;
        let fingerprint = Fingerprint(self.take()?);
        (tag == 0).then_some(fingerprint)
    }

    fn fields(&mut self) -> Option<Vec<RecordField>> {
        let n = u16::from_le_bytes(self.take()?);
        (0..n)
            .map(|_| {
                Some(RecordField {
                    name: self.text()?,
                    offset: u64::from_le_bytes(self.take()?),
                    ty: self.refer()?,
                })
            })
            .collect()
    }

    fn record(&mut self) -> Option<Record> {
        let [origin] = self.take()?;
        let (vouched, name) = (self.text()?, self.text()?);
        let version = u32::from_le_bytes(self.take()?);
        let size = u64::from_le_bytes(self.take()?);
        let align = u32::from_le_bytes(self.take()?);
        let kind = match self.take()? {
            [0] => RecordKind::Primitive,
            [1] => RecordKind::Struct(self.fields()?),
            [2] => {
                let [tag_size] = self.take()?;
                let n = u16::from_le_bytes(self.take()?);
                let variants = (0..n)
                    .map(|_| Some((self.text()?, i128::from_le_bytes(self.take()?), self.fields()?)))
                    .collect::<Option<_>>()?;
                RecordKind::Enum { tag_size, variants }
            }
            [3] => RecordKind::Array { len: u64::from_le_bytes(self.take()?), element: self.refer()? },
            [4] => RecordKind::Builtin,
            _ => return None,
        };
        let n = u16::from_le_bytes(self.take()?);
        let args = (0..n)
            .map(|_| {
                Some(match self.take()? {
                    [0] => RecordArg::Type(self.refer()?),
                    [tag] => {
                        let value = u128::from_le_bytes(self.take()?);
                        RecordArg::Const(match tag {
                            1 => ConstArg::Unsigned(value),
                            2 => ConstArg::Signed(value as i128),
                            3 => ConstArg::Bool(value != 0),
                            4 => ConstArg::Char(char::from_u32(value as u32)?),
                            _ => return None,
                        })
                    }
                })
            })
            .collect::<Option<_>>()?;
        self.rest.is_empty().then_some(Record { origin, vouched, name, version, size, align, kind, args })
    }
}

/// Compares a stored type with one of this program.
struct Compare<'s> {
    lookup: &'s dyn Fn(Fingerprint) -> Option<Vec<u8>>,
    /// Pairs under comparison or found equal, so that recursion ends.
    seen: HashMap<(Fingerprint, Fingerprint), ()>,
}

impl Compare<'_> {
    fn decode(&self, stored: Fingerprint) -> Option<Record> {
        Reader::new(&(self.lookup)(stored)?).record()
    }

    /// The stored type's name with its arguments, as far as the records tell.
    fn display(&self, stored: Fingerprint, depth: u32) -> String {
        let Some(record) = self.decode(stored) else { return format!("type {stored}") };
        if depth == 0 {
            return "…".into();
        }
        if let RecordKind::Array { len, element } = record.kind {
            return format!("[{}; {len}]", self.display(element, depth - 1));
        }
        let name = if record.origin == 3 { record.vouched } else { record.name };
        if record.args.is_empty() {
            return name;
        }
        let args: Vec<_> = record
            .args
            .iter()
            .map(|arg| match arg {
                RecordArg::Type(ty) => self.display(*ty, depth - 1),
                RecordArg::Const(value) => value.to_string(),
            })
            .collect();
        format!("{name}<{}>", args.join(", "))
    }

    fn part(&mut self, path: String, stored: Fingerprint, expected: &'static TypeInfo) -> Option<Difference> {
        let ours = Fingerprint::of_info(expected);
        if stored == ours || self.seen.insert((stored, ours), ()).is_some() {
            return None;
        }
        let Some(record) = self.decode(stored) else {
            return Some(Difference {
                path,
                stored: format!("a type without a readable description ({stored})"),
                expected: expected.to_string(),
                versions: None,
            });
        };
        let whole = |stored: String, expected: String| {
            Some(Difference { path: path.clone(), stored, expected, versions: None })
        };
        let stored_name = self.display(stored, 8);
        let (origin, vouched) = match expected.origin {
            Origin::Builtin => (0, ""),
            Origin::Module(path) => (1, path),
            Origin::Shape => (2, ""),
            Origin::Named(name) => (3, name),
        };
        if origin != 3 && record.origin != 3 && record.name != expected.name {
            return whole(stored_name, expected.to_string());
        }
        if (record.origin, record.vouched.as_str()) != (origin, vouched) {
            let describe = |origin: u8, vouched: &str, name: &str| match origin {
                0 => format!("the library's `{name}`"),
                1 => format!("`{vouched}::{name}`"),
                2 => format!("`{name}`, all fields public"),
                _ => format!("the type named \"{vouched}\""),
            };
            return whole(
                describe(record.origin, &record.vouched, &record.name),
                describe(origin, vouched, expected.name),
            );
        }
        // Before the fields, which another version may well have changed.
        if record.version != expected.version {
            let difference = whole(
                format!("version {} of {stored_name}", record.version),
                format!("version {}", expected.version),
            );
            // The library's own types have versions too, but no program knows two of them.
            let versions = (origin != 0).then_some(Versions {
                type_name: stored_name,
                stored: record.version,
                expected: expected.version,
            });
            return difference.map(|difference| Difference { versions, ..difference });
        }
        let found = match (&record.kind, &expected.kind) {
            (RecordKind::Struct(stored), Kind::Struct { fields }) => self.fields(&path, stored, fields),
            (RecordKind::Enum { variants: stored, tag_size }, Kind::Enum { tag_size: tag, variants }) => {
                if tag_size != tag {
                    return whole(format!("a tag of {tag_size} bytes"), format!("a tag of {tag} bytes"));
                }
                self.variants(&path, stored, variants)
            }
            (RecordKind::Array { len: stored, element: stored_element }, Kind::Array { len, element }) => {
                if *stored != *len as u64 {
                    return whole(stored_name, expected.to_string());
                }
                self.part(format!("{path}[]"), *stored_element, element())
            }
            (RecordKind::Primitive, Kind::Primitive) | (RecordKind::Builtin, Kind::Builtin) => None,
            _ => return whole(stored_name, expected.to_string()),
        };
        if found.is_some() {
            return found;
        }
        if record.args.len() != expected.args.len() {
            return whole(stored_name, expected.to_string());
        }
        for (stored, expected_arg) in record.args.iter().zip(expected.args) {
            match (stored, expected_arg) {
                (RecordArg::Type(stored), GenericArg::Type(ours)) => {
                    // Inside a container the arguments are what its elements are.
                    let inner = if matches!(expected.kind, Kind::Builtin) {
                        format!("{path}[]")
                    } else {
                        path.clone()
                    };
                    if let Some(difference) = self.part(inner, *stored, ours()) {
                        return Some(difference);
                    }
                }
                (RecordArg::Const(stored), GenericArg::Const(ours)) if stored == ours => {}
                _ => return whole(stored_name, expected.to_string()),
            }
        }
        if (record.size, record.align) != (expected.size as u64, expected.align as u32) {
            return whole(
                format!("{} bytes, aligned to {}", record.size, record.align),
                format!("{} bytes, aligned to {}", expected.size, expected.align),
            );
        }
        None
    }

    fn fields(
        &mut self,
        path: &str,
        stored: &[RecordField],
        expected: &'static [Field],
    ) -> Option<Difference> {
        for i in 0..stored.len().max(expected.len()) {
            let stored_text =
                |s: &RecordField, c: &Self| format!("field `{}: {}`", s.name, c.display(s.ty, 8));
            let expected_text = |e: &Field| format!("field `{}: {}`", e.name, (e.ty)());
            let difference = match (stored.get(i), expected.get(i)) {
                (Some(s), Some(e)) if s.name != e.name || s.offset != e.offset as u64 => {
                    let offsets = s.name == e.name;
                    let at = |text: String, offset: u64| {
                        if offsets { format!("{text} at offset {offset}") } else { text }
                    };
                    (e.name, at(stored_text(s, self), s.offset), at(expected_text(e), e.offset as u64))
                }
                (Some(s), Some(e)) => match self.part(format!("{path}.{}", e.name), s.ty, (e.ty)()) {
                    Some(difference) => return Some(difference),
                    None => continue,
                },
                (Some(s), None) => (s.name.as_str(), stored_text(s, self), "no such field".into()),
                (None, Some(e)) => (e.name, "no such field".into(), expected_text(e)),
                (None, None) => continue,
            };
            let (name, stored, expected) = difference;
            return Some(Difference { path: format!("{path}.{name}"), stored, expected, versions: None });
        }
        None
    }

    fn variants(
        &mut self,
        path: &str,
        stored: &[(String, i128, Vec<RecordField>)],
        expected: &'static [super::Variant],
    ) -> Option<Difference> {
        for i in 0..stored.len().max(expected.len()) {
            let name = |n: &str, tag: i128| format!("variant `{n}` = {tag}");
            let (at, stored, expected) = match (stored.get(i), expected.get(i)) {
                (Some((n, tag, fields)), Some(e)) => {
                    if n == e.name && *tag == e.tag {
                        match self.fields(&format!("{path}::{}", e.name), fields, e.fields) {
                            Some(difference) => return Some(difference),
                            None => continue,
                        }
                    }
                    (e.name, name(n, *tag), name(e.name, e.tag))
                }
                (Some((n, tag, _)), None) => (n.as_str(), name(n, *tag), "no such variant".into()),
                (None, Some(e)) => (e.name, "no such variant".into(), name(e.name, e.tag)),
                (None, None) => continue,
            };
            return Some(Difference { path: format!("{path}::{at}"), stored, expected, versions: None });
        }
        None
    }
}

/// The name of a stored type with its arguments, as far as the records that `lookup` finds tell.
pub(crate) fn describe_stored(
    stored: Fingerprint,
    lookup: &dyn Fn(Fingerprint) -> Option<Vec<u8>>,
) -> String {
    Compare { lookup, seen: HashMap::new() }.display(stored, 8)
}

/// Where the stored type `stored`, whose records `lookup` finds, first differs from the program's `expected`.
pub(crate) fn first_difference(
    stored: Fingerprint,
    expected: &'static TypeInfo,
    lookup: &dyn Fn(Fingerprint) -> Option<Vec<u8>>,
) -> (String, Difference) {
    let mut compare = Compare { lookup, seen: HashMap::new() };
    let stored_name = compare.display(stored, 8);
    let difference =
        compare.part(expected.name.to_string(), stored, expected).unwrap_or_else(|| Difference {
            path: expected.name.to_string(),
            stored: format!("fingerprint {stored}"),
            expected: format!("fingerprint {}", Fingerprint::of_info(expected)),
            versions: None,
        });
    (stored_name, difference)
}
