//! [`Read`] and [`Stored`] for maps and sets.
//!
//! This file needs `unsafe`: it calls initialisers.

use super::describe::{Container, Ty};
use super::model::Model;
use super::stored::{Change, Of, Parts, Read, Stored};
use shmem_core::access::Access;
use shmem_core::*;
use std::collections::BTreeMap;

/// Keys and values in the order of the model, which is not the map's.
fn sorted<'v>(mut pairs: Vec<(Model, &'v dyn Read, &'v dyn Read)>) -> Parts<'v> {
    pairs.sort_by(|one, two| one.0.cmp(&two.0));
    Parts::Elements(pairs.into_iter().flat_map(|(_, key, value)| [key, value]).collect())
}

/// Adds a pair to what was found in a map.
fn add(found: &mut BTreeMap<Model, Model>, key: Model, value: Model, is_found: bool) {
    assert!(is_found, "the key {key} is not found where it stands");
    if let Some(before) = found.insert(key, value) {
        panic!("a key stands there twice, once with {before}");
    }
}

impl<K: Stored + ShmHash + Eq, V: Stored> Read for ShmHashMap<K, V> {
    fn parts(&self) -> Parts<'_> {
        let mut pairs: Vec<(Model, &dyn Read, &dyn Read)> = Vec::new();
        for (key, value) in self.iter() {
            pairs.push((key.read(), key, value));
        }
        sorted(pairs)
    }

    fn read(&self) -> Model {
        let mut found = BTreeMap::new();
        for (key, value) in self.iter() {
            let is_found = self.get(key).is_some_and(|other| std::ptr::eq(other, value));
            add(&mut found, key.read(), value.read(), is_found);
        }
        assert_eq!(found.len(), self.len());
        Model::Map(found)
    }
}

impl<K: Stored + ShmHash + Eq, V: Stored> Stored for ShmHashMap<K, V> {
    unsafe fn build(model: &Model, slot: *mut Self, access: Access<'_>) -> Result<()> {
        // SAFETY: as the caller says.
        unsafe { model.init_pairs().init(slot, access) }
    }

    fn change(mut view: HashMapMut<'_, K, V>, mut at: Change<'_, '_>) {
        at.expect(&*view);
        let Ty::Map(key_type, value_type) = at.ty.clone() else { unreachable!("a map is none") };
        let len = at.model.map().len();
        let known = |at: &mut Change<'_, '_>| {
            let i = at.pick(len.max(1));
            at.model.map().keys().nth(i).cloned()
        };
        match (at.pick(5), known(&mut at)) {
            (0, Some(key)) => {
                let value = at.make.small(&value_type);
                assert!(!view.insert(Of(&key), Of(&value)).expect("memory for a value"), "{key} was new");
                at.model.map_mut().insert(key, value);
            }
            (1, Some(key)) => {
                view.retain(|other, _| other.read() != key);
                at.model.map_mut().remove(&key);
            }
            (2, Some(key)) => {
                let (_, value) =
                    view.iter_mut().find(|(other, _)| other.read() == key).expect("a key of the map");
                let model = at.model.map_mut().get_mut(&key).expect("a key of the model");
                V::change(value, Change { model, ty: (*value_type).clone(), make: at.make });
            }
            _ => {
                let (key, value) = (at.make.small(&key_type), at.make.small(&value_type));
                let new = view.insert(Of(&key), Of(&value)).expect("memory for a pair");
                assert_eq!(new, at.model.map_mut().insert(key, value).is_none());
            }
        }
    }
}

impl<K: Stored + ShmHash + Eq> Read for ShmHashSet<K> {
    fn parts(&self) -> Parts<'_> {
        let mut pairs: Vec<(Model, &dyn Read, &dyn Read)> = Vec::new();
        for key in self.iter() {
            pairs.push((key.read(), key, &()));
        }
        sorted(pairs)
    }

    fn read(&self) -> Model {
        let mut found = BTreeMap::new();
        for key in self.iter() {
            add(&mut found, key.read(), Model::Unit, self.contains(key));
        }
        assert_eq!(found.len(), self.len());
        Model::Map(found)
    }
}

impl<K: Stored + ShmHash + Eq> Stored for ShmHashSet<K> {
    unsafe fn build(model: &Model, slot: *mut Self, access: Access<'_>) -> Result<()> {
        let keys: Vec<Of<'_>> = model.init_pairs().into_iter().map(|(key, _)| key).collect();
        // SAFETY: as the caller says.
        unsafe { keys.init(slot, access) }
    }

    fn change(mut view: HashSetMut<'_, K>, mut at: Change<'_, '_>) {
        at.expect(&*view);
        let Ty::Of(Container::Set, key_type) = at.ty.clone() else { unreachable!("a set is none") };
        let len = at.model.map().len();
        let i = at.pick(len.max(1));
        match (at.pick(3), at.model.map().keys().nth(i).cloned()) {
            (0, Some(key)) => {
                view.retain(|other| other.read() != key);
                at.model.map_mut().remove(&key);
            }
            _ => {
                let key = at.make.small(&key_type);
                let new = view.insert(Of(&key)).expect("memory for a key");
                assert_eq!(new, at.model.map_mut().insert(key, Model::Unit).is_none());
            }
        }
    }
}
