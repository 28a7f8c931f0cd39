//! Modules that convert fields, of every path and of fields of any type.
use shmem_core::{Init, ShmSafe};
use std::net::IpAddr;
use std::time::Duration;

mod convert {
    pub mod nanoseconds {
        pub type Shm = u64;
        pub fn init(took: &std::time::Duration) -> u64 {
            took.as_nanos() as u64
        }
        pub fn to_native(shm: &u64) -> std::time::Duration {
            std::time::Duration::from_nanos(*shm)
        }
    }

    pub mod text {
        use shmem_core::{Init, ShmString};
        pub type Shm = ShmString;
        pub fn init<T: ToString>(value: &T) -> impl Init<ShmString> + use<T> {
            value.to_string()
        }
        pub fn to_native<T: std::str::FromStr>(shm: &ShmString) -> T {
            shm.parse().ok().expect("what `init` wrote")
        }
    }
}

#[derive(ShmSafe)]
#[shm(mirror = ShmVisit)]
struct Visit {
    #[shm(with = convert::nanoseconds)]
    took: Duration,
    #[shm(with = crate::convert::text)]
    from: IpAddr,
    #[shm(with = self::convert::text, rename = "number")]
    number: u128,
}

#[derive(ShmSafe)]
#[shm(mirror = ShmEvent)]
enum Event {
    Waited(#[shm(with = convert::nanoseconds)] Duration),
    From {
        #[shm(with = convert::text)]
        ip: IpAddr,
        name: String,
    },
}

fn main() {
    fn init<T: ShmSafe>(_: impl Init<T>) {}
    init::<ShmVisit>(ShmVisitInit { took: 1, from: "::1", number: "2" });
    init::<ShmEvent>(Event::Waited(Duration::ZERO));
    let _ = |visit: &ShmVisit| -> (u64, usize) { (visit.took, visit.from.len()) };
    let _ = Visit { took: Duration::ZERO, from: IpAddr::from([0; 4]), number: 1 };
    let _ = Event::From { ip: IpAddr::from([0; 4]), name: String::new() };
}
