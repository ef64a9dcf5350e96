//! What can go wrong with a call, by what the caller does about it.

use std::collections::HashMap;
use std::time::Duration;

use operond_proto::google::rpc::{BadRequest, Code, ErrorInfo, RetryInfo, Status as RpcStatus};
use prost::{Message, Name};
use tonic::Status;

/// Why a call failed.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// There is no such operation (any more): stop asking for it.
    #[error("{message}")]
    NotFound {
        /// `NEVER_EXISTED`, `EXPIRED` or `DELETED` (CONTRACT §5, Reasons); empty when the server gave none.
        reason: String,
        /// What the server says, for people.
        message: String,
    },
    /// The server understood the call and refused it: the same call will be refused again.
    #[error("{0}")]
    Rejected(Box<Rejection>),
    /// Nobody answered, or the server cannot serve right now: the same call may succeed later.
    /// Whether this one was carried out is unknown.
    #[error("server unreachable: {message}")]
    Unreachable {
        /// `OVERLOADED`, `SHUTTING_DOWN`, `STORE_UNAVAILABLE` or `DISK_FULL` when a server answered so.
        reason: Option<String>,
        /// What happened, for people.
        message: String,
        /// How long the server asks to stay away.
        retry_after: Option<Duration>,
    },
    /// The client cannot be made from these options.
    #[error("cannot use the endpoint {endpoint:?}: {problem}")]
    Endpoint {
        /// The endpoint as given.
        endpoint: String,
        /// What is wrong with it or with the certificates.
        problem: String,
    },
}

/// What a server says when it refuses a call.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{message}")]
#[non_exhaustive]
pub struct Rejection {
    /// The canonical code.
    pub code: Code,
    /// The stable reason to switch on (CONTRACT §5, Reasons); empty when the server gave none.
    pub reason: String,
    /// What the server says, for people.
    pub message: String,
    /// The first member of the request that is at fault.
    pub field: Option<String>,
    /// What the server tells besides, by name: `state` with ALREADY_DONE, for example.
    pub metadata: HashMap<String, String>,
}

impl Error {
    /// The stable reason (CONTRACT §5, Reasons), when the server gave one.
    #[must_use]
    pub fn reason(&self) -> Option<&str> {
        let reason: &str = match self {
            Self::NotFound { reason, .. } => reason,
            Self::Rejected(rejection) => &rejection.reason,
            Self::Unreachable { reason, .. } => reason.as_deref()?,
            Self::Endpoint { .. } => return None,
        };
        (!reason.is_empty()).then_some(reason)
    }

    /// Whether the same call may succeed later.
    #[must_use]
    pub fn is_unreachable(&self) -> bool {
        matches!(self, Self::Unreachable { .. })
    }

    /// A call that was given up because no answer came.
    pub(crate) fn unanswered(after: Duration) -> Self {
        Self::Unreachable {
            reason: None,
            message: format!("no answer within {} s", after.as_secs_f64()),
            retry_after: None,
        }
    }
}

impl From<Status> for Error {
    fn from(status: Status) -> Self {
        let details = Details::of(&status);
        let reason = details.info.as_ref().map(|info| info.reason.clone()).unwrap_or_default();
        if never_left_the_transport(&status) {
            return Self::Unreachable { reason: None, message: causes(&status), retry_after: None };
        }
        match status.code() {
            tonic::Code::NotFound => Self::NotFound { reason, message: text(&status) },
            tonic::Code::Unavailable | tonic::Code::DeadlineExceeded | tonic::Code::Cancelled => Self::Unreachable {
                reason: (!reason.is_empty()).then_some(reason),
                message: text(&status),
                retry_after: details.retry_after,
            },
            code => Self::Rejected(Box::new(Rejection {
                code: Code::try_from(i32::from(code)).unwrap_or(Code::Unknown),
                reason,
                message: text(&status),
                field: details.field,
                metadata: details.info.map(|info| info.metadata).unwrap_or_default(),
            })),
        }
    }
}

/// Whether the status was made on this side, because of the connection. A status that a server sent
/// has no source.
fn never_left_the_transport(status: &Status) -> bool {
    std::error::Error::source(status).is_some() || status.message().starts_with("Service was not ready")
}

/// The innermost cause says most ("connection refused"); the outer ones only repeat each other.
fn causes(status: &Status) -> String {
    let mut innermost = std::error::Error::source(status);
    while let Some(next) = innermost.and_then(|error| error.source()) {
        innermost = Some(next);
    }
    innermost.map_or_else(|| text(status), ToString::to_string)
}

/// The message, or the code where a server sent none.
fn text(status: &Status) -> String {
    match status.message() {
        "" => status.code().description().to_owned(),
        message => message.to_owned(),
    }
}

/// What of a status's details a client acts on.
#[derive(Default)]
struct Details {
    info: Option<ErrorInfo>,
    retry_after: Option<Duration>,
    field: Option<String>,
}

impl Details {
    /// Details that cannot be read are left out: the code and the message still count.
    fn of(status: &Status) -> Self {
        let mut details = Self::default();
        let Ok(encoded) = RpcStatus::decode(status.details()) else { return details };
        for any in &encoded.details {
            let bytes = any.value.as_slice();
            if any.type_url == ErrorInfo::type_url() {
                details.info = ErrorInfo::decode(bytes).ok();
            } else if any.type_url == RetryInfo::type_url() {
                let delay = RetryInfo::decode(bytes).ok().and_then(|info| info.retry_delay);
                details.retry_after = delay.and_then(|delay| Duration::try_from(delay).ok());
            } else if any.type_url == BadRequest::type_url() {
                let violations = BadRequest::decode(bytes).map(|bad| bad.field_violations).unwrap_or_default();
                details.field = violations.into_iter().next().map(|violation| violation.field);
            }
        }
        details
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use operond_proto::google::rpc::bad_request::FieldViolation;
    use prost_types::Any;

    use super::*;

    fn status(code: tonic::Code, message: &str, details: Vec<Any>) -> Status {
        let encoded = RpcStatus { code: code.into(), message: message.into(), details }.encode_to_vec();
        Status::with_details(code, message, encoded.into())
    }

    /// A refusal as the server sends it.
    pub(crate) fn status_with_reason(code: tonic::Code, message: &str, reason: &str) -> Status {
        status(code, message, vec![info(reason)])
    }

    fn info(reason: &str) -> Any {
        let info = ErrorInfo {
            reason: reason.into(),
            domain: "operond.dev".into(),
            metadata: HashMap::from([("state".into(), "SUCCEEDED".into())]),
        };
        Any::from_msg(&info).unwrap()
    }

    #[test]
    fn a_missing_operation_tells_why_it_is_missing() {
        let error = Error::from(status(tonic::Code::NotFound, "operation \"x\" has expired", vec![info("EXPIRED")]));
        assert_eq!(error.reason(), Some("EXPIRED"));
        assert_eq!(error.to_string(), "operation \"x\" has expired");
        assert!(matches!(error, Error::NotFound { .. }));
    }

    #[test]
    fn a_refusal_carries_code_reason_field_and_metadata() {
        let bad =
            BadRequest { field_violations: vec![FieldViolation { field: "description".into(), ..Default::default() }] };
        let details = vec![info("LIMIT_EXCEEDED"), Any::from_msg(&bad).unwrap()];
        let error = Error::from(status(tonic::Code::InvalidArgument, "too long", details));
        let Error::Rejected(rejection) = error else { panic!("{error:?}") };
        assert_eq!(rejection.code, Code::InvalidArgument);
        assert_eq!(rejection.reason, "LIMIT_EXCEEDED");
        assert_eq!(rejection.field.as_deref(), Some("description"));
        assert_eq!(rejection.metadata["state"], "SUCCEEDED");
    }

    #[test]
    fn an_overloaded_server_says_how_long_to_stay_away() {
        let retry = RetryInfo { retry_delay: Some(prost_types::Duration { seconds: 1, nanos: 500_000_000 }) };
        let details = vec![info("OVERLOADED"), Any::from_msg(&retry).unwrap()];
        let error = Error::from(status(tonic::Code::Unavailable, "too much at once", details));
        assert_eq!(
            error,
            Error::Unreachable {
                reason: Some("OVERLOADED".into()),
                message: "too much at once".into(),
                retry_after: Some(Duration::from_millis(1_500)),
            }
        );
    }

    #[test]
    fn a_broken_connection_is_unreachable_whatever_code_it_was_given() {
        let reset = std::io::Error::new(std::io::ErrorKind::ConnectionReset, "connection reset by peer");
        let error = Error::from(Status::from_error(Box::new(reset)));
        assert_eq!(error.to_string(), "server unreachable: connection reset by peer");
        assert!(error.is_unreachable());
    }

    #[test]
    fn garbled_details_leave_code_and_message() {
        let status = Status::with_details(tonic::Code::FailedPrecondition, "not done", vec![0xff, 0xff].into());
        let Error::Rejected(rejection) = Error::from(status) else { panic!("not a refusal") };
        assert_eq!((rejection.code, rejection.message.as_str()), (Code::FailedPrecondition, "not done"));
    }
}
