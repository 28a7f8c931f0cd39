//! What tests do to a directory behind its back.

use super::entry;
use super::{Directory, DropGlue, Entry, Key, Phase, State};
use crate::primitive::Ordering;

/// Leaves the index as a process does that dies while it moves slots.
pub(crate) fn die_moving(directory: &Directory) {
    directory.header().sequence.fetch_or(1, Ordering::SeqCst);
}

/// Damages an entry: it is being converted, by the process with the record `agent` or by nobody.
pub(crate) fn converted_by(directory: &Directory, number: u32, agent: Option<u32>) {
    let entry = directory.entry(number).unwrap();
    let live = entry.state();
    entry.settle(agent.map_or(live.to(Phase::Converting), |agent| live.by(Phase::Converting, agent)));
}

/// Damages an entry: its object is being freed by the process with the record `agent`.
pub(crate) fn freed_by(directory: &Directory, number: u32, agent: u32) {
    let entry = directory.entry(number).unwrap();
    entry.settle(entry.state().by(Phase::Freeing, agent));
}

/// Damages an entry: it is being constructed by the process with the record `agent`.
pub(crate) fn constructed_by(directory: &Directory, number: u32, agent: u32) {
    let entry = directory.entry(number).unwrap();
    entry.settle(entry.state().by(Phase::Reserved, agent));
}

/// Repairs what [`constructed_by`] damaged.
pub(crate) fn made_live(directory: &Directory, number: u32) {
    let entry = directory.entry(number).unwrap();
    entry.settle(entry.state().to(Phase::Live));
}

fn named<'d>(directory: &'d Directory, name: &str) -> Option<&'d Entry> {
    let entries = (0..directory.high()).filter_map(|n| directory.entry(n));
    let key = Key::named(name).unwrap();
    entries.filter(|e| !e.state().is(Phase::Free)).find(|e| directory.is_named(e, &key))
}

/// Whether the object of this name is under construction.
pub(crate) fn is_reserved(directory: &Directory, name: &str) -> bool {
    named(directory, name).is_some_and(|entry| entry.state().is(Phase::Reserved))
}

/// Whether somebody sleeps until it is made.
pub(crate) fn has_sleepers(directory: &Directory, name: &str) -> bool {
    named(directory, name).is_some_and(|entry| entry.state() == entry.state().with_sleepers())
}

/// Whether its constructor waits for another's.
pub(crate) fn waits(directory: &Directory, name: &str) -> bool {
    named(directory, name).is_some_and(|entry| entry.waits_for.load(Ordering::SeqCst) != 0)
}

/// The record of this mapping's process.
pub(crate) fn record(directory: &Directory) -> u32 {
    directory.participants.attached_now().unwrap()
}

/// Sets the hints: entries in use, an entry that may be free, orphans.
pub(crate) fn hint(directory: &Directory, used: u32, free: u32, orphans: u32) {
    let header = directory.header();
    header.used.store(used, Ordering::SeqCst);
    header.free.store(free, Ordering::SeqCst);
    header.orphans.store(orphans.into(), Ordering::SeqCst);
}

/// How many orphans there are, and whether the hint says that there may be some.
pub(crate) fn orphans(directory: &Directory) -> (usize, bool) {
    let entries = (0..directory.high()).filter_map(|n| directory.entry(n));
    (entries.filter(|e| e.state().is(Phase::Orphan)).count(), directory.has_orphans())
}

/// Entries that were ever used.
pub(crate) fn high(directory: &Directory) -> u32 {
    directory.high()
}

/// Lets the next life of a free entry be the last before generations come round.
pub(crate) fn age(directory: &Directory, number: u32) {
    let entry = directory.entry(number).unwrap();
    assert!(entry.state().is(Phase::Free));
    entry.settle(State(u64::MAX).as_free());
}

/// Whether this mapping's process counts its pins of the entry in a lane.
pub(crate) fn is_in_lane(directory: &Directory, number: u32) -> bool {
    let entry = directory.entry(number).unwrap();
    let lane = entry::Lane(entry.lane(record(directory)).load(Ordering::SeqCst));
    lane.process() == Some(record(directory)) && lane.pins() != 0
}

/// Whether readers are sent to the lock.
pub(crate) fn is_moving(directory: &Directory) -> bool {
    directory.header().sequence.load(Ordering::SeqCst) & 1 != 0
}

/// A thread between letting go of an object and looking whether it was the last to hold it.
pub(crate) struct LateReap<'d> {
    directory: &'d Directory,
    number: u32,
    life: State,
    glue: DropGlue,
}

pub(crate) fn late_reap(directory: &Directory, number: u32) -> LateReap<'_> {
    let life = directory.entry(number).unwrap().state();
    LateReap { directory, number, life, glue: |_, _| panic!("the glue of another type") }
}

impl LateReap<'_> {
    pub(crate) fn number(&self) -> u32 {
        self.number
    }

    /// Looks while the entry's next object is unlinked, and its own reaper has not come yet.
    pub(crate) fn on_unlinked(self) {
        let entry = self.directory.entry(self.number).unwrap();
        let live = entry.state();
        let words = || entry.lanes.iter().chain(&entry.pins);
        let pins: Vec<u64> = words().map(|word| word.swap(0, Ordering::SeqCst)).collect();
        assert!(entry.advance(live, live.to(Phase::Unlinked)));
        self.directory.reap_if_free(entry, Some((self.glue, self.life)));
        entry.settle(live);
        for (word, pins) in words().zip(pins) {
            word.store(pins, Ordering::SeqCst);
        }
    }
}
