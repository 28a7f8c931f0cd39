//! An ordinary application type, moved into shared memory with one attribute.
//!
//! ```text
//! mirror [--workers N] [--orders M]
//! ```
//! `Shop` and what it is made of are what one finds in any program: strings, vectors, maps, enums with data, tuples,
//! optional boxes. The program puts a shop with M orders (100) where N other processes (4) see it. Each worker takes the
//! orders of its share that are open, settles them in place, and checks that the ordinary value it makes of the shared one
//! is the one it would have made itself. The program then compares the whole with an ordinary shop that it settled alone.

use shmem_core::{Mirror, Segment, ShmMutex, ShmSafe};
use shmem_examples::workers::{MOST_WORKERS, Task, Workers, complain};
use shmem_examples::{FAILED, USAGE, number};
use std::collections::HashMap;
use std::error::Error;
use std::process::ExitCode;

/// The application's type: nothing in it says that it will be shared, but for the one attribute.
#[derive(ShmSafe, Clone, Debug, PartialEq)]
#[shm(mirror = ShmShop)]
struct Shop {
    name: String,
    orders: Vec<Order>,
    stock: HashMap<String, (u32, f64)>,
}

#[derive(ShmSafe, Clone, Debug, PartialEq)]
#[shm(mirror = ShmOrder)]
struct Order {
    id: u64,
    items: Vec<(String, u32)>,
    state: State,
    replaces: Option<Box<Order>>,
}

#[derive(ShmSafe, Clone, Debug, PartialEq)]
#[shm(mirror = ShmState)]
enum State {
    Open,
    Settled { total: f64, lines: Vec<String> },
    Refused(String),
}

impl Shop {
    fn with_orders(n: u64) -> Shop {
        let item = |i: u64| (["bolt", "nut", "gear"][i as usize % 3].to_string(), i as u32 % 7 + 1);
        let order = |id: u64| Order {
            id,
            items: (0..id % 4).map(|i| item(id + i)).collect(),
            state: State::Open,
            replaces: None,
        };
        Shop {
            name: "The corner shop, which has a name too long to stand inline".into(),
            orders: (0..n)
                .map(|id| Order { replaces: (id % 5 == 0).then(|| Box::new(order(id + 1000))), ..order(id) })
                .collect(),
            stock: HashMap::from([("bolt".into(), (100, 0.25)), ("nut".into(), (80, 0.5))]),
        }
    }
}

/// What becomes of an order: a rule of the application, which knows ordinary values only.
fn settle(order: &Order, stock: &HashMap<String, (u32, f64)>) -> State {
    let mut total = 0.0;
    let mut lines = Vec::new();
    for (item, count) in &order.items {
        let Some((_, price)) = stock.get(item) else { return State::Refused(format!("no {item}")) };
        total += price * f64::from(*count);
        lines.push(format!("{count} × {item}"));
    }
    State::Settled { total, lines }
}

/// Settles every `of`th order, beginning with order `first`, in place.
fn work(segment: &Segment, first: usize, of: usize) -> Result<(), Box<dyn Error>> {
    let shop = segment.find::<ShmMutex<ShmShop>>("shop")?.ok_or("there is no shop")?;
    let count = shop.lock()?.orders.len();
    for i in (first..count).step_by(of) {
        let mut guard = shop.lock()?;
        let stock = HashMap::<String, (u32, f64)>::to_native(&guard.stock);
        let order = guard.orders[i].to_native();
        let settled = settle(&order, &stock);
        let mut view = guard.view();
        let mut order = view.orders.get_mut(i).ok_or("an order is gone")?;
        order.state.set(&settled)?;
        if State::to_native(&guard.orders[i].state) != settled {
            return Err(format!("order {i} is not what it was set to").into());
        }
    }
    Ok(())
}

fn run(workers: usize, orders: u64) -> Result<String, Box<dyn Error>> {
    let mut alone = Shop::with_orders(orders);
    let segment = Segment::anonymous().size(1 << 20).max_size(1 << 30).create()?;
    segment.grow(segment.max_size() - segment.size())?;
    // A reference to an ordinary value initialises its twin.
    let shop = segment.construct::<ShmMutex<ShmShop>>("shop", ShmMutex::new(&alone))?;
    segment.construct::<u64>("workers", workers as u64)?;

    let failures = Workers::start(&segment, "settle", workers)?.wait(|| {});
    if !failures.is_empty() {
        return Err(failures.join("; ").into());
    }
    for order in &mut alone.orders {
        order.state = settle(order, &alone.stock);
    }
    let guard = shop.lock()?;
    if guard.to_native() != alone {
        return Err("the shared shop and the ordinary one differ".into());
    }
    // Reading needs no conversion.
    let (mut settled, mut refused, mut total) = (0, 0, 0.0);
    for order in guard.orders.iter() {
        match &order.state {
            ShmState::Open => return Err(format!("order {} is still open", order.id).into()),
            ShmState::Settled { total: sum, .. } => (settled, total) = (settled + 1, total + sum),
            ShmState::Refused(_) => refused += 1,
        }
    }
    Ok(format!("{settled} orders settled for {total:.2}, {refused} refused"))
}

fn parse(args: &[std::ffi::OsString]) -> Result<(usize, u64), String> {
    let (mut workers, mut orders) = (4, 100);
    for pair in args.chunks(2) {
        let value = pair.get(1).map(|value| &**value);
        match pair[0].to_str() {
            Some("--workers") => workers = number("--workers", value, 1..=MOST_WORKERS)?,
            Some("--orders") => orders = number("--orders", value, 0..=1 << 20)?,
            _ => return Err(format!("unknown option {:?}", pair[0])),
        }
    }
    Ok((workers as usize, orders))
}

fn main() -> ExitCode {
    let result = match Task::of_this_process() {
        Some(task) => (|| {
            let segment = task.segment()?;
            let workers = segment.find::<u64>("workers")?.ok_or("nobody said how many workers there are")?;
            work(&segment, task.index, *workers as usize)
        })(),
        None => {
            let args: Vec<_> = std::env::args_os().skip(1).collect();
            match parse(&args) {
                Ok((workers, orders)) => run(workers, orders).map(|line| println!("{line}")),
                Err(e) => {
                    complain("mirror", e);
                    eprintln!("usage: mirror [--workers N] [--orders M]");
                    return ExitCode::from(USAGE);
                }
            }
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            complain("mirror", e);
            ExitCode::from(FAILED)
        }
    }
}
