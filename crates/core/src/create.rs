//! How an operation begins, and what a repeated create means.

use std::sync::Arc;
use std::time::Duration;

use crate::decide::{Claim, lease};
use crate::draft::Draft;
use crate::id::OperationId;
use crate::invalid::Invalid;
use crate::lease::{Lease, Token};
use crate::limits::KEY_LIFE_MIN;
use crate::name::Worker;
use crate::operation::{EventKind, Operation, Phase, Spec};
use crate::payload::Any;
use crate::time::Timestamp;

/// What a producer asks for.
#[derive(Clone, Debug, PartialEq)]
pub struct NewOperation {
    /// What never changes.
    pub spec: Arc<Spec>,
    /// The first metadata.
    pub metadata: Option<Any>,
    /// Set by start: the producer carries it out itself.
    pub claim: Option<Claim>,
}

/// What a store keeps of an idempotency key: it outlives the operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyRecord {
    /// What was created with it.
    pub operation: OperationId,
    /// When.
    pub created_at: Timestamp,
    /// Of the content.
    pub fingerprint: Fingerprint,
}

/// Tells one create's content from another's, member by member: a hash for each of [`FIELDS`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fingerprint(pub Vec<u64>);

/// The members of create that its fingerprint covers, by JSON name. Append only: the order is stored.
pub const FIELDS: [&str; 15] = [
    "kind",
    "description",
    "createdBy",
    "metadata",
    "input",
    "labels",
    "cancellable",
    "cleanUpOnCancel",
    "queueTimeout",
    "runTimeout",
    "maxAttempts",
    "cancelGrace",
    "retention",
    "responseType",
    "metadataType",
];

/// What a create with an idempotency key meets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyJudgement {
    /// The key is free (again): create.
    Free,
    /// The same create, repeated: answer with the operation as it is.
    Repeat,
    /// The key lives, and this member differs.
    Reused(&'static str),
    /// The key lives, but its operation is gone.
    OperationGone,
}

impl NewOperation {
    /// Refuses what is over a limit.
    pub fn check(&self) -> Result<(), Invalid> {
        self.spec.check()?;
        self.metadata.as_ref().map_or(Ok(()), |metadata| self.spec.check_metadata(metadata))
    }
}

/// The operation at its beginning: queued, or leased to its producer.
#[must_use]
pub fn create(new: &NewOperation, id: OperationId, now: Timestamp) -> Operation {
    let op = Operation {
        id,
        spec: Arc::clone(&new.spec),
        created_at: now,
        modified_at: now,
        revision: 0,
        metadata: new.metadata.clone(),
        progress: None,
        attempt: 0,
        attempt_error: None,
        lease: None,
        available_at: now,
        failure: None,
        cancel: None,
        started_at: None,
        run_deadline: None,
        grace_deadline: None,
        phase: Phase::Queued { backoff: Duration::ZERO, deadline: None },
        events: Vec::new(),
    };
    let mut draft = Draft::new(&op, now);
    draft.queue();
    draft.event(EventKind::Created, new.spec.created_by.as_str());
    if let Some(claim) = &new.claim {
        lease(&mut draft, claim);
        draft.event(EventKind::Claimed, claim.worker.as_str());
    }
    // Creation is the first change and leaves no trace of the steps inside it.
    draft.op.revision = 1;
    draft.op.modified_at = now;
    draft.op
}

/// What a create with `fingerprint` meets whose key has `record`; `operation` is the key's
/// operation, settled, or `None` when it is gone.
#[must_use]
pub fn judge_key(
    record: &KeyRecord,
    operation: Option<&Operation>,
    fingerprint: &Fingerprint,
    now: Timestamp,
) -> KeyJudgement {
    let unfinished = operation.is_some_and(|op| !op.done());
    if !unfinished && now >= record.created_at.after(KEY_LIFE_MIN) {
        return KeyJudgement::Free;
    }
    if operation.is_none() {
        return KeyJudgement::OperationGone;
    }
    match record.fingerprint.difference(fingerprint) {
        Some(field) => KeyJudgement::Reused(field),
        None => KeyJudgement::Repeat,
    }
}

/// The lease that start gave, for a repeat of that start by `worker`: only while it is the newest,
/// was not given up, and the operation is not done. A lease that was claimed is not start's to show.
#[must_use]
pub fn lease_of_start<'a>(operation: &'a Operation, worker: &Worker) -> Option<&'a Lease> {
    let began_leased = operation.started_at == Some(operation.created_at);
    let shown = |lease: &&Lease| lease.token == Token(1) && lease.worker == *worker && !lease.given_up;
    operation.lease.as_ref().filter(shown).filter(|_| began_leased && !operation.done())
}

impl Fingerprint {
    /// The first member that differs. Members added after a fingerprint was stored count as absent (0).
    #[must_use]
    pub fn difference(&self, other: &Self) -> Option<&'static str> {
        let hash = |of: &Self, index: usize| of.0.get(index).copied().unwrap_or(0);
        FIELDS.iter().enumerate().find(|&(index, _)| hash(self, index) != hash(other, index)).map(|(_, field)| *field)
    }
}
