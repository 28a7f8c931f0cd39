//! `#[derive(ShmRoots)]`: all roots of a program, opened with one call.
//!
//! In the stages of the other derive: `parse`, `validate`, `expand`. What kind of root a field is, and whether its
//! attributes fit that, is for the traits of `shmem_core::__private::roots` to say: tokens do not show what an alias
//! stands for.

mod expand;
mod parse;
mod validate;

use crate::validate::Errors;
use proc_macro2::TokenStream;
use syn::DeriveInput;

/// The code for `input`.
pub(crate) fn derive(input: DeriveInput) -> TokenStream {
    let mut errors = Errors::default();
    let group = parse::group(input, &mut errors);
    validate::group(&group, &mut errors);
    match errors.finish() {
        None => expand::group(&group),
        Some(messages) => {
            let stand_in = expand::stand_in(&group);
            quote::quote!(#messages #stand_in)
        }
    }
}
