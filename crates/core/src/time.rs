//! Instants as the store counts them: microseconds since the Unix epoch.

use std::fmt;
use std::time::Duration;

use crate::limits::ABSENCE;

/// An instant: microseconds since 1970-01-01T00:00:00Z, the precision every store keeps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

impl Timestamp {
    /// The instant `micros` microseconds after the Unix epoch.
    #[must_use]
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// Microseconds since the Unix epoch.
    #[must_use]
    pub const fn micros(self) -> i64 {
        self.0
    }

    /// The instant `length` later; stops at the end of time instead of wrapping.
    #[must_use]
    pub fn after(self, length: Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(length.as_micros()).unwrap_or(i64::MAX)))
    }

    /// The instant `length` earlier.
    #[must_use]
    pub fn before(self, length: Duration) -> Self {
        Self(self.0.saturating_sub(i64::try_from(length.as_micros()).unwrap_or(i64::MAX)))
    }

    /// How long after `earlier` this is; zero when it is not after it.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}µs", self.0)
    }
}

/// What "now" means to the rules: handed in by the store, never read by them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// The store's clock: never goes back (CONTRACT §3 "Clocks").
    pub at: Timestamp,
    /// Retention removes nothing for a while after a large step forwards of the clock.
    pub retention_held: bool,
    /// Until this instant nobody could be served, because what is stored could not be reached: leases and graces that
    /// ran out before it were missed (CONTRACT §3 "Absence"), however late they are found. May lie a little ahead of
    /// `at`, since workers need a moment to come back; that of the last outage may stay.
    pub away_until: Option<Timestamp>,
}

impl Now {
    /// An ordinary instant, retention not held, after no outage.
    #[must_use]
    pub const fn at(at: Timestamp) -> Self {
        Self { at, retention_held: false, away_until: None }
    }

    /// Whether a lease or grace that ran out at `due` did so while nobody was served: for so long that nobody can have
    /// been there, or before the end of an outage.
    pub(crate) fn missed(self, due: Timestamp) -> bool {
        self.at > due.after(ABSENCE) || self.away_until.is_some_and(|until| due < until)
    }
}
