//! Methods on views, fields taken apart, views passed on.
use shmem_core::ShmSafe;

#[derive(ShmSafe)]
#[repr(C)]
pub struct Inner {
    pub count: u64,
}

#[derive(ShmSafe)]
#[repr(C)]
pub struct Outer {
    pub inner: Inner,
    pub list: [Inner; 3],
    pub total: u64,
}

impl InnerMut<'_> {
    pub fn add(&mut self, n: u64) {
        *self.count += n;
    }
}

impl OuterMut<'_> {
    pub fn add_all(&mut self) {
        self.inner.add(1);
        self.list.iter_mut().for_each(|mut inner| inner.add(2));
        *self.total = *self.inner.count + self.list.iter().map(|inner| inner.count).sum::<u64>();
    }
}

fn split(outer: OuterMut<'_>) -> u64 {
    let OuterMut { mut inner, list, total } = outer;
    inner.add(1);
    *total += list[0].count;
    *total
}

fn twice(outer: &mut OuterMut<'_>) {
    outer.add_all();
    outer.add_all();
}

fn main() {
    let _ = (split, twice);
}
