//! A worker gives its lease up: to retry after a backoff, or to hand the operation back untouched.

use std::time::Duration;

use super::{Rejection, Release, Retry, answer_lease, check_lease, is_repeat, queued, worker};
use crate::draft::Draft;
use crate::limits::{BACKOFF_DOUBLED_MAX, BACKOFF_FIRST};
use crate::operation::{EventKind, Outcome};
use crate::settle::lapse;

pub(super) fn retry(draft: &mut Draft, retry: &Retry) -> Result<(), Rejection> {
    if is_repeat(&draft.op, &retry.lease, retry.digest) {
        return Ok(());
    }
    check_lease(&draft.op, &retry.lease)?;
    let worker = worker(&draft.op);
    answer_lease(&mut draft.op, retry.digest, true);
    draft.op.attempt_error = Some(retry.error.clone());
    if cancelling(draft) {
        lapse(draft, EventKind::RetryScheduled, worker.as_str());
    } else if draft.op.attempts_left() {
        let backoff = retry.backoff.unwrap_or_else(|| doubling_backoff(draft.op.attempt, retry.jitter));
        draft.queue_behind(backoff);
        draft.event(EventKind::RetryScheduled, worker.as_str());
    } else {
        let unfinished = draft.op.failure.is_some();
        let what = if unfinished { EventKind::RollbackUnfinished } else { EventKind::Failed };
        draft.finish(Outcome::Error(retry.error.clone()), what, worker.as_str());
    }
    Ok(())
}

pub(super) fn release(draft: &mut Draft, release: &Release) -> Result<(), Rejection> {
    if is_repeat(&draft.op, &release.lease, release.digest) {
        return Ok(());
    }
    check_lease(&draft.op, &release.lease)?;
    let worker = worker(&draft.op);
    answer_lease(&mut draft.op, release.digest, true);
    if cancelling(draft) {
        lapse(draft, EventKind::Released, worker.as_str());
        return Ok(());
    }
    draft.op.attempt -= 1;
    // A lapsed operation waits already: its queue timeout goes on.
    if !queued(&draft.op) {
        draft.queue();
    }
    draft.event(EventKind::Released, worker.as_str());
    Ok(())
}

fn cancelling(draft: &Draft) -> bool {
    draft.op.cancel.is_some() && draft.op.failure.is_none()
}

/// 1 s doubling with each attempt to 5 min, ± 20 % by `jitter`.
fn doubling_backoff(attempt: u32, jitter: u16) -> Duration {
    let doublings = attempt.saturating_sub(1).min(16);
    let plain = BACKOFF_FIRST.saturating_mul(1 << doublings).min(BACKOFF_DOUBLED_MAX);
    plain.mul_f64(0.8 + 0.4 * f64::from(jitter) / f64::from(u16::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backoff_doubles_to_five_minutes_and_is_spread_by_a_fifth() {
        let middle = |attempt| doubling_backoff(attempt, u16::MAX / 2).as_secs_f64().round();
        assert_eq!([1, 2, 3, 9, 10, 100].map(middle), [1.0, 2.0, 4.0, 256.0, 300.0, 300.0]);
        assert_eq!(doubling_backoff(1, 0), Duration::from_millis(800));
        assert_eq!(doubling_backoff(1, u16::MAX), Duration::from_millis(1200));
    }
}
