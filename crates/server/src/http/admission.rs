//! How many calls are carried out at a time.
//!
//! Beyond what keeps the store busy, one more call at a time makes every call slower and none sooner, until clients
//! give up on answers that are still being worked on. So the excess is refused at once, before its body is read, and
//! told when to come back. What waits is not counted, or workers and waiters would leave no room: a call that is
//! about to be held says so ([`hold`]), and a body that has not arrived yet does not count either.
//!
//! A call says so from within, where it is polled: the alternative is a handle in every signature in between.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use http::StatusCode;
use tonic::Code;

use super::Refusal;

/// Calls that are carried out at a time. Some times what the largest batch of a store takes; a few seconds of work
/// for the slowest of them.
pub(super) const CALLS_MAX: usize = 2_048;
/// When a refused client may come back, in seconds.
const RETRY_SECONDS: u64 = 1;

/// How many calls are carried out.
#[derive(Debug)]
pub(super) struct Admission {
    under_way: AtomicUsize,
    max: usize,
}

impl Admission {
    pub(super) fn of(max: usize) -> Arc<Self> {
        Arc::new(Self { under_way: AtomicUsize::new(0), max })
    }

    /// A turn, if it is not one too many.
    pub(super) fn admit(self: &Arc<Self>) -> Result<Turn, Refusal> {
        let before = self.under_way.fetch_add(1, Ordering::Relaxed);
        let turn = Turn { admission: Arc::clone(self), counted: true };
        if before < self.max { Ok(turn) } else { Err(overloaded("too many calls are under way")) }
    }
}

/// A call that is carried out, until dropped.
#[derive(Debug)]
pub(super) struct Turn {
    admission: Arc<Admission>,
    counted: bool,
}

impl Turn {
    fn count(&mut self, counted: bool) {
        match (self.counted, counted) {
            (true, false) => _ = self.admission.under_way.fetch_sub(1, Ordering::Relaxed),
            // Without asking: what was admitted once goes on.
            (false, true) => _ = self.admission.under_way.fetch_add(1, Ordering::Relaxed),
            (true, true) | (false, false) => {}
        }
        self.counted = counted;
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.count(false);
    }
}

thread_local! {
    /// The turn of the call that is being polled.
    static TURN: Cell<Option<Turn>> = const { Cell::new(None) };
}

/// Polls a call that has this turn.
pub(super) fn polled<T>(turn: &mut Option<Turn>, poll: impl FnOnce() -> T) -> T {
    let _back = Lent::new(turn);
    poll()
}

struct Lent<'a>(&'a mut Option<Turn>);

impl<'a> Lent<'a> {
    fn new(turn: &'a mut Option<Turn>) -> Self {
        TURN.set(turn.take());
        Self(turn)
    }
}

impl Drop for Lent<'_> {
    fn drop(&mut self) {
        *self.0 = TURN.take();
    }
}

/// The call that is being polled waits from now on, and is not counted any more.
pub(crate) fn hold() {
    TURN.set(None);
}

/// The call that is being polled waits for its client.
pub(super) fn pause() {
    count(false);
}

/// What it has waited for has arrived.
pub(super) fn resume() {
    count(true);
}

fn count(counted: bool) {
    let mut turn = TURN.take();
    if let Some(turn) = &mut turn {
        turn.count(counted);
    }
    TURN.set(turn);
}

/// UNAVAILABLE, and when to come back (CONTRACT §4: RESOURCE_EXHAUSTED would end Google's pollers).
pub(super) fn overloaded(message: &'static str) -> Refusal {
    Refusal::new(Code::Unavailable, StatusCode::SERVICE_UNAVAILABLE, "OVERLOADED", message).retry_after(RETRY_SECONDS)
}
