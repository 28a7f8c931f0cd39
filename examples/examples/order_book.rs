//! Nested types, their views, methods on views, and a group of roots.
//!
//! ```text
//! order_book [ORDERS]
//! ```
//! A seller and a buyer, two processes, share the order book of one symbol. The seller places ORDERS offers (1000);
//! the buyer buys, at the lowest price first, until it has everything. The program then prints what was traded, in
//! all and by owner.
//!
//! Offer i (from 0) is of owner i mod 3, at the price 100 + 37 i mod 50, for 1 + 7919 i mod 20 pieces.

use shmem_core::{Result, Root, Segment, ShmHashMap, ShmMutex, ShmRoots, ShmSafe, ShmString, ShmVec};
use shmem_examples::workers::{Task, Workers, complain};
use shmem_examples::{FAILED, USAGE, number};
use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};

const OWNERS: [&str; 3] = ["Ada", "Edsger", "Grace"];
/// The buyer asks for this much at a time.
const LOT: u64 = 25;

/// A part of an order that was sold.
#[derive(ShmSafe, Clone, Copy)]
#[repr(C)]
struct Fill {
    quantity: u64,
    price: u64,
}

#[derive(ShmSafe)]
#[repr(C)]
struct Order {
    id: u64,
    owner: ShmString,
    quantity: u64,
    fills: ShmVec<Fill>,
}

/// What only reads takes `&self`, as always.
impl Order {
    fn sold(&self) -> u64 {
        self.fills.iter().map(|fill| fill.quantity).sum()
    }

    fn turnover(&self) -> u64 {
        self.fills.iter().map(|fill| fill.quantity * fill.price).sum()
    }
}

/// The orders at one price. Those before `next` are sold.
#[derive(ShmSafe)]
#[repr(C)]
struct Level {
    orders: ShmVec<Order>,
    next: u64,
}

/// What changes something is a method of the view that the derive makes: one field for each field.
impl LevelMut<'_> {
    /// Sells up to `wanted` pieces, oldest order first; how many it were.
    fn take(&mut self, wanted: u64, price: u64) -> Result<u64> {
        let mut left = wanted;
        while left > 0 {
            let Some(mut order) = self.orders.get_mut(*self.next as usize) else { break };
            let open = *order.quantity - order.fills.iter().map(|fill| fill.quantity).sum::<u64>();
            let quantity = open.min(left);
            order.fills.push(Fill { quantity, price })?;
            left -= quantity;
            if quantity == open {
                *self.next += 1;
            }
        }
        Ok(wanted - left)
    }
}

#[derive(ShmSafe)]
#[repr(C)]
struct Book {
    symbol: ShmString,
    levels: ShmHashMap<u64, Level>,
    next_id: u64,
    /// Orders that were sold whole.
    done: ShmVec<Order>,
}

impl BookMut<'_> {
    fn place(&mut self, owner: &str, price: u64, quantity: u64) -> Result<u64> {
        let id = *self.next_id;
        let empty = LevelInit { orders: ShmVec::new(), next: 0 };
        let mut level = self.levels.entry(price)?.or_insert(empty)?;
        level.orders.push(OrderInit { id, owner, quantity, fills: ShmVec::new() })?;
        *self.next_id += 1;
        Ok(id)
    }

    /// Buys up to `wanted` pieces, the cheapest ones; how many it were.
    fn buy(&mut self, wanted: u64) -> Result<u64> {
        let mut bought = 0;
        while bought < wanted {
            let Some(price) = self.levels.keys().min().copied() else { break };
            let mut level = self.levels.get_mut(&price).expect("it was listed just now");
            bought += level.take(wanted - bought, price)?;
            if *level.next == level.orders.len() as u64 {
                self.done.append(&mut level.orders)?;
                self.levels.remove(&price);
            }
        }
        Ok(bought)
    }
}

/// What the processes find each other by: a field is a root, called as the field.
#[derive(ShmRoots)]
struct Roots {
    #[shm(init = ShmMutex::new(
        BookInit { symbol: "SHM", levels: ShmHashMap::new(), next_id: 0, done: ShmVec::new() }
    ))]
    book: Root<ShmMutex<Book>>,
    /// How many orders there will be.
    orders: Root<AtomicU64>,
}

fn offer(i: u64) -> (&'static str, u64, u64) {
    (OWNERS[i as usize % 3], 100 + 37 * i % 50, 1 + 7919 * i % 20)
}

fn play(task: &Task) -> Result<(), Box<dyn std::error::Error>> {
    let Roots { book, orders } = Roots::open(&task.segment()?)?;
    let orders = orders.load(Ordering::Relaxed);
    match &*task.role {
        "seller" => {
            for i in 0..orders {
                let (owner, price, quantity) = offer(i);
                book.lock()?.view().place(owner, price, quantity)?;
            }
        }
        _ => {
            let mut wanted: u64 = (0..orders).map(|i| offer(i).2).sum();
            while wanted > 0 && !task.is_orphaned() {
                let bought = book.lock()?.view().buy(LOT.min(wanted))?;
                wanted -= bought;
                if bought == 0 {
                    std::thread::yield_now(); // The seller is slower.
                }
            }
        }
    }
    Ok(())
}

fn run(orders: u64) -> Result<(), Box<dyn std::error::Error>> {
    let segment = Segment::anonymous().size(1 << 30).create()?;
    let roots = Roots::create(&segment)?;
    roots.orders.store(orders, Ordering::Relaxed);

    let mut workers = Workers::start(&segment, "seller", 1)?;
    workers.add(&segment, "buyer", 1)?;
    let failures = workers.wait(|| ());
    if !failures.is_empty() {
        return Err(failures.join("; ").into());
    }

    let book = roots.book.lock()?;
    let sum = |value: fn(&Order) -> u64| book.done.iter().map(value).sum::<u64>();
    println!(
        "{}: {} orders, {} pieces sold for {}, {} prices left",
        book.symbol,
        book.next_id,
        sum(Order::sold),
        sum(Order::turnover),
        book.levels.len()
    );
    let mut owners = BTreeMap::<&str, (u64, u64)>::new();
    for order in book.done.iter() {
        let (pieces, money) = owners.entry(&order.owner).or_default();
        *pieces += order.sold();
        *money += order.turnover();
    }
    for (owner, (pieces, money)) in owners {
        println!("{owner}: {pieces} pieces sold for {money}");
    }
    Ok(())
}

fn main() -> ExitCode {
    let result = match Task::of_this_process() {
        Some(task) => play(&task),
        None => {
            let args: Vec<_> = std::env::args_os().skip(1).collect();
            let orders = match &args[..] {
                [] => Ok(1000),
                [orders] => number("ORDERS", Some(orders), 0..=1_000_000),
                _ => Err("too many arguments".into()),
            };
            match orders {
                Ok(orders) => run(orders),
                Err(e) => {
                    complain("order_book", e);
                    eprintln!("usage: order_book [ORDERS]");
                    return ExitCode::from(USAGE);
                }
            }
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            complain("order_book", e);
            ExitCode::from(FAILED)
        }
    }
}
