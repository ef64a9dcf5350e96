//! Clocks: the only place that reads the machine's time.
#![expect(clippy::disallowed_methods, reason = "this module is what the others read time through")]

use std::sync::Mutex;
use std::time::{Duration, Instant, SystemTime};

use operond_core::limits::{CLOCK_STEP, RETENTION_HOLD};
use operond_core::{Now, Timestamp};

/// Two clocks in one: a wall clock read at start, and one that only goes forwards.
pub trait Clock: Send + Sync + 'static {
    /// What the calendar says; may step.
    fn wall(&self) -> Timestamp;
    /// Time since an instant of its own; never goes back.
    fn elapsed(&self) -> Duration;
}

/// The machine's clocks.
#[derive(Debug)]
pub struct SystemClock {
    start: Instant,
}

/// A clock that a test moves by hand.
#[derive(Debug)]
pub struct ManualClock {
    wall: Mutex<Timestamp>,
    elapsed: Mutex<Duration>,
}

/// A store's own time: starts at the later of the wall clock and the last stored instant, then
/// follows the monotonic clock (CONTRACT §3 "Clocks").
pub struct StoreTime {
    clock: Box<dyn Clock>,
    base: Timestamp,
    base_elapsed: Duration,
    stepped: bool,
}

impl SystemClock {
    /// The machine's clocks from now on.
    #[must_use]
    pub fn new() -> Self {
        Self { start: Instant::now() }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    fn wall(&self) -> Timestamp {
        let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Timestamp::default().after(since_epoch)
    }

    fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }
}

impl ManualClock {
    /// A clock that stands at `wall`.
    #[must_use]
    pub fn new(wall: Timestamp) -> Self {
        Self { wall: Mutex::new(wall), elapsed: Mutex::default() }
    }

    /// Lets `length` pass on both clocks.
    pub fn advance(&self, length: Duration) {
        let mut wall = self.wall.lock().expect("no panic while held");
        *wall = wall.after(length);
        *self.elapsed.lock().expect("no panic while held") += length;
    }

    /// Steps the calendar alone.
    pub fn set_wall(&self, wall: Timestamp) {
        *self.wall.lock().expect("no panic while held") = wall;
    }
}

impl Clock for std::sync::Arc<ManualClock> {
    fn wall(&self) -> Timestamp {
        *self.wall.lock().expect("no panic while held")
    }

    fn elapsed(&self) -> Duration {
        *self.elapsed.lock().expect("no panic while held")
    }
}

impl StoreTime {
    /// The time of a store whose newest stored instant is `last_stored` (`None` for a new store).
    #[must_use]
    pub fn new(clock: impl Clock, last_stored: Option<Timestamp>) -> Self {
        let wall = clock.wall();
        let stepped = last_stored.is_some_and(|last| wall.since(last) > CLOCK_STEP);
        let base = last_stored.map_or(wall, |last| last.max(wall));
        let base_elapsed = clock.elapsed();
        Self { clock: Box::new(clock), base, base_elapsed, stepped }
    }

    /// Now; retention is held for an hour when the clock stood over an hour ahead of the last
    /// stored instant at start: it may be wrong, and removing cannot be undone.
    #[must_use]
    pub fn now(&self) -> Now {
        let open_for = self.clock.elapsed().saturating_sub(self.base_elapsed);
        let retention_held = self.stepped && open_for < RETENTION_HOLD;
        Now { retention_held, ..Now::at(self.base.after(open_for)) }
    }

    /// Whether retention is held at first: worth telling the operator.
    #[must_use]
    pub fn stepped(&self) -> bool {
        self.stepped
    }
}
