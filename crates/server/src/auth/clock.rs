//! The calendar, by which credentials expire.

use std::time::{Duration, SystemTime};

use operond_core::Timestamp;

/// Now, by the wall clock: who made a credential chose its end by the calendar, and the clock of the store may stand
/// elsewhere after a step.
#[expect(clippy::disallowed_methods, reason = "credentials expire by the calendar")]
pub(crate) fn now() -> SystemTime {
    SystemTime::now()
}

/// The same, as it is stored.
pub(crate) fn stamp(at: SystemTime) -> Timestamp {
    Timestamp::default().after(at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO))
}
