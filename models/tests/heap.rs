//! Blocks: bitmap words from which magazines are filled and into which they are emptied, while others allocate and free.

use loom::thread;
use shmem_models::{Block, Blocks, EVERY, Fault, Pool, User, World, check};

/// A heap in which `pools` have one live block each, of the first word of the first page, and all of them allocate from that;
/// `free` are free there.
fn sharing<const N: usize>(world: &World, free: &[u32]) -> (Blocks, [(Pool, Block); N]) {
    let blocks = Blocks::only(&[]);
    let pools = std::array::from_fn(|number| {
        let pool = blocks.pool(&world.process());
        blocks.others_free(&[number as u32]);
        let block = pool.user_without_slot().allocate().expect("it is free");
        (pool, block)
    });
    blocks.others_free(free);
    (blocks, pools)
}

/// A thread of the process that has an empty cache.
fn with_cache(pool: &Pool, slot: usize) -> User {
    let user = pool.user(slot);
    user.adopt_cache();
    user
}

/// Two threads of two processes fill their magazines from the same word, which has blocks enough for both, but not for both
/// magazines.
fn two_refills(world: &World) {
    let (blocks, [one, other]) = sharing(world, &[2, 3, 4, 5]);
    let users = [(0, one), (1, other)].map(|(slot, (pool, block))| (with_cache(&pool, slot), block));
    let work = |(user, _): (User, Block)| assert!(user.allocate().is_some(), "there are enough");
    let [one, other] = users;
    let task = thread::spawn(move || work(one));
    work(other);
    task.join().unwrap();
    blocks.lost(0);
}

/// A magazine is filled from a word into which another thread, which has no cache, frees a block; then it takes another one.
fn a_refill_and_a_free(world: &World) {
    let (blocks, [one, other]) = sharing(world, &[2, 3]);
    let (user, block) = (with_cache(&one.0, 0), other.1);
    let freeing = other.0.user_without_slot();
    let task = thread::spawn(move || {
        freeing.free(block);
        freeing.allocate()
    });
    let got = user.allocate_many(2);
    let _again = task.join().unwrap();
    assert!(!got.is_empty());
    user.free_all(got);
    blocks.lost(0);
}

/// A full magazine is emptied into a word from which another thread fills its own, and a third one allocates without a
/// cache.
fn a_flush_beside_others(world: &World) {
    let (blocks, [one, other, third]) = sharing(world, &[3, 4, 5, 6]);
    let flushing = with_cache(&one.0, 0);
    let full = flushing.allocate_many(3);
    flushing.free_all(full);
    let filling = with_cache(&other.0, 1);
    let without = third.0.user_without_slot();
    let tasks = [
        thread::spawn(move || {
            filling.allocate();
        }),
        thread::spawn(move || without.free(third.1)),
    ];
    flushing.free(one.1);
    for task in tasks {
        task.join().unwrap();
    }
    blocks.lost(0);
}

/// The last block of a page is freed, so that the page may become free, while another thread fills a magazine from it.
fn a_refill_and_a_retirement(world: &World) {
    let all: Vec<u32> = (0..=64).collect();
    let blocks = Blocks::with_free(&all);
    let pool = blocks.pool(&world.process());
    let freeing = pool.user_without_slot();
    let filling = with_cache(&pool, 0);
    let last = freeing.allocate().expect("all are free");
    // It counts as adopted no more.
    pool.heal();
    let task = thread::spawn(move || freeing.free(last));
    let got = filling.allocate().expect("nearly all are free");
    task.join().unwrap();
    blocks.lost(0);
    filling.free(got);
    blocks.lost(0);
}

#[test]
fn goes_to_one_of_two() {
    check(None, EVERY, two_refills);
}

#[test]
fn is_taken_by_who_sees_it_freed() {
    check(None, 3, a_refill_and_a_free);
}

#[test]
fn is_given_back_to_all() {
    check(None, 2, a_flush_beside_others);
}

#[test]
fn stays_in_a_page_of_its_class() {
    check(None, 3, a_refill_and_a_retirement);
}

#[test]
#[should_panic(expected = "handed out twice")]
fn without_a_comparison() {
    check(Some(Fault::blind("heap/small.rs", "bits.compare_exchange(value, taken")), 3, two_refills);
}

#[test]
#[should_panic(expected = "Causality violation")]
fn without_acquire_in_a_refill() {
    let fault = Fault::relaxed("heap/small.rs", "bits.compare_exchange(value, taken");
    check(Some(fault), 3, a_refill_and_a_free);
}

#[test]
#[should_panic(expected = "Causality violation")]
fn without_release_in_a_free() {
    check(Some(Fault::relaxed("heap/small.rs", "bits.fetch_and(!blocks")), 3, a_refill_and_a_free);
}

#[test]
#[should_panic(expected = "is free for all")]
fn without_order_against_a_retirement() {
    let fault = Fault::relaxed("heap/raw.rs", "self.descriptor(page).word.load(");
    check(Some(fault), 3, a_refill_and_a_retirement);
}

#[test]
#[should_panic(expected = "blocks are nobody's")]
fn without_giving_back_what_a_page_lost() {
    let fault = Fault::skipped("heap/small.rs", "bits.fetch_and(!(bit | others)");
    check(Some(fault), 3, a_refill_and_a_retirement);
}
