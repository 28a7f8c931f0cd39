//! What the examples share: worker processes that inherit a segment, and the cutting of text into words.
//!
//! The examples themselves are `examples/*.rs` of this package; they use the public interface of `shmem-core` only.

pub mod words;
pub mod workers;

/// The exit code for a command line that makes no sense.
pub const USAGE: u8 = 2;
/// The exit code for work that could not be done: a worker died, memory ran out.
pub const FAILED: u8 = 3;

/// Parses `text` as a number in `range`, for the option called `option`.
///
/// # Errors
/// A message that names the option.
pub fn number(
    option: &str,
    text: Option<&std::ffi::OsStr>,
    range: std::ops::RangeInclusive<u64>,
) -> Result<u64, String> {
    let text = text.ok_or_else(|| format!("{option} wants a number"))?;
    let number = text.to_str().and_then(|text| text.parse().ok()).filter(|n| range.contains(n));
    number.ok_or_else(|| {
        format!("{option} wants a number from {} to {}, not {text:?}", range.start(), range.end())
    })
}
