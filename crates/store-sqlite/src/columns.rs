//! Operations as rows: which column has which field, in both directions.
//!
//! The order of columns here is that of the lists in `sql`.

use std::sync::Arc;
use std::time::Duration;

use operond_core::{
    Any, CancelRequest, Description, Digest, Kind, Lease, LeaseSecret, Operation, OperationId, Outcome, Phase,
    Principal, Progress, Reason, Retention, Spec, State, Status, Tenant, Timer, Timestamp, Token, Worker,
};
use operond_store::Cause;
use operond_store::pack::Packed;
use rusqlite::types::{FromSql, Type, ValueRef};
use rusqlite::{CachedStatement, Row, ToSql};

/// What indexes are made of, beside what never changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    state: u8,
    claimable: Option<bool>,
    available_at: i64,
    expires_at: Option<i64>,
}

impl Place {
    /// Where `operation` is to be found at `now`.
    pub(crate) fn of(operation: &Operation, now: Timestamp) -> Self {
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
pub(crate) const fn state_code(state: State) -> u8 {
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

/// Binds one value after the other to a statement's parameters.
pub(crate) struct Binder<'s, 'c> {
    statement: &'s mut CachedStatement<'c>,
    next: usize,
}

impl<'s, 'c> Binder<'s, 'c> {
    pub(crate) fn new(statement: &'s mut CachedStatement<'c>) -> Self {
        Self { statement, next: 1 }
    }

    pub(crate) fn bind(&mut self, value: impl ToSql) -> rusqlite::Result<()> {
        self.statement.raw_bind_parameter(self.next, value)?;
        self.next += 1;
        Ok(())
    }

    /// Runs the statement; says how many rows it touched.
    pub(crate) fn execute(self) -> rusqlite::Result<usize> {
        self.statement.raw_execute()
    }

    pub(crate) fn key(&mut self, operation: &Operation) -> rusqlite::Result<()> {
        self.bind(operation.id.as_str())?;
        self.bind(operation.spec.tenant.as_str())?;
        self.bind(operation.spec.kind.as_str())?;
        self.bind(operation.created_at.micros())
    }

    pub(crate) fn place(&mut self, place: &Place) -> rusqlite::Result<()> {
        self.bind(place.state)?;
        self.bind(place.claimable)?;
        self.bind(place.available_at)?;
        self.bind(place.expires_at)
    }

    pub(crate) fn facts(&mut self, operation: &Operation) -> rusqlite::Result<()> {
        let due = operation.next_timer().filter(|(_, timer)| *timer != Timer::Retention);
        self.bind(due.map(|(at, _)| at.micros()))?;
        self.bind(operation.revision.cast_signed())?;
        self.bind(operation.modified_at.micros())?;
        let (backoff, queue_deadline, lease_expires_at, finished_at) = match &operation.phase {
            Phase::Queued { backoff, deadline } => (Some(nanos(*backoff)), deadline.map(Timestamp::micros), None, None),
            Phase::Leased { expires_at } => (None, None, Some(expires_at.micros()), None),
            Phase::Done { finished_at, .. } => (None, None, None, Some(finished_at.micros())),
        };
        self.bind(backoff)?;
        self.bind(lease_expires_at)?;
        self.bind(finished_at)?;
        self.bind(queue_deadline)?;
        self.bind(operation.run_deadline.map(Timestamp::micros))?;
        self.bind(operation.grace_deadline.map(Timestamp::micros))?;
        self.bind(operation.started_at.map(Timestamp::micros))?;
        self.bind(operation.attempt)?;
        self.lease(operation.lease.as_ref())?;
        let cancel = operation.cancel.as_ref();
        self.bind(cancel.map(|cancel| cancel.at.micros()))?;
        self.bind(cancel.map(|cancel| cancel.by.as_str()))?;
        self.bind(cancel.map(|cancel| cancel.reason.as_str()))?;
        let progress = operation.progress.as_ref();
        self.bind(progress.map(|progress| &*progress.unit))?;
        self.bind(progress.map(|progress| &*progress.message))?;
        self.bind(progress.and_then(|progress| progress.done))?;
        self.bind(progress.and_then(|progress| progress.total))?;
        self.bind(operation.events.pack())?;
        self.bind(operation.attempt_error.as_ref().map(Packed::pack))?;
        self.bind(operation.failure.as_ref().map(Packed::pack))?;
        self.any(operation.metadata.as_ref())?;
        let (error, response) = match operation.outcome() {
            Some(Outcome::Error(error)) => (Some(error.pack()), None),
            Some(Outcome::Response(response)) => (None, Some(response)),
            None => (None, None),
        };
        self.bind(error)?;
        self.any(response)
    }

    pub(crate) fn spec(&mut self, spec: &Spec) -> rusqlite::Result<()> {
        self.bind(spec.description.as_str())?;
        self.bind(spec.created_by.as_str())?;
        self.bind(spec.labels.pack())?;
        self.bind(spec.cancellable)?;
        self.bind(spec.clean_up_on_cancel)?;
        self.bind(spec.queue_timeout.map(nanos))?;
        self.bind(spec.run_timeout.map(nanos))?;
        self.bind(spec.max_attempts)?;
        self.bind(nanos(spec.cancel_grace))?;
        self.bind(spec.retention.succeeded.map(nanos))?;
        self.bind(spec.retention.failed.map(nanos))?;
        self.bind(spec.retention.cancelled.map(nanos))?;
        self.bind(spec.response_type.as_deref())?;
        self.bind(spec.metadata_type.as_deref())?;
        self.any(spec.input.as_ref())
    }

    fn lease(&mut self, lease: Option<&Lease>) -> rusqlite::Result<()> {
        self.bind(lease.map(|lease| lease.token.0.cast_signed()))?;
        self.bind(lease.map(|lease| lease.secret.0))?;
        self.bind(lease.map(|lease| lease.worker.as_str()))?;
        self.bind(lease.map(|lease| nanos(lease.duration)))?;
        self.bind(lease.map(|lease| lease.given_up))?;
        self.bind(lease.and_then(|lease| lease.answered).map(|digest| digest.0))
    }

    fn any(&mut self, any: Option<&Any>) -> rusqlite::Result<()> {
        self.bind(any.map(|any| &*any.type_url))?;
        self.bind(any.map(|any| &*any.value))
    }
}

/// The operation in `row`; an error says which column cannot be read.
pub(crate) fn operation(row: &Row<'_>) -> Result<Operation, Cause> {
    let mut from = Columns { row, next: 0 };
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
    let attempt = from.get()?;
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

/// Reads one column after the other.
struct Columns<'r> {
    row: &'r Row<'r>,
    next: usize,
}

impl<'r> Columns<'r> {
    fn skip(&mut self, _why: &str, columns: usize) {
        self.next += columns;
    }

    fn value(&mut self) -> Result<ValueRef<'r>, Cause> {
        let value = self.row.get_ref(self.next)?;
        self.next += 1;
        Ok(value)
    }

    fn get<T: FromSql>(&mut self) -> Result<T, Cause> {
        let value = self.row.get(self.next)?;
        self.next += 1;
        Ok(value)
    }

    fn text_or_none(&mut self) -> Result<Option<&'r str>, Cause> {
        Ok(self.value()?.as_str_or_null()?)
    }

    fn text(&mut self) -> Result<&'r str, Cause> {
        Ok(self.value()?.as_str()?)
    }

    fn bytes_or_none(&mut self) -> Result<Option<&'r [u8]>, Cause> {
        Ok(self.value()?.as_blob_or_null()?)
    }

    fn number(&mut self) -> Result<u64, Cause> {
        Ok(self.get::<i64>()?.cast_unsigned())
    }

    fn instant(&mut self) -> Result<Timestamp, Cause> {
        self.get().map(Timestamp::from_micros)
    }

    fn instant_or_none(&mut self) -> Result<Option<Timestamp>, Cause> {
        Ok(self.get::<Option<i64>>()?.map(Timestamp::from_micros))
    }

    fn length(&mut self) -> Result<Duration, Cause> {
        self.length_or_none()?.ok_or_else(|| "a duration is missing".into())
    }

    fn length_or_none(&mut self) -> Result<Option<Duration>, Cause> {
        let nanos = self.get::<Option<i64>>()?;
        Ok(nanos.map(u64::try_from).transpose()?.map(Duration::from_nanos))
    }

    fn packed_or_none<T: Packed>(&mut self) -> Result<Option<T>, Cause> {
        Ok(self.bytes_or_none()?.map(T::unpack).transpose()?)
    }

    fn any(&mut self) -> Result<Option<Any>, Cause> {
        match (self.text_or_none()?, self.bytes_or_none()?) {
            (Some(type_url), Some(value)) => Ok(Some(Any::new(type_url, value))),
            (None, None) => Ok(None),
            _ => Err("a payload has either no type or no value".into()),
        }
    }

    fn lease(&mut self) -> Result<Option<Lease>, Cause> {
        if self.value()?.data_type() == Type::Null {
            self.skip("there is no lease", 5);
            return Ok(None);
        }
        self.next -= 1;
        Ok(Some(Lease {
            token: Token(self.number()?),
            secret: LeaseSecret(self.get()?),
            worker: Worker::new(self.text()?)?,
            duration: self.length()?,
            given_up: self.get()?,
            answered: self.get::<Option<_>>()?.map(Digest),
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
        let Some(unit) = self.text_or_none()? else {
            self.skip("no progress was reported", 3);
            return Ok(None);
        };
        let message = self.text()?.into();
        Ok(Some(Progress { unit: unit.into(), message, done: self.get()?, total: self.get()? }))
    }

    fn spec(&mut self, kind: Kind, tenant: Tenant) -> Result<Spec, Cause> {
        Ok(Spec {
            kind,
            tenant,
            description: Description::parse("description", self.text()?)?,
            created_by: Principal::parse("createdBy", self.text()?)?,
            labels: self.packed_or_none()?.ok_or("it has no labels")?,
            cancellable: self.get()?,
            clean_up_on_cancel: self.get()?,
            queue_timeout: self.length_or_none()?,
            run_timeout: self.length_or_none()?,
            max_attempts: self.get()?,
            cancel_grace: self.length()?,
            retention: Retention {
                succeeded: self.length_or_none()?,
                failed: self.length_or_none()?,
                cancelled: self.length_or_none()?,
            },
            response_type: self.text_or_none()?.map(Arc::from),
            metadata_type: self.text_or_none()?.map(Arc::from),
            input: self.any()?,
        })
    }
}

/// Every duration that the limits allow fits (292 years); one that does not stays at the most.
fn nanos(length: Duration) -> i64 {
    i64::try_from(length.as_nanos()).unwrap_or(i64::MAX)
}
