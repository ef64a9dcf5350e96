//! The one transition function: an operation, a command and an instant in; what is stored and
//! what is answered out. Total, synchronous, no clock, no IO (CONTRACT §3).

mod cancel;
mod claim;
pub(crate) use claim::lease;
mod complete;
mod give_up;
mod heartbeat;
mod report_failure;

use std::sync::Arc;
use std::time::Duration;

use crate::draft::{Change, Draft};
use crate::invalid::{Invalid, check_duration, check_text};
use crate::lease::{Digest, LeaseKey, LeaseSecret};
use crate::limits::{BACKOFF_MAX, LEASE_RANGE, METADATA_BYTES_MAX, REASON_CHARS_MAX, RESPONSE_BYTES_MAX};
use crate::name::{Principal, Reason, Worker};
use crate::operation::{Operation, Phase, State};
use crate::payload::{Any, Progress, Status, code};
use crate::settle::settle;
use crate::time::Now;

/// What somebody asks of an operation that exists.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    /// Nothing but to settle due timers.
    Settle,
    /// A worker takes it.
    Claim(Claim),
    /// A worker keeps it, and may report.
    Heartbeat(Heartbeat),
    /// A worker detected a failure and rolls back.
    ReportFailure(ReportFailure),
    /// A worker failed in a way that another attempt may mend.
    Retry(Retry),
    /// A worker gives it back untouched.
    Release(Release),
    /// A worker ends it.
    Complete(Complete),
    /// A caller wants it stopped.
    Cancel(Cancel),
    /// A caller wants it forgotten.
    Delete,
}

/// See [`Command::Claim`].
#[derive(Clone, Debug, PartialEq)]
pub struct Claim {
    /// Who takes it.
    pub worker: Worker,
    /// For how long.
    pub duration: Duration,
    /// Randomness for the lease.
    pub secret: LeaseSecret,
}

/// See [`Command::Heartbeat`].
#[derive(Clone, Debug, PartialEq)]
pub struct Heartbeat {
    /// The lease shown.
    pub lease: LeaseKey,
    /// How long to keep it from now; its own length if absent.
    pub duration: Option<Duration>,
    /// Replaces the metadata whole.
    pub metadata: Option<Any>,
    /// Replaces the progress whole.
    pub progress: Option<Progress>,
}

/// See [`Command::ReportFailure`].
#[derive(Clone, Debug, PartialEq)]
pub struct ReportFailure {
    /// The lease shown.
    pub lease: LeaseKey,
    /// The failure: what the operation will end with.
    pub error: Status,
    /// Replaces the metadata whole.
    pub metadata: Option<Any>,
}

/// See [`Command::Retry`].
#[derive(Clone, Debug, PartialEq)]
pub struct Retry {
    /// The lease shown.
    pub lease: LeaseKey,
    /// Why this attempt failed.
    pub error: Status,
    /// How long to wait; doubling by attempt if absent.
    pub backoff: Option<Duration>,
    /// Randomness that spreads the doubling backoff by ± 20 %: 0 is the least, `u16::MAX` the most.
    pub jitter: u16,
    /// Of this request's content.
    pub digest: Digest,
}

/// See [`Command::Release`].
#[derive(Clone, Debug, PartialEq)]
pub struct Release {
    /// The lease shown.
    pub lease: LeaseKey,
    /// Of this request's content.
    pub digest: Digest,
}

/// See [`Command::Complete`].
#[derive(Clone, Debug, PartialEq)]
pub struct Complete {
    /// The lease shown.
    pub lease: LeaseKey,
    /// How it ends.
    pub result: Completion,
    /// The last metadata.
    pub metadata: Option<Any>,
    /// Of this request's content.
    pub digest: Digest,
}

/// How a worker says that the operation ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Completion {
    /// It worked.
    Response(Any),
    /// It did not.
    Error(Status),
    /// It was stopped; the message may be empty.
    Cancelled(Arc<str>),
}

/// See [`Command::Cancel`].
#[derive(Clone, Debug, PartialEq)]
pub struct Cancel {
    /// Who asks.
    pub by: Principal,
    /// Why.
    pub reason: Reason,
}

/// What a store writes and a face answers. A refusal may write, too: what settling changed.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision {
    /// The operation afterwards.
    pub stored: Stored,
    /// The changes made, in order; empty when nothing is to be written.
    pub changes: Vec<Change>,
    /// Whether the command was accepted (also when it changed nothing).
    pub answer: Result<(), Rejection>,
}

/// What is left of an operation.
#[derive(Clone, Debug, PartialEq)]
pub enum Stored {
    /// The operation.
    Live(Arc<Operation>),
    /// A tombstone.
    Gone(Gone),
}

/// Why an operation is no longer there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Gone {
    /// Somebody deleted it.
    Deleted,
    /// Its retention passed.
    Expired,
}

/// Why a command was refused (CONTRACT §5 "Reasons").
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rejection {
    /// Settling removed the operation.
    Gone(Gone),
    /// The lease was never given by this operation.
    InvalidLease,
    /// A newer lease was given, or this one was given up.
    LeaseLost,
    /// The operation had ended, in this state.
    AlreadyDone(State),
    /// A failure was shown, which is the result; another was offered.
    FailureDetected,
    /// It was created so that it cannot be cancelled.
    NotCancellable,
    /// Only finished operations can be deleted; this one is in this state.
    NotDone(State),
    /// Nothing to claim here now.
    NotClaimable,
    /// A member that the operation's declared types refuse.
    Invalid(Invalid),
}

/// Judges `command` on `op` at `now`: due timers first, then the command.
#[must_use]
pub fn decide(op: &Operation, command: &Command, now: Now) -> Decision {
    let mut draft = Draft::new(op, now.at);
    if settle(&mut draft, now) {
        let answer = match command {
            Command::Settle => Ok(()),
            _ => Err(Rejection::Gone(Gone::Expired)),
        };
        return Decision { stored: Stored::Gone(Gone::Expired), changes: draft.changes, answer };
    }
    let answer = match command {
        Command::Settle => Ok(()),
        Command::Claim(claim) => claim::claim(&mut draft, claim),
        Command::Heartbeat(heartbeat) => heartbeat::heartbeat(&mut draft, heartbeat),
        Command::ReportFailure(report) => report_failure::report_failure(&mut draft, report),
        Command::Retry(retry) => give_up::retry(&mut draft, retry),
        Command::Release(release) => give_up::release(&mut draft, release),
        Command::Complete(complete) => complete::complete(&mut draft, complete),
        Command::Cancel(cancel) => cancel::cancel(&mut draft, cancel),
        Command::Delete if draft.op.done() => {
            return Decision { stored: Stored::Gone(Gone::Deleted), changes: draft.changes, answer: Ok(()) };
        }
        Command::Delete => Err(Rejection::NotDone(draft.op.state())),
    };
    Decision { stored: Stored::Live(Arc::new(draft.op)), changes: draft.changes, answer }
}

impl Command {
    /// Refuses what is over a limit or outside its range, before anything is looked up.
    pub fn check(&self) -> Result<(), Invalid> {
        match self {
            Self::Settle | Self::Cancel(_) | Self::Delete | Self::Release(_) => Ok(()),
            Self::Claim(claim) => check_duration("leaseDuration", claim.duration, LEASE_RANGE),
            Self::Heartbeat(heartbeat) => {
                heartbeat.duration.map_or(Ok(()), |length| check_duration("leaseDuration", length, LEASE_RANGE))?;
                check_metadata(heartbeat.metadata.as_ref())?;
                heartbeat.progress.as_ref().map_or(Ok(()), |progress| progress.check("progress"))
            }
            Self::ReportFailure(report) => {
                check_failure(&report.error)?;
                check_metadata(report.metadata.as_ref())
            }
            Self::Retry(retry) => {
                check_failure(&retry.error)?;
                let range = (Duration::ZERO, BACKOFF_MAX);
                retry.backoff.map_or(Ok(()), |backoff| check_duration("backoff", backoff, range))
            }
            Self::Complete(complete) => {
                check_metadata(complete.metadata.as_ref())?;
                match &complete.result {
                    Completion::Response(response) => response.check("response", RESPONSE_BYTES_MAX),
                    Completion::Error(error) => error.check("error"),
                    Completion::Cancelled(message) => check_text("cancelled.message", message, REASON_CHARS_MAX),
                }
            }
        }
    }
}

fn check_metadata(metadata: Option<&Any>) -> Result<(), Invalid> {
    metadata.map_or(Ok(()), |metadata| metadata.check("metadata", METADATA_BYTES_MAX))
}

/// A failure is neither OK nor CANCELLED: a worker that was stopped says so by complete.
fn check_failure(error: &Status) -> Result<(), Invalid> {
    error.check("error")?;
    if error.code == code::CANCELLED {
        return Err(Invalid::malformed("error.code", "is 1 (CANCELLED); complete with `cancelled` instead"));
    }
    Ok(())
}

/// Refuses a lease that is not the newest, was given up, or whose operation has ended. A lapsed one is good.
fn check_lease(op: &Operation, shown: &LeaseKey) -> Result<(), Rejection> {
    let newest = op.lease.as_ref().ok_or(Rejection::InvalidLease)?;
    if shown.token < newest.token {
        return Err(Rejection::LeaseLost);
    }
    if shown.token > newest.token || shown.secret != newest.secret {
        return Err(Rejection::InvalidLease);
    }
    if op.done() {
        return Err(Rejection::AlreadyDone(op.state()));
    }
    if newest.given_up { Err(Rejection::LeaseLost) } else { Ok(()) }
}

/// Whether this very request was accepted under this very lease before (CONTRACT §3 "complete").
fn is_repeat(op: &Operation, shown: &LeaseKey, digest: Digest) -> bool {
    op.lease.as_ref().is_some_and(|newest| {
        newest.token == shown.token && newest.secret == shown.secret && newest.answered == Some(digest)
    })
}

/// Remembers the request that ended the newest lease; `given_up` makes the lease void.
fn answer_lease(op: &mut Operation, digest: Digest, given_up: bool) {
    let lease = op.lease.as_mut().expect("the lease was checked");
    lease.answered = Some(digest);
    lease.given_up = given_up;
}

/// Whoever shows the newest lease.
fn worker(op: &Operation) -> Worker {
    op.lease.as_ref().expect("the lease was checked").worker.clone()
}

/// Not leased: in the queue, or done.
fn queued(op: &Operation) -> bool {
    matches!(op.phase, Phase::Queued { .. })
}
