//! What workers ask: claim, heartbeat, and the ways to end or give up an operation.

use std::sync::Arc;
use std::time::Duration;

use operond_core::limits::{CLAIM_KINDS_MAX, CLAIM_OPERATIONS_MAX, CLAIM_WAIT_DEFAULT, LEASE_DEFAULT, WAIT_MAX};
use operond_core::{
    Any, CancelRequest, Command, Complete, Completion, Heartbeat, Invalid, Kind, Lease, LeaseKey, Operation, Phase,
    Problem, Progress, Rejection, Release, ReportFailure, Retry, Status, Tenant, Timestamp, Worker, check_duration,
    check_size, limits,
};
use operond_store::{ClaimRequest, Missing};
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

use crate::claims::PendingClaim;
use crate::error::{Error, Unavailable};
use crate::waiters::Subscription;
use crate::writer::Message;
use crate::{Engine, digest, entropy};

/// What a worker asks for.
#[derive(Clone, Debug)]
pub struct Ask {
    /// Of which kinds; 1–32.
    pub kinds: Vec<Kind>,
    /// Who asks.
    pub worker: Worker,
    /// At most this many; 1–100.
    pub max: usize,
    /// For how long at first; 1 s – 1 h.
    pub lease: Duration,
    /// How long to wait for work; zero does not wait, more than a minute is cut.
    pub wait: Duration,
}

/// An operation that is a worker's now.
#[derive(Clone, Debug, PartialEq)]
pub struct Claimed {
    /// What proves it.
    pub lease: LeaseGrant,
    /// The operation, with its input, and whether a cancel is requested or a failure was detected.
    pub operation: Arc<Operation>,
}

/// A lease as its worker gets it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseGrant {
    /// The opaque string to show. Not for logs.
    pub text: String,
    /// How long it lasts from now on: what workers time themselves by.
    pub remaining: Duration,
    /// When it lapses, by the store's clock.
    pub expires_at: Timestamp,
}

/// What a heartbeat reports; members that are absent stay as they are.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Keep the lease for this long from now; for its own length if absent.
    pub lease: Option<Duration>,
    /// Replaces the metadata whole.
    pub metadata: Option<Any>,
    /// Replaces the progress whole.
    pub progress: Option<Progress>,
    /// Hold the answer this long, or until a cancel is requested; at most half the lease.
    pub wait: Duration,
}

/// How a worker stands after a heartbeat.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Set when the operation is to be stopped.
    pub cancel: Option<CancelRequest>,
    /// How long the lease lasts from now on.
    pub remaining: Duration,
    /// When it lapses, by the store's clock.
    pub expires_at: Timestamp,
}

impl Ask {
    /// One operation of `kinds`, with the defaults of CONTRACT §5.
    pub fn new(kinds: impl Into<Vec<Kind>>, worker: Worker) -> Self {
        Self { kinds: kinds.into(), worker, max: 1, lease: LEASE_DEFAULT, wait: CLAIM_WAIT_DEFAULT }
    }

    fn check(&self) -> Result<(), Invalid> {
        if self.kinds.is_empty() {
            return Err(Invalid::missing("kinds"));
        }
        check_size("kinds", self.kinds.len(), CLAIM_KINDS_MAX, "kinds")?;
        if !(1..=CLAIM_OPERATIONS_MAX).contains(&self.max) {
            let range = format!("from 1 to {CLAIM_OPERATIONS_MAX}");
            return Err(Invalid {
                field: "max".into(),
                problem: Problem::OutOfRange { value: self.max.to_string(), range },
            });
        }
        check_duration("leaseDuration", self.lease, limits::LEASE_RANGE)
    }
}

impl LeaseGrant {
    pub(crate) fn of(operation: &Operation, lease: &Lease, at: Timestamp) -> Self {
        let key = LeaseKey { operation: operation.id.clone(), token: lease.token, secret: lease.secret };
        let expires_at = expiry(operation).unwrap_or(at);
        Self { text: key.encode(), remaining: expires_at.since(at), expires_at }
    }
}

impl Engine {
    /// Finds work; empty when there was none in time. A call that is dropped leaves nothing claimed.
    pub async fn claim(&self, ask: Ask) -> Result<Vec<Claimed>, Error> {
        ask.check()?;
        if !ask.kinds.iter().all(|kind| self.scope.covers_kind(kind)) {
            return Err(Error::OutOfScope);
        }
        self.shared.attendance.note(self.scope.tenant.as_ref(), &ask.kinds);
        let wait = ask.wait.min(WAIT_MAX);
        let room = if wait.is_zero() { None } else { self.shared.waiters.room() };
        let held = room.is_some();
        let (reply, mut handover) = oneshot::channel();
        let returns = self.shared.returns.clone();
        self.enqueue(Message::Claim(PendingClaim {
            max: ask.max,
            request: claim_request(ask, self.scope.tenant.clone()),
            held,
            origin: self.origin.clone(),
            reply,
            returns,
        }))?;
        let answer = if held {
            match timeout_at(Instant::now() + wait, &mut handover).await {
                Ok(answer) => answer,
                Err(_elapsed) => return Ok(Vec::new()),
            }
        } else {
            handover.await
        };
        let (operations, at) = answer.map_err(|_| Error::Unavailable(Unavailable::ShuttingDown))??.take();
        Ok(operations.into_iter().map(|operation| claimed(operation, at)).collect())
    }

    /// Keeps a lease, reports, and learns whether the operation is to be stopped.
    ///
    /// Held for `report.wait`, it answers as soon as a cancel is requested, and fails as soon as
    /// the lease is lost: a cancel reaches a worker within milliseconds.
    pub async fn heartbeat(&self, lease: &str, report: Report) -> Result<Standing, Error> {
        let key = decode(lease)?;
        let mut subscription = match report.wait.is_zero() {
            true => None,
            false => self.shared.waiters.subscribe(&key.operation),
        };
        let heartbeat = Heartbeat {
            lease: key.clone(),
            duration: report.lease,
            metadata: report.metadata,
            progress: report.progress,
        };
        let (operation, at) = self.lease_command(&key, Command::Heartbeat(heartbeat)).await?;
        let since = Instant::now();
        let expires_at = expiry(&operation).unwrap_or(at);
        let remaining = expires_at.since(at);
        let mut cancel = operation.cancel.clone();
        if let Some(subscription) = &mut subscription {
            subscription.saw(&operation);
        }
        // It can be large: while many wait, only the store keeps theirs.
        drop(operation);
        if let Some(subscription) = subscription.filter(|_| cancel.is_none()) {
            let until = since + report.wait.min(remaining / 2);
            cancel = self.cancel_requested(&key, subscription, until).await?;
        }
        Ok(Standing { cancel, remaining: remaining.saturating_sub(since.elapsed()), expires_at })
    }

    /// Shows a failure early; the rollback goes on. From here on it is the result.
    pub async fn report_failure(
        &self,
        lease: &str,
        error: Status,
        metadata: Option<Any>,
    ) -> Result<Arc<Operation>, Error> {
        let key = decode(lease)?;
        let report = ReportFailure { lease: key.clone(), error, metadata };
        Ok(self.lease_command(&key, Command::ReportFailure(report)).await?.0)
    }

    /// Ends an operation.
    pub async fn complete(
        &self,
        lease: &str,
        result: Completion,
        metadata: Option<Any>,
    ) -> Result<Arc<Operation>, Error> {
        let key = decode(lease)?;
        let digest = digest::of_complete(&result, metadata.as_ref());
        let complete = Complete { lease: key.clone(), result, metadata, digest };
        Ok(self.lease_command(&key, Command::Complete(complete)).await?.0)
    }

    /// Gives an operation up for another attempt, after `backoff` or the usual one.
    pub async fn retry(&self, lease: &str, error: Status, backoff: Option<Duration>) -> Result<Arc<Operation>, Error> {
        let key = decode(lease)?;
        let digest = digest::of_retry(&error, backoff);
        let retry = Retry { lease: key.clone(), error, backoff, jitter: entropy::jitter(), digest };
        Ok(self.lease_command(&key, Command::Retry(retry)).await?.0)
    }

    /// Gives an operation back untouched.
    pub async fn release(&self, lease: &str) -> Result<Arc<Operation>, Error> {
        let key = decode(lease)?;
        let release = Release { lease: key.clone(), digest: digest::of_release() };
        Ok(self.lease_command(&key, Command::Release(release)).await?.0)
    }

    /// Whether a worker has asked lately who would take an operation of this kind and tenant, as far as is known here:
    /// where others write to the store, too, it may have asked them.
    #[must_use]
    pub fn attended(&self, tenant: &Tenant, kind: &Kind) -> bool {
        self.shared.store.properties().others.is_some() || self.shared.attendance.is_attended(tenant, kind)
    }

    async fn lease_command(&self, key: &LeaseKey, command: Command) -> Result<(Arc<Operation>, Timestamp), Error> {
        match self.command(&key.operation, command).await {
            // No operation, no lease of it: the lease was made up, or is of another server.
            Err(Error::NotFound(Missing::Never)) => Err(Error::InvalidLease),
            outcome => outcome,
        }
    }

    /// Waits until a cancel is requested, at most until `until`; fails when the lease is lost.
    async fn cancel_requested(
        &self,
        key: &LeaseKey,
        mut subscription: Subscription,
        until: Instant,
    ) -> Result<Option<CancelRequest>, Error> {
        while let Some((operation, gone)) = self.next_state(&mut subscription, Some(until)).await? {
            if let Some(gone) = gone {
                return Err(Error::NotFound(Missing::Gone(gone)));
            }
            if operation.done() {
                return Err(Error::Rejected(Rejection::AlreadyDone(operation.state())));
            }
            if operation.lease.as_ref().is_none_or(|lease| lease.token != key.token || lease.given_up) {
                return Err(Error::Rejected(Rejection::LeaseLost));
            }
            if operation.cancel.is_some() {
                return Ok(operation.cancel.clone());
            }
        }
        Ok(None)
    }
}

fn claim_request(ask: Ask, tenant: Option<Tenant>) -> ClaimRequest {
    let mut kinds = ask.kinds;
    kinds.sort();
    kinds.dedup();
    ClaimRequest {
        kinds: kinds.into(),
        tenant,
        after: None,
        worker: ask.worker,
        duration: ask.lease,
        secrets: Vec::new(),
    }
}

fn claimed(operation: Arc<Operation>, at: Timestamp) -> Claimed {
    let lease = operation.lease.as_ref().expect("a claimed operation has a lease");
    Claimed { lease: LeaseGrant::of(&operation, lease, at), operation }
}

fn decode(lease: &str) -> Result<LeaseKey, Error> {
    if lease.is_empty() {
        return Err(Invalid::missing("lease").into());
    }
    LeaseKey::decode(lease).ok_or(Error::InvalidLease)
}

/// When its lease lapses, while it has one.
fn expiry(operation: &Operation) -> Option<Timestamp> {
    match operation.phase {
        Phase::Leased { expires_at } => Some(expires_at),
        Phase::Queued { .. } | Phase::Done { .. } => None,
    }
}
