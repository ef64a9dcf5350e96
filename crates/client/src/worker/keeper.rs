//! Keeps one lease: heartbeats that the server holds, reports in between, and the end of it.

use std::time::Duration;

use operond_proto::google::rpc::Code;
use operond_proto::operond::v1::{HeartbeatRequest, HeartbeatResponse};
use tokio::time::Instant;

use crate::client::Client;
use crate::error::Error;
use crate::payload;
use crate::retry::{Outage, jittered};

use super::assignment::{Assignment, Report, Stop};

/// What keeps the lease of one assignment.
pub(super) struct Keeper<'a> {
    /// The connection for calls that the server holds.
    pub(super) line: &'a Client,
    pub(super) assignment: &'a Assignment,
    /// The lease's length, as the server said when it was given.
    pub(super) lease: Duration,
    /// When the lease has surely lapsed unless it is extended.
    pub(super) lapses: Instant,
}

impl Keeper<'_> {
    /// Keeps the lease until it is lost, and tells the handler so then.
    pub(super) async fn keep(mut self) {
        let mut outage = Outage::new(Duration::MAX);
        let mut next_report = Instant::now();
        while let Some(beat) = self.beat(next_report).await {
            let begun = beat.begun;
            let pause = match beat.answered {
                Ok(response) => {
                    if outage.over() {
                        tracing::info!(operation = self.assignment.id(), "the server answers heartbeats again");
                    }
                    if beat.reported {
                        next_report = Instant::now() + REPORT_INTERVAL_MIN;
                    }
                    self.extended(response);
                    self.pause_after(begun, beat.hold)
                }
                Err(error) if beat.reported && is_bad_report(&error) => {
                    tracing::warn!(operation = self.assignment.id(), %error, "a report was refused and is dropped");
                    self.assignment.report_settled();
                    Duration::ZERO
                }
                Err(error) if ends_lease(&error) => {
                    tracing::warn!(operation = self.assignment.id(), %error, "the lease is lost");
                    break;
                }
                Err(error) => match outage.pause(as_outage(error)) {
                    Ok(pause) => pause,
                    Err(_) => break,
                },
            };
            if !self.rest(pause, next_report).await {
                break;
            }
        }
        self.assignment.stop(Stop::LeaseLost);
    }

    /// One heartbeat; `None` when the lease lapsed meanwhile. A report that comes up ends a held one
    /// and goes first.
    async fn beat(&self, next_report: Instant) -> Option<Beat> {
        loop {
            let begun = Instant::now();
            let report = if begun >= next_report { self.assignment.send_report() } else { Report::default() };
            let reported = !report.is_empty();
            let held = !reported && !self.assignment.knows_of_cancel();
            // By what is left: after an outage the answer must still come in time.
            let left = self.lapses.saturating_duration_since(begun);
            let hold = if held { (left / HOLDS_PER_LEASE).min(HOLD_MAX) } else { Duration::ZERO };
            let request = HeartbeatRequest {
                lease: self.assignment.lease().to_owned(),
                lease_duration: None,
                metadata: report.metadata,
                progress: report.progress,
                wait: Some(payload::duration(hold)),
            };
            let answered = tokio::select! {
                answered = self.line.heartbeat_once(request) => answered,
                () = self.assignment.report_due(next_report), if held => continue,
                () = tokio::time::sleep_until(self.lapses) => return None,
            };
            if reported && answered.is_ok() {
                self.assignment.report_settled();
            }
            return Some(Beat { begun, hold, reported, answered });
        }
    }

    fn extended(&mut self, response: HeartbeatResponse) {
        let length = response.lease_duration.and_then(|length| Duration::try_from(length).ok());
        self.lapses = Instant::now() + length.unwrap_or(self.lease);
        if let Some(cancel) = response.cancel_requested
            && !self.assignment.knows_of_cancel()
        {
            self.assignment.stop(Stop::CancelRequested(cancel));
        }
    }

    /// Once cancel is known the server holds no heartbeat back, and the worker must pace itself; so
    /// it must when the server has reasons of its own not to hold.
    fn pause_after(&self, begun: Instant, hold: Duration) -> Duration {
        if self.assignment.knows_of_cancel() {
            self.lease / HOLDS_PER_LEASE
        } else if begun.elapsed() < hold.min(EARLY) {
            jittered(hold.min(EARLY))
        } else {
            Duration::ZERO
        }
    }

    /// Does nothing for `pause`, or until there is something to report; false when the lease lapsed
    /// meanwhile.
    async fn rest(&self, pause: Duration, next_report: Instant) -> bool {
        let failed_report = pause.min(REPORT_INTERVAL_MIN);
        tokio::select! {
            biased;
            () = tokio::time::sleep_until(self.lapses) => false,
            () = tokio::time::sleep(pause) => true,
            () = self.assignment.report_due(next_report.max(Instant::now() + failed_report)) => true,
        }
    }
}

struct Beat {
    begun: Instant,
    hold: Duration,
    reported: bool,
    answered: Result<HeartbeatResponse, Error>,
}

/// Whether the server refused what was reported, and not the lease.
fn is_bad_report(error: &Error) -> bool {
    matches!(error, Error::Rejected(rejection)
        if rejection.code == Code::InvalidArgument && rejection.reason != INVALID_LEASE)
}

/// Whether the server says that there is no such lease any more. "A refused worker stops"
/// (CONTRACT §5).
fn ends_lease(error: &Error) -> bool {
    match error {
        Error::NotFound { .. } | Error::Endpoint { .. } => true,
        Error::Rejected(rejection) => matches!(
            rejection.code,
            Code::FailedPrecondition | Code::InvalidArgument | Code::PermissionDenied | Code::Unauthenticated
        ),
        Error::Unreachable { .. } => false,
    }
}

/// An error that another attempt may not meet is waited out like an outage.
pub(super) fn as_outage(error: Error) -> Error {
    match error {
        Error::Rejected(rejection) => {
            Error::Unreachable { reason: None, message: rejection.message, retry_after: None }
        }
        error => error,
    }
}

const INVALID_LEASE: &str = "INVALID_LEASE";
/// A held heartbeat is answered well before the lease it extends is over.
const HOLDS_PER_LEASE: u32 = 3;
const HOLD_MAX: Duration = Duration::from_secs(30);
/// A held heartbeat that is answered sooner, without a cancel, was not held.
const EARLY: Duration = Duration::from_secs(1);
/// Reports of one operation are sent no more often: people look at them.
pub(super) const REPORT_INTERVAL_MIN: Duration = Duration::from_millis(250);
