//! Instants and durations.

use std::time::Duration;

use operond_core::{Invalid, Timestamp};

/// An instant for a face.
pub(crate) fn timestamp(timestamp: Timestamp) -> prost_types::Timestamp {
    let micros = timestamp.micros();
    let nanos = i32::try_from(micros.rem_euclid(MICROS)).expect("less than a million") * 1_000;
    prost_types::Timestamp { seconds: micros.div_euclid(MICROS), nanos }
}

/// A duration for a face; stops at the longest that the message can say.
pub(crate) fn duration(duration: Duration) -> prost_types::Duration {
    let seconds = i64::try_from(duration.as_secs()).unwrap_or(i64::MAX);
    let nanos = i32::try_from(duration.subsec_nanos()).expect("less than a billion");
    prost_types::Duration { seconds, nanos }
}

/// Reads a duration; refuses negative ones, and those that the message does not allow.
pub(crate) fn parse_duration(
    field: &str,
    duration: Option<&prost_types::Duration>,
) -> Result<Option<Duration>, Invalid> {
    let Some(duration) = duration else { return Ok(None) };
    let prost_types::Duration { seconds, nanos } = *duration;
    if seconds < 0 || nanos < 0 {
        return Err(Invalid::malformed(field, format!("is negative ({seconds} s and {nanos} ns)")));
    }
    match (u64::try_from(seconds), u32::try_from(nanos)) {
        (Ok(seconds @ ..=SECONDS_MAX), Ok(nanos @ ..=NANOS_MAX)) => Ok(Some(Duration::new(seconds, nanos))),
        _ => Err(Invalid::malformed(field, format!("is no duration ({seconds} s and {nanos} ns)"))),
    }
}

const MICROS: i64 = 1_000_000;
/// What google.protobuf.Duration allows: 10,000 years.
const SECONDS_MAX: u64 = 315_576_000_000;
const NANOS_MAX: u32 = 999_999_999;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_keep_their_microseconds_on_both_sides_of_the_epoch() {
        for (micros, seconds, nanos) in [(0, 0, 0), (1_500_000, 1, 500_000_000), (-1, -1, 999_999_000)] {
            let expected = prost_types::Timestamp { seconds, nanos };
            assert_eq!(timestamp(Timestamp::from_micros(micros)), expected);
        }
    }

    #[test]
    fn durations_read_back_as_they_were_written() {
        for length in [Duration::ZERO, Duration::new(7, 1), Duration::new(SECONDS_MAX, NANOS_MAX)] {
            assert_eq!(parse_duration("wait", Some(&duration(length))), Ok(Some(length)));
        }
        assert_eq!(parse_duration("wait", None), Ok(None));
    }

    #[test]
    fn negative_and_impossible_durations_are_refused_by_name() {
        for (seconds, nanos) in [(-1, 0), (0, -1), (1, -1), (-1, 1), (i64::MIN, i32::MIN)] {
            let error = parse_duration("wait", Some(&prost_types::Duration { seconds, nanos })).unwrap_err();
            assert!(error.to_string().starts_with("wait is negative"), "{error}");
        }
        for (seconds, nanos) in [(315_576_000_001, 0), (0, 1_000_000_000), (i64::MAX, i32::MAX)] {
            let error = parse_duration("wait", Some(&prost_types::Duration { seconds, nanos })).unwrap_err();
            assert!(error.to_string().starts_with("wait is no duration"), "{error}");
        }
    }
}
