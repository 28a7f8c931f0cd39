//! Twins of every shape: tuples, units, generic with bounds and defaults, private in public, by path and alias.
#![deny(warnings)]
use shmem_core::{Mirror, MirrorType, ShmHash, ShmHashMap, ShmSafe, ShmString, ShmVec};
use std::collections::{HashMap, HashSet};
use std::fmt::Debug;

#[derive(ShmSafe)]
#[shm(mirror = ShmTuple)]
pub struct Tuple(pub String, u64, #[shm(skip)] std::cell::Cell<u8>, pub Vec<u8>);

#[derive(ShmSafe)]
#[shm(mirror = ShmUnit)]
struct Unit;

#[derive(ShmSafe)]
#[shm(mirror = ShmEmpty)]
struct Empty {}

#[derive(ShmSafe)]
#[shm(mirror = ShmOnlySkipped)]
struct OnlySkipped(#[shm(skip)] u8);

#[derive(ShmSafe, PartialEq, Eq, Hash, Clone)]
#[shm(mirror = ShmKey, hash, derive(PartialEq, Eq))]
struct Key {
    id: u64,
    name: String,
}

#[derive(ShmSafe)]
#[shm(mirror = ShmIndex)]
struct Index {
    by_key: HashMap<Key, Vec<Key>>,
    seen: HashSet<Key>,
}

#[derive(ShmSafe, Clone)]
#[shm(mirror = ShmGeneric)]
struct Generic<K: Clone + Eq + std::hash::Hash, V: Debug = String, const N: usize = 2>
where
    V: Clone,
{
    pairs: Vec<(K, V)>,
    array: [V; N],
    one: K,
}

#[derive(ShmSafe)]
#[shm(mirror = ShmTree, version = 2)]
enum Tree {
    Leaf,
    Node(Box<Tree>, Box<Tree>),
    Named { name: String, inner: Vec<Tree> },
}

mod inner {
    #[derive(shmem_core::ShmSafe)]
    #[shm(mirror = ShmHidden)]
    pub(crate) struct Hidden {
        pub(crate) open: String,
        own: u64,
    }

    impl Hidden {
        pub(crate) fn new() -> Self {
            Hidden { open: String::new(), own: 1 }
        }
    }
}

#[derive(ShmSafe)]
#[shm(mirror = ShmOuter)]
pub struct Outer {
    hidden: inner::Hidden,
    again: std::option::Option<std::boxed::Box<crate::Unit>>,
    bytes: ::std::vec::Vec<::core::primitive::u8>,
}

fn main() {
    fn twin<T: Mirror + MirrorType<Shm = S>, S: ShmSafe>() {}
    fn key<T: ShmHash + Eq>() {}
    twin::<Tuple, ShmTuple>();
    twin::<Unit, ShmUnit>();
    twin::<Empty, ShmEmpty>();
    twin::<OnlySkipped, ShmOnlySkipped>();
    twin::<Index, ShmIndex>();
    twin::<Generic<String>, ShmGeneric<ShmString, ShmString, 2>>();
    twin::<Generic<u8, Vec<u8>, 0>, ShmGeneric<u8, ShmVec<u8>, 0>>();
    twin::<Tree, ShmTree>();
    twin::<Outer, ShmOuter>();
    key::<ShmKey>();
    let _ = |index: &ShmIndex| -> usize {
        let map: &ShmHashMap<ShmKey, ShmVec<ShmKey>> = &index.by_key;
        map.len()
    };
    let _ = |hidden: &inner::ShmHidden| hidden.open.len();
    let _ = |tuple: &ShmTuple| (tuple.0.len(), tuple.1, tuple.2.len());
    let _ = |mut tree: ShmTreeMut<'_>| tree.set(ShmTree::init_leaf());
    let _ = (Unit, Empty {}, OnlySkipped(1), inner::Hidden::new(), Tree::Leaf);
    let _ = Tree::Named { name: String::new(), inner: vec![] };
    let _ = Tree::Node(Box::new(Tree::Leaf), Box::new(Tree::Leaf));
    let _ = Index { by_key: HashMap::new(), seen: HashSet::new() };
    let _ = Outer { hidden: inner::Hidden::new(), again: None, bytes: vec![] };
    let _ = Tuple(String::new(), 1, Default::default(), vec![]);
}
