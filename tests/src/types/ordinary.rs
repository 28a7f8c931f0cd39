//! [`Plain`]: ordinary values, made from models and told as such.

use super::model::Model;
use std::collections::{HashMap, HashSet};
use std::hash::Hash;
use std::marker::PhantomData;
use std::num::*;

/// An ordinary type.
pub trait Plain {
    /// The value.
    fn make(model: &Model) -> Self;
    /// What it is.
    fn model(&self) -> Model;
}

/// What is not stored: it comes back as its default.
#[derive(Debug, Default, PartialEq)]
pub struct NotStored(pub u64);

impl NotStored {
    /// Checks that it did.
    #[track_caller]
    pub fn expect_default(&self) {
        assert_eq!(*self, NotStored::default(), "a field that is not stored");
    }
}

/// A text that has no twin of its own.
#[derive(Debug, PartialEq)]
pub struct Coded(String);

/// Stores a [`Coded`] as a text.
pub mod as_text {
    use super::Coded;

    /// The twin.
    pub type Shm = shmem_core::ShmString;

    /// Builds it.
    pub fn init(coded: &Coded) -> impl shmem_core::Init<Shm> {
        coded.0.chars().rev().collect::<String>()
    }

    /// Reads it.
    pub fn to_native(shm: &Shm) -> Coded {
        Coded(shm.chars().rev().collect())
    }
}

impl Plain for Coded {
    fn make(model: &Model) -> Self {
        Coded(model.text().chars().rev().collect())
    }
    fn model(&self) -> Model {
        Model::Text(self.0.chars().rev().collect())
    }
}

macro_rules! leaves {
    ($($ty:ty, |$value:ident| $read:expr, |$model:ident| $make:expr;)*) => { $(
        impl Plain for $ty {
            fn make($model: &Model) -> Self {
                $make
            }
            fn model(&self) -> Model {
                let $value = self;
                $read
            }
        }
    )* };
}

macro_rules! numbers {
    ($($ty:ident as $bits:ident, $non_zero:ident;)*) => { leaves! { $(
        $ty, |value| Model::Bits(u128::from(*value as $bits)), |model| model.bits() as $ty;
        $non_zero, |value| Model::Bits(u128::from(value.get() as $bits)),
            |model| $non_zero::new(model.bits() as $ty).expect("not 0");
    )* } };
}

numbers! {
    u8 as u8, NonZeroU8; u16 as u16, NonZeroU16; u32 as u32, NonZeroU32; u64 as u64, NonZeroU64;
    u128 as u128, NonZeroU128; i8 as u8, NonZeroI8; i16 as u16, NonZeroI16; i32 as u32, NonZeroI32;
    i64 as u64, NonZeroI64; i128 as u128, NonZeroI128;
}

leaves! {
    usize, |value| Model::Bits(*value as u128), |model| model.bits() as usize;
    isize, |value| Model::Bits(*value as usize as u128), |model| model.bits() as isize;
    f32, |value| Model::Bits(value.to_bits().into()), |model| f32::from_bits(model.bits() as u32);
    f64, |value| Model::Bits(value.to_bits().into()), |model| f64::from_bits(model.bits() as u64);
    bool, |value| Model::Bool(*value), |model| *model == Model::Bool(true);
    char, |value| Model::Char(*value), |model| match model { Model::Char(c) => *c, _ => unreachable!() };
    (), |value| { let () = value; Model::Unit }, |model| assert_eq!(*model, Model::Unit);
    String, |value| Model::Text(value.clone()), |model| model.text().to_owned();
    Box<str>, |value| Model::Text(value.to_string()), |model| model.text().into();
}

impl<T> Plain for PhantomData<T> {
    fn make(_: &Model) -> Self {
        PhantomData
    }
    fn model(&self) -> Model {
        Model::Unit
    }
}

impl<T: Plain> Plain for Vec<T> {
    fn make(model: &Model) -> Self {
        model.list().iter().map(T::make).collect()
    }
    fn model(&self) -> Model {
        Model::List(self.iter().map(T::model).collect())
    }
}

impl<T: Plain> Plain for Box<[T]> {
    fn make(model: &Model) -> Self {
        model.list().iter().map(T::make).collect()
    }
    fn model(&self) -> Model {
        Model::List(self.iter().map(T::model).collect())
    }
}

impl<T: Plain, const N: usize> Plain for [T; N] {
    fn make(model: &Model) -> Self {
        std::array::from_fn(|i| T::make(&model.list()[i]))
    }
    fn model(&self) -> Model {
        Model::List(self.iter().map(T::model).collect())
    }
}

impl<T: Plain> Plain for Option<T> {
    fn make(model: &Model) -> Self {
        model.list().first().map(T::make)
    }
    fn model(&self) -> Model {
        Model::List(self.iter().map(T::model).collect())
    }
}

impl<T: Plain> Plain for Box<T> {
    fn make(model: &Model) -> Self {
        Box::new(T::make(model))
    }
    fn model(&self) -> Model {
        (**self).model()
    }
}

impl<K: Plain + Eq + Hash, V: Plain> Plain for HashMap<K, V> {
    fn make(model: &Model) -> Self {
        model.map().iter().map(|(key, value)| (K::make(key), V::make(value))).collect()
    }
    fn model(&self) -> Model {
        Model::Map(self.iter().map(|(key, value)| (key.model(), value.model())).collect())
    }
}

impl<K: Plain + Eq + Hash> Plain for HashSet<K> {
    fn make(model: &Model) -> Self {
        model.map().keys().map(K::make).collect()
    }
    fn model(&self) -> Model {
        Model::Map(self.iter().map(|key| (key.model(), Model::Unit)).collect())
    }
}

macro_rules! tuples {
    ($($($param:ident $i:tt),+;)*) => { $(
        impl<$($param: Plain),+> Plain for ($($param,)+) {
            fn make(model: &Model) -> Self {
                ($($param::make(&model.list()[$i]),)+)
            }
            fn model(&self) -> Model {
                Model::Data(0, vec![$(self.$i.model()),+])
            }
        }
    )* };
}
tuples! { A 0; A 0, B 1; A 0, B 1, C 2; }
