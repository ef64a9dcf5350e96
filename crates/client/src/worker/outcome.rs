//! How a handler ends.

use std::time::Duration;

use operond_proto::google::rpc::{Code, Status};
use prost_types::Any;

/// The work came to its end.
#[derive(Debug, Clone, PartialEq)]
pub struct Completion {
    pub(super) end: End,
    pub(super) metadata: Option<Any>,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum End {
    Response(Any),
    Cancelled(String),
}

impl Completion {
    /// It succeeded and made `response`: the resource that was created or changed.
    #[must_use]
    pub fn response(response: Any) -> Self {
        Self { end: End::Response(response), metadata: None }
    }

    /// It succeeded and there is nothing to tell: `google.protobuf.Empty`, as after a delete.
    #[must_use]
    pub fn empty() -> Self {
        Self::response(crate::payload::empty())
    }

    /// It was stopped because cancel was requested.
    pub fn cancelled(message: impl Into<String>) -> Self {
        Self { end: End::Cancelled(message.into()), metadata: None }
    }

    /// With last metadata.
    #[must_use]
    pub fn with_metadata(self, metadata: Any) -> Self {
        Self { metadata: Some(metadata), ..self }
    }
}

/// The work came to nothing.
#[derive(Debug, Clone, PartialEq)]
pub struct Failure(pub(super) FailureKind);

#[derive(Debug, Clone, PartialEq)]
pub(super) enum FailureKind {
    Final(Status),
    Retry { error: Status, backoff: Option<Duration> },
    Released,
}

impl Failure {
    /// The operation ends with this error; its code must not be OK.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self::from(Status { code: code.into(), message: message.into(), details: Vec::new() })
    }

    /// This attempt failed, and another may not: the operation is claimable again after a backoff,
    /// or ends with this error when no attempt is left.
    pub fn retry(code: Code, message: impl Into<String>) -> Self {
        let error = Status { code: code.into(), message: message.into(), details: Vec::new() };
        Self(FailureKind::Retry { error, backoff: None })
    }

    /// As [`Failure::retry`], after a backoff of this length instead of the server's choice.
    pub fn retry_after(backoff: Duration, error: Status) -> Self {
        Self(FailureKind::Retry { error, backoff: Some(backoff) })
    }

    /// Nothing was done: the operation goes back untouched and the attempt is not counted.
    #[must_use]
    pub fn released() -> Self {
        Self(FailureKind::Released)
    }
}

impl From<Status> for Failure {
    /// The operation ends with this error.
    fn from(error: Status) -> Self {
        Self(FailureKind::Final(error))
    }
}
