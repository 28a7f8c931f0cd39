//! Which field types mean the same in every process, as far as tokens show it.
//!
//! Tokens do not show what an alias, an associated type or a macro stands for; the bound `ShmSafe` on every field
//! catches what slips through here. Names are taken for std's when they stand alone or behind `std`, `core` or
//! `alloc`; a type of the user's own with such a name is written with a path (`self::Duration`).

use super::Errors;
use syn::{GenericArgument, Ident, PathArguments, Type, TypePath};

/// Whether a field of this type is in error.
pub(crate) fn is_rejected(field: &Type) -> bool {
    let mut errors = Errors::default();
    ty(field, &mut errors);
    errors.is_some()
}

/// Whether a field of this type leaves the struct without a size.
pub(crate) fn is_unsized(field: &Type) -> bool {
    match field {
        Type::Group(group) => is_unsized(&group.elem),
        Type::Paren(paren) => is_unsized(&paren.elem),
        Type::Slice(_) | Type::TraitObject(_) => true,
        Type::Path(path) => path
            .path
            .segments
            .last()
            .is_some_and(|last| ["str", "Path", "OsStr", "CStr"].iter().any(|name| last.ident == name)),
        _ => false,
    }
}

/// No type whose meaning or layout is this process's own.
pub(super) fn ty(field: &Type, errors: &mut Errors) {
    match field {
        Type::Group(group) => ty(&group.elem, errors),
        Type::Paren(paren) => ty(&paren.elem, errors),
        Type::Array(array) => ty(&array.elem, errors),
        Type::Reference(reference) => self::reference(reference, errors),
        Type::Ptr(pointer) => errors.over(
            pointer,
            "a raw pointer holds an address of one process: use ShmBox<T> to own a value, ShmArc<T> to share one",
        ),
        Type::FnPtr(pointer) => errors.over(
            pointer,
            "a function pointer holds an address, which differs in every process: store a number that names the function",
        ),
        Type::TraitObject(object) => errors.over(
            object,
            "a trait object points to a table of this process: use a struct with a tag and match on it",
        ),
        Type::ImplTrait(anonymous) => {
            errors.over(anonymous, "an `impl Trait` type has no name to be found again by: name the type")
        }
        Type::Slice(slice) => errors.over(slice, "a slice has no size: use ShmVec<T>, ShmBox<[T]> or [T; N]"),
        Type::Tuple(tuple) if tuple.elems.is_empty() => {}
        Type::Tuple(tuple) => errors.over(
            tuple,
            "a tuple has no stable layout: use a `#[repr(C)]` struct that derives ShmSafe",
        ),
        Type::Never(never) => errors.over(never, "`!` has no values, so it cannot be stored"),
        Type::Path(path) => self::path(path, errors),
        // Macros are for the bound to check, the rest for the compiler.
        _ => {}
    }
}

/// No type of a mirrored type's field that can have no twin, whatever is added to the library: what borrows, points into
/// one process, or changes behind a shared reference.
pub(super) fn ordinary(field: &Type, errors: &mut Errors) {
    let why = match field {
        Type::Group(group) => return ordinary(&group.elem, errors),
        Type::Paren(paren) => return ordinary(&paren.elem, errors),
        Type::Array(array) => return ordinary(&array.elem, errors),
        Type::Tuple(tuple) => return tuple.elems.iter().for_each(|elem| ordinary(elem, errors)),
        Type::Path(path) => return ordinary_path(path, errors),
        Type::Reference(_) => {
            "a reference borrows, and what is read from shared memory is owned: use String, Vec<T> or Box<T>"
        }
        Type::Ptr(_) => "a raw pointer holds an address of one process",
        Type::FnPtr(_) => "a function pointer holds an address of one process",
        _ => return,
    };
    errors.over(field, &format!("{why}; {APART}"));
}

/// What can be done about a field without a twin.
const APART: &str = "`#[shm(with = module)]` converts a field, `#[shm(skip)]` leaves it out";

fn ordinary_path(path: &TypePath, errors: &mut Errors) {
    let segments = &path.path.segments;
    let (Some(last), None) = (segments.last(), &path.qself) else { return };
    let from_std =
        segments.len() > 1 && ["std", "core", "alloc"].iter().any(|root| segments[0].ident == root);
    let name = last.ident.to_string();
    let why = match &*name {
        _ if segments.len() > 1 && !from_std => None,
        "Rc" | "Arc" | "Weak" => Some("is shared within one process"),
        "Cell" | "RefCell" | "OnceCell" | "OnceLock" | "LazyCell" | "LazyLock" | "Mutex" | "RwLock" => {
            Some("changes behind a shared reference, so what is converted is its content")
        }
        "NonNull" | "AtomicPtr" => Some("holds an address of one process"),
        "Instant" => Some("is a point on one process's clock"),
        _ => None,
    };
    if let Some(why) = why {
        let own =
            if from_std { String::new() } else { format!(" (for a type of your own write `self::{name}`)") };
        return errors.over(path, &format!("`{name}` {why}: it has no twin in shared memory; {APART}{own}"));
    }
    let PathArguments::AngleBracketed(args) = &last.arguments else { return };
    for arg in &args.args {
        if let GenericArgument::Type(arg) = arg {
            ordinary(arg, errors);
        }
    }
}

/// Whether a mirrored type's field can have no twin.
pub(crate) fn has_no_twin(field: &Type) -> bool {
    let mut errors = Errors::default();
    ordinary(field, &mut errors);
    errors.is_some()
}

fn reference(reference: &syn::TypeReference, errors: &mut Errors) {
    let mut target = &*reference.elem;
    while let Type::Group(syn::TypeGroup { elem, .. }) | Type::Paren(syn::TypeParen { elem, .. }) = target {
        target = elem;
    }
    let instead = match target {
        Type::Path(path) if path.path.is_ident("str") => "ShmString",
        Type::Slice(_) => "ShmVec<T> or ShmBox<[T]>",
        Type::TraitObject(_) => "a struct with a tag, and match on it",
        _ => "ShmBox<T> to own the value, ShmArc<T> to share it, or an index",
    };
    errors.over(reference, &format!("a reference holds an address of one process: use {instead}"));
}

fn path(path: &TypePath, errors: &mut Errors) {
    if path.qself.is_some() {
        return;
    }
    let segments = &path.path.segments;
    let Some(last) = segments.last() else { return };
    let from_std =
        segments.len() > 1 && ["std", "core", "alloc"].iter().any(|root| segments[0].ident == root);
    if (segments.len() == 1 || from_std)
        && let Some(message) = known(&last.ident, from_std)
    {
        return errors.over(path, &message);
    }
    // Of another crate, which says what it takes itself.
    if last.ident == "ShmPod" {
        return;
    }
    let PathArguments::AngleBracketed(args) = &last.arguments else { return };
    for arg in &args.args {
        if let GenericArgument::Type(arg) = arg {
            match arg {
                Type::Slice(slice) if takes_unsized(&last.ident) => ty(&slice.elem, errors),
                _ => ty(arg, errors),
            }
        }
    }
}

/// Whether the library's type of this name can hold a slice.
fn takes_unsized(name: &Ident) -> bool {
    ["ShmBox", "ShmArc", "ShmWeak"].iter().any(|known| name == known)
}

/// Why the type of this name cannot be stored, and what to use, if it is one of std's.
fn known(name: &Ident, from_std: bool) -> Option<String> {
    let text = name.to_string();
    let (why, instead) = match &*text {
        "Box" => ("owns memory of one process", "ShmBox<T>"),
        "Vec" => ("owns memory of one process", "ShmVec<T>"),
        "String" => ("owns memory of one process", "ShmString"),
        "str" => ("has no size", "ShmString"),
        "Cow" => ("may borrow from one process", "ShmString or ShmVec<T>"),
        "Rc" | "Arc" => ("shares memory of one process", "ShmArc<T>"),
        "Weak" => ("shares memory of one process", "ShmWeak<T>"),
        "Pin" => ("wraps a pointer of one process", "the value itself: the derive keeps it in its place"),
        "NonNull" => ("holds an address of one process", "ShmBox<T> or ShmArc<T>"),
        "AtomicPtr" => ("holds an address of one process", "an atomic index, or ShmMutex<ShmBox<T>>"),
        "OffsetPtr" => ("is the raw part that containers are made of and owns nothing", "ShmBox<T>"),
        "Cell" | "RefCell" => ("is not safe to share between processes", "ShmMutex<T> or an atomic"),
        "UnsafeCell" | "SyncUnsafeCell" => {
            ("is not safe to share between processes", "ShmMutex<T> or an atomic")
        }
        "OnceCell" | "LazyCell" => ("is not safe to share between processes", "ShmOnce<T> or ShmLazy<T>"),
        "OnceLock" | "LazyLock" | "Once" => ("waits within one process only", "ShmOnce<T> or ShmLazy<T>"),
        "MaybeUninit" => ("may hold no valid value", "ShmOption<T>"),
        "ManuallyDrop" => ("hides what must be freed from leak recovery", "the value itself"),
        "PhantomPinned" => ("says what the derive infers from the fields", "nothing: leave it out"),
        "HashMap" => ("owns memory of one process", "ShmHashMap<K, V>"),
        "HashSet" => ("owns memory of one process", "ShmHashSet<K>"),
        "BTreeMap" => ("owns memory of one process", "ShmBTreeMap<K, V>"),
        "BTreeSet" => ("owns memory of one process", "ShmBTreeSet<K>"),
        "VecDeque" => ("owns memory of one process", "ShmDeque<T>"),
        "LinkedList" => ("owns memory of one process", "ShmList<T>"),
        "BinaryHeap" => ("owns memory of one process", "ShmBTreeSet<T> or a ShmVec<T> kept in order"),
        "Mutex" | "ReentrantLock" => ("locks within one process only", "ShmMutex<T>"),
        "RwLock" => ("locks within one process only", "ShmRwLock<T>"),
        "Condvar" => ("waits within one process only", "ShmCondvar"),
        "Barrier" => ("waits within one process only", "ShmBarrier"),
        "Option" => ("has no stable layout", "ShmOption<T>"),
        "Result" => ("has no stable layout", "a struct of ShmOption<T> and ShmOption<E>"),
        "Ordering" => ("has no stable layout", "an i8"),
        "Duration" => ("has no stable layout", "a u64 of nanoseconds"),
        "Instant" => ("is a point on one process's clock and has no stable layout", "a u64 of nanoseconds"),
        "SystemTime" => ("has no stable layout", "a u64 of nanoseconds since UNIX_EPOCH"),
        "IpAddr" => ("has no stable layout", "[u8; 16], as of `Ipv4Addr::to_ipv6_mapped`"),
        "Ipv4Addr" => ("has no stable layout", "[u8; 4], as of `octets()`"),
        "Ipv6Addr" => ("has no stable layout", "[u8; 16], as of `octets()`"),
        "SocketAddr" | "SocketAddrV4" | "SocketAddrV6" => {
            ("has no stable layout", "a `#[repr(C)]` struct of octets and port")
        }
        "Range" | "RangeInclusive" | "RangeFrom" | "RangeTo" | "RangeToInclusive" | "RangeFull" | "Bound" => {
            ("has no stable layout", "a `#[repr(C)]` struct of start and end")
        }
        "PathBuf" | "Path" | "OsString" | "OsStr" | "CString" | "CStr" => {
            ("is one process's or has no size", "ShmString, or ShmVec<u8> for any bytes")
        }
        "TypeId" => ("differs between builds", "a Fingerprint's bytes, [u8; 16]"),
        "Wrapping" | "Saturating" | "Reverse" => ("is not described in a schema", "the inner value"),
        "File" | "OwnedFd" | "TcpStream" | "TcpListener" | "UdpSocket" | "UnixStream" | "Child"
        | "JoinHandle" | "Thread" | "ThreadId"
            if from_std =>
        {
            ("is a handle of one process", "a name or number by which each process opens its own")
        }
        "Sender" | "SyncSender" | "Receiver" if from_std => {
            ("connects threads of one process", "ShmChannel<T>")
        }
        _ => return None,
    };
    let own =
        if from_std { String::new() } else { format!(" (for a type of your own write `self::{text}`)") };
    Some(format!("`{text}` {why}: use {instead}{own}"))
}
