//! Enums in enums, arrays, containers, locks and structs; recursive ones; a private one in a public struct.
use shmem_core::{Init, init, ShmBox, ShmHashMap, ShmMutex, ShmOption, ShmSafe, ShmString, ShmVec};

#[derive(ShmSafe, Clone, Copy, PartialEq, Eq)]
#[shm(hash)]
#[repr(u8)]
enum Side {
    Buy,
    Sell,
}

#[derive(ShmSafe)]
#[repr(u8)]
enum Inner {
    Nothing,
    Text(ShmString),
    Side(Side),
}

#[derive(ShmSafe)]
#[repr(C, u8)]
enum Outer {
    Inner(Inner),
    Array([Inner; 2], [Side; 3]),
    List(ShmVec<Outer>),
    Map { by_side: ShmHashMap<Side, Inner>, lock: ShmMutex<Inner> },
    Boxed(ShmOption<ShmBox<Outer>>),
}

#[derive(ShmSafe)]
#[repr(C)]
pub struct Public {
    pub id: u64,
    inner: Inner,
    sides: [Side; 2],
}

impl PublicMut<'_> {
    pub fn tell(&mut self, text: &str) -> shmem_core::Result<()> {
        self.sides[0] = Side::Sell;
        match self.inner.get() {
            InnerVariantMut::Text(mut old) => old.set(text),
            _ => self.inner.set(InnerTextInit(text)),
        }
    }
}

fn walk(mut outer: OuterMut<'_>) -> shmem_core::Result<()> {
    match outer.get() {
        OuterVariantMut::Inner(mut inner) => inner.set(Inner::init_nothing())?,
        OuterVariantMut::Array(mut inners, sides) => {
            if let InnerVariantMut::Side(side) = inners.get_mut(1).unwrap().get() {
                *side = sides[0];
            }
        }
        OuterVariantMut::List(mut list) => {
            list.push(OuterInnerInit(InnerSideInit(Side::Buy)))?;
            walk(list.get_mut(0).unwrap())?;
        }
        OuterVariantMut::Map { mut by_side, lock } => {
            by_side.insert(Side::Sell, InnerTextInit("sold"))?;
            lock.lock()?.set(InnerTextInit("locked"))?;
        }
        OuterVariantMut::Boxed(mut boxed) => {
            if let Some(mut boxed) = boxed.as_mut() {
                walk(boxed.get())?;
            }
        }
    }
    Ok(())
}

fn main() {
    fn check<T: ShmSafe>(_: impl Init<T>) {}
    check::<Outer>(OuterArrayInit(init::array([InnerTextInit("a"), InnerTextInit("b")]), [Side::Buy; 3]));
    check::<Outer>(OuterListInit([OuterInnerInit(Inner::init_nothing())]));
    check::<Outer>(OuterMapInit { by_side: ShmHashMap::new(), lock: ShmMutex::new(Inner::init_nothing()) });
    check::<Outer>(OuterBoxedInit(ShmOption::none()));
    check::<Public>(PublicInit { id: 1, inner: InnerTextInit("x"), sides: [Side::Buy, Side::Sell] });
    let _ = walk;
}
