//! The error table: every reason a call can be refused for, its code, and what is said about it (CONTRACT §5).
//!
//! [`Reason`] is the table. An [`ApiError`] is a reason with words and facts; faces turn it into a gRPC status or
//! a REST body. Whatever strangers wrote is cut and escaped here, so that no error is ever long (CONTRACT §4:
//! beyond 8,000 bytes clients see another error than the one that was sent).

mod answer;
mod text;

use std::borrow::Cow;
use std::time::Duration;

use operond_core::{Gone, Invalid, Problem, Rejection};
use operond_engine::{Error, Unavailable};
use operond_store::Missing;
use tonic::Code;

pub(crate) use answer::http_status;
pub(crate) use text::quote;

use text::clip;

/// A call that is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ApiError(Box<Parts>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Parts {
    reason: Reason,
    message: String,
    /// Of the ErrorInfo.
    facts: Vec<(&'static str, String)>,
    /// The member of the request that is wrong, and what is wrong with it.
    violation: Option<(String, String)>,
    /// What is used up, of whom, and until when.
    quota: Option<Quota>,
    /// What the method of a REST call could have been.
    allow: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Quota {
    subject: String,
    description: String,
    delay: Duration,
}

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident = $code:ident $text:literal,)*) => {
        /// Why a call is refused. Stable: programs switch on the text.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub(crate) enum Reason { $($(#[$doc])* $name,)* }

        impl Reason {
            /// Every reason.
            #[cfg(test)]
            const ALL: &[Self] = &[$(Self::$name,)*];

            /// The code of the call.
            pub(crate) const fn code(self) -> Code {
                match self { $(Self::$name => Code::$code,)* }
            }

            /// As it stands in ErrorInfo.
            pub(crate) const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }
        }
    };
}

reasons! {
    /// No such operation, ever (or it was forgotten).
    NeverExisted = NotFound "NEVER_EXISTED",
    /// Its retention passed.
    Expired = NotFound "EXPIRED",
    /// Somebody deleted it.
    Deleted = NotFound "DELETED",
    /// The kind has no defaults. Beyond CONTRACT §5.
    NoDefaults = NotFound "NO_DEFAULTS",
    /// The lease is not the newest, or was given up.
    LeaseLost = FailedPrecondition "LEASE_LOST",
    /// The operation has ended.
    AlreadyDone = FailedPrecondition "ALREADY_DONE",
    /// A failure was shown, which is the result.
    FailureDetected = FailedPrecondition "FAILURE_DETECTED",
    /// It was created so that it cannot be cancelled.
    NotCancellable = FailedPrecondition "NOT_CANCELLABLE",
    /// Only finished operations can be deleted.
    NotDone = FailedPrecondition "NOT_DONE",
    /// The idempotency key stands for another request.
    IdempotencyKeyReused = AlreadyExists "IDEMPOTENCY_KEY_REUSED",
    /// The idempotency key stands for an operation that is gone.
    OperationGone = AlreadyExists "OPERATION_GONE",
    /// A member of the request is wrong.
    InvalidField = InvalidArgument "INVALID_FIELD",
    /// A member of the request is larger than a limit of CONTRACT §5.
    LimitExceeded = InvalidArgument "LIMIT_EXCEEDED",
    /// The lease is garbled, or of another server.
    InvalidLease = InvalidArgument "INVALID_LEASE",
    /// The page token is not one of this list.
    InvalidPageToken = InvalidArgument "INVALID_PAGE_TOKEN",
    /// The filter cannot be read.
    InvalidFilter = InvalidArgument "INVALID_FILTER",
    /// A file of message types says something else than is known. Beyond CONTRACT §5, like `VERSION_CHANGED`.
    TypesConflict = FailedPrecondition "TYPES_CONFLICT",
    /// It was changed since it was read.
    VersionChanged = Aborted "VERSION_CHANGED",
    /// Nobody knows who calls. Beyond CONTRACT §5, like what follows up to `KEY_DIFFERS`.
    Unauthenticated = Unauthenticated "UNAUTHENTICATED",
    /// Who calls may not.
    PermissionDenied = PermissionDenied "PERMISSION_DENIED",
    /// A name has as many keys as it may.
    TooManyKeys = FailedPrecondition "TOO_MANY_KEYS",
    /// A name has keys that stand for something else.
    KeyDiffers = FailedPrecondition "KEY_DIFFERS",
    /// A tenant creates too much.
    Quota = ResourceExhausted "QUOTA",
    /// Too many calls in the name of one principal. Beyond CONTRACT §5: told apart from `OVERLOADED`, which is nobody's
    /// fault.
    RateLimited = Unavailable "RATE_LIMITED",
    /// More commands than can be written.
    Overloaded = Unavailable "OVERLOADED",
    /// About to stop.
    ShuttingDown = Unavailable "SHUTTING_DOWN",
    /// The store does not answer.
    StoreUnavailable = Unavailable "STORE_UNAVAILABLE",
    /// No room for new operations.
    DiskFull = Unavailable "DISK_FULL",
    /// The stored operation cannot be read. Beyond CONTRACT §5, like what follows.
    DataLoss = DataLoss "DATA_LOSS",
    /// There is no such gRPC method, or it does not understand the encoding.
    UnknownMethod = Unimplemented "UNKNOWN_METHOD",
    /// Something that this face could be asked for, and that is not served.
    Unsupported = Unimplemented "UNSUPPORTED",
    /// There is nothing at this path.
    UnknownPath = NotFound "UNKNOWN_PATH",
    /// The path does not have this HTTP method.
    MethodNotAllowed = Unimplemented "METHOD_NOT_ALLOWED",
    /// A mistake of ours.
    Internal = Internal "INTERNAL",
}

impl ApiError {
    /// A refusal for `reason`; the message says what was wrong, with which value, and what to do next. It may hold
    /// strangers' text.
    pub(crate) fn new(reason: Reason, message: impl Into<Cow<'static, str>>) -> Self {
        let message = clip(&message.into(), MESSAGE_BYTES_MAX);
        Self(Box::new(Parts { reason, message, facts: Vec::new(), violation: None, quota: None, allow: None }))
    }

    /// What is wrong with `operation`.
    pub(crate) fn of_operation(error: Error, operation: &str) -> Self {
        let id = || quote(operation);
        let not_found = match error {
            Error::NotFound(Missing::Never) => Self::new(
                Reason::NeverExisted,
                format!(
                    "operation {} does not exist: check the id, and that this is the server it was created on",
                    id()
                ),
            ),
            Error::NotFound(Missing::Gone(Gone::Deleted)) => {
                Self::new(Reason::Deleted, format!("operation {} was deleted", id()))
            }
            Error::NotFound(Missing::Gone(Gone::Expired)) => Self::new(
                Reason::Expired,
                format!("operation {} has expired: its retention passed after it was done", id()),
            ),
            error => return Self::from(error).fact("operation", operation),
        };
        not_found.fact("operation", operation)
    }

    /// A member of a request that cannot be read or that the operation does not take.
    pub(crate) fn invalid(field: impl Into<String>, problem: impl Into<String>) -> Self {
        Self::from(Invalid::malformed(field, problem))
    }

    /// Adds a fact to the ErrorInfo.
    pub(crate) fn fact(mut self, key: &'static str, value: impl AsRef<str>) -> Self {
        self.0.facts.push((key, clip(value.as_ref(), FACT_BYTES_MAX)));
        self
    }

    /// Names the member of the request that is wrong.
    pub(crate) fn violation(mut self, field: &str, problem: &str) -> Self {
        self.0.violation = Some((clip(field, FIELD_BYTES_MAX), clip(problem, MESSAGE_BYTES_MAX)));
        self.fact("field", field)
    }

    /// Says what of whose is used up, and when to try again.
    pub(crate) fn quota(mut self, subject: &str, description: &str, delay: Duration) -> Self {
        let subject = clip(subject, FIELD_BYTES_MAX);
        self.0.quota = Some(Quota { subject, description: clip(description, MESSAGE_BYTES_MAX), delay });
        self
    }

    /// Adds what the method of a REST call could have been.
    pub(crate) fn allow(mut self, methods: String) -> Self {
        self.0.allow = Some(methods);
        self
    }

    /// Why it is refused.
    pub(crate) fn reason(&self) -> Reason {
        self.0.reason
    }

    /// When to try again.
    fn retry_delay(&self) -> Option<Duration> {
        match self.0.reason {
            Reason::Overloaded | Reason::ShuttingDown | Reason::StoreUnavailable => Some(Duration::from_secs(1)),
            // Somebody has to make room first.
            Reason::DiskFull => Some(Duration::from_secs(30)),
            _ => self.0.quota.as_ref().map(|quota| quota.delay),
        }
    }
}

impl From<Invalid> for ApiError {
    fn from(invalid: Invalid) -> Self {
        let (field, message) = (&invalid.field, invalid.to_string());
        match &invalid.problem {
            Problem::TooLarge { size, limit, unit } => Self::new(Reason::LimitExceeded, message.clone())
                .violation(field, &message)
                .fact("size", size.to_string())
                .fact("limit", limit.to_string())
                .fact("unit", unit),
            Problem::OutOfRange { range, .. } => {
                Self::new(Reason::InvalidField, message.clone()).violation(field, &message).fact("range", range)
            }
            Problem::Malformed(_) => Self::new(Reason::InvalidField, message.clone()).violation(field, &message),
        }
    }
}

impl From<Error> for ApiError {
    fn from(error: Error) -> Self {
        match error {
            Error::Invalid(invalid) => invalid.into(),
            // Never echoed: a lease is a secret.
            Error::InvalidLease => Self::new(
                Reason::InvalidLease,
                "lease is not one that this server gave: stop working on the operation, and claim again",
            )
            .violation("lease", "is not one that this server gave"),
            Error::NotFound(Missing::Never) => Self::new(Reason::NeverExisted, "no such operation"),
            Error::NotFound(Missing::Gone(Gone::Deleted)) => Self::new(Reason::Deleted, "the operation was deleted"),
            Error::NotFound(Missing::Gone(Gone::Expired)) => {
                Self::new(Reason::Expired, "the operation has expired: its retention passed after it was done")
            }
            Error::OutOfScope => Self::new(
                Reason::PermissionDenied,
                "the credential reaches no operations of this tenant and kind: `operond whoami` says which it reaches",
            ),
            Error::Rejected(rejection) => rejected(rejection),
            Error::KeyReused(field) => Self::new(
                Reason::IdempotencyKeyReused,
                format!("idempotencyKey was used before with another {field}: use a new key for a new request"),
            )
            .fact("field", field),
            Error::OperationGone => Self::new(
                Reason::OperationGone,
                "idempotencyKey was used before and its operation is gone: use a new key for a new request",
            ),
            Error::Stale(stale) => Self::new(
                Reason::VersionChanged,
                format!(
                    "{} was changed by somebody else meanwhile: read it again, and decide anew",
                    quote(&stale.name)
                ),
            )
            .fact("version", stale.found.to_string()),
            Error::Unavailable(unavailable) => self::unavailable(unavailable),
            Error::DataLoss => Self::new(
                Reason::DataLoss,
                "what is stored of this is damaged and cannot be read: the operator has to restore it",
            ),
        }
    }
}

fn rejected(rejection: Rejection) -> ApiError {
    match rejection {
        Rejection::Gone(gone) => Error::NotFound(Missing::Gone(gone)).into(),
        Rejection::InvalidLease => Error::InvalidLease.into(),
        Rejection::Invalid(invalid) => invalid.into(),
        Rejection::LeaseLost => ApiError::new(
            Reason::LeaseLost,
            "the lease is lost: it was given up, or another was given since; stop working on the operation",
        ),
        Rejection::AlreadyDone(state) => {
            let state = state.as_str();
            ApiError::new(
                Reason::AlreadyDone,
                format!("the operation has ended and is {state}: stop working on it; its result is never changed"),
            )
            .fact("state", state)
        }
        Rejection::FailureDetected => ApiError::new(
            Reason::FailureDetected,
            "a failure of the operation was reported, which is its result: complete with that error or `cancelled`",
        ),
        Rejection::NotCancellable => ApiError::new(
            Reason::NotCancellable,
            "the operation was created so that it cannot be cancelled: wait for it",
        ),
        Rejection::NotDone(state) => {
            let state = state.as_str();
            ApiError::new(
                Reason::NotDone,
                format!("the operation is {state}, only finished ones can be deleted: cancel it or wait for it first"),
            )
            .fact("state", state)
        }
        Rejection::NotClaimable => {
            // Claims pick what can be claimed; nobody asks for one by name.
            ApiError::new(Reason::Internal, "the operation cannot be claimed now")
        }
    }
}

fn unavailable(unavailable: Unavailable) -> ApiError {
    match unavailable {
        Unavailable::Overloaded => {
            ApiError::new(Reason::Overloaded, "too many commands are waiting to be written: try again in a second")
        }
        Unavailable::ShuttingDown => {
            ApiError::new(Reason::ShuttingDown, "the server is shutting down: try again in a second")
        }
        Unavailable::Store => {
            ApiError::new(Reason::StoreUnavailable, "the store is not available: try again in a second")
        }
        Unavailable::Held => ApiError::new(
            Reason::StoreUnavailable,
            "another transaction has this operation locked in the database: try again in a second",
        ),
        Unavailable::DiskFull => ApiError::new(
            Reason::DiskFull,
            "the store's disk is full: no operations are created until there is room; those that exist go on",
        ),
    }
}

/// The domain of every ErrorInfo (CONTRACT §4).
const DOMAIN: &str = "operond.dev";
/// Longest message. On the way it grows threefold (percent-encoding), and it stands in the details twice more
/// (base64): with the bounds below all of it stays under 8,000 bytes.
const MESSAGE_BYTES_MAX: usize = 640;
/// Longest path of a member.
const FIELD_BYTES_MAX: usize = 200;
/// Longest fact.
const FACT_BYTES_MAX: usize = 120;

#[cfg(test)]
mod tests {
    use operond_core::State;
    use operond_store::{Collection, Stale};

    use super::*;

    fn check(error: impl Into<ApiError>, code: Code, reason: &str, facts: &[(&str, &str)]) {
        let error = error.into();
        assert_eq!((error.reason().code(), error.reason().as_str()), (code, reason));
        let found: Vec<_> = error.0.facts.iter().map(|(key, value)| (*key, value.as_str())).collect();
        assert_eq!(found, facts, "{}", error.0.message);
        assert!(!error.0.message.is_empty());
        assert_eq!(error.retry_delay().is_some(), code == Code::Unavailable, "{reason}");
    }

    #[test]
    fn every_engine_error_has_the_reason_of_the_contract() {
        let rejected = |rejection| Error::Rejected(rejection);
        check(Error::NotFound(Missing::Never), Code::NotFound, "NEVER_EXISTED", &[]);
        check(Error::NotFound(Missing::Gone(Gone::Expired)), Code::NotFound, "EXPIRED", &[]);
        check(Error::NotFound(Missing::Gone(Gone::Deleted)), Code::NotFound, "DELETED", &[]);
        check(rejected(Rejection::Gone(Gone::Expired)), Code::NotFound, "EXPIRED", &[]);
        check(rejected(Rejection::LeaseLost), Code::FailedPrecondition, "LEASE_LOST", &[]);
        let done = rejected(Rejection::AlreadyDone(State::Failed));
        check(done, Code::FailedPrecondition, "ALREADY_DONE", &[("state", "FAILED")]);
        check(rejected(Rejection::FailureDetected), Code::FailedPrecondition, "FAILURE_DETECTED", &[]);
        check(rejected(Rejection::NotCancellable), Code::FailedPrecondition, "NOT_CANCELLABLE", &[]);
        let not_done = rejected(Rejection::NotDone(State::Running));
        check(not_done, Code::FailedPrecondition, "NOT_DONE", &[("state", "RUNNING")]);
        check(Error::KeyReused("input"), Code::AlreadyExists, "IDEMPOTENCY_KEY_REUSED", &[("field", "input")]);
        check(Error::OperationGone, Code::AlreadyExists, "OPERATION_GONE", &[]);
        for lease in [Error::InvalidLease, rejected(Rejection::InvalidLease)] {
            check(lease, Code::InvalidArgument, "INVALID_LEASE", &[("field", "lease")]);
        }
        check(Error::DataLoss, Code::DataLoss, "DATA_LOSS", &[]);
        let stale = Stale { collection: Collection::Kinds, name: "k".into(), found: 7 };
        check(Error::Stale(stale), Code::Aborted, "VERSION_CHANGED", &[("version", "7")]);
        for (unavailable, reason) in [
            (Unavailable::Overloaded, "OVERLOADED"),
            (Unavailable::ShuttingDown, "SHUTTING_DOWN"),
            (Unavailable::Store, "STORE_UNAVAILABLE"),
            (Unavailable::Held, "STORE_UNAVAILABLE"),
            (Unavailable::DiskFull, "DISK_FULL"),
        ] {
            check(Error::Unavailable(unavailable), Code::Unavailable, reason, &[]);
        }
    }

    #[test]
    fn what_is_wrong_with_a_member_says_which_and_why() {
        let malformed = Error::Invalid(Invalid::missing("kind"));
        check(malformed, Code::InvalidArgument, "INVALID_FIELD", &[("field", "kind")]);
        let large = Invalid { field: "input".into(), problem: Problem::TooLarge { size: 7, limit: 6, unit: "bytes" } };
        let facts = [("field", "input"), ("size", "7"), ("limit", "6"), ("unit", "bytes")];
        check(large, Code::InvalidArgument, "LIMIT_EXCEEDED", &facts);
        let range = Invalid {
            field: "max".into(),
            problem: Problem::OutOfRange { value: "0".into(), range: "from 1 to 100".into() },
        };
        check(range, Code::InvalidArgument, "INVALID_FIELD", &[("field", "max"), ("range", "from 1 to 100")]);
    }

    #[test]
    fn a_missing_operation_is_named_but_never_at_length() {
        let error = ApiError::of_operation(Error::NotFound(Missing::Never), "op1\n");
        assert!(error.0.message.starts_with(r#"operation "op1\n" does not exist"#), "{}", error.0.message);
        assert_eq!(error.0.facts, [("operation", r"op1\n".to_owned())]);
        let error = ApiError::of_operation(Error::NotFound(Missing::Gone(Gone::Deleted)), &"x".repeat(5_000));
        assert!(error.0.message.len() < 120, "{}", error.0.message);
    }

    #[test]
    fn no_two_reasons_have_the_same_text() {
        let texts: std::collections::HashSet<_> = Reason::ALL.iter().map(|reason| reason.as_str()).collect();
        assert_eq!(texts.len(), Reason::ALL.len());
    }
}
