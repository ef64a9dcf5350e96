//! Operations as rows of columns: which column has which field, in both directions, for every SQL store.
//!
//! A store keeps its columns in the order of these lists, under these names, and lends its rows as
//! a [`Source`] and what it writes as a [`Sink`]. Instants are microseconds since the Unix epoch,
//! durations nanoseconds; packed columns have the form of [`crate::pack`].

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use operond_core::{
    Any, CancelRequest, Description, Digest, Kind, Lease, LeaseSecret, Operation, OperationId, Outcome, Phase,
    Principal, Progress, Reason, Retention, Spec, State, Status, Tenant, Timer, Timestamp, Token, Worker,
};

use crate::Cause;
use crate::pack::Packed;

/// What a column holds; each of them may be NULL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holds {
    /// UTF-8 without NUL.
    Text,
    /// Any bytes.
    Bytes,
    /// A signed number of 64 bits.
    Number,
    /// A floating-point number of 64 bits, every bit of it kept.
    Real,
    /// True or false.
    Flag,
}

/// A column of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Column {
    /// Its name.
    pub name: &'static str,
    /// What is in it.
    pub holds: Holds,
}

macro_rules! columns {
    ($($(#[$doc:meta])* $list:ident = [$($name:ident: $holds:ident,)*];)*) => {
        $($(#[$doc])* pub const $list: &[Column] =
            &[$(Column { name: stringify!($name), holds: Holds::$holds },)*];)*
    };
}

columns! {
    /// Columns that other rows or indexes hang on; written once.
    KEY = [id: Text, tenant: Text, kind: Text, created_at: Number,];
    /// Columns that indexes are made of.
    PLACE = [state: Number, claimable: Flag, available_at: Number, expires_at: Number,];
    /// The other columns of an operation that change.
    FACTS = [
        due_at: Number, revision: Number, modified_at: Number, backoff: Number, lease_expires_at: Number,
        finished_at: Number, queue_deadline: Number, run_deadline: Number, grace_deadline: Number,
        started_at: Number, attempt: Number, lease_token: Number, lease_secret: Bytes, worker: Text,
        lease_duration: Number, lease_given_up: Flag, lease_answered: Bytes, cancel_at: Number, cancel_by: Text,
        cancel_reason: Text, progress_unit: Text, progress_message: Text, progress_done: Real,
        progress_total: Real, events: Bytes, attempt_error: Bytes, failure: Bytes, metadata_type_url: Text,
        metadata_value: Bytes, error: Bytes, response_type_url: Text, response_value: Bytes,
    ];
    /// Columns of a spec, which is written once. The input comes last, so that a reader of the others
    /// never comes to it.
    SPEC = [
        description: Text, created_by: Text, labels: Bytes, cancellable: Flag, clean_up_on_cancel: Flag,
        queue_timeout: Number, run_timeout: Number, max_attempts: Number, cancel_grace: Number,
        retention_succeeded: Number, retention_failed: Number, retention_cancelled: Number,
        response_type: Text, metadata_type: Text, input_type_url: Text, input_value: Bytes,
    ];
}

/// A row to be read, one column after the other.
pub trait Source<'r> {
    /// The next column, a text.
    fn text(&mut self) -> Result<Option<&'r str>, Cause>;
    /// The next column, bytes.
    fn bytes(&mut self) -> Result<Option<&'r [u8]>, Cause>;
    /// The next column, a number.
    fn number(&mut self) -> Result<Option<i64>, Cause>;
    /// The next column, a floating-point number.
    fn real(&mut self) -> Result<Option<f64>, Cause>;
    /// The next column, true or false.
    fn flag(&mut self) -> Result<Option<bool>, Cause>;
    /// Leaves out columns that say nothing, or nothing new.
    fn skip(&mut self, columns: usize);
}

/// A row to be written, one column after the other.
pub trait Sink<'o> {
    /// Why a column is not taken.
    type Error;

    /// The next column, a text.
    fn text(&mut self, value: Option<&'o str>) -> Result<(), Self::Error>;
    /// The next column, bytes.
    fn bytes(&mut self, value: Option<Cow<'o, [u8]>>) -> Result<(), Self::Error>;
    /// The next column, a number.
    fn number(&mut self, value: Option<i64>) -> Result<(), Self::Error>;
    /// The next column, a floating-point number.
    fn real(&mut self, value: Option<f64>) -> Result<(), Self::Error>;
    /// The next column, true or false.
    fn flag(&mut self, value: Option<bool>) -> Result<(), Self::Error>;
}

/// What indexes are made of, beside what never changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    state: i64,
    claimable: Option<bool>,
    available_at: i64,
    expires_at: Option<i64>,
}

impl Place {
    /// Where `operation` is to be found at `now`.
    #[must_use]
    pub fn of(operation: &Operation, now: Timestamp) -> Self {
        let queued = matches!(operation.phase, Phase::Queued { .. });
        let expires_at = match operation.phase {
            Phase::Done { expires_at, .. } => expires_at,
            Phase::Queued { .. } | Phase::Leased { .. } => None,
        };
        Self {
            state: state_code(operation.state()),
            claimable: queued.then_some(operation.available_at <= now),
            available_at: operation.available_at.micros(),
            expires_at: expires_at.map(Timestamp::micros),
        }
    }
}

/// The wire number of a state, which is what the column holds.
#[must_use]
pub const fn state_code(state: State) -> i64 {
    match state {
        State::Queued => 1,
        State::Running => 2,
        State::Cancelling => 3,
        State::Failing => 4,
        State::Succeeded => 5,
        State::Failed => 6,
        State::Cancelled => 7,
    }
}

/// Writes [`KEY`].
pub fn write_key<'o, S: Sink<'o>>(operation: &'o Operation, to: &mut S) -> Result<(), S::Error> {
    to.text(Some(operation.id.as_str()))?;
    to.text(Some(operation.spec.tenant.as_str()))?;
    to.text(Some(operation.spec.kind.as_str()))?;
    to.number(Some(operation.created_at.micros()))
}

/// Writes [`PLACE`].
pub fn write_place<'o, S: Sink<'o>>(place: Place, to: &mut S) -> Result<(), S::Error> {
    to.number(Some(place.state))?;
    to.flag(place.claimable)?;
    to.number(Some(place.available_at))?;
    to.number(place.expires_at)
}

/// Writes [`FACTS`].
pub fn write_facts<'o, S: Sink<'o>>(operation: &'o Operation, to: &mut S) -> Result<(), S::Error> {
    let due = operation.next_timer().filter(|(_, timer)| *timer != Timer::Retention);
    to.number(due.map(|(at, _)| at.micros()))?;
    to.number(Some(operation.revision.cast_signed()))?;
    to.number(Some(operation.modified_at.micros()))?;
    let (backoff, queue_deadline, lease_expires_at, finished_at) = match &operation.phase {
        Phase::Queued { backoff, deadline } => (Some(nanos(*backoff)), *deadline, None, None),
        Phase::Leased { expires_at } => (None, None, Some(*expires_at), None),
        Phase::Done { finished_at, .. } => (None, None, None, Some(*finished_at)),
    };
    to.number(backoff)?;
    to.number(lease_expires_at.map(Timestamp::micros))?;
    to.number(finished_at.map(Timestamp::micros))?;
    to.number(queue_deadline.map(Timestamp::micros))?;
    to.number(operation.run_deadline.map(Timestamp::micros))?;
    to.number(operation.grace_deadline.map(Timestamp::micros))?;
    to.number(operation.started_at.map(Timestamp::micros))?;
    to.number(Some(operation.attempt.into()))?;
    write_lease(operation.lease.as_ref(), to)?;
    let cancel = operation.cancel.as_ref();
    to.number(cancel.map(|cancel| cancel.at.micros()))?;
    to.text(cancel.map(|cancel| cancel.by.as_str()))?;
    to.text(cancel.map(|cancel| cancel.reason.as_str()))?;
    let progress = operation.progress.as_ref();
    to.text(progress.map(|progress| &*progress.unit))?;
    to.text(progress.map(|progress| &*progress.message))?;
    to.real(progress.and_then(|progress| progress.done))?;
    to.real(progress.and_then(|progress| progress.total))?;
    to.bytes(Some(operation.events.pack().into()))?;
    to.bytes(operation.attempt_error.as_ref().map(|error| error.pack().into()))?;
    to.bytes(operation.failure.as_ref().map(|error| error.pack().into()))?;
    write_any(operation.metadata.as_ref(), to)?;
    let (error, response) = match operation.outcome() {
        Some(Outcome::Error(error)) => (Some(error.pack().into()), None),
        Some(Outcome::Response(response)) => (None, Some(response)),
        None => (None, None),
    };
    to.bytes(error)?;
    write_any(response, to)
}

/// Writes [`SPEC`].
pub fn write_spec<'o, S: Sink<'o>>(spec: &'o Spec, to: &mut S) -> Result<(), S::Error> {
    to.text(Some(spec.description.as_str()))?;
    to.text(Some(spec.created_by.as_str()))?;
    to.bytes(Some(spec.labels.pack().into()))?;
    to.flag(Some(spec.cancellable))?;
    to.flag(Some(spec.clean_up_on_cancel))?;
    to.number(spec.queue_timeout.map(nanos))?;
    to.number(spec.run_timeout.map(nanos))?;
    to.number(Some(spec.max_attempts.into()))?;
    to.number(Some(nanos(spec.cancel_grace)))?;
    to.number(spec.retention.succeeded.map(nanos))?;
    to.number(spec.retention.failed.map(nanos))?;
    to.number(spec.retention.cancelled.map(nanos))?;
    to.text(spec.response_type.as_deref())?;
    to.text(spec.metadata_type.as_deref())?;
    write_any(spec.input.as_ref(), to)
}

fn write_lease<'o, S: Sink<'o>>(lease: Option<&'o Lease>, to: &mut S) -> Result<(), S::Error> {
    to.number(lease.map(|lease| lease.token.0.cast_signed()))?;
    to.bytes(lease.map(|lease| Cow::Borrowed(&lease.secret.0[..])))?;
    to.text(lease.map(|lease| lease.worker.as_str()))?;
    to.number(lease.map(|lease| nanos(lease.duration)))?;
    to.flag(lease.map(|lease| lease.given_up))?;
    let answered = lease.and_then(|lease| lease.answered.as_ref());
    to.bytes(answered.map(|digest| Cow::Borrowed(&digest.0[..])))
}

fn write_any<'o, S: Sink<'o>>(any: Option<&'o Any>, to: &mut S) -> Result<(), S::Error> {
    to.text(any.map(|any| &*any.type_url))?;
    to.bytes(any.map(|any| Cow::Borrowed(&*any.value)))
}

/// Reads an operation out of [`KEY`], [`PLACE`], [`FACTS`] and [`SPEC`], in this order; an error says
/// what cannot be read.
pub fn read_operation<'r>(from: &mut impl Source<'r>) -> Result<Operation, Cause> {
    let mut from = Fields(from, std::marker::PhantomData);
    let id = OperationId::parse("id", from.text()?)?;
    let tenant = Tenant::parse("tenant", from.text()?)?;
    let kind = Kind::new(from.text()?)?;
    let created_at = from.instant()?;
    from.skip("state and claimable are derived", 2);
    let available_at = from.instant()?;
    let expires_at = from.instant_or_none()?;
    from.skip("due_at is derived", 1);
    let revision = from.number()?;
    let modified_at = from.instant()?;
    let backoff = from.length_or_none()?;
    let lease_expires_at = from.instant_or_none()?;
    let finished_at = from.instant_or_none()?;
    let queue_deadline = from.instant_or_none()?;
    let run_deadline = from.instant_or_none()?;
    let grace_deadline = from.instant_or_none()?;
    let started_at = from.instant_or_none()?;
    let attempt = from.count()?;
    let lease = from.lease()?;
    let cancel = from.cancel()?;
    let progress = from.progress()?;
    let events = from.packed_or_none()?.ok_or("it has no events")?;
    let attempt_error = from.packed_or_none()?;
    let failure = from.packed_or_none()?;
    let metadata = from.any()?;
    let error: Option<Status> = from.packed_or_none()?;
    let response = from.any()?;
    let phase = match (backoff, lease_expires_at, finished_at) {
        (Some(backoff), None, None) => Phase::Queued { backoff, deadline: queue_deadline },
        (None, Some(expires_at), None) => Phase::Leased { expires_at },
        (None, None, Some(finished_at)) => Phase::Done { outcome: outcome(error, response)?, finished_at, expires_at },
        _ => return Err("it is not in exactly one phase".into()),
    };
    if matches!(phase, Phase::Leased { .. }) && lease.is_none() {
        return Err("it is leased and has no lease".into());
    }
    let spec = Arc::new(from.spec(kind, tenant)?);
    Ok(Operation {
        id,
        spec,
        created_at,
        modified_at,
        revision,
        metadata,
        progress,
        attempt,
        attempt_error,
        lease,
        available_at,
        failure,
        cancel,
        started_at,
        run_deadline,
        grace_deadline,
        phase,
        events,
    })
}

fn outcome(error: Option<Status>, response: Option<Any>) -> Result<Outcome, Cause> {
    match (error, response) {
        (Some(error), None) => Ok(Outcome::Error(error)),
        (None, Some(response)) => Ok(Outcome::Response(response)),
        (Some(_), Some(_)) => Err("it has both an error and a response".into()),
        (None, None) => Err("it is done and has no result".into()),
    }
}

/// A source, and how fields are made of what it has.
struct Fields<'s, 'r, S>(&'s mut S, std::marker::PhantomData<&'r ()>);

impl<'r, S: Source<'r>> Fields<'_, 'r, S> {
    fn skip(&mut self, _why: &str, columns: usize) {
        self.0.skip(columns);
    }

    fn text(&mut self) -> Result<&'r str, Cause> {
        self.0.text()?.ok_or_else(|| "a text is missing".into())
    }

    fn number(&mut self) -> Result<u64, Cause> {
        Ok(self.signed()?.cast_unsigned())
    }

    fn signed(&mut self) -> Result<i64, Cause> {
        self.0.number()?.ok_or_else(|| "a number is missing".into())
    }

    fn count(&mut self) -> Result<u32, Cause> {
        Ok(u32::try_from(self.signed()?)?)
    }

    fn flag(&mut self) -> Result<bool, Cause> {
        self.0.flag()?.ok_or_else(|| "a flag is missing".into())
    }

    fn array<const N: usize>(&mut self) -> Result<Option<[u8; N]>, Cause> {
        Ok(self.0.bytes()?.map(<[u8; N]>::try_from).transpose()?)
    }

    fn instant(&mut self) -> Result<Timestamp, Cause> {
        self.signed().map(Timestamp::from_micros)
    }

    fn instant_or_none(&mut self) -> Result<Option<Timestamp>, Cause> {
        Ok(self.0.number()?.map(Timestamp::from_micros))
    }

    fn length(&mut self) -> Result<Duration, Cause> {
        self.length_or_none()?.ok_or_else(|| "a duration is missing".into())
    }

    fn length_or_none(&mut self) -> Result<Option<Duration>, Cause> {
        Ok(self.0.number()?.map(u64::try_from).transpose()?.map(Duration::from_nanos))
    }

    fn packed_or_none<T: Packed>(&mut self) -> Result<Option<T>, Cause> {
        Ok(self.0.bytes()?.map(T::unpack).transpose()?)
    }

    fn any(&mut self) -> Result<Option<Any>, Cause> {
        match (self.0.text()?, self.0.bytes()?) {
            (Some(type_url), Some(value)) => Ok(Some(Any::new(type_url, value))),
            (None, None) => Ok(None),
            _ => Err("a payload has either no type or no value".into()),
        }
    }

    fn lease(&mut self) -> Result<Option<Lease>, Cause> {
        let Some(token) = self.0.number()? else {
            self.skip("there is no lease", 5);
            return Ok(None);
        };
        Ok(Some(Lease {
            token: Token(token.cast_unsigned()),
            secret: LeaseSecret(self.array()?.ok_or("a lease has no secret")?),
            worker: Worker::new(self.text()?)?,
            duration: self.length()?,
            given_up: self.flag()?,
            answered: self.array()?.map(Digest),
        }))
    }

    fn cancel(&mut self) -> Result<Option<CancelRequest>, Cause> {
        let Some(at) = self.instant_or_none()? else {
            self.skip("no cancel was requested", 2);
            return Ok(None);
        };
        let by = Principal::parse("by", self.text()?)?;
        let reason = Reason::parse("reason", self.text()?)?;
        Ok(Some(CancelRequest { at, by, reason }))
    }

    fn progress(&mut self) -> Result<Option<Progress>, Cause> {
        let Some(unit) = self.0.text()? else {
            self.skip("no progress was reported", 3);
            return Ok(None);
        };
        let message = self.text()?.into();
        Ok(Some(Progress { unit: unit.into(), message, done: self.0.real()?, total: self.0.real()? }))
    }

    fn spec(&mut self, kind: Kind, tenant: Tenant) -> Result<Spec, Cause> {
        Ok(Spec {
            kind,
            tenant,
            description: Description::parse("description", self.text()?)?,
            created_by: Principal::parse("createdBy", self.text()?)?,
            labels: self.packed_or_none()?.ok_or("it has no labels")?,
            cancellable: self.flag()?,
            clean_up_on_cancel: self.flag()?,
            queue_timeout: self.length_or_none()?,
            run_timeout: self.length_or_none()?,
            max_attempts: self.count()?,
            cancel_grace: self.length()?,
            retention: Retention {
                succeeded: self.length_or_none()?,
                failed: self.length_or_none()?,
                cancelled: self.length_or_none()?,
            },
            response_type: self.0.text()?.map(Arc::from),
            metadata_type: self.0.text()?.map(Arc::from),
            input: self.any()?,
        })
    }
}

/// Every duration that the limits allow fits (292 years); one that does not stays at the most.
fn nanos(length: Duration) -> i64 {
    i64::try_from(length.as_nanos()).unwrap_or(i64::MAX)
}
