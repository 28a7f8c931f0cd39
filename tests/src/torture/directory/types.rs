//! What the objects are: two halves that must agree, in several types.

use super::super::{Intended, Scene};
use super::lives::{Book, mark};
use shmem_core::{Error, Init, Result, ShmDrop, ShmSafe, ShmString, init};
use std::cell::Cell;
use std::sync::OnceLock;

/// Where destructors find the book.
static NOTES: OnceLock<(Scene, Book)> = OnceLock::new();

/// Lets the destructors of this process note what they drop.
pub(super) fn note_drops(scene: &Scene, book: Book) {
    let _ = NOTES.set((scene.clone(), book));
}

fn dropped(serial: u64, whole: bool) {
    let Some((scene, book)) = NOTES.get() else { return };
    if !whole {
        scene.corrupt(format!("a half-built object of life {serial} was dropped"));
    }
    match book.mark(serial, mark::DROPPED) {
        None => scene.corrupt(format!("an object of life {serial}, which there is none, was dropped")),
        Some(was) if was & mark::DROPPED != 0 => scene.double(format!("life {serial} was dropped twice")),
        // One that failed is dropped if it is a slice: the elements before the last.
        Some(_) => {}
    }
}

/// What an initialiser comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    Whole,
    Fails,
    Panics,
    Dies,
}

/// An object being built.
pub(super) struct Birth<'a> {
    pub(super) book: Book,
    pub(super) place: usize,
    pub(super) marks: u64,
    pub(super) fate: Fate,
    /// Its life, once its initialiser runs.
    pub(super) serial: Cell<u64>,
    /// What is done between the two halves.
    pub(super) between: &'a dyn Fn(),
}

impl Birth<'_> {
    fn left(&self) -> Result<u64> {
        let serial = self.book.begin(self.place, self.marks);
        self.serial.set(serial.ok_or_else(|| Error::init("the ledger is full"))?);
        Ok(self.serial.get())
    }

    fn text(&self) -> String {
        // Some stand inline, some on the heap.
        let serial = self.serial.get();
        format!("{serial:0width$}", width = if serial.is_multiple_of(3) { 12 } else { 60 })
    }

    fn right(&self) -> Result<u64> {
        let serial = self.serial.get();
        (self.between)();
        if self.fate == Fate::Whole {
            return Ok(serial);
        }
        if self.fate == Fate::Dies {
            super::super::die();
        }
        self.book.mark(serial, mark::FAILED);
        if self.fate == Fate::Panics {
            Intended::panic();
        }
        Err(Error::init("on purpose"))
    }
}

/// What a value says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Halves {
    pub(super) left: u64,
    pub(super) right: u64,
    pub(super) text: Option<u64>,
}

impl Halves {
    pub(super) fn agree(&self) -> bool {
        self.left == self.right && self.text == Some(self.left)
    }
}

/// An object of two halves.
pub(super) trait Twofold: ShmSafe + Sync {
    fn halves(&self) -> Halves;
    fn born<'a>(birth: &'a Birth<'a>) -> impl Init<Self> + use<'a, Self>;
}

/// One type, as a program may declare it.
macro_rules! twofold {
    ($module:ident, $name:ident, $version:literal { $($more:ident),* }) => {
        pub(super) mod $module {
            use super::*;

            #[derive(ShmSafe)]
            #[repr(C)]
            #[shm(drop, version = $version)]
            pub(in super::super) struct $name {
                // All public: versions of a type whose fields are not are told apart by their module, too.
                pub left: u64,
                $(pub $more: u64,)*
                pub text: ShmString,
                pub right: u64,
            }

            impl ShmDrop for $name {
                fn drop(this: <Self as ShmSafe>::Mut<'_>) {
                    let whole = this.left == this.right;
                    super::dropped(*this.left, whole);
                    *this.right = 0;
                }
            }

            impl Twofold for $name {
                fn halves(&self) -> Halves {
                    Halves { left: self.left, right: self.right, text: self.text.parse().ok() }
                }
                fn born<'a>(birth: &'a Birth<'a>) -> impl Init<Self> + use<'a> {
                    twofold!(@init $name birth $($more)*)
                }
            }
        }
    };
    (@init Pair $birth:ident $($more:ident)*) => { twofold!(@fields PairInit $birth $($more)*) };
    (@init Lone $birth:ident $($more:ident)*) => { twofold!(@fields LoneInit $birth $($more)*) };
    (@fields $init:ident $birth:ident $($more:ident)*) => {
        $init {
            left: init::from_fn(|| $birth.left()),
            $($more: 0,)*
            text: init::with(|slot| slot.fill($birth.text())),
            right: init::from_fn(|| $birth.right()),
        }
    };
}

twofold!(v1, Pair, 1 {});
twofold!(v2, Pair, 2 { spare });
twofold!(lone, Lone, 0 {});

/// An element of a slice.
#[derive(ShmSafe)]
#[repr(C)]
#[shm(drop)]
pub(super) struct Half {
    pub(super) left: u64,
    pub(super) index: u64,
    pub(super) right: u64,
}

impl ShmDrop for Half {
    fn drop(this: HalfMut<'_>) {
        if *this.index == 0 {
            dropped(*this.left, this.left == this.right);
            *this.right = 0;
        }
    }
}

/// What a slice says of itself.
pub(super) fn slice_halves(slice: &[Half]) -> Halves {
    let left = slice.first().map_or(0, |half| half.left);
    let whole = |(i, half): (usize, &Half)| half.left == left && half.right == left && half.index == i as u64;
    let all = slice.iter().enumerate().all(whole);
    Halves { left, right: slice.last().map_or(0, |half| half.right), text: all.then_some(left) }
}

/// Element `i` of a slice that is being built.
pub(super) fn slice_born(birth: &Birth<'_>, i: usize, n: usize) -> impl Init<Half> + use<> {
    let built = if i == 0 { birth.left() } else { Ok(birth.serial.get()) };
    let built = if i + 1 == n { built.and_then(|_| birth.right()) } else { built };
    let fields = move |serial| Half { left: serial, index: i as u64, right: serial };
    init::from_fn(move || built.map(fields))
}
