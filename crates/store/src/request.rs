//! Batches: what is asked of a store, and what it answers.

use std::sync::Arc;
use std::time::Duration;

use operond_core::{
    Command, EventKind, Fingerprint, Gone, ID_ENTROPY_BYTES, IdempotencyKey, Kind, LeaseSecret, NewOperation,
    Operation, OperationId, Rejection, Scope, State, Stored, Tenant, Timestamp, Worker,
};

/// Requests that are carried out together, in order, in one transaction.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    /// At most a thousand or so; each has its own answer.
    pub requests: Vec<Request>,
}

/// One thing to do.
#[derive(Clone, Debug)]
pub enum Request {
    /// Begins an operation.
    Create(Box<CreateRequest>),
    /// Answers a create like the one that was carried out with the same key, and begins nothing: where a create would
    /// begin an operation, there is none to be found.
    Repeat(Box<CreateRequest>),
    /// Asks something of an operation; what is outside of the scope is not there.
    Command(Scope, OperationId, Box<Command>),
    /// Finds operations for a worker.
    Claim(ClaimRequest),
    /// Settles at most this many operations whose timers are due.
    Settle(usize),
}

/// See [`Request::Create`].
#[derive(Clone, Debug)]
pub struct CreateRequest {
    /// What to begin.
    pub new: NewOperation,
    /// Randomness for its id.
    pub entropy: [u8; ID_ENTROPY_BYTES],
    /// Makes the create repeatable within the tenant.
    pub key: Option<(IdempotencyKey, Fingerprint)>,
}

/// See [`Request::Claim`].
#[derive(Clone, Debug)]
pub struct ClaimRequest {
    /// Of which kinds.
    pub kinds: Arc<[Kind]>,
    /// Of this tenant alone; of all of them if absent.
    pub tenant: Option<Tenant>,
    /// The tenant that was served last: the turn is with the next one.
    pub after: Option<Tenant>,
    /// Who takes them.
    pub worker: Worker,
    /// For how long.
    pub duration: Duration,
    /// Randomness for as many leases as are wanted.
    pub secrets: Vec<LeaseSecret>,
}

/// The answer to one [`Request`].
pub type Reply = Result<Accepted, Refusal>;

/// What was done.
#[derive(Clone, Debug, PartialEq)]
pub enum Accepted {
    /// The operation was created, or had been by an earlier create with the same key.
    Created {
        /// As it is now.
        operation: Arc<Operation>,
        /// An earlier create made it.
        repeated: bool,
    },
    /// The command holds; this is the operation now.
    Operation(Arc<Operation>),
    /// These are the worker's now; each `lease` is theirs.
    Claimed(Vec<Arc<Operation>>),
    /// It is gone.
    Deleted,
    /// So many operations had due timers.
    Settled(usize),
}

/// Why a request was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// No such operation (any more).
    NotFound(Missing),
    /// The rules refuse.
    Rejected(Rejection),
    /// The idempotency key was used with other content; this member differs.
    KeyReused(&'static str),
    /// The idempotency key was used and its operation is gone.
    OperationGone,
    /// Somebody else has the operation locked for long: nothing was judged, and the same may succeed
    /// a little later. The rest of the batch is not kept waiting for it.
    Held,
}

/// Why there is no operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missing {
    /// Never heard of, or forgotten.
    Never,
    /// It was there.
    Gone(Gone),
}

impl Missing {
    /// What a request is told of an operation whose tombstone is this one. A tombstone does not say of which kind its
    /// operation was: a scope of some kinds learns what its tenant does.
    #[must_use]
    pub fn of(scope: &Scope, tombstone: Option<(Tenant, Gone)>) -> Self {
        tombstone.filter(|(tenant, _)| scope.covers_tenant(tenant)).map_or(Self::Never, |(_, gone)| Self::Gone(gone))
    }
}

/// What a batch did, after its commit.
#[derive(Clone, Debug, Default)]
pub struct Applied {
    /// The store's clock when the requests were judged.
    pub at: Timestamp,
    /// One for each request, in order.
    pub replies: Vec<Reply>,
    /// Every operation that was written.
    pub changed: Vec<Changed>,
    /// What happened to them, one request after the other: for whoever keeps an audit.
    pub transitions: Vec<Transition>,
}

/// What one request did to one operation, beyond extending a lease or reporting.
#[derive(Clone, Debug, PartialEq)]
pub struct Transition {
    /// Which request of the batch, by its place.
    pub request: usize,
    /// The operation afterwards (for one that is gone: before it went).
    pub operation: Arc<Operation>,
    /// Its state before; `None` if it was created.
    pub from: Option<State>,
    /// Its state afterwards; `None` if it is gone.
    pub to: Option<State>,
    /// What happened, in order; the timers that were due come first. Nothing for one that only went.
    pub events: Vec<EventKind>,
}

/// An operation that was written.
#[derive(Clone, Debug)]
pub struct Changed {
    /// As it was last (for one that is gone: before it went).
    pub operation: Arc<Operation>,
    /// What is stored.
    pub stored: Stored,
    /// Nothing that callers see changed: nobody is woken.
    pub bare: bool,
}

impl Changed {
    /// The kind of an operation that waits for a worker at `now`, and can be claimed.
    #[must_use]
    pub fn claimable(&self, now: Timestamp) -> Option<&Kind> {
        match &self.stored {
            Stored::Live(operation) => operation.claimable(now).then_some(&operation.spec.kind),
            Stored::Gone(_) => None,
        }
    }
}
