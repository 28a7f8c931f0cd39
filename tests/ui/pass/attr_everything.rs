//! The attributes of items, fields and variants, together.
use shmem_core::{Kind, Origin, ShmDrop, ShmHash, ShmSafe, ShmString};

#[derive(ShmSafe)]
#[shm(hash, drop, version = 2, unsafe(module = "bank::v1"), validate = Account::check)]
#[shm(bound(T: ShmHash), crate = ::shmem_core)]
#[repr(C)]
struct Account<T: ShmSafe + ShmHash> {
    #[shm(rename = "number")]
    id: u64,
    #[shm(rename = "id")]
    number: T,
}

impl<T: ShmSafe + ShmHash> Account<T> {
    fn check(&self) -> Result<(), &'static str> {
        if self.id < 100 { Ok(()) } else { Err("an account's number is below 100") }
    }
}

impl<T: ShmSafe + ShmHash> ShmDrop for Account<T> {
    fn drop(_: AccountMut<'_, T>) {}
}

#[derive(ShmSafe)]
#[shm(hash, unsafe(name = "com.example.Job"), validate = check)]
#[repr(u8)]
enum Job {
    #[shm(rename = "Running")]
    Idle,
    #[shm(rename = "Idle")]
    Running(#[shm(rename = "n")] u64, #[shm(rename = "0")] ShmString),
}

fn check(job: &Job) -> Result<(), &'static str> {
    match job {
        Job::Running(0, _) => Err("a job's number is not 0"),
        _ => Ok(()),
    }
}

#[derive(ShmSafe, Clone, Copy, bytemuck::Zeroable, bytemuck::Pod)]
#[shm(pod, version = 3)]
#[repr(C)]
struct Sample([f32; 4], SampleInner);

/// Not itself `ShmSafe`.
#[derive(Clone, Copy, bytemuck::Zeroable, bytemuck::Pod)]
#[repr(C)]
struct SampleInner(u64);

#[derive(ShmSafe)]
#[shm(mirror = ShmOrder, hash, drop, version = 4, unsafe(name = "com.example.Order"), validate = ShmOrder::check)]
#[shm(derive(Debug, PartialEq, Eq))]
struct Order {
    #[shm(rename = "n")]
    count: u32,
    name: String,
}

impl ShmOrder {
    fn check(&self) -> Result<(), &'static str> {
        Ok(())
    }
}

impl ShmDrop for ShmOrder {
    fn drop(_: ShmOrderMut<'_>) {}
}

fn main() {
    fn key<T: ShmSafe + ShmHash>() {}
    key::<Account<u8>>();
    key::<Job>();
    assert_eq!(Account::<u8>::type_info().origin, Origin::Module("bank::v1"));
    let Kind::Enum { variants, .. } = &Job::type_info().kind else { unreachable!() };
    assert!(variants.iter().map(|v| v.name).eq(["Running", "Idle"]));
    assert!(variants[1].fields.iter().map(|f| f.name).eq(["n", "0"]));
    assert_eq!(Sample::type_info().version, 3);
    let info = ShmOrder::type_info();
    assert_eq!((info.version, info.origin), (4, Origin::Named("com.example.Order")));
    let Kind::Struct { fields } = &info.kind else { unreachable!() };
    assert!(fields.iter().map(|f| f.name).eq(["n", "name"]));
    let _ = (Account::<u8>::check, Order { count: 1, name: String::new() }, Job::Idle);
}
