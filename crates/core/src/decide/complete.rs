//! A worker ends its operation. The first terminal write wins and is never changed again.

use super::{Complete, Completion, Rejection, answer_lease, check_lease, is_repeat, worker};
use crate::draft::{Draft, cancelled};
use crate::operation::{EventKind, Operation, Outcome, State};

pub(super) fn complete(draft: &mut Draft, complete: &Complete) -> Result<(), Rejection> {
    if is_repeat(&draft.op, &complete.lease, complete.digest) {
        return Ok(());
    }
    check_lease(&draft.op, &complete.lease)?;
    check_result(&draft.op, complete)?;
    let worker = worker(&draft.op);
    answer_lease(&mut draft.op, complete.digest, false);
    draft.take_report(complete.metadata.as_ref(), None);
    let said = match &complete.result {
        Completion::Response(response) => Outcome::Response(response.clone()),
        Completion::Error(error) => Outcome::Error(error.clone()),
        Completion::Cancelled(message) => Outcome::Error(cancelled(message)),
    };
    let what = match said.state() {
        State::Succeeded => EventKind::Succeeded,
        State::Cancelled if draft.op.failure.is_none() => EventKind::Cancelled,
        _ => EventKind::Failed,
    };
    draft.finish(said, what, worker.as_str());
    Ok(())
}

/// After a detected failure only that failure, or `cancelled`, ends it.
fn check_result(op: &Operation, complete: &Complete) -> Result<(), Rejection> {
    match (&op.failure, &complete.result) {
        (Some(failure), Completion::Error(error)) if failure == error => {}
        (Some(_), Completion::Cancelled(_)) => {}
        (Some(_), Completion::Response(_) | Completion::Error(_)) => return Err(Rejection::FailureDetected),
        (None, Completion::Response(response)) => op.spec.check_response(response).map_err(Rejection::Invalid)?,
        (None, Completion::Error(_) | Completion::Cancelled(_)) => {}
    }
    match &complete.metadata {
        Some(metadata) => op.spec.check_metadata(metadata).map_err(Rejection::Invalid),
        None => Ok(()),
    }
}
