//! Looking in: what there is, and what is wrong with it.

use super::entry::{Entry, Phase};
use super::{Directory, Key, ObjectInfo};
use crate::access::BlockInfo;
use crate::error::{Corrupt, Error, Result};
use crate::layout::{Fingerprint, describe_stored, from_halves};
use crate::mapping::superblock::DIRECTORY_AT;
use crate::primitive::Ordering;
use std::alloc::Layout;
use std::ptr;

impl Directory {
    /// Every object that can be found or is held, in no order.
    pub(crate) fn objects(&self) -> Result<Vec<ObjectInfo>> {
        let _lock = self.lock()?;
        let lookup = |f| self.stored_record(f);
        let mut objects = Vec::new();
        for number in 0..self.high() {
            let Some(entry) = self.entry(number) else { continue };
            let label = entry.label();
            if !entry.state().is_there() {
                continue;
            }
            let (Some(kind), Some(name)) = (label.kind(), self.name_bytes(entry)) else {
                return Err(Corrupt { at: self.entry_offset(entry), what: "a directory entry" }.into());
            };
            let fingerprint = from_halves(entry.fingerprint());
            let count = entry.count.load(Ordering::Relaxed);
            objects.push(ObjectInfo {
                name: String::from_utf8_lossy(name).into_owned(),
                kind,
                type_name: describe_stored(fingerprint, &lookup),
                fingerprint,
                count,
                is_slice: label.is_slice(),
                size_bytes: entry.element_size.load(Ordering::Relaxed).saturating_mul(count),
                holders: entry.holders().len() as u32,
            });
        }
        Ok(objects)
    }

    /// How many objects are live.
    pub(crate) fn count(&self) -> usize {
        (0..self.high()).filter_map(|n| self.entry(n)).filter(|e| e.state().is_there()).count()
    }

    #[cold]
    pub(super) fn damaged(&self, entry: &Entry, what: &'static str) -> Error {
        Corrupt { at: self.entry_offset(entry), what }.into()
    }

    pub(super) fn entry_offset(&self, entry: &Entry) -> u64 {
        self.context.offset_of(ptr::from_ref(entry).cast()).unwrap_or(0)
    }

    /// Everything that is wrong with the directory. Others may be using it meanwhile.
    pub(crate) fn check(&self) -> Vec<Corrupt> {
        let mut found: Vec<Corrupt> = self.validate().err().into_iter().collect();
        found.extend(self.check_records());
        let _lock = match self.lock() {
            Ok(lock) => lock,
            Err(_) => {
                found.push(Corrupt {
                    at: DIRECTORY_AT,
                    what: "the directory cannot be locked by this thread",
                });
                return found;
            }
        };
        found.extend(self.check_index());
        for number in 0..self.high() {
            let Some(entry) = self.entry(number) else { continue };
            let at = self.entry_offset(entry);
            let state = entry.state();
            let Some(phase) = state.phase() else {
                found.push(Corrupt { at, what: "an entry's state is none" });
                continue;
            };
            if phase == Phase::Free {
                continue;
            }
            let before = found.len();
            let mut wrong = |what| found.push(Corrupt { at, what });
            if entry.label().kind().is_none() {
                wrong("an object's kind is none");
            }
            // The lock keeps the names of what can be found; those of others go without it, with their objects.
            let name = || self.name_bytes(entry).and_then(|name| std::str::from_utf8(name).ok());
            match state.is_indexed().then(name) {
                None => {}
                Some(None) => wrong("an object's name is nowhere or not UTF-8"),
                Some(Some(name)) => {
                    let kind = entry.label().kind();
                    let hash = kind.map(|kind| self.hash(&Key { kind, name }));
                    if hash.is_some_and(|hash| hash != entry.hash.load(Ordering::Relaxed)) {
                        wrong("an object's hash is not its name's");
                    }
                }
            }
            if phase == Phase::Converting && state.agent().is_none() {
                wrong("an object is being converted by nobody");
            }
            // An agent ends what it does before it goes; a dead one's record stays until that was undone.
            let nobodys = match phase {
                Phase::Reserved => self.is_nobodys(entry, state),
                Phase::Freeing => state.agent().is_none_or(|agent| !self.participants.is_attached(agent)),
                _ => false,
            };
            if nobodys {
                wrong("an object is being constructed or freed by nobody");
            }
            if phase == Phase::Live && entry.supersedes.load(Ordering::Relaxed) != 0 {
                wrong("a live object has yet to supersede another");
            }
            // It went meanwhile: what was read may be another's.
            let went = || entry.state() != state;
            if !matches!(phase, Phase::Live | Phase::Unlinked | Phase::Orphan | Phase::Converting) {
                if went() {
                    found.truncate(before);
                }
                continue;
            }
            let object = entry.object.load(Ordering::Relaxed);
            match self.element_layout(entry) {
                None => wrong("an object's layout is impossible"),
                Some((layout, _)) if layout.size() > 0 => {
                    let block = self.context.allocator().block_at(object);
                    if !block.is_some_and(|b| b.offset == object && b.size_bytes >= layout.size() as u64) {
                        wrong("an object is in no block of its size");
                    }
                }
                Some(_) => {}
            }
            if self.stored_record(from_halves(entry.fingerprint())).is_none() {
                wrong("an object's type has no record");
            }
            let named = !entry.label().is_anonymous();
            let hash = entry.hash.load(Ordering::Relaxed);
            let indexed = self.table().and_then(|t| self.probe(t, hash, |e| ptr::eq(e, entry).then_some(())));
            if state.is_there() && named && indexed.is_none() {
                wrong("a live object is not in the index");
            }
            if went() {
                found.truncate(before);
            }
        }
        found
    }

    /// Runs `f` with the directory locked: it must not come back here.
    ///
    /// # Errors
    /// [`LockError`](crate::LockError) if this thread gets no slot.
    pub(crate) fn locked<R>(&self, f: impl FnOnce() -> R) -> Result<R> {
        let _lock = self.lock()?;
        Ok(f())
    }

    /// Every object, also those that cannot be found any more, or not yet. Under the directory lock.
    pub(crate) fn inventory(&self) -> Vec<Stock> {
        let lookup = |f| self.stored_record(f);
        let stock = |entry: &Entry| {
            let label = entry.label();
            let fingerprint = from_halves(entry.fingerprint());
            let name = self.name_bytes(entry).filter(|_| !label.is_anonymous());
            let is_whole = match entry.state().phase()? {
                Phase::Free => return None,
                Phase::Live | Phase::Unlinked | Phase::Orphan => true,
                Phase::Reserved | Phase::Converting | Phase::Freeing => false,
            };
            Some(Stock {
                entry_at: self.entry_offset(entry),
                name: name.map(|name| String::from_utf8_lossy(name).into_owned()),
                type_name: describe_stored(fingerprint, &lookup),
                fingerprint,
                at: entry.object.load(Ordering::Relaxed),
                count: entry.count.load(Ordering::Relaxed),
                layout: self.element_layout(entry).map(|(layout, _)| layout),
                is_whole,
            })
        };
        (0..self.high()).filter_map(|n| self.entry(n)).filter_map(stock).collect()
    }

    /// The blocks that the directory itself uses: chunks, index tables, names, type records. Under the directory lock.
    ///
    /// # Errors
    /// [`Corrupt`] if one of them is none.
    pub(crate) fn own_blocks(&self) -> Result<Vec<BlockInfo>, Corrupt> {
        let mut at: Vec<u64> = self.tables()?.into_iter().map(|(at, _)| at).collect();
        at.extend(
            self.header().chunks.iter().map(|chunk| chunk.load(Ordering::Relaxed)).filter(|at| *at != 0),
        );
        at.extend(self.record_blocks());
        at.extend(
            (0..self.high())
                .filter_map(|n| self.entry(n))
                .filter(|e| !e.state().is(Phase::Free))
                .map(Entry::name_at)
                .filter(|at| *at != 0),
        );
        let block = |at| {
            let block = self.context.allocator().block_at(at).filter(|block| block.offset == at);
            block.ok_or(Corrupt { at, what: "a block of the directory's is none" })
        };
        at.into_iter().map(block).collect()
    }
}

/// An object, for whoever looks through all of them.
#[derive(Debug)]
pub(crate) struct Stock {
    /// Where its entry stands.
    pub(crate) entry_at: u64,
    /// Its name, if it has one.
    pub(crate) name: Option<String>,
    pub(crate) type_name: String,
    pub(crate) fingerprint: Fingerprint,
    /// Where its first element stands, 0 if it has no bytes.
    pub(crate) at: u64,
    pub(crate) count: u64,
    /// Of all elements; `None` if that is impossible.
    pub(crate) layout: Option<Layout>,
    /// Not being constructed, converted or freed.
    pub(crate) is_whole: bool,
}
