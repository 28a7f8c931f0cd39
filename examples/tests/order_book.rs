//! `order_book` against a calculation without any book: everything that is offered is sold at its price.

mod common;

use common::{example, run};
use std::collections::BTreeMap;

fn expected(orders: u64) -> String {
    let (mut pieces, mut money, mut owners) = (0, 0, BTreeMap::<&str, (u64, u64)>::new());
    for i in 0..orders {
        let owner = ["Ada", "Edsger", "Grace"][i as usize % 3];
        let (price, quantity) = (100 + 37 * i % 50, 1 + 7919 * i % 20);
        pieces += quantity;
        money += quantity * price;
        let of_owner = owners.entry(owner).or_default();
        of_owner.0 += quantity;
        of_owner.1 += quantity * price;
    }
    let mut text = format!("SHM: {orders} orders, {pieces} pieces sold for {money}, 0 prices left\n");
    for (owner, (pieces, money)) in owners {
        text += &format!("{owner}: {pieces} pieces sold for {money}\n");
    }
    text
}

#[test]
fn everything_offered_is_sold_at_its_price() {
    let outcome = run(&mut example("order_book"));
    assert_eq!((outcome.code(), outcome.text()), (0, &*expected(1000)), "{}", outcome.stderr);
    for orders in [0, 1, 4, 333] {
        let outcome = run(example("order_book").arg(orders.to_string()));
        assert_eq!((outcome.code(), outcome.text()), (0, &*expected(orders)), "{}", outcome.stderr);
    }
    assert_eq!(run(example("order_book").arg("many")).code(), 2);
}
