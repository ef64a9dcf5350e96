//! Panics of this thread, wherever they are caught: the runtime of a target has no other thread for tasks.
//!
//! Sets of descriptors are read on a thread of their own, where the library that does it is known to panic at times;
//! the server expects that, and answers.

use std::cell::Cell;
use std::sync::Once;

/// How often this thread has panicked since this was first asked.
pub(crate) fn seen() -> usize {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            SEEN.set(SEEN.get() + 1);
            before(info);
        }));
    });
    SEEN.get()
}

thread_local! {
    static SEEN: Cell<usize> = const { Cell::new(0) };
}
