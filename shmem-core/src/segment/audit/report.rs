//! What an audit tells: [`VerifyReport`] and [`LeakReport`].

use crate::error::Finding;
use crate::heap::SweptClass;
use std::fmt;

/// What [`Segment::verify`](crate::Segment::verify) has found.
///
/// Displays as a summary, with a line for each finding.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct VerifyReport {
    /// How many dead processes were recovered before.
    pub processes_recovered: usize,
    /// How many objects were walked to the end, whether something was wrong with them or not.
    pub objects: u64,
    /// How many blocks they own, their own among them.
    pub blocks: u64,
    /// The usable bytes of these.
    pub bytes: u64,
    /// What is wrong, at most 64 findings of each object.
    pub findings: Vec<Finding>,
    /// Pages of the heap that are as only a death leaves them. They do no harm; [`recover_leaks`](crate::Segment::recover_leaks)
    /// puts them in order.
    pub left_by_the_dead: u64,
    /// Objects that could not be walked, or not all of them, because their types are not known here: each with its type.
    pub unknown: Vec<String>,
    /// Objects that this process is constructing, converting or freeing, and that were left alone.
    pub under_construction: Vec<String>,
}

impl VerifyReport {
    /// Whether nothing wrong was found.
    pub fn is_sound(&self) -> bool {
        self.findings.is_empty()
    }
}

fn plural(n: u64, one: &str) -> String {
    format!("{n} {one}{}", if n == 1 { "" } else { "s" })
}

impl fmt::Display for VerifyReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = match self.findings.len() as u64 {
            0 => "sound".to_owned(),
            n => plural(n, "finding"),
        };
        let (objects, blocks) = (plural(self.objects, "object"), plural(self.blocks, "block"));
        write!(f, "{verdict}: {objects} walked, {blocks} of {} bytes", self.bytes)?;
        if self.left_by_the_dead > 0 {
            let pages = plural(self.left_by_the_dead, "page");
            write!(f, "\n  {pages} as the dead have left them: to be put in order by `recover_leaks`")?;
        }
        for object in &self.unknown {
            write!(f, "\n  {object}: not walked, its type is not known here")?;
        }
        for object in &self.under_construction {
            write!(f, "\n  {object}: not walked, it is under construction")?;
        }
        for finding in &self.findings {
            write!(f, "\n  {finding}")?;
        }
        Ok(())
    }
}

/// What [`Segment::recover_leaks`](crate::Segment::recover_leaks) has kept and given back.
///
/// Displays as a summary, with a line for each size of blocks that were leaked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct LeakReport {
    /// How many dead processes were recovered before.
    pub processes_recovered: usize,
    /// How many objects were walked.
    pub objects: u64,
    /// How many blocks are live: those of objects, the library's own, and raw ones.
    pub live_blocks: u64,
    /// The usable bytes of these: what the segment [uses](crate::Segment::used) from now on.
    pub live_bytes: u64,
    /// How many of them are raw: [the program](crate::Segment::allocate) accounts for these itself.
    pub raw_blocks: u64,
    /// Blocks that were given back, by size, smallest first; without sizes of which there was none.
    pub classes: Vec<SweptClass>,
    /// Spans (blocks of whole pages) that were given back.
    pub spans: u64,
    /// The bytes of these.
    pub span_bytes: u64,
    /// The bytes of pages that were part of no span: a process died while it put one together, or took it apart.
    pub stray_bytes: u64,
}

impl LeakReport {
    /// How many blocks were given back, spans among them.
    pub fn swept_blocks(&self) -> u64 {
        self.classes.iter().map(|class| class.blocks).sum::<u64>() + self.spans
    }

    /// How many bytes were given back.
    pub fn swept_bytes(&self) -> u64 {
        let small = self.classes.iter().map(|class| class.blocks * class.block_bytes).sum::<u64>();
        small + self.span_bytes + self.stray_bytes
    }
}

impl fmt::Display for LeakReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (objects, live) = (plural(self.objects, "object"), plural(self.live_blocks, "block"));
        write!(f, "{objects} walked; {live} of {} bytes live; ", self.live_bytes)?;
        let swept = plural(self.swept_blocks(), "block");
        match self.swept_bytes() {
            0 => write!(f, "no leaks")?,
            bytes => write!(f, "{swept} of {bytes} bytes given back")?,
        }
        for class in &self.classes {
            write!(f, "\n  {} of {} bytes", plural(class.blocks, "block"), class.block_bytes)?;
        }
        if self.spans > 0 {
            write!(f, "\n  {} of {} bytes in all", plural(self.spans, "span"), self.span_bytes)?;
        }
        if self.stray_bytes > 0 {
            write!(f, "\n  {} bytes of spans half made", self.stray_bytes)?;
        }
        Ok(())
    }
}
