//! Pins: an object goes when its name is gone and nobody pins it, and not before; by one thread, once. Counted in a lane or
//! noted by a bit.

use loom::thread;
use shmem_models::{EVERY, Fault, Held, Holder, Objects, World, check, check_each_death};

/// Pins, reads and lets go; whether the object was there to be pinned.
fn hold(holder: &Holder) -> bool {
    let held = holder.pin();
    let is_there = held.is_some();
    if let Some(held) = held {
        let_go(holder, held);
    }
    is_there
}

fn let_go(holder: &Holder, held: Held) {
    holder.read();
    holder.unpin(held);
}

fn is_over(objects: &Objects) {
    assert!(objects.is_gone() || objects.is_orphan(), "nobody holds it any more");
}

/// What two processes do, each of which can have a lane.
fn two_holders(world: &World, objects: &Objects) -> [Holder; 2] {
    [world.process(), world.process()].map(|process| objects.holder(&process))
}

/// What two processes do that can have the same lane; and a third one, which can have another.
fn one_lane(world: &World, objects: &Objects) -> [Holder; 3] {
    let [one, third, .., other] = world.all_processes();
    [one, other, third].map(|process| objects.holder(&process))
}

/// One process looks the object up while another one, which holds it or not, takes its name away.
fn two_processes<const IS_HELD: bool>(world: &World) {
    let objects = Objects::default();
    let [one, other] = two_holders(world, &objects);
    let held = if IS_HELD { other.pin() } else { None };
    let task = thread::spawn(move || hold(&one));
    other.unlink();
    if let Some(held) = held {
        let_go(&other, held);
    }
    task.join().unwrap();
    is_over(&objects);
}

/// As `two_processes`, where both want the same lane: one of them pins by its bit.
fn one_of_them_by_bit(world: &World) {
    let objects = Objects::default();
    let [one, other, _] = one_lane(world, &objects);
    let task = thread::spawn(move || hold(&one));
    let held = other.pin().expect("it has its name");
    other.unlink();
    let_go(&other, held);
    task.join().unwrap();
    is_over(&objects);
}

/// One process pins by its bit, since another one holds the object in their lane, and takes its name away meanwhile.
fn by_bit(world: &World) {
    let objects = Objects::default();
    let [one, other, _] = one_lane(world, &objects);
    let held = other.pin().expect("it has its name");
    assert!(held.is_in_lane());
    let task = thread::spawn(move || {
        if let Some(held) = one.pin() {
            assert!(!held.is_in_lane(), "the lane is another's");
            let_go(&one, held);
        }
    });
    other.unlink();
    let_go(&other, held);
    task.join().unwrap();
    is_over(&objects);
}

/// A lane goes from one process to the next, while a third one takes the name away.
fn a_lane_is_handed_on(world: &World) {
    let objects = Objects::default();
    let [one, other, third] = one_lane(world, &objects);
    let held = one.pin().expect("it has its name");
    let task = thread::spawn(move || {
        let_go(&one, held);
        hold(&other);
    });
    third.unlink();
    task.join().unwrap();
    is_over(&objects);
}

/// Two threads of one process look it up, with one count between them, while another process takes its name away; which
/// holds it in their lane, if they are to pin it by bit.
fn two_threads<const BY_BIT: bool>(world: &World) {
    let objects = Objects::default();
    let (one, other, held) = if BY_BIT {
        let [one, other, _] = one_lane(world, &objects);
        let held = other.pin();
        (one, other, held)
    } else {
        let [one, other] = two_holders(world, &objects);
        (one, other, None)
    };
    let again = one.clone();
    let tasks = [thread::spawn(move || hold(&one)), thread::spawn(move || hold(&again))];
    other.unlink();
    if let Some(held) = held {
        let_go(&other, held);
    }
    for task in tasks {
        task.join().unwrap();
    }
    is_over(&objects);
}

/// Two handles of one process, of an object without a name, are dropped by two threads: the last one frees it. The process
/// pins it in a lane, by bit, or one of them so and one so.
fn two_handles<const IN_LANE: usize>(world: &World) {
    let objects = Objects::default();
    let [one, other, _] = one_lane(world, &objects);
    let pin = |in_lane: bool| {
        let in_the_way = if in_lane { None } else { other.pin() };
        let held = one.pin().expect("it has its name");
        assert_eq!(held.is_in_lane(), in_lane);
        if let Some(held) = in_the_way {
            other.unpin(held);
        }
        held
    };
    // By bit first, or the lane would be the process's own.
    let first = pin(IN_LANE == 2);
    let second = pin(IN_LANE >= 1);
    other.unlink();
    assert!(!objects.is_gone(), "held");
    let again = one.clone();
    let task = thread::spawn(move || let_go(&again, first));
    let_go(&one, second);
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

/// As `a_dying_holder`, where the dead and the living want the same lane, and the living one holds the object throughout.
fn a_dying_neighbour(world: &World, stores: u32) -> bool {
    let objects = Objects::default();
    let [dying, .., process] = world.all_processes();
    let [one, other] = [&dying, &process].map(|process| objects.holder(process));
    let task = thread::spawn(move || {
        dying.live_for(stores, &[], || {
            hold(&one);
        })
    });
    let held = other.pin().expect("it has its name");
    other.unlink();
    let died = task.join().unwrap();
    other.recover(0);
    assert!(!objects.is_over(), "held");
    let_go(&other, held);
    assert!(objects.is_over(), "nobody holds it any more");
    died
}

/// The lane of a process that was killed is cleared while another one takes it.
fn a_dead_one_s_lane(world: &World, stores: u32) -> bool {
    let objects = Objects::default();
    let [dying, third, .., process] = world.all_processes();
    let [one, third, other] = [&dying, &third, &process].map(|process| objects.holder(process));
    let died = dying.live_for(stores, &[], || {
        hold(&one);
    });
    let task = thread::spawn(move || hold(&other));
    third.recover(0);
    third.unlink();
    task.join().unwrap();
    assert!(objects.is_over(), "nobody holds it any more");
    died
}

/// A process that holds the object forks and lets go of it, while another one takes its name away: the child holds it, until
/// it dies.
fn a_fork(world: &World) {
    let objects = Objects::default();
    let [parent, other, child] = std::array::from_fn(|_| objects.holder(&world.process()));
    let held = parent.pin().expect("it has its name");
    let task = thread::spawn(move || {
        parent.fork(2);
        let_go(&parent, held);
        child.read();
    });
    other.unlink();
    task.join().unwrap();
    assert!(!objects.is_over(), "held by the child");
    other.recover(2);
    is_over(&objects);
}

#[test]
fn are_the_child_s_too() {
    check(None, EVERY, a_fork);
}

#[test]
fn decide_by_one_total_order() {
    check(None, EVERY, two_processes::<false>);
    check(None, EVERY, two_processes::<true>);
}

#[test]
fn are_bits_where_the_lane_is_another_s() {
    check(None, EVERY, by_bit);
    check(None, EVERY, one_of_them_by_bit);
}

#[test]
fn take_over_a_lane() {
    check(None, EVERY, a_lane_is_handed_on);
}

#[test]
fn share_a_count() {
    check(None, 2, two_threads::<false>);
    check(None, 2, two_threads::<true>);
}

#[test]
fn let_the_last_handle_free() {
    check(None, EVERY, two_handles::<0>);
    check(None, EVERY, two_handles::<1>);
    check(None, EVERY, two_handles::<2>);
}

#[test]
fn of_the_dead_are_cleared() {
    check_each_death(None, EVERY, a_dying_holder);
}

#[test]
fn of_the_dead_are_cleared_beside_others() {
    check_each_death(None, EVERY, a_dying_neighbour);
    check_each_death(None, EVERY, a_dead_one_s_lane);
}

#[test]
#[should_panic(expected = "nobody holds it")]
fn without_order_in_the_look_at_the_phase() {
    let fault = Fault::relaxed("segment/directory/entry.rs", "State(self.state.load(Ordering::SeqCst))");
    check(Some(fault), EVERY, two_processes::<false>);
}

#[test]
#[should_panic(expected = "Causality violation")]
fn without_order_in_the_look_at_the_bits() {
    let fault = Fault::relaxed("segment/directory/entry.rs", "word.load(Ordering::SeqCst) != 0");
    check(Some(fault), EVERY, by_bit);
}

#[test]
#[should_panic(expected = "Causality violation")]
fn without_order_in_unlinking() {
    let fault = Fault::relaxed("segment/directory/entry.rs", "self.state.compare_exchange(from.0");
    check(Some(fault), EVERY, two_processes::<false>);
}

#[test]
#[should_panic(expected = "Causality violation")]
fn without_order_in_counting() {
    let fault = Fault::relaxed("segment/directory/pins.rs", "lane.compare_exchange_weak(now.0");
    check(Some(fault), EVERY, two_processes::<false>);
}

#[test]
#[should_panic(expected = "Causality violation")]
fn without_order_in_setting_the_bit() {
    let fault = Fault::relaxed("segment/directory/pins.rs", "word.fetch_or(bit");
    check(Some(fault), EVERY, by_bit);
}

#[test]
#[should_panic(expected = "Causality violation")]
fn without_order_in_sharing_the_bit() {
    let fault = Fault::relaxed("segment/directory/pins.rs", "count.compare_exchange_weak(now, now + 1");
    check(Some(fault), 2, two_threads::<true>);
}

#[test]
#[should_panic(expected = "Causality violation")]
fn without_order_when_a_handle_goes() {
    let fault = Fault::relaxed("segment/directory/pins.rs", "entry.lane(process).fetch_sub(1");
    check(Some(fault), EVERY, two_handles::<2>);
}

#[test]
#[should_panic(expected = "Causality violation")]
fn without_order_when_a_lane_is_left() {
    let fault = Fault::relaxed("segment/directory/pins.rs", "entry.lane(process).fetch_sub(1");
    check(Some(fault), EVERY, a_lane_is_handed_on);
}

#[test]
#[should_panic(expected = "Causality violation")]
fn without_order_when_a_handle_by_bit_goes() {
    let fault = Fault::relaxed("segment/directory/pins.rs", "count.compare_exchange_weak(now, next");
    check(Some(fault), EVERY, two_handles::<0>);
}

#[test]
#[should_panic(expected = "nobody holds it")]
fn without_the_count() {
    let fault = Fault::skipped("segment/directory/pins.rs", "lane.compare_exchange_weak(now.0");
    check(Some(fault), EVERY, two_processes::<false>);
}

#[test]
#[should_panic(expected = "Causality violation")]
fn without_the_bit() {
    let fault = Fault::skipped("segment/directory/pins.rs", "word.fetch_or(bit");
    check(Some(fault), EVERY, by_bit);
}

#[test]
#[should_panic(expected = "left == right")]
fn without_the_child_s_bit() {
    let fault = Fault::skipped("segment/directory/pins.rs", "word.fetch_or(bit");
    check(Some(fault), EVERY, a_fork);
}

#[test]
#[should_panic(expected = "nobody holds it")]
fn without_looking_whose_the_lane_is() {
    let fault = Fault::blind("segment/directory/pins.rs", "lane.compare_exchange_weak(now.0");
    check(Some(fault), EVERY, one_of_them_by_bit);
}

#[test]
#[should_panic(expected = "nobody holds it")]
fn without_recovery_of_the_lane() {
    let fault = Fault::skipped("segment/directory/pins.rs", "lane.compare_exchange(now, 0");
    check_each_death(Some(fault), 3, a_dying_holder);
}

#[test]
#[should_panic(expected = "nobody holds it")]
fn without_recovery_of_the_bit() {
    let fault = Fault::skipped("segment/directory/pins.rs", "word.fetch_and(!bit");
    check_each_death(Some(fault), 3, a_dying_neighbour);
}

#[test]
#[should_panic(expected = "nobody holds it")]
fn with_recovery_of_another_one_s_lane() {
    let fault = Fault::blind("segment/directory/pins.rs", "lane.compare_exchange(now, 0");
    check_each_death(Some(fault), 3, a_dead_one_s_lane);
}
