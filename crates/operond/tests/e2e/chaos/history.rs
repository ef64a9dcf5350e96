//! What clients asked and what they were told, each with when: all that a checker goes by.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use operond_core::LeaseKey;
use operond_proto::google::rpc::Status as Problem;
use operond_proto::operond::v1::{Claim, Operation};
use prost_types::Any;
use tonic::{Code, Status};

/// One call of one client. Instants are those of the one clock that all clients share, from the beginning on.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    /// Which client; its calls come one after the other.
    pub(crate) client: usize,
    /// Which server it asked.
    pub(crate) server: usize,
    pub(crate) sent: Duration,
    /// When its outcome was known, be it that nothing is known.
    pub(crate) ended: Duration,
    pub(crate) what: What,
    pub(crate) outcome: Outcome,
}

/// What is asked.
#[derive(Clone, Debug)]
pub(crate) enum What {
    Create { key: Option<String> },
    Claim,
    Heartbeat(Shown),
    Complete(Shown, Said),
    ReportFailure(Shown, Problem),
    Retry(Shown),
    Release(Shown),
    Cancel { id: String },
    Delete { id: String },
    Get { id: String },
    Wait { id: String, timeout: Duration },
}

/// How a worker says that it ended.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Said {
    Response(Any),
    Error(Problem),
    Cancelled,
}

/// A lease that is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Shown {
    pub(crate) id: String,
    pub(crate) token: u64,
    pub(crate) text: String,
}

/// How a call ended.
#[derive(Clone, Debug)]
pub(crate) enum Outcome {
    /// With the operation as it is then.
    Operation(Box<Operation>),
    /// With leases.
    Claimed(Vec<Grant>),
    /// With what is left of the lease.
    Kept { remaining: Duration, expires_at: i128 },
    /// With nothing more to say.
    Deleted,
    /// For a reason that says that nothing was done.
    Refused { code: Code, reason: &'static str },
    /// It may have been done, or be done later.
    Unknown(String),
}

/// A lease as it was given.
#[derive(Clone, Debug)]
pub(crate) struct Grant {
    pub(crate) lease: Shown,
    pub(crate) duration: Duration,
    pub(crate) expires_at: i128,
    pub(crate) operation: Operation,
}

/// Takes calls down.
pub(crate) struct Recorder {
    began: Instant,
    calls: Mutex<Vec<Call>>,
}

impl Shown {
    pub(crate) fn of(text: &str) -> Self {
        let key = LeaseKey::decode(text).expect("a server gives leases of this form");
        Self { id: key.operation.to_string(), token: key.token.0, text: text.to_owned() }
    }
}

impl Grant {
    pub(crate) fn of(claim: Claim) -> Self {
        Self {
            lease: Shown::of(&claim.lease),
            duration: duration(claim.lease_duration),
            expires_at: nanos(claim.lease_expires_at),
            operation: claim.operation.expect("a claim has its operation"),
        }
    }
}

impl Recorder {
    pub(crate) fn new() -> Self {
        Self { began: Instant::now(), calls: Mutex::default() }
    }

    /// Time since the beginning.
    pub(crate) fn now(&self) -> Duration {
        self.began.elapsed()
    }

    pub(crate) fn add(&self, call: Call) {
        self.calls.lock().unwrap().push(call);
    }

    /// Everything, in the order in which it ended.
    pub(crate) fn take(&self) -> Vec<Call> {
        std::mem::take(&mut *self.calls.lock().unwrap())
    }
}

impl What {
    /// The operation that is asked for by name.
    pub(crate) fn id(&self) -> Option<&str> {
        match self {
            Self::Create { .. } | Self::Claim => None,
            Self::Cancel { id } | Self::Delete { id } | Self::Get { id } | Self::Wait { id, .. } => Some(id),
            Self::Heartbeat(_) | Self::Complete(..) | Self::ReportFailure(..) | Self::Retry(_) | Self::Release(_) => {
                self.lease().map(|lease| lease.id.as_str())
            }
        }
    }

    pub(crate) fn lease(&self) -> Option<&Shown> {
        match self {
            Self::Heartbeat(lease)
            | Self::Complete(lease, _)
            | Self::ReportFailure(lease, _)
            | Self::Retry(lease)
            | Self::Release(lease) => Some(lease),
            Self::Create { .. }
            | Self::Claim
            | Self::Cancel { .. }
            | Self::Delete { .. }
            | Self::Get { .. }
            | Self::Wait { .. } => None,
        }
    }
}

impl Outcome {
    /// What a refusal or a broken connection says of the call.
    pub(crate) fn of(status: &Status) -> Self {
        // What this side made up itself has a cause; UNAVAILABLE says "not now", and not "not done".
        if std::error::Error::source(status).is_some() || status.code() == Code::Unavailable {
            return Self::Unknown(format!("{:?}: {}", status.code(), status.message()));
        }
        let details = String::from_utf8_lossy(status.details());
        let reason = REASONS.iter().find(|reason| details.contains(**reason)).unwrap_or(&"");
        Self::Refused { code: status.code(), reason }
    }

    /// The states that the call was told of.
    pub(crate) fn states(&self) -> Vec<&Operation> {
        match self {
            Self::Operation(operation) => vec![operation],
            Self::Claimed(grants) => grants.iter().map(|grant| &grant.operation).collect(),
            Self::Kept { .. } | Self::Deleted | Self::Refused { .. } | Self::Unknown(_) => Vec::new(),
        }
    }

    pub(crate) fn is_unknown(&self) -> bool {
        matches!(self, Self::Unknown(_))
    }
}

pub(crate) fn duration(duration: Option<prost_types::Duration>) -> Duration {
    duration.unwrap_or_default().try_into().expect("a lease lasts for a while")
}

/// An instant of the database's clock.
pub(crate) fn nanos(timestamp: Option<prost_types::Timestamp>) -> i128 {
    let timestamp = timestamp.unwrap_or_default();
    i128::from(timestamp.seconds) * 1_000_000_000 + i128::from(timestamp.nanos)
}

/// Why these calls may be refused.
const REASONS: &[&str] = &[
    "NEVER_EXISTED",
    "EXPIRED",
    "DELETED",
    "LEASE_LOST",
    "ALREADY_DONE",
    "FAILURE_DETECTED",
    "NOT_CANCELLABLE",
    "NOT_DONE",
    "IDEMPOTENCY_KEY_REUSED",
    "OPERATION_GONE",
    "INVALID_LEASE",
];
