//! Caches: deaths at every step of their threads, recovery, and the hand-over from one thread to the next.

use loom::thread;
use shmem_models::{Block, Blocks, EVERY, Fault, Pool, User, World, check, check_each_death};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// As many blocks as there are in all of these models: those of the second word are the last ones that are found.
const FREE: [u32; 4] = [0, 1, 2, 64];

/// A thread of a new process that has an empty cache.
fn user(blocks: &Blocks, world: &World, slot: usize) -> User {
    let user = blocks.pool(&world.process()).user(slot);
    user.adopt_cache();
    user
}

/// A slot's cache is empty, and a thread of this process can have the slot, use it, and give it back.
fn is_usable(pool: &Pool, slot: usize) {
    let user = pool.user(slot);
    user.adopt_cache();
    let got = user.allocate_many(FREE.len());
    user.free_all(got);
    user.exit();
}

/// Fills its magazine, and empties it, from and into both words.
fn use_all(user: &User) {
    let mut got = user.allocate_many(FREE.len());
    got.rotate_left(1);
    user.free_all(got);
}

/// What a thread does in whose midst its process is killed.
type Work = fn(&User, Vec<Block>);

/// A process with a thread in the first slot, which is killed after so many stores of its work; whether it was. `in_hand`
/// blocks are the thread's before.
fn killed_at(blocks: &Blocks, world: &World, stores: u32, in_hand: usize, work: Work) -> bool {
    let dying = user(blocks, world, 0);
    let got = dying.allocate_many(in_hand);
    dying.live_for(stores, || work(&dying, got))
}

/// Whether a process that is to be killed after so many stores of [`use_all`] is.
fn kills(stores: u32) -> bool {
    let died = Arc::new(AtomicBool::new(false));
    let seen = died.clone();
    check(None, EVERY, move |world| {
        seen.store(
            killed_at(&Blocks::only(&FREE), world, stores, 0, |user, _| use_all(user)),
            Ordering::Relaxed,
        );
    });
    died.load(Ordering::Relaxed)
}

/// A process is killed while a thread of it uses its cache; another one recovers it. Nobody else is there.
fn one_recovers(world: &World, stores: u32, in_hand: usize, work: Work) -> bool {
    let blocks = Blocks::only(&FREE);
    let died = killed_at(&blocks, world, stores, in_hand, work);
    let lost = blocks.lost(died.into());
    assert!(lost <= 3, "no more than are taken at once");
    let other = blocks.pool(&world.process());
    other.process().recover_all();
    if died {
        assert!(blocks.is_empty(0) && world.is_free(0), "blocks were buried");
        assert_eq!(blocks.lost(1), lost, "recovery has lost blocks");
        is_usable(&other, 0);
        assert_eq!(blocks.lost(1), lost);
    }
    died
}

fn a_dying_user(world: &World, stores: u32) -> bool {
    one_recovers(world, stores, 0, |user, _| use_all(user))
}

/// Only what empties a full magazine.
fn a_dying_flush(world: &World, stores: u32) -> bool {
    one_recovers(world, stores, FREE.len(), |user, mut got| {
        let last = got.remove(1);
        user.free_all(got);
        user.free(last);
    })
}

/// As `a_dying_user`; two processes recover it at once.
fn two_recover(world: &World, stores: u32) -> bool {
    let blocks = Blocks::only(&FREE);
    let died = killed_at(&blocks, world, stores, 0, |user, _| use_all(user));
    if !died {
        return false;
    }
    let lost = blocks.lost(1);
    let [one, other] = [(); 2].map(|()| blocks.pool(&world.process()));
    let task = thread::spawn(move || one.process().recover(0));
    other.process().recover(0);
    task.join().unwrap();
    assert!(blocks.is_empty(0) && world.is_free(0), "blocks were buried");
    assert_eq!(blocks.lost(1), lost, "recovery has lost blocks");
    is_usable(&other, 0);
    died
}

/// As `a_dying_user`, killed after so many stores; who recovers it is killed, too, and another one begins again.
fn one_after_the_other(world: &World, at: u32, stores: u32) -> bool {
    let blocks = Blocks::only(&FREE);
    assert!(killed_at(&blocks, world, at, 0, |user, _| use_all(user)));
    let lost = blocks.lost(1);
    let [first, second] = [(); 2].map(|()| blocks.pool(&world.process()));
    let died = first.process().live_for(stores, &[], || {
        first.process().recover(0);
    });
    second.process().recover_all();
    assert!(blocks.is_empty(0) && world.is_free(0), "blocks were buried");
    let more = blocks.lost(1 + u32::from(died)) - lost;
    assert!(more <= 3 * usize::from(died), "no more than are freed at once");
    is_usable(&second, 0);
    died
}

/// As `a_dying_user`, beside a thread that allocates and frees.
fn a_dying_user_beside_another(world: &World, stores: u32) -> bool {
    let blocks = Blocks::only(&FREE);
    let [dying, other] = [0, 1].map(|slot| user(&blocks, world, slot));
    let task = thread::spawn(move || dying.live_for(stores, || use_all(&dying)));
    let got = other.allocate();
    if let Some(block) = got {
        other.free(block);
    }
    let died = task.join().unwrap();
    other.pool().process().recover_all();
    assert_eq!(blocks.is_empty(0), died);
    assert!(blocks.lost(died.into()) <= 3);
    died
}

/// A process that was killed while a thread of it in the first slot had three blocks of both words in its magazine, and a
/// fourth in use, which is given here.
fn dead(blocks: &Blocks, world: &World) -> Block {
    let dead = user(blocks, world, 0);
    let mut got = dead.allocate_many(FREE.len());
    let live = got.remove(1);
    dead.free_all(got);
    assert!(
        dead.live_for(0, || {
            dead.allocate();
        }) && !blocks.is_empty(0)
    );
    live
}

/// Two processes recover the same dead one; who comes to the free slot first uses its cache.
fn two_recoverers(world: &World) {
    let blocks = Blocks::only(&FREE);
    let _live = dead(&blocks, world);
    let pools = [(); 2].map(|()| blocks.pool(&world.process()));
    let work = |pool: Pool| {
        pool.process().recover(0);
        if let Some(user) = pool.try_user(0) {
            user.allocate();
            user.exit();
        }
    };
    let [one, other] = pools;
    let task = thread::spawn(move || work(one));
    work(other.clone());
    task.join().unwrap();
    assert!(world.is_free(0) && !world.is_attached(0));
    blocks.lost(0);
}

/// A recoverer is killed, beside another one that then begins again, or has begun.
fn a_dying_recoverer(world: &World, stores: u32) -> bool {
    let blocks = Blocks::only(&FREE);
    let _live = dead(&blocks, world);
    let [first, second] = [(); 2].map(|()| blocks.pool(&world.process()));
    let task = thread::spawn(move || {
        first.process().live_for(stores, &[], || {
            first.process().recover(0);
        })
    });
    second.process().recover(0);
    let died = task.join().unwrap();
    second.process().recover_all();
    assert!(blocks.is_empty(0) && world.is_free(0), "blocks were buried");
    // Those of the first word that were in the magazine.
    assert!(blocks.lost(died.into()) <= 2);
    is_usable(&second, 0);
    died
}

/// A recoverer is killed beside a thread that allocates and frees, and that takes the slot once it can.
fn a_dying_recoverer_beside_another(world: &World, stores: u32) -> bool {
    let blocks = Blocks::only(&FREE);
    let _live = dead(&blocks, world);
    let recoverer = blocks.pool(&world.process());
    let living = blocks.pool(&world.process());
    let task = thread::spawn(move || {
        recoverer.process().live_for(stores, &[], || {
            recoverer.process().recover(0);
        })
    });
    let user = living.try_user(0);
    let without = living.user_without_slot();
    let user = user.as_ref().unwrap_or(&without);
    if let Some(block) = user.allocate() {
        user.free(block);
    }
    let died = task.join().unwrap();
    living.process().recover_all();
    assert!(blocks.lost(died.into()) <= 2);
    died
}

/// A thread that is killed held more locks than it could note, and blocks: its slot is retired, with nothing in its cache.
fn more_locks_than_noted(world: &World, stores: u32) -> bool {
    let blocks = Blocks::only(&FREE);
    let dead = user(&blocks, world, 0);
    let got = dead.allocate_many(FREE.len() - 1);
    dead.free_all(got);
    dead.thread().note_many();
    dead.thread().lock(0);
    dead.live_for(0, || {
        dead.allocate();
    });
    let [first, second] = [(); 2].map(|()| blocks.pool(&world.process()));
    let died = first.process().live_for(stores, &[], || {
        first.process().recover(0);
        assert!(world.is_retired(0) && blocks.is_empty(0), "blocks were buried");
    });
    second.process().recover_all();
    assert!(world.is_retired(0) && blocks.is_empty(0), "blocks were buried");
    assert!(blocks.lost(died.into()) <= 3);
    died
}

/// A process's thread in the first slot exits, with blocks in its magazine, while a thread of another one wants the slot, and
/// a third one gives back what is in the caches of free slots.
fn a_thread_exits(world: &World) {
    let blocks = Blocks::only(&FREE);
    let exiting = user(&blocks, world, 0);
    let got = exiting.allocate_many(2);
    exiting.free_all(got);
    hand_over(&blocks, world, move || exiting.exit());
}

/// As `a_thread_exits`, but nothing is done for the cache when the slot is freed.
fn a_cache_is_left(world: &World) {
    let blocks = Blocks::only(&FREE);
    let exiting = user(&blocks, world, 0);
    let got = exiting.allocate_many(2);
    exiting.free_all(got);
    hand_over(&blocks, world, move || exiting.exit_unprepared());
}

fn hand_over(blocks: &Blocks, world: &World, exit: impl FnOnce() + Send + 'static) {
    let [next, third] = [(); 2].map(|()| blocks.pool(&world.process()));
    let tasks = [
        thread::spawn(exit),
        thread::spawn(move || {
            if let Some(user) = next.try_user(0) {
                user.allocate();
                user.exit();
            }
        }),
    ];
    third.empty_free_caches();
    for task in tasks {
        task.join().unwrap();
    }
    blocks.lost(0);
    assert!(world.is_free(0));
    third.empty_free_caches();
    assert!(blocks.is_empty(0));
    blocks.lost(0);
}

/// Blocks are left in the cache of a slot that is free, and there are no others.
fn left(blocks: &Blocks, world: &World) -> Vec<Block> {
    let first = user(blocks, world, 0);
    let mut got = first.allocate_many(FREE.len());
    let last = got.split_off(1);
    first.free_all(got);
    first.exit_unprepared();
    last
}

/// Somebody runs out of memory, while a thread of another process takes the slot in whose cache the last block is.
fn one_runs_out(world: &World) {
    let blocks = Blocks::only(&FREE);
    let _live = left(&blocks, world);
    let [one, other] = [(); 2].map(|()| blocks.pool(&world.process()));
    let needy = one.user_without_slot();
    let task = thread::spawn(move || {
        let user = other.try_user(0)?;
        let got = user.allocate();
        user.exit();
        got
    });
    let got = [needy.allocate(), task.join().unwrap()];
    assert!(got != [None, None] || needy.allocate().is_some(), "the block is gone");
    blocks.lost(0);
}

/// Two run out of memory, and one of them is killed at that.
fn one_dies_running_out(world: &World, stores: u32) -> bool {
    let blocks = Blocks::only(&FREE);
    let _live = left(&blocks, world);
    let [one, other] = [(); 2].map(|()| blocks.pool(&world.process()));
    let task = thread::spawn(move || {
        let dying = one.user_without_slot();
        dying.live_for(stores, || {
            dying.allocate();
        })
    });
    other.empty_free_caches();
    let died = task.join().unwrap();
    other.process().recover_all();
    assert!(world.is_free(0), "nobody has the slot");
    other.empty_free_caches();
    assert!(blocks.is_empty(0));
    assert!(blocks.lost(died.into()) <= 1);
    died
}

#[test]
fn are_recovered() {
    check_each_death(None, EVERY, a_dying_user);
    check_each_death(None, EVERY, a_dying_flush);
    check_each_death(None, EVERY, two_recover);
}

#[test]
fn are_recovered_by_one_after_the_other() {
    let mut at = 0;
    while kills(at) {
        check_each_death(None, EVERY, move |world, stores| one_after_the_other(world, at, stores));
        at += 1;
    }
    assert!(at > 30, "every store of a refill, of pops, pushes and a flush");
}

#[test]
fn are_recovered_beside_others() {
    check_each_death(None, 2, a_dying_user_beside_another);
}

#[test]
fn are_recovered_once() {
    check(None, 3, two_recoverers);
}

#[test]
fn are_recovered_after_a_recoverer_s_death() {
    check_each_death(None, 2, a_dying_recoverer);
    check_each_death(None, 2, a_dying_recoverer_beside_another);
}

#[test]
fn are_empty_when_a_slot_is_retired() {
    check_each_death(None, EVERY, more_locks_than_noted);
}

#[test]
fn are_handed_over() {
    check(None, 2, a_thread_exits);
    check(None, 2, a_cache_is_left);
}

#[test]
fn are_emptied_by_who_runs_out() {
    check(None, 3, one_runs_out);
    check_each_death(None, 2, one_dies_running_out);
}

#[test]
#[should_panic(expected = "a live block is in a magazine")]
fn with_the_count_before_the_block() {
    check_each_death(Some(Fault::late("heap/magazine.rs", "item.store(offset")), EVERY, a_dying_user);
}

#[test]
#[should_panic(expected = "is free for all")]
fn with_the_count_before_the_bits() {
    let fault = Fault::late("heap/small.rs", "bits.compare_exchange(value, taken");
    check_each_death(Some(fault), EVERY, a_dying_user);
}

#[test]
#[should_panic(expected = "a live block is in a magazine")]
fn with_the_count_after_the_block_s_use() {
    let fault = Fault::late("heap/magazine.rs", "self.words[MAGAZINE_HEADER_WORDS - 1].store(");
    check_each_death(Some(fault), EVERY, a_dying_user);
}

#[test]
#[should_panic(expected = "is free for all")]
fn with_the_bits_before_the_count() {
    let fault = Fault::late("heap/magazine.rs", "self.words[MAGAZINE_HEADER_WORDS - 1].store(");
    check_each_death(Some(fault), EVERY, a_dying_flush);
}

#[test]
#[should_panic(expected = "blocks were buried")]
fn without_emptying_what_the_dead_had() {
    check_each_death(Some(Fault::PartsFull), EVERY, a_dying_user);
}

#[test]
#[should_panic(expected = "blocks were buried")]
fn without_emptying_before_a_slot_is_retired() {
    check_each_death(Some(Fault::PartsFull), EVERY, more_locks_than_noted);
}

#[test]
#[should_panic(expected = "Concurrent write accesses")]
fn of_an_exiting_thread_with_a_slot_that_is_free_too_early() {
    check(Some(Fault::PartsEarly), 2, a_thread_exits);
}

#[test]
#[should_panic(expected = "Concurrent write accesses")]
fn of_the_dead_with_a_slot_that_is_free_too_early() {
    check_each_death(Some(Fault::PartsEarly), 2, a_dying_recoverer_beside_another);
}

#[test]
#[should_panic(expected = "Concurrent write accesses")]
fn with_two_recoverers_at_once() {
    check(Some(Fault::RecoverersShare), 2, two_recoverers);
}

#[test]
#[should_panic(expected = "Concurrent write accesses")]
fn without_acquire_of_a_slot() {
    let fault = Fault::relaxed("participant/slot.rs", "self.word.compare_exchange(free, taken");
    check_each_death(Some(fault), 2, one_dies_running_out);
}

#[test]
#[should_panic(expected = "Concurrent write accesses")]
fn of_a_slot_that_two_take() {
    let fault = Fault::blind("participant/slot.rs", "self.word.compare_exchange(free, taken");
    check(Some(fault), 2, one_runs_out);
}

#[test]
#[should_panic(expected = "nobody has the slot")]
fn without_giving_back_a_slot_whose_cache_was_emptied() {
    let fault =
        Fault::skipped("participant/slot.rs", "self.word.store(u64::from(generation(now).wrapping_add(1))");
    check_each_death(Some(fault), 2, one_dies_running_out);
}
