//! Short ways to write down what cases ask of a store.

use std::sync::Arc;
use std::time::Duration;

use operond_core::{
    Any, Cancel, Claim, Command, Complete, Completion, Digest, Fingerprint, Heartbeat, ID_ENTROPY_BYTES,
    IdempotencyKey, Kind, LeaseKey, LeaseSecret, NewOperation, Operation, OperationId, Principal, Reason, Release,
    ReportFailure, Retry, Scope, Spec, Status, Tenant, Token, Worker,
};

use crate::filter::{Face, Filter};
use crate::request::{Batch, CreateRequest, Request};

pub(crate) const SECOND: Duration = Duration::from_secs(1);
pub(crate) const HOUR: Duration = Duration::from_secs(60 * 60);
pub(crate) const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// The least step of a store's time.
pub(crate) const TICK: Duration = Duration::from_micros(1);
/// How long a claim of the cases lasts.
pub(crate) const LEASE: Duration = Duration::from_secs(30);

pub(crate) fn kind(text: &str) -> Kind {
    Kind::new(text).expect("a kind within its limits")
}

pub(crate) fn tenant(text: &str) -> Tenant {
    Tenant::parse("tenant", text).expect("a tenant within its limits")
}

pub(crate) fn worker(text: &str) -> Worker {
    Worker::new(text).expect("a worker within its limits")
}

pub(crate) fn principal(text: &str) -> Principal {
    Principal::parse("principal", text).expect("a principal within its limits")
}

pub(crate) fn reason(text: &str) -> Reason {
    Reason::parse("reason", text).expect("a reason within its limits")
}

pub(crate) fn key(text: &str) -> IdempotencyKey {
    IdempotencyKey::parse("idempotencyKey", text).expect("a key within its limits")
}

pub(crate) fn id(text: &str) -> OperationId {
    OperationId::parse("id", text).expect("an id within its limits")
}

/// The fingerprint of a create whose content is told apart by its first member.
pub(crate) fn fingerprint(content: u64) -> Fingerprint {
    Fingerprint(vec![content, 7, 0])
}

pub(crate) fn any(text: &str) -> Any {
    Any::new("type.googleapis.com/google.protobuf.StringValue", text.as_bytes())
}

pub(crate) fn status(code: i32, message: &str) -> Status {
    Status::new(code, message)
}

/// A filter of the native face.
pub(crate) fn filter(text: &str) -> Arc<Filter> {
    Arc::new(Filter::parse(text, Face::Native).expect("a filter of the grammar"))
}

pub(crate) fn new_operation(spec: Spec) -> NewOperation {
    NewOperation { spec: Arc::new(spec), metadata: None, claim: None }
}

pub(crate) fn create(new: NewOperation, entropy: [u8; ID_ENTROPY_BYTES]) -> Request {
    Request::Create(Box::new(CreateRequest { new, entropy, key: None }))
}

pub(crate) fn command(id: &OperationId, command: Command) -> Request {
    Request::Command(Scope::default(), id.clone(), Box::new(command))
}

pub(crate) fn batch(requests: Vec<Request>) -> Arc<Batch> {
    Arc::new(Batch { requests })
}

pub(crate) fn claim(secret: LeaseSecret) -> Claim {
    Claim { worker: worker("worker"), duration: LEASE, secret }
}

/// The newest lease of `operation`, as its worker shows it.
pub(crate) fn lease(operation: &Operation) -> LeaseKey {
    let newest = operation.lease.as_ref().expect("an operation that was leased");
    LeaseKey { operation: operation.id.clone(), token: newest.token, secret: newest.secret }
}

/// A lease that nobody gave.
pub(crate) fn foreign_lease(operation: &Operation) -> LeaseKey {
    LeaseKey { operation: operation.id.clone(), token: Token(1), secret: LeaseSecret([0xee; 16]) }
}

pub(crate) fn heartbeat(operation: &Operation) -> Command {
    Command::Heartbeat(Heartbeat { lease: lease(operation), duration: None, metadata: None, progress: None })
}

pub(crate) fn report_failure(operation: &Operation, error: Status) -> Command {
    Command::ReportFailure(ReportFailure { lease: lease(operation), error, metadata: None })
}

pub(crate) fn retry(operation: &Operation, backoff: Duration) -> Command {
    let error = status(14, "try again");
    let digest = Digest([2; 16]);
    Command::Retry(Retry { lease: lease(operation), error, backoff: Some(backoff), jitter: 0, digest })
}

pub(crate) fn release(operation: &Operation) -> Command {
    Command::Release(Release { lease: lease(operation), digest: Digest([3; 16]) })
}

pub(crate) fn complete(operation: &Operation) -> Command {
    complete_with(operation, Completion::Response(Any::empty()))
}

pub(crate) fn complete_with(operation: &Operation, result: Completion) -> Command {
    Command::Complete(Complete { lease: lease(operation), result, metadata: None, digest: Digest([1; 16]) })
}

pub(crate) fn cancel() -> Command {
    Command::Cancel(Cancel { by: principal("caller"), reason: reason("changed my mind") })
}
