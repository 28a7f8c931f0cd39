//! Model checks of shmem's protocols: what two or three threads of several processes do to a lock word, a slot, a dead
//! process's record, a pin, a block, in every order in which they may do it, and with every value that the memory model lets
//! them read.
//!
//! The checker is [loom](https://docs.rs/loom). What it checks is the library's own source text: its files are
//! included here by path, with stand-ins for what lies around them. Its `primitive` is ours, which gives loom's
//! atomics to the protocols, cuts threads off before any of their stores as a `kill -9` would ([`Process::live_for`]),
//! and makes one line of the library wrong, so that each model shows that it can fail ([`Fault`]).
//!
//! This crate needs `unsafe`: so do the files that it includes.
#![allow(dead_code, reason = "of the files that are included, only the protocols are called")]
#![allow(unreachable_pub, reason = "likewise")]

mod chance;
mod heap;
mod kernel;
mod neighbours;
mod participant;
mod primitive;
mod segment;
mod sync;
mod sys;

#[cfg(test)]
use neighbours::format_test;
use neighbours::{access, crash, error, layout, mapping};

pub use chance::Fault;
pub use heap::blocks::{Block, Blocks, Pool, User};
pub use participant::table::{
    EVERY, LOCKS, Process, RECORDS, SLOTS, Taken, Thread, World, check, check_each_death,
};
pub use segment::directory::{Held, Holder, Objects};
