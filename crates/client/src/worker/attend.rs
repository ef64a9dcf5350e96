//! One claimed operation from the handler's start to the result in the server's hands.

use std::any::Any as Anything;
use std::time::Duration;

use futures::future::BoxFuture;
use operond_proto::google::rpc::{Code, Status};
use operond_proto::operond::v1::complete_request::{Cancelled, Outcome};
use operond_proto::operond::v1::{Claim, CompleteRequest, HeartbeatRequest, ReleaseRequest, RetryRequest};
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use crate::client::Client;
use crate::error::Error;
use crate::payload;

use super::assignment::{Assignment, Stop};
use super::keeper::Keeper;
use super::outcome::{Completion, End, Failure, FailureKind};

pub(super) type Handler = Box<dyn Fn(Assignment) -> BoxFuture<'static, Ended> + Send + Sync>;
type Ended = Result<Completion, Failure>;

/// What all assignments of a worker have in common.
pub(super) struct Attendance {
    pub(super) handler: Handler,
    pub(super) client: Client,
    /// The lease's length that was asked for.
    pub(super) lease: Duration,
    /// How long a result is offered to a server that does not answer.
    pub(super) outage: Duration,
    /// Fires when handlers must end.
    pub(super) hurry: CancellationToken,
}

impl Attendance {
    /// Runs the handler while keeping the lease, then hands in what it returned. `line` is the
    /// connection for held calls.
    pub(super) async fn attend(&self, line: &Client, claim: Claim) {
        let claimed = Instant::now();
        let length = claim.lease_duration.and_then(|length| Duration::try_from(length).ok());
        let lease = length.filter(|length| !length.is_zero()).unwrap_or(self.lease);
        let assignment = Assignment::new(self.client.clone(), claim);
        let keeper = Keeper { line, assignment: &assignment, lease, lapses: claimed + lease };

        // A task of its own: its panics stay there, and a handler that blocks its thread does not
        // keep the keeper from heartbeats.
        let mut handler = JoinSet::new();
        handler.spawn((self.handler)(assignment.clone()));
        let ended = tokio::select! {
            ended = self.end_of(&mut handler, &assignment) => ended,
            () = keeper.keep() => {
                _ = timeout(STOP_GRACE, handler.join_next()).await;
                handler.shutdown().await;
                return;
            }
        };
        handler.shutdown().await;
        if let Err(error) = self.hand_in(&assignment, ended).await {
            tracing::warn!(operation = assignment.id(), %error, "the result could not be handed in");
        }
    }

    /// What the handler returned; `None` when it did not end in time before a shutdown.
    async fn end_of(&self, handler: &mut JoinSet<Ended>, assignment: &Assignment) -> Option<Result<Ended, JoinError>> {
        tokio::select! {
            biased;
            ended = handler.join_next() => return ended,
            () = self.hurry.cancelled() => assignment.stop(Stop::ShuttingDown),
        }
        timeout(STOP_GRACE, handler.join_next()).await.ok().flatten()
    }

    async fn hand_in(&self, assignment: &Assignment, ended: Option<Result<Ended, JoinError>>) -> Result<(), Error> {
        match ended {
            Some(Ok(Ok(completion))) => self.complete(assignment, completion).await,
            Some(Ok(Err(Failure(FailureKind::Final(error))))) => {
                self.flush(assignment).await;
                self.fail(assignment, error).await
            }
            Some(Ok(Err(Failure(FailureKind::Retry { error, backoff })))) => {
                self.flush(assignment).await;
                self.retry(assignment, error, backoff).await
            }
            Some(Err(panic)) => self.retry(assignment, panic_status(panic), None).await,
            Some(Ok(Err(Failure(FailureKind::Released)))) | None => {
                let request = ReleaseRequest { lease: assignment.lease().to_owned() };
                self.client.release_within(self.outage, request).await.map(drop)
            }
        }
    }

    async fn complete(&self, assignment: &Assignment, completion: Completion) -> Result<(), Error> {
        let last = self.flush(assignment).await;
        let outcome = match (completion.end, assignment.detected_failure()) {
            (End::Cancelled(message), _) => Outcome::Cancelled(Cancelled { message }),
            // Callers have seen the error: it is the result (CONTRACT §3).
            (End::Response(_), Some(detected)) => Outcome::Error(detected),
            (End::Response(response), None) => Outcome::Response(response),
        };
        let request = CompleteRequest {
            lease: assignment.lease().to_owned(),
            metadata: completion.metadata.or(last),
            outcome: Some(outcome),
        };
        match self.client.complete_within(self.outage, request).await {
            Err(Error::Rejected(rejection)) if rejection.code == Code::InvalidArgument => {
                // Else the operation would be tried again, only to be refused again.
                let message = format!("the worker's result was refused: {}", rejection.message);
                tracing::warn!(operation = assignment.id(), "{message}");
                self.fail(assignment, status(Code::Internal, message)).await
            }
            answered => answered.map(drop),
        }
    }

    async fn fail(&self, assignment: &Assignment, error: Status) -> Result<(), Error> {
        let error = assignment.detected_failure().unwrap_or(error);
        let request = CompleteRequest {
            lease: assignment.lease().to_owned(),
            metadata: None,
            outcome: Some(Outcome::Error(error)),
        };
        self.client.complete_within(self.outage, request).await.map(drop)
    }

    async fn retry(&self, assignment: &Assignment, error: Status, backoff: Option<Duration>) -> Result<(), Error> {
        let request = RetryRequest {
            lease: assignment.lease().to_owned(),
            error: Some(error),
            backoff: backoff.map(payload::duration),
        };
        self.client.retry_within(self.outage, request).await.map(drop)
    }

    /// Sends what the handler reported last and nobody has sent yet. Metadata that can go with the
    /// result, in one write, is returned instead.
    async fn flush(&self, assignment: &Assignment) -> Option<prost_types::Any> {
        let report = assignment.send_report();
        if let Some(progress) = report.progress {
            let request = HeartbeatRequest {
                lease: assignment.lease().to_owned(),
                progress: Some(progress),
                ..HeartbeatRequest::default()
            };
            // The result counts, the last progress is for the eye: one attempt.
            if let Err(error) = self.client.heartbeat_once(request).await {
                tracing::debug!(operation = assignment.id(), %error, "the last progress was not sent");
            }
        }
        report.metadata
    }
}

fn panic_status(error: JoinError) -> Status {
    let message = match error.try_into_panic() {
        Ok(panic) => format!("the worker's handler panicked: {}", panic_message(&*panic)),
        Err(_) => "the worker's handler was aborted".to_owned(),
    };
    status(Code::Internal, message)
}

fn panic_message(panic: &(dyn Anything + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("of an unprintable kind")
}

fn status(code: Code, message: String) -> Status {
    Status { code: code.into(), message, details: Vec::new() }
}

/// How long a handler may take to end when it is told to, before it is aborted.
const STOP_GRACE: Duration = Duration::from_secs(5);
