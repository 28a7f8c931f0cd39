//! Processes that come and go in waves of 64, while another one stays: each attaches, allocates, and goes well, goes without
//! a word, or is killed. What the segment lent them is back after each wave, and the process that stays has nothing more than
//! at first. Three waves; `SHMEM_LONG=1`: for five minutes.
//!
//! This file needs `unsafe`: it takes over the blocks of the dead.

use shmem_core::{Root, Segment, ShmMutex, ShmVec};
use shmem_tests::stress::Block;
use shmem_tests::*;
use std::alloc::Layout;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::{Duration, Instant};

roles! { visitor, stayer }

const VISITORS: usize = 64;
/// Raw blocks that each holds, noted in the segment; and objects without a name.
const BLOCKS: usize = 12;
const OBJECTS: usize = 3;

/// Pages that a class may keep although they are empty.
const KEPT_PAGES: u64 = 8;
const PAGE: u64 = 64 << 10;

/// Bytes that one process may have at hand.
const AT_HAND: u64 = 100 << 10;

type Notes = Root<[AtomicU64]>;

fn in_role() -> (Segment, Notes) {
    let segment = Segment::shared(&argument::<String>(0)).open().unwrap();
    let notes = segment.find_slice::<AtomicU64>("notes").unwrap().unwrap();
    (segment, notes)
}

/// Few, since each process has a page of its own for each: the number of pages says whether those come back.
const SIZES: [usize; 7] = [40, 40, 100, 500, 3000, 8000, 70_000];

fn layout(random: &mut Random) -> Layout {
    Layout::from_size_align(*random.pick(&SIZES), 8).unwrap()
}

fn visitor() {
    let (segment, notes) = in_role();
    let (visitor, end): (usize, String) = (argument(1), argument(2));
    let mut random = Random::new(argument(3));
    for _ in 0..20 {
        let (layout, n) = (layout(&mut random), 1 + random.below(30) as usize);
        let blocks = Block::many(&segment, &mut random, 1, layout, n);
        blocks.into_iter().for_each(|block| block.free(&segment));
    }
    let list = || segment.construct_anonymous::<ShmMutex<ShmVec<u64>>>(ShmMutex::new(vec![1; 300]));
    let objects: Vec<_> = (0..OBJECTS).map(|_| list().unwrap()).collect();
    let named = format!("of {visitor}");
    drop(segment.construct::<ShmVec<u64>>(&named, vec![2; 100]).unwrap());
    for note in &notes[visitor * BLOCKS..][..BLOCKS] {
        let layout = layout(&mut random);
        let block = Block::many(&segment, &mut random, 2, layout, 1).remove(0);
        note.store(block.leave(), SeqCst);
    }
    // All of them have all of it at once.
    report("has it");
    hear();
    assert!(segment.destroy::<ShmVec<u64>>(&named).unwrap());
    match &*end {
        "well" => clear(&segment, &notes[visitor * BLOCKS..][..BLOCKS]),
        "at once" => ends::exit_at_once(),
        _ => {
            report("to be killed");
            hear();
        }
    }
    drop(objects);
}

/// Frees the blocks that are noted here.
fn clear(segment: &Segment, notes: &[AtomicU64]) {
    for note in notes {
        // SAFETY: left there, and taken out once: whoever noted it is gone, or this.
        if let Some(block) = unsafe { Block::take(note.swap(0, SeqCst)) } {
            block.free(segment);
        }
    }
}

/// The one that stays: looks whenever it is told to.
fn stayer() {
    let (segment, notes) = in_role();
    // What the first use takes.
    drop(segment.construct_anonymous::<ShmMutex<ShmVec<u64>>>(ShmMutex::new(vec![1; 300])).unwrap());
    let mut random = Random::new(1);
    Block::many(&segment, &mut random, 3, Layout::new::<[u64; 8]>(), 100)
        .into_iter()
        .for_each(|block| block.free(&segment));
    let _ = Resources::now();
    report("here");
    while hear().is_some() {
        segment.recover();
        clear(&segment, &notes);
        // Drops what the dead have left of this type.
        drop(segment.construct_anonymous::<ShmMutex<ShmVec<u64>>>(ShmMutex::new(vec![1; 300])).unwrap());
        segment.trim().unwrap();
        let damage = segment.check();
        let Resources { descriptors, mappings, .. } = Resources::now();
        let (memory, all) = (segment.memory(), segment.participants());
        let threads: usize = all.iter().map(|process| process.threads.len()).sum();
        report(format!(
            "{} processes, {threads} threads; {} objects, {} bytes in use, {} raw blocks, {} bad frees; {descriptors} \
             descriptors, {mappings} mappings; damage: {damage:?}",
            all.len(),
            segment.object_count(),
            memory.used_bytes,
            memory.raw_blocks,
            memory.bad_frees,
        ));
        report(memory.cached_bytes);
        report(memory.committed_bytes);
    }
}

/// What the one that stays has seen, and how many bytes have memory.
fn look(stayer: &mut Worker) -> (String, u64) {
    stayer.tell("look");
    let seen = stayer.hear();
    let cached: u64 = stayer.hear().parse().unwrap();
    assert!(cached <= AT_HAND, "{cached} bytes are at hand, for the dead");
    (seen, stayer.hear().parse().unwrap())
}

fn wave(name: &TempName, random: &mut Random) {
    let ends = ["well", "at once", "killed"];
    let end_of = |i: usize| ends[i % ends.len()];
    let start = |i| Worker::spawn("visitor", &[name, &i, &end_of(i), &random.word()]);
    let mut visitors: Vec<_> = (0..VISITORS).map(start).collect();
    visitors.iter_mut().for_each(|visitor| visitor.expect("has it"));
    visitors.iter_mut().for_each(|visitor| visitor.tell("go"));
    for (i, mut visitor) in visitors.into_iter().enumerate() {
        if end_of(i) == "killed" {
            visitor.expect("to be killed");
            visitor.kill();
        } else {
            visitor.finish();
        }
    }
}

#[test]
fn what_processes_had_is_back_when_they_are_gone() {
    let limit = Duration::from_secs(if long() { 300 } else { 0 });
    let _watchdog = Watchdog::new("waves", limit + Duration::from_secs(150));
    let name = TempName::new("waves");
    let segment = name.segment().size(256 << 20).create().unwrap();
    drop(segment.construct_slice::<AtomicU64, _>("notes", VISITORS * BLOCKS, |_| AtomicU64::new(0)).unwrap());
    drop(segment);
    let mut random = Random::new(Random::fresh_seed("waves"));
    let mut stayer = Worker::spawn("stayer", &[&name]);
    stayer.expect("here");
    // The directory keeps the room that it has once needed.
    wave(&name, &mut random);
    let (at_first, committed) = look(&mut stayer);
    assert!(at_first.starts_with("1 processes") && at_first.contains("damage: []"), "{at_first}");
    let (begun, mut waves, mut most) = (Instant::now(), 0, committed);
    while waves < 3 || begun.elapsed() < limit {
        wave(&name, &mut random);
        let (now, committed) = look(&mut stayer);
        waves += 1;
        assert_eq!(now, at_first, "after {waves} waves");
        most = most.max(committed);
    }
    println!("{waves} waves: {at_first}; {committed} bytes committed at first, {most} at most");
    // Pages of a class are kept a little longer than what was in them.
    assert!(most <= committed + KEPT_PAGES * PAGE, "{most} bytes are committed after {waves} waves");
    stayer.finish();
}
