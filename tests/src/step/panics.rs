//! Panics of checks, caught and kept quiet: with thousands of kills they are results.

use std::any::Any;
use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, Location, PanicHookInfo, catch_unwind};
use std::sync::Once;

thread_local! {
    /// On a thread that catches its panics: where the last one was.
    static CAUGHT: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Runs `body`; its panic becomes a message.
pub(super) fn caught<T>(body: impl FnOnce() -> T) -> Result<T, String> {
    static INSTALL: Once = Once::new();
    INSTALL.call_once(|| {
        let loud = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if !CAUGHT.try_with(|caught| note(caught, info)).unwrap_or(false) {
                loud(info);
            }
        }));
    });
    CAUGHT.set(Some(String::new()));
    let result = catch_unwind(AssertUnwindSafe(body));
    let place = CAUGHT.take().unwrap_or_default();
    result.map_err(|panic| format!("{} ({place})", text(&*panic)))
}

fn note(caught: &RefCell<Option<String>>, info: &PanicHookInfo<'_>) -> bool {
    let mut caught = caught.borrow_mut();
    let Some(place) = caught.as_mut() else { return false };
    *place = info.location().map(Location::to_string).unwrap_or_default();
    true
}

fn text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("a panic without a text");
    // As `assert_eq!` does: left and right in lines of their own.
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
