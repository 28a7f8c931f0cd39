//! Variants, fields and attributes under `cfg`.
use shmem_core::{Kind, ShmSafe, ShmString};

#[derive(ShmSafe)]
#[cfg_attr(all(), repr(u8))]
#[cfg_attr(any(), repr(u16))]
#[cfg_attr(all(), shm(version = 2))]
enum Job {
    #[cfg(any())]
    Gone(String),
    Idle,
    #[cfg(all())]
    Running {
        #[cfg(any())]
        gone: Vec<u8>,
        id: u64,
        #[cfg_attr(all(), shm(rename = "text"))]
        name: ShmString,
    },
    Failed(#[cfg(any())] String, ShmString),
    #[cfg_attr(any(), shm(skip))]
    #[cfg(any())]
    Idle,
}

#[derive(ShmSafe)]
#[shm(mirror = ShmOrder)]
struct Order {
    id: u64,
    #[cfg(any())]
    gone: std::rc::Rc<u8>,
    #[cfg_attr(all(), shm(skip))]
    cache: std::rc::Rc<u8>,
}

fn main() {
    let Kind::Enum { variants, tag_size: 1 } = &Job::type_info().kind else { unreachable!() };
    assert!(variants.iter().map(|v| (v.name, v.tag)).eq([("Idle", 0), ("Running", 1), ("Failed", 2)]));
    assert!(variants[1].fields.iter().map(|f| f.name).eq(["id", "text"]));
    assert_eq!(Job::type_info().version, 2);
    let _ = (JobRunningInit { id: 1, name: "name" }, JobFailedInit("why"), Job::init_idle());
    let _ = Order { id: 1, cache: std::rc::Rc::new(1) };
    let Kind::Struct { fields: [_] } = &ShmOrder::type_info().kind else { unreachable!() };
}
