//! Enums: unit-only and with data, every repr, generic, nested, recursive, with discriminants.
#![deny(warnings)]
use shmem_core::{Init, ShmBox, ShmMutex, ShmOption, ShmSafe, ShmString, ShmVec};
use std::marker::PhantomData;

#[derive(ShmSafe, Clone, Copy, PartialEq, Debug)]
#[repr(u8)]
pub enum Side {
    Buy,
    Sell = 7,
    Both,
}

#[derive(ShmSafe)]
#[repr(u8)]
pub enum Job {
    Idle,
    Running { id: u64, name: ShmString },
    Failed(ShmString, Side),
}

#[derive(ShmSafe)]
#[repr(C)]
enum OfC {
    A(u8, u64),
    B { x: u16 },
    C,
}

#[derive(ShmSafe)]
#[repr(C, i16)]
enum Both<T: ShmSafe> {
    None = -5,
    One(T),
    Many(ShmVec<T>),
}

#[derive(ShmSafe)]
#[repr(i8)]
enum Maybe<T, const N: usize> {
    Not = -1,
    One(T),
    Same([T; N], PhantomData<T>),
}

#[derive(ShmSafe)]
#[repr(u64)]
enum Tree {
    Leaf(u64),
    Node(ShmBox<Tree>, ShmBox<Tree>),
    Locked(ShmMutex<ShmOption<ShmBox<Tree>>>),
}

#[derive(ShmSafe)]
#[repr(i32, align(64))]
enum Aligned {
    Only(u8),
}

#[derive(ShmSafe)]
#[repr(C)]
struct Holder {
    side: Side,
    job: Job,
    both: Both<Job>,
    movable: Maybe<u8, 3>,
}

impl JobMut<'_> {
    fn rename(&mut self, to: &str) -> shmem_core::Result<()> {
        match self.get() {
            JobVariantMut::Idle => {}
            JobVariantMut::Running { mut name, .. } => name.set(to)?,
            JobVariantMut::Failed(mut why, side) => {
                why.set(to)?;
                *side = Side::Buy;
            }
        }
        if matches!(**self, Job::Idle) {
            self.set(JobRunningInit { id: 1, name: to })?;
        }
        Ok(())
    }
}

fn change(mut holder: HolderMut<'_>) -> shmem_core::Result<()> {
    *holder.side = Side::Sell;
    holder.job.rename("other")?;
    holder.job.set(Job::init_idle())?;
    holder.both.set(BothOneInit(JobFailedInit("x", Side::Both)))?;
    holder.both.set(Both::<Job>::init_none())?;
    *holder.movable = Maybe::One(3);
    holder.movable.set(Maybe::<u8, 3>::init_not())?;
    Ok(())
}

fn main() {
    fn movable<T: Unpin>() {}
    movable::<Side>();
    movable::<Maybe<u8, 3>>();
    fn init<T: ShmSafe>(_: impl Init<T>) {}
    init::<Side>(Side::Buy);
    init::<OfC>(OfCAInit(1, 2));
    init::<OfC>(OfCBInit { x: 1 });
    init::<OfC>(OfC::init_c());
    init::<Tree>(TreeNodeInit(ShmBox::new(TreeLeafInit(1)), ShmBox::new(TreeLeafInit(2))));
    init::<Tree>(TreeLockedInit(ShmMutex::new(ShmOption::none())));
    init::<Aligned>(Aligned::Only(1));
    let _ = change;
    let _ = (OfC::A(1, 2), Both::<u8>::Many);
    assert_eq!((size_of::<Job>(), Job::type_info().size), (40, 40));
    assert_eq!(Aligned::type_info().size, 64);
}
