//! What is compared with what: areas, their cases, the peers of each case.

/// A field of work, run by one worker process a side.
pub struct Area {
    /// Its name on the command line.
    pub name: &'static str,
    /// What one operation works on.
    pub about: &'static str,
    /// Its cases, in the order in which they run.
    pub cases: &'static [Case],
}

/// One workload.
pub struct Case {
    /// Its name in the table and in the protocol.
    pub name: &'static str,
    /// What its figures are.
    pub unit: Unit,
    /// With whom it is compared.
    pub peers: &'static [Peer],
    /// CPUs it needs.
    pub cpus: usize,
}

/// What a figure is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unit {
    /// Nanoseconds per operation; lower is better.
    Time,
    /// A part of a whole; higher is better.
    Share,
}

/// A contestant of ours.
pub struct Peer {
    /// Its name in the table.
    pub name: &'static str,
    /// Its name in the protocol.
    pub subject: &'static str,
    /// Who runs it.
    pub host: Host,
}

/// The process that runs a peer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Host {
    /// This program, with another workload of this library.
    Ours,
    /// This program, with what Rust programs use inside one process.
    Rust,
    /// The area's C++ program.
    Cpp,
}

const fn ours(name: &'static str, subject: &'static str) -> Peer {
    Peer { name, subject, host: Host::Ours }
}
const fn rust(name: &'static str, subject: &'static str) -> Peer {
    Peer { name, subject, host: Host::Rust }
}
const fn cpp(name: &'static str, subject: &'static str) -> Peer {
    Peer { name, subject, host: Host::Cpp }
}
const fn case(name: &'static str, peers: &'static [Peer]) -> Case {
    Case { name, unit: Unit::Time, peers, cpus: 1 }
}
const fn two(name: &'static str, peers: &'static [Peer]) -> Case {
    Case { name, unit: Unit::Time, peers, cpus: 2 }
}
const fn share(name: &'static str, peers: &'static [Peer]) -> Case {
    Case { name, unit: Unit::Share, peers, cpus: 1 }
}

const BOOST: Peer = cpp("Boost", "boost");
const VEC: Peer = rust("Rust Vec", "vec");
const HASH: &[Peer] = &[rust("hashbrown + foldhash", "hashbrown"), BOOST];
const NAMES: &[Peer] = &[
    rust("hashbrown + std Mutex", "hashbrown-std"),
    rust("hashbrown + parking_lot Mutex", "hashbrown-parking-lot"),
    BOOST,
];
const OPEN: &[Peer] = &[rust("bare system calls", "bare"), BOOST];
const MIMALLOC: Peer = rust("mimalloc", "mimalloc");
const GLIBC: Peer = rust("glibc malloc", "glibc");
const RB_TREE: Peer = cpp("Boost rbtree_best_fit", "boost");
const NODE: Peer = cpp("Boost node_allocator", "boost-node");
const CACHED_NODE: Peer = cpp("Boost cached_node_allocator", "boost-cached-node");
const ADAPTIVE: Peer = cpp("Boost adaptive_pool", "boost-adaptive");
const FREE_LIST: Peer = rust("bare free list", "bare");
const BLOCKS: &[Peer] = &[MIMALLOC, GLIBC, RB_TREE];
const NODES: &[Peer] = &[MIMALLOC, GLIBC, RB_TREE, NODE, CACHED_NODE, ADAPTIVE];
const LIVE_FEW: &[Peer] = &[MIMALLOC, GLIBC, FREE_LIST, RB_TREE];
const LIVE: &[Peer] = &[ours("shmem with 1 k live", "live-1-k"), MIMALLOC, GLIBC, FREE_LIST, RB_TREE];
const STRING: &[Peer] = &[rust("Rust String", "string"), BOOST];
const MAP: &[Peer] = &[rust("hashbrown", "hashbrown"), cpp("Boost map", "boost")];

/// Everything there is to compare.
pub const AREAS: &[Area] = &[
    Area {
        name: "vector",
        about: "10 M u64 in a vector, per element",
        cases: &[
            case("push touched", &[BOOST, VEC]),
            case("push fresh", &[rust("bare fallocate + first touch", "bare")]),
            case("iterate", &[VEC, BOOST]),
        ],
    },
    Area {
        name: "hashmap",
        about: "1 M random u64 keys and values in a hash map, per key",
        cases: &[
            case("insert", HASH),
            case("find hit", HASH),
            case("find miss", HASH),
            case("iterate", HASH),
            case("remove", HASH),
        ],
    },
    Area {
        name: "names",
        about: "named objects in a directory of 10, 10 k and 100 k, per call",
        cases: &[
            case("find 10", NAMES),
            case("find 10 k", NAMES),
            case("find 100 k", NAMES),
            case("find_or_construct hit 10", NAMES),
            case("find_or_construct hit 10 k", NAMES),
            case("find_or_construct hit 100 k", NAMES),
            case("construct + destroy 10", NAMES),
            case("construct + destroy 10 k", NAMES),
            case("construct + destroy 100 k", NAMES),
        ],
    },
    Area {
        name: "open",
        about: "a segment of 64 MiB with one root, made or opened, per segment",
        cases: &[
            case("create shm", OPEN),
            case("open shm", OPEN),
            case("create file", OPEN),
            case("open file", OPEN),
        ],
    },
    Area {
        name: "mutex",
        about: "a counter in a mutex, per increment",
        cases: &[
            case(
                "free",
                &[
                    rust("bare CAS + swap", "bare"),
                    rust("parking_lot", "parking-lot"),
                    cpp("pthread shared", "pthread-shared"),
                    cpp("pthread robust", "pthread-robust"),
                    BOOST,
                ],
            ),
            two(
                "two processes",
                &[
                    cpp("pthread shared", "pthread-shared"),
                    cpp("pthread robust", "pthread-robust"),
                    BOOST,
                    rust("parking_lot (threads)", "parking-lot"),
                ],
            ),
            case("eight threads", &[rust("parking_lot", "parking-lot"), rust("std", "std")]),
        ],
    },
    Area {
        name: "heap",
        about: "raw blocks, per allocation with its free",
        cases: &[
            // First: `malloc` and mimalloc must have no freed memory yet.
            share("fragmentation", BLOCKS),
            case("pair 64 B", NODES),
            case("random 16-1024 B", BLOCKS),
            case("live 1 k", LIVE_FEW),
            case("live 100 k", LIVE),
            case("live 10 M", LIVE),
            two("cross-free threads", BLOCKS),
            two(
                "cross-free processes",
                &[rust("mimalloc (threads)", "mimalloc"), rust("glibc malloc (threads)", "glibc"), RB_TREE],
            ),
            two(
                "two processes",
                &[ours("shmem, one process", "alone"), rust("mimalloc (a heap each)", "mimalloc"), RB_TREE],
            ),
            case("list node", NODES),
        ],
    },
    Area {
        name: "string",
        about: "500 k strings of 40 bytes; 10 M chars pushed; a map of 200 k strings to vectors of 4, per element",
        cases: &[
            case("build 40 B", STRING),
            case("compare 40 B", STRING),
            case("push char", STRING),
            case("map build", MAP),
            case("map find", MAP),
            case("map clear", MAP),
        ],
    },
];

/// Prints [`AREAS`].
pub fn print() {
    for area in AREAS {
        println!("{}: {}", area.name, area.about);
        for case in area.cases {
            let peers: Vec<_> = case.peers.iter().map(|p| p.name).collect();
            println!("    {:<28} {}", case.name, peers.join(", "));
        }
    }
}
