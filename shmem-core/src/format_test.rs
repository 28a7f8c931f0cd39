//! FORMAT.md against the code: each of its tables of offsets is compared with the structure it describes.

use crate::mapping::superblock::{FixedHeader, State};
use std::collections::BTreeMap;

/// A stored structure as the compiler lays it out.
pub(crate) struct StoredLayout {
    pub(crate) size: usize,
    /// Name, offset, size.
    pub(crate) fields: Vec<(&'static str, usize, usize)>,
}

/// The size of the field that `_get` gives.
pub(crate) fn field_size<S, F>(_get: fn(&S) -> &F) -> usize {
    size_of::<F>()
}

/// The [`StoredLayout`] of a structure, whose fields are all to be named.
macro_rules! stored_layout {
    ($ty:ty { $($field:ident),* $(,)? }) => {
        $crate::format_test::StoredLayout {
            size: size_of::<$ty>(),
            fields: vec![$((
                stringify!($field),
                ::std::mem::offset_of!($ty, $field),
                $crate::format_test::field_size(|s: &$ty| &s.$field),
            )),*],
        }
    };
}
pub(crate) use stored_layout;

/// Every stored structure, under the name that FORMAT.md gives it.
fn layouts() -> BTreeMap<&'static str, StoredLayout> {
    BTreeMap::from([
        (
            "FixedHeader",
            stored_layout!(FixedHeader {
                magic,
                format_version,
                endian_mark,
                pointer_bits,
                os_page_bytes,
                segment_id,
                hash_seed,
                max_capacity,
                heap_page_shift,
                processes,
                slots,
                _zero,
                slots_at,
                cells_at,
                descriptors_at,
                bitmaps_at,
                caches_at,
                data_at,
                end,
                _reserved,
                checksum,
            }),
        ),
        ("State", stored_layout!(State { ready, _zero, capacity })),
        ("Record", crate::participant::record_layout()),
        ("Slot", crate::participant::slot_layout()),
        ("Cell", crate::participant::cell_layout()),
        ("RawLock", crate::sync::raw_lock_layout()),
        ("HeapHeader", crate::heap::header_layout()),
        ("Descriptor", crate::heap::descriptor_layout()),
        ("CacheHeader", crate::heap::cache_layout()),
        ("DirectoryHeader", crate::segment::directory_header_layout()),
        ("Entry", crate::segment::entry_layout()),
        ("SchemaHead", crate::segment::schema_head_layout()),
        ("ShmMutex<u64>", crate::sync::mutex_layout()),
        ("ShmVec<u64>", crate::container::vec_layout()),
        ("ShmString", crate::container::string_layout()),
        ("ShmBox<u64>", crate::container::box_layout()),
        ("ShmBoxSlice<u64>", crate::container::box_slice_layout()),
        ("ShmOption<u64>", crate::container::option_layout()),
        ("ShmHashMap", crate::container::hash_map_layout()),
        ("HashTable", crate::container::hash_table_layout()),
    ])
}

/// A row of a table of FORMAT.md: offset, size, name.
type Row = (usize, usize, String);

/// The tables behind the marks `<!-- layout NAME -->`.
fn tables(text: &str) -> BTreeMap<String, Vec<Row>> {
    let mut tables = BTreeMap::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let mark = line.strip_prefix("<!-- layout ").and_then(|rest| rest.strip_suffix(" -->"));
        let Some(name) = mark else { continue };
        let table =
            lines.by_ref().skip_while(|line| !line.starts_with('|')).take_while(|line| line.starts_with('|'));
        let rows = table.skip(2).map(|line| {
            let cells: Vec<_> = line.split('|').map(str::trim).collect();
            let number = |cell: &str| cell.parse().unwrap_or_else(|_| panic!("{name}: no number in {line}"));
            (number(cells[1]), number(cells[2]), cells[3].to_owned())
        });
        assert!(tables.insert(name.to_owned(), rows.collect()).is_none(), "two tables of {name}");
    }
    tables
}

#[test]
fn format_md_gives_the_offsets_of_the_code() {
    let tables = tables(include_str!("../../FORMAT.md"));
    let layouts = layouts();
    assert!(tables.keys().map(String::as_str).eq(layouts.keys().copied()), "tables of {:?}", tables.keys());
    for (name, layout) in layouts {
        let rows = &tables[name];
        let mut end = 0;
        for (offset, size, field) in rows {
            assert_eq!(*offset, end, "{name}: a gap or overlap before {field}");
            end = offset + size;
        }
        let padding = layout.size - end;
        assert!(padding < 64, "{name}: {end} of {} bytes are described", layout.size);
        let described: Vec<_> = rows
            .iter()
            .filter(|row| row.2 != "–")
            .map(|(offset, size, field)| (field.as_str(), *offset, *size))
            .collect();
        let stored: Vec<_> = layout
            .fields
            .into_iter()
            .map(|(field, offset, size)| (field.trim_start_matches('_'), offset, size))
            .filter(|(_, _, size)| *size > 0)
            .collect();
        assert_eq!(described, stored, "{name}");
    }
}
