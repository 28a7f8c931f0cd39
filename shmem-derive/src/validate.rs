//! The rules, a function each. All mistakes of an item are reported at once, each at its token.
//!
//! Tokens do not show what an alias, an associated type or a macro stands for; the bound `ShmSafe` on every field
//! catches what slips through here. Names are taken for std's when they stand alone or behind `std`, `core` or
//! `alloc`; a type of the user's own with such a name is written with a path (`self::Duration`).

use crate::parse::{Item, Shape};
use proc_macro2::{Span, TokenStream};
use syn::{GenericArgument, GenericParam, Ident, PathArguments, Type, TypeParamBound, TypePath};

/// The mistakes found so far.
#[derive(Default)]
pub(crate) struct Errors(Option<syn::Error>);

impl Errors {
    /// A mistake at `span`.
    pub(crate) fn at(&mut self, span: Span, message: &str) {
        self.push(syn::Error::new(span, message));
    }

    /// A mistake that covers `tokens`.
    fn over(&mut self, tokens: impl quote::ToTokens, message: &str) {
        self.push(syn::Error::new_spanned(tokens, message));
    }

    /// Adds an error.
    pub(crate) fn push(&mut self, error: syn::Error) {
        match &mut self.0 {
            None => self.0 = Some(error),
            Some(errors) => errors.combine(error),
        }
    }

    /// All of them as `compile_error!`s, if there are any.
    pub(crate) fn finish(self) -> Option<TokenStream> {
        self.0.map(|errors| errors.into_compile_error())
    }

    fn is_some(&self) -> bool {
        self.0.is_some()
    }
}

/// Checks everything.
pub(crate) fn item(item: &Item, errors: &mut Errors) {
    match item.shape {
        Shape::Enum(span) => {
            return errors.at(
                span,
                "ShmSafe for enums is not available yet; use ShmOption<T> for an optional value, or a struct with a tag",
            );
        }
        Shape::Union(span) => {
            return errors.at(
                span,
                "a union cannot live in shared memory: nothing tells which of its fields is valid",
            );
        }
        Shape::Struct(..) => {}
    }
    layout(item, errors);
    parameters(item, errors);
    for field in item.fields() {
        ty(&field.ty, errors);
    }
}

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

/// The layout must be fixed: `repr(C)` or `repr(transparent)`, not packed, aligned to 4096 at most.
fn layout(item: &Item, errors: &mut Errors) {
    let repr = &item.repr;
    for other in &repr.other {
        errors.at(
            other.span(),
            &format!("`repr({other})` fixes no layout that every process shares: use `repr(C)`"),
        );
    }
    if let Some(packed) = repr.packed {
        errors.at(
            packed,
            "a type in shared memory must not be packed: its fields are viewed and locked in place, so they must be aligned",
        );
    }
    if let Some(align) =
        repr.align.as_ref().filter(|align| align.base10_parse::<u64>().is_ok_and(|n| n > 4096))
    {
        errors.at(
            align.span(),
            "the alignment of a type in shared memory is at most 4096 bytes: segments are mapped at page boundaries",
        );
    }
    if repr.c.is_none() && repr.transparent.is_none() && repr.packed.is_none() && repr.other.is_empty() {
        errors.at(
            item.name.span(),
            &format!("`{}` has no stable layout: add `#[repr(C)]` or `#[repr(transparent)]`", item.name),
        );
    }
}

/// No lifetimes, no unsized parameters.
fn parameters(item: &Item, errors: &mut Errors) {
    for param in &item.generics.params {
        match param {
            GenericParam::Lifetime(param) => errors.at(
                param.lifetime.span(),
                "a type in shared memory has no lifetime parameters: it outlives every process",
            ),
            GenericParam::Type(param) => param.bounds.iter().for_each(|bound| unsized_bound(bound, errors)),
            GenericParam::Const(_) => {}
        }
    }
    for predicate in item.generics.where_clause.iter().flat_map(|clause| &clause.predicates) {
        if let syn::WherePredicate::Type(predicate) = predicate {
            predicate.bounds.iter().for_each(|bound| unsized_bound(bound, errors));
        }
    }
}

fn unsized_bound(bound: &TypeParamBound, errors: &mut Errors) {
    if let TypeParamBound::Trait(bound) = bound
        && bound.maybe.is_some()
    {
        errors.over(
            bound,
            "a type parameter in shared memory is sized: remove `?Sized`; ShmBox<[T]> and ShmString hold values of any length",
        );
    }
}

/// No type whose meaning or layout is this process's own.
fn ty(field: &Type, errors: &mut Errors) {
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
