//! Pins: an object goes when its name is gone and nobody pins it, and not before; by one thread, once.

use loom::thread;
use shmem_models::{EVERY, Fault, Holder, Objects, World, check, check_each_death};

/// Pins, reads and lets go; whether the object was there to be pinned.
fn hold(holder: &Holder) -> bool {
    let held = holder.pin();
    if held {
        holder.read();
        holder.unpin();
    }
    held
}

/// One process looks the object up while another one, which holds it or not, takes its name away.
fn two_processes<const IS_HELD: bool>(world: &World) {
    let objects = Objects::default();
    let [one, other] = [world.process(), world.process()].map(|process| objects.holder(&process));
    assert!(!IS_HELD || other.pin());
    let task = thread::spawn(move || hold(&one));
    other.unlink();
    if IS_HELD {
        other.read();
        other.unpin();
    }
    task.join().unwrap();
    assert!(objects.is_gone() || objects.is_orphan(), "nobody holds it any more");
}

/// Two threads of one process look it up, with one count between them, while another process takes its name away.
fn two_threads(world: &World) {
    let objects = Objects::default();
    let [one, other] = [world.process(), world.process()].map(|process| objects.holder(&process));
    let again = one.clone();
    let tasks = [thread::spawn(move || hold(&one)), thread::spawn(move || hold(&again))];
    other.unlink();
    for task in tasks {
        task.join().unwrap();
    }
    assert!(objects.is_gone() || objects.is_orphan(), "nobody holds it any more");
}

/// Two handles of one process, of an object without a name, are dropped by two threads: the last one frees it.
fn two_handles(world: &World) {
    let objects = Objects::default();
    let [one, other] = [world.process(), world.process()].map(|process| objects.holder(&process));
    assert!(one.pin() && one.pin());
    other.unlink();
    assert!(!objects.is_gone(), "held");
    let again = one.clone();
    let let_go = |holder: Holder| {
        holder.read();
        holder.unpin();
    };
    let task = thread::spawn(move || let_go(again));
    let_go(one);
    task.join().unwrap();
    assert!(objects.is_gone(), "its type was at hand");
}

/// A process is killed while it looks the object up and lets go of it; another one takes the name away, and recovers it.
fn a_dying_holder(world: &World, stores: u32) -> bool {
    let objects = Objects::default();
    let (dying, process) = (world.process(), world.process());
    let [one, other] = [&dying, &process].map(|process| objects.holder(process));
    let task = thread::spawn(move || {
        dying.live_for(stores, &[], || {
            hold(&one);
        })
    });
    other.unlink();
    let died = task.join().unwrap();
    other.recover(0);
    assert!(objects.is_over(), "nobody holds it any more");
    died
}

#[test]
fn decide_by_one_total_order() {
    check(None, EVERY, two_processes::<false>);
    check(None, EVERY, two_processes::<true>);
}

#[test]
fn share_a_local_count() {
    check(None, 2, two_threads);
}

#[test]
fn let_the_last_handle_free() {
    check(None, EVERY, two_handles);
}

#[test]
fn of_the_dead_are_cleared() {
    check_each_death(None, EVERY, a_dying_holder);
}

#[test]
#[should_panic(expected = "Causality violation")]
fn without_order_in_the_look_at_the_phase() {
    let fault = Fault::relaxed("segment/directory/entry.rs", "State(self.state.load(Ordering::SeqCst))");
    check(Some(fault), 4, two_processes::<false>);
}

#[test]
#[should_panic(expected = "Causality violation")]
fn without_order_in_unlinking() {
    let fault = Fault::relaxed("segment/directory/entry.rs", "self.state.compare_exchange(from.0");
    check(Some(fault), 4, two_processes::<false>);
}

#[test]
#[should_panic(expected = "Causality violation")]
fn without_order_in_pinning() {
    let fault = Fault::relaxed("segment/directory/pins.rs", "word.fetch_or(bit");
    check(Some(fault), 4, two_processes::<false>);
}

#[test]
#[should_panic(expected = "Causality violation")]
fn without_order_when_a_handle_goes() {
    let fault = Fault::relaxed("segment/directory/pins.rs", "count.compare_exchange_weak(now, next");
    check(Some(fault), 4, two_handles);
}

#[test]
#[should_panic(expected = "Causality violation")]
fn without_the_bit() {
    let fault = Fault::skipped("segment/directory/pins.rs", "word.fetch_or(bit");
    check(Some(fault), 4, two_processes::<false>);
}

#[test]
#[should_panic(expected = "nobody holds it")]
fn without_recovery_of_the_bit() {
    check_each_death(
        Some(Fault::skipped("segment/directory/pins.rs", "word.fetch_and(!bit")),
        3,
        a_dying_holder,
    );
}
