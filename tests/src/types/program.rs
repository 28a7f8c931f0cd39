//! [`Program`]: what the generated program does with its types.
//!
//! This file needs `unsafe`: it moves, damages and drops values by hand.

use super::case::{Case, Root};
use super::damage::{Locks, locks, spots};
use super::describe::{Shape, Ty, World};
use super::model::{Make, Model};
use super::record::Records;
use super::stored::{Change, Failure, in_relocation, with_fuse};
use crate::Random;
use shmem_core::access::Access;
use shmem_core::{Fingerprint, Segment, Visitor};
use std::cell::Cell;
use std::collections::HashMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::ptr::NonNull;
use std::rc::Rc;

/// How many values of each type are looked at.
const VALUES: u64 = 3;
/// How many changes each of them is put through.
const CHANGES: u64 = 10;
/// How many places of each value are damaged.
const DAMAGES: usize = 12;

/// The generated program.
pub struct Program {
    world: World,
    roots: Vec<Root>,
    module: &'static str,
}

/// What is being done, told when it goes wrong.
fn step(root: usize, what: &str) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "@ {root} {what}").and_then(|()| out.flush()).expect("the suite listens");
}

impl Program {
    /// Of these types: those of the world of `seed`, in its order, which stand in `module`.
    pub fn new(seed: u64, module: &'static str, cases: Vec<Box<dyn Case>>) -> Self {
        let world = World::new(seed);
        assert_eq!(world.roots.len(), cases.len());
        let roots = world.roots.iter().cloned().zip(cases).map(|(ty, case)| Root { case, ty }).collect();
        Program { world, roots, module }
    }

    /// Does what the arguments say: `write`, `read` or `end`, and the segment's name.
    pub fn main(&self) {
        let arguments: Vec<String> = std::env::args().collect();
        let segment = || Segment::shared(&arguments[2]);
        match &*arguments[1] {
            // With room to spare: in a full segment a value may get larger blocks the second time, and use more.
            "write" => self.write(
                &segment().size(64 << 20).max_size(256 << 20).create().expect("a segment"),
                &segment().open().expect("a second mapping"),
            ),
            "read" => self.read(&segment().open().expect("the segment")),
            "end" => self.end(&segment().open().expect("the segment")),
            other => panic!("unknown: {other}"),
        }
    }

    /// The value that root `i` has in `round`.
    fn model(&self, i: usize, round: u64) -> Model {
        let mut seeds = Random::new(self.world.seed ^ (i as u64) << 20 ^ round << 50);
        Make::new(&self.world, seeds.word()).value(&self.roots[i].ty)
    }

    /// Checks each type, and leaves an object of each in the segment.
    fn write(&self, one: &Segment, two: &Segment) {
        self.make_room(one);
        for (i, root) in self.roots.iter().enumerate() {
            Check { world: &self.world, root, i, one, two }.run();
            step(i, "names");
            let name = i.to_string();
            root.case.construct(one, &name, &self.model(i, 0));
            same(&root.case.find(two, &name), &self.model(i, 0), "through the second mapping");
            let (before, model) = (one.used(), self.model(i, 1));
            root.case.replace(two, &name, &model);
            same(&root.case.find(one, &name), &model, "replaced through the second mapping");
            root.case.replace(one, &name, &self.model(i, 0));
            assert_eq!(one.used(), before, "replacing a value leaks");
            self.native(i, one, two);
        }
        self.types(one);
        assert_eq!(one.check(), [], "the segment is damaged");
        assert_eq!(two.memory().bad_frees, 0);
    }

    /// Has the segment's tables grow to what they will need, so that memory is used by values alone from then on.
    fn make_room(&self, segment: &Segment) {
        let names: Vec<_> = (0..2 * self.roots.len()).map(|i| format!("room {i}")).collect();
        for name in &names {
            segment.construct::<u8>(name, 0).expect("memory for an object");
        }
        for name in &names {
            assert!(segment.destroy::<u8>(name).expect("the type it was constructed with"));
        }
    }

    /// Mirrors: from ordinary values and back.
    fn native(&self, i: usize, one: &Segment, two: &Segment) {
        let (root, name) = (&self.roots[i], format!("{i} native"));
        let Some(native) = root.case.native() else { return };
        step(i, "an ordinary value");
        let before = one.used();
        for round in 0..4 {
            let model = self.model(i, 2 + round);
            native.construct(one, &name, &model, round % 2 == 0);
            same(&root.case.find(two, &name), &model, "built from an ordinary value");
            same(&native.find(two, &name), &model, "made an ordinary value again");
            root.case.destroy(two, &name);
        }
        assert_eq!(one.used(), before, "a mirror leaks");
        same(&native.find(two, &i.to_string()), &self.model(i, 0), "made an ordinary value");
    }

    /// Checks what another process left, and leaves other values.
    fn read(&self, segment: &Segment) {
        for (i, root) in self.roots.iter().enumerate() {
            step(i, "in another process");
            let name = i.to_string();
            same(&root.case.find(segment, &name), &self.model(i, 0), "in another process");
            root.case.replace(segment, &name, &self.model(i, 1));
        }
        self.types(segment);
        assert_eq!(segment.check(), [], "the segment is damaged");
    }

    /// Checks what the second process left, and destroys it.
    fn end(&self, segment: &Segment) {
        for (i, root) in self.roots.iter().enumerate() {
            step(i, "in a third process");
            let (name, model) = (i.to_string(), self.model(i, 1));
            same(&root.case.find(segment, &name), &model, "in a third process");
            let before = segment.used();
            root.case.construct(segment, "again", &model);
            let (between, bytes) = (segment.used(), root.case.layout().size());
            assert!(between - before >= bytes as u64, "an object takes no memory");
            root.case.destroy(segment, "again");
            assert_eq!(segment.used(), before, "destroying leaks");
            root.case.destroy(segment, &name);
            // What it owned is now free: as much as for an equal one, which may have more room.
            assert!(segment.used() < before || bytes == 0, "destroying frees nothing");
        }
        assert_eq!(segment.object_count(), 0);
        assert_eq!(segment.check(), [], "the segment is damaged");
    }

    /// Fingerprints, which are printed for the suite to compare, and records.
    fn types(&self, segment: &Segment) {
        let mut records = Records::new(&self.world, self.module, segment.stored_types());
        let (mut all, mut known) = (String::new(), HashMap::new());
        for (i, root) in self.roots.iter().enumerate() {
            step(i, "its record");
            let fingerprint = Fingerprint::of_info(root.case.info());
            if let Some(other) = known.insert(fingerprint, i) {
                panic!("one fingerprint for {:?} and {:?}", self.roots[other].ty, root.ty);
            }
            records.check(&root.ty, fingerprint);
            let _ = write!(all, " {fingerprint}");
        }
        println!("fingerprints{all}");
        let path = std::env::args().nth(3).expect("a file for the records");
        let mut bytes = Vec::new();
        for ty in segment.stored_types() {
            bytes.extend(ty.fingerprint.0);
            bytes.extend((ty.record.len() as u32).to_le_bytes());
            bytes.extend(&ty.record);
        }
        std::fs::write(path, bytes).expect("a file for the records");
    }
}

#[track_caller]
fn same(found: &Model, wanted: &Model, when: &str) {
    if let Some(difference) = found.difference(wanted) {
        panic!("{when}: {difference}");
    }
}

/// One type.
struct Check<'c> {
    world: &'c World,
    root: &'c Root,
    i: usize,
    one: &'c Segment,
    two: &'c Segment,
}

impl Check<'_> {
    fn run(&self) {
        step(self.i, "its layout");
        let (layout, rules) = (self.root.case.layout(), self.world.layout(&self.root.ty));
        assert_eq!((layout.size(), layout.align()), (rules.size, rules.align), "the layout");
        let info = self.root.case.info();
        assert_eq!((info.size, info.align), (rules.size, rules.align), "the described layout");
        let mut make = Make::new(self.world, self.world.seed ^ (self.i as u64) << 32 ^ 1);
        for _ in 0..VALUES {
            let before = self.one.used();
            self.value(&mut make);
            assert_eq!(self.one.used(), before, "a value leaks");
        }
        step(self.i, "a vector that grows");
        let models: Vec<_> = (0..7).map(|_| make.small(&self.root.ty)).collect();
        let before = self.one.used();
        let found = self.root.case.grow(self.one.access(), &models);
        same(&found, &Model::List(models), "in a vector that grew");
        assert_eq!(self.one.used(), before, "a vector leaks");
    }

    /// One value, in a block of its own.
    fn value(&self, make: &mut Make<'_>) {
        let (case, ty, access) = (&self.root.case, &self.root.ty, self.one.access());
        let layout = case.layout();
        step(self.i, "built");
        let empty = self.one.used();
        let [at, other] = [0xa5, 0x5a].map(|junk| {
            let block = access.allocate(layout).expect("memory for a value").cast::<u8>();
            // SAFETY: a fresh block.
            unsafe { block.write_bytes(junk, layout.size()) };
            block
        });
        let mut model = make.value(ty);
        self.fail(at, &model, make);
        // SAFETY (to the end of the function): the blocks are this function's alone; a value stands in `at`, none in
        // `other`, but where it is moved there and back.
        // SAFETY: see above.
        unsafe { case.build(&model, at, access) }.expect("memory for a value");
        self.look(at, &model, empty, "built");
        step(self.i, "changed through its view");
        for _ in 0..CHANGES {
            let change = Change { model: &mut model, ty: ty.clone(), make: &mut *make };
            // SAFETY: see above.
            unsafe { case.change(at, access, change) };
            // SAFETY: see above.
            same(&unsafe { case.value(at) }.read(), &model, "changed through its view");
        }
        self.look(at, &model, empty, "changed");
        step(self.i, "moved");
        for (from, to, junk) in [(at, other, 0xa5), (other, at, 0xff)] {
            self.relocate(from, to);
            // SAFETY: the value was moved out.
            unsafe { from.write_bytes(junk, layout.size()) };
            self.look(to, &model, empty, "moved");
        }
        step(self.i, "locked");
        self.lock(at);
        step(self.i, "damaged");
        self.damage(at, make);
        self.look(at, &model, empty, "mended");
        step(self.i, "dropped");
        // SAFETY: see above.
        unsafe { case.destroy_value(at) };
        for block in [at, other] {
            // SAFETY: allocated above, with this layout; nothing stands there any more.
            unsafe { access.deallocate(block, layout) };
        }
    }

    /// Building fails, or panics, somewhere in the middle: nothing is left.
    fn fail(&self, at: NonNull<u8>, model: &Model, make: &mut Make<'_>) {
        let before = self.one.used();
        for failure in [Failure::Error, Failure::Panic, Failure::Error, Failure::Panic] {
            let left = make.random.size(40) - 1;
            let failed = with_fuse(left, failure, || {
                // SAFETY: the block is ours; nothing stands there.
                unsafe { self.root.case.build(model, at, self.one.access()) }
            });
            if !failed {
                // SAFETY: the value was built, and is not used any more.
                unsafe { self.root.case.destroy_value(at) };
            }
            assert_eq!(self.one.used(), before, "an initialiser that fails after {left} others leaks");
        }
    }

    /// A lock in the value's own bytes is known to be held while it is, one behind a pointer is not its own.
    fn lock(&self, at: NonNull<u8>) {
        let mut found = Locks::default();
        // SAFETY: a valid value, which nobody changes.
        locks(&self.root.ty, unsafe { self.root.case.value(at) }, self.world, true, &mut found);
        // SAFETY: a valid value, ours alone.
        let held = || unsafe { self.root.case.lock_held(at) };
        assert!(!held(), "a lock is held that nobody holds");
        for (locks, inside) in [(found.inside, true), (found.behind, false)] {
            for lock in locks {
                let guard = lock.hold().expect("a lock");
                assert_eq!(held(), inside, "whether a lock is held in the value's own bytes");
                drop(guard);
                assert!(!held(), "a lock is held that nobody holds any more");
            }
        }
    }

    /// Moves the value. Whenever a [`Probe`](super::Probe) of it is moved, the tag at the destination shows no fields.
    fn relocate(&self, from: NonNull<u8>, to: NonNull<u8>) {
        let mut shows_fields = Vec::new();
        let mut tag_size = 0;
        if let Ty::Def(i, _) = &self.root.ty
            && let Shape::Enum(variants) = &self.world.defs[*i].shape
        {
            tag_size = self.world.places(&self.root.ty).tag_size;
            let with_fields = variants.iter().filter(|variant| !variant.fields.list.is_empty());
            shows_fields =
                with_fields.map(|variant| variant.tag.to_le_bytes()[..tag_size].to_vec()).collect();
        }
        let bad = Rc::new(Cell::new(None));
        let seen = bad.clone();
        let watch = move |_| {
            // SAFETY: the destination is a live block, which only this thread uses.
            let tag = unsafe { std::slice::from_raw_parts(to.as_ptr(), tag_size) };
            if shows_fields.iter().any(|with_fields| with_fields == tag) {
                seen.set(Some(tag[0]));
            }
        };
        // SAFETY: `from` holds a value, no lock in it is held; `to` is free.
        in_relocation(watch, || unsafe { self.root.case.relocate(from, to) });
        assert_eq!(bad.get(), None, "a tag shows fields that are not there yet");
    }

    /// Reads the value through both mappings, and walks it.
    fn look(&self, at: NonNull<u8>, model: &Model, empty: u64, when: &str) {
        let case = &self.root.case;
        // SAFETY: a valid value, which nobody changes.
        same(&unsafe { case.value(at) }.read(), model, when);
        let there = self.in_second(at);
        assert!(there != at || case.layout().size() == 0, "both mappings are at one address");
        // SAFETY: the same value.
        same(&unsafe { case.value(there) }.read(), model, &format!("{when}, through the second mapping"));
        for (segment, at) in [(self.one, at), (self.two, there)] {
            let mut visitor = Visitor::new(segment.access());
            // SAFETY: a valid value, which nobody changes.
            unsafe { case.walk(at, &mut visitor) };
            assert_eq!(visitor.findings(), [], "{when}: the walk finds");
            // Its own block and the other one are not the value's.
            let owned: u64 = visitor.blocks().map(|(_, size)| size).sum();
            let own = self.own_bytes(segment.access());
            let used = segment.used() - empty;
            assert_eq!(owned + 2 * own, used, "{when}: blocks that are reported, and memory that is used");
        }
        let mut found = Vec::new();
        // SAFETY: a valid value, which nobody changes.
        spots(self.world, &self.root.ty, unsafe { case.value(at) }, &mut found);
    }

    /// What one block for a value takes.
    fn own_bytes(&self, access: Access<'_>) -> u64 {
        let layout = self.root.case.layout();
        let block = access.allocate(layout).expect("memory for a value");
        // SAFETY: allocated just now.
        unsafe { access.deallocate(block.cast(), layout) };
        block.len() as u64
    }

    /// The same place in the second mapping.
    fn in_second(&self, at: NonNull<u8>) -> NonNull<u8> {
        match self.one.access().context().offset_of(at.as_ptr()) {
            Some(offset) => NonNull::new(self.two.access().context().base().wrapping_add(offset as usize))
                .expect("a mapping is not at 0"),
            // A value without bytes stands anywhere.
            None => at,
        }
    }

    /// Damages the value in some places, one after the other; each is found, and mended.
    fn damage(&self, at: NonNull<u8>, make: &mut Make<'_>) {
        let (case, mut found) = (&self.root.case, Vec::new());
        // SAFETY: a valid value, which nobody changes.
        spots(self.world, &self.root.ty, unsafe { case.value(at) }, &mut found);
        found.retain(|spot| !spot.wrong.is_empty());
        let context = self.one.access().context();
        for _ in 0..DAMAGES.min(found.len()) {
            let spot = found.swap_remove(make.random.below(found.len() as u64) as usize);
            let offset =
                context.offset_of(std::ptr::without_provenance(spot.at)).expect("a place in the segment");
            // SAFETY: inside a live block of the segment; only this thread uses it, and nothing refers to it.
            let place = unsafe {
                std::slice::from_raw_parts_mut(context.base().add(offset as usize), spot.wrong.len())
            };
            let right = place.to_vec();
            place.copy_from_slice(&spot.wrong);
            let mut visitor = Visitor::new(self.one.access());
            // SAFETY: readable; nobody changes it.
            unsafe { case.walk(at, &mut visitor) };
            assert!(!visitor.is_clean(), "{} that is wrong is not found", spot.what);
            let named = visitor.findings().iter().any(|finding| finding.at == offset);
            assert!(named, "{} that is wrong is found elsewhere: {:?}", spot.what, visitor.findings());
            // SAFETY: as above.
            unsafe { context.base().add(offset as usize).copy_from(right.as_ptr(), right.len()) };
        }
    }
}
