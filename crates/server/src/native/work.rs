//! The service `operond.v1.Work`, whatever it is asked by.

use std::sync::Arc;

use operond_core::Operation;
use operond_core::limits::{ANSWER_BYTES_MAX, WAIT_MAX};
use operond_engine::{Claimed, Report};
use operond_proto::google::rpc;
use operond_proto::operond::v1;

use crate::error::{ApiError, Reason, quote};
use crate::http::Deadline;
use crate::service::{Call, until};
use crate::wire;

/// Leases operations to a worker. `size` tells how many bytes one takes in the answer: what would make it too large
/// for clients is given back, the attempt not counted.
pub(crate) async fn claim(
    call: &Call,
    request: &v1::ClaimRequest,
    deadline: Option<&Deadline>,
    size: impl Fn(&v1::Claim) -> usize,
) -> Result<v1::ClaimResponse, ApiError> {
    let mut ask = wire::ask(request)?;
    if let Some(kind) = ask.kinds.iter().find(|kind| !call.identity.scope.covers_kind(kind)) {
        let message = format!("the credential reaches no operations of kind {}: ask for others", quote(kind.as_str()));
        return Err(ApiError::new(Reason::PermissionDenied, message).fact("kind", kind.as_str()));
    }
    ask.wait = until(ask.wait.min(WAIT_MAX), deadline);
    let claimed = call.engine.claim(ask).await?;
    let mut claims = Vec::with_capacity(claimed.len());
    let mut bytes = 0;
    for (index, one) in claimed.iter().enumerate() {
        let claim = wire::claim(one);
        bytes += size(&claim);
        if bytes > ANSWER_BYTES_MAX && index > 0 {
            give_back(call, &claimed[index..]).await;
            break;
        }
        claims.push(claim);
    }
    Ok(v1::ClaimResponse { claims })
}

/// Keeps a lease, reports, and tells whether the operation is to be stopped.
pub(crate) async fn heartbeat(
    call: &Call,
    request: v1::HeartbeatRequest,
    deadline: Option<&Deadline>,
) -> Result<v1::HeartbeatResponse, ApiError> {
    let wait = wire::parse_duration("wait", request.wait.as_ref())?.unwrap_or_default();
    let report = Report {
        lease: wire::parse_duration("leaseDuration", request.lease_duration.as_ref())?,
        metadata: request.metadata.map(wire::parse_any),
        progress: request.progress.map(wire::parse_progress),
        wait: until(wait.min(WAIT_MAX), deadline),
    };
    let standing = call.reported(call.engine.heartbeat(&request.lease, report).await)?;
    Ok(wire::standing(&standing))
}

/// Shows a failure before the rollback is over.
pub(crate) async fn report_failure(call: &Call, request: v1::ReportFailureRequest) -> Result<Arc<Operation>, ApiError> {
    let error = wire::parse_status(required_error(request.error)?);
    let metadata = request.metadata.map(wire::parse_any);
    call.reported(call.engine.report_failure(&request.lease, error, metadata).await)
}

/// Ends an operation.
pub(crate) async fn complete(call: &Call, request: v1::CompleteRequest) -> Result<Arc<Operation>, ApiError> {
    let completion = wire::completion(request.outcome)?;
    let metadata = request.metadata.map(wire::parse_any);
    call.reported(call.engine.complete(&request.lease, completion, metadata).await)
}

/// Gives an operation up for another attempt.
pub(crate) async fn retry(call: &Call, request: v1::RetryRequest) -> Result<Arc<Operation>, ApiError> {
    let error = wire::parse_status(required_error(request.error)?);
    let backoff = wire::parse_duration("backoff", request.backoff.as_ref())?;
    call.reported(call.engine.retry(&request.lease, error, backoff).await)
}

/// Gives an operation back untouched.
pub(crate) async fn release(call: &Call, request: &v1::ReleaseRequest) -> Result<Arc<Operation>, ApiError> {
    call.reported(call.engine.release(&request.lease).await)
}

async fn give_back(call: &Call, claimed: &[Claimed]) {
    for one in claimed {
        if let Err(error) = call.engine.release(&one.lease.text).await {
            // It lapses instead.
            tracing::debug!(%error, operation = %one.operation.id, "cannot give back what does not fit into an answer");
        }
    }
}

fn required_error(error: Option<rpc::Status>) -> Result<rpc::Status, ApiError> {
    error.ok_or_else(|| ApiError::invalid("error", "is required"))
}
