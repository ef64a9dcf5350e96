//! What workers say and hear.

use operond_core::limits::{CLAIM_WAIT_DEFAULT, LEASE_DEFAULT};
use operond_core::{Completion, Invalid, Kind, Operation, Worker};
use operond_engine::{Ask, Claimed, Standing};
use operond_proto::operond::v1;
use operond_proto::operond::v1::complete_request::Outcome;

use super::operation::{View, cancel_requested, native};
use super::payload::{any, parse_any, parse_status};
use super::time::{duration, parse_duration, timestamp};

/// Reads a claim.
pub(crate) fn ask(request: &v1::ClaimRequest) -> Result<Ask, Invalid> {
    let kind = |(index, text): (usize, &String)| Kind::parse(&format!("kinds[{index}]"), text);
    let kinds: Vec<Kind> = request.kinds.iter().enumerate().map(kind).collect::<Result<_, _>>()?;
    Ok(Ask {
        kinds,
        worker: Worker::new(&request.worker)?,
        max: request.max.map_or(1, |max| usize::try_from(max).unwrap_or(usize::MAX)),
        lease: parse_duration("leaseDuration", request.lease_duration.as_ref())?.unwrap_or(LEASE_DEFAULT),
        wait: parse_duration("wait", request.wait.as_ref())?.unwrap_or(CLAIM_WAIT_DEFAULT),
    })
}

/// Reads how a worker says that an operation ends.
pub(crate) fn completion(outcome: Option<Outcome>) -> Result<Completion, Invalid> {
    match outcome {
        Some(Outcome::Response(response)) => Ok(Completion::Response(parse_any(response))),
        Some(Outcome::Error(error)) => Ok(Completion::Error(parse_status(error))),
        Some(Outcome::Cancelled(cancelled)) => Ok(Completion::Cancelled(cancelled.message.into())),
        None => Err(Invalid::malformed("outcome", "is required: give one of response, error and cancelled")),
    }
}

/// An operation in the hands of a worker.
pub(crate) fn claim(claimed: &Claimed) -> v1::Claim {
    v1::Claim {
        lease: claimed.lease.text.clone(),
        lease_duration: Some(duration(claimed.lease.remaining)),
        lease_expires_at: Some(timestamp(claimed.lease.expires_at)),
        ..without_lease(&claimed.operation)
    }
}

/// A repeated start whose lease is not the worker's any more (CONTRACT §3 "start").
pub(crate) fn without_lease(operation: &Operation) -> v1::Claim {
    v1::Claim {
        attempt: operation.attempt,
        operation: Some(native(operation, View::Basic)),
        input: operation.spec.input.as_ref().map(any),
        ..v1::Claim::default()
    }
}

/// The answer to a heartbeat.
pub(crate) fn standing(standing: &Standing) -> v1::HeartbeatResponse {
    v1::HeartbeatResponse {
        cancel_requested: standing.cancel.as_ref().map(cancel_requested),
        lease_duration: Some(duration(standing.remaining)),
        lease_expires_at: Some(timestamp(standing.expires_at)),
    }
}
