//! Payloads, errors and progress, both ways.

use operond_core::{Any, Progress, Status};
use operond_proto::google::rpc;
use operond_proto::operond::v1;

pub(super) fn any(any: &Any) -> prost_types::Any {
    prost_types::Any { type_url: (*any.type_url).into(), value: (*any.value).into() }
}

pub(super) fn status(status: &Status) -> rpc::Status {
    let details = status.details.iter().map(any).collect();
    rpc::Status { code: status.code, message: (*status.message).into(), details }
}

pub(super) fn progress(progress: &Progress) -> v1::Progress {
    let Progress { done, total, unit, message } = progress;
    v1::Progress { done: *done, total: *total, unit: (**unit).into(), message: (**message).into() }
}

/// Takes a payload as it is.
pub(crate) fn parse_any(any: prost_types::Any) -> Any {
    Any::new(any.type_url, any.value)
}

/// Takes an error as it is.
pub(crate) fn parse_status(status: rpc::Status) -> Status {
    let details = status.details.into_iter().map(parse_any).collect();
    Status { details, ..Status::new(status.code, status.message) }
}

/// Takes progress as it is.
pub(crate) fn parse_progress(progress: v1::Progress) -> Progress {
    let v1::Progress { done, total, unit, message } = progress;
    Progress { done, total, unit: unit.into(), message: message.into() }
}
