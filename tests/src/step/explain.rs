//! What stands at an address of this process: function and line.

use super::child::end_address;
use std::ffi::c_void;
use std::fmt::Write;
use std::path::Path;

/// The function and line at `address`, and, if it was inlined, the function that it was inlined into; module and offset
/// where no symbol is known.
pub(super) fn explain(address: u64) -> String {
    if address == end_address() {
        return "the end".to_owned();
    }
    let mut text = String::new();
    let (mut innermost, mut outermost) = (None, None);
    backtrace::resolve(std::ptr::without_provenance_mut::<c_void>(address as usize), |symbol| {
        let name = symbol.name().map_or_else(|| "?".to_owned(), |name| format!("{name:#}"));
        if innermost.is_none() {
            let file =
                symbol.filename().and_then(Path::file_name).map(|file| file.to_string_lossy().into_owned());
            innermost = Some((name.clone(), file.zip(symbol.lineno())));
        }
        outermost = Some(name);
    });
    let Some((name, line)) = innermost else { return module(address) };
    let _ = write!(text, "`{name}`");
    if let Some((file, line)) = line {
        let _ = write!(text, " {file}:{line}");
    }
    if let Some(outer) = outermost.filter(|outer| *outer != name) {
        let _ = write!(text, " in `{outer}`");
    }
    text
}

fn module(address: u64) -> String {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap_or_default();
    let found = maps.lines().find_map(|line| {
        let mut words = line.split_whitespace();
        let (from, to) = words.next()?.split_once('-')?;
        let [from, to] = [from, to].map(|end| u64::from_str_radix(end, 16).ok());
        let offset = u64::from_str_radix(words.nth(1)?, 16).ok()?;
        let from = from.filter(|from| *from <= address && to.is_some_and(|to| address < to))?;
        Some(format!("{}+{:#x}", words.nth(2).unwrap_or("memory"), address - from + offset))
    });
    found.unwrap_or_else(|| format!("{address:#x}"))
}
