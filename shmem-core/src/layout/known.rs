//! Which types this process knows by their code: how a value of them is visited.
//!
//! A type is known from the first time that its fingerprint is asked for, so whoever constructs or looks for an object
//! knows its type.

use super::visit::VisitFn;
use super::{Fingerprint, ShmSafe, Visitor};
use std::collections::HashMap;
use std::sync::{OnceLock, RwLock};

static KNOWN: OnceLock<RwLock<HashMap<Fingerprint, VisitFn>>> = OnceLock::new();

/// Notes how values of a type are visited.
#[cold]
pub(super) fn remember<T: ShmSafe>(fingerprint: Fingerprint) {
    unsafe fn visit<T: ShmSafe>(at: *const u8, visitor: &mut Visitor<'_>) {
        // SAFETY: by the caller.
        unsafe { T::visit(at.cast(), visitor) }
    }
    if known_visit(fingerprint).is_none() {
        let known = KNOWN.get_or_init(Default::default);
        known.write().unwrap_or_else(|e| e.into_inner()).insert(fingerprint, visit::<T>);
    }
}

/// How a value of the type with this fingerprint is visited, if this process knows it.
pub(crate) fn known_visit(fingerprint: Fingerprint) -> Option<VisitFn> {
    KNOWN.get()?.read().unwrap_or_else(|e| e.into_inner()).get(&fingerprint).copied()
}
