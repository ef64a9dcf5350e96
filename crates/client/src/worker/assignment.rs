//! What a handler is given.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use operond_proto::google::rpc::Status;
use operond_proto::operond::v1::{CancelRequested, Claim, Operation, Progress, ReportFailureRequest, operation};
use prost_types::Any;
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::client::Client;
use crate::error::Error;

/// One operation in the hands of a handler. Clones speak of the same operation.
#[derive(Clone)]
pub struct Assignment {
    shared: Arc<Shared>,
}

/// Why a handler should end.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Stop {
    /// Cancel was requested: clean up and confirm with
    /// [`Completion::cancelled`](crate::Completion::cancelled), or finish if it is too late for that.
    CancelRequested(CancelRequested),
    /// The worker is shutting down and its grace is over: what is not handed in within seconds is
    /// released.
    ShuttingDown,
    /// The operation is another worker's, or done: nothing this handler says counts any more. It
    /// is aborted within seconds.
    LeaseLost,
}

impl Stop {
    fn gravity(&self) -> u8 {
        match self {
            Self::CancelRequested(_) => 0,
            Self::ShuttingDown => 1,
            Self::LeaseLost => 2,
        }
    }
}

struct Shared {
    client: Client,
    claim: Claim,
    stopped: CancellationToken,
    state: Mutex<State>,
    report_waits: Notify,
}

#[derive(Default)]
struct State {
    stop: Option<Stop>,
    knows_of_cancel: bool,
    detected: Option<Status>,
    /// Not sent yet.
    pending: Report,
    /// Sent, and not answered yet.
    sent: Report,
}

/// The latest that a handler told, and the server does not know yet.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Report {
    pub(super) progress: Option<Progress>,
    pub(super) metadata: Option<Any>,
}

impl Report {
    pub(super) fn is_empty(&self) -> bool {
        self.progress.is_none() && self.metadata.is_none()
    }

    /// What of `newer` there is replaces what is here.
    fn overlay(&mut self, newer: Self) {
        self.progress = newer.progress.or(self.progress.take());
        self.metadata = newer.metadata.or(self.metadata.take());
    }
}

/// For handlers.
impl Assignment {
    /// The operation's id.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.operation().id
    }

    /// The operation as it was when it was claimed.
    #[must_use]
    pub fn operation(&self) -> &Operation {
        static NONE: std::sync::LazyLock<Operation> = std::sync::LazyLock::new(Operation::default);
        self.shared.claim.operation.as_ref().unwrap_or(&NONE)
    }

    /// What to work on.
    #[must_use]
    pub fn input(&self) -> Option<&Any> {
        self.shared.claim.input.as_ref()
    }

    /// Which attempt this is, from 1 on.
    #[must_use]
    pub fn attempt(&self) -> u32 {
        self.shared.claim.attempt
    }

    /// Fires when the handler should end; [`Assignment::stop_reason`] tells why. It has fired already
    /// when the operation was claimed to clean up after a cancel.
    #[must_use]
    pub fn stopped(&self) -> &CancellationToken {
        &self.shared.stopped
    }

    /// Why [`Assignment::stopped`] fired: the gravest reason so far.
    #[must_use]
    pub fn stop_reason(&self) -> Option<Stop> {
        self.state().stop.clone()
    }

    /// The error that callers have seen already, from an earlier attempt or by
    /// [`Assignment::report_failure`]: the operation will end with it, so roll back.
    #[must_use]
    pub fn detected_failure(&self) -> Option<Status> {
        self.state().detected.clone()
    }

    /// Tells how far the work is. Returns at once; the latest wins, and is sent soon.
    pub fn progress(&self, progress: Progress) {
        self.report(Report { progress: Some(progress), metadata: None });
    }

    /// Replaces the operation's metadata. Returns at once; the latest wins, and is sent soon.
    pub fn metadata(&self, metadata: Any) {
        self.report(Report { progress: None, metadata: Some(metadata) });
    }

    /// Shows callers that the operation will fail with `error`, whatever the handler returns later,
    /// while the work is rolled back.
    ///
    /// # Errors
    /// Another error was shown before, the lease is lost, or nobody answers.
    pub async fn report_failure(&self, error: Status) -> Result<(), Error> {
        let request =
            ReportFailureRequest { lease: self.lease().to_owned(), error: Some(error.clone()), metadata: None };
        self.shared.client.report_failure(request).await?;
        self.state().detected = Some(error);
        Ok(())
    }
}

/// For the worker.
impl Assignment {
    pub(super) fn new(client: Client, claim: Claim) -> Self {
        let operation = claim.operation.as_ref();
        let detected = operation.and_then(|operation| match &operation.result {
            Some(operation::Result::Error(error)) => Some(error.clone()),
            _ => None,
        });
        let cancel = operation.and_then(|operation| operation.cancel_requested.clone());
        let shared = Shared {
            client,
            claim,
            stopped: CancellationToken::new(),
            state: Mutex::new(State { detected, ..State::default() }),
            report_waits: Notify::new(),
        };
        let assignment = Self { shared: Arc::new(shared) };
        if let Some(cancel) = cancel {
            assignment.stop(Stop::CancelRequested(cancel));
        }
        assignment
    }

    pub(super) fn lease(&self) -> &str {
        &self.shared.claim.lease
    }

    /// Tells the handler to end. A grave reason is never replaced by a lighter one.
    pub(super) fn stop(&self, reason: Stop) {
        let mut state = self.state();
        state.knows_of_cancel |= matches!(reason, Stop::CancelRequested(_));
        if state.stop.as_ref().is_none_or(|earlier| earlier.gravity() < reason.gravity()) {
            state.stop = Some(reason);
        }
        drop(state);
        self.shared.stopped.cancel();
    }

    /// Whether the handler was told of a request to cancel.
    pub(super) fn knows_of_cancel(&self) -> bool {
        self.state().knows_of_cancel
    }

    /// Returns once there is something to report, and not before `earliest`.
    pub(super) async fn report_due(&self, earliest: Instant) {
        while !self.has_report() {
            self.shared.report_waits.notified().await;
        }
        tokio::time::sleep_until(earliest).await;
    }

    /// What to send now. It counts as unsent until [`Assignment::report_settled`].
    pub(super) fn send_report(&self) -> Report {
        let mut state = self.state();
        let pending = std::mem::take(&mut state.pending);
        state.sent.overlay(pending);
        state.sent.clone()
    }

    /// What was sent arrived, or will never be accepted.
    pub(super) fn report_settled(&self) {
        self.state().sent = Report::default();
    }

    fn has_report(&self) -> bool {
        let state = self.state();
        !state.pending.is_empty() || !state.sent.is_empty()
    }

    fn report(&self, report: Report) {
        self.state().pending.overlay(report);
        self.shared.report_waits.notify_one();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it holds the lock, and every field is whole at any time.
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Assignment {
    /// Without the lease, which is a secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Assignment").field("id", &self.id()).field("attempt", &self.attempt()).finish_non_exhaustive()
    }
}
