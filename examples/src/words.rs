//! Words: maximal runs of ASCII letters, in lower case; everything else only separates them.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

/// Cuts a stretch of bytes, fed block by block, into words.
///
/// What stands at the stretch's two ends may be parts of words that go on outside it, so those are kept apart: see
/// [`Edges`].
#[derive(Debug, Default)]
pub struct Scanner {
    /// The letters before the first separator, once there was one.
    head: Option<Vec<u8>>,
    /// The letters since the last separator.
    pending: Vec<u8>,
}

/// The letters at both ends of a stretch of bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Edges {
    /// There is no separator: the letters of the whole stretch.
    Whole(Vec<u8>),
    /// What stands before the first and behind the last separator.
    Cut(Vec<u8>, Vec<u8>),
}

impl Scanner {
    /// Takes the next block, which it spoils, and calls `word` with every word that has become complete.
    pub fn feed(&mut self, block: &mut [u8], mut word: impl FnMut(&[u8])) {
        for byte in &mut *block {
            let lower = *byte | 0x20;
            *byte = if lower.is_ascii_lowercase() { lower } else { 0 };
        }
        let mut pieces = block.split(|byte| *byte == 0);
        let mut last = pieces.next().unwrap_or_default();
        for piece in pieces {
            // `last` is followed by a separator.
            if !self.pending.is_empty() || self.head.is_none() {
                self.pending.extend_from_slice(last);
                let whole = std::mem::take(&mut self.pending);
                match &self.head {
                    None => self.head = Some(whole),
                    Some(_) => word(&whole),
                }
            } else if !last.is_empty() {
                word(last);
            }
            last = piece;
        }
        self.pending.extend_from_slice(last);
    }

    /// What is left at the ends.
    pub fn finish(self) -> Edges {
        match self.head {
            None => Edges::Whole(self.pending),
            Some(head) => Edges::Cut(head, self.pending),
        }
    }
}

/// Puts the words together that stand across the borders of stretches, from their [`Edges`] in order.
#[derive(Debug, Default)]
pub struct Stitcher {
    pending: Vec<u8>,
}

impl Stitcher {
    /// Takes the next stretch's edges.
    pub fn feed(&mut self, edges: Edges, mut word: impl FnMut(&[u8])) {
        match edges {
            Edges::Whole(letters) => self.pending.extend(letters),
            Edges::Cut(head, tail) => {
                self.pending.extend(head);
                if !self.pending.is_empty() {
                    word(&self.pending);
                }
                self.pending = tail;
            }
        }
    }

    /// The bytes have ended.
    pub fn finish(self, mut word: impl FnMut(&[u8])) {
        if !self.pending.is_empty() {
            word(&self.pending);
        }
    }
}

/// Counts of words, private to one process.
pub type Counts = HashMap<Box<[u8]>, u64, BuildHasherDefault<WordHasher>>;

/// Counts `word`.
#[inline]
pub fn count(counts: &mut Counts, word: &[u8]) {
    match counts.get_mut(word) {
        Some(count) => *count += 1,
        None => {
            counts.insert(word.into(), 1);
        }
    }
}

/// A quick hash of short byte strings, for use inside one process: eight bytes, one multiplication.
#[derive(Debug, Default, Clone, Copy)]
pub struct WordHasher(u64);

impl Hasher for WordHasher {
    #[inline]
    fn write(&mut self, bytes: &[u8]) {
        let mut mix = |word: u64| {
            let product = u128::from(self.0 ^ word ^ 0x9E37_79B9_7F4A_7C15) * 0xD6E8_FEB8_6659_FD93;
            self.0 = product as u64 ^ (product >> 64) as u64;
        };
        let (words, rest) = bytes.as_chunks::<8>();
        words.iter().for_each(|word| mix(u64::from_le_bytes(*word)));
        let mut last = [0; 8];
        last[..rest.len()].copy_from_slice(rest);
        mix(u64::from_le_bytes(last));
    }
    #[inline]
    fn write_usize(&mut self, _length: usize) {
        // The letters alone tell words apart: none contains a zero.
    }
    fn finish(&self) -> u64 {
        self.0
    }
}

/// Which of `shards` parts of a map the word belongs to: the same in every process.
#[inline]
pub fn shard_of(word: &[u8], shards: usize) -> usize {
    let mut hasher = WordHasher::default();
    hasher.write(word);
    (hasher.finish() >> 40) as usize % shards
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words_in_blocks(text: &[u8], stretch: usize, block: usize) -> Vec<String> {
        let (mut words, mut stitcher) = (Vec::new(), Stitcher::default());
        let mut keep = |word: &[u8]| words.push(String::from_utf8(word.to_vec()).unwrap());
        for stretch in text.chunks(stretch) {
            let mut scanner = Scanner::default();
            for block in stretch.chunks(block) {
                scanner.feed(&mut block.to_vec(), &mut keep);
            }
            stitcher.feed(scanner.finish(), &mut keep);
        }
        stitcher.finish(&mut keep);
        words.sort();
        words
    }

    #[test]
    fn however_it_is_cut_the_words_are_the_same() {
        let text = b"The\0quick--BROWN fox, jumps@over `the' {lazy} [dog] \xc3\xa9t\xe9 x1y2 Zz";
        let mut expected: Vec<_> = text
            .split(|b| !b.is_ascii_alphabetic())
            .filter(|word| !word.is_empty())
            .map(|word| String::from_utf8(word.to_ascii_lowercase()).unwrap())
            .collect();
        expected.sort();
        for stretch in 1..=text.len() {
            for block in 1..=stretch {
                assert_eq!(words_in_blocks(text, stretch, block), expected, "cut at {stretch} and {block}");
            }
        }
        assert!(words_in_blocks(b"", 1, 1).is_empty());
        assert_eq!(words_in_blocks(b"abc", 1, 1), ["abc"]);
    }
}
