//! The service `operond.v1.Operations`, whatever it is asked by.

use std::sync::Arc;

use http::HeaderMap;
use operond_core::limits::{WAIT_DEFAULT, WAIT_MAX};
use operond_core::{Operation, OperationId, Reason};
use operond_engine::Watch;
use operond_proto::operond::v1;

use crate::error::{ApiError, quote};
use crate::http::Deadline;
use crate::service::{Call, Hold, until};
use crate::wire::{self, View};

/// Creates an operation for a worker to claim. `headers` may hold the idempotency key.
pub(crate) async fn create(
    call: &Call,
    request: v1::CreateRequest,
    headers: &HeaderMap,
) -> Result<Arc<Operation>, ApiError> {
    let (create, open) = wire::create(request, idempotency_key(headers)?, &call.identity.owner())?;
    call.create(call.kinds.fill(create, open), |create| call.engine.create(create)).await
}

/// Creates an operation that its producer carries out itself.
pub(crate) async fn start(call: &Call, request: v1::StartRequest, headers: &HeaderMap) -> Result<v1::Claim, ApiError> {
    let (create, open, worker, lease) = wire::start(request, idempotency_key(headers)?, &call.identity.owner())?;
    let create = call.kinds.fill(create, open);
    let started = call.create(create, |create| call.engine.start_operation(create, worker, lease)).await;
    let (operation, claimed) = started?;
    let repeated =
        || v1::Claim { operation: Some(call.show(&operation, View::Basic)), ..wire::without_lease(&operation) };
    Ok(claimed.map_or_else(repeated, |claimed| wire::claim(&claimed)))
}

/// Reads an operation, at once or after its next change, and how much of it is to be shown.
pub(crate) async fn get(
    call: &Call,
    request: &v1::GetOperationRequest,
    hold: Hold<'_>,
) -> Result<(Arc<Operation>, View), ApiError> {
    let id = OperationId::parse("id", &request.id)?;
    let view = View::parse(request.view)?;
    let wait = wire::parse_duration("wait", request.wait.as_ref())?;
    Ok((call.get(&id, Hold { wait: wait.or(hold.wait), ..hold }).await?, view))
}

/// Reads an operation once it is done, or when the time is over.
pub(crate) async fn wait(
    call: &Call,
    request: &v1::WaitRequest,
    deadline: Option<&Deadline>,
) -> Result<Arc<Operation>, ApiError> {
    let id = OperationId::parse("id", &request.id)?;
    let timeout = wire::parse_duration("timeout", request.timeout.as_ref())?.unwrap_or(WAIT_DEFAULT);
    let waited = call.engine.wait(&id, until(timeout.min(WAIT_MAX), deadline)).await;
    waited.map_err(|error| ApiError::of_operation(error, id.as_str()))
}

/// Follows an operation. All errors are decided here, before the first answer.
pub(crate) async fn watch(call: &Call, request: &v1::WatchRequest) -> Result<Watch, ApiError> {
    let id = OperationId::parse("id", &request.id)?;
    let after = revision(&request.after_revision)?;
    call.engine.watch(&id, after).await.map_err(|error| ApiError::of_operation(error, id.as_str()))
}

/// Whether there is nothing left to follow behind the revision that `request` names: it is the last one.
pub(crate) async fn is_over(call: &Call, request: &v1::WatchRequest) -> Result<bool, ApiError> {
    let Some(after) = revision(&request.after_revision)? else { return Ok(false) };
    let id = OperationId::parse("id", &request.id)?;
    let operation = call.engine.get(&id).await.map_err(|error| ApiError::of_operation(error, id.as_str()))?;
    Ok(operation.done() && operation.revision == after)
}

/// Asks for an operation to be cancelled.
pub(crate) async fn cancel(call: &Call, request: &v1::CancelRequest) -> Result<Arc<Operation>, ApiError> {
    let id = OperationId::parse("id", &request.id)?;
    let reason = Reason::parse("reason", &request.reason)?;
    call.cancel(&id, reason).await
}

/// Forgets a finished operation.
pub(crate) async fn delete(call: &Call, request: &v1::DeleteRequest) -> Result<(), ApiError> {
    let id = OperationId::parse("id", &request.id)?;
    call.delete(&id).await
}

/// The idempotency key among the headers; the only calls that look for it are create and start (CONTRACT §4).
fn idempotency_key(headers: &HeaderMap) -> Result<Option<&str>, ApiError> {
    let mut values = headers.get_all("idempotency-key").iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.any(|other| other != value) {
        return Err(ApiError::invalid("idempotencyKey", "was given by several idempotency-key headers that differ"));
    }
    let text = value.to_str().map_err(|_| {
        ApiError::invalid("idempotencyKey", "has characters in its idempotency-key header that are not visible ASCII")
    })?;
    Ok(Some(text))
}

fn revision(text: &str) -> Result<Option<u64>, ApiError> {
    if text.is_empty() {
        return Ok(None);
    }
    let revision = text.parse().ok().filter(|revision: &u64| revision.to_string() == text);
    revision.map(Some).ok_or_else(|| {
        ApiError::invalid("afterRevision", format!("is {}, expected the revision of an operation", quote(text)))
    })
}
