//! The operation itself: what was asked, where it stands, and how it looks from outside.

use std::sync::Arc;
use std::time::Duration;

use crate::id::OperationId;
use crate::invalid::{Invalid, check_duration, check_size, check_text};
use crate::lease::Lease;
use crate::limits;
use crate::name::{Description, Kind, Principal, Reason, Tenant};
use crate::payload::{Any, Progress, Status, code};
use crate::time::Timestamp;

/// One operation: CONTRACT §2 and the facts of §3.
#[derive(Clone, Debug, PartialEq)]
pub struct Operation {
    /// Its name for callers.
    pub id: OperationId,
    /// What was asked for; never changes.
    pub spec: Arc<Spec>,
    /// When it was created; never moves.
    pub created_at: Timestamp,
    /// When it last changed in a way that callers see; never goes back.
    pub modified_at: Timestamp,
    /// One step per change.
    pub revision: u64,
    /// What its worker (at first its producer) says of it.
    pub metadata: Option<Any>,
    /// How far it is.
    pub progress: Option<Progress>,
    /// Leases given and not released.
    pub attempt: u32,
    /// The error of the last attempt that was retried.
    pub attempt_error: Option<Status>,
    /// The newest lease given.
    pub lease: Option<Lease>,
    /// When it could first be claimed for the wait that it is in or was in last: its place.
    pub available_at: Timestamp,
    /// The detected failure; once shown, it is the result.
    pub failure: Option<Status>,
    /// The first cancel request.
    pub cancel: Option<CancelRequest>,
    /// When the first lease was given.
    pub started_at: Option<Timestamp>,
    /// When the run timeout passes.
    pub run_deadline: Option<Timestamp>,
    /// When the server stops waiting for a cancel to be confirmed.
    pub grace_deadline: Option<Timestamp>,
    /// Where it stands.
    pub phase: Phase,
    /// What happened to it, oldest first, at most [`limits::EVENTS_MAX`].
    pub events: Vec<Event>,
}

/// What a producer asked for. Immutable, shared by all versions of the operation.
#[derive(Clone, Debug, PartialEq)]
pub struct Spec {
    /// What sort of work.
    pub kind: Kind,
    /// Who it belongs to.
    pub tenant: Tenant,
    /// For people.
    pub description: Description,
    /// Who created it.
    pub created_by: Principal,
    /// What the worker gets.
    pub input: Option<Any>,
    /// For finding it again.
    pub labels: Labels,
    /// Whether a cancel is accepted.
    pub cancellable: bool,
    /// Whether a worker must clean up after a cancel, also one that found nobody working.
    pub clean_up_on_cancel: bool,
    /// Longest single wait in the queue.
    pub queue_timeout: Option<Duration>,
    /// Longest time from the first lease to the end.
    pub run_timeout: Option<Duration>,
    /// How many leases may be given and not released.
    pub max_attempts: u32,
    /// How long a worker has to confirm a cancel.
    pub cancel_grace: Duration,
    /// How long the finished operation is kept.
    pub retention: Retention,
    /// Full name or type URL that a response must have.
    pub response_type: Option<Arc<str>>,
    /// Full name or type URL that metadata must have.
    pub metadata_type: Option<Arc<str>>,
}

/// Labels: at most 32, sorted by key, keys unique.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Labels(Arc<[(Arc<str>, Arc<str>)]>);

/// How long a finished operation is kept, by outcome; `None` keeps it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// After a response.
    pub succeeded: Option<Duration>,
    /// After an error other than CANCELLED.
    pub failed: Option<Duration>,
    /// After CANCELLED.
    pub cancelled: Option<Duration>,
}

/// Where an operation stands: exactly one of CONTRACT §3's three.
#[derive(Clone, Debug, PartialEq)]
pub enum Phase {
    /// Claimable from `available_at` on.
    Queued {
        /// The length of the backoff it is in; zero for none.
        backoff: Duration,
        /// When this wait has lasted too long.
        deadline: Option<Timestamp>,
    },
    /// With a worker.
    Leased {
        /// When the lease lapses.
        expires_at: Timestamp,
    },
    /// Finished; never left again.
    Done {
        /// The result.
        outcome: Outcome,
        /// When.
        finished_at: Timestamp,
        /// When retention removes it.
        expires_at: Option<Timestamp>,
    },
}

/// The result: one of the two, by construction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It worked.
    Response(Any),
    /// It did not, or was cancelled (code 1).
    Error(Status),
}

/// Who asked for the cancel, when and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CancelRequest {
    /// When.
    pub at: Timestamp,
    /// Who.
    pub by: Principal,
    /// Why.
    pub reason: Reason,
}

/// Something that happened to an operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// When.
    pub at: Timestamp,
    /// What.
    pub what: EventKind,
    /// A principal, a worker, or `server`.
    pub by: Arc<str>,
}

/// The state shown to people, the first that applies (CONTRACT §3 "Shown state").
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// Waits for a worker.
    Queued,
    /// With a worker.
    Running,
    /// A cancel was requested and is not confirmed.
    Cancelling,
    /// A failure was detected; the rollback goes on.
    Failing,
    /// Done with a response.
    Succeeded,
    /// Done with an error other than CANCELLED.
    Failed,
    /// Done with CANCELLED.
    Cancelled,
}

impl State {
    /// Every state, in the order of the wire numbers 1–7.
    pub const ALL: [Self; 7] =
        [Self::Queued, Self::Running, Self::Cancelling, Self::Failing, Self::Succeeded, Self::Failed, Self::Cancelled];

    /// The name in JSON and filters, upper case.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "QUEUED",
            Self::Running => "RUNNING",
            Self::Cancelling => "CANCELLING",
            Self::Failing => "FAILING",
            Self::Succeeded => "SUCCEEDED",
            Self::Failed => "FAILED",
            Self::Cancelled => "CANCELLED",
        }
    }
}

macro_rules! event_kinds {
    ($($(#[$doc:meta])* $name:ident = $code:literal $text:literal,)*) => {
        /// What can happen to an operation. Codes are stored: never reuse one.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum EventKind { $($(#[$doc])* $name,)* }

        impl EventKind {
            /// Every kind of event.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// What a store writes.
            #[must_use]
            pub const fn code(self) -> u8 {
                match self { $(Self::$name => $code,)* }
            }

            /// What people read.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            /// What [`EventKind::code`] wrote.
            #[must_use]
            pub const fn from_code(code: u8) -> Option<Self> {
                match code { $($code => Some(Self::$name),)* _ => None }
            }
        }
    };
}

event_kinds! {
    /// The producer created it.
    Created = 1 "created",
    /// A worker got a lease.
    Claimed = 2 "claimed",
    /// A worker took it back with its lapsed lease.
    Resumed = 3 "resumed",
    /// A lease lapsed; another worker may claim.
    Lapsed = 4 "lapsed",
    /// A lease or grace was started anew, because nobody had served when it ran out.
    Restarted = 5 "restarted",
    /// Its worker reported a failure and rolls back.
    FailureDetected = 6 "failure detected",
    /// An attempt failed and another follows.
    RetryScheduled = 7 "retry scheduled",
    /// Its worker gave it back.
    Released = 8 "released",
    /// Somebody asked for a cancel.
    CancelRequested = 9 "cancel requested",
    /// Done with a response.
    Succeeded = 10 "succeeded",
    /// Done with an error from its worker.
    Failed = 11 "failed",
    /// Done with CANCELLED.
    Cancelled = 12 "cancelled",
    /// Done: a queue or run deadline passed.
    DeadlineExceeded = 13 "deadline exceeded",
    /// Done: its worker was lost and no attempt is left.
    WorkerLost = 14 "worker lost",
    /// Done with the detected failure, its rollback not finished.
    RollbackUnfinished = 15 "rollback unfinished",
}

impl Operation {
    /// The state shown to people, from stored facts only.
    #[must_use]
    pub fn state(&self) -> State {
        match &self.phase {
            Phase::Done { outcome, .. } => outcome.state(),
            _ if self.failure.is_some() => State::Failing,
            _ if self.cancel.is_some() => State::Cancelling,
            Phase::Leased { .. } => State::Running,
            Phase::Queued { .. } => State::Queued,
        }
    }

    /// Whether it is finished.
    #[must_use]
    pub fn done(&self) -> bool {
        matches!(self.phase, Phase::Done { .. })
    }

    /// The result, once done.
    #[must_use]
    pub fn outcome(&self) -> Option<&Outcome> {
        match &self.phase {
            Phase::Done { outcome, .. } => Some(outcome),
            Phase::Queued { .. } | Phase::Leased { .. } => None,
        }
    }

    /// Whether another lease may be given.
    #[must_use]
    pub fn attempts_left(&self) -> bool {
        self.attempt < self.spec.max_attempts
    }

    /// Whether a worker may claim it at `now`.
    #[must_use]
    pub fn claimable(&self, now: Timestamp) -> bool {
        matches!(self.phase, Phase::Queued { .. }) && self.available_at <= now && self.attempts_left()
    }
}

impl Outcome {
    /// The final state that it makes.
    #[must_use]
    pub fn state(&self) -> State {
        match self {
            Self::Response(_) => State::Succeeded,
            Self::Error(status) if status.code == code::CANCELLED => State::Cancelled,
            Self::Error(_) => State::Failed,
        }
    }
}

impl Retention {
    /// The same for every outcome; `None` keeps for ever.
    #[must_use]
    pub const fn same(length: Option<Duration>) -> Self {
        Self { succeeded: length, failed: length, cancelled: length }
    }

    /// What applies to `outcome`.
    #[must_use]
    pub fn after(&self, outcome: &Outcome) -> Option<Duration> {
        match outcome.state() {
            State::Succeeded => self.succeeded,
            State::Cancelled => self.cancelled,
            _ => self.failed,
        }
    }
}

impl Default for Retention {
    fn default() -> Self {
        Self::same(Some(limits::RETENTION_DEFAULT))
    }
}

impl Labels {
    /// Takes labels within the limits of CONTRACT §5.
    pub fn parse<K, V>(labels: impl IntoIterator<Item = (K, V)>) -> Result<Self, Invalid>
    where
        K: Into<Arc<str>>,
        V: Into<Arc<str>>,
    {
        let mut sorted: Vec<(Arc<str>, Arc<str>)> = labels.into_iter().map(|(k, v)| (k.into(), v.into())).collect();
        check_size("labels", sorted.len(), limits::LABELS_MAX, "labels")?;
        // First, so that of several bad ones the same is named each time: faces have them in maps.
        sorted.sort();
        for (key, value) in &sorted {
            if key.is_empty() {
                return Err(Invalid::malformed("labels", "has an empty key"));
            }
            check_text("labels key", key, limits::LABEL_KEY_CHARS_MAX)?;
            check_text("labels value", value, limits::LABEL_VALUE_CHARS_MAX)?;
        }
        if let Some(twice) = sorted.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            return Err(Invalid::malformed("labels", format!("has the key {:?} twice", twice[0].0)));
        }
        Ok(Self(sorted.into()))
    }

    /// Key and value, sorted by key.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &str)> {
        self.0.iter().map(|(key, value)| (&**key, &**value))
    }
}

impl Spec {
    /// An operation of `kind` with the defaults of CONTRACT §5.
    #[must_use]
    pub fn new(kind: Kind) -> Self {
        Self {
            kind,
            tenant: Tenant::default(),
            description: Description::default(),
            created_by: Principal::default(),
            input: None,
            labels: Labels::default(),
            cancellable: true,
            clean_up_on_cancel: false,
            queue_timeout: None,
            run_timeout: None,
            max_attempts: limits::ATTEMPTS_DEFAULT,
            cancel_grace: limits::CANCEL_GRACE_DEFAULT,
            retention: Retention::default(),
            response_type: None,
            metadata_type: None,
        }
    }

    /// Refuses what is over a limit; the types of the members have checked the rest.
    pub fn check(&self) -> Result<(), Invalid> {
        if let Some(input) = &self.input {
            input.check("input", limits::INPUT_BYTES_MAX)?;
        }
        for (field, timeout) in [("queueTimeout", self.queue_timeout), ("runTimeout", self.run_timeout)] {
            if let Some(timeout) = timeout {
                check_duration(field, timeout, limits::TIMEOUT_RANGE)?;
            }
        }
        check_duration("cancelGrace", self.cancel_grace, limits::CANCEL_GRACE_RANGE)?;
        let retention = self.retention;
        for length in [retention.succeeded, retention.failed, retention.cancelled].into_iter().flatten() {
            check_duration("retention", length, limits::RETENTION_RANGE)?;
        }
        check_attempts(self.max_attempts)?;
        for (field, name) in [("responseType", &self.response_type), ("metadataType", &self.metadata_type)] {
            if let Some(name) = name {
                check_text(field, name, limits::TYPE_URL_CHARS_MAX)?;
            }
        }
        Ok(())
    }

    /// Refuses metadata over its limit or of another type than the one declared.
    pub fn check_metadata(&self, metadata: &Any) -> Result<(), Invalid> {
        metadata.check("metadata", limits::METADATA_BYTES_MAX)?;
        check_type("metadata", metadata, self.metadata_type.as_deref())
    }

    /// Refuses a response over its limit or of another type than the one declared.
    pub fn check_response(&self, response: &Any) -> Result<(), Invalid> {
        response.check("response", limits::RESPONSE_BYTES_MAX)?;
        check_type("response", response, self.response_type.as_deref())
    }
}

fn check_attempts(attempts: u32) -> Result<(), Invalid> {
    let (fewest, most) = limits::ATTEMPTS_RANGE;
    if (fewest..=most).contains(&attempts) {
        return Ok(());
    }
    Err(Invalid {
        field: "maxAttempts".into(),
        problem: crate::invalid::Problem::OutOfRange {
            value: attempts.to_string(),
            range: format!("from {fewest} to {most}"),
        },
    })
}

/// Declared types may be written as a full name or as a type URL: the name counts.
fn check_type(field: &str, any: &Any, declared: Option<&str>) -> Result<(), Invalid> {
    let Some(declared) = declared else { return Ok(()) };
    let declared = declared.rsplit('/').next().unwrap_or_default();
    if any.type_name() == declared {
        return Ok(());
    }
    Err(Invalid::malformed(field, format!("is a {}, the operation declares {declared}", any.type_name())))
}
