//! The store's time: the database's clock, which all servers share.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use operond_core::limits::{CLOCK_STEP, RETENTION_HOLD};
use operond_core::{Now, Timestamp};
use operond_store::{Clock, StoreTime, SystemClock};

/// What time it is to the rules.
pub(crate) struct Time {
    source: Source,
    /// This machine's clocks, to tell how long ago something was.
    machine: SystemClock,
}

enum Source {
    /// A clock of one's own, for tests and for who embeds the only server there is.
    Given(StoreTime),
    /// The database's, read many times a second.
    Database(Mutex<Reading>),
}

/// When the database was asked for its time, by this machine's clock that never goes back.
#[derive(Clone, Copy)]
pub(crate) struct Asked(Duration);

/// The database's clock as it was read last.
#[derive(Debug)]
struct Reading {
    /// What it said, as far as its answer tells …
    said: Timestamp,
    /// … and when, by this machine's clock that never goes back.
    read_at: Duration,
    /// The latest time that was given out.
    given: Timestamp,
    /// Retention removes nothing until then, by this machine's clock.
    held_until: Option<Duration>,
    /// The database was away until then, by its own clock, and those who came back had a moment for it.
    away_until: Option<Timestamp>,
}

impl Time {
    /// Goes by `clock`.
    pub(crate) fn given(clock: impl Clock, last_stored: Option<Timestamp>) -> Self {
        Self { source: Source::Given(StoreTime::new(clock, last_stored)), machine: SystemClock::new() }
    }

    /// Goes by the database's clock, which said `said` just now.
    pub(crate) fn of_database(said: Timestamp, last_stored: Option<Timestamp>) -> Self {
        let machine = SystemClock::new();
        let read_at = machine.elapsed();
        let stepped = last_stored.is_some_and(|last| said.since(last) > CLOCK_STEP);
        let held_until = stepped.then_some(read_at + RETENTION_HOLD);
        let reading = Reading { said, read_at, given: said, held_until, away_until: None };
        Self { source: Source::Database(Mutex::new(reading)), machine }
    }

    /// The database is asked for its time now.
    pub(crate) fn ask(&self) -> Asked {
        Asked(self.machine.elapsed())
    }

    /// Takes in what the database's clock said at some time since it was asked.
    pub(crate) fn read(&self, asked: Asked, said: Timestamp) {
        let Source::Database(reading) = &self.source else { return };
        lock(reading).read(asked, said, self.machine.elapsed());
    }

    /// Now. Between two readings this machine's clock tells how much time has passed.
    pub(crate) fn now(&self) -> Now {
        match &self.source {
            Source::Given(time) => time.now(),
            Source::Database(reading) => lock(reading).now(self.machine.elapsed()),
        }
    }

    /// Retention is held back, because the clock stood far ahead of what was stored last.
    pub(crate) fn stepped(&self) -> bool {
        self.now().retention_held
    }

    /// How far this machine's calendar is from the store's time.
    pub(crate) fn skew(&self) -> Duration {
        let (ours, theirs) = (self.machine.wall(), self.now().at);
        ours.since(theirs).max(theirs.since(ours))
    }
}

impl Reading {
    /// An answer may have been under way for any part of the time since the question, and this server may have stood
    /// still before it looked: it tells the earliest and the latest that it can be now, and what is between them stays.
    fn read(&mut self, Asked(asked): Asked, said: Timestamp, elapsed: Duration) {
        let passed = elapsed.saturating_sub(self.read_at);
        let latest = said.after(elapsed.saturating_sub(asked));
        let now = self.said.after(passed).clamp(said, latest);
        if said.since(self.said) > passed + CLOCK_STEP {
            tracing::warn!("the database's clock stepped forwards: retention removes nothing for an hour");
            self.held_until = Some(elapsed + RETENTION_HOLD);
        }
        if passed > AWAY_MIN {
            self.away_until = Some(said.after(COME_BACK));
        }
        (self.said, self.read_at) = (now, elapsed);
    }

    fn now(&mut self, elapsed: Duration) -> Now {
        let at = self.said.after(elapsed.saturating_sub(self.read_at));
        // A reading is a little late, now more, now less: that alone is no step back.
        self.given = if self.given.since(at) < LATE_MAX { self.given.max(at) } else { at };
        let retention_held = self.held_until.is_some_and(|until| elapsed < until);
        Now { at: self.given, retention_held, away_until: self.away_until }
    }
}

fn lock(reading: &Mutex<Reading>) -> MutexGuard<'_, Reading> {
    reading.lock().unwrap_or_else(PoisonError::into_inner)
}

/// With no reading for so long, the database was away, or this server was.
const AWAY_MIN: Duration = Duration::from_secs(1);
/// Workers come back so long after an outage, by their own pauses: leases that end meanwhile are kept, too.
const COME_BACK: Duration = Duration::from_secs(5);
/// No reading is later than this; what goes back further is a step of the clock, and is followed.
const LATE_MAX: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn at(second: u64) -> Timestamp {
        Timestamp::from_micros(1_700_000_000_000_000).after(SECOND * u32::try_from(second).unwrap())
    }

    fn reading() -> Reading {
        Reading { said: at(0), read_at: SECOND, given: at(0), held_until: None, away_until: None }
    }

    #[test]
    fn between_two_readings_time_goes_on() {
        let mut reading = reading();
        assert_eq!(reading.now(SECOND).at, at(0));
        assert_eq!(reading.now(3 * SECOND).at, at(2));
        reading.read(Asked(4 * SECOND), at(9), 4 * SECOND);
        assert_eq!(reading.now(5 * SECOND).at, at(10));
    }

    #[test]
    fn f09_an_answer_that_lay_about_while_this_server_stood_still_does_not_turn_time_back() {
        let mut reading = reading();
        reading.read(Asked(2 * SECOND), at(1), 62 * SECOND);
        assert_eq!(reading.now(62 * SECOND).at, at(61), "it was said a minute ago");
        reading.read(Asked(62 * SECOND), at(61), 63 * SECOND);
        assert_eq!(reading.now(63 * SECOND).at, at(62));
        reading.read(Asked(63 * SECOND), at(70), 64 * SECOND);
        assert_eq!(reading.now(64 * SECOND).at, at(70), "it is as late as that at least");
        reading.read(Asked(64 * SECOND), at(60), 65 * SECOND);
        assert_eq!(reading.now(65 * SECOND).at, at(61), "it is as late as that at most");
    }

    #[test]
    fn a_late_reading_does_not_turn_time_back_and_a_step_does() {
        let mut reading = reading();
        assert_eq!(reading.now(11 * SECOND).at, at(10));
        reading.read(Asked(11 * SECOND), at(10).before(SECOND / 2), 11 * SECOND);
        assert_eq!(reading.now(11 * SECOND).at, at(10));
        reading.read(Asked(12 * SECOND), at(5), 12 * SECOND);
        assert_eq!(reading.now(12 * SECOND).at, at(5));
    }

    #[test]
    fn an_outage_lasts_until_those_who_waited_had_a_moment() {
        let mut reading = reading();
        reading.read(Asked(2 * SECOND), at(1), 2 * SECOND);
        assert_eq!(reading.now(2 * SECOND).away_until, None, "a second without a reading is none");
        reading.read(Asked(10 * SECOND), at(9), 10 * SECOND);
        assert_eq!(reading.now(10 * SECOND).away_until, Some(at(9).after(COME_BACK)));
        reading.read(Asked(11 * SECOND), at(10), 11 * SECOND);
        assert_eq!(reading.now(11 * SECOND).away_until, Some(at(9).after(COME_BACK)), "it stays");
    }

    #[test]
    fn f08_a_great_step_forwards_holds_retention_for_an_hour() {
        let mut reading = reading();
        reading.read(Asked(11 * SECOND), at(10 + CLOCK_STEP.as_secs()), 11 * SECOND);
        assert!(!reading.now(11 * SECOND).retention_held, "ten seconds and an hour in ten seconds: no step yet");
        reading.read(Asked(21 * SECOND), at(21 + 2 * CLOCK_STEP.as_secs()), 21 * SECOND);
        assert!(reading.now(21 * SECOND).retention_held);
        assert!(!reading.now(21 * SECOND + RETENTION_HOLD).retention_held);
    }
}
