//! The operation as each face shows it.

use operond_core::{CancelRequest, Event, Invalid, Operation, Outcome, Phase, State, Status};
use operond_proto::google::longrunning as lro;
use operond_proto::operond::v1;
use operond_proto::yandex::cloud::operation as yc;

use super::payload::{any, progress, status};
use super::time::timestamp;

/// How much of an operation the native face shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum View {
    /// All but `input` and `events`.
    Basic,
    /// All.
    Full,
}

impl View {
    /// Reads the member `view`.
    pub(crate) fn parse(view: i32) -> Result<Self, Invalid> {
        match v1::operation::View::try_from(view) {
            Ok(v1::operation::View::Unspecified | v1::operation::View::Basic) => Ok(Self::Basic),
            Ok(v1::operation::View::Full) => Ok(Self::Full),
            Err(_) => Err(Invalid::malformed("view", format!("is {view}, expected BASIC or FULL"))),
        }
    }
}

/// For the Yandex face (CONTRACT §2).
pub(crate) fn yandex(operation: &Operation) -> yc::Operation {
    let result = match result(operation) {
        None => None,
        Some(Shown::Error(error)) => Some(yc::operation::Result::Error(status(error))),
        Some(Shown::Response(response)) => Some(yc::operation::Result::Response(any(response))),
    };
    yc::Operation {
        id: operation.id.as_str().into(),
        description: operation.spec.description.as_str().into(),
        created_at: Some(timestamp(operation.created_at)),
        created_by: operation.spec.created_by.as_str().into(),
        modified_at: Some(timestamp(operation.modified_at)),
        done: operation.done(),
        metadata: operation.metadata.as_ref().map(any),
        result,
    }
}

/// For the Google face (CONTRACT §4): its five members, and no error before it is done.
pub(crate) fn google(operation: &Operation, name: String) -> lro::Operation {
    let result = operation.outcome().map(|outcome| match outcome {
        Outcome::Response(response) => lro::operation::Result::Response(any(response)),
        Outcome::Error(error) => lro::operation::Result::Error(status(error)),
    });
    let metadata = operation.metadata.as_ref().map(any);
    lro::Operation { name, metadata, done: operation.done(), result }
}

/// For the native face (CONTRACT §8).
pub(crate) fn native(operation: &Operation, view: View) -> v1::Operation {
    let spec = &operation.spec;
    let result = match result(operation) {
        None => None,
        Some(Shown::Error(error)) => Some(v1::operation::Result::Error(status(error))),
        Some(Shown::Response(response)) => Some(v1::operation::Result::Response(any(response))),
    };
    let mut shown = v1::Operation {
        id: operation.id.as_str().into(),
        description: spec.description.as_str().into(),
        created_at: Some(timestamp(operation.created_at)),
        created_by: spec.created_by.as_str().into(),
        modified_at: Some(timestamp(operation.modified_at)),
        done: operation.done(),
        metadata: operation.metadata.as_ref().map(any),
        result,
        kind: spec.kind.as_str().into(),
        tenant: spec.tenant.as_str().into(),
        state: state(operation.state()).into(),
        labels: spec.labels.iter().map(|(key, value)| (key.into(), value.into())).collect(),
        progress: operation.progress.as_ref().map(progress),
        attempt: operation.attempt,
        max_attempts: spec.max_attempts,
        last_attempt_error: operation.attempt_error.as_ref().map(status),
        worker: operation.lease.as_ref().map_or_else(String::new, |lease| lease.worker.as_str().into()),
        cancellable: spec.cancellable,
        cancel_requested: operation.cancel.as_ref().map(cancel_requested),
        run_deadline: operation.run_deadline.map(timestamp),
        started_at: operation.started_at.map(timestamp),
        revision: operation.revision.to_string(),
        ..v1::Operation::default()
    };
    show_phase(operation, &mut shown);
    if view == View::Full {
        shown.input = spec.input.as_ref().map(any);
        shown.events = operation.events.iter().map(event).collect();
    }
    shown
}

pub(super) fn cancel_requested(cancel: &CancelRequest) -> v1::CancelRequested {
    v1::CancelRequested {
        at: Some(timestamp(cancel.at)),
        by: cancel.by.as_str().into(),
        reason: cancel.reason.as_str().into(),
    }
}

enum Shown<'a> {
    Error(&'a Status),
    Response(&'a operond_core::Any),
}

/// One of the two when done; before that, the detected failure.
fn result(operation: &Operation) -> Option<Shown<'_>> {
    match operation.outcome() {
        Some(Outcome::Response(response)) => Some(Shown::Response(response)),
        Some(Outcome::Error(error)) => Some(Shown::Error(error)),
        None => operation.failure.as_ref().map(Shown::Error),
    }
}

fn show_phase(operation: &Operation, shown: &mut v1::Operation) {
    match operation.phase {
        Phase::Queued { deadline, .. } => {
            shown.available_at = Some(timestamp(operation.available_at));
            shown.queue_deadline = deadline.map(timestamp);
        }
        Phase::Leased { expires_at } => shown.lease_expires_at = Some(timestamp(expires_at)),
        Phase::Done { finished_at, expires_at, .. } => {
            shown.finished_at = Some(timestamp(finished_at));
            shown.expires_at = expires_at.map(timestamp);
        }
    }
}

fn event(event: &Event) -> v1::Event {
    v1::Event { at: Some(timestamp(event.at)), what: event.what.as_str().into(), by: (*event.by).into() }
}

fn state(state: State) -> v1::operation::State {
    match state {
        State::Queued => v1::operation::State::Queued,
        State::Running => v1::operation::State::Running,
        State::Cancelling => v1::operation::State::Cancelling,
        State::Failing => v1::operation::State::Failing,
        State::Succeeded => v1::operation::State::Succeeded,
        State::Failed => v1::operation::State::Failed,
        State::Cancelled => v1::operation::State::Cancelled,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_have_the_names_and_numbers_that_filters_use() {
        for (number, shown) in (1..).zip(State::ALL) {
            assert_eq!(i32::from(state(shown)), number);
            assert_eq!(state(shown).as_str_name(), shown.as_str());
        }
    }
}
