//! The word that says what a page is. Apart from the [structures](super::page) it stands in, so that the models, whose atomics
//! have another size, can use it.

/// What a page is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum PageState {
    /// Nobody's.
    Free = 0,
    /// A page of a run that is being put together or taken apart; the payload is a [`Claimant`](super::intent::Claimant).
    Claiming = 1,
    /// Holds blocks of the class in the payload.
    Small = 2,
    /// As `Small`, but somebody is looking whether it is empty; nothing is allocated from it.
    Retiring = 3,
    /// The first page of a span; the payload is the span's length in pages.
    Head = 4,
    /// A further page of a span; the payload is the distance to its head.
    Body = 5,
    /// The first page of a run whose memory goes back to the system, or is asked for again; payload as of `Claiming`.
    Punching = 6,
    /// Nobody's, and not to be touched: without memory behind it, or, if the payload is 1, perhaps with.
    Punched = 7,
}

/// The first word of a descriptor: state (4 bits), payload (28 bits), generation (32 bits).
///
/// Every change of the word is a compare-and-swap to [`next`](Word::next), which counts the generation up: a
/// word that is found unchanged was never anything else in between (until the generation wraps, after 2^32
/// changes of one page while one operation is under way).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Word(pub(super) u64);

/// The largest payload, and so the longest span.
pub(super) const MAX_PAYLOAD: u64 = (1 << 28) - 1;

impl Word {
    /// What the page is; `None` if the bytes are damaged.
    #[inline]
    pub(super) fn state(self) -> Option<PageState> {
        Some(match self.0 & 0xF {
            0 => PageState::Free,
            1 => PageState::Claiming,
            2 => PageState::Small,
            3 => PageState::Retiring,
            4 => PageState::Head,
            5 => PageState::Body,
            6 => PageState::Punching,
            7 => PageState::Punched,
            _ => return None,
        })
    }

    /// The class, length, distance or claimant.
    #[inline]
    pub(super) fn payload(self) -> u64 {
        (self.0 >> 4) & MAX_PAYLOAD
    }

    /// Whether the page is in this state with this payload.
    #[inline]
    pub(super) fn is(self, state: PageState, payload: u64) -> bool {
        self.0 as u32 == (payload << 4) as u32 | state as u32
    }

    /// The word that follows this one.
    #[inline]
    pub(super) fn next(self, state: PageState, payload: u64) -> Word {
        debug_assert!(payload <= MAX_PAYLOAD);
        let generation = ((self.0 >> 32) as u32).wrapping_add(1);
        Word(u64::from(generation) << 32 | payload << 4 | state as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words() {
        let free = Word(0);
        assert_eq!((free.state(), free.payload()), (Some(PageState::Free), 0));
        let head = free.next(PageState::Head, MAX_PAYLOAD);
        assert!(head.is(PageState::Head, MAX_PAYLOAD) && !head.is(PageState::Head, 1));
        assert_eq!((head.state(), head.payload()), (Some(PageState::Head), MAX_PAYLOAD));
        assert_ne!(head.next(PageState::Free, 0), free);
        assert_eq!(Word(9).state(), None);
        assert_eq!(Word(u64::MAX << 32).next(PageState::Free, 0), free);
    }
}
