//! How soon a caller that polls should ask again (CONTRACT §4 "`x-operation-poll-interval`").

use std::time::Duration;

use operond_core::{Operation, Timestamp};

/// The response header, in whole seconds.
pub(crate) const X_OPERATION_POLL_INTERVAL: &str = "x-operation-poll-interval";

/// Whole seconds to wait before the next Get of an operation; `None` once it is done.
///
/// Young operations are asked for every second, since many end soon; the older one is, the longer it will take,
/// most likely. Where progress tells when the end is near, or a cancel was asked for, callers come sooner.
pub(crate) fn poll_interval(operation: &Operation, now: Timestamp) -> Option<u64> {
    if operation.done() {
        return None;
    }
    let by_age = now.since(operation.created_at) / AGE_PARTS;
    let soon = match operation.cancel {
        Some(_) => SOON,
        None => remaining(operation, now).map_or(INTERVAL_MAX, |remaining| remaining / REMAINING_PARTS),
    };
    Some(by_age.min(soon).clamp(INTERVAL_MIN, INTERVAL_MAX).as_secs())
}

/// How long it will go on at the pace so far, if that is known.
fn remaining(operation: &Operation, now: Timestamp) -> Option<Duration> {
    let progress = operation.progress.as_ref()?;
    let (done, total) = (progress.done?, progress.total?);
    let elapsed = now.since(operation.started_at?).as_secs_f64();
    if done <= 0.0 {
        return None;
    }
    Duration::try_from_secs_f64(elapsed * (total - done).max(0.0) / done).ok()
}

const INTERVAL_MIN: Duration = Duration::from_secs(1);
const INTERVAL_MAX: Duration = Duration::from_secs(20);
/// After a cancel request, the end is a matter of the cancel grace.
const SOON: Duration = Duration::from_secs(2);
/// Whoever waits this part of an operation's age learns of its end at most that much later.
const AGE_PARTS: u32 = 20;
const REMAINING_PARTS: u32 = 4;

#[cfg(test)]
mod tests {
    use operond_core::{
        CancelRequest, Kind, NewOperation, OperationId, Outcome, Phase, Principal, Progress, Reason, Spec, Status,
    };

    use super::*;

    fn operation() -> Operation {
        let new = NewOperation { spec: Spec::new(Kind::new("k").unwrap()).into(), metadata: None, claim: None };
        operond_core::create(&new, OperationId::parse("id", "o").unwrap(), Timestamp::default())
    }

    fn at(seconds: u64) -> Timestamp {
        Timestamp::default().after(Duration::from_secs(seconds))
    }

    #[test]
    fn the_older_the_longer() {
        for (age, interval) in [(0, 1), (39, 1), (40, 2), (100, 5), (400, 20), (100_000, 20)] {
            assert_eq!(poll_interval(&operation(), at(age)), Some(interval), "{age} s old");
        }
    }

    #[test]
    fn progress_near_its_end_and_cancel_bring_callers_sooner() {
        let progress = |done, total| {
            let progress = Progress { done: Some(done), total: Some(total), ..Progress::default() };
            Operation { progress: Some(progress), started_at: Some(at(0)), ..operation() }
        };
        for (done, total, interval) in [(50.0, 100.0, 20), (99.0, 100.0, 1), (90.0, 100.0, 11), (0.0, 1.0, 20)] {
            assert_eq!(poll_interval(&progress(done, total), at(400)), Some(interval), "{done} of {total}");
        }
        assert_eq!(poll_interval(&progress(2.0, 1.0), at(400)), Some(1));
        assert_eq!(poll_interval(&progress(f64::MIN_POSITIVE, f64::MAX), at(400)), Some(20));
        let cancel = CancelRequest { at: at(0), by: Principal::default(), reason: Reason::default() };
        assert_eq!(poll_interval(&Operation { cancel: Some(cancel), ..operation() }, at(400)), Some(2));
    }

    #[test]
    fn a_finished_operation_is_not_polled() {
        let outcome = Outcome::Error(Status::new(5, "gone"));
        let phase = Phase::Done { outcome, finished_at: at(0), expires_at: None };
        assert_eq!(poll_interval(&Operation { phase, ..operation() }, at(1)), None);
    }
}
