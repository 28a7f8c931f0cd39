//! Variants that are named as what the code uses, and as the enum's own parts.
use shmem_core::{Init, ShmSafe, ShmString};

#[derive(ShmSafe)]
#[shm(hash)]
#[repr(u8)]
enum Names {
    Some(u64),
    None,
    Ok(ShmString),
    Err,
    Self_,
    Mut,
    Init { slot: u8, access: u16, at: u32, this: u64, hasher: ShmString },
    Variant,
    VariantMut,
}

#[derive(ShmSafe)]
#[shm(mirror = ShmOutcome)]
enum Outcome {
    Ok(String),
    Err { self_: String },
    None,
    Some(Option<String>),
}

fn main() {
    fn init<T: ShmSafe>(_: impl Init<T>) {}
    init::<Names>(NamesSomeInit(1));
    init::<Names>(Names::init_none());
    init::<Names>(NamesOkInit("text"));
    init::<Names>(Names::init_err());
    init::<Names>(Names::init_variant_mut());
    init::<Names>(Names::init_self());
    init::<Names>(NamesInitInit { slot: 1, access: 2, at: 3, this: 4, hasher: "five" });
    init::<ShmOutcome>(Outcome::Some(None));
    init::<ShmOutcome>(&Outcome::Err { self_: String::new() });
    let _ = |names: &mut NamesMut<'_>| matches!(names.get(), NamesVariantMut::Some(_));
    let _ = (Outcome::Ok(String::new()), Outcome::None, Names::Mut);
}
