//! Aliases and associated types as fields, with the bounds that they need.
use shmem_core::{Mirror, MirrorType, ShmHash, ShmSafe, ShmString, ShmVec};

type Texts = ShmVec<ShmString>;
type Pair<T> = [T; 2];

trait Protocol {
    type Request;
    type Reply;
}

#[derive(ShmSafe)]
#[shm(bound(P::Request: ShmSafe + Unpin, P::Reply: ShmSafe))]
#[repr(u8)]
enum Message<P: Protocol + ShmSafe> {
    Request(P::Request),
    Reply { reply: <P as Protocol>::Reply, texts: Texts },
    Both(Pair<P::Request>),
    Nothing(std::marker::PhantomData<P>),
}

#[derive(ShmSafe)]
#[shm(hash, bound(P::Request: ShmSafe + ShmHash))]
#[repr(C)]
struct Key<P: Protocol> {
    request: P::Request,
    of: std::marker::PhantomData<P>,
}

#[derive(ShmSafe)]
#[repr(C)]
struct Ping;

impl Protocol for Ping {
    type Request = u64;
    type Reply = ShmString;
}

type Words = Vec<String>;

#[derive(ShmSafe)]
#[shm(mirror = ShmWordList)]
struct WordList {
    words: Words,
    again: <Words as IntoIterator>::Item,
}

fn main() {
    fn stored<T: ShmSafe>() {}
    stored::<Message<Ping>>();
    stored::<Key<Ping>>();
    fn mirrored<T: Mirror + MirrorType<Shm = ShmWordList>>() {}
    mirrored::<WordList>();
    let _ = |mut view: MessageMut<'_, Ping>| match view.get() {
        MessageVariantMut::Request(request) => *request += 1,
        MessageVariantMut::Reply { mut texts, .. } => texts.clear(),
        MessageVariantMut::Both(_) | MessageVariantMut::Nothing(_) => {}
    };
    let _ = (MessageReplyInit { reply: "text", texts: ["a", "b"] }, MessageRequestInit(1), Ping);
    let _ = WordList { words: vec![], again: String::new() };
}
