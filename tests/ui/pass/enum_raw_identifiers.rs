//! Raw identifiers as names of enums, variants, fields and parameters; described by their plain names.
#![allow(non_camel_case_types)]
use shmem_core::{Kind, ShmSafe, ShmString};

#[derive(ShmSafe)]
#[shm(hash)]
#[repr(u8)]
enum r#match<r#type> {
    r#if,
    r#else { r#fn: r#type, r#in: ShmString },
    r#for(u8),
}

#[derive(ShmSafe)]
#[repr(u8)]
enum r#enum {
    r#true,
    r#false,
}

#[derive(ShmSafe)]
#[shm(mirror = r#trait)]
struct r#struct<r#impl> {
    r#use: Vec<r#impl>,
    r#mod: String,
}

#[derive(ShmSafe)]
#[shm(mirror = r#loop)]
enum r#while {
    r#break,
    r#continue { r#as: String },
}

fn change(view: &mut matchMut<'_, u64>) -> shmem_core::Result<()> {
    if let matchVariantMut::r#else { r#fn, .. } = view.get() {
        *r#fn += 1;
    }
    view.set(matchelseInit { r#fn: 1, r#in: "text" })?;
    view.set(r#match::<u64>::init_if())
}

fn main() {
    let info = r#match::<u8>::type_info();
    assert_eq!(info.name, "match");
    let Kind::Enum { variants, .. } = &info.kind else { unreachable!() };
    assert!(variants.iter().map(|v| v.name).eq(["if", "else", "for"]));
    assert!(variants[1].fields.iter().map(|f| f.name).eq(["fn", "in"]));
    assert_eq!(r#trait::<u8>::type_info().name, "trait");
    let Kind::Enum { variants, .. } = &r#loop::type_info().kind else { unreachable!() };
    assert_eq!(variants[1].fields[0].name, "as");
    let _ = (change, r#match::r#for::<u8>, r#enum::r#true, r#enum::r#false);
    let _ = r#struct::<u8> { r#use: vec![], r#mod: String::new() };
    let _ = (r#while::r#break, r#while::r#continue { r#as: String::new() });
}
